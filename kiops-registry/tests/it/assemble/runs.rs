//! Runs: starting, following, canceling, forgetting; and what a full disk does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use kiops_core::ErrorKind;
use kiops_core::build::BuildExecutor as _;
use kiops_core::image::{ImageAccess, Manifest, Registry, RegistryCredential, TagPage};
use kiops_core::name::{CommitId, Digest, ImageName, ImageRef, Tag};
use kiops_core::provider::CloneAccess;
use kiops_core::run::{Observed, ObservedState, RunEvent, RunOutcome, SourceAccess};
use kiops_core::secret::Secret;
use kiops_core::stage::{FailureKind, Stage};
use kiops_core::stream::ByteStream;
use kiops_registry::assemble::{Assembler, AssemblerConfig};
use kiops_registry::layout::ImageLayout;

use super::support::{
    Archive, Bench, COMMIT, Files, collect, inputs, is_clean, lines, push_bases, run, run_id, spec,
};
use crate::fixtures::{count, open};

fn small() -> Archive {
    Archive::new(Files::new().file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "a").tar())
}

/// A source that never gives its archive.
#[derive(Debug)]
struct Silent(CommitId);

#[async_trait]
impl SourceAccess for Silent {
    fn commit(&self) -> &CommitId {
        &self.0
    }

    async fn archive(&self) -> kiops_core::Result<ByteStream> {
        Ok(Box::pin(futures_util::stream::pending()))
    }

    async fn clone_access(&self) -> kiops_core::Result<CloneAccess> {
        Err(kiops_core::Error::unsupported("clone", "no"))
    }
}

fn silent() -> Silent {
    Silent(CommitId::parse(COMMIT).unwrap())
}

#[tokio::test]
async fn starting_twice_is_starting_once() {
    let bench = Bench::new();
    let run = run_id("twice");
    bench.assembler.start(&run, &spec(), inputs(small())).await.unwrap();
    bench.assembler.start(&run, &spec(), inputs(silent())).await.unwrap();
    let first = collect(&bench.assembler, &run).await;
    bench.assembler.start(&run, &spec(), inputs(silent())).await.unwrap();
    assert_eq!(collect(&bench.assembler, &run).await, first, "also when it is over");
    let finished = Observed { run: run.clone(), state: ObservedState::Finished };
    assert_eq!(bench.assembler.observed().await.unwrap(), [finished]);
    let rest: Vec<u64> =
        bench.assembler.reports(&run, 3).await.unwrap().map(|report| report.unwrap().n).collect().await;
    assert_eq!(rest, (4..=first.len() as u64).collect::<Vec<_>>());
    bench.assembler.forget(&run).await.unwrap();
    bench.assembler.forget(&run).await.unwrap();
    assert_eq!(bench.assembler.observed().await.unwrap(), []);
    assert!(is_clean(&bench.dir.path().join("work")));
}

#[tokio::test]
async fn a_run_that_nobody_knows_is_lost() {
    let bench = Bench::new();
    let reports: Vec<_> = bench.assembler.reports(&run_id("gone"), 7).await.unwrap().collect().await;
    let [Ok(report)] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(report.n, 8);
    assert!(matches!(&report.event, RunEvent::Finished(RunOutcome::Lost { .. })));
    bench.assembler.cancel(&run_id("gone")).await.unwrap();
}

#[tokio::test]
async fn a_canceled_run_is_over_when_cancel_returns() {
    let bench = Bench::new();
    let run = run_id("silent");
    bench.assembler.start(&run, &spec(), inputs(silent())).await.unwrap();
    assert_eq!(bench.assembler.observed().await.unwrap()[0].state, ObservedState::Running);
    assert_eq!(bench.assembler.forget(&run).await.unwrap_err().kind(), ErrorKind::Conflict);
    bench.assembler.cancel(&run).await.unwrap();
    bench.assembler.cancel(&run).await.unwrap();
    assert_eq!(bench.assembler.observed().await.unwrap()[0].state, ObservedState::Finished);
    let reports = collect(&bench.assembler, &run).await;
    assert_eq!(reports.last().unwrap().event, RunEvent::Finished(RunOutcome::Canceled));
    assert!(is_clean(&bench.dir.path().join("work")));
}

/// A registry that waits before one of its writing calls, and counts those that have been made.
#[derive(Debug)]
struct Slow {
    layout: ImageLayout,
    wait_at: usize,
    calls: AtomicUsize,
    /// How often a name was looked up.
    resolved: AtomicUsize,
    reached: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
}

impl Slow {
    fn new(dir: &std::path::Path, wait_at: usize) -> Arc<Self> {
        Arc::new(Self {
            layout: open(&dir.join("layout")),
            wait_at,
            calls: AtomicUsize::new(0),
            resolved: AtomicUsize::new(0),
            reached: tokio::sync::Notify::new(),
            go_on: tokio::sync::Notify::new(),
        })
    }

    async fn pass(&self) {
        if self.calls.fetch_add(1, Ordering::SeqCst) == self.wait_at {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
    }
}

#[async_trait]
impl Registry for Slow {
    async fn check(&self, image: &ImageName) -> kiops_core::Result<()> {
        self.layout.check(image).await
    }
    async fn tags(&self, image: &ImageName, page: &TagPage) -> kiops_core::Result<Vec<Tag>> {
        self.layout.tags(image, page).await
    }
    async fn resolve(&self, image: &ImageRef) -> kiops_core::Result<Option<Digest>> {
        self.resolved.fetch_add(1, Ordering::SeqCst);
        self.layout.resolve(image).await
    }
    async fn manifest(&self, image: &ImageName, digest: &Digest) -> kiops_core::Result<Manifest> {
        self.layout.manifest(image, digest).await
    }
    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> kiops_core::Result<Digest> {
        self.pass().await;
        self.layout.put_manifest(image, manifest).await
    }
    async fn blob(&self, image: &ImageName, digest: &Digest) -> kiops_core::Result<ByteStream> {
        self.layout.blob(image, digest).await
    }
    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> kiops_core::Result<Option<u64>> {
        self.layout.blob_size(image, digest).await
    }
    async fn put_blob(
        &self,
        image: &ImageName,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> kiops_core::Result<()> {
        self.pass().await;
        self.layout.put_blob(image, digest, size, content).await
    }
    async fn mount_blob(
        &self,
        image: &ImageName,
        from: &ImageName,
        digest: &Digest,
    ) -> kiops_core::Result<bool> {
        self.layout.mount_blob(image, from, digest).await
    }
    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> kiops_core::Result<()> {
        self.pass().await;
        self.layout.tag(image, tag, digest).await
    }
    async fn delete(&self, image: &ImageRef) -> kiops_core::Result<()> {
        self.layout.delete(image).await
    }
    async fn credential(
        &self,
        _: &ImageName,
        _: ImageAccess,
    ) -> kiops_core::Result<Option<RegistryCredential>> {
        Ok(None)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cancel_nothing_more_reaches_the_registry() {
    // The writing calls: layer, configuration, manifest, tag; with a second platform one more configuration, manifest, and the index.
    let one = (0..4).map(|wait_at| (&["linux/amd64"][..], wait_at, 3));
    let two = (1..7).map(|wait_at| (&["linux/amd64", "linux/arm64"][..], wait_at, 6));
    for (platforms, wait_at, last) in one.chain(two) {
        let dir = tempfile::tempdir().unwrap();
        let registry = Slow::new(dir.path(), wait_at);
        let mut config = AssemblerConfig::new(dir.path().join("work"));
        config.platforms = platforms.iter().map(ToString::to_string).collect();
        let assembler = Assembler::new(config, Arc::<Slow>::clone(&registry)).unwrap();
        let run = run_id("slow");
        assembler.start(&run, &spec(), inputs(small())).await.unwrap();
        registry.reached.notified().await;
        let cancel = tokio::spawn({
            let (assembler, run) = (assembler.clone(), run.clone());
            async move { assembler.cancel(&run).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!cancel.is_finished(), "the call that is under way is waited for");
        registry.go_on.notify_one();
        cancel.await.unwrap().unwrap();
        let (calls, blobs) = (registry.calls.load(Ordering::SeqCst), count(&registry.layout, "blobs/sha256"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(registry.calls.load(Ordering::SeqCst), calls);
        assert_eq!((calls, count(&registry.layout, "blobs/sha256")), (wait_at + 1, blobs));
        let reports = collect(&assembler, &run).await;
        let outcome = &reports.last().unwrap().event;
        let tagged = !registry
            .layout
            .tags(&crate::fixtures::image(super::support::SITE), &TagPage::default())
            .await
            .unwrap()
            .is_empty();
        // The last call cannot be taken back: the outcome says what is true.
        assert_eq!(tagged, wait_at == last);
        assert_eq!(matches!(outcome, RunEvent::Finished(RunOutcome::Succeeded(_))), tagged);
        assert_eq!(*outcome == RunEvent::Finished(RunOutcome::Canceled), !tagged);
    }
}

#[tokio::test]
async fn a_bases_name_is_looked_up_once_so_that_all_platforms_have_the_same_base() {
    const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/riscv64"];
    let dir = tempfile::tempdir().unwrap();
    let registry = Slow::new(dir.path(), usize::MAX);
    push_bases(&registry.layout, "quickstart.local/base:1", &PLATFORMS, &[]).await;
    let mut config = AssemblerConfig::new(dir.path().join("work"));
    config.platforms = PLATFORMS.map(str::to_owned).to_vec();
    let assembler = Assembler::new(config, Arc::<Slow>::clone(&registry)).unwrap();
    let dockerfile = "FROM quickstart.local/base:1\nCOPY --from=quickstart.local/base:1 /cpu /copied\n";
    let files = Files::new().file("Dockerfile", dockerfile);
    let (outcome, _) = run(&assembler, &spec(), files).await;
    assert!(matches!(outcome, RunOutcome::Succeeded(_)), "{outcome:?}");
    assert_eq!(registry.resolved.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn secrets_do_not_come_out_in_reports() {
    let bench = Bench::new();
    let dockerfile =
        "FROM scratch\nENV TOKEN=hunter2hunter2\nLABEL p=p4ssw0rdp4ssw0rd\nRUN echo hunter2hunter2\n";
    let mut inputs = inputs(Archive::new(Files::new().file("Dockerfile", dockerfile).tar()));
    inputs.secrets.insert("token".into(), Secret::new("hunter2hunter2").unwrap());
    inputs.push = Some(RegistryCredential {
        host: "h.io".into(),
        username: "u".into(),
        password: Secret::new("p4ssw0rdp4ssw0rd").unwrap(),
    });
    let run = run_id("secret");
    bench.assembler.start(&run, &spec(), inputs).await.unwrap();
    let reports = collect(&bench.assembler, &run).await;
    let text = serde_json::to_string(&reports).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("p4ssw0rd"), "{text}");
    assert!(text.contains("***"));
}

#[tokio::test]
async fn what_stops_the_source_is_told_by_its_kind() {
    #[derive(Debug)]
    struct Broken(CommitId, ErrorKind);
    #[async_trait]
    impl SourceAccess for Broken {
        fn commit(&self) -> &CommitId {
            &self.0
        }
        async fn archive(&self) -> kiops_core::Result<ByteStream> {
            let error = kiops_core::Error::new(self.1, "fetch archive", "it broke").with_remedy("mend it");
            Ok(Box::pin(futures_util::stream::iter([Ok("x".into()), Err(error)])))
        }
        async fn clone_access(&self) -> kiops_core::Result<CloneAccess> {
            Err(kiops_core::Error::unsupported("clone", "no"))
        }
    }
    let bench = Bench::new();
    for (kind, expected) in [
        (ErrorKind::Unavailable, FailureKind::GitCloneFailed),
        (ErrorKind::Unauthorized, FailureKind::GitCloneFailed),
        (ErrorKind::NotFound, FailureKind::CommitNotFound),
        (ErrorKind::TooLarge, FailureKind::ContextRefused),
        (ErrorKind::Full, FailureKind::DiskFull),
    ] {
        let run = run_id("broken");
        let source = Broken(CommitId::parse(COMMIT).unwrap(), kind);
        bench.assembler.start(&run, &spec(), inputs(source)).await.unwrap();
        let reports = collect(&bench.assembler, &run).await;
        bench.assembler.forget(&run).await.unwrap();
        let RunEvent::Finished(RunOutcome::Failed(failure)) = &reports.last().unwrap().event else {
            panic!("{reports:?}")
        };
        assert_eq!((failure.kind, failure.stage), (expected, Stage::Setup));
        assert_eq!(failure.remedy, "mend it");
        assert_eq!(lines(&reports), [""; 0]);
    }
}

#[test]
fn a_full_disk_fails_the_build_and_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    crate::child::run_limited("assemble::runs::within_the_limit", dir.path());
    let layout = open(&dir.path().join("layout"));
    assert_eq!(count(&layout, ".kiops/tmp"), 0);
}

#[tokio::test]
async fn within_the_limit() {
    let Some(dir) = crate::child::child_dir() else { return };
    let layout = open(&dir.join("layout"));
    let assembler = Assembler::new(AssemblerConfig::new(dir.join("work")), Arc::new(layout.clone())).unwrap();
    let files = |text: Vec<u8>| Files::new().file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", text);
    let finish = async |files: Files| {
        let run = run_id("full");
        assembler.start(&run, &spec(), inputs(Archive::new(files.tar()))).await.unwrap();
        let reports = collect(&assembler, &run).await;
        assembler.forget(&run).await.unwrap();
        let RunEvent::Finished(outcome) = reports.last().unwrap().event.clone() else {
            panic!("{reports:?}")
        };
        outcome
    };
    let RunOutcome::Failed(failure) = finish(files(vec![b'x'; 200_000])).await else { panic!("no failure") };
    assert_eq!(failure.kind, FailureKind::DiskFull, "{failure}");
    assert!(failure.remedy.contains("free disk space"), "{failure}");
    assert!(is_clean(&dir.join("work")));
    assert!(matches!(finish(files(b"small".to_vec())).await, RunOutcome::Succeeded(_)));
}
