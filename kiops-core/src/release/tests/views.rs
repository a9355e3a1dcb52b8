//! What people see of a build and the release that it made by itself.

use super::*;
use crate::build::tests::{queued, with_checks};
use crate::build::{Build, BuildState, Step};

fn built() -> Build {
    let progress = crate::stage::Progress::at(Stage::Promote, 1, 1);
    Build { state: BuildState::Succeeded, progress, ..queued() }
}

fn seen(release: &Release) -> BuildView {
    BuildView::of(&built(), Some(release))
}

fn word(release: Release) -> VisibleState {
    seen(&release).state
}

#[test]
fn without_a_release_people_see_the_builds_own_state() {
    let view = BuildView::of(&built(), None);
    assert_eq!((view.state, view.progress.percent(), view.stage), (VisibleState::Succeeded, 100, None));
    assert_eq!(BuildView::of(&queued(), None).state, VisibleState::Queued);
    let starting = Build { state: BuildState::Starting, ..queued() };
    assert_eq!(BuildView::of(&starting, None).stage, Some(Stage::Setup));
    let check = crate::name::CheckName::parse("sca").unwrap();
    let checked =
        Build { state: BuildState::Running(Step::Check(check)), ..with_checks(&[("sca", "image")]) };
    assert_eq!(BuildView::of(&checked, None).stage, Some(Stage::Scan));
}

#[test]
fn a_release_goes_through_stage_deploy() {
    for (release, percent) in [(pending(), 90), (started(), 92), (verifying(Some(3)), 95)] {
        let view = seen(&release);
        assert_eq!((view.state, view.stage), (VisibleState::Running, Some(Stage::Deploy)));
        assert_eq!(view.progress.percent(), percent);
        assert!(!view.state.is_over());
    }
    assert_eq!(word(awaiting()), VisibleState::AwaitingApproval);
    let live = seen(&Release { state: ReleaseState::Live, ..pending() });
    assert_eq!((live.state, live.progress.percent()), (VisibleState::Succeeded, 100));
}

fn started() -> Release {
    let mut release = pending();
    apply(&mut release, ReleaseInput::Start { previous: None }, 0);
    release
}

#[test]
fn what_is_proposed_awaits_an_approval_until_it_is_taken_back() {
    assert_eq!(
        word(Release { state: ReleaseState::Proposed, ..by_merge_request() }),
        VisibleState::AwaitingApproval
    );
    let state = ReleaseState::Withdrawing(Box::new(ReleaseState::Expired));
    assert_eq!(word(Release { state, ..by_merge_request() }), VisibleState::Running);
}

#[test]
fn while_the_old_revision_is_brought_back_the_build_is_not_over() {
    let view = seen(&Release { state: ReleaseState::RollingBack(unhealthy()), ..pending() });
    assert_eq!((view.state, view.failure), (VisibleState::Running, None));
}

#[test]
fn a_failed_rollout_is_failed_and_the_runtimes_fault_is_error() {
    let view = seen(&Release { state: ReleaseState::RolledBack(unhealthy()), ..pending() });
    assert_eq!((view.state, view.failure), (VisibleState::Failed, Some(unhealthy())));
    let gone = Failure::new(Stage::Deploy, FailureKind::RuntimeUnavailable, "");
    assert_eq!(word(Release { state: ReleaseState::Failed(gone), ..pending() }), VisibleState::Error);
}

#[test]
fn a_no_is_canceled_and_something_newer_is_superseded() {
    for state in [
        ReleaseState::Rejected { by: "ada".into() },
        ReleaseState::Expired,
        ReleaseState::Canceled { by: "ada".into() },
    ] {
        assert_eq!(word(Release { state, ..pending() }), VisibleState::Canceled);
    }
    let by = ReleaseId::derive(["x"]);
    assert_eq!(
        word(Release { state: ReleaseState::Superseded { by }, ..pending() }),
        VisibleState::Superseded
    );
}

#[test]
fn labels_are_the_words_of_both_documents() {
    use VisibleState as V;
    let words = [
        (V::Queued, "Started", "Pending"),
        (V::Starting, "Started", "Pending"),
        (V::Running, "Running", "Building"),
        (V::AwaitingApproval, "Awaiting approval", "Awaiting approval"),
        (V::Succeeded, "Succeeded", "Success"),
        (V::Failed, "Failed", "Failed"),
        (V::Error, "Error", "Failed"),
        (V::Canceled, "Canceled", "Canceled"),
        (V::Superseded, "Superseded", "Superseded"),
    ];
    for (state, t14, k) in words {
        assert_eq!((state.label(), state.label_k()), (t14, k));
    }
}
