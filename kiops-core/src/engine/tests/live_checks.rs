//! Checks of what is live: after a release, gating the next environment, and changing nothing else.

use super::*;
use crate::build::CheckState;
use crate::checks::Reported;
use crate::effect::Work;
use crate::name::{CheckName, RunId};
use crate::notify::DomainEvent;

const CHECKED: &str = r#"{"deploy":{"auto":true,"environment":"dev"},
    "checks":[{"name":"zap","phase":"deployed","stage":"scan","image":"h.io/zap:1","owner":"sec"}]}"#;

fn world() -> World {
    world_of(CHECKED)
}

fn world_of(settings: &str) -> World {
    let world = World::new(settings);
    world.environment(r#"{"name":"prod","runtime":"here"}"#);
    world
}

fn zap() -> CheckName {
    CheckName::parse("zap").unwrap()
}

fn run_of(world: &World, build: &BuildId) -> RunId {
    let build = world.build(build);
    build.check_run(build.check(&zap()).unwrap())
}

fn state_of(world: &World, build: &BuildId) -> CheckState {
    world.build(build).check(&zap()).unwrap().state.clone()
}

fn ends(world: &mut World, build: &BuildId, outcome: RunOutcome) -> Stepped {
    let (run, event) = (run_of(world, build), RunEvent::Finished(outcome));
    world.input(build, BuildInput::Check { run, check: zap(), event, reported: Reported::Nothing }).unwrap()
}

fn passes(world: &mut World, build: &BuildId) -> Stepped {
    ends(world, build, RunOutcome::Succeeded(RunResult::default()))
}

fn fails(world: &mut World, build: &BuildId) -> Stepped {
    let failure = Failure::new(Stage::Scan, FailureKind::CheckFailed, "2 alerts");
    ends(world, build, RunOutcome::Failed(failure))
}

fn deploy(build: &BuildId, environment: &str, nonce: &str) -> Command {
    let environment = Some(EnvironmentName::parse(environment).unwrap());
    Command::DeployBuild { build: build.clone(), environment, nonce: nonce.into() }
}

fn ada() -> Subject {
    member("ada", Role::Member)
}

fn asks_for(stepped: &Stepped, effect: &Effect) -> bool {
    stepped.changes.work.iter().any(|work| work.effect == *effect)
}

fn told(stepped: &Stepped) -> Vec<(String, EnvironmentName)> {
    let of_check = |event: &DomainEvent| match event {
        DomainEvent::Check { check, owner, environment, state, .. } => {
            assert_eq!((check, owner.as_deref()), (&zap(), Some("sec")));
            Some((state.clone(), environment.clone()))
        }
        _ => None,
    };
    stepped.changes.events.iter().filter_map(of_check).collect()
}

/// A release of a build to `prod` by hand.
fn promoted(world: &mut World, build: &BuildId) -> ReleaseId {
    world.released_by(deploy(build, "prod", "p"), &ada())
}

#[test]
fn one_begins_once_its_release_is_live_without_a_slot_and_the_log_is_closed_after_it() {
    let mut world = world();
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    assert_eq!(state_of(&world, &build), CheckState::Waiting);
    let release = world.release_of(&build).id;
    world.releases_input(&release, ReleaseInput::Applied(Ok(Revision(1)))).unwrap();
    let stepped = world.releases_input(&release, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    let check = Effect::Check { build: build.clone(), check: zap(), run: run_of(&world, &build) };
    assert!(asks_for(&stepped, &check), "{:?}", stepped.changes.work);
    assert!(asks_for(&stepped, &Effect::WakeBuild { build: build.clone() }), "somebody looks at the clock");
    assert_eq!(told(&stepped), [("running".to_owned(), dev())]);
    assert_eq!(now(world.store.queue()).unwrap().1, [], "it holds no slot");
    assert!(!world.closed.contains(&build));

    let stepped = passes(&mut world, &build);
    assert_eq!(told(&stepped), [("passed".to_owned(), dev())]);
    let wake = Work::new(&world.service, world.time(), Effect::WakeBuild { build: build.clone() }, "");
    assert!(stepped.changes.cancel_work.contains(&wake.id), "nobody looks at the clock any more");
    assert_eq!(world.closed, std::slice::from_ref(&build));
    let log = world.log_of(&build);
    let looks = format!("[scan] Check zap: looks at release {release} in dev");
    assert_eq!(log[log.len() - 2..], [looks.as_str(), "[scan] Check zap: passed"]);
    world.released_by(deploy(&build, "prod", "p"), &ada());
}

#[test]
fn one_that_failed_changes_neither_build_nor_release_and_keeps_the_build_where_it_is() {
    let mut world = world();
    let build = world.live(onto(1, 2));
    let (release, live) = (world.release_of(&build), world.lane());
    let stepped = fails(&mut world, &build);
    assert_eq!(told(&stepped), [("failed".to_owned(), dev())]);
    assert_eq!(world.state(&build), BuildState::Succeeded);
    assert_eq!((world.release_of(&build), world.lane()), (release, live));
    let result = world.command(deploy(&build, "prod", "p"), &ada());
    refused(result, ErrorKind::Conflict, "did not pass check `zap`: Check failed: 2 alerts");

    let again = world.released_by(deploy(&build, "dev", "d"), &ada());
    world.goes_live(&again);
    assert_eq!(state_of(&world, &build), CheckState::Running, "what went live again is looked at again");
    passes(&mut world, &build);
    promoted(&mut world, &build);
}

#[test]
fn nobody_hears_again_that_the_build_succeeded() {
    let mut world = world();
    let build = world.live(onto(1, 2));
    let run = run_of(&world, &build);
    let input = BuildInput::Check { run, check: zap(), event: RunEvent::Alive, reported: Reported::Nothing };
    let stepped = world.input(&build, input).unwrap();
    assert_eq!(stepped.changes.events, []);
    let stepped = passes(&mut world, &build);
    let [DomainEvent::Check { .. }] = stepped.changes.events.as_slice() else {
        panic!("{:?}", stepped.changes.events)
    };
}

#[test]
fn a_git_host_is_told_what_they_came_to() {
    let mut world = world();
    let build = world.live(onto(1, 2));
    let version = |stepped: &Stepped| stepped.changes.expect;
    let stepped = fails(&mut world, &build);
    assert!(asks_for(&stepped, &Effect::Report { build: build.clone(), version: version(&stepped) }));
    let stored = world.build(&build);
    let view = crate::release::BuildView::of(&stored, Some(&world.release_of(&build)));
    let status = super::super::report::status(&stored, &view, None);
    assert_eq!(status.state, crate::provider::StatusState::Success, "the build is what it is");
    assert!(status.description.ends_with("; check zap failed in dev"), "{}", status.description);
}

#[test]
fn a_build_goes_nowhere_else_before_it_was_looked_at_where_it_goes_first() {
    let mut world = world();
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let result = world.command(deploy(&build, "prod", "early"), &ada());
    refused(result, ErrorKind::Conflict, "it is on its way to `dev`, where its checks look at it first");
    let release = world.release_of(&build).id;
    world.goes_live(&release);
    let result = world.command(deploy(&build, "prod", "soon"), &ada());
    refused(result, ErrorKind::Conflict, "check `zap` still runs");
    passes(&mut world, &build);
    let release = promoted(&mut world, &build);
    world.releases_input(&release, ReleaseInput::Applied(Ok(Revision(1)))).unwrap();
    let stepped = world.releases_input(&release, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    let prod = EnvironmentName::parse("prod").unwrap();
    assert_eq!(told(&stepped), [("running".to_owned(), prod)], "there it is looked at again");
}

#[test]
fn the_same_request_finds_its_release_whatever_was_found_since() {
    let mut world = world();
    let build = world.live(onto(1, 2));
    passes(&mut world, &build);
    let release = promoted(&mut world, &build);
    let again = world.released_by(deploy(&build, "dev", "d"), &ada());
    world.goes_live(&again);
    fails(&mut world, &build);
    assert_eq!(promoted(&mut world, &build), release);
}

#[test]
fn another_release_that_is_applied_there_stops_them() {
    let mut world = world();
    let old = world.live(onto(1, 2));
    let run = run_of(&world, &old);
    let new = world.pushed(onto(2, 3));
    assert_eq!(state_of(&world, &old), CheckState::Running, "a push alone replaces nothing");
    let stepped = world.succeed(&new);
    assert!(asks_for(&stepped, &Effect::CancelCheck { run }), "{:?}", stepped.changes.work);
    assert_eq!(state_of(&world, &old), CheckState::Skipped);
    assert_eq!(told(&stepped), [("skipped".to_owned(), dev())]);
    assert!(world.closed.contains(&old), "nothing more is said of it");
    let release = world.release_of(&new).id;
    let last = format!("[scan] Check zap: stopped: release {release} takes its place");
    assert_eq!(*world.log_of(&old).last().unwrap(), last);
    let result = world.command(deploy(&old, "prod", "p"), &ada());
    refused(result, ErrorKind::Conflict, "check `zap` did not come to its end in environment `dev`");
    world.goes_live(&release);
    assert_eq!(state_of(&world, &new), CheckState::Running);
}

#[test]
fn a_release_of_another_lane_leaves_them_alone() {
    let two = CHECKED.replacen('{', r#"{"components":[{"name":"api"},{"name":"web"}],"#, 1);
    let mut world = world_of(&two);
    let delivery = world.deliver(onto(1, 2));
    let builds = world.builds_of(&delivery);
    for build in &builds {
        world.succeed(build);
        let release = world.release_of(build).id;
        world.goes_live(&release);
    }
    assert!(builds.iter().all(|build| state_of(&world, build) == CheckState::Running));
}

#[test]
fn a_release_that_waited_for_a_yes_goes_nowhere_if_they_failed_meanwhile() {
    let mut world = world();
    world.environment(r#"{"name":"prod","runtime":"here","approval_required":true}"#);
    let build = world.live(onto(1, 2));
    passes(&mut world, &build);
    let release = promoted(&mut world, &build);
    assert_eq!(world.release(&release).state, ReleaseState::AwaitingApproval);
    let again = world.released_by(deploy(&build, "dev", "d"), &ada());
    world.goes_live(&again);
    fails(&mut world, &build);
    let owner = member("boss", Role::Owner);
    let result = world.command(Command::Approve { release: release.clone() }, &owner);
    refused(result, ErrorKind::Conflict, "did not pass check `zap`");
    assert_eq!(world.release(&release).state, ReleaseState::AwaitingApproval, "it may yet get a no");
    world.command(Command::Reject { release }, &owner).unwrap();
}

#[test]
fn they_gate_what_goes_to_a_further_environment_by_itself_too() {
    let mut world = world();
    let old = world.live(onto(1, 2));
    fails(&mut world, &old);
    let new = world.live(onto(2, 3));
    passes(&mut world, &new);
    world.settings(&CHECKED.replace(r#""environment":"dev""#, r#""environment":"prod""#));
    // The head is the older commit again: its build is wanted, and now in `prod`.
    assert_eq!(world.pushed(onto(3, 2)), old);
    assert_eq!(world.all_releases().len(), 2, "no release was made");
    let log = world.log_of(&old);
    assert!(log.iter().any(|line| line.contains("Not released") && line.contains("check `zap`")), "{log:?}");
}

#[test]
fn advisory_ones_gate_nothing() {
    let advisory = CHECKED.replace(r#""owner":"sec""#, r#""owner":"sec","gate":{"by":"advisory"}"#);
    let mut world = world_of(&advisory);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let early = world.released_by(deploy(&build, "prod", "early"), &ada());
    let release = world.release_of(&build).id;
    world.goes_live(&release);
    fails(&mut world, &build);
    assert_eq!(state_of(&world, &build), CheckState::Passed);
    let later = promoted(&mut world, &build);
    assert_ne!(early, later);
}

#[test]
fn somebody_may_stop_them_and_the_build_stays_what_it_is() {
    let mut world = world();
    let build = world.live(onto(1, 2));
    let run = run_of(&world, &build);
    let cancel = || Command::CancelBuild { build: build.clone() };
    let stepped = world.step(Input::Command { command: cancel(), by: ada() }).unwrap();
    assert!(asks_for(&stepped, &Effect::CancelCheck { run }));
    assert_eq!((world.state(&build), state_of(&world, &build)), (BuildState::Succeeded, CheckState::Skipped));
    refused(world.command(cancel(), &ada()), ErrorKind::Conflict, "is over: succeeded");
}

#[test]
fn going_back_and_images_by_hand_are_no_builds_promotion() {
    let mut world = world();
    let build = world.live(onto(1, 2));
    fails(&mut world, &build);
    let images = world.lane().unwrap().images;
    let prod = || Some(EnvironmentName::parse("prod").unwrap());
    let command = Command::DeployImages {
        component: None,
        images: images.clone(),
        environment: prod(),
        nonce: "i".into(),
    };
    let release = world.released_by(command, &ada());
    world.releases_input(&release, ReleaseInput::Applied(Ok(Revision(1)))).unwrap();
    let stepped = world.releases_input(&release, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    assert_eq!(told(&stepped), [], "no build is behind it");
    let back = Command::Rollback {
        component: None,
        environment: None,
        to: Revision(1),
        images,
        commit: None,
        nonce: "r".into(),
    };
    world.released_by(back, &ada());
}
