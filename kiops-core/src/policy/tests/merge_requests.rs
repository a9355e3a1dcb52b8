//! Merge requests and forks.

use super::*;
use crate::access::Trust;
use crate::event::MergeRequestChange as Change;

fn on() -> Service {
    service(r#"{"auto_ci":{"merge_request":{"enabled":true}}}"#)
}

fn changed(change: Change) -> Event {
    merge_request(|request| request.change = change)
}

#[test]
fn merge_requests_build_only_where_they_are_switched_on() {
    assert_eq!(skips(&judged(&plain(), &changed(Change::Opened), &nothing())), SkipReason::TriggerOff);
}

#[test]
fn opened_reopened_new_code_ready_and_retargeted_are_built() {
    for change in [Change::Opened, Change::Code, Change::ReadyForReview, Change::Reopened, Change::Retargeted]
    {
        let decision = judged(&on(), &changed(change), &nothing());
        let planned = &builds(&decision)[0];
        assert_eq!(planned.scope, RefKey::MergeRequest(7), "{change:?}");
        assert_eq!(planned.merge_request, Some(7));
        assert_eq!(planned.git_ref.to_string(), "refs/merge-requests/7/head");
        assert_eq!(planned.trust, Trust::Trusted);
    }
}

#[test]
fn labels_titles_approvals_and_closing_are_ignored() {
    for change in [Change::Labels, Change::Metadata, Change::Approval, Change::Closed] {
        let reason = skips(&judged(&on(), &changed(change), &nothing()));
        assert_eq!(reason, SkipReason::NotRelevant, "{change:?}");
    }
}

#[test]
fn merged_has_a_switch_of_its_own() {
    assert_eq!(skips(&judged(&on(), &changed(Change::Merged), &nothing())), SkipReason::TriggerOff);
    let merged = service(r#"{"auto_ci":{"merge_request":{"enabled":true,"merged":true}}}"#);
    assert_eq!(builds(&judged(&merged, &changed(Change::Merged), &nothing())).len(), 1);
}

#[test]
fn drafts_wait_until_they_are_ready() {
    let draft = merge_request(|request| request.draft = true);
    assert_eq!(skips(&judged(&on(), &draft, &nothing())), SkipReason::Draft);
    let drafts = service(r#"{"auto_ci":{"merge_request":{"enabled":true,"drafts":true}}}"#);
    assert_eq!(builds(&judged(&drafts, &draft, &nothing())).len(), 1);
}

#[test]
fn the_target_branch_is_filtered() {
    let other = merge_request(|request| request.target_branch = "develop".into());
    assert_eq!(skips(&judged(&on(), &other, &nothing())), SkipReason::RefNotMatched);
    let targets = service(r#"{"auto_ci":{"merge_request":{"enabled":true,"targets":["dev*"]}}}"#);
    assert_eq!(builds(&judged(&targets, &other, &nothing())).len(), 1);
    let odd = merge_request(|request| request.target_branch = "..".into());
    assert_eq!(skips(&judged(&on(), &odd, &nothing())), SkipReason::NotRelevant);
}

#[test]
fn without_head_number_or_a_ref_to_fetch_nothing_is_built() {
    let none = |change: fn(&mut MergeRequest)| skips(&judged(&on(), &merge_request(change), &nothing()));
    assert_eq!(none(|request| request.head = None), SkipReason::NoCommit);
    assert_eq!(none(|request| request.number = None), SkipReason::NoCommit);
    assert_eq!(
        none(|request| {
            request.head_ref = None;
            request.fork = true;
        }),
        SkipReason::NoCommit
    );
    let own = merge_request(|request| request.head_ref = None);
    assert_eq!(builds(&judged(&on(), &own, &nothing()))[0].git_ref.to_string(), "refs/heads/topic");
}

#[test]
fn a_forks_commit_is_held_until_that_very_commit_is_approved() {
    assert_eq!(holds(&judged(&on(), &fork(), &nothing())), commit(2));
    let mut facts = nothing();
    facts.state.approved.push(commit(2));
    let decision = judged(&on(), &fork(), &facts);
    assert_eq!(builds(&decision)[0].trust, Trust::Fork);
    assert!(said(&decision).contains("commit 0202020 comes from a fork and was approved"));

    let newer = merge_request(|request| {
        request.fork = true;
        request.head = Some(commit(3));
    });
    assert_eq!(holds(&judged(&on(), &newer, &facts)), commit(3));
}

#[test]
fn forks_can_be_refused_altogether() {
    let never = service(r#"{"auto_ci":{"merge_request":{"enabled":true,"forks":"never"}}}"#);
    let mut facts = nothing();
    facts.state.approved.push(commit(2));
    assert_eq!(skips(&judged(&never, &fork(), &facts)), SkipReason::ForkNever);
    assert_eq!(builds(&judged(&never, &changed(Change::Opened), &facts)).len(), 1);
}

#[test]
fn two_requests_from_branches_of_one_name_have_scopes_of_their_own() {
    let other = merge_request(|request| request.number = Some(8));
    let scope = |event: &Event| builds(&judged(&on(), event, &nothing()))[0].scope.clone();
    assert_ne!(scope(&other), scope(&changed(Change::Code)));
}

#[test]
fn the_whole_request_is_compared_not_its_last_push() {
    let watching =
        service(r#"{"auto_ci":{"merge_request":{"enabled":true}},"components":[{"watch_path":["api/"]}]}"#);
    let request = merge_request(|request| request.previous_head = Some(commit(1)));
    let unknown = judged(&watching, &request, &newest(1));
    assert_eq!(builds(&unknown).len(), 1, "nobody knows what its earlier commits changed");
    let mut facts = newest(1);
    facts.tracked.insert(ComponentName::default(), commit(9));
    assert_eq!(asks(&judged(&watching, &request, &facts)), [compare(9, 2)]);
}

#[test]
fn the_first_digits_of_a_head_are_built_where_the_ref_points_at_such_a_commit() {
    let short = merge_request(|request| {
        request.abbreviated_head = request.head.take().map(|head| head.as_str()[..12].to_owned());
    });
    let question = Question::Head { git_ref: GitRef::parse("refs/merge-requests/7/head").unwrap() };
    let asked = judged(&on(), &short, &nothing());
    assert_eq!(asked.questions(), std::slice::from_ref(&question));
    let told = |head| answered(nothing(), question.clone(), Some(Answer::Head(head)));
    assert_eq!(builds(&judged(&on(), &short, &told(Some(commit(2)))))[0].commit, commit(2));
    for elsewhere in [told(Some(commit(3))), told(None), answered(nothing(), question.clone(), None)] {
        assert_eq!(skips(&judged(&on(), &short, &elsewhere)), SkipReason::NoCommit);
    }
}
