//! Newer and older: superseding, late pushes, deleted refs.

use super::*;
use crate::policy::tests::{deletion, pipeline};

#[test]
fn two_quick_pushes_supersede() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    let second = world.pushed(onto(2, 3));
    assert_eq!(world.state(&first), BuildState::Superseded { by: second.clone() });
    assert_eq!(world.state(&second), BuildState::Queued);
}

#[test]
fn a_build_that_runs_is_left_alone_and_both_are_released_in_order() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    let second = world.pushed(onto(2, 3));
    assert_eq!(world.state(&first), BuildState::Starting);
    world.succeed(&first);
    let release = world.release_of(&first).id;
    world.succeed(&second);
    world.goes_live(&release);
    let release = world.release_of(&second).id;
    world.goes_live(&release);
    assert_eq!(world.lane().unwrap().order, world.build(&second).order);
}

#[test]
fn a_build_that_waits_again_after_a_restart_gives_way_to_a_newer_one() {
    let lost = |world: &mut World, build: &BuildId| {
        let run = world.build(build).run();
        world.input(build, BuildInput::LostByUs { run }).unwrap();
    };
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    lost(&mut world, &first);
    assert_eq!(world.state(&first), BuildState::Queued, "there is nothing newer");
    world.start_all();
    let second = world.pushed(onto(2, 3));
    world.start_all();
    lost(&mut world, &second);
    assert_eq!(world.state(&second), BuildState::Queued, "the newest gives way to nobody");
    lost(&mut world, &first);
    assert_eq!(world.state(&first), BuildState::Superseded { by: second.clone() });
    world.succeed(&second);
}

#[test]
fn a_build_that_waits_again_goes_on_where_the_newer_one_failed_or_every_push_is_built() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    let second = world.pushed(onto(2, 3));
    world.fail(&second);
    let run = world.build(&first).run();
    world.input(&first, BuildInput::LostByUs { run }).unwrap();
    assert_eq!(world.state(&first), BuildState::Queued);

    let mut world = World::new(r#"{"auto_ci":{"supersede":"never"}}"#);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    world.pushed(onto(2, 3));
    let run = world.build(&first).run();
    world.input(&first, BuildInput::LostByUs { run }).unwrap();
    assert_eq!(world.state(&first), BuildState::Queued);
}

#[test]
fn running_builds_are_stopped_where_that_is_asked() {
    let mut world = World::new(r#"{"auto_ci":{"supersede":"running"}}"#);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    let second = world.pushed(onto(2, 3));
    assert_eq!(world.state(&first), BuildState::Superseded { by: second });
    let (_, slots) = now(world.store.queue()).unwrap();
    assert_eq!(slots, [], "its slots are free");
}

#[test]
fn where_every_push_is_built_nothing_is_superseded() {
    let mut world = World::new(r#"{"auto_ci":{"supersede":"never"}}"#);
    let first = world.pushed(onto(1, 2));
    let second = world.pushed(onto(2, 3));
    assert_eq!([world.state(&first), world.state(&second)], [BuildState::Queued, BuildState::Queued]);
}

#[test]
fn a_late_older_push_never_supersedes_a_newer_build() {
    let mut world = World::new(AUTO);
    let newer = world.pushed(onto(2, 3));
    world.points_at("refs/heads/main", 3);
    let late = world.deliver(onto(1, 2));
    assert_eq!(world.outcome(&late), EventOutcome::Skipped);
    assert!(world.record(&late).events[0].reason().unwrap().contains("older than"));
    assert_eq!(world.state(&newer), BuildState::Queued);
    let state = world.ref_state(main_ref());
    assert_eq!(state.newest, Some(commit(3)));
    assert!(state.has_decided(&commit(2)), "it was decided on: nobody looks for it again");
}

#[test]
fn a_late_push_that_is_built_all_the_same_is_never_released() {
    let mut world =
        World::new(r#"{"auto_ci":{"supersede":"never"},"deploy":{"auto":true,"environment":"dev"}}"#);
    let newer = world.live(onto(2, 3));
    world.points_at("refs/heads/main", 3);
    let late = world.pushed(onto(1, 2));
    world.succeed(&late);
    assert_eq!(world.build(&late).release, None);
    assert_eq!(world.lane().unwrap().release, world.release_of(&newer).id);
    let state = world.ref_state(main_ref());
    assert_eq!(state.newest, Some(commit(3)));
    assert_eq!(state.covered.values().collect::<Vec<_>>(), [&commit(3)], "what is covered stays");
}

#[test]
fn an_older_build_that_ends_later_takes_nothing_back() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    let second = world.pushed(onto(2, 3));
    world.succeed(&second);
    let release = world.release_of(&second).id;
    world.goes_live(&release);
    world.succeed(&first);
    assert!(matches!(world.release_of(&first).state, ReleaseState::Superseded { by } if by == release));
    assert_eq!(world.ref_state(main_ref()).covered.values().collect::<Vec<_>>(), [&commit(3)]);
    assert_eq!(world.lane().unwrap().release, release);
}

#[test]
fn if_the_newer_build_fails_the_older_ones_image_is_live() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    let second = world.pushed(onto(2, 3));
    world.succeed(&first);
    world.fail(&second);
    let release = world.release_of(&first).id;
    world.goes_live(&release);
    assert_eq!(world.lane().unwrap().release, release);
}

#[test]
fn a_merge_request_supersedes_only_its_own_builds() {
    let mut world = World::new(r#"{"auto_ci":{"merge_request":{"enabled":true}}}"#);
    let pushed = world.pushed(onto(1, 2));
    let request = |number, head| {
        crate::policy::tests::merge_request(|request| {
            request.number = Some(number);
            request.head = Some(commit(head));
            request.previous_head = Some(commit(head - 1));
        })
    };
    let seven = world.pushed(request(7, 5));
    let eight = world.pushed(request(8, 6));
    let newer = world.pushed(request(7, 6));
    assert_eq!(newer, eight, "one commit, one build");
    assert_eq!(world.state(&seven), BuildState::Superseded { by: eight });
    assert_eq!(world.state(&pushed), BuildState::Queued);
}

#[test]
fn a_deleted_branch_begins_anew() {
    let mut world = World::new(AUTO);
    world.pushed(onto(1, 2));
    let event = match deletion("main").kind {
        crate::event::EventKind::Push(push) => crate::event::Push { before: commit(2).into(), ..push },
        _ => unreachable!(),
    };
    let delivery = world.deliver(crate::policy::tests::event(crate::event::EventKind::Push(event)));
    assert_eq!(world.outcome(&delivery), EventOutcome::Skipped);
    assert_eq!(world.ref_state(main_ref()).newest, None);
    let again = world.deliver(push_with("main", |push| {
        push.before = crate::event::Tip::Zeros;
        push.head = commit(9).into();
    }));
    assert_eq!(world.outcome(&again), EventOutcome::Built);
    assert_eq!(world.asked, []);
}

#[test]
fn a_build_that_was_running_when_its_branch_was_set_back_to_what_is_live_is_not_released() {
    let mut world = World::new(AUTO);
    let first = world.live(onto(1, 2));
    let second = world.pushed(onto(2, 3));
    world.start_all();
    assert_eq!(world.pushed(onto(3, 2)), first, "the branch is back where it was");
    world.succeed(&second);
    let release = world.build(&second).release.map(|id| world.release(&id).state);
    assert!(
        !release.as_ref().is_some_and(|state| !matches!(state, ReleaseState::Superseded { .. })),
        "{release:?}"
    );
    assert_eq!(world.lane().unwrap().release, world.release_of(&first).id);
}

#[test]
fn a_build_that_was_running_when_its_branch_was_set_back_to_what_is_being_deployed_is_not_released() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    world.succeed(&first);
    let second = world.pushed(onto(2, 3));
    world.start_all();
    assert_eq!(world.pushed(onto(3, 2)), first, "the branch is back where it was");
    world.succeed(&second);
    let release = world.release_of(&first).id;
    world.goes_live(&release);
    assert!(world.release_of(&second).is_over(), "{:?}", world.release_of(&second).state);
    assert_eq!(world.lane().unwrap().release, release);
}

#[test]
fn an_old_delivery_under_a_new_id_takes_no_reset_back() {
    let mut world = World::new(AUTO);
    world.live(onto(1, 2));
    let forth = world.deliver_as(onto(2, 3), "forth", Trigger::Webhook);
    let second = world.builds_of(&forth)[0].clone();
    world.succeed(&second);
    let release = world.release_of(&second).id;
    world.goes_live(&release);
    world.points_at("refs/heads/main", 2);
    let back = world.pushed(onto(3, 2));
    let release = world.release_of(&back).id;
    world.goes_live(&release);

    let old = world.deliver_as(onto(2, 3), "forth", Trigger::Webhook);
    assert_eq!(world.outcome(&old), EventOutcome::Skipped);
    assert_eq!(world.lane().unwrap().release, release, "what the branch points at stays");
    assert_eq!(world.ref_state(main_ref()).newest, Some(commit(2)));
}

#[test]
fn a_deletion_that_comes_late_says_nothing_of_the_newer_head() {
    let mut world = World::new(AUTO);
    world.pushed(onto(1, 2));
    world.pushed(onto(2, 3));
    world.deliver(push_with("main", |push| {
        push.before = commit(1).into();
        push.head = crate::event::Tip::Zeros;
    }));
    assert_eq!(world.ref_state(main_ref()).newest, Some(commit(3)));
}

#[test]
fn a_branch_that_is_not_built_is_forgotten_too_when_it_is_deleted() {
    let mut world = World::new(AUTO);
    world.deliver(push_with("other", |_| {}));
    let other = RefKey::Branch(crate::policy::tests::branch("other"));
    assert_eq!(world.ref_state(other.clone()).newest, Some(commit(2)));
    world.deliver(push_with("other", |push| {
        push.before = commit(2).into();
        push.head = crate::event::Tip::Zeros;
    }));
    assert_eq!(world.ref_state(other).newest, None);
}

#[test]
fn a_skipped_pipeline_says_nothing_of_its_head() {
    let mut world = World::new(AUTO);
    let delivery = world.deliver(pipeline(|_| {}));
    assert_eq!(world.outcome(&delivery), EventOutcome::Skipped);
    assert!(!world.ref_state(main_ref()).has_decided(&commit(2)), "its push is still looked for");
}

#[test]
fn a_skipped_head_that_does_not_follow_on_is_not_the_newest() {
    let mut world = World::new(AUTO);
    world.pushed(onto(2, 3));
    world.deliver(push_with("main", |push| push.message = Some("[skip ci]".into())));
    let state = world.ref_state(main_ref());
    assert_eq!(state.newest, Some(commit(3)));
    assert!(state.has_decided(&commit(2)));
    assert!(state.is_at(&commit(2)), "whether it is the newest is not known: nobody looks for it again");
    world.deliver(push_with("main", |push| {
        push.before = commit(3).into();
        push.head = commit(4).into();
        push.message = Some("[skip ci]".into());
    }));
    let state = world.ref_state(main_ref());
    assert_eq!(state.newest, Some(commit(4)));
    assert!(!state.is_at(&commit(2)) && !state.is_at(&commit(3)));
}
