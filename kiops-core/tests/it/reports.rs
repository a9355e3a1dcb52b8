//! What the driver tells a Git host of commits.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kiops_core::access::{Role, Subject};
use kiops_core::build::Trigger;
use kiops_core::engine::{Adapters, Clock as _, Command, Driver, DriverConfig, Ingest, IngestLimits};
use kiops_core::event::{ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, Tip};
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{CommitId, DeliveryId, GitRef, MemberId, ProviderName, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::provider::StatusSubject;
use kiops_core::secret::Secret;
use kiops_core::store::{Accepted, EventOutcome, Hook, MemoryStore, Page, Store as _};
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::{
    FakeExecutor, FakeGit, FakeRegistry, FakeSender, RunScript, Runs, VirtualClock,
};
use kiops_core::webhook::SecretSet;
use serde_json::{Value, json};

struct World {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    git: FakeGit,
    sender: FakeSender,
    ingest: Ingest,
    driver: Driver,
}

fn secret() -> Secret {
    Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap()
}

fn app() -> ServiceName {
    ServiceName::parse("app").unwrap()
}

fn admin() -> Subject {
    Subject::new(MemberId::parse("boss").unwrap(), Role::Admin)
}

impl World {
    /// A service with the components `web` and `api`, each of which watches its own folder.
    async fn new(report: Value) -> Self {
        let clock = VirtualClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap());
        let (store, provider) = (Arc::new(MemoryStore::new()), ProviderName::parse("fake").unwrap());
        let repository = Repository { id: None, path: "team/app".into() };
        let service = json!({
            "name": "app",
            "source": {"type": "git", "provider": "fake", "repository": repository, "branch": "main"},
            "settings": {
                "image": {"name": "registry.local/team/app"},
                "auto_ci": {
                    "push": {"branches": ["main", "next"]}, "merge_request": {"enabled": true},
                    "report": report,
                },
                "components": [
                    {"name": "web", "watch_path": ["web/**"]},
                    {"name": "api", "watch_path": ["api/**"]},
                ],
            },
        });
        store.put_service(&serde_json::from_value(service).unwrap(), None, clock.now()).await.unwrap();
        let hook = Hook {
            service: app(),
            provider: provider.clone(),
            repository: repository.clone(),
            hook: None,
            secrets: SecretSet::new([secret()]),
        };
        store.put_hook(&hook).await.unwrap();
        let git = FakeGit::new(provider.clone(), repository, Chaos::none()).with_statuses();
        let sender = FakeSender::new(provider);
        let ingest = Ingest::new([Arc::new(sender.clone()) as _], IngestLimits::default(), [7; 32]);
        let registry = FakeRegistry::new(Chaos::none());
        let (runs, script) = (Runs::default(), |_: &_| RunScript::default());
        let executor = FakeExecutor::new("fake", runs, registry.clone(), Chaos::none(), script);
        let adapters = Adapters::builder()
            .provider(Arc::new(git.clone()))
            .registry("registry.local", Arc::new(registry))
            .executor(Arc::new(executor))
            .build();
        let mut config = DriverConfig::new("one");
        config.heads = None;
        let (logs, shared) = (Arc::<MemoryLogStore>::default(), Arc::<MemoryStore>::clone(&store));
        let driver = Driver::new(shared, logs, adapters, Rules::none(), Arc::new(clock), config);
        Self { clock, store, git, sender, ingest, driver }
    }

    /// Delivers one event and lets the driver work until nothing is left to do.
    async fn deliver(&self, id: &str, kind: EventKind) -> DeliveryId {
        let event = Event { repository: self.git.repository().clone(), actor: None, kind };
        let request = self.sender.request(id, &[event], &secret(), self.clock.now()).unwrap();
        let taken = self.ingest.handle(request, self.store.as_ref(), self.clock.now()).await;
        let [Accepted::New(delivery)] = taken.accepted.as_slice() else { panic!("{:?}", taken.accepted) };
        self.work().await;
        delivery.clone()
    }

    async fn work(&self) {
        self.driver.run(tokio::time::sleep(Duration::from_secs(120)), Duration::ZERO).await;
    }

    /// A commit on top of `parent` with these files, and a Dockerfile.
    fn commit(&self, label: &str, parent: Option<&CommitId>, files: &[(&str, &str)]) -> CommitId {
        let files = [files, &[("Dockerfile", "FROM scratch")]].concat();
        self.git.commit(label, parent, label, &files)
    }

    /// Pushes a commit to a branch.
    async fn push(&self, branch: &str, head: &CommitId) -> DeliveryId {
        let git_ref = GitRef::parse(&format!("refs/heads/{branch}")).unwrap();
        let before = Tip::from(self.git.point(&git_ref, Some(head)));
        let push = Push {
            action: None,
            git_ref,
            before,
            head: head.clone().into(),
            files: ChangedFiles::Unknown,
            message: None,
            commit: CommitFacts::default(),
        };
        self.deliver(&format!("{branch}-{head}"), EventKind::Push(push)).await
    }

    /// A merge request of a fork with this head.
    async fn offered(&self, head: &CommitId) -> DeliveryId {
        let head_ref = GitRef::parse("refs/merge-requests/7/head").unwrap();
        self.git.point(&head_ref, Some(head));
        let request = json!({
            "number": 7, "action": "open", "change": "opened", "head": head, "source_branch": "fix", "target_branch": "main",
            "head_ref": head_ref, "fork": true, "source_repository": "99", "target_repository": "1", "draft": false,
            "commit_message": "a fix",
        });
        let request = serde_json::from_value(request).unwrap();
        self.deliver(&format!("7-{head}"), EventKind::MergeRequest(request)).await
    }

    /// What the host was told of a commit: `CONTEXT STATE`, each in the order in which it was told.
    fn told(&self, commit: &CommitId) -> Vec<String> {
        let told = self.git.told();
        let of_commit = told.iter().filter(|(subject, _)| subject.commit == *commit);
        of_commit.map(|(_, status)| format!("{} {}", status.context, status.state.name())).collect()
    }

    /// What the host shows of a context now.
    fn shown(&self, commit: &CommitId, context: &str) -> Option<String> {
        let told = self.git.told();
        let of_context = told
            .iter()
            .rev()
            .find(|(subject, status)| subject.commit == *commit && status.context == context);
        of_context.map(|(_, status)| status.description.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_that_a_push_leaves_out_is_told_as_skipped_beside_the_one_that_is_built() {
    let world = World::new(json!({})).await;
    let first = world.commit("first", None, &[("web/a", "1"), ("api/a", "1")]);
    world.push("main", &first).await;
    assert!(world.told(&first).iter().all(|told| !told.contains("skipped")), "{:?}", world.told(&first));
    let second = world.commit("second", Some(&first), &[("web/a", "2"), ("api/a", "1")]);
    world.push("main", &second).await;
    assert_eq!(world.shown(&second, "kiops/app/api").unwrap(), "skipped: no watched path changed");
    assert!(world.shown(&second, "kiops/app/web").unwrap().starts_with("built registry.local/team/app"));
    let third = world.commit("third", Some(&second), &[("web/a", "2"), ("api/a", "1"), ("README", "")]);
    world.push("main", &third).await;
    assert_eq!(world.told(&third), ["kiops/app/web skipped", "kiops/app/api skipped"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_built_of_a_commit_is_told_however_often_the_commit_is_left_out() {
    let world = World::new(json!({})).await;
    let first = world.commit("first", None, &[("web/a", "1"), ("api/a", "1")]);
    world.push("main", &first).await;
    let second = world.commit("second", Some(&first), &[("web/a", "1"), ("api/a", "1"), ("README", "")]);
    world.push("main", &second).await;
    assert_eq!(world.told(&second), ["kiops/app/web skipped", "kiops/app/api skipped"]);
    world.driver.build_newest(&app(), None, Trigger::Manual, "n".into(), admin()).await.unwrap();
    world.work().await;
    let built = world.told(&second);
    assert_eq!(built.iter().filter(|told| told.ends_with("success")).count(), 2, "{built:?}");
    let left_out = world.push("next", &second).await;
    let record = world.store.delivery(&left_out).await.unwrap().unwrap();
    assert_eq!(record.events[0].outcome(), Some(EventOutcome::Skipped), "{record:?}");
    // It may be told once more; nothing else is.
    let after = world.told(&second).split_off(built.len());
    assert!(after.iter().all(|told| told.ends_with("success")), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_forks_commit_is_told_as_pending_while_it_is_held_and_then_as_what_becomes_of_it() {
    let world = World::new(json!({})).await;
    let first = world.commit("first", None, &[("web/a", "1"), ("api/a", "1")]);
    world.push("main", &first).await;
    let fix = world.commit("fix", Some(&first), &[("web/a", "2"), ("api/a", "1")]);
    let held = world.offered(&fix).await;
    assert_eq!(world.told(&fix), ["kiops/app/web pending", "kiops/app/api skipped"]);
    assert_eq!(world.shown(&fix, "kiops/app/web").unwrap(), "held: a fork's commit waits for an approval");
    let subject = world.git.told().pop().unwrap().0.merge_request.unwrap();
    assert_eq!((subject.number, subject.fork.unwrap().id.unwrap().as_str()), (7, "99"));
    let command = Command::ApproveFork { delivery: held, commit: fix.clone() };
    world.driver.command(&app(), command, admin()).await.unwrap();
    world.work().await;
    let told = world.told(&fix);
    assert_eq!(told.last().unwrap(), "kiops/app/web success", "{told:?}");
    let next = world.commit("next", Some(&fix), &[("web/a", "3"), ("api/a", "1")]);
    world.offered(&next).await;
    assert_eq!(world.shown(&next, "kiops/app/web").unwrap(), "held: a fork's commit waits for an approval");
}

/// A fork's build has no secrets, and its checks none: what it says must not stand for the trusted one.
#[tokio::test(start_paused = true)]
async fn a_forks_build_never_speaks_for_a_trusted_one_of_the_same_commit() {
    let world = World::new(json!({})).await;
    let first = world.commit("first", None, &[("web/a", "1"), ("api/a", "1")]);
    world.push("main", &first).await;
    let fix = world.commit("fix", Some(&first), &[("web/a", "2"), ("api/a", "1")]);
    world.push("next", &fix).await;
    let trusted = world.shown(&fix, "kiops/app/web").unwrap();
    assert!(trusted.starts_with("built registry.local/team/app"), "{trusted}");
    let held = world.offered(&fix).await;
    let command = Command::ApproveFork { delivery: held, commit: fix.clone() };
    world.driver.command(&app(), command, admin()).await.unwrap();
    world.work().await;
    assert_eq!(world.store.builds(None, Page::first(10)).await.unwrap().total, 4, "it was built again");
    assert_eq!(world.shown(&fix, "kiops/app/web").unwrap(), trusted);
}

#[tokio::test(start_paused = true)]
async fn a_build_by_hand_is_told_at_the_merge_request_that_had_its_commit_built() {
    let world = World::new(json!({})).await;
    let first = world.commit("first", None, &[("web/a", "1"), ("api/a", "1")]);
    world.push("main", &first).await;
    let fix = world.commit("fix", Some(&first), &[("web/a", "2"), ("api/a", "1")]);
    let held = world.offered(&fix).await;
    let command = Command::ApproveFork { delivery: held, commit: fix.clone() };
    world.driver.command(&app(), command, admin()).await.unwrap();
    world.work().await;
    world.git.point(&GitRef::parse("refs/heads/main").unwrap(), Some(&fix));
    world.driver.build_newest(&app(), None, Trigger::Manual, "n".into(), admin()).await.unwrap();
    world.work().await;
    let told = world.git.told();
    let last = |wanted: bool| {
        let of = |subject: &StatusSubject| subject.commit == fix && subject.merge_request.is_some() == wanted;
        told.iter().rev().find(|(subject, status)| of(subject) && status.context == "kiops/app/web").unwrap()
    };
    for at_request in [true, false] {
        let description = &last(at_request).1.description;
        assert!(description.starts_with("built registry.local/team/app"), "{description}");
    }
}

/// Else whoever writes a commit's message passes the checks that a merge needs.
#[tokio::test(start_paused = true)]
async fn a_commit_that_asks_for_no_build_is_told_nothing_of() {
    let world = World::new(json!({})).await;
    let first = world.commit("first [skip ci]", None, &[("web/a", "1"), ("api/a", "1")]);
    let delivery = world.push("main", &first).await;
    let record = world.store.delivery(&delivery).await.unwrap().unwrap();
    assert_eq!(record.events[0].outcome(), Some(EventOutcome::Skipped));
    assert_eq!(world.told(&first), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_reports_no_statuses_tells_nothing() {
    let world = World::new(json!({"status": false})).await;
    let first = world.commit("first", None, &[("web/a", "1"), ("api/a", "1")]);
    let second = world.commit("second", Some(&first), &[("web/a", "2"), ("api/a", "1")]);
    for head in [&first, &second] {
        world.push("main", head).await;
    }
    world.offered(&second).await;
    assert!(world.git.told().is_empty());
}
