//! Which head is the newest (E57).

use super::*;

fn standing(decision: &Decision) -> Standing {
    builds(decision)[0].standing
}

#[test]
fn the_first_head_is_the_newest() {
    assert_eq!(standing(&judged(&plain(), &push("main"), &nothing())), Standing::Newest);
}

#[test]
fn a_push_that_follows_on_the_newest_is_newer() {
    let decision = judged(&plain(), &push("main"), &newest(1));
    assert_eq!(standing(&decision), Standing::Newest);
    assert!(said(&decision).contains("it follows on that one"));
}

#[test]
fn the_same_head_again_is_the_same() {
    assert_eq!(standing(&judged(&plain(), &push("main"), &newest(2))), Standing::Same);
}

#[test]
fn a_broken_chain_asks_what_the_ref_points_at() {
    let facts = newest(5);
    let head = head_of("refs/heads/main");
    assert_eq!(asks(&judged(&plain(), &push("main"), &facts)), std::slice::from_ref(&head));
    let at_it = answered(facts.clone(), head.clone(), points_at(2));
    assert_eq!(standing(&judged(&plain(), &push("main"), &at_it)), Standing::Newest);
    let at_that = answered(facts, head, points_at(5));
    let decision = judged(&plain(), &push("main"), &at_that);
    assert_eq!(skips(&decision), SkipReason::Late);
    assert!(decision.is_late());
}

#[test]
fn where_the_ref_has_moved_on_the_two_are_compared() {
    let facts = answered(newest(5), head_of("refs/heads/main"), points_at(9));
    assert_eq!(asks(&judged(&plain(), &push("main"), &facts)), [compare(5, 2)]);
    let related =
        |relation| answered(facts.clone(), compare(5, 2), comparison(ChangedFiles::Unknown, relation));
    let late = judged(&plain(), &push("main"), &related(Relation::Behind));
    assert_eq!(skips(&late), SkipReason::Late);
    assert!(said(&late).contains("the head is older than 0505050 (an ancestor of that one)"));
    for relation in [Relation::Ahead, Relation::Diverged, Relation::Unknown] {
        let decision = judged(&plain(), &push("main"), &related(relation));
        assert_eq!(standing(&decision), Standing::Newest, "{relation:?}");
    }
}

#[test]
fn a_head_that_was_decided_before_is_late_where_nobody_can_tell() {
    let mut facts = newest(2);
    facts.state.note(&commit(5), false);
    let facts = answered(facts, head_of("refs/heads/main"), None);
    let event = push_with("main", |push| push.before = Tip::At(commit(8)));
    assert_eq!(skips(&judged(&plain(), &event, &facts)), SkipReason::Late);
    let unseen = answered(newest(5), head_of("refs/heads/main"), None);
    let decision = judged(&plain(), &event, &unseen);
    assert_eq!(standing(&decision), Standing::Newest);
    assert!(said(&decision).contains("the provider could not say"));
}

#[test]
fn a_force_push_back_to_an_older_commit_is_the_newest() {
    let mut facts = newest(2);
    facts.state.note(&commit(5), false);
    let back = push_with("main", |push| push.before = Tip::At(commit(5)));
    let facts = answered(facts, head_of("refs/heads/main"), points_at(2));
    assert_eq!(standing(&judged(&plain(), &back, &facts)), Standing::Newest);
}

#[test]
fn a_head_that_the_branch_had_before_is_asked_for_even_where_it_seems_to_follow_on() {
    let mut facts = newest(2);
    facts.state.note(&commit(1), false);
    let head = head_of("refs/heads/main");
    assert_eq!(asks(&judged(&plain(), &push("main"), &facts)), std::slice::from_ref(&head));
    let judged = |answer| judged(&plain(), &push("main"), &answered(facts.clone(), head.clone(), answer));
    for answer in [points_at(2), points_at(9), None] {
        assert_eq!(standing(&judged(answer)), Standing::Newest);
    }
    let late = judged(points_at(1));
    assert_eq!(skips(&late), SkipReason::Late);
    assert!(said(&late).contains("the ref points at that one"));
}

#[test]
fn a_head_of_a_branch_that_was_deleted_is_late_unless_the_branch_is_there_again() {
    let mut facts = newest(2);
    facts.state.delete();
    let head = head_of("refs/heads/main");
    let judged = |answer| judged(&plain(), &push("main"), &answered(facts.clone(), head.clone(), answer));
    for answer in [points_at(2), points_at(9), None] {
        assert_eq!(standing(&judged(answer)), Standing::Newest);
    }
    let late = judged(Some(Answer::Head(None)));
    assert_eq!(skips(&late), SkipReason::Late);
    assert!(said(&late).contains("the branch was deleted"));
}

#[test]
fn where_every_push_is_built_a_late_one_is_built_as_late() {
    let service = service(r#"{"auto_ci":{"supersede":"never"}}"#);
    let facts = answered(newest(5), head_of("refs/heads/main"), points_at(5));
    assert_eq!(standing(&judged(&service, &push("main"), &facts)), Standing::Late);
}

#[test]
fn a_moved_tag_is_the_newest_unless_it_points_elsewhere_by_now() {
    let service = service(r#"{"auto_ci":{"tag":{"enabled":true}}}"#);
    let facts = newest(5);
    assert_eq!(asks(&judged(&service, &tag("v1"), &facts)), [head_of("refs/tags/v1")]);
    for (answer, late) in [(points_at(2), false), (points_at(5), true), (points_at(9), false), (None, false)]
    {
        let facts = answered(facts.clone(), head_of("refs/tags/v1"), answer);
        let decision = judged(&service, &tag("v1"), &facts);
        assert_eq!(decision.is_late(), late);
        assert_eq!(matches!(decision.outcome, Outcome::Build(_)), !late);
    }
}

#[test]
fn the_third_round_asks_nothing() {
    let event = push_with("main", |push| {
        push.message = None;
        push.files = ChangedFiles::Unknown;
    });
    let watching = service(r#"{"components":[{"watch_path":["api/"]}]}"#);
    let mut facts = covered(newest(5), 5);
    let first = judged(&watching, &event, &facts);
    assert_eq!(asks(&first), [compare(5, 2), head_of("refs/heads/main"), about(2)]);
    facts.rounds = 2;
    assert_eq!(builds(&judged(&watching, &event, &facts)).len(), 1);
}

#[test]
fn a_ref_remembers_a_late_head_below_the_newest() {
    let mut state = RefState::default();
    state.note(&commit(1), false);
    state.note(&commit(3), false);
    state.note(&commit(2), true);
    assert_eq!(state.newest, Some(commit(3)));
    assert_eq!(state.decided, [commit(1), commit(2), commit(3)]);
    assert!(state.has_decided(&commit(2)) && !state.has_decided(&commit(4)));
}

#[test]
fn a_ref_is_only_at_the_head_that_it_moved_to_last() {
    let mut state = RefState::default();
    [1, 2, 1, 1].into_iter().for_each(|n| state.note(&commit(n), false));
    assert!(state.is_at(&commit(1)) && !state.is_at(&commit(2)));
    assert_eq!(state.moves, 3, "the same head again is no move");
    state.note(&commit(3), true);
    assert!(!state.is_at(&commit(3)), "what came late moved nothing");
    state.delete();
    assert!(!state.is_at(&commit(1)) && state.has_decided(&commit(1)));
    assert_eq!(state.moves, 4);
}

#[test]
fn a_ref_forgets_the_oldest_heads() {
    let mut state = RefState::default();
    (0..200).for_each(|n| state.note(&commit(n + 1), n % 3 == 2));
    assert_eq!(state.decided.len(), 64);
    assert!(state.has_decided(state.newest.as_ref().unwrap()));
}

#[test]
fn coverage_is_older_or_newer_by_the_order_of_decisions() {
    let main = ComponentName::default();
    let mut state = RefState::default();
    (1..=3).for_each(|n| state.note(&commit(n), false));
    state.covered.insert(main.clone(), commit(2));
    assert!(state.is_covered_past(&main, &commit(1)));
    assert!(!state.is_covered_past(&main, &commit(2)));
    assert!(!state.is_covered_past(&main, &commit(3)));
    assert!(!state.is_covered_past(&main, &commit(9)), "what was never decided has no place");
}
