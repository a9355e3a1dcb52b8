//! What the log of a build says, and when it is closed.

use super::*;

#[test]
fn the_first_line_says_what_triggered_it() {
    for (trigger, line) in [
        (Trigger::Webhook, "[setup] Triggered by Webhook"),
        (Trigger::Reconcile, "[setup] Triggered by Reconcile"),
    ] {
        let mut world = World::new(AUTO);
        let delivery = world.deliver_as(onto(1, 2), "body", trigger);
        let build = world.builds_of(&delivery).remove(0);
        assert_eq!(world.log_of(&build), [line]);
        assert_eq!(world.build(&build).trigger, trigger);
    }
}

#[test]
fn the_log_tells_the_whole_way_and_is_closed_at_its_end() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    assert!(!world.closed.contains(&build), "it is being rolled out");
    let release = world.release_of(&build).id;
    world.goes_live(&release);
    let image = crate::name::ImageRef::from(world.build(&build).image().unwrap());
    let updating = format!("[deploy] Updating container main with {image} in dev");
    let lines = [
        "[setup] Triggered by Webhook",
        &updating,
        "[deploy] Deployment rollout complete: revision 1 is live",
    ];
    assert_eq!(world.log_of(&build), lines);
    assert_eq!(world.closed, [build]);
}

#[test]
fn a_failure_is_said_with_its_remedy_and_closes_the_log() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.fail(&build);
    let last = world.log_of(&build).last().unwrap().to_string();
    assert_eq!(last, "[build] RUN failed: exit code 1 (read the build log from the failing step)");
    assert_eq!(world.closed, [build]);
}

#[test]
fn a_build_that_is_joined_says_by_whom() {
    let mut world = World::new(r#"{"auto_ci":{"merge_request":{"enabled":true}}}"#);
    let build = world.pushed(onto(1, 2));
    world.pushed(crate::policy::tests::merge_request(|_| {}));
    assert_eq!(world.log_of(&build)[1], "[setup] Also asked for by mr:7 (ada)");
}

#[test]
fn log_lines_are_stored_before_the_run_that_they_precede() {
    let mut world = World::new(AUTO);
    let delivery = world.deliver(onto(1, 2));
    let build = world.builds_of(&delivery).remove(0);
    world.start_all();
    let digest = Some(digest_of(&commit(2)));
    let result = RunResult { digest, ..RunResult::default() };
    let stepped = world.report(&build, RunEvent::Finished(RunOutcome::Succeeded(result))).unwrap();
    let first_other = stepped.changes.work.iter().position(|work| !matches!(work.effect, Effect::Log { .. }));
    let last_log = stepped.changes.work.iter().rposition(|work| matches!(work.effect, Effect::Log { .. }));
    assert!(last_log < first_other);
}

#[test]
fn an_older_release_of_a_build_that_was_not_loaded_says_nothing_wrong() {
    let mut world =
        World::new(r#"{"auto_ci":{"tag":{"enabled":true}},"deploy":{"auto":true,"environment":"dev"}}"#);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    let failure = Failure::new(Stage::Deploy, FailureKind::RolloutFailed, "0 of 1");
    world.releases_input(&release, ReleaseInput::Applied(Err(failure))).unwrap();
    let live = world.live(onto(2, 3));
    // Its rollout failed and is over: a tag on the newer commit tells nothing of this one.
    let delivery = world.deliver(crate::policy::tests::tag_with("v1", |tag| {
        tag.head = commit(3).into();
        tag.commit_id = Some(commit(3));
    }));
    assert_eq!(world.builds_of(&delivery), [live]);
}
