//! Watch paths.

use super::*;

fn watching() -> Service {
    service(r#"{"components":[{"watch_path":["api/"]}]}"#)
}

fn files(files: ChangedFiles) -> Event {
    push_with("main", |push| push.files = files)
}

#[test]
fn a_complete_list_decides() {
    let decision = judged(&watching(), &files(complete(&["api/x.rs", "docs/a"])), &nothing());
    assert_eq!(builds(&decision).len(), 1);
    assert!(said(&decision).contains("`api/x.rs` matches `api/` of component `main`"), "{}", said(&decision));
    let decision = judged(&watching(), &files(complete(&["docs/a"])), &nothing());
    assert_eq!(skips(&decision), SkipReason::PathsNotTouched);
}

#[test]
fn no_watch_path_means_every_file() {
    assert_eq!(builds(&judged(&plain(), &files(complete(&[])), &nothing())).len(), 1);
}

#[test]
fn a_partial_list_decides_only_if_it_matches() {
    let decision = judged(&watching(), &files(partial(&["api/x.rs"])), &nothing());
    assert_eq!(builds(&decision).len(), 1);
    let decision = judged(&watching(), &files(partial(&["docs/a"])), &nothing());
    assert_eq!(asks(&decision), [compare(1, 2)]);
}

#[test]
fn an_unknown_list_is_asked_for() {
    let event = files(ChangedFiles::Unknown);
    assert_eq!(asks(&judged(&watching(), &event, &nothing())), [compare(1, 2)]);
    let touched = comparison(complete(&["api/x"]), Relation::Ahead);
    let facts = answered(nothing(), compare(1, 2), touched);
    assert_eq!(builds(&judged(&watching(), &event, &facts)).len(), 1);
    let untouched = comparison(complete(&["docs/x"]), Relation::Ahead);
    let facts = answered(nothing(), compare(1, 2), untouched);
    assert_eq!(skips(&judged(&watching(), &event, &facts)), SkipReason::PathsNotTouched);
}

#[test]
fn what_stays_unknown_is_built_and_says_so() {
    let event = files(ChangedFiles::Unknown);
    let partly = comparison(partial(&["docs/x"]), Relation::Ahead);
    for answer in [None, partly] {
        let facts = answered(nothing(), compare(1, 2), answer);
        let decision = judged(&watching(), &event, &facts);
        assert_eq!(builds(&decision).len(), 1);
        let sentence =
            "the changed files are not known, so the watch path of component `main` counts as matched";
        assert!(said(&decision).contains(sentence), "{}", said(&decision));
    }
}

#[test]
fn a_new_branch_is_compared_with_the_tracked_one() {
    let watching =
        service(r#"{"auto_ci":{"push":{"branches":["*"]}},"components":[{"watch_path":["api/"]}]}"#);
    let event = push_with("topic", |push| {
        push.before = Tip::Zeros;
        push.files = ChangedFiles::Unknown;
    });
    let mut facts = nothing();
    facts.tracked.insert(ComponentName::default(), commit(9));
    assert_eq!(asks(&judged(&watching, &event, &facts)), [compare(9, 2)]);
    assert_eq!(builds(&judged(&watching, &event, &nothing())).len(), 1, "nothing to compare with");
}

#[test]
fn changes_of_a_build_that_failed_or_was_superseded_are_not_lost() {
    // Commit 1 was decided on, its build is not what is covered: that is commit 8.
    let facts = covered(newest(1), 8);
    let event = files(complete(&["docs/a"]));
    assert_eq!(asks(&judged(&watching(), &event, &facts)), [compare(8, 2)]);
    let touched = comparison(complete(&["api/lost", "docs/a"]), Relation::Ahead);
    let facts = answered(facts, compare(8, 2), touched);
    assert_eq!(builds(&judged(&watching(), &event, &facts)).len(), 1);
}

#[test]
fn the_payloads_list_decides_where_it_starts_at_what_is_covered() {
    let facts = covered(newest(1), 1);
    let decision = judged(&watching(), &files(complete(&["docs/a"])), &facts);
    assert_eq!(skips(&decision), SkipReason::PathsNotTouched);
}

#[test]
fn where_nothing_was_ever_covered_an_untouched_list_does_not_decide() {
    let decision = judged(&watching(), &files(complete(&["docs/a"])), &newest(1));
    assert_eq!(builds(&decision).len(), 1);
    assert!(said(&decision).contains("the changed files are not known"));
}

#[test]
fn a_head_that_is_covered_already_changes_nothing() {
    let event = files(ChangedFiles::Unknown);
    let facts = covered(newest(2), 2);
    assert_eq!(skips(&judged(&watching(), &event, &facts)), SkipReason::PathsNotTouched);
}

#[test]
fn a_monorepo_push_builds_each_component_that_it_touches() {
    let mono = service(
        r#"{"components":[{"name":"api","watch_path":["api/, shared/"]},{"name":"web","watch_path":["web/"]},
            {"name":"all"}]}"#,
    );
    let names = |paths: &[&str]| -> Vec<String> {
        let decision = judged(&mono, &files(complete(paths)), &nothing());
        builds(&decision).iter().map(|planned| planned.component.to_string()).collect()
    };
    assert_eq!(names(&["api/x", "docs/y"]), ["api", "all"]);
    assert_eq!(names(&["web/x", "shared/y"]), ["api", "web", "all"]);
    assert_eq!(names(&["docs/y"]), ["all"]);
}

#[test]
fn both_names_of_a_renamed_file_count() {
    let mut list = FileList::default();
    list.removed.push("api/old.rs");
    list.added.push("docs/new.rs");
    let event = files(ChangedFiles::Complete(list));
    assert_eq!(builds(&judged(&watching(), &event, &nothing())).len(), 1);
}

#[test]
fn an_excluded_file_does_not_touch() {
    let service = service(r#"{"components":[{"watch_path":["api/","!**/*.md"]}]}"#);
    let decision = judged(&service, &files(complete(&["api/README.md"])), &nothing());
    assert_eq!(skips(&decision), SkipReason::PathsNotTouched);
}
