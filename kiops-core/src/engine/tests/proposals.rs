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
    assert_eq!(world.release(&release).state, ReleaseState::Proposed(None));
    let open = ReleaseInput::Proposed(Ok(Proposal::Open("merge request 7".into())));
    world.releases_input(&release, open).unwrap();
    (build, release)
}

#[test]
fn what_is_proposed_is_applied_once_it_is_accepted() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (_, release) = proposed(&mut world, onto(1, 2));
    let (propose, deploy) =
        (Effect::Propose { release: release.clone() }, Effect::Deploy { release: release.clone() });
    assert!(world.due(&propose).is_some() && world.due(&deploy).is_none(), "it is looked at");
    world.releases_input(&release, ReleaseInput::Proposed(Ok(Proposal::Accepted))).unwrap();
    assert!(world.due(&propose).is_none() && world.due(&deploy).is_some());
    world.goes_live(&release);
}

#[test]
fn what_is_proposed_gives_way_to_what_is_newer_and_is_taken_back() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (_, first) = proposed(&mut world, onto(1, 2));
    let build = world.pushed(onto(2, 3));
    world.succeed(&build);
    let newer = world.release_of(&build).id;
    assert_eq!(world.release(&first).state, ReleaseState::Superseded { by: newer.clone() });
    assert_eq!(world.release(&newer).state, ReleaseState::Proposed(None));
    assert_eq!(world.due(&Effect::Propose { release: first.clone() }), None);
    assert!(world.due(&Effect::Withdraw { release: first }).is_some());
    // Somebody may have said yes to it a moment before.
    world.releases_input(&newer, ReleaseInput::Proposed(Ok(Proposal::Accepted))).unwrap();
    world.goes_live(&newer);
    let (_, third) = proposed(&mut world, onto(3, 4));
    world.command(Command::Reject { release: third }, &member("boss", Role::Admin)).unwrap();
    assert!(world.lane().unwrap().unsure, "the third may be live");
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
    assert_eq!(world.release(&newer).state, ReleaseState::Proposed(None));
}

#[test]
fn what_is_proposed_is_taken_back_with_its_build_or_by_who_may_decide() {
    let mut world = World::new(BY_MERGE_REQUEST);
    let (build, release) = proposed(&mut world, onto(1, 2));
    world.command(Command::CancelBuild { build }, &member("ada", Role::Member)).unwrap();
    assert!(matches!(world.release(&release).state, ReleaseState::Canceled { .. }));
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
    assert_eq!(world.release(&release).state, ReleaseState::Rejected { by: "boss".into() });
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
    assert_eq!(world.release(&release).state, ReleaseState::Proposed(None));
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
    assert!(matches!(world.release(&release).state, ReleaseState::Proposed(Some(_))));
}
