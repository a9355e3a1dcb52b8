//! Sources, specs, and reading images back.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use kiops_core::build::{BuildExecutor, BuildMetadata, BuildOutput, BuildSpec};
use kiops_core::event::Repository;
use kiops_core::image::{Manifest, Registry};
use kiops_core::name::{
    BranchName, BuildId, CommitId, ComponentName, Digest, GitRef, ImageRef, ProviderName, RunId, ServiceName,
};
use kiops_core::provider::CloneAccess;
use kiops_core::run::{RunEvent, RunInputs, RunOutcome, RunReport, SourceAccess};
use kiops_core::stage::{Failure, FailureKind};
use kiops_core::stream::{self, ByteStream};
use kiops_registry::assemble::{Assembler, AssemblerConfig, Compression};
use kiops_registry::layout::ImageLayout;
use serde_json::Value;
use tar::{Builder, EntryType, Header};

use crate::fixtures::{image, open, tag};

pub(crate) const SITE: &str = "quickstart.local/site";
pub(crate) const COMMIT: &str = "abc1234def5678abc1234def5678abc1234def56";

/// A commit's files as an archive.
#[derive(Clone)]
pub(crate) struct Files(Vec<Packed>);

#[derive(Clone)]
struct Packed {
    path: Vec<u8>,
    kind: EntryType,
    link: Vec<u8>,
    text: Vec<u8>,
    mode: u32,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn file(self, path: impl AsRef<[u8]>, text: impl Into<Vec<u8>>) -> Self {
        self.entry(path, EntryType::Regular, "", text, 0o664)
    }

    pub(crate) fn program(self, path: &str, text: &str) -> Self {
        self.entry(path, EntryType::Regular, "", text, 0o775)
    }

    pub(crate) fn link(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(path, EntryType::Symlink, target, "", 0o777)
    }

    pub(crate) fn entry(
        mut self,
        path: impl AsRef<[u8]>,
        kind: EntryType,
        link: impl AsRef<[u8]>,
        text: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Self {
        let (path, link) = (path.as_ref().to_vec(), link.as_ref().to_vec());
        self.0.push(Packed { path, kind, link, text: text.into(), mode });
        self
    }

    pub(crate) fn tar(&self) -> Bytes {
        let mut builder = Builder::new(Vec::new());
        for Packed { path, kind, link, text, mode } in &self.0 {
            let mut header = Header::new_gnu();
            // By hand, since the builder refuses the paths that the tests are about.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path);
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
            header.set_entry_type(*kind);
            header.set_size(text.len() as u64);
            header.set_mode(*mode);
            // What another host might write: none of it may show in the image.
            header.set_uid(1234);
            header.set_gid(1234);
            header.set_mtime(99);
            header.set_cksum();
            builder.append(&header, &text[..]).unwrap();
        }
        builder.into_inner().unwrap().into()
    }
}

/// A source that hands out an archive in small chunks.
pub(crate) struct Archive {
    commit: CommitId,
    tar: Bytes,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Archive")
    }
}

impl Archive {
    pub(crate) fn new(tar: Bytes) -> Self {
        Self { commit: CommitId::parse(COMMIT).unwrap(), tar }
    }
}

#[async_trait]
impl SourceAccess for Archive {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    async fn archive(&self) -> kiops_core::Result<ByteStream> {
        let chunks: Vec<_> = self.tar.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        Ok(Box::pin(futures_util::stream::iter(chunks)))
    }

    async fn clone_access(&self) -> kiops_core::Result<CloneAccess> {
        Err(kiops_core::Error::unsupported("clone", "an archive has no address"))
    }
}

pub(crate) fn inputs(source: impl SourceAccess + 'static) -> RunInputs {
    RunInputs { source: Arc::new(source), pull: Vec::new(), push: None, secrets: BTreeMap::new() }
}

pub(crate) fn spec() -> BuildSpec {
    BuildSpec {
        build: BuildId::derive(["b"]),
        service: ServiceName::parse("site").unwrap(),
        component: ComponentName::default(),
        provider: ProviderName::parse("plain").unwrap(),
        repository: Repository { id: None, path: "team/site".into() },
        commit: CommitId::parse(COMMIT).unwrap(),
        git_ref: GitRef::Branch(BranchName::parse("main").unwrap()),
        context: String::new(),
        dockerfile: "Dockerfile".into(),
        target: None,
        build_args: BTreeMap::new(),
        secrets: BTreeMap::new(),
        labels: BTreeMap::new(),
        metadata: BuildMetadata {
            git_commit_timestamp: "2026-01-02T03:04:05Z".into(),
            ..BuildMetadata::default()
        },
        output: BuildOutput::Push { image: image(SITE), tag: tag("abc1234") },
    }
}

pub(crate) fn run_id(text: &str) -> RunId {
    RunId::parse(text).unwrap()
}

/// Runs a build to its end.
pub(crate) async fn run(
    assembler: &Assembler,
    spec: &BuildSpec,
    files: Files,
) -> (RunOutcome, Vec<RunReport>) {
    run_tar(assembler, spec, files.tar()).await
}

async fn run_tar(assembler: &Assembler, spec: &BuildSpec, tar: Bytes) -> (RunOutcome, Vec<RunReport>) {
    let run = run_id("run");
    assembler.start(&run, spec, inputs(Archive::new(tar))).await.unwrap();
    let reports = collect(assembler, &run).await;
    assembler.forget(&run).await.unwrap();
    let Some(RunReport { event: RunEvent::Finished(outcome), .. }) = reports.last() else {
        panic!("the last report is no outcome: {reports:?}")
    };
    (outcome.clone(), reports)
}

/// A layout and an assembler that builds into it, in one temporary directory.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) layout: ImageLayout,
    pub(crate) assembler: Assembler,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::with(dir, |_| {})
    }

    /// One whose layers are compressed with zstd.
    pub(crate) fn zstd() -> Self {
        Self::with(tempfile::tempdir().unwrap(), |config| config.compression = Compression::zstd())
    }

    /// One that builds for these platforms.
    pub(crate) fn on(platforms: &[&str]) -> Self {
        let platforms = platforms.iter().map(ToString::to_string).collect();
        Self::with(tempfile::tempdir().unwrap(), |config| config.platforms = platforms)
    }

    pub(crate) fn with(dir: tempfile::TempDir, change: impl FnOnce(&mut AssemblerConfig)) -> Self {
        let layout = open(&dir.path().join("layout"));
        let mut config = AssemblerConfig::new(dir.path().join("work"));
        change(&mut config);
        let assembler = Assembler::new(config, Arc::new(layout.clone())).unwrap();
        Self { dir, layout, assembler }
    }

    /// Runs a build to its end.
    pub(crate) async fn run(&self, spec: &BuildSpec, files: Files) -> (RunOutcome, Vec<RunReport>) {
        self.run_tar(spec, files.tar()).await
    }

    pub(crate) async fn run_tar(&self, spec: &BuildSpec, tar: Bytes) -> (RunOutcome, Vec<RunReport>) {
        run_tar(&self.assembler, spec, tar).await
    }

    /// Builds a Dockerfile over files, and reads the image back.
    pub(crate) async fn build(&self, dockerfile: &str, files: Files) -> Image {
        self.build_spec(&spec(), dockerfile, files).await
    }

    pub(crate) async fn build_spec(&self, spec: &BuildSpec, dockerfile: &str, files: Files) -> Image {
        self.assembler.accepts(spec, dockerfile).unwrap_or_else(|failure| panic!("{failure}"));
        match self.run(spec, files.file(&spec.dockerfile, dockerfile)).await.0 {
            RunOutcome::Succeeded(result) => {
                let BuildOutput::Push { image, .. } = &spec.output else { panic!("not pushed") };
                Image::read(&self.layout, &image.at(result.digest.unwrap())).await
            }
            other => panic!("{other:?}"),
        }
    }

    /// Builds a Dockerfile over files for several platforms, and reads the index back with its images.
    pub(crate) async fn build_index(&self, dockerfile: &str, files: Files) -> Index {
        self.assembler.accepts(&spec(), dockerfile).unwrap_or_else(|failure| panic!("{failure}"));
        match self.run(&spec(), files.file("Dockerfile", dockerfile)).await {
            (RunOutcome::Succeeded(result), reports) => {
                let found = self.layout.resolve(&image(SITE).tagged(tag("abc1234"))).await.unwrap();
                assert_eq!(found, result.digest, "the tag names what the build succeeded with");
                let lines = lines(&reports);
                Index { lines, ..Index::read(&self.layout, &image(SITE).at(result.digest.unwrap())).await }
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    /// The failure of a build that fails, or of one that another executor may do.
    pub(crate) async fn fail(&self, spec: &BuildSpec, files: Files) -> (Failure, bool) {
        let before = self.tags().await;
        let outcome = self.run(spec, files).await.0;
        assert_eq!(self.tags().await, before, "a failed build sets no tag");
        match outcome {
            RunOutcome::Failed(failure) => (failure, false),
            RunOutcome::Refused(failure) => (failure, true),
            other => panic!("{other:?}"),
        }
    }

    /// Builds a Dockerfile that fails; says how, and checks that the message has the words.
    pub(crate) async fn fails(
        &self,
        dockerfile: &str,
        files: Files,
        kind: FailureKind,
        words: &str,
    ) -> Failure {
        let (failure, _) = self.fail(&spec(), files.file("Dockerfile", dockerfile)).await;
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(words), "`{words}` is not in: {failure}");
        assert!(!failure.remedy.is_empty());
        failure
    }

    async fn tags(&self) -> usize {
        self.layout.tags(&image(SITE), &kiops_core::image::TagPage::default()).await.unwrap().len()
    }
}

pub(crate) async fn collect(assembler: &Assembler, run: &RunId) -> Vec<RunReport> {
    assembler.reports(run, 0).await.unwrap().map(Result::unwrap).collect().await
}

/// The lines of some reports, with their stage before them.
pub(crate) fn lines(reports: &[RunReport]) -> Vec<String> {
    let lines = reports.iter().filter_map(|report| match &report.event {
        RunEvent::Lines(lines) => Some(lines),
        _ => None,
    });
    lines.flatten().map(|line| format!("[{}] {}", line.stage, line.text)).collect()
}

/// An image index, and the images that it names.
pub(crate) struct Index {
    pub(crate) digest: Digest,
    pub(crate) document: Value,
    pub(crate) images: Vec<Image>,
    /// What was told while it was built.
    pub(crate) lines: Vec<String>,
}

impl Index {
    pub(crate) async fn read(registry: &dyn Registry, reference: &ImageRef) -> Self {
        let digest = registry.resolve(reference).await.unwrap().unwrap();
        let manifest = registry.manifest(&reference.name, &digest).await.unwrap();
        assert_eq!(manifest.media_type, "application/vnd.oci.image.index.v1+json");
        let document: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let mut images = Vec::new();
        for child in document["manifests"].as_array().unwrap() {
            let digest = Digest::parse(child["digest"].as_str().unwrap()).unwrap();
            let size = registry.manifest(&reference.name, &digest).await.unwrap().bytes.len();
            assert_eq!(child["size"], size);
            images.push(Image::read(registry, &reference.name.at(digest)).await);
        }
        Self { digest, document, images, lines: Vec::new() }
    }

    /// The platforms in the order of the index.
    pub(crate) fn platforms(&self) -> Vec<String> {
        let manifests = self.document["manifests"].as_array().unwrap();
        manifests.iter().map(|child| shown_platform(&child["platform"])).collect()
    }
}

/// `os/architecture[/variant]` of an index' entry, or of an image's configuration.
pub(crate) fn shown_platform(of: &Value) -> String {
    let words = ["os", "architecture", "variant"].iter().filter_map(|field| of[*field].as_str());
    words.collect::<Vec<_>>().join("/")
}

/// An image as a runtime sees it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) digest: Digest,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    /// The entries of each layer in order.
    pub(crate) layers: Vec<Vec<Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// `d`, `-`, `l`, `h` (hard link) or `p` (pipe), and the mode.
    pub(crate) mode: String,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    /// A file's text, or where a link leads.
    pub(crate) text: String,
}

impl Image {
    pub(crate) async fn read(registry: &dyn Registry, reference: &ImageRef) -> Self {
        let digest = registry.resolve(reference).await.unwrap().unwrap();
        let manifest = registry.manifest(&reference.name, &digest).await.unwrap();
        let manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let blob = async |descriptor: &Value| {
            let digest = Digest::parse(descriptor["digest"].as_str().unwrap()).unwrap();
            stream::collect(registry.blob(&reference.name, &digest).await.unwrap(), 1 << 28).await.unwrap()
        };
        let config: Value = serde_json::from_slice(&blob(&manifest["config"]).await).unwrap();
        let mut layers = Vec::new();
        for (at, layer) in manifest["layers"].as_array().unwrap().iter().enumerate() {
            let plain = unpacked(layer["mediaType"].as_str().unwrap(), &blob(layer).await);
            assert_eq!(config["rootfs"]["diff_ids"][at], Digest::of(&plain).as_str());
            layers.push(entries(&plain));
        }
        let history = config["history"].as_array().unwrap();
        let filled = history.iter().filter(|line| line["empty_layer"] != true).count();
        assert_eq!(filled, layers.len(), "the history tells of every layer");
        Self { digest, manifest, config, layers }
    }

    /// Path and text of the files of a layer.
    pub(crate) fn files(&self, layer: usize) -> Vec<(&str, &str)> {
        let files = self.layers[layer].iter().filter(|entry| entry.mode.starts_with('-'));
        files.map(|entry| (entry.path.as_str(), entry.text.as_str())).collect()
    }

    /// The media types of its layers.
    pub(crate) fn layer_types(&self) -> Vec<&str> {
        let layers = self.manifest["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer["mediaType"].as_str().unwrap()).collect()
    }

    /// The digests of its layers' content.
    pub(crate) fn diff_ids(&self) -> Vec<String> {
        let ids = self.config["rootfs"]["diff_ids"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn entry(&self, path: &str) -> &Entry {
        self.layers.iter().flatten().rfind(|entry| entry.path == path).unwrap_or_else(|| panic!("no {path}"))
    }
}

/// A layer as its media type says that it is compressed.
fn unpacked(media_type: &str, packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match media_type {
        "application/vnd.oci.image.layer.v1.tar+gzip" => {
            flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut plain).unwrap();
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" => plain = zstd::stream::decode_all(packed).unwrap(),
        other => panic!("{other} is no layer"),
    }
    plain
}

fn entries(plain: &[u8]) -> Vec<Entry> {
    let mut archive = tar::Archive::new(plain);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            EntryType::Directory => 'd',
            EntryType::Regular => '-',
            EntryType::Symlink => 'l',
            EntryType::Link => 'h',
            EntryType::Fifo => 'p',
            other => panic!("{other:?}"),
        };
        let mut text = entry.link_name_bytes().map_or_else(String::new, |link| shown(&link));
        entry.read_to_string(&mut text).unwrap();
        Entry {
            path: shown(&entry.path_bytes()),
            mode: format!("{kind}{:o}", header.mode().unwrap()),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime: header.mtime().unwrap(),
            text,
        }
    };
    archive.entries().unwrap().map(read).collect()
}

/// A name that is not UTF-8 with its bytes escaped.
fn shown(name: &[u8]) -> String {
    String::from_utf8(name.to_vec()).unwrap_or_else(|_| name.escape_ascii().to_string())
}

/// A layer of a base image.
pub(crate) fn base_layer(files: &Files) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&files.tar()).unwrap();
    encoder.finish().unwrap()
}

/// Pushes a base image of these layers with this `config` field.
pub(crate) async fn push_base(
    layout: &dyn Registry,
    reference: &str,
    layers: &[Files],
    config: Value,
) -> Digest {
    push_base_for(layout, reference, "linux/amd64", layers, config).await
}

/// Pushes base images for these platforms, each with the layers, and a file that says for which it is, as an index. An attestation is
/// beside them, as BuildKit writes it.
pub(crate) async fn push_bases(layout: &dyn Registry, reference: &str, platforms: &[&str], layers: &[Files]) {
    let mut manifests = Vec::new();
    let name = ImageRef::parse(reference).unwrap().name;
    for platform in platforms {
        let own = Files::new().file("cpu", *platform);
        let layers: Vec<Files> = layers.iter().cloned().chain([own]).collect();
        let config = serde_json::json!({"Env": [format!("CPU={platform}")]});
        let digest = push_base_for(layout, reference, platform, &layers, config).await;
        let size = layout.manifest(&name, &digest).await.unwrap().bytes.len();
        let words: Vec<&str> = platform.split('/').collect();
        let mut platform = serde_json::json!({"os": words[0], "architecture": words[1]});
        if let Some(variant) = words.get(2) {
            platform["variant"] = (*variant).into();
        }
        manifests.push(serde_json::json!({
            "mediaType": crate::fixtures::MANIFEST, "digest": digest, "size": size, "platform": platform,
        }));
    }
    let mut attestation = manifests[0].clone();
    attestation["platform"] = serde_json::json!({"os": "unknown", "architecture": "unknown"});
    manifests.push(attestation);
    let media_type = "application/vnd.oci.image.index.v1+json";
    let document = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    let index = Manifest { media_type: media_type.into(), bytes: document.to_string().into() };
    let digest = layout.put_manifest(&name, &index).await.unwrap();
    layout.tag(&name, &ImageRef::parse(reference).unwrap().tag.unwrap(), &digest).await.unwrap();
}

async fn push_base_for(
    layout: &dyn Registry,
    reference: &str,
    platform: &str,
    layers: &[Files],
    config: Value,
) -> Digest {
    let reference = ImageRef::parse(reference).unwrap();
    let name = &reference.name;
    let mut descriptors = Vec::new();
    for layer in layers {
        let mut descriptor = crate::fixtures::put(layout, name, base_layer(layer)).await;
        descriptor["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
        descriptors.push(descriptor);
    }
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(&layer.tar())).collect();
    let history: Vec<Value> = layers.iter().map(|_| serde_json::json!({"created_by": "base"})).collect();
    let mut words = platform.split('/');
    let (os, architecture) = (words.next().unwrap(), words.next().unwrap());
    let mut config = serde_json::json!({
        "architecture": architecture, "os": os, "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    if let Some(variant) = words.next() {
        config["variant"] = variant.into();
    }
    let config = crate::fixtures::put(layout, name, config.to_string()).await;
    let manifest = crate::fixtures::manifest_of(&config, &descriptors);
    let digest = layout.put_manifest(name, &manifest).await.unwrap();
    layout.tag(name, &reference.tag.unwrap(), &digest).await.unwrap();
    digest
}

/// Whether a folder has nothing in it but what the assembler keeps for itself.
pub(crate) fn is_clean(work: &Path) -> bool {
    std::fs::read_dir(work).unwrap().all(|entry| {
        let entry = entry.unwrap();
        entry.file_name() == ".lock" || std::fs::read_dir(entry.path()).unwrap().count() == 1
    })
}
