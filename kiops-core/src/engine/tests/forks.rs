//! Commits of forks: held, approved one by one, built without secrets and without push.

use super::*;
use crate::access::Trust;
use crate::build::BuildOutput;
use crate::checks::Reported;
use crate::policy::tests::merge_request;

const FORKS: &str = r#"{"auto_ci":{"merge_request":{"enabled":true}},"deploy":{"auto":true,"environment":"dev"},
    "components":[{"build_secrets":{"npm":"npm-token"}}],
    "checks":[{"name":"sast","phase":"source","image":"h.io/s:1","secrets":{"TOKEN":"sast-token"}}]}"#;

fn of_fork(head: u8) -> Event {
    merge_request(|request| {
        request.fork = true;
        request.head = Some(commit(head));
    })
}

fn approve(delivery: &DeliveryId, n: u8) -> Command {
    Command::ApproveFork { delivery: delivery.clone(), commit: commit(n) }
}

fn boss() -> Subject {
    member("boss", Role::Admin)
}

#[test]
fn a_forks_commit_waits_and_is_built_once_it_is_approved() {
    let mut world = World::new(FORKS);
    let delivery = world.deliver(of_fork(2));
    assert_eq!(world.outcome(&delivery), EventOutcome::Held);
    assert_eq!(world.all_builds(), []);
    let builds = world.built_by(approve(&delivery, 2), &boss());
    let build = world.build(&builds[0]);
    assert_eq!((build.identity.trust, build.spec.output.clone()), (Trust::Fork, BuildOutput::Discard));
    assert!(build.spec.secrets.is_empty() && build.checks[0].spec.secrets.is_empty());
    assert_eq!(world.outcome(&delivery), EventOutcome::Built);
    assert_eq!(world.builds_of(&delivery), builds);
    let lines = world.log_of(&builds[0]);
    assert_eq!(lines, ["[setup] Triggered by Webhook", "[setup] Commit 0202020 of a fork approved by boss"]);
}

#[test]
fn an_approved_forks_build_is_never_released() {
    let mut world = World::new(FORKS);
    let delivery = world.deliver(of_fork(2));
    let build = world.built_by(approve(&delivery, 2), &boss()).remove(0);
    world.start_all();
    let check = crate::name::CheckName::parse("sast").unwrap();
    let run = crate::name::RunId::of_check(&build, &check, 1);
    let passed = RunEvent::Finished(RunOutcome::Succeeded(RunResult::default()));
    world
        .input(&build, BuildInput::Check { run, check, event: passed, reported: Reported::Nothing })
        .unwrap();
    world.succeed(&build);
    assert_eq!(world.all_releases(), []);
    let deploy = Command::DeployBuild { build, environment: None, nonce: "n".into() };
    refused(world.command(deploy, &boss()), ErrorKind::Conflict, "made no image");
}

#[test]
fn approving_takes_an_admin() {
    let mut world = World::new(FORKS);
    let delivery = world.deliver(of_fork(2));
    for by in [member("ada", Role::Member), Subject::unknown()] {
        refused(world.command(approve(&delivery, 2), &by), ErrorKind::Forbidden, "stronger role");
    }
}

#[test]
fn another_commit_than_the_one_held_is_a_conflict() {
    let mut world = World::new(FORKS);
    let delivery = world.deliver(of_fork(2));
    refused(
        world.command(approve(&delivery, 3), &boss()),
        ErrorKind::Conflict,
        "this delivery holds commit 0202",
    );
    assert_eq!(world.all_builds(), []);
}

#[test]
fn a_newer_commit_is_held_again_and_the_older_cannot_be_approved_any_more() {
    let mut world = World::new(FORKS);
    let first = world.deliver(of_fork(2));
    world.built_by(approve(&first, 2), &boss());
    let second = world.deliver(merge_request(|request| {
        request.fork = true;
        request.head = Some(commit(3));
        request.previous_head = Some(commit(2));
    }));
    assert_eq!(world.outcome(&second), EventOutcome::Held);
    let third = world.deliver(merge_request(|request| {
        request.fork = true;
        request.head = Some(commit(4));
        request.previous_head = Some(commit(3));
    }));
    refused(world.command(approve(&second, 3), &boss()), ErrorKind::Conflict, "has a newer commit");
    assert_eq!(world.built_by(approve(&third, 4), &boss()).len(), 1);
}

#[test]
fn an_approval_is_given_once() {
    let mut world = World::new(FORKS);
    let delivery = world.deliver(of_fork(2));
    world.built_by(approve(&delivery, 2), &boss());
    refused(world.command(approve(&delivery, 2), &boss()), ErrorKind::Conflict, "holds nothing");
}

#[test]
fn the_same_commit_once_more_needs_no_second_approval() {
    let mut world = World::new(FORKS);
    let delivery = world.deliver(of_fork(2));
    let builds = world.built_by(approve(&delivery, 2), &boss());
    let again = world.deliver(of_fork(2));
    assert_eq!(world.builds_of(&again), builds);
}

#[test]
fn a_commit_that_is_also_pushed_by_somebody_trusted_is_built_apart() {
    let mut world = World::new(FORKS);
    let delivery = world.deliver(of_fork(2));
    let fork = world.built_by(approve(&delivery, 2), &boss());
    let trusted = world.pushed(onto(1, 2));
    assert_ne!(fork, std::slice::from_ref(&trusted));
    assert_eq!(world.build(&trusted).identity.trust, Trust::Trusted);
}

#[test]
fn an_approval_builds_the_components_that_the_request_touches() {
    let mut world = World::new(
        r#"{"auto_ci":{"merge_request":{"enabled":true}},
            "components":[{"name":"api","watch_path":["api/"]},{"name":"web","watch_path":["web/"]}]}"#,
    );
    let base = world.deliver(push_with("main", |push| {
        push.before = commit(8).into();
        push.head = commit(9).into();
        push.files = crate::policy::tests::complete(&["api/x", "web/x"]);
    }));
    for build in world.builds_of(&base) {
        world.succeed(&build);
    }
    world.compares(9, 2, &["web/y"], Relation::Ahead);
    let delivery = world.deliver(of_fork(2));
    let builds = world.built_by(approve(&delivery, 2), &boss());
    let names: Vec<String> = builds.iter().map(|id| world.build(id).component().to_string()).collect();
    assert_eq!(names, ["web"]);
}

#[test]
fn where_settings_say_no_by_now_an_approval_says_why() {
    let mut world = World::new(FORKS);
    let delivery = world.deliver(of_fork(2));
    world.settings(r#"{"auto_ci":{"merge_request":{"enabled":true,"forks":"never"}}}"#);
    refused(world.command(approve(&delivery, 2), &boss()), ErrorKind::Conflict, "forks are never built");
    assert_eq!(world.outcome(&delivery), EventOutcome::Held);
}
