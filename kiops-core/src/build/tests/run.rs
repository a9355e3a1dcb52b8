//! From the queue to success.

use super::*;

#[test]
fn a_build_starts_runs_and_succeeds() {
    let mut build = queued();
    let asks = start(&mut build, 5);
    assert_eq!(asks, [Ask::Run(run_of(&build, 1))]);
    assert_eq!((build.state.clone(), build.stage()), (BuildState::Starting, Stage::Setup));
    assert_eq!(build.started_at, Some(at(5)));

    for (stage, progress) in [(Stage::Setup, 0), (Stage::Build, 10), (Stage::Push, 60)] {
        assert_eq!(report(&mut build, RunEvent::Stage(stage), 6), []);
        assert_eq!(build.state, BuildState::Running(Step::Run(stage)));
        assert_eq!(build.progress.percent(), progress);
    }
    let asks = finish(&mut build, success(), 9);
    assert_eq!(asks, [Ask::ForgetRun(run_of(&build, 1)), Ask::FreeSlots]);
    assert_eq!(build.state, BuildState::Succeeded);
    assert_eq!(build.finished_at, Some(at(9)));
    assert_eq!(build.image().unwrap().digest, digest());
}

#[test]
fn progress_never_falls_whatever_order_reports_arrive_in() {
    let mut build = started(queued());
    report(&mut build, RunEvent::Stage(Stage::Push), 1);
    report(&mut build, RunEvent::Stage(Stage::Setup), 2);
    report(&mut build, RunEvent::Step { n: 1, of: 9 }, 3);
    assert_eq!(build.progress.percent(), 60);
}

#[test]
fn an_executor_cannot_claim_the_later_stages() {
    let mut build = started(queued());
    for stage in [Stage::Scan, Stage::Test, Stage::Promote, Stage::Deploy] {
        report(&mut build, RunEvent::Stage(stage), 1);
    }
    assert_eq!((build.state.clone(), build.progress), (BuildState::Starting, Progress::START));
}

#[test]
fn only_a_queued_build_starts_and_not_before_its_time() {
    let mut build = started(queued());
    assert!(build.apply(BuildInput::Start { executor: "x".into() }, at(1)).is_err());
    let mut build = Build { not_before: Some(at(10)), ..queued() };
    assert!(build.apply(BuildInput::Start { executor: "x".into() }, at(9)).is_err());
    assert_eq!(build.attempt, 0);
    start(&mut build, 10);
    assert_eq!(build.not_before, None);
}

#[test]
fn a_report_of_an_earlier_run_changes_nothing() {
    let mut build = started(queued());
    finish(&mut build, lost(), 1);
    start(&mut build, 2);
    let before = build.clone();
    let late = BuildInput::Report { run: run_of(&build, 1), event: RunEvent::Finished(success()) };
    let error = build.apply(late, at(3)).unwrap_err();
    assert_eq!(error.to_string(), format!("build {}: `report` is not possible in state starting", build.id));
    assert_eq!(build, before);
}

#[test]
fn a_pushed_image_without_a_digest_is_an_error() {
    let mut build = started(queued());
    let asks = finish(&mut build, passed(), 1);
    assert!(matches!(&build.state, BuildState::Error(failure) if failure.kind == FailureKind::PushFailed));
    assert!(lines(&asks).starts_with("[push] Push failed: the executor told no digest"));
}

#[test]
fn a_forks_build_is_thrown_away_and_succeeds_without_an_image() {
    let mut build = started(with_checks(&[("sca", "image")]));
    build.spec.output = BuildOutput::Discard;
    build.tags = vec![Tag::parse("latest").unwrap()];
    finish(&mut build, success(), 1);
    assert_eq!(build.state, BuildState::Succeeded);
    assert_eq!(build.image(), None);
    assert_eq!(state_of(&build, "sca"), CheckState::Skipped);
}

#[test]
fn tags_are_moved_after_the_push_and_before_success() {
    let mut build = started(with_tags(&["latest", "main"]));
    let asks = finish(&mut build, success(), 1);
    assert_eq!(deeds(&asks), [Ask::ForgetRun(run_of(&build, 1)), Ask::Promote]);
    assert_eq!(lines(&asks), "[release] Moving latest, main to the tested image\n");
    assert_eq!((build.stage(), build.progress.percent()), (Stage::Promote, 85));
    assert_eq!(apply(&mut build, BuildInput::Promoted(Ok(())), 2), [Ask::FreeSlots]);
    assert_eq!((build.state.clone(), build.progress.percent()), (BuildState::Succeeded, 90));
}

#[test]
fn tags_that_cannot_be_moved_end_the_build() {
    let mut build = started(with_tags(&["latest"]));
    finish(&mut build, success(), 1);
    let failure = Failure::new(Stage::Promote, FailureKind::RegistryAuthenticationFailed, "401");
    apply(&mut build, BuildInput::Promoted(Err(failure.clone())), 2);
    assert_eq!(build.state, BuildState::Failed(failure));
}

#[test]
fn tags_asked_for_after_success_change_only_the_log() {
    let mut build = started(queued());
    finish(&mut build, success(), 1);
    let before = build.clone();
    assert_eq!(apply(&mut build, BuildInput::Promoted(Ok(())), 2), []);
    let failure = Failure::new(Stage::Promote, FailureKind::PushFailed, "503");
    let asks = apply(&mut build, BuildInput::Promoted(Err(failure)), 3);
    assert!(lines(&asks).starts_with("[release] Push failed: 503"));
    assert_eq!(build, before);
}

#[test]
fn the_users_fault_is_failed_and_the_infrastructures_is_error() {
    for kind in [FailureKind::DockerfileNotFound, FailureKind::RunFailed, FailureKind::OutOfMemory] {
        let mut build = started(queued());
        let asks = finish(&mut build, RunOutcome::Failed(failure(kind)), 1);
        assert_eq!(build.state, BuildState::Failed(failure(kind)));
        assert!(lines(&asks).contains(kind.title()));
        assert_eq!(build.stage(), Stage::Build);
    }
    for kind in [FailureKind::DiskFull, FailureKind::ExecutorUnavailable, FailureKind::Internal] {
        let mut build = started(queued());
        finish(&mut build, RunOutcome::Failed(failure(kind)), 1);
        assert_eq!(build.state, BuildState::Error(failure(kind)));
    }
}

#[test]
fn a_refusal_goes_back_to_the_queue_for_another_executor() {
    let mut build = started(queued());
    let refusal = failure(FailureKind::UnsupportedInstruction);
    let asks = finish(&mut build, RunOutcome::Refused(refusal), 1);
    assert_eq!(deeds(&asks), [Ask::ForgetRun(run_of(&build, 1)), Ask::FreeSlots]);
    assert_eq!(
        (build.state.clone(), build.refused_by.clone()),
        (BuildState::Queued, vec!["assembler".to_owned()])
    );
    assert_eq!((build.executor.clone(), build.lost), (None, 0));
    let asks = build.apply(BuildInput::Start { executor: "kaniko".into() }, at(2)).unwrap();
    assert_eq!(asks, [Ask::Run(run_of(&build, 2))]);
}

#[test]
fn a_start_that_does_not_work_now_is_tried_again_later() {
    let mut build = started(queued());
    let postpone = |until| BuildInput::Postpone { until: at(until), reason: "busy".into() };
    let asks = apply(&mut build, postpone(60), 1);
    assert_eq!(deeds(&asks), [Ask::FreeSlots]);
    assert_eq!((build.state.clone(), build.not_before, build.lost), (BuildState::Queued, Some(at(60)), 0));
    start(&mut build, 60);
    report(&mut build, RunEvent::Stage(Stage::Build), 61);
    assert!(build.apply(postpone(99), at(62)).is_err(), "what runs was started");
}

#[test]
fn an_executor_that_is_away_for_the_whole_total_time_is_an_error() {
    let mut build = started(queued());
    let postpone = |until| BuildInput::Postpone { until: at(until), reason: "busy".into() };
    apply(&mut build, postpone(3599), 1);
    start(&mut build, 3599);
    apply(&mut build, postpone(3700), 3600);
    assert!(matches!(&build.state, BuildState::Error(f) if f.kind == FailureKind::ExecutorUnavailable));
}
