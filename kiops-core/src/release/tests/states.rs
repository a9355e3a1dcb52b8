//! Each transition.

use super::*;

#[test]
fn a_release_starts_is_applied_and_goes_live() {
    let mut release = pending();
    let asks = apply(&mut release, ReleaseInput::Start { previous: Some(Revision(3)) }, 5);
    assert_eq!(deeds(&asks), [ReleaseAsk::Deploy]);
    assert_eq!(
        lines(&asks),
        format!("Updating container main with {} in dev\n", ImageRef::from(image("new")))
    );
    assert_eq!((release.previous, release.deploy_started_at), (Some(Revision(3)), Some(time(5))));
    let asks = apply(&mut release, ReleaseInput::Applied(Ok(Revision(4))), 6);
    assert_eq!(asks, [ReleaseAsk::Verify]);
    let going = ReleaseInput::Status(RolloutStatus::Progressing("1 of 2".into()));
    assert_eq!(apply(&mut release, going, 7), []);
    let asks = apply(&mut release, ReleaseInput::Status(RolloutStatus::Complete), 8);
    assert_eq!(deeds(&asks), [ReleaseAsk::NoteLive(Revision(4))]);
    assert_eq!(lines(&asks), "Deployment rollout complete: revision 4 is live\n");
    assert_eq!((release.state.clone(), release.finished_at), (ReleaseState::Live, Some(time(8))));
    assert!(release.is_over());
}

#[test]
fn an_approval_lets_it_queue_up_for_its_lane() {
    let mut release = awaiting();
    assert!(release.apply(ReleaseInput::Start { previous: None }, at(1)).is_err());
    let asks = apply(&mut release, ReleaseInput::Approve { by: ada() }, 2);
    assert_eq!(lines(&asks), "Approved by ada\n");
    assert_eq!(release.state, ReleaseState::Pending);
    assert_eq!(release.approval.as_ref().map(|yes| (&yes.by, yes.at)), Some((&ada(), time(2))));
}

#[test]
fn a_no_a_cancel_and_something_newer_end_it() {
    let by = || "ada".to_owned();
    let newer = ReleaseId::derive(["newer"]);
    let ends = [
        (ReleaseInput::Reject { by: by() }, ReleaseState::Rejected { by: by() }),
        (ReleaseInput::Cancel { by: by() }, ReleaseState::Canceled { by: by() }),
        (ReleaseInput::Supersede { by: newer.clone() }, ReleaseState::Superseded { by: newer.clone() }),
    ];
    for (input, state) in ends {
        let mut release = awaiting();
        apply(&mut release, input, 1);
        assert_eq!(release.state, state);
        assert_eq!(release.finished_at, Some(time(1)));
    }
    assert!(pending().apply(ReleaseInput::Reject { by: by() }, at(1)).is_err(), "nobody was asked");
}

#[test]
fn what_is_under_way_is_neither_canceled_nor_superseded() {
    for mut release in [verifying(None), started()] {
        let before = release.clone();
        assert!(release.apply(ReleaseInput::Cancel { by: "ada".into() }, at(2)).is_err());
        assert!(release.apply(ReleaseInput::Supersede { by: ReleaseId::derive(["x"]) }, at(2)).is_err());
        assert_eq!(release, before);
    }
}

/// One that people are asked about.
fn proposed() -> Release {
    let mut release = by_merge_request();
    let asks = apply(&mut release, ReleaseInput::Start { previous: Some(Revision(3)) }, 1);
    assert_eq!(deeds(&asks), [ReleaseAsk::Propose]);
    assert_eq!(
        lines(&asks),
        format!("Proposing container main with {} for dev\n", ImageRef::from(image("new")))
    );
    let open = || ReleaseInput::Proposed(Ok(Proposal::Open("merge request 7".into())));
    let asks = apply(&mut release, open(), 2);
    assert_eq!(lines(&asks), "Waiting for merge request 7\n");
    assert_eq!(deeds(&asks), [ReleaseAsk::Propose], "somebody goes on looking");
    assert_eq!(apply(&mut release, open(), 3), [ReleaseAsk::Propose], "it is said once");
    release
}

#[test]
fn what_is_accepted_is_applied_already_and_its_rollout_has_its_own_time() {
    let mut release = proposed();
    assert_eq!(release.proposal.as_deref(), Some("merge request 7"));
    let accepted = ReleaseInput::Proposed(Ok(Proposal::Accepted(Revision(4))));
    let asks = apply(&mut release, accepted, 9_000);
    assert_eq!((deeds(&asks), &release.state), (vec![ReleaseAsk::Verify], &ReleaseState::Verifying));
    assert_eq!((release.wake_at(), release.revision), (Some(time(9_600)), Some(Revision(4))));
    apply(&mut release, ReleaseInput::Status(RolloutStatus::Complete), 9_002);
    assert_eq!(release.state, ReleaseState::Live);
    assert!(release.proposal.is_some(), "it is still known where they said so");
}

#[test]
fn what_people_accepted_goes_back_by_nothing_else() {
    let mut release = proposed();
    apply(&mut release, ReleaseInput::Proposed(Ok(Proposal::Accepted(Revision(4)))), 4);
    let asks = apply(&mut release, ReleaseInput::Status(RolloutStatus::Failed(unhealthy())), 5);
    assert_eq!((deeds(&asks), release.state), (vec![], ReleaseState::Failed(unhealthy())));
}

/// The ways in which one ends that nobody outside said yes or no to.
fn endings() -> [(ReleaseInput, ReleaseState); 4] {
    let (ada, newer) = (|| "ada".to_owned(), ReleaseId::derive(["newer"]));
    [
        (ReleaseInput::Reject { by: ada() }, ReleaseState::Rejected { by: ada() }),
        (ReleaseInput::Cancel { by: ada() }, ReleaseState::Canceled { by: ada() }),
        (ReleaseInput::Supersede { by: newer.clone() }, ReleaseState::Superseded { by: newer }),
        (ReleaseInput::Proposed(Err(unhealthy())), ReleaseState::Failed(unhealthy())),
    ]
}

#[test]
fn what_is_proposed_ends_once_it_is_taken_back() {
    for (input, state) in endings() {
        let mut release = proposed();
        let asks = apply(&mut release, input, 4);
        assert_eq!(deeds(&asks), [ReleaseAsk::Withdraw]);
        assert_eq!(release.state, ReleaseState::Withdrawing(Box::new(state.clone())));
        assert_eq!((release.is_over(), release.wake_at()), (false, None));
        apply(&mut release, ReleaseInput::Withdrawn(Ok(None)), 5);
        assert_eq!((release.state, release.finished_at), (state, Some(time(5))));
    }
}

#[test]
fn what_was_accepted_before_it_was_taken_back_goes_live() {
    for (input, _) in endings() {
        let mut release = proposed();
        apply(&mut release, input, 4);
        let asks = apply(&mut release, ReleaseInput::Withdrawn(Ok(Some(Revision(4)))), 5);
        assert_eq!(lines(&asks), "Accepted before it could be taken back: it is revision 4\n");
        assert_eq!((deeds(&asks), release.state), (vec![ReleaseAsk::Verify], ReleaseState::Verifying));
    }
}

#[test]
fn what_cannot_be_taken_back_ends_all_the_same_and_says_so() {
    for (input, state) in endings() {
        let mut release = proposed();
        apply(&mut release, input, 4);
        let asks = apply(&mut release, ReleaseInput::Withdrawn(Err(unhealthy())), 5);
        assert!(lines(&asks).starts_with("What was proposed could not be taken back: "));
        assert_eq!((deeds(&asks), release.state), (vec![], state));
    }
}

#[test]
fn a_no_outside_ends_it_at_once() {
    let (mut release, closed) = (proposed(), "merge request 7 was closed".to_owned());
    let asks = apply(&mut release, ReleaseInput::Proposed(Ok(Proposal::Rejected(closed.clone()))), 4);
    assert_eq!((deeds(&asks), release.state), (vec![], ReleaseState::Rejected { by: closed }));
    let yes = ReleaseInput::Approve { by: ada() };
    assert!(proposed().apply(yes, at(4)).is_err(), "people say yes where it is proposed");
}

#[test]
fn what_is_proposed_has_the_time_of_an_approval_while_somebody_looks() {
    let mut release = proposed();
    let week = 7 * 24 * 3600;
    assert_eq!(release.wake_at(), Some(time(1 + week)));
    // It may have been accepted while nobody looked.
    release.armed = Some(time(1));
    let asks = apply(&mut release, ReleaseInput::Tick, 1 + week);
    assert!(lines(&asks).starts_with("Nobody watched"), "{}", lines(&asks));
    let due = release.wake_at().unwrap();
    release.armed = Some(due);
    let asks = release.apply(ReleaseInput::Tick, due).unwrap();
    assert_eq!(lines(&asks), "Expired: nobody approved in time\n");
    assert_eq!(deeds(&asks), [ReleaseAsk::Withdraw]);
    assert_eq!(release.state, ReleaseState::Withdrawing(Box::new(ReleaseState::Expired)));
}

fn started() -> Release {
    let mut release = pending();
    apply(&mut release, ReleaseInput::Start { previous: Some(Revision(3)) }, 0);
    release
}

#[test]
fn waiting_for_approval_expires_after_a_week() {
    let mut release = awaiting();
    let week = 7 * 24 * 3600;
    assert_eq!(release.wake_at(), Some(time(week)));
    assert_eq!(apply(&mut release, ReleaseInput::Tick, week - 1), []);
    let asks = apply(&mut release, ReleaseInput::Tick, week);
    assert_eq!(lines(&asks), "Expired: nobody approved in time\n");
    assert_eq!((release.state.clone(), release.wake_at()), (ReleaseState::Expired, None));
}

#[test]
fn waiting_for_its_lane_has_no_timer() {
    assert_eq!(pending().wake_at(), None);
    assert_eq!(pending().apply(ReleaseInput::Tick, at(1_000_000_000)).unwrap(), []);
}

#[test]
fn a_failed_rollout_goes_back_to_what_was_live() {
    let mut release = verifying(Some(3));
    let asks = apply(&mut release, ReleaseInput::Status(RolloutStatus::Failed(unhealthy())), 2);
    assert_eq!(deeds(&asks), [ReleaseAsk::GoBack(Revision(3))]);
    assert!(lines(&asks).contains("0 of 1 ready") && lines(&asks).contains("going back to revision 3"));
    assert!(release.state.is_under_way() && !release.is_over());
    let asks = apply(&mut release, ReleaseInput::WentBack(Ok(Revision(5))), 3);
    assert_eq!(deeds(&asks), [ReleaseAsk::NoteLive(Revision(5))]);
    assert_eq!(release.state, ReleaseState::RolledBack(unhealthy()));
}

#[test]
fn a_rollback_that_fails_leaves_the_first_failure() {
    let mut release = verifying(Some(3));
    apply(&mut release, ReleaseInput::Status(RolloutStatus::Failed(unhealthy())), 2);
    let second = Failure::new(Stage::Deploy, FailureKind::RuntimeUnavailable, "gone");
    let asks = apply(&mut release, ReleaseInput::WentBack(Err(second)), 3);
    assert!(lines(&asks).starts_with("Rollback failed: Runtime not available: gone"));
    assert_eq!(release.state, ReleaseState::Failed(unhealthy()));
}

#[test]
fn without_anything_before_or_with_rollback_off_a_failed_rollout_stays() {
    let mut first = verifying(None);
    let mut off = Release { rollback_on_failure: false, ..verifying(Some(3)) };
    for release in [&mut first, &mut off] {
        let asks = apply(release, ReleaseInput::Status(RolloutStatus::Failed(unhealthy())), 2);
        assert_eq!(deeds(&asks), []);
        assert_eq!(release.state, ReleaseState::Failed(unhealthy()));
    }
}

#[test]
fn a_number_of_another_place_is_not_gone_back_to() {
    // The target moved, and revisions began anew: number 3 is what just failed, or comes after it.
    for own in [1, 3] {
        let mut release = Release { revision: Some(Revision(own)), ..verifying(Some(3)) };
        let asks = apply(&mut release, ReleaseInput::Status(RolloutStatus::Failed(unhealthy())), 2);
        assert_eq!(deeds(&asks), []);
        assert_eq!(release.state, ReleaseState::Failed(unhealthy()));
    }
}

#[test]
fn what_the_runtime_never_took_needs_no_going_back() {
    let mut release = started();
    let asks = apply(&mut release, ReleaseInput::Applied(Err(unhealthy())), 2);
    assert_eq!(deeds(&asks), []);
    assert_eq!(release.state, ReleaseState::Failed(unhealthy()));
}

#[test]
fn a_rollout_that_takes_too_long_has_failed() {
    let mut release = verifying(Some(3));
    assert_eq!(release.wake_at(), Some(time(600)));
    assert_eq!(apply(&mut release, ReleaseInput::Tick, 599), []);
    let asks = apply(&mut release, ReleaseInput::Tick, 600);
    assert_eq!(deeds(&asks), [ReleaseAsk::GoBack(Revision(3))]);
    assert!(lines(&asks).contains("Rollout failed: not complete after 600 s"));
}

#[test]
fn going_back_ends_too_when_nobody_answers() {
    let mut release = verifying(Some(3));
    apply(&mut release, ReleaseInput::Status(RolloutStatus::Failed(unhealthy())), 2);
    assert_eq!(release.wake_at(), Some(time(602)), "it has the rollout's time once more");
    let asks = apply(&mut release, ReleaseInput::Tick, 602);
    assert!(lines(&asks).contains("Rollback failed: the runtime did not answer in time"));
    assert_eq!(release.state, ReleaseState::Failed(unhealthy()));
}

#[test]
fn timers_of_zero_are_off() {
    let off = Timers { approval_seconds: 0, rollout_seconds: 0, ..Timers::default() };
    for release in [awaiting(), verifying(Some(3)), started()] {
        let mut release = Release { timers: off.clone(), ..release };
        assert_eq!(release.wake_at(), None);
        assert_eq!(apply(&mut release, ReleaseInput::Tick, 1_000_000_000), []);
    }
}

#[test]
fn a_revision_from_outside_is_not_taken_back() {
    let mut release = verifying(Some(3));
    let asks = apply(&mut release, ReleaseInput::Status(RolloutStatus::Replaced(Revision(9))), 2);
    assert_eq!(deeds(&asks), []);
    assert!(lines(&asks).contains("revision 9 took its place from outside"));
    assert!(matches!(release.state, ReleaseState::Failed(_)));
}

#[test]
fn what_cannot_be_handled_ends_and_nothing_happens_after_the_end() {
    let mut release = verifying(Some(3));
    apply(&mut release, ReleaseInput::Quarantine { reason: "corrupt".into() }, 2);
    assert!(matches!(&release.state, ReleaseState::Failed(f) if f.kind == FailureKind::Quarantined));
    let before = release.clone();
    for input in [
        ReleaseInput::Quarantine { reason: "again".into() },
        ReleaseInput::Approve { by: ada() },
        ReleaseInput::Status(RolloutStatus::Complete),
        ReleaseInput::WentBack(Ok(Revision(5))),
    ] {
        let error = release.apply(input, at(3)).unwrap_err();
        assert!(error.to_string().contains("is not possible in state failed"), "{error}");
    }
    assert_eq!(release, before);
}
