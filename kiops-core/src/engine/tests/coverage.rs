//! Changes that are not built yet (E61).

use super::*;
use crate::policy::tests::complete;

const WATCHING: &str = r#"{"components":[{"watch_path":["api/"]}]}"#;

fn touching(before: u8, head: u8, paths: &[&str]) -> Event {
    push_with("main", |push| {
        push.before = commit(before).into();
        push.head = commit(head).into();
        push.files = complete(paths);
    })
}

fn covered(world: &World) -> Option<CommitId> {
    world.ref_state(main_ref()).covered.into_values().next()
}

#[test]
fn the_changes_of_a_failed_build_are_built_by_the_next_push() {
    let mut world = World::new(WATCHING);
    let first = world.pushed(touching(1, 2, &["api/x"]));
    world.fail(&first);
    world.compares(1, 3, &["api/x", "docs/y"], Relation::Ahead);
    let delivery = world.deliver(touching(2, 3, &["docs/y"]));
    assert_eq!(world.outcome(&delivery), EventOutcome::Built);
    assert_eq!(world.asked, [Question::Compare { from: commit(1), to: commit(3) }]);
}

#[test]
fn the_changes_of_a_superseded_build_are_built_by_the_next_push() {
    let mut world = World::new(WATCHING);
    let base = world.pushed(touching(1, 2, &["api/a"]));
    world.succeed(&base);
    let first = world.pushed(touching(2, 3, &["api/x"]));
    world.compares(2, 4, &["api/x", "docs/y"], Relation::Ahead);
    let second = world.pushed(touching(3, 4, &["docs/y"]));
    assert_eq!(world.state(&first), BuildState::Superseded { by: second });
}

#[test]
fn success_covers_and_an_untouched_head_moves_what_is_covered() {
    let mut world = World::new(WATCHING);
    let build = world.pushed(touching(1, 2, &["api/x"]));
    assert_eq!(covered(&world), Some(commit(1)), "what was there before is nobody's news");
    world.succeed(&build);
    assert_eq!(covered(&world), Some(commit(2)));
    let delivery = world.deliver(touching(2, 3, &["docs/y"]));
    assert_eq!(world.outcome(&delivery), EventOutcome::Skipped);
    assert_eq!(covered(&world), Some(commit(3)));
    assert_eq!(world.asked, []);
}

#[test]
fn the_changes_of_a_push_that_asked_to_be_skipped_are_built_by_the_next() {
    let mut world = World::new(WATCHING);
    world.deliver(push_with("main", |push| {
        push.files = complete(&["api/x"]);
        push.message = Some("[skip ci]".into());
    }));
    world.compares(1, 3, &["api/x", "docs/y"], Relation::Ahead);
    let delivery = world.deliver(touching(2, 3, &["docs/y"]));
    assert_eq!(world.outcome(&delivery), EventOutcome::Built);
}

#[test]
fn a_force_push_back_counts_from_where_it_went_back_to() {
    let mut world = World::new(WATCHING);
    let old = world.pushed(touching(1, 2, &["api/x"]));
    world.succeed(&old);
    let new = world.pushed(touching(2, 3, &["api/x"]));
    world.succeed(&new);
    assert_eq!(world.pushed(touching(3, 2, &["api/x"])), old);
    assert_eq!(covered(&world), Some(commit(2)));
}

#[test]
fn a_new_branch_is_compared_with_the_tracked_one() {
    let mut world =
        World::new(r#"{"auto_ci":{"push":{"branches":["*"]}},"components":[{"watch_path":["api/"]}]}"#);
    let base = world.pushed(touching(1, 2, &["api/a"]));
    world.succeed(&base);
    world.compares(2, 5, &["docs/x"], Relation::Ahead);
    let delivery = world.deliver(push_with("topic", |push| {
        push.before = crate::event::Tip::Zeros;
        push.head = commit(5).into();
        push.files = crate::event::ChangedFiles::Unknown;
    }));
    assert_eq!(world.outcome(&delivery), EventOutcome::Skipped);
    assert_eq!(world.asked, [Question::Compare { from: commit(2), to: commit(5) }]);
}

#[test]
fn what_is_built_by_hand_covers_a_head_that_was_decided() {
    let mut world = World::new(WATCHING);
    let failed = world.pushed(touching(1, 2, &["api/x"]));
    world.fail(&failed);
    let command = Command::Build {
        component: None,
        git_ref: crate::name::GitRef::parse("refs/heads/main").unwrap(),
        commit: Box::new(the_commit(2)),
        trigger: Trigger::Retry,
        nonce: "retry".into(),
    };
    let builds = world.built_by(command, &member("ada", Role::Member));
    world.succeed(&builds[0]);
    assert_eq!(covered(&world), Some(commit(2)));
}

#[test]
fn explaining_an_event_compares_with_what_it_was_compared_with_then() {
    let mut world = World::new(WATCHING);
    let failed = world.pushed(touching(1, 2, &["docs/x", "api/x"]));
    world.fail(&failed);
    world.compares(1, 3, &["docs/y"], Relation::Diverged);
    let delivery = world.deliver(touching(2, 3, &["docs/y"]));
    assert_eq!(world.outcome(&delivery), EventOutcome::Skipped);
    let record = world.record(&delivery);
    let explain = |settings: &str| {
        let decision =
            crate::engine::explain(&Rules::none(), &service(settings), &record, &record.events[0], &[], 2);
        decision.outcome
    };
    assert!(matches!(explain(WATCHING), crate::policy::Outcome::Skip(_)));
    let docs = explain(r#"{"components":[{"watch_path":["docs/"]}]}"#);
    assert!(matches!(docs, crate::policy::Outcome::Build(_)));
}
