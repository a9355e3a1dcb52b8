//! Checks: the source's beside the run, the image's after the push, tags after all of them.

use super::*;

#[test]
fn a_check_of_the_source_runs_beside_the_build() {
    let mut build = with_checks(&[("sast", "source"), ("sca", "image")]);
    let asks = start(&mut build, 0);
    let sast = CheckName::parse("sast").unwrap();
    assert_eq!(asks, [Ask::Run(run_of(&build, 1)), Ask::Check(check_run(&build, "sast", 1), sast)]);
    assert_eq!(state_of(&build, "sca"), CheckState::Waiting);
}

#[test]
fn a_source_check_that_passes_first_does_not_end_the_run() {
    for output in [queued().spec.output, BuildOutput::Discard] {
        let mut build = with_checks(&[("sast", "source")]);
        build.spec.output = output;
        start(&mut build, 0);
        report(&mut build, RunEvent::Stage(Stage::Build), 1);
        let asks = check_ends(&mut build, "sast", passed(), 2);
        assert_eq!(deeds(&asks), [Ask::CancelCheck(check_run(&build, "sast", 1))]);
        assert_eq!(build.state, BuildState::Running(Step::Run(Stage::Build)));
        finish(&mut build, success(), 3);
        assert_eq!(build.state, BuildState::Succeeded);
    }
}

#[test]
fn the_build_waits_for_a_source_check_that_outlasts_its_run() {
    let mut build = started(with_checks(&[("sast", "source")]));
    finish(&mut build, success(), 1);
    assert_eq!(build.state, BuildState::Running(Step::Check(CheckName::parse("sast").unwrap())));
    assert_eq!(build.stage(), Stage::Scan);
    check_ends(&mut build, "sast", passed(), 2);
    assert_eq!(build.state, BuildState::Succeeded);
}

#[test]
fn image_checks_run_one_by_one_after_the_push_and_tags_move_after_all() {
    let mut build = started(with_checks(&[("sca", "image"), ("unit", "image"), ("dast", "deployed")]));
    build.tags = vec![Tag::parse("latest").unwrap()];
    let asks = finish(&mut build, success(), 1);
    let sca = CheckName::parse("sca").unwrap();
    assert!(deeds(&asks).contains(&Ask::Check(check_run(&build, "sca", 1), sca)));
    assert_eq!(state_of(&build, "unit"), CheckState::Waiting);
    let asks = check_ends(&mut build, "sca", passed(), 2);
    assert!(
        deeds(&asks).contains(&Ask::Check(check_run(&build, "unit", 1), CheckName::parse("unit").unwrap()))
    );
    assert!(lines(&asks).contains("[scan] Check sca: passed"));
    let asks = check_ends(&mut build, "unit", passed(), 3);
    assert!(deeds(&asks).contains(&Ask::Promote));
    apply(&mut build, BuildInput::Promoted(Ok(())), 4);
    assert_eq!(build.state, BuildState::Succeeded);
    assert_eq!(state_of(&build, "dast"), CheckState::Waiting, "it waits for what is live");
}

#[test]
fn a_failed_image_check_leaves_the_tags_where_they_were() {
    let mut build = started(with_checks(&[("sca", "image"), ("unit", "image")]));
    build.tags = vec![Tag::parse("latest").unwrap()];
    finish(&mut build, success(), 1);
    let asks = check_ends(&mut build, "sca", not_passed(), 2);
    assert!(!deeds(&asks).contains(&Ask::Promote));
    assert!(deeds(&asks).contains(&Ask::FreeSlots));
    assert!(matches!(&build.state, BuildState::Failed(f) if f.kind == FailureKind::CheckFailed));
    assert_eq!(state_of(&build, "unit"), CheckState::Skipped);
}

#[test]
fn a_failed_source_check_stops_the_run() {
    let mut build = started(with_checks(&[("sast", "source"), ("lint", "source")]));
    report(&mut build, RunEvent::Stage(Stage::Build), 1);
    let asks = deeds(&check_ends(&mut build, "sast", not_passed(), 2));
    assert!(asks.contains(&Ask::CancelRun(run_of(&build, 1))));
    assert!(asks.contains(&Ask::CancelCheck(check_run(&build, "lint", 1))));
    assert!(asks.contains(&Ask::FreeSlots));
    assert!(matches!(build.state, BuildState::Failed(_)));
}

#[test]
fn a_check_that_is_lost_runs_again_and_the_third_time_is_an_error() {
    let mut build = started(with_checks(&[("sca", "image")]));
    finish(&mut build, success(), 1);
    for attempt in 1..3 {
        let asks = check_ends(&mut build, "sca", lost(), 2);
        let again = Ask::Check(check_run(&build, "sca", attempt + 1), CheckName::parse("sca").unwrap());
        assert!(deeds(&asks).contains(&again));
        assert_eq!(state_of(&build, "sca"), CheckState::Running);
    }
    check_ends(&mut build, "sca", lost(), 3);
    assert!(matches!(&build.state, BuildState::Error(f) if f.kind == FailureKind::RunLost));
}

#[test]
fn an_advisory_check_never_stops_anything() {
    let refused = RunOutcome::Refused(failure(FailureKind::ExecutorUnavailable));
    for outcome in [not_passed(), refused, lost()] {
        let mut build = with_checks(&[("sca", "image")]);
        build.checks[0].spec.gate = crate::service::Gate::Advisory;
        let mut build = started(build);
        finish(&mut build, success(), 1);
        for _ in 0..RUNS_LOST {
            if !build.is_over() {
                check_ends(&mut build, "sca", outcome.clone(), 2);
            }
        }
        assert_eq!(build.state, BuildState::Succeeded, "{outcome:?}");
    }
}

#[test]
fn a_check_that_passed_beside_a_lost_run_is_not_run_again() {
    let mut build = started(with_checks(&[("sast", "source"), ("lint", "source")]));
    check_ends(&mut build, "sast", passed(), 1);
    let asks = finish(&mut build, lost(), 2);
    assert!(deeds(&asks).contains(&Ask::CancelCheck(check_run(&build, "lint", 1))));
    let asks = start(&mut build, 3);
    let lint = Ask::Check(check_run(&build, "lint", 2), CheckName::parse("lint").unwrap());
    assert_eq!(asks, [Ask::Run(run_of(&build, 2)), lint]);
    assert_eq!(state_of(&build, "sast"), CheckState::Passed);
}

#[test]
fn a_report_of_an_earlier_run_of_a_check_changes_nothing() {
    let mut build = started(with_checks(&[("sca", "image")]));
    finish(&mut build, success(), 1);
    check_ends(&mut build, "sca", lost(), 2);
    let before = build.clone();
    let input = BuildInput::Check {
        run: check_run(&build, "sca", 1),
        check: CheckName::parse("sca").unwrap(),
        event: RunEvent::Finished(passed()),
        reported: Reported::Nothing,
    };
    assert!(build.apply(input, at(3)).is_err());
    let unknown = BuildInput::Check {
        run: check_run(&build, "x", 1),
        check: CheckName::parse("x").unwrap(),
        event: RunEvent::Alive,
        reported: Reported::Nothing,
    };
    assert!(build.apply(unknown, at(3)).is_err());
    assert_eq!(build, before);
}

#[test]
fn a_gate_by_severity_keeps_its_counts() {
    let mut build = with_checks(&[("sca", "image")]);
    build.checks[0].spec.gate = serde_json::from_str(r#"{"by":"severity","errors":0}"#).unwrap();
    let mut build = started(build);
    finish(&mut build, success(), 1);
    let counts = FindingCounts { errors: 1, warnings: 0, notes: 1, new: Some(1) };
    let asks = check_reported(&mut build, "sca", counts.clone(), 2);
    assert_eq!(build.checks[0].findings, Some(counts));
    assert!(matches!(build.state, BuildState::Failed(_)));
    assert!(
        lines(&asks).contains("1 errors, at most 0 are let through (1 errors, 0 warnings, 1 notes; 1 new)")
    );
}

#[test]
fn what_passes_says_in_the_log_what_is_new() {
    let mut build = started(with_checks(&[("sca", "image")]));
    build.checks[0].spec.gate = serde_json::from_str(r#"{"by":"severity","new":1}"#).unwrap();
    finish(&mut build, success(), 1);
    let asks = check_reported(
        &mut build,
        "sca",
        FindingCounts { errors: 2, warnings: 1, notes: 0, new: Some(1) },
        2,
    );
    assert!(
        lines(&asks).contains("[scan] Check sca: 2 errors, 1 warnings, 0 notes; 1 new\n"),
        "{}",
        lines(&asks)
    );
    assert_eq!(build.state, BuildState::Succeeded);
}

#[test]
fn records_and_settings_from_before_there_were_new_findings_are_still_read() {
    let counts: FindingCounts =
        serde_json::from_str(r#"{"errors":1,"warnings":0,"notes":2,"new":null}"#).unwrap();
    assert_eq!(counts, FindingCounts { errors: 1, warnings: 0, notes: 2, new: None });
    assert_eq!(
        serde_json::from_str::<FindingCounts>(r#"{"errors":1,"warnings":0,"notes":2}"#).unwrap(),
        counts
    );
    let gate: crate::service::Gate =
        serde_json::from_str(r#"{"by":"severity","errors":0,"notes":null}"#).unwrap();
    let limits = crate::service::SeverityLimits { errors: Some(0), ..Default::default() };
    assert_eq!(gate, crate::service::Gate::Severity(limits));
    let written = serde_json::to_string(&gate).unwrap();
    assert_eq!(serde_json::from_str::<crate::service::Gate>(&written).unwrap(), gate);
}
