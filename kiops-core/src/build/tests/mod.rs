//! The build's state machine.

mod checks;
mod ending;
mod laws;
mod live;
mod losses;
mod run;
mod timers;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::access::{Subject, Trust};
use crate::checks::{FindingCounts, Reported};
use crate::name::{BranchName, CheckName, CommitId, ComponentName, Digest, RunId, ServiceName, Tag};
use crate::policy::RefKey;
use crate::run::{RunEvent, RunOutcome, RunResult};
use crate::service::Timers;
use crate::stage::{Failure, FailureKind, Progress, Stage};

/// A small generator (SplitMix64): the same seed draws the same numbers on every machine.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    /// True once in `n` cases.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// So many seconds after the build was made.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

pub(crate) fn digest() -> Digest {
    Digest::of(b"image")
}

pub(crate) fn scope(branch: &str) -> RefKey {
    RefKey::Branch(BranchName::parse(branch).unwrap())
}

/// A newer build.
pub(crate) fn newer() -> crate::name::BuildId {
    crate::name::BuildId::derive(["newer"])
}

pub(crate) fn requester(scope: RefKey) -> Requester {
    Requester {
        scope,
        order: 1,
        late: false,
        delivery: None,
        subject: Subject::unknown(),
        label: "ada".into(),
        superseded_by: None,
        tags: Vec::new(),
    }
}

/// A queued build for `main` that pushes an image, without checks and without further tags.
pub(crate) fn queued() -> Build {
    let identity = BuildIdentity {
        service: ServiceName::parse("app").unwrap(),
        component: ComponentName::default(),
        commit: CommitId::parse("ab".repeat(20)).unwrap(),
        settings: "0".into(),
        trust: Trust::Trusted,
        nonce: String::new(),
    };
    let spec = serde_json::json!({
        "build": identity.id(), "service": "app", "component": "main", "provider": "plain",
        "repository": {"id": null, "path": "/r"}, "commit": identity.commit, "git_ref": "refs/heads/main",
        "context": "", "dockerfile": "Dockerfile", "target": null, "build_args": {}, "secrets": {}, "labels": {},
        "metadata": {}, "output": {"push": {"image": "h.io/team/app", "tag": "abababa"}},
    });
    Build {
        id: identity.id(),
        identity,
        spec: serde_json::from_value(spec).unwrap(),
        trigger: Trigger::Webhook,
        branch: Some("main".into()),
        tag: None,
        requesters: vec![requester(scope("main"))],
        state: BuildState::Queued,
        progress: Progress::START,
        order: 1,
        attempt: 0,
        executor: None,
        refused_by: Vec::new(),
        lost: 0,
        lost_by_us: 0,
        not_before: None,
        timers: Timers::default(),
        checks: Vec::new(),
        live_checks: None,
        tags: Vec::new(),
        digest: None,
        release: None,
        created_at: at(0),
        started_at: None,
        run_started_at: None,
        last_sign: None,
        warned: false,
        finished_at: None,
        armed: None,
    }
}

pub(crate) fn check(name: &str, phase: &str) -> CheckRecord {
    let spec = serde_json::json!({"name": name, "phase": phase, "stage": "scan", "image": "h.io/scanner:1"});
    CheckRecord {
        spec: serde_json::from_value(spec).unwrap(),
        state: CheckState::Waiting,
        lost: 0,
        attempt: 0,
        findings: None,
    }
}

pub(crate) fn with_checks(checks: &[(&str, &str)]) -> Build {
    Build { checks: checks.iter().map(|(name, phase)| check(name, phase)).collect(), ..queued() }
}

pub(crate) fn with_tags(tags: &[&str]) -> Build {
    Build { tags: tags.iter().map(|tag| Tag::parse(tag).unwrap()).collect(), ..queued() }
}

pub(crate) fn started(mut build: Build) -> Build {
    start(&mut build, 0);
    build
}

pub(crate) fn start(build: &mut Build, seconds: i64) -> Vec<Ask> {
    build.apply(BuildInput::Start { executor: "assembler".into() }, at(seconds)).unwrap()
}

#[track_caller]
pub(crate) fn apply(build: &mut Build, input: BuildInput, seconds: i64) -> Vec<Ask> {
    build.apply(input, at(seconds)).unwrap()
}

/// A report of the current run.
#[track_caller]
pub(crate) fn report(build: &mut Build, event: RunEvent, seconds: i64) -> Vec<Ask> {
    let run = build.run();
    apply(build, BuildInput::Report { run, event }, seconds)
}

#[track_caller]
pub(crate) fn finish(build: &mut Build, outcome: RunOutcome, seconds: i64) -> Vec<Ask> {
    report(build, RunEvent::Finished(outcome), seconds)
}

pub(crate) fn success() -> RunOutcome {
    RunOutcome::Succeeded(RunResult { digest: Some(digest()), ..RunResult::default() })
}

pub(crate) fn failure(kind: FailureKind) -> Failure {
    Failure::new(Stage::Build, kind, "it broke")
}

pub(crate) fn lost() -> RunOutcome {
    RunOutcome::Lost { reason: "node drained".into() }
}

/// A report of a check's current run.
#[track_caller]
pub(crate) fn check_report(build: &mut Build, name: &str, event: RunEvent, seconds: i64) -> Vec<Ask> {
    let check = CheckName::parse(name).unwrap();
    let run = build.check_run(build.check(&check).unwrap());
    apply(build, BuildInput::Check { run, check, event, reported: Reported::Nothing }, seconds)
}

#[track_caller]
pub(crate) fn check_ends(build: &mut Build, name: &str, outcome: RunOutcome, seconds: i64) -> Vec<Ask> {
    check_report(build, name, RunEvent::Finished(outcome), seconds)
}

/// The end of a check whose report was kept.
#[track_caller]
pub(crate) fn check_reported(build: &mut Build, name: &str, counts: FindingCounts, seconds: i64) -> Vec<Ask> {
    let check = CheckName::parse(name).unwrap();
    let run = build.check_run(build.check(&check).unwrap());
    let (event, reported) = (RunEvent::Finished(passed()), Reported::Kept(counts));
    apply(build, BuildInput::Check { run, check, event, reported }, seconds)
}

pub(crate) fn passed() -> RunOutcome {
    RunOutcome::Succeeded(RunResult::default())
}

pub(crate) fn not_passed() -> RunOutcome {
    RunOutcome::Failed(Failure::new(Stage::Scan, FailureKind::CheckFailed, "2 tests"))
}

pub(crate) fn state_of(build: &Build, name: &str) -> CheckState {
    build.check(&CheckName::parse(name).unwrap()).unwrap().state.clone()
}

/// The lines that are to be logged.
pub(crate) fn lines(asks: &[Ask]) -> String {
    let line =
        |ask: &Ask| if let Ask::Log(stage, text) = ask { Some(format!("[{stage}] {text}\n")) } else { None };
    asks.iter().filter_map(line).collect()
}

/// What is asked for besides log lines.
pub(crate) fn deeds(asks: &[Ask]) -> Vec<Ask> {
    asks.iter().filter(|ask| !matches!(ask, Ask::Log(..))).cloned().collect()
}

pub(crate) fn run_of(build: &Build, attempt: u32) -> RunId {
    RunId::of_build(&build.id, attempt)
}

pub(crate) fn check_run(build: &Build, name: &str, attempt: u32) -> RunId {
    RunId::of_check(&build.id, &CheckName::parse(name).unwrap(), attempt)
}
