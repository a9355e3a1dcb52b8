//! Bases from one real registry, images into another.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::{Method, Request, Response};
use kiops_core::build::BuildOutput;
use kiops_core::http::{Body, HttpService, ReqwestConfig, ReqwestService};
use kiops_core::image::Registry;
use kiops_core::name::Digest;
use kiops_core::run::RunOutcome;
use kiops_core::stage::FailureKind;
use kiops_registry::assemble::{Assembler, AssemblerConfig, Compression};
use kiops_registry::oci::Oci;
use serde_json::json;

use super::support::{Bench, Files, Image, Index, push_base, push_bases, spec};
use crate::fixtures::{image, tag};
use crate::oci::cuts::{self, PIECE, Proxy};
use crate::oci::daemon::{ALICE, Auth, BOB, Daemon};
use crate::skopeo::{skopeo, unpack};

/// A service that notes which blobs are sent, by size.
#[derive(Debug)]
struct Counting {
    inner: ReqwestService,
    sent: Arc<Mutex<Vec<usize>>>,
}

#[async_trait]
impl HttpService for Counting {
    async fn call(&self, request: Request<Body>) -> kiops_core::Result<Response<Body>> {
        let uploads = request.uri().path().contains("/blobs/uploads/");
        if uploads && (*request.method() == Method::PUT || *request.method() == Method::PATCH) {
            self.sent.lock().unwrap().push(request.body().as_bytes().map_or(0, bytes::Bytes::len));
        }
        self.inner.call(request).await
    }
}

struct Remote {
    bases: Daemon,
    target: Daemon,
    assembler: Assembler,
    sent: Arc<Mutex<Vec<usize>>>,
    _dir: tempfile::TempDir,
}

impl Remote {
    async fn new() -> Option<Self> {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut AssemblerConfig)) -> Option<Self> {
        let (bases, target) = (Daemon::start(Auth::Htpasswd)?, Daemon::start(Auth::Token)?);
        let base = format!("{}/library/base:1", bases.host());
        let layers = [Files::new().file("etc/motd", "hello"), Files::new().program("bin/tool", "tool")];
        push_base(&bases.client(Some(ALICE)), &base, &layers, json!({"Env": ["PATH=/bin"]})).await;
        let sent = Arc::<Mutex<Vec<usize>>>::default();
        let config = target.config();
        let inner = ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap();
        let service = Arc::new(Counting { inner, sent: Arc::clone(&sent) });
        let registry = target.client_over(config, Some(ALICE), service);
        let dir = tempfile::tempdir().unwrap();
        let by_host: BTreeMap<String, Arc<dyn Registry>> =
            BTreeMap::from([(bases.host(), Arc::new(bases.client(Some(ALICE))) as _)]);
        let mut config = AssemblerConfig::new(dir.path().join("work"));
        change(&mut config);
        let assembler = Assembler::with_registries(config, Arc::new(registry), by_host).unwrap();
        Some(Self { bases, target, assembler, sent, _dir: dir })
    }

    fn dockerfile(&self) -> String {
        format!("FROM {}/library/base:1\nCOPY big /srv/big\nCOPY page /srv/page\n", self.bases.host())
    }

    fn spec(&self) -> kiops_core::build::BuildSpec {
        let name = image(&format!("{}/team/site", self.target.host()));
        kiops_core::build::BuildSpec {
            output: BuildOutput::Push { image: name, tag: tag("abc1234") },
            ..spec()
        }
    }

    fn client(&self) -> Oci {
        self.target.client(Some(BOB))
    }

    async fn run(&self, files: Files) -> RunOutcome {
        super::support::run(&self.assembler, &self.spec(), files.file("Dockerfile", self.dockerfile()))
            .await
            .0
    }
}

fn files(page: &str) -> Files {
    Files::new().file("big", "0123456789".repeat(50_000)).file("page", page)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_image_on_a_base_of_one_registry_goes_to_another() {
    let Some(remote) = Remote::new().await else { return };
    let RunOutcome::Succeeded(result) = remote.run(files("one")).await else { panic!("it fails") };
    let digest = result.digest.unwrap();
    let name = image(&format!("{}/team/site", remote.target.host()));
    let pushed = Image::read(&remote.client(), &name.tagged(tag("abc1234"))).await;
    assert_eq!((&pushed.digest, pushed.layers.len()), (&digest, 4));
    assert_eq!(
        (pushed.entry("srv/page").text.as_str(), pushed.entry("etc/motd").text.as_str()),
        ("one", "hello")
    );

    // The same commit gives the same image in a layout on disk.
    let bench = Bench::new();
    let base = format!("{}/library/base:1", remote.bases.host());
    let layers = [Files::new().file("etc/motd", "hello"), Files::new().program("bin/tool", "tool")];
    push_base(&bench.layout, &base, &layers, json!({"Env": ["PATH=/bin"]})).await;
    assert_eq!(bench.build(&remote.dockerfile(), files("one")).await.digest, digest);

    let (account, source) = (format!("{}:{}", BOB.0, BOB.1), format!("docker://{name}:abc1234"));
    let arguments = ["inspect", "--tls-verify=false", "--creds", &account, &source];
    let Some(output) = skopeo(&arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["Digest"], digest.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_push_sends_only_the_layer_that_changed() {
    for compression in [Compression::gzip(), Compression::zstd()] {
        let Some(remote) = Remote::with(|config| config.compression = compression).await else { return };
        remote.run(files("one")).await;
        let first = std::mem::take(&mut *remote.sent.lock().unwrap());
        assert_eq!(
            first.len(),
            5,
            "two layers of the base, two of its own, and the configuration: {first:?}"
        );
        assert!(matches!(remote.run(files("two")).await, RunOutcome::Succeeded(_)));
        let second = std::mem::take(&mut *remote.sent.lock().unwrap());
        assert_eq!(second.len(), 2, "a layer and the configuration: {second:?}");
        assert!(second.iter().all(|size| *size < 2000), "{second:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_registry_takes_zstd_layers_beside_the_gzip_ones_of_the_base() {
    let Some(remote) = Remote::with(|config| config.compression = Compression::zstd()).await else { return };
    let RunOutcome::Succeeded(result) = remote.run(files("one")).await else { panic!("it fails") };
    let name = image(&format!("{}/team/site", remote.target.host()));
    let pushed = Image::read(&remote.client(), &name.tagged(tag("abc1234"))).await;
    assert_eq!(Some(&pushed.digest), result.digest.as_ref());
    let kinds: Vec<_> = pushed.layer_types().iter().map(|kind| kind.rsplit('+').next().unwrap()).collect();
    assert_eq!(kinds, ["gzip", "gzip", "zstd", "zstd"]);
    assert_eq!(pushed.entry("srv/page").text, "one");

    let dir = tempfile::tempdir().unwrap();
    let account = format!("{}:{}", BOB.0, BOB.1);
    let options = ["--src-tls-verify=false", "--src-creds", &account];
    let source = format!("docker://{name}:abc1234");
    let Some(found) = unpack(&options, &source, &dir.path().join("out")) else { return };
    assert_eq!(found, pushed.diff_ids());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_registry_takes_an_index_and_what_its_images_share_is_sent_once() {
    const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];
    let Some(remote) = Remote::with(|config| config.platforms = PLATFORMS.map(str::to_owned).to_vec()).await
    else {
        return;
    };
    let base = format!("{}/library/base:1", remote.bases.host());
    let shared = [Files::new().file("etc/motd", "hello")];
    push_bases(&remote.bases.client(Some(ALICE)), &base, &PLATFORMS, &shared).await;
    let RunOutcome::Succeeded(result) = remote.run(files("one")).await else { panic!("it fails") };
    let digest = result.digest.unwrap();
    let first = std::mem::take(&mut *remote.sent.lock().unwrap());
    assert_eq!(
        first.len(),
        7,
        "of the base one layer and one each, two of its own, two configurations: {first:?}"
    );

    let name = image(&format!("{}/team/site", remote.target.host()));
    let index = Index::read(&remote.client(), &name.tagged(tag("abc1234"))).await;
    assert_eq!((&index.digest, index.platforms()), (&digest, PLATFORMS.map(str::to_owned).to_vec()));
    for (image, platform) in index.images.iter().zip(PLATFORMS) {
        assert_eq!(
            (image.entry("cpu").text.as_str(), image.entry("srv/page").text.as_str()),
            (platform, "one")
        );
    }
    assert!(matches!(remote.run(files("two")).await, RunOutcome::Succeeded(_)));
    let second = std::mem::take(&mut *remote.sent.lock().unwrap());
    assert_eq!(second.len(), 3, "a layer and the configurations: {second:?}");

    // The same commit gives the same index in a layout on disk.
    let bench = Bench::on(&PLATFORMS);
    push_bases(&bench.layout, &base, &PLATFORMS, &shared).await;
    assert_eq!(bench.build_index(&remote.dockerfile(), files("one")).await.digest, digest);

    let (account, source) = (format!("{}:{}", BOB.0, BOB.1), format!("docker://{name}@{digest}"));
    let arguments =
        ["inspect", "--override-arch", "arm64", "--tls-verify=false", "--creds", &account, &source];
    let Some(output) = skopeo(&arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&seen["Architecture"], &seen["Digest"]), (&json!("arm64"), &json!(digest)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_base_or_target_that_lets_us_not_in_is_named() {
    let Some(remote) = Remote::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = |name: &str| AssemblerConfig::new(dir.path().join(name));
    let by_host = |client: Oci| -> BTreeMap<String, Arc<dyn Registry>> {
        BTreeMap::from([(remote.bases.host(), Arc::new(client) as _)])
    };
    let file = files("one").file("Dockerfile", remote.dockerfile());
    for (base, target, words) in [
        (None, Some(ALICE), "401"),
        (Some((ALICE.0, "guess")), Some(ALICE), "401"),
        (Some(ALICE), Some(BOB), "401"),
    ] {
        let (target, bases) = (Arc::new(remote.target.client(target)), by_host(remote.bases.client(base)));
        let assembler = Assembler::with_registries(config("x"), target, bases).unwrap();
        let outcome = super::support::run(&assembler, &remote.spec(), file.clone()).await.0;
        let RunOutcome::Failed(failure) = outcome else { panic!("{base:?} {outcome:?}") };
        assert_eq!(failure.kind, FailureKind::RegistryAuthenticationFailed, "{failure:?}");
        assert!(failure.message.contains(words) && !failure.remedy.is_empty(), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_push_whose_connection_dies_half_way_goes_on_and_the_image_is_whole() {
    for cut_after in [0, PIECE / 2] {
        let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
        let proxy = Proxy::before(&daemon, cut_after);
        let dir = tempfile::tempdir().unwrap();
        let config = AssemblerConfig::new(dir.path().join("work"));
        let assembler = Assembler::new(config, Arc::new(proxy.client())).unwrap();
        let name = image(&format!("{}/team/site", proxy.host()));
        let output = BuildOutput::Push { image: name.clone(), tag: tag("abc1234") };
        let spec = kiops_core::build::BuildSpec { output, ..spec() };
        let content = cuts::content().0;
        let files =
            Files::new().file("Dockerfile", "FROM scratch\nCOPY big /big\n").file("big", content.to_vec());
        let outcome = super::support::run(&assembler, &spec, files).await.0;
        let RunOutcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
        let cut =
            proxy.sent().into_iter().find(|sent| sent.what.starts_with("PATCH") && sent.status.is_none());
        assert_eq!(cut.unwrap().bytes, cut_after);
        let client = proxy.client();
        let manifest = client.manifest(&name, &result.digest.unwrap()).await.unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let layer = Digest::parse(manifest["layers"][0]["digest"].as_str().unwrap()).unwrap();
        let packed = crate::fixtures::read(&client, &name, &layer).await.unwrap();
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
        assert!(plain.windows(content.len()).any(|part| part == content), "the file is in its layer");
    }
}
