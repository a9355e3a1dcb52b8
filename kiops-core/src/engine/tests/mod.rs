//! The pure step through a real store: what a service's life comes to.

mod approvals;
mod bases;
mod commands;
mod common_path;
mod coverage;
mod down;
mod forks;
mod identity;
mod images;
mod ingest;
mod lanes;
mod laws;
mod live_checks;
mod logs;
mod order;
mod previews;
mod proposals;
mod schedule;
mod tags;
mod wakes;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};

use super::{Command, Input, Next, Primary, Reply, Stepped, step, wants};
use crate::access::{Role, Subject};
use crate::build::tests::at;
use crate::build::{Build, BuildInput, BuildState, Trigger};
use crate::effect::Effect;
use crate::error::{ErrorKind, Result};
use crate::event::Event;
use crate::name::{BuildId, CommitId, DeliveryId, Digest, EnvironmentName, MemberId, ReleaseId, ServiceName};
use crate::policy::tests::{commit, push_with, service};
use crate::policy::{Answer, Answered, Question, RefKey, RefState, Rules};
use crate::provider::{Commit, Comparison, Relation};
use crate::queue::{Limits, pick};
use crate::release::{Lane, LaneState, Release, ReleaseInput, ReleaseState, Revision, RolloutStatus};
use crate::run::{RunEvent, RunOutcome, RunResult};
use crate::service::Environment;
use crate::stage::{Failure, FailureKind, Stage};
use crate::store::{
    Accepted, Changes, ClaimRequest, DeliveryRecord, EventOutcome, EventRecord, MemoryStore, NewDelivery,
    Page, Store, Wants,
};
use crate::webhook::ReplayKey;

/// A future of the memory store: it never waits.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the memory store never waits")
}

/// One service in a store, and everything that steps have asked for.
pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) service: ServiceName,
    pub(super) rules: Rules,
    pub(super) seconds: i64,
    /// Who is behind what is delivered.
    pub(super) subject: Subject,
    /// What the provider says; what is not listed it cannot say.
    pub(super) told: BTreeMap<Question, Answer>,
    /// What the provider was asked.
    pub(super) asked: Vec<Question>,
    /// Log lines by build.
    pub(super) lines: Vec<(BuildId, String)>,
    /// Builds whose log was closed.
    pub(super) closed: Vec<BuildId>,
    pub(super) limits: Limits,
    deliveries: u64,
}

/// Settings with a release by itself to `dev`.
pub(super) const AUTO: &str = r#"{"deploy":{"auto":true,"environment":"dev"}}"#;

pub(super) fn environment(json: &str) -> Environment {
    serde_json::from_str(json).unwrap()
}

pub(super) fn dev() -> EnvironmentName {
    EnvironmentName::parse("dev").unwrap()
}

pub(super) fn member(name: &str, role: Role) -> Subject {
    Subject::new(MemberId::parse(name).unwrap(), role)
}

pub(super) fn main_ref() -> RefKey {
    RefKey::Branch(crate::policy::tests::branch("main"))
}

/// A push to `main` of commit `head` on top of commit `before`.
pub(super) fn onto(before: u8, head: u8) -> Event {
    push_with("main", |push| {
        push.before = commit(before).into();
        push.head = commit(head).into();
    })
}

pub(super) fn the_commit(n: u8) -> Commit {
    Commit {
        id: commit(n),
        message: "work".into(),
        author: "ada".into(),
        timestamp: at(0),
        parents: Vec::new(),
        web_url: None,
    }
}

pub(super) fn build_failure() -> Failure {
    Failure::new(Stage::Build, FailureKind::RunFailed, "exit code 1")
}

impl World {
    pub(super) fn new(settings: &str) -> Self {
        let world = Self {
            store: MemoryStore::new(),
            service: ServiceName::parse("app").unwrap(),
            rules: Rules::none(),
            seconds: 0,
            subject: member("pusher", Role::Member),
            told: BTreeMap::new(),
            asked: Vec::new(),
            lines: Vec::new(),
            closed: Vec::new(),
            limits: Limits { total: 9, ..Limits::default() },
            deliveries: 0,
        };
        world.environment(r#"{"name":"dev","runtime":"here"}"#);
        now(world.store.put_service(&service(settings), None, at(0))).unwrap();
        world
    }

    pub(super) fn environment(&self, json: &str) {
        now(self.store.put_environment(&environment(json))).unwrap();
    }

    /// Other settings from now on.
    pub(super) fn settings(&self, settings: &str) {
        let stored = now(self.store.service(&self.service)).unwrap().unwrap();
        now(self.store.put_service(&service(settings), Some(stored.version), at(0))).unwrap();
    }

    pub(super) fn time(&self) -> Timestamp {
        at(self.seconds)
    }

    /// Loads what is wanted, steps, answers, and saves.
    pub(super) fn step(&mut self, mut input: Input) -> Result<Stepped> {
        self.seconds += 1;
        loop {
            let store = &self.store;
            let primary = Primary {
                service: now(store.service(&self.service))?.map(|stored| stored.value),
                delivery: input.delivery().and_then(|id| now(store.delivery(id)).unwrap()),
                build: input.build().and_then(|id| now(store.build(id)).unwrap()),
                release: input.release().and_then(|id| now(store.release(id)).unwrap()),
            };
            let view = now(store.view(&wants(&self.service, &input, &primary)))?;
            match step(&self.rules, &view, input.clone(), self.time())? {
                Next::Ask(questions) => {
                    let Input::Decide { answers, rounds, .. } = &mut input else {
                        panic!("only decisions ask")
                    };
                    *rounds += 1;
                    assert!(*rounds <= 2, "a third round asks: {questions:?}");
                    for question in questions {
                        self.asked.push(question.clone());
                        answers.push(Answered { answer: self.told.get(&question).cloned(), question });
                    }
                }
                Next::Save(stepped) => {
                    self.note(&stepped.changes);
                    now(self.store.save(&stepped.changes, None))?;
                    return Ok(*stepped);
                }
            }
        }
    }

    fn note(&mut self, changes: &Changes) {
        for work in &changes.work {
            if let Effect::Log { build, lines, close } = &work.effect {
                let lines =
                    lines.iter().map(|line| (build.clone(), format!("[{}] {}", line.stage, line.text)));
                self.lines.extend(lines);
                if *close {
                    self.closed.push(build.clone());
                }
            }
        }
    }

    pub(super) fn log_of(&self, build: &BuildId) -> Vec<&str> {
        self.lines.iter().filter(|(id, _)| id == build).map(|(_, line)| line.as_str()).collect()
    }

    /// Takes a delivery in and decides it.
    pub(super) fn deliver(&mut self, event: Event) -> DeliveryId {
        let body = format!("body {}", self.deliveries);
        self.deliver_as(event, &body, Trigger::Webhook)
    }

    /// The same with a body of its own: the same body again is a repeat.
    pub(super) fn deliver_as(&mut self, event: Event, body: &str, trigger: Trigger) -> DeliveryId {
        let id = self.accept(event, body, trigger);
        let subject = self.subject.clone();
        self.step(Input::Decide { delivery: id.clone(), answers: Vec::new(), rounds: 0, subject }).unwrap();
        id
    }

    /// Takes a delivery in, and decides nothing yet.
    pub(super) fn accept(&mut self, event: Event, body: &str, trigger: Trigger) -> DeliveryId {
        self.deliveries += 1;
        let key = self.deliveries.to_string();
        let id = DeliveryId::derive([key.as_str()]);
        let record = DeliveryRecord {
            id: id.clone(),
            service: self.service.clone(),
            provider: crate::name::ProviderName::parse("gitlab").unwrap(),
            trigger,
            received_at: self.time(),
            signed: true,
            repeat: false,
            events: vec![EventRecord::new(event)],
            quarantined: None,
        };
        let delivery = NewDelivery {
            record,
            replay: ReplayKey::of_signed_id(&key),
            body_digest: body.to_owned(),
            body: Bytes::new(),
        };
        assert_eq!(now(self.store.accept(vec![delivery])).unwrap(), [Accepted::New(id.clone())]);
        id
    }

    pub(super) fn record(&self, delivery: &DeliveryId) -> DeliveryRecord {
        now(self.store.delivery(delivery)).unwrap().unwrap()
    }

    pub(super) fn outcome(&self, delivery: &DeliveryId) -> EventOutcome {
        self.record(delivery).outcome().expect("it was decided")
    }

    /// The builds that a delivery led to.
    pub(super) fn builds_of(&self, delivery: &DeliveryId) -> Vec<BuildId> {
        self.record(delivery).events[0].builds.clone()
    }

    /// Delivers something that leads to one build.
    #[track_caller]
    pub(super) fn pushed(&mut self, event: Event) -> BuildId {
        let delivery = self.deliver(event);
        let builds = self.builds_of(&delivery);
        let [build] = builds.as_slice() else { panic!("not one build: {:?}", self.record(&delivery)) };
        build.clone()
    }

    pub(super) fn build(&self, id: &BuildId) -> Build {
        now(self.store.build(id)).unwrap().expect("the build is stored")
    }

    pub(super) fn state(&self, id: &BuildId) -> BuildState {
        self.build(id).state
    }

    pub(super) fn all_builds(&self) -> Vec<Build> {
        now(self.store.builds(None, Page::first(10_000))).unwrap().items
    }

    pub(super) fn all_releases(&self) -> Vec<Release> {
        now(self.store.releases(None, Page::first(10_000))).unwrap().items
    }

    pub(super) fn release(&self, id: &ReleaseId) -> Release {
        now(self.store.release(id)).unwrap().expect("the release is stored")
    }

    /// The release that a build made by itself.
    #[track_caller]
    pub(super) fn release_of(&self, build: &BuildId) -> Release {
        self.release(self.build(build).release.as_ref().expect("the build made a release"))
    }

    pub(super) fn lane(&self) -> Option<LaneState> {
        let lane = Lane { environment: dev(), component: Default::default() };
        now(self.store.lane(&self.service, &lane)).unwrap()
    }

    pub(super) fn ref_state(&self, key: RefKey) -> RefState {
        let mut wants = Wants::of(self.service.clone());
        wants.refs.insert(key.clone());
        now(self.store.view(&wants)).unwrap().refs.remove(&key).unwrap_or_default()
    }

    /// When this is due in the store, if it is there.
    pub(super) fn due(&self, effect: &Effect) -> Option<Timestamp> {
        // A claim that takes everything, by a driver of its own each time, tells what is there.
        let request = ClaimRequest {
            driver: "looker".into(),
            now: Timestamp::MAX,
            until: Timestamp::MIN,
            limit: 10_000,
        };
        let claims = now(self.store.claim(&request)).unwrap().claims;
        claims.into_iter().find(|claim| claim.work.effect == *effect).map(|claim| claim.work.due)
    }

    /// Starts every build that may start.
    pub(super) fn start_all(&mut self) -> Vec<BuildId> {
        let (waiting, slots) = now(self.store.queue()).unwrap();
        let slots = slots.into_iter().collect();
        let picks = pick(&waiting, &slots, &["assembler".to_owned()], &self.limits, self.time());
        let ids = picks.iter().map(|pick| pick.build.clone()).collect();
        for pick in picks {
            self.step(Input::Start(pick)).unwrap();
        }
        ids
    }

    pub(super) fn input(&mut self, build: &BuildId, input: BuildInput) -> Result<Stepped> {
        let executors = vec!["assembler".to_owned()];
        self.step(Input::Build { build: build.clone(), input, executors })
    }

    pub(super) fn report(&mut self, build: &BuildId, event: RunEvent) -> Result<Stepped> {
        let run = self.build(build).run();
        self.input(build, BuildInput::Report { run, event })
    }

    /// Runs a build to its success. Its image's digest is that of its commit.
    #[track_caller]
    pub(super) fn succeed(&mut self, build: &BuildId) -> Stepped {
        self.start_all();
        let digest = Some(digest_of(self.build(build).commit()));
        let result = RunResult { digest, ..RunResult::default() };
        let stepped = self.report(build, RunEvent::Finished(RunOutcome::Succeeded(result))).unwrap();
        if self.state(build).is_over() {
            stepped
        } else {
            self.input(build, BuildInput::Promoted(Ok(()))).unwrap()
        }
    }

    pub(super) fn fail(&mut self, build: &BuildId) {
        self.start_all();
        self.report(build, RunEvent::Finished(RunOutcome::Failed(build_failure()))).unwrap();
    }

    pub(super) fn releases_input(&mut self, release: &ReleaseId, input: ReleaseInput) -> Result<Stepped> {
        self.step(Input::Release { release: release.clone(), input })
    }

    /// The runtime takes a release as the next revision, and it becomes healthy.
    #[track_caller]
    pub(super) fn goes_live(&mut self, release: &ReleaseId) {
        let revision = Revision(self.lane().map_or(1, |live| live.revision.0 + 1));
        self.releases_input(release, ReleaseInput::Applied(Ok(revision))).unwrap();
        self.releases_input(release, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
        assert_eq!(self.release(release).state, ReleaseState::Live);
    }

    /// Pushes, builds and deploys.
    #[track_caller]
    pub(super) fn live(&mut self, event: Event) -> BuildId {
        let build = self.pushed(event);
        self.succeed(&build);
        let release = self.release_of(&build).id;
        self.goes_live(&release);
        build
    }

    pub(super) fn command(&mut self, command: Command, by: &Subject) -> Result<Reply> {
        Ok(self.step(Input::Command { command, by: by.clone() })?.reply)
    }

    #[track_caller]
    pub(super) fn released_by(&mut self, command: Command, by: &Subject) -> ReleaseId {
        match self.command(command, by).unwrap() {
            Reply::Release(release) => release,
            other => panic!("no release: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn built_by(&mut self, command: Command, by: &Subject) -> Vec<BuildId> {
        match self.command(command, by).unwrap() {
            Reply::Builds(builds) => builds,
            other => panic!("no builds: {other:?}"),
        }
    }

    /// The provider says what a ref points at.
    pub(super) fn points_at(&mut self, git_ref: &str, n: u8) {
        let git_ref = crate::name::GitRef::parse(git_ref).unwrap();
        self.told.insert(Question::Head { git_ref }, Answer::Head(Some(commit(n))));
    }

    pub(super) fn compares(&mut self, from: u8, to: u8, paths: &[&str], relation: Relation) {
        let files = crate::policy::tests::complete(paths);
        let question = Question::Compare { from: commit(from), to: commit(to) };
        self.told.insert(question, Answer::Compare(Comparison { files, relation }));
    }
}

pub(super) fn digest_of(commit: &CommitId) -> Digest {
    Digest::of(commit.as_str().as_bytes())
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, says: &str) {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

pub(super) fn later(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}
