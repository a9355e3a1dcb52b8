//! Who may deploy, and who must wait (T17, T18).

use super::*;

const PROD: &str = r#"{"deploy":{"auto":true,"environment":"prod"}}"#;

fn world(environment: &str) -> World {
    let world = World::new(PROD);
    world.environment(environment);
    world
}

const LOCKED: &str = r#"{"name":"prod","runtime":"here","protection":{"level":"locked"}}"#;
const RESTRICTED: &str =
    r#"{"name":"prod","runtime":"here","protection":{"level":"restricted","allow":["pusher"]}}"#;
const ASKING: &str = r#"{"name":"prod","runtime":"here","approval_required":true}"#;

fn release(world: &mut World) -> Release {
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    world.release_of(&build)
}

#[test]
fn a_push_to_a_protected_environment_builds_and_then_waits() {
    for environment in [LOCKED, ASKING] {
        let mut world = world(environment);
        let release = release(&mut world);
        assert_eq!(release.state, ReleaseState::AwaitingApproval);
        let (_, slots) = now(world.store.queue()).unwrap();
        assert_eq!(slots, [], "waiting holds no slot");
        let build = release.origin.build().unwrap();
        assert!(world.log_of(build).contains(&"[deploy] Awaiting approval for environment prod"));
        assert!(!world.closed.contains(build), "it is not over");
    }
}

#[test]
fn whoever_is_on_the_list_deploys_at_once_and_nobody_unknown_does() {
    let mut world = world(RESTRICTED);
    assert_eq!(release(&mut world).state, ReleaseState::Deploying);
    world.subject = Subject::unknown();
    let build = world.pushed(onto(2, 3));
    world.succeed(&build);
    assert_eq!(world.release_of(&build).state, ReleaseState::AwaitingApproval);
}

#[test]
fn an_admin_pushes_straight_through_where_only_approval_is_asked() {
    let mut world = world(ASKING);
    world.subject = member("boss", Role::Admin);
    assert_eq!(release(&mut world).state, ReleaseState::Deploying);
}

#[test]
fn only_the_owner_approves_in_a_locked_environment() {
    let mut world = world(LOCKED);
    let id = release(&mut world).id;
    for by in [member("ada", Role::Member), member("boss", Role::Admin), Subject::unknown()] {
        let result = world.command(Command::Approve { release: id.clone() }, &by);
        refused(result, ErrorKind::Forbidden, "in a locked environment the Owner");
    }
    world.command(Command::Approve { release: id.clone() }, &member("root", Role::Owner)).unwrap();
    assert_eq!(world.release(&id).state, ReleaseState::Deploying);
    assert_eq!(world.release(&id).approval.unwrap().by.as_str(), "root");
}

#[test]
fn an_approval_that_is_refused_ends_the_release() {
    let mut world = world(ASKING);
    let release = release(&mut world);
    let by = member("boss", Role::Admin);
    world.command(Command::Reject { release: release.id.clone() }, &by).unwrap();
    assert_eq!(world.release(&release.id).state, ReleaseState::Rejected { by: "boss".into() });
    assert!(world.closed.contains(release.origin.build().unwrap()));
    let again = world.command(Command::Approve { release: release.id.clone() }, &by);
    refused(again, ErrorKind::Conflict, "`approve` is not possible in state rejected");
}

#[test]
fn one_that_waits_can_be_canceled_through_its_build() {
    let mut world = world(ASKING);
    let release = release(&mut world);
    let build = release.origin.build().unwrap().clone();
    world.command(Command::CancelBuild { build: build.clone() }, &member("ada", Role::Member)).unwrap();
    assert_eq!(world.release(&release.id).state, ReleaseState::Canceled { by: "ada".into() });
    assert_eq!(world.state(&build), BuildState::Succeeded);
    assert!(world.closed.contains(&build));
}

#[test]
fn of_two_that_wait_for_a_yes_the_older_gives_way() {
    let mut world = world(ASKING);
    let first = release(&mut world).id;
    let build = world.pushed(onto(2, 3));
    world.succeed(&build);
    let second = world.release_of(&build).id;
    assert_eq!(world.release(&first).state, ReleaseState::Superseded { by: second.clone() });
    assert_eq!(world.release(&second).state, ReleaseState::AwaitingApproval);
}

#[test]
fn one_that_waits_for_a_yes_holds_up_nobody_who_may() {
    let mut world = world(RESTRICTED);
    let first = release(&mut world).id;
    let second = world.pushed(onto(2, 3));
    world.succeed(&second);
    let second = world.release_of(&second).id;
    assert_eq!(world.release(&second).state, ReleaseState::Pending, "the lane is taken");
    world.subject = Subject::unknown();
    let third = world.pushed(onto(3, 4));
    world.succeed(&third);
    let third = world.release_of(&third).id;
    assert_eq!(world.release(&third).state, ReleaseState::AwaitingApproval);
    assert_eq!(world.release(&second).state, ReleaseState::Pending, "a no may yet come");
    world.releases_input(&first, ReleaseInput::Applied(Ok(Revision(1)))).unwrap();
    world.releases_input(&first, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    assert_eq!(world.release(&second).state, ReleaseState::Deploying);
    assert_eq!(world.release(&third).state, ReleaseState::AwaitingApproval);
}

#[test]
fn a_yes_to_something_older_than_what_is_live_does_not_take_it_back() {
    let mut world = world(RESTRICTED);
    world.subject = Subject::unknown();
    let waits = release(&mut world).id;
    world.subject = member("pusher", Role::Member);
    let build = world.pushed(onto(2, 3));
    world.succeed(&build);
    let newer = world.release_of(&build).id;
    assert_eq!(world.release(&waits).state, ReleaseState::Superseded { by: newer });
    let late = world.command(Command::Approve { release: waits }, &member("boss", Role::Admin));
    refused(late, ErrorKind::Conflict, "not possible in state superseded");
}

#[test]
fn a_release_by_hand_asks_the_same_question() {
    let mut world = world(LOCKED);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let deploy =
        |nonce: &str| Command::DeployBuild { build: build.clone(), environment: None, nonce: nonce.into() };
    let refusal = world.command(deploy("1"), &member("eve", Role::Viewer));
    refused(refusal, ErrorKind::Forbidden, "deploying needs a member");
    let by_member = world.released_by(deploy("2"), &member("ada", Role::Member));
    assert_eq!(world.release(&by_member).state, ReleaseState::AwaitingApproval);
    let by_owner = world.released_by(deploy("3"), &member("root", Role::Owner));
    assert_eq!(world.release(&by_owner).state, ReleaseState::Deploying);
}

#[test]
fn nobody_answers_and_it_expires() {
    let mut world = world(ASKING);
    let release = release(&mut world).id;
    world.seconds += 8 * 24 * 3600;
    world.releases_input(&release, ReleaseInput::Tick).unwrap();
    assert_eq!(world.release(&release).state, ReleaseState::Expired);
}
