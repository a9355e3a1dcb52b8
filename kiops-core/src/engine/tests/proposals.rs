//! Releases that people are asked about outside, along their lane.

use super::*;
use crate::release::Proposal;

/// Releases to `dev` by themselves, each a merge request in another repository.
const BY_MERGE_REQUEST: &str = r#"{"deploy":{"auto":true,"environment":"dev"},"components":[{"name":"main","runs":{
    "type":"git_file","provider":"gitlab","repository":{"path":"team/deploy"},"branch":"main","path":"dev.yaml",
    "container":"main","by":"merge_request"}}]}"#;

/// A release that people are asked about.
fn proposed(world: &mut World, event: Event) -> (BuildId, ReleaseId) {
    let build = world.pushed(event);
    world.succeed(&build);
    let release = world.release_of(&build).id;
    assert_eq!(world.release(&release).state, ReleaseState::Proposed);
    let open = ReleaseInput::Proposed(Ok(Proposal::Open("merge request 7".into())));
    world.releases_input(&release, open).unwrap();
    (build, release)
}

fn accepted(world: &mut World, release: &ReleaseId) {
    let revision = Revision(world.lane().map_or(1, |live| live.revision.0 + 1));
    world.releases_input(release, ReleaseInput::Proposed(Ok(Proposal::Accepted(revision)))).unwrap();
    world.releases_input(release, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    assert_eq!(world.release(release).state, ReleaseState::Live);
}

#[test]
fn what_is_proposed_goes_live_once_it_is_accepted() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (_, release) = proposed(&mut world, onto(1, 2));
    let propose = Effect::Propose { release: release.clone() };
    assert!(world.due(&propose).is_some(), "it is looked at");
    accepted(&mut world, &release);
    assert!(world.due(&propose).is_none());
    assert!(world.due(&Effect::Deploy { release }).is_none(), "it was applied where it was accepted");
}

#[test]
fn what_is_newer_takes_its_place_once_it_is_taken_back() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (_, first) = proposed(&mut world, onto(1, 2));
    let build = world.pushed(onto(2, 3));
    world.succeed(&build);
    let newer = world.release_of(&build).id;
    let superseded = ReleaseState::Superseded { by: newer.clone() };
    assert_eq!(world.release(&first).state, ReleaseState::Withdrawing(Box::new(superseded.clone())));
    assert_eq!(world.due(&Effect::Propose { release: first.clone() }), None);
    assert!(world.due(&Effect::Withdraw { release: first.clone() }).is_some());
    assert_eq!(world.release(&newer).state, ReleaseState::Pending, "two are never proposed at once");
    world.releases_input(&first, ReleaseInput::Withdrawn(Ok(None))).unwrap();
    assert_eq!(world.release(&first).state, superseded);
    assert_eq!(world.release(&newer).state, ReleaseState::Proposed);
    assert_eq!(world.lane(), None);
}

#[test]
fn what_was_accepted_before_it_was_taken_back_goes_live_and_the_newer_one_comes_after_it() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (_, first) = proposed(&mut world, onto(1, 2));
    let build = world.pushed(onto(2, 3));
    world.succeed(&build);
    world.releases_input(&first, ReleaseInput::Withdrawn(Ok(Some(Revision(1))))).unwrap();
    let newer = world.release_of(&build).id;
    assert_eq!(world.release(&newer).state, ReleaseState::Pending);
    world.releases_input(&first, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    assert_eq!(world.lane().unwrap().release, first);
    assert_eq!(world.release(&newer).state, ReleaseState::Proposed);
}

#[test]
fn what_could_not_be_taken_back_leaves_its_lane_unsure() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (_, first) = proposed(&mut world, onto(1, 2));
    accepted(&mut world, &first);
    let boss = member("boss", Role::Admin);
    for (n, withdrawn, unsure) in [(2, Ok(None), false), (3, Err(build_failure()), true)] {
        let (_, release) = proposed(&mut world, onto(n, n + 1));
        world.command(Command::Reject { release: release.clone() }, &boss).unwrap();
        world.releases_input(&release, ReleaseInput::Withdrawn(withdrawn)).unwrap();
        assert_eq!(world.release(&release).state, ReleaseState::Rejected { by: "boss".into() });
        assert_eq!(world.lane().unwrap().unsure, unsure);
    }
}

#[test]
fn what_is_older_than_what_is_proposed_never_takes_its_place() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    let second = world.pushed(onto(2, 3));
    world.start_all();
    world.succeed(&second);
    let newer = world.release_of(&second).id;
    world.succeed(&first);
    assert_eq!(world.release_of(&first).state, ReleaseState::Superseded { by: newer.clone() });
    assert_eq!(world.release(&newer).state, ReleaseState::Proposed);
}

#[test]
fn what_is_proposed_is_taken_back_with_its_build_or_by_who_may_decide() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (build, release) = proposed(&mut world, onto(1, 2));
    world.command(Command::CancelBuild { build }, &member("ada", Role::Member)).unwrap();
    let canceled = ReleaseState::Canceled { by: "ada".into() };
    assert_eq!(world.release(&release).state, ReleaseState::Withdrawing(Box::new(canceled)));
    world.releases_input(&release, ReleaseInput::Withdrawn(Ok(None))).unwrap();
    let (_, release) = proposed(&mut world, onto(2, 3));
    let approve = Command::Approve { release: release.clone() };
    refused(
        world.command(approve, &member("boss", Role::Admin)),
        ErrorKind::Conflict,
        "not possible in state proposed",
    );
    let reject = Command::Reject { release: release.clone() };
    refused(world.command(reject.clone(), &member("ada", Role::Member)), ErrorKind::Forbidden, "Admin");
    world.command(reject, &member("boss", Role::Admin)).unwrap();
    let rejected = ReleaseState::Rejected { by: "boss".into() };
    assert_eq!(world.release(&release).state, ReleaseState::Withdrawing(Box::new(rejected)));
    assert!(world.due(&Effect::Withdraw { release }).is_some());
}

#[test]
fn what_an_approval_is_needed_for_is_proposed_after_it() {
    let mut world = World::new(BY_MERGE_REQUEST);
    world.environment(r#"{"name":"dev","runtime":"here","approval_required":true}"#);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    assert_eq!(world.release(&release).state, ReleaseState::AwaitingApproval);
    assert_eq!(world.due(&Effect::Propose { release: release.clone() }), None);
    world.command(Command::Approve { release: release.clone() }, &member("boss", Role::Admin)).unwrap();
    assert_eq!(world.release(&release).state, ReleaseState::Proposed);
    assert!(world.due(&Effect::Propose { release }).is_some());
}

#[test]
fn the_same_images_asked_for_again_are_proposed_once() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (build, release) = proposed(&mut world, onto(1, 2));
    world.deliver_as(onto(1, 2), "again", Trigger::Webhook);
    world.start_all();
    assert_eq!(world.all_releases().len(), 1);
    assert_eq!(world.release_of(&build).id, release);
    assert_eq!(world.release(&release).state, ReleaseState::Proposed);
}
