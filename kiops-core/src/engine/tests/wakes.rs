//! When builds and releases are woken to look at the clock.

use super::*;
use crate::effect::Work;

fn wake(build: &BuildId) -> Effect {
    Effect::WakeBuild { build: build.clone() }
}

#[test]
fn a_build_that_waits_is_not_woken_and_one_that_runs_is() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    assert_eq!((world.due(&wake(&build)), world.build(&build).armed), (None, None));
    world.start_all();
    let at = world.time() + later(150);
    assert_eq!((world.due(&wake(&build)), world.build(&build).armed), (Some(at), Some(at)));
}

#[test]
fn a_sign_of_life_leaves_the_earlier_wake_and_the_wake_looks_again() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.start_all();
    let first = world.due(&wake(&build)).unwrap();
    world.seconds += 100;
    let stepped = world.report(&build, RunEvent::Alive).unwrap();
    assert!(stepped.changes.work.is_empty(), "a sign of life stores no new wake");
    assert_eq!(world.due(&wake(&build)), Some(first));
    world.seconds += 60;
    world.input(&build, BuildInput::Tick).unwrap();
    assert_eq!(world.due(&wake(&build)), world.build(&build).wake_at());
    assert!(world.due(&wake(&build)) > Some(world.time()));
}

#[test]
fn a_wake_that_comes_by_a_clock_that_is_behind_is_armed_again() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.start_all();
    let claimed = Work::new(&world.service, at(0), wake(&build), "");
    // Claimed as due by another's clock; by ours it is not due yet.
    let stepped = world.input(&build, BuildInput::Tick).unwrap();
    let again = stepped.changes.work.iter().find(|work| work.id == claimed.id);
    assert_eq!(again.map(|work| work.due), world.build(&build).wake_at());
}

#[test]
fn six_silent_minutes_with_signs_of_life_are_fine_and_five_without_are_not() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.start_all();
    let run_until = |world: &mut World, end: i64, alive: bool| {
        while world.seconds < end {
            world.seconds += 29;
            if alive {
                world.report(&build, RunEvent::Alive).unwrap();
            }
            if world.due(&wake(&build)).is_some_and(|due| due <= world.time()) {
                world.input(&build, BuildInput::Tick).unwrap();
            }
            if world.state(&build).is_over() {
                return;
            }
        }
    };
    run_until(&mut world, 360, true);
    assert_eq!(world.state(&build), BuildState::Starting);
    assert!(world.log_of(&build).len() == 1, "{:?}", world.log_of(&build));
    run_until(&mut world, 800, false);
    assert!(matches!(world.state(&build), BuildState::Failed(f) if f.kind == FailureKind::Stalled));
    let lines = world.log_of(&build).join("\n");
    assert!(
        lines.contains("No sign of life for") && lines.contains("Build timeout: no sign of life"),
        "{lines}"
    );
    assert_eq!(world.due(&wake(&build)), None, "what is over is not woken");
}

#[test]
fn a_postponed_build_is_woken_for_its_next_try() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.start_all();
    let until = world.time() + later(20);
    world.input(&build, BuildInput::Postpone { until, reason: "busy".into() }).unwrap();
    assert_eq!(world.due(&wake(&build)), Some(until));
    world.start_all();
    assert_eq!(world.state(&build), BuildState::Queued, "not before its time");
    world.seconds += 20;
    assert_eq!(world.start_all(), [build]);
}

#[test]
fn a_release_is_woken_for_its_approval_and_its_rollout() {
    let mut world = World::new(r#"{"deploy":{"auto":true,"environment":"prod"}}"#);
    world.environment(r#"{"name":"prod","runtime":"here","approval_required":true}"#);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    let wake = Effect::WakeRelease { release: release.clone() };
    let week = 7 * 24 * 3600;
    assert_eq!(world.due(&wake), Some(world.release(&release).created_at + later(week)));
    world.command(Command::Approve { release: release.clone() }, &member("boss", Role::Admin)).unwrap();
    let start = world.release(&release).deploy_started_at.unwrap();
    assert_eq!(world.due(&wake), Some(start + later(600)), "an earlier wake replaces the later one");
    world.releases_input(&release, ReleaseInput::Applied(Ok(Revision(1)))).unwrap();
    world.releases_input(&release, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    assert_eq!(world.due(&wake), None);
}

#[test]
fn a_rollout_that_takes_too_long_is_not_watched_any_more() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    world.releases_input(&release, ReleaseInput::Applied(Ok(Revision(1)))).unwrap();
    let watch = Effect::Verify { release: release.clone() };
    assert!(world.due(&watch).is_some());
    world.seconds += 600;
    world.releases_input(&release, ReleaseInput::Tick).unwrap();
    assert!(matches!(world.release(&release).state, ReleaseState::Failed(_)));
    assert_eq!(world.due(&watch), None);
}

#[test]
fn timers_that_are_off_wake_nobody() {
    let mut world = World::new(r#"{"timers":{"stall_seconds":0,"total_seconds":0}}"#);
    let build = world.pushed(onto(1, 2));
    world.start_all();
    assert_eq!((world.due(&wake(&build)), world.build(&build).armed), (None, None));
}

#[test]
fn time_in_which_nobody_watched_is_not_the_builds() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.start_all();
    // The process is down for a day; at its start the wake comes before anybody can see how the run stands.
    world.seconds += 24 * 3600;
    world.input(&build, BuildInput::Tick).unwrap();
    assert_eq!(world.state(&build), BuildState::Starting);
    assert!(world.log_of(&build).last().unwrap().contains("Nobody watched for"));
    assert_eq!(world.due(&wake(&build)), Some(world.time() + later(150)));
    let run = world.build(&build).run();
    world.input(&build, BuildInput::LostByUs { run }).unwrap();
    world.succeed(&build);
    assert_eq!(world.state(&build), BuildState::Succeeded);
}

#[test]
fn time_in_which_nobody_watched_does_not_take_a_rollout_back() {
    let mut world = World::new(AUTO);
    world.live(onto(1, 2));
    let build = world.pushed(onto(2, 3));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    world.releases_input(&release, ReleaseInput::Applied(Ok(Revision(2)))).unwrap();
    world.seconds += 24 * 3600;
    world.releases_input(&release, ReleaseInput::Tick).unwrap();
    assert_eq!(world.release(&release).state, ReleaseState::Verifying);
    assert!(world.due(&Effect::WakeRelease { release: release.clone() }) > Some(world.time()));
    world.releases_input(&release, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    assert_eq!(world.release(&release).state, ReleaseState::Live);
}
