//! Small records for the checks.

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::access::{Subject, Trust};
use crate::build::{
    Build, BuildIdentity, BuildMetadata, BuildOutput, BuildSpec, BuildState, CheckRecord, CheckState,
    LiveChecks, Requester, Trigger,
};
use crate::effect::{Effect, Work};
use crate::error::{ErrorKind, Result};
use crate::event::{Actor, ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, Tip};
use crate::name::{
    BranchName, BuildId, CommitId, ComponentName, ContainerName, DeliveryId, Digest, EnvironmentName, GitRef,
    ImageName, PinnedImage, ProviderName, ReleaseId, RepoId, ServiceName, Tag,
};
use crate::policy::{Decision, Looked, Outcome, RefKey, RefState, Skip, SkipReason};
use crate::queue::{LimitName, Slot};
use crate::release::{DeployTarget, Lane, LaneState, Origin, Release, ReleaseState, Revision};
use crate::secret::Secret;
use crate::service::{Environment, GitSource, Schedule, Service, Settings, Source, Target, Timers, Workload};
use crate::stage::Progress;
use crate::store::{
    Changes, Claim, ClaimRequest, Claims, DeliveryRecord, EventRecord, Hook, NewDelivery, Store, View, Wants,
};
use crate::webhook::{ReplayKey, SecretSet};

/// So many seconds after the beginning of the checks' time.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + seconds).expect("a time of the checks")
}

pub(super) fn days(n: i64) -> Timestamp {
    at(n * 24 * 3600)
}

pub(super) fn name(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("a service name of the checks")
}

pub(super) fn provider(name: &str) -> ProviderName {
    ProviderName::parse(name).expect("a provider name of the checks")
}

pub(super) fn secret(value: &str) -> Secret {
    Secret::new(value).expect("a secret of the checks is not empty")
}

/// A commit: the same number is the same commit.
pub(super) fn commit(n: u64) -> CommitId {
    CommitId::parse(format!("{:040x}", n + 1)).expect("a commit of the checks")
}

pub(super) fn branch(name: &str) -> RefKey {
    RefKey::Branch(BranchName::parse(name).expect("a branch of the checks"))
}

pub(super) fn repository(id: Option<&str>, path: &str) -> Repository {
    Repository {
        id: id.map(|id| RepoId::parse(id).expect("a repository id of the checks")),
        path: path.to_owned(),
    }
}

pub(super) fn service(service: &str) -> Service {
    let source = GitSource {
        provider: provider("plain"),
        repository: repository(None, &format!("group/{service}")),
        branch: BranchName::parse("main").expect("a branch of the checks"),
    };
    Service { name: name(service), source: Source::Git(source), settings: Settings::default() }
}

pub(super) fn environment(name: &str, runtime: &str) -> Environment {
    Environment::new(EnvironmentName::parse(name).expect("an environment of the checks"), runtime)
}

pub(super) fn hook(service: &str, repository: Repository, secrets: &[&str]) -> Hook {
    Hook {
        service: name(service),
        provider: provider("gitlab"),
        repository,
        hook: None,
        secrets: SecretSet::new(secrets.iter().map(|value| secret(value))),
    }
}

/// A build of a service: the same number is the same build.
pub(super) fn build(service: &str, n: u64, state: BuildState) -> Build {
    let identity = BuildIdentity {
        service: name(service),
        component: ComponentName::default(),
        commit: commit(n),
        settings: "0011223344556677".to_owned(),
        trust: Trust::Trusted,
        nonce: String::new(),
    };
    let id = identity.id();
    let spec = BuildSpec {
        build: id.clone(),
        service: name(service),
        component: ComponentName::default(),
        provider: provider("plain"),
        repository: repository(Some("7"), &format!("group/{service}")),
        commit: commit(n),
        git_ref: GitRef::parse("refs/heads/main").expect("a ref of the checks"),
        context: String::new(),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        build_args: [("MODE".to_owned(), "größer = \"besser\"\n'; --".to_owned())].into(),
        secrets: Default::default(),
        labels: Default::default(),
        metadata: BuildMetadata::default(),
        output: BuildOutput::Push {
            image: ImageName::parse("registry.example.com/group/app").expect("an image of the checks"),
            tag: Tag::parse(commit(n).short()).expect("a tag of the checks"),
        },
    };
    let requester = Requester {
        scope: branch("main"),
        order: n,
        late: false,
        delivery: None,
        subject: Subject::unknown(),
        label: "ada".to_owned(),
        superseded_by: None,
        tags: Vec::new(),
    };
    Build {
        id,
        identity,
        spec,
        trigger: Trigger::Webhook,
        branch: Some("main".to_owned()),
        tag: None,
        requesters: vec![requester],
        state,
        progress: Progress::START,
        order: n,
        attempt: 0,
        executor: None,
        refused_by: vec!["assembler".to_owned()],
        lost: 0,
        lost_by_us: 0,
        not_before: Some(at(90)),
        timers: Timers::default(),
        checks: Vec::new(),
        live_checks: None,
        tags: Vec::new(),
        digest: None,
        release: None,
        created_at: at(60),
        started_at: None,
        run_started_at: None,
        last_sign: None,
        warned: false,
        finished_at: None,
        armed: None,
    }
}

/// A build that succeeded, and went live with a check that looks at it.
pub(super) fn with_live_check(service: &str, n: u64, state: CheckState) -> Build {
    let spec =
        r#"{"name": "zap", "phase": "deployed", "stage": "scan", "image": "registry.example.com/zap:1"}"#;
    let check = CheckRecord {
        spec: serde_json::from_str(spec).expect("a check of the checks"),
        state,
        lost: 0,
        attempt: 1,
        findings: None,
    };
    let live = LiveChecks {
        release: ReleaseId::derive([service, &n.to_string()]),
        environment: lane().environment,
        since: at(90),
    };
    Build {
        checks: vec![check],
        live_checks: Some(live),
        digest: Some(image().digest),
        finished_at: Some(at(80)),
        ..build(service, n, BuildState::Succeeded)
    }
}

fn image() -> PinnedImage {
    PinnedImage {
        name: ImageName::parse("registry.example.com/group/app").expect("an image of the checks"),
        tag: None,
        digest: Digest::parse(format!("sha256:{}", "ab".repeat(32))).expect("a digest of the checks"),
    }
}

pub(super) fn lane() -> Lane {
    Lane {
        environment: EnvironmentName::parse("staging").expect("an environment of the checks"),
        component: ComponentName::default(),
    }
}

fn container() -> ContainerName {
    ContainerName::parse("web").expect("a container of the checks")
}

/// A release of a service: the same number is the same release.
pub(super) fn release(service: &str, n: u64, state: ReleaseState) -> Release {
    Release {
        id: ReleaseId::derive([service, &n.to_string()]),
        target: DeployTarget {
            service: name(service),
            component: lane().component,
            environment: lane().environment,
            namespace: crate::name::dns_label([service]),
            target: Target::Workload(Workload::single(container(), Some(8080))),
            preview: None,
        },
        origin: Origin::Build(build(service, n, BuildState::Succeeded).id),
        order: n,
        told: std::collections::BTreeMap::new(),
        images: [(container(), image())].into(),
        commit: Some(commit(n)),
        state,
        proposal: None,
        revision: None,
        previous: None,
        rollback_on_failure: true,
        subject: Subject::unknown(),
        requested_by: "ada".to_owned(),
        approval: None,
        timers: Timers::default(),
        created_at: at(60),
        deploy_started_at: None,
        finished_at: None,
        armed: None,
    }
}

pub(super) fn live(service: &str, n: u64) -> LaneState {
    LaneState {
        lane: lane(),
        release: ReleaseId::derive([service, &n.to_string()]),
        revision: Revision(n),
        order: n,
        commit: None,
        told: std::collections::BTreeMap::new(),
        unsure: false,
        images: [(container(), image())].into(),
    }
}

fn push(service: &str) -> Event {
    Event {
        repository: repository(Some("7"), &format!("group/{service}")),
        actor: Some(Actor { id: Some("42".to_owned()), name: "ada".to_owned() }),
        kind: EventKind::Push(Push {
            action: None,
            git_ref: GitRef::parse("refs/heads/main").expect("a ref of the checks"),
            before: Tip::Zeros,
            head: Tip::At(commit(1)),
            files: ChangedFiles::Unknown,
            message: Some("first\n\n\u{1F680}".to_owned()),
            commit: CommitFacts::default(),
        }),
    }
}

/// A delivery of a push; body and body digest say the same.
pub(super) fn delivery(service: &str, key: &str, body: &str, received_at: Timestamp) -> NewDelivery {
    delivery_by("gitlab", service, key, body, received_at)
}

pub(super) fn delivery_by(
    sender: &str,
    service: &str,
    key: &str,
    body: &str,
    received_at: Timestamp,
) -> NewDelivery {
    NewDelivery {
        record: DeliveryRecord {
            id: DeliveryId::derive([service, sender, key, &received_at.to_string()]),
            service: name(service),
            provider: provider(sender),
            trigger: Trigger::Webhook,
            received_at,
            signed: true,
            repeat: false,
            events: vec![EventRecord::new(push(service))],
            quarantined: None,
        },
        replay: ReplayKey::of_signed_id(key),
        body_digest: format!("digest of {body}"),
        body: Bytes::from(body.to_owned()),
    }
}

/// The record with every event skipped.
pub(super) fn skipped(mut record: DeliveryRecord) -> DeliveryRecord {
    let skip = Skip { reason: SkipReason::RefNotMatched, text: "no branch matches".to_owned() };
    for event in &mut record.events {
        event.decision = Some(Decision { outcome: Outcome::Skip(skip.clone()), findings: Vec::new() });
    }
    record
}

/// What is known of a ref that was decided at these heads, the last one newest.
pub(super) fn decided_at(heads: &[CommitId]) -> RefState {
    let mut state = RefState::default();
    for head in heads {
        state.note(head, false);
    }
    state
}

/// The mark that a schedule was looked at then.
pub(super) fn looked_at(at: Timestamp) -> RefState {
    let schedules = vec![Schedule::parse("30 2 * * mon-fri", "Europe/Berlin").expect("a schedule")];
    RefState { looked: Some(Looked { at, schedules }), ..RefState::default() }
}

/// Changes that change nothing.
pub(super) fn changes(service: &str, expect: u64) -> Changes {
    Changes {
        service: name(service),
        expect,
        order: expect,
        builds: Vec::new(),
        releases: Vec::new(),
        refs: Vec::new(),
        lanes: Vec::new(),
        gone_lanes: Vec::new(),
        delivery: None,
        free_slots: Vec::new(),
        take_slots: Vec::new(),
        cancel_work: Vec::new(),
        work: Vec::new(),
        events: Vec::new(),
    }
}

/// Work that is told apart by its name.
pub(super) fn work(service: &str, what: &str, due: Timestamp) -> Work {
    Work::new(&name(service), due, Effect::WakeBuild { build: BuildId::derive([what]) }, "")
}

pub(super) fn slot(limit: LimitName, n: u32, build: &Build) -> Slot {
    Slot { limit, n, build: build.id.clone() }
}

/// A store with one service, `shop`.
pub(super) async fn with_shop(
    subject: &dyn crate::testing::conformance::Subject<dyn Store>,
) -> Arc<dyn Store> {
    let store = subject.open().await;
    store.put_service(&service("shop"), None, at(0)).await.expect("a service is registered");
    store
}

/// A store with one service, `shop`, and this work of its.
pub(super) async fn with_work(
    subject: &dyn crate::testing::conformance::Subject<dyn Store>,
    work: impl IntoIterator<Item = Work>,
) -> Arc<dyn Store> {
    let store = with_shop(subject).await;
    add_work(store.as_ref(), work).await;
    store
}

pub(super) async fn add_work(store: &dyn Store, work: impl IntoIterator<Item = Work>) {
    let version = view(store, "shop").await.ledger.version;
    let changes = Changes { work: work.into_iter().collect(), ..changes("shop", version) };
    store.save(&changes, None).await.expect("work is saved");
}

pub(super) async fn view(store: &dyn Store, service: &str) -> View {
    store.view(&Wants::of(name(service))).await.expect("a view")
}

/// A claim of everything that is due at `now`, for a minute.
pub(super) fn request(driver: &str, now: Timestamp) -> ClaimRequest {
    ClaimRequest { driver: driver.to_owned(), now, until: now + SignedDuration::from_secs(60), limit: 100 }
}

pub(super) async fn claims(store: &dyn Store, driver: &str, now: Timestamp) -> Claims {
    store.claim(&request(driver, now)).await.expect("due work is claimed")
}

/// The one claim that there is to get.
pub(super) async fn claim(store: &dyn Store, driver: &str, now: Timestamp) -> Claim {
    let mut claims = claims(store, driver, now).await.claims;
    assert_eq!(claims.len(), 1, "one piece of work is free and due for `{driver}`: {claims:?}");
    claims.remove(0)
}

pub(super) async fn nothing_to_claim(store: &dyn Store, driver: &str, now: Timestamp, why: &str) {
    let claims = claims(store, driver, now).await.claims;
    assert!(claims.is_empty(), "{why}, and `{driver}` got {claims:?}");
}

pub(super) fn conflict<T: std::fmt::Debug>(result: Result<T>, why: &str) {
    match result {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{why}: {error}"),
        Ok(value) => panic!("{why}: that is a conflict, not {value:?}"),
    }
}
