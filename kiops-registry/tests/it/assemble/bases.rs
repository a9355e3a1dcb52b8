//! Building on images of the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiops_core::http::{Reply, ScriptedHttp, SystemTimer};
use kiops_core::image::Registry;
use kiops_core::name::Digest;
use kiops_core::run::RunOutcome;
use kiops_core::stage::{Failure, FailureKind};
use kiops_registry::assemble::{Assembler, AssemblerConfig};
use kiops_registry::oci::{Oci, OciConfig};
use serde_json::json;
use tar::EntryType;

use super::support::{Bench, Files, base_layer, push_base, spec};
use crate::dockerhub::{self, host::Hub};
use crate::fixtures::{MANIFEST, image, open, tag};
use crate::skopeo::copy_out;

const BASE: &str = "quickstart.local/base:1";

fn dir(files: Files, path: &str, mode: u32) -> Files {
    files.entry(path, EntryType::Directory, "", "", mode)
}

/// A base as distributions have them: `/bin` is a link, `/tmp` is everybody's.
fn layers() -> [Files; 2] {
    let mut below = Files::new();
    for (path, mode) in
        [("usr/", 0o755), ("usr/bin/", 0o755), ("tmp/", 0o1777), ("etc/", 0o755), ("old/", 0o755)]
    {
        below = dir(below, path, mode);
    }
    let below = below
        .link("bin", "usr/bin")
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\nweb:x:101:102::/:/bin/sh\n")
        .file("etc/group", "root:x:0:\nstaff:x:50:\n")
        .file("old/gone", "gone")
        .file("old/hidden", "hidden")
        .program("usr/bin/tool", "tool")
        .entry("usr/bin/alias", EntryType::Link, "usr/bin/tool", "", 0o755)
        .entry("tmp/pipe", EntryType::Fifo, "", "", 0o644);
    let above = dir(Files::new(), "old/", 0o755)
        .file("old/.wh..wh..opq", "")
        .file("old/new", "new")
        .file("etc/.wh.group", "")
        .file("etc/group", "staff:x:51:\n");
    [below, above]
}

async fn bench() -> Bench {
    let bench = Bench::new();
    let config = json!({"Env": ["PATH=/bin", "A=base"], "Cmd": ["sh"], "WorkingDir": "/work", "Labels": {"l": "base"}, "X": 1});
    push_base(&bench.layout, BASE, &layers(), config).await;
    bench
}

#[tokio::test]
async fn an_image_on_a_base_has_its_layers_and_its_settings() {
    let bench = bench().await;
    let image = bench.build(&format!("FROM {BASE}\nENV B=$A\nENTRYPOINT [\"/e\"]\n"), Files::new()).await;
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.manifest["layers"][0]["digest"], Digest::of(&base_layer(&layers()[0])).as_str());
    assert_eq!(image.manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let config = &image.config["config"];
    assert_eq!(config["Env"], json!(["PATH=/bin", "A=base", "B=base"]));
    assert_eq!((&config["WorkingDir"], &config["X"]), (&json!("/work"), &json!(1)));
    assert_eq!(config.get("Cmd"), None, "an entrypoint takes the base's command away");
    let reference = "quickstart.local/site:abc1234";
    let Some(found) = copy_out(bench.layout.path(), reference, &bench.dir.path().join("out")) else { return };
    assert_eq!(found, image.digest.as_str());
}

#[tokio::test]
async fn copied_files_go_where_the_bases_links_lead_and_leave_its_folders_as_they_are() {
    let bench = bench().await;
    let files = Files::new().file("a", "a");
    let image = bench
        .build(
            &format!(
                "FROM {BASE}\nCOPY a /bin/\nCOPY a /tmp/new/a\nCOPY a there\nCOPY a /usr/bin\nWORKDIR /tmp\n"
            ),
            files,
        )
        .await;
    let paths = |layer: usize| image.layers[layer].iter().map(|e| e.path.as_str()).collect::<Vec<_>>();
    assert_eq!(paths(2), ["usr/", "usr/bin/", "usr/bin/a"]);
    assert_eq!(paths(3), ["tmp/", "tmp/new/", "tmp/new/a"]);
    assert_eq!(image.layers[3][0].mode, "d1777");
    assert_eq!(image.layers[3][0].owner, (1234, 1234));
    assert_eq!(paths(4), ["work/", "work/there"], "relative to the base's working directory");
    assert_eq!(paths(5), ["usr/", "usr/bin/", "usr/bin/a"]);
    assert_eq!(image.layers.len(), 6, "a working directory that is there makes no layer");
}

#[tokio::test]
async fn files_come_out_of_a_base_with_its_owners_and_without_what_it_removed() {
    let bench = bench().await;
    let image = bench
        .build(
            &format!("FROM scratch\nCOPY --from={BASE} /bin/alias /tool\nCOPY --from={BASE} /old /old\nCOPY --from={BASE} /etc /etc\nCOPY --from={BASE} /bin /b/\n"),
            Files::new(),
        )
        .await;
    assert_eq!(image.entry("tool").text, "tool");
    assert_eq!(image.entry("tool").owner, (1234, 1234));
    assert_eq!(image.entry("tool").mtime, 99);
    assert_eq!(image.files(1), [("old/new", "new")]);
    assert_eq!(image.entry("etc/group").text, "staff:x:51:\n");
    assert_eq!(image.files(3), [("b/alias", "tool"), ("b/tool", "tool")]);
    assert!(image.layers.iter().flatten().all(|entry| !entry.path.contains(".wh.")));
}

#[tokio::test]
async fn names_of_chown_are_the_images_own() {
    let bench = bench().await;
    let files = || Files::new().file("a", "a");
    let image = bench
        .build(
            &format!("FROM {BASE}\nARG WHO=web\nCOPY --chown=$WHO a /x/\nCOPY --chown=web:staff a /y\n"),
            files(),
        )
        .await;
    assert_eq!((image.entry("x/").owner, image.entry("x/a").owner), ((101, 102), (101, 102)));
    assert_eq!(image.entry("y").owner, (101, 51));
    let kind = FailureKind::DockerfileInvalid;
    bench
        .fails(
            &format!("FROM {BASE}\nCOPY --chown=nobody a /\n"),
            files(),
            kind,
            "line 2: the image's /etc/passwd has no user `nobody`",
        )
        .await;
    bench.fails("FROM scratch\nCOPY --chown=web a /\n", files(), kind, "no user `web`").await;
}

#[tokio::test]
async fn a_base_that_is_not_there_is_named_with_its_line() {
    let bench = bench().await;
    for (from, words) in [
        ("nginx", "line 1: docker.io/library/nginx:latest: the registry has no such image"),
        ("quickstart.local/base:2", "line 1: quickstart.local/base:2"),
    ] {
        let failure = bench
            .fails(&format!("FROM {from}\n"), Files::new(), FailureKind::BaseImageUnavailable, words)
            .await;
        assert!(failure.remedy.contains("skopeo copy"), "{failure}");
    }
    let words = "line 2: docker.io/library/nginx:latest";
    bench
        .fails(
            "FROM scratch\nCOPY --from=nginx /a /a\n",
            Files::new(),
            FailureKind::BaseImageUnavailable,
            words,
        )
        .await;
}

#[tokio::test]
async fn triggers_of_a_base_and_layers_that_cannot_be_read_are_refused() {
    let bench = bench().await;
    push_base(&bench.layout, "quickstart.local/trigger:1", &[], json!({"OnBuild": ["RUN make"]})).await;
    let files = || Files::new().file("a", "a");
    let failure = |from: &str| files().file("Dockerfile", format!("FROM {from}\nCOPY a /\n"));
    let (found, refused) = bench.fail(&spec(), failure("quickstart.local/trigger:1")).await;
    assert!(
        refused
            && found.kind == FailureKind::UnsupportedInstruction
            && found.message.contains("ONBUILD RUN make"),
        "{found}"
    );

    let name = image("quickstart.local/strange");
    for (word, content) in [
        ("zstd", b"\x28\xb5\x2f\xfd1234".to_vec()),
        ("garbage", vec![b'x'; 2000]),
        ("climbs", base_layer(&Files::new().file("../../etc/x", "x"))),
    ] {
        let layer = crate::fixtures::put(&bench.layout, &name, content).await;
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"")]}});
        let config = crate::fixtures::put(&bench.layout, &name, config.to_string()).await;
        let digest =
            bench.layout.put_manifest(&name, &crate::fixtures::manifest_of(&config, &[layer])).await.unwrap();
        bench.layout.tag(&name, &tag(word), &digest).await.unwrap();
        let (found, was) = bench.fail(&spec(), failure(&format!("quickstart.local/strange:{word}"))).await;
        assert_eq!((found.kind, was), (FailureKind::BaseImageUnavailable, false), "{found}");
    }
}

#[tokio::test]
async fn of_an_index_the_image_for_the_platform_is_taken() {
    let bench = bench().await;
    let digest = push_base(&bench.layout, "quickstart.local/arm:1", &[], json!({"Env": ["CPU=arm"]})).await;
    let size = bench.layout.manifest(&image("quickstart.local/arm"), &digest).await.unwrap().bytes.len();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let document = json!({"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": digest,
        "size": size, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}]});
    let index =
        kiops_core::image::Manifest { media_type: media_type.into(), bytes: document.to_string().into() };
    let name = image("quickstart.local/arm");
    let parent = bench.layout.put_manifest(&name, &index).await.unwrap();
    bench.layout.tag(&name, &tag("multi"), &parent).await.unwrap();
    let from = "quickstart.local/arm:multi";
    let built = bench.build(&format!("FROM --platform=linux/arm64 {from}\n"), Files::new()).await;
    assert_eq!(built.config["config"]["Env"], json!(["CPU=arm"]));
    bench
        .fails(
            &format!("FROM {from}\n"),
            Files::new(),
            FailureKind::BaseImageUnavailable,
            "no image for linux/amd64",
        )
        .await;
}

/// The failure of a build whose bases come from this registry.
async fn failure_of(host: &str, bases: impl Registry + 'static, dockerfile: &str) -> Failure {
    let dir = tempfile::tempdir().unwrap();
    let by_host: BTreeMap<String, Arc<dyn Registry>> =
        BTreeMap::from([(host.to_owned(), Arc::new(bases) as _)]);
    let target = Arc::new(open(&dir.path().join("layout")));
    let config = AssemblerConfig::new(dir.path().join("work"));
    let assembler = Assembler::with_registries(config, target, by_host).unwrap();
    let files = Files::new().file("Dockerfile", dockerfile);
    match super::support::run(&assembler, &spec(), files).await.0 {
        RunOutcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn limited(wait: Option<&str>) -> Reply {
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    let reply = Reply::status(429).body(body);
    match wait {
        Some(seconds) => reply.header("retry-after", seconds),
        None => reply,
    }
}

#[tokio::test]
async fn a_registry_that_limits_pulls_is_named_with_when_to_try_again_and_what_helps() {
    const HOST: &str = "registry.example.com";
    let config = json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"plain")]}})
    .to_string();
    let layer = Digest::of(b"layer");
    let descriptor = |digest: &Digest, size: usize| json!({"mediaType": "application/octet-stream", "digest": digest, "size": size});
    let manifest = crate::fixtures::manifest_of(
        &descriptor(&Digest::of(config.as_bytes()), config.len()),
        &[descriptor(&layer, 5)],
    );
    let manifest = manifest.bytes;
    for (wait, shown) in
        [(Some("90"), "in 90 seconds"), (Some("21600"), "in 6 hours"), (Some("1900"), "in 32 minutes")]
    {
        // From the first call on, or where the layers are read.
        for at_once in [true, false] {
            let (config, manifest, layer) = (config.clone(), manifest.clone(), layer.clone());
            let http = ScriptedHttp::answering(move |seen| {
                let manifests = seen.path().contains("/manifests/");
                let digest = Digest::of(&manifest).to_string();
                match seen.path().rsplit('/').next().unwrap() {
                    _ if at_once => limited(wait),
                    _ if manifests => Reply::status(200)
                        .header("content-type", MANIFEST)
                        .header("docker-content-digest", &digest)
                        .body(manifest.clone()),
                    of if of == layer.as_str() => limited(wait),
                    _ => Reply::status(200).body(config.clone()),
                }
            });
            let oci = Oci::new(OciConfig::new(HOST), None, Arc::new(http), Arc::new(SystemTimer)).unwrap();
            let dockerfile = format!("FROM scratch\nCOPY --from={HOST}/team/base:1 /a /a\n");
            let failure = failure_of(HOST, oci, &dockerfile).await;
            assert_eq!(failure.kind, FailureKind::BaseImageUnavailable, "{failure}");
            let place = if at_once { "line 2: registry.example.com/team/base:1: " } else { "layer sha256:" };
            for words in [place, "limits pulls", "429", shown] {
                assert!(failure.message.contains(words), "`{words}` is not in: {failure}");
            }
            for words in ["account", "mirror", shown] {
                assert!(failure.remedy.contains(words), "`{words}` is not in: {failure}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn docker_hubs_limit_on_pulls_is_told_with_its_figures() {
    let hub = Hub::new();
    let http = ScriptedHttp::answering(move |seen| {
        let pulls = seen.url.starts_with("https://registry-1.docker.io/v2/library/nginx");
        let known = !seen.header("authorization").is_empty();
        if pulls && known { limited(None) } else { hub.answer(seen) }
    });
    let failure = failure_of("docker.io", dockerhub::client(http, None), "FROM nginx:alpine\n").await;
    assert_eq!(failure.kind, FailureKind::BaseImageUnavailable, "{failure}");
    assert!(
        failure.message.contains("line 1: docker.io/library/nginx:alpine: its registry limits pulls"),
        "{failure}"
    );
    for words in ["76 of 200 left in 6 hours", "give a Docker Hub user name", "mirror", "build again later"] {
        assert!(failure.remedy.contains(words), "`{words}` is not in: {failure}");
    }
}
