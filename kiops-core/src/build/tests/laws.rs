//! Hundreds of thousands of random transitions, legal and illegal: what holds for all of them.

use std::collections::BTreeSet;

use super::*;
use crate::name::{EnvironmentName, ReleaseId};

/// Transitions in all, over all seeds.
const TRANSITIONS: usize = 500_000;

/// Seeds that once failed are played first.
const KEPT: [u64; 1] = [1];

#[test]
fn no_transition_breaks_a_law() {
    let mut left = TRANSITIONS;
    for seed in KEPT.into_iter().chain(1000..) {
        if left == 0 {
            break;
        }
        let length = left.min(120);
        life(seed, length);
        left -= length;
    }
}

/// One build, from its making to its end and beyond.
fn life(seed: u64, length: usize) {
    let mut rng = Rng(seed);
    let mut build = drawn(&mut rng);
    let mut now = 0;
    let mut slots = false;
    for step in 0..length {
        now += i64::try_from(rng.below(200)).unwrap();
        build.armed = build.wake_at().filter(|_| !rng.one_in(3));
        let input = input(&mut rng, &build, now);
        let before = build.clone();
        let result = build.apply(input.clone(), at(now));
        let context = || format!("seed {seed}, step {step}: {input:?} in {:?}", before.state);
        match result {
            Err(_) => assert!(build == before, "an error changed the build; {}", context()),
            Ok(asks) => {
                legal(&before, &build, &asks, &mut slots)
                    .unwrap_or_else(|why| panic!("{why}; {}", context()));
            }
        }
    }
}

/// What holds of every transition.
fn legal(before: &Build, after: &Build, asks: &[Ask], slots: &mut bool) -> Result<(), String> {
    let claim = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    claim(after.progress >= before.progress, "progress fell")?;
    claim(after.progress.percent() <= 90, "the image's part of the way ends at 90")?;
    claim(after.attempt >= before.attempt, "an attempt was taken back")?;
    if before.is_over() {
        claim(
            after.state == before.state && after.finished_at == before.finished_at,
            "a terminal state changed",
        )?;
        let of_live = |ask: &Ask| match ask {
            Ask::Check(_, name) => after.check(name).is_some_and(CheckRecord::is_of_live),
            Ask::CancelCheck(run) => {
                before.checks.iter().any(|check| check.is_of_live() && before.check_run(check) == *run)
            }
            _ => false,
        };
        claim(deeds(asks).iter().all(of_live), "a build that is over asked for something")?;
    }
    legal_of_live(before, after, asks)?;
    // Slots are held from the start until they are given back, and only then.
    if before.state == BuildState::Queued && after.state == BuildState::Starting {
        claim(!*slots, "it started with slots")?;
        *slots = true;
    }
    if asks.contains(&Ask::FreeSlots) {
        claim(*slots, "slots were given back twice")?;
        *slots = false;
    }
    let needs = matches!(after.state, BuildState::Starting | BuildState::Running(_));
    claim(*slots == needs, "slots and state disagree")?;
    // A run or check that does not go on any more is stopped or was over.
    let ran = |build: &Build| build.run_goes_on().then(|| build.run());
    if let Some(run) = ran(before).filter(|run| ran(after).as_ref() != Some(run)) {
        let settled =
            asks.iter().any(|ask| matches!(ask, Ask::CancelRun(r) | Ask::ForgetRun(r) if *r == run));
        let never_known =
            after.lost_by_us > before.lost_by_us || after.not_before.is_some() || after.is_over();
        claim(settled || never_known, "a run was left behind")?;
    }
    for (old, new) in before.checks.iter().zip(&after.checks) {
        let over = old.state == CheckState::Running && new.state != CheckState::Running;
        let stopped = Ask::CancelCheck(before.check_run(old));
        claim(!over || asks.contains(&stopped), "a check was left behind")?;
        let outlives = after.is_over() && new.state == CheckState::Running;
        claim(!outlives || new.is_of_live(), "a check outlives its build")?;
        let decided = matches!(old.state, CheckState::Passed | CheckState::Failed(_));
        let anew = new.is_of_live() && before.live_checks != after.live_checks;
        claim(!decided || anew || old.state == new.state, "a verdict was taken back")?;
        claim(new.lost <= RUNS_LOST, "a check was lost too often")?;
    }
    claim(after.lost <= RUNS_LOST && after.lost_by_us <= LOSSES_OF_OURS, "too many losses")?;
    claim(after.is_over() == after.finished_at.is_some(), "the end has no time, or a time and no end")?;
    claim(!after.is_at_rest() || after.wake_at().is_none(), "a build that is at rest is woken")?;
    if after.state == BuildState::Succeeded && before.state != BuildState::Succeeded {
        let checked = after.checks.iter().all(|check| match check.spec.phase {
            crate::service::CheckPhase::Deployed => true,
            crate::service::CheckPhase::Source => {
                check.state == CheckState::Passed || check.spec.gate == crate::service::Gate::Advisory
            }
            crate::service::CheckPhase::Image => {
                after.image().is_none()
                    || check.state == CheckState::Passed
                    || check.spec.gate == crate::service::Gate::Advisory
            }
        });
        claim(checked, "it succeeded past a check")?;
        let pushes = matches!(after.spec.output, BuildOutput::Push { .. });
        claim(!pushes || after.digest.is_some(), "it succeeded without a digest")?;
        let promoted = before.state == BuildState::Running(Step::Promote);
        claim(after.tags.is_empty() || after.image().is_none() || promoted, "its tags were not moved")?;
    }
    Ok(())
}

/// What holds of the checks of what is live.
fn legal_of_live(before: &Build, after: &Build, asks: &[Ask]) -> Result<(), String> {
    let claim = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    let of_live = || before.checks.iter().zip(&after.checks).filter(|(_, new)| new.is_of_live());
    let running = of_live().filter(|(_, new)| new.state == CheckState::Running).count();
    claim(running <= 1, "two checks of what is live run at once")?;
    claim(running == 0 || after.state == BuildState::Succeeded, "it is looked at before it succeeded")?;
    let never = of_live().all(|(_, new)| new.state == CheckState::Waiting);
    claim(after.live_checks.is_some() || never, "it is looked at, and nothing says where")?;
    let waits = of_live().any(|(_, new)| new.state == CheckState::Waiting);
    claim(after.live_checks.is_none() || !waits || running == 1, "a turn never comes")?;
    for (old, new) in of_live() {
        let begun = new.state == CheckState::Running
            && (old.state != CheckState::Running || old.attempt != new.attempt);
        claim(begun == (new.attempt > old.attempt), "a run has the number of another, or a number no run")?;
        let asked = Ask::Check(after.check_run(new), new.spec.name.clone());
        claim(begun == asks.contains(&asked), "a check runs unasked, or is asked for and does not")?;
        let gone = old.state == CheckState::Running && begun;
        // What our own process had is gone with it.
        let settled = after.lost_by_us > before.lost_by_us;
        let stopped = asks.contains(&Ask::CancelCheck(before.check_run(old)));
        claim(!gone || stopped || settled, "a run was left behind by its next")?;
    }
    let gates = of_live().any(|(_, new)| new.spec.gate != crate::service::Gate::Advisory);
    let passed = of_live()
        .all(|(_, new)| new.state == CheckState::Passed || new.spec.gate == crate::service::Gate::Advisory);
    let elsewhere = after.may_go_to(&EnvironmentName::parse("prod").unwrap());
    let looked = after.live_checks.as_ref().is_some_and(|live| live.environment.as_str() != "prod");
    claim(elsewhere.is_err() == (looked && gates && !passed), "the gate and the checks disagree")
}

fn drawn(rng: &mut Rng) -> Build {
    let mut build = queued();
    for (name, phase) in [
        ("sast", "source"),
        ("lint", "source"),
        ("sca", "image"),
        ("unit", "image"),
        ("dast", "deployed"),
        ("load", "deployed"),
    ] {
        if rng.one_in(3) {
            let mut check = check(name, phase);
            if rng.one_in(4) {
                check.spec.gate = crate::service::Gate::Advisory;
            }
            build.checks.push(check);
        }
    }
    if rng.one_in(2) {
        build.tags = vec![Tag::parse("latest").unwrap()];
    }
    if rng.one_in(5) {
        build.spec.output = BuildOutput::Discard;
    }
    if rng.one_in(3) {
        build.requesters.push(requester(RefKey::MergeRequest(7)));
    }
    for timer in [&mut build.timers.stall_seconds, &mut build.timers.total_seconds] {
        if rng.one_in(4) {
            *timer = 0;
        }
    }
    build
}

fn event(rng: &mut Rng) -> RunEvent {
    match rng.below(14) {
        0..5 => RunEvent::Stage(*rng.pick(&Stage::ALL)),
        5..7 => RunEvent::Step { n: u32::try_from(rng.below(12)).unwrap(), of: 10 },
        7 => RunEvent::Lines(Vec::new()),
        8 => RunEvent::Alive,
        _ => RunEvent::Finished(outcome(rng)),
    }
}

fn outcome(rng: &mut Rng) -> RunOutcome {
    match rng.below(12) {
        0..6 => success(),
        6 => passed(),
        7 => RunOutcome::Failed(failure(*rng.pick(&[FailureKind::RunFailed, FailureKind::DiskFull]))),
        8 => RunOutcome::Refused(failure(FailureKind::UnsupportedInstruction)),
        9 => RunOutcome::Canceled,
        _ => lost(),
    }
}

fn reported(rng: &mut Rng) -> Reported {
    let count = |rng: &mut Rng| u32::try_from(rng.below(3)).unwrap();
    match rng.below(4) {
        0 => Reported::Unreadable("line 1: no".into()),
        1 => {
            let new = if rng.one_in(2) { Some(count(rng)) } else { None };
            Reported::Kept(FindingCounts { errors: count(rng), warnings: 1, notes: 0, new })
        }
        _ => Reported::Nothing,
    }
}

/// Half of the time what may come next, else anything.
fn input(rng: &mut Rng, build: &Build, now: i64) -> BuildInput {
    let attempt = if rng.one_in(8) { build.attempt.wrapping_add(1) } else { build.attempt };
    let run = run_of(build, attempt);
    let start = BuildInput::Start { executor: "assembler".into() };
    if rng.one_in(2) {
        match &build.state {
            BuildState::Queued => return start,
            BuildState::Starting | BuildState::Running(Step::Run(_)) if rng.one_in(2) => {
                return BuildInput::Report { run, event: event(rng) };
            }
            BuildState::Running(Step::Promote) => return BuildInput::Promoted(Ok(())),
            BuildState::Succeeded if rng.one_in(4) => return went_live(rng),
            _ => {}
        }
    }
    match rng.below(26) {
        0 => start,
        1 => BuildInput::Postpone { until: at(now + 60), reason: "busy".into() },
        2..7 => BuildInput::Report { run, event: event(rng) },
        7 => BuildInput::LostByUs { run },
        8..16 if !build.checks.is_empty() => {
            let check = rng.pick(&build.checks);
            let attempt = if rng.one_in(8) { check.attempt + 1 } else { check.attempt };
            let (check, run) = (check.spec.name.clone(), check_run(build, check.spec.name.as_str(), attempt));
            if rng.one_in(10) {
                BuildInput::LostByUs { run }
            } else {
                BuildInput::Check { run, check, event: event(rng), reported: reported(rng) }
            }
        }
        16 => BuildInput::Promoted(Err(failure(FailureKind::PushFailed))),
        17 => BuildInput::Promoted(Ok(())),
        18 if rng.one_in(8) => BuildInput::Cancel { by: "ada".into() },
        19 => {
            let scope = if rng.one_in(2) { scope("main") } else { RefKey::MergeRequest(7) };
            BuildInput::Supersede { scope, by: newer(), running: rng.one_in(4) }
        }
        20 if rng.one_in(8) => BuildInput::Quarantine { reason: "corrupt".into() },
        21 if rng.one_in(4) => went_live(rng),
        22 if rng.one_in(4) => BuildInput::NotLive { why: "a newer release takes its place".into() },
        _ => BuildInput::Tick,
    }
}

fn went_live(rng: &mut Rng) -> BuildInput {
    let environment = EnvironmentName::parse(*rng.pick(&["dev", "prod"])).unwrap();
    BuildInput::WentLive { release: ReleaseId::derive([rng.next().to_string().as_str()]), environment }
}

#[test]
fn every_state_is_reached_by_the_draws() {
    let (mut seen, mut of_live) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let mut build = drawn(&mut rng);
        let mut now = 0;
        for _ in 0..120 {
            now += i64::try_from(rng.below(200)).unwrap();
            let input = input(&mut rng, &build, now);
            let _ = build.apply(input, at(now));
            seen.insert(build.state.name());
            let live = build.checks.iter().filter(|check| check.is_of_live());
            of_live.extend(live.map(|check| check.state.name()));
        }
    }
    let all = ["canceled", "error", "failed", "queued", "running", "starting", "succeeded", "superseded"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    let all = ["failed", "passed", "running", "skipped", "waiting"];
    assert_eq!(of_live.into_iter().collect::<Vec<_>>(), all, "of checks of what is live");
}
