//! Reports of checks, by the real driver over the fakes in virtual time: kept, compared with earlier ones, judged; also where keeping
//! fails, or the process ends in between.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use kiops_core::access::{Role, Subject};
use kiops_core::build::{Build, BuildState, CheckState, Trigger};
use kiops_core::checks::{CheckJob, FindingCounts};
use kiops_core::engine::{Adapters, Clock as _, Command, Driver, DriverConfig, Ingest, IngestLimits, Reply};
use kiops_core::error::{Error, ErrorKind, Result};
use kiops_core::event::{Event, EventKind, Repository};
use kiops_core::log::{Cursor, LogPage, LogStore, MemoryLogStore, NewLine};
use kiops_core::name::{BuildId, CommitId, GitRef, MemberId, ProviderName, RunId, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::provider::GitProvider;
use kiops_core::run::{RunOutcome, RunResult};
use kiops_core::secret::Secret;
use kiops_core::stage::FailureKind;
use kiops_core::store::{Hook, MemoryStore, Page, Store as _};
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::{
    FakeExecutor, FakeGit, FakeRegistry, FakeRunner, FakeSender, RunScript, Runs, VirtualClock,
};
use kiops_core::webhook::SecretSet;
use serde_json::{Value, json};

/// Logs in memory on a disk that may be in trouble.
#[derive(Debug, Default)]
struct Disk {
    logs: MemoryLogStore,
    /// How often keeping a report still fails, and with what.
    fails: Mutex<(u32, Option<ErrorKind>)>,
    /// Once a report is kept, whoever kept it hears nothing any more.
    hangs: AtomicU32,
    kept: AtomicU32,
}

#[async_trait]
impl LogStore for Disk {
    async fn append(&self, build: &BuildId, origin: &str, lines: Vec<NewLine>) -> Result<()> {
        self.logs.append(build, origin, lines).await
    }

    async fn read(&self, build: &BuildId, cursor: Cursor, limit: usize) -> Result<LogPage> {
        self.logs.read(build, cursor, limit).await
    }

    async fn close(&self, build: &BuildId) -> Result<()> {
        self.logs.close(build).await
    }

    async fn changed(&self, build: &BuildId, cursor: Cursor, timeout: SignedDuration) -> Result<()> {
        self.logs.changed(build, cursor, timeout).await
    }

    async fn keep_report(&self, build: &BuildId, run: &RunId, report: Bytes) -> Result<()> {
        {
            let mut fails = self.fails.lock().unwrap();
            if let (1.., Some(kind)) = *fails {
                fails.0 -= 1;
                return Err(Error::new(kind, "keep report", "the disk is in trouble"));
            }
        }
        self.logs.keep_report(build, run, report).await?;
        self.kept.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn report(&self, build: &BuildId, run: &RunId, from: u64, limit: usize) -> Result<Option<Bytes>> {
        self.logs.report(build, run, from, limit).await
    }

    async fn remove(&self, build: &BuildId) -> Result<()> {
        self.logs.remove(build).await
    }

    async fn expire(&self, before: Timestamp) -> Result<u64> {
        self.logs.expire(before).await
    }
}

struct World {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    disk: Arc<Disk>,
    git: FakeGit,
    adapters: Adapters,
    checks: Runs,
    /// The findings that each commit has; without, it makes no report.
    finds: Arc<Mutex<BTreeMap<CommitId, String>>>,
    lives: AtomicU32,
}

fn secret() -> Secret {
    Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap()
}

fn app() -> ServiceName {
    ServiceName::parse("app").unwrap()
}

/// A report that found these, all of them errors.
fn report(findings: &[&str]) -> String {
    let result = |name: &&str| json!({"ruleId": name, "level": "error", "message": {"text": name}});
    let results: Vec<Value> = findings.iter().map(result).collect();
    json!({"version": "2.1.0", "runs": [{"results": results}]}).to_string()
}

fn counts(errors: u32, new: Option<u32>) -> FindingCounts {
    FindingCounts { errors, warnings: 0, notes: 0, new }
}

impl World {
    /// A service with one check of the image, of this gate.
    async fn new(gate: Value) -> Self {
        let clock = VirtualClock::starting_at("2027-01-15T08:00:00Z".parse().unwrap());
        let repository = Repository { id: None, path: "team/app".into() };
        let git = FakeGit::new(ProviderName::parse("fake").unwrap(), repository.clone(), Chaos::none());
        let check = json!({
            "name": "sca", "phase": "image", "stage": "scan", "image": "registry.local/sca:1", "gate": gate,
        });
        let service = json!({
            "name": "app",
            "source": {"type": "git", "provider": "fake", "repository": repository, "branch": "main"},
            "settings": {
                "image": {"name": "registry.local/team/app"}, "checks": [check],
                "auto_ci": {"merge_request": {"enabled": true, "targets": ["main", "release"]}},
            },
        });
        let store = Arc::new(MemoryStore::new());
        store.put_service(&serde_json::from_value(service).unwrap(), None, clock.now()).await.unwrap();
        let registry = FakeRegistry::new(Chaos::none());
        let finds = Arc::<Mutex<BTreeMap<CommitId, String>>>::default();
        let checks = Runs::default();
        let script = {
            let finds = Arc::clone(&finds);
            move |job: &CheckJob| {
                let sarif = finds.lock().unwrap().get(&job.commit).cloned();
                let end = RunOutcome::Succeeded(RunResult { sarif, ..RunResult::default() });
                RunScript { end: Some(end), ..RunScript::default() }
            }
        };
        let runner = FakeRunner::new(checks.clone(), Chaos::none(), script);
        let executor = FakeExecutor::new("fake", Runs::default(), registry.clone(), Chaos::none(), |_| {
            RunScript::default()
        });
        let adapters = Adapters::builder()
            .provider(Arc::new(git.clone()))
            .registry("registry.local", Arc::new(registry))
            .executor(Arc::new(executor))
            .runner(Arc::new(runner))
            .build();
        let (disk, lives) = (Arc::default(), AtomicU32::new(0));
        Self { clock, store, disk, git, adapters, checks, finds, lives }
    }

    fn driver(&self) -> Driver {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let mut config = DriverConfig::new(format!("life {life}"));
        (config.heads, config.lease) = (None, Duration::from_secs(3));
        let (store, disk) = (Arc::<MemoryStore>::clone(&self.store), Arc::<Disk>::clone(&self.disk));
        Driver::new(store, disk, self.adapters.clone(), Rules::none(), Arc::new(self.clock), config)
    }

    /// A life of the driver.
    async fn work(&self, seconds: u64) {
        self.driver().run(tokio::time::sleep(Duration::from_secs(seconds)), Duration::ZERO).await;
    }

    /// A commit on a branch in which the check finds these, and its build, which waits.
    async fn push(&self, branch: &str, label: &str, finds: &[&str]) -> BuildId {
        self.push_with(branch, label, Some(report(finds))).await
    }

    async fn push_with(&self, branch: &str, label: &str, sarif: Option<String>) -> BuildId {
        let git_ref = GitRef::parse(&format!("refs/heads/{branch}")).unwrap();
        let parent = self.git.at(&git_ref);
        let head = self.git.commit(label, parent.as_ref(), label, &[("Dockerfile", "FROM scratch\n")]);
        self.git.point(&git_ref, Some(&head));
        if let Some(sarif) = sarif {
            self.finds.lock().unwrap().insert(head.clone(), sarif);
        }
        let commit = GitProvider::commit(&self.git, self.git.repository(), &head).await.unwrap().unwrap();
        let boss = Subject::new(MemberId::parse("boss").unwrap(), Role::Admin);
        let (commit, nonce) = (Box::new(commit), label.to_owned());
        let command = Command::Build { component: None, git_ref, commit, trigger: Trigger::Manual, nonce };
        match self.driver().command(&app(), command, boss).await.unwrap() {
            Reply::Builds(mut builds) => builds.remove(0),
            other => panic!("no build: {other:?}"),
        }
    }

    /// A merge request from branch `fix` of the repository itself into `target`, whose head is a commit in which the check finds these;
    /// built to the end.
    async fn offered(&self, target: &str, label: &str, finds: &[&str]) -> Build {
        let provider = ProviderName::parse("fake").unwrap();
        let (hook_secret, repository) = (secret(), self.git.repository().clone());
        let secrets = SecretSet::new([hook_secret.clone()]);
        let hook = Hook {
            service: app(),
            provider: provider.clone(),
            repository: repository.clone(),
            hook: None,
            secrets,
        };
        self.store.put_hook(&hook).await.unwrap();
        let head = self.git.commit(label, None, label, &[("Dockerfile", "FROM scratch\n")]);
        self.git.point(&GitRef::parse("refs/heads/fix").unwrap(), Some(&head));
        self.finds.lock().unwrap().insert(head.clone(), report(finds));
        let request = json!({
            "number": 7, "action": "open", "change": "opened", "head": head, "source_branch": "fix",
            "target_branch": target, "fork": false, "draft": false, "commit_message": label,
        });
        let kind = EventKind::MergeRequest(serde_json::from_value(request).unwrap());
        let event = Event { repository, actor: None, kind };
        let sender = FakeSender::new(provider);
        let ingest = Ingest::new([Arc::new(sender.clone()) as _], IngestLimits::default(), [7; 32]);
        let request = sender.request(label, &[event], &hook_secret, self.clock.now()).unwrap();
        let taken = ingest.handle(request, self.store.as_ref(), self.clock.now()).await;
        assert_eq!(taken.accepted.len(), 1);
        self.work(120).await;
        let build = self.store.builds(None, Page::first(1)).await.unwrap().items.remove(0);
        assert_eq!(*build.commit(), head, "the request is built");
        build
    }

    /// Pushed, and built to the end.
    async fn built(&self, branch: &str, label: &str, finds: &[&str]) -> Build {
        let build = self.push(branch, label, finds).await;
        self.work(120).await;
        self.now(&build).await
    }

    async fn now(&self, build: &BuildId) -> Build {
        self.store.build(build).await.unwrap().unwrap()
    }

    /// The report that is kept of a build's check.
    async fn kept(&self, build: &Build) -> Option<String> {
        let run = build.check_run(&build.checks[0]);
        let report = self.disk.report(&build.id, &run, 0, usize::MAX).await.unwrap();
        report.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn log(&self, build: &Build) -> String {
        let page = self.disk.read(&build.id, Cursor::default(), 1000).await.unwrap();
        page.lines.iter().map(|line| format!("[{}] {}\n", line.stage, line.text)).collect()
    }
}

fn any_errors() -> Value {
    json!({"by": "severity", "errors": 100})
}

fn none_new() -> Value {
    json!({"by": "severity", "new": 0})
}

#[tokio::test(start_paused = true)]
async fn a_report_is_kept_and_says_what_the_last_one_of_its_branch_did_not_have() {
    let world = World::new(any_errors()).await;
    let first = world.built("main", "one", &["a", "b"]).await;
    assert_eq!((&first.state, &first.checks[0].findings), (&BuildState::Succeeded, &Some(counts(2, None))));
    assert_eq!(world.kept(&first).await, Some(report(&["a", "b"])));
    let second = world.built("main", "two", &["a", "b", "c"]).await;
    assert_eq!(second.checks[0].findings, Some(counts(3, Some(1))));
    assert!(world.log(&second).await.contains("[scan] Check sca: 3 errors, 0 warnings, 0 notes; 1 new\n"));
    // A new branch begins with what the tracked one has, and goes on with its own.
    let branch = world.built("feature", "three", &["a", "b", "c", "d"]).await;
    assert_eq!(branch.checks[0].findings, Some(counts(4, Some(1))));
    let branch = world.built("feature", "four", &["c", "d", "e", "f"]).await;
    assert_eq!(branch.checks[0].findings, Some(counts(4, Some(2))));
    let third = world.built("main", "five", &["a", "d"]).await;
    assert_eq!(third.checks[0].findings, Some(counts(2, Some(1))), "the branch's are not known here");
}

#[tokio::test(start_paused = true)]
async fn a_merge_request_is_compared_with_the_branch_that_it_would_be_merged_into() {
    let world = World::new(any_errors()).await;
    world.built("release", "one", &["a"]).await;
    world.built("main", "two", &["a", "b", "c"]).await;
    for (target, label, new) in [("release", "three", 2), ("main", "four", 1), ("release", "five", 2)] {
        let build = world.offered(target, label, &["a", "b", "d"]).await;
        assert_eq!(build.checks[0].findings, Some(counts(3, Some(new))), "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_new_is_stopped_however_often_it_is_built_and_a_first_report_is_not() {
    let world = World::new(none_new()).await;
    let first = world.built("main", "one", &["a", "b"]).await;
    assert_eq!(first.state, BuildState::Succeeded);
    assert!(
        world.log(&first).await.contains("none counts as new: there is no earlier report to compare with")
    );
    for label in ["two", "three"] {
        let stopped = world.built("main", label, &["a", "b", "c"]).await;
        let BuildState::Failed(failure) = &stopped.state else { panic!("{label}: {:?}", stopped.state) };
        assert!(failure.message.contains("1 new findings, at most 0 are let through"), "{failure}");
        assert_eq!(stopped.checks[0].findings, Some(counts(3, Some(1))));
        assert!(world.kept(&stopped).await.is_some(), "what stopped it can be looked at");
    }
    let mended = world.built("main", "four", &["b"]).await;
    assert_eq!(
        (mended.state, mended.checks[0].findings.clone()),
        (BuildState::Succeeded, Some(counts(1, Some(0))))
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_gone_with_its_log_or_is_none_is_compared_with_by_nobody() {
    let world = World::new(any_errors()).await;
    let first = world.built("main", "one", &["a"]).await;
    world.disk.remove(&first.id).await.unwrap();
    let second = world.built("main", "two", &["a"]).await;
    assert_eq!(second.checks[0].findings, Some(counts(1, None)));
    let broken = world.push_with("main", "three", Some("{\"runs\":\n7}".into())).await;
    world.work(120).await;
    let broken = world.now(&broken).await;
    let BuildState::Failed(failure) = &broken.state else { panic!("{:?}", broken.state) };
    assert!(failure.message.contains("line 2"), "{failure}");
    assert_eq!((&broken.checks[0].findings, world.kept(&broken).await), (&None, None));
    let third = world.built("main", "four", &["a", "b"]).await;
    assert_eq!(third.checks[0].findings, Some(counts(2, Some(1))));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_report_that_was_damaged_stops_who_goes_by_what_is_new_and_nobody_else() {
    for (gate, stops) in [(none_new(), true), (any_errors(), false)] {
        let world = World::new(gate).await;
        let first = world.built("main", "one", &["a"]).await;
        let run = first.check_run(&first.checks[0]);
        world.disk.keep_report(&first.id, &run, Bytes::from_static(b"{")).await.unwrap();
        let second = world.push("main", "two", &["a", "b"]).await;
        world.work(600).await;
        let second = world.now(&second).await;
        if stops {
            let BuildState::Error(failure) = &second.state else { panic!("{:?}", second.state) };
            assert!(failure.message.contains(first.id.as_str()), "{failure}");
        } else {
            let found = second.checks[0].findings.clone();
            assert_eq!((second.state, found), (BuildState::Succeeded, Some(counts(2, None))));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_that_cannot_be_kept_is_tried_again_and_nothing_passes_before_it_is() {
    let world = World::new(any_errors()).await;
    *world.disk.fails.lock().unwrap() = (3, Some(ErrorKind::Unavailable));
    let build = world.built("main", "one", &["a"]).await;
    assert_eq!((&build.state, build.checks[0].attempt), (&BuildState::Succeeded, 1));
    assert_eq!(world.kept(&build).await, Some(report(&["a"])));

    *world.disk.fails.lock().unwrap() = (u32::MAX, Some(ErrorKind::Full));
    let build = world.built("main", "two", &["a"]).await;
    let BuildState::Error(failure) = &build.state else { panic!("{:?}", build.state) };
    assert_eq!(failure.kind, FailureKind::DiskFull);
    assert_ne!(build.checks[0].state, CheckState::Passed);
    assert_eq!((&build.checks[0].findings, world.kept(&build).await), (&None, None));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_between_keeping_and_judging_leaves_a_report_that_the_next_one_judges() {
    for outlives in [true, false] {
        let world = World::new(any_errors()).await;
        world.built("main", "one", &["a"]).await;
        let build = world.push("main", "two", &["a", "b"]).await;
        world.disk.hangs.store(1, Ordering::Relaxed);
        world.work(120).await;
        let cut = world.now(&build).await;
        assert_eq!((&cut.checks[0].state, &cut.checks[0].findings), (&CheckState::Running, &None));
        assert_eq!(world.kept(&cut).await, Some(report(&["a", "b"])), "it was kept");
        world.disk.hangs.store(0, Ordering::Relaxed);
        if !outlives {
            world.checks.forget_all();
        }
        world.work(120).await;
        let build = world.now(&build).await;
        assert_eq!(build.state, BuildState::Succeeded, "{outlives}");
        assert_eq!(build.checks[0].attempt, if outlives { 1 } else { 2 });
        assert_eq!(build.checks[0].findings, Some(counts(2, Some(1))));
        assert_eq!(world.kept(&build).await, Some(report(&["a", "b"])));
        assert_eq!(world.disk.kept.load(Ordering::Relaxed), 3, "kept again, under the same name or the next");
    }
}
