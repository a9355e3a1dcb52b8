//! Which build a request meets: a live one, one that succeeded, or none.

use super::*;
use crate::policy::tests::{merge_request, tag};

const MR: &str = r#"{"auto_ci":{"merge_request":{"enabled":true},"push":{"branches":["*"]}},
    "deploy":{"auto":true,"environment":"dev"}}"#;

#[test]
fn a_push_and_a_merge_request_on_one_commit_share_a_build() {
    let mut world = World::new(MR);
    let first = world.pushed(onto(1, 2));
    assert_eq!(world.pushed(merge_request(|_| {})), first);
    let scopes: Vec<_> = world.build(&first).requesters.into_iter().map(|by| by.scope).collect();
    assert_eq!(scopes, [main_ref(), RefKey::MergeRequest(7)]);
    assert_eq!(world.all_builds().len(), 1);
}

#[test]
fn what_succeeded_is_not_built_again() {
    let mut world = World::new(MR);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let delivery = world.deliver(merge_request(|_| {}));
    assert_eq!(world.builds_of(&delivery), [build]);
    assert_eq!(world.outcome(&delivery), EventOutcome::Built);
    assert_eq!(world.all_builds().len(), 1);
}

#[test]
fn what_failed_or_was_canceled_is_built_again_under_the_next_nonce() {
    let mut world = World::new(MR);
    let first = world.pushed(onto(1, 2));
    world.fail(&first);
    let second = world.pushed(merge_request(|_| {}));
    assert_ne!(second, first);
    world.command(Command::CancelBuild { build: second.clone() }, &member("ada", Role::Member)).unwrap();
    let third = world.pushed(onto(1, 2));
    let nonces: Vec<_> = [&first, &second, &third].iter().map(|id| world.build(id).identity.nonce).collect();
    assert_eq!(nonces, ["", "#1", "#2"]);
    assert!(matches!(world.state(&first), BuildState::Failed(_)), "what is over stays as it was");
}

#[test]
fn the_hosts_test_button_builds_again() {
    let mut world = World::new(AUTO);
    let first = world.deliver_as(onto(1, 2), "same body", Trigger::Webhook);
    let build = world.builds_of(&first)[0].clone();
    world.succeed(&build);
    let again = world.deliver_as(onto(1, 2), "same body", Trigger::Webhook);
    assert!(world.record(&again).repeat);
    let second = world.builds_of(&again)[0].clone();
    assert_ne!(second, build);
    assert_eq!(world.state(&second), BuildState::Queued);
    assert_eq!(world.build(&second).commit(), world.build(&build).commit());
}

#[test]
fn a_push_to_and_fro_that_reads_like_an_earlier_one_is_a_push_and_no_test_button() {
    let mut world = World::new(AUTO);
    let first = world.live(onto(1, 2));
    let forth = world.deliver_as(onto(2, 3), "forth", Trigger::Webhook);
    let second = world.builds_of(&forth)[0].clone();
    world.succeed(&second);
    let release = world.release_of(&second).id;
    world.goes_live(&release);
    let back = world.deliver_as(onto(3, 2), "back", Trigger::Webhook);
    assert_eq!(world.builds_of(&back), std::slice::from_ref(&first));
    let release = world.release_of(&first).id;
    world.goes_live(&release);

    let again = world.deliver_as(onto(2, 3), "forth", Trigger::Webhook);
    assert!(world.record(&again).repeat);
    assert_eq!(world.builds_of(&again), std::slice::from_ref(&second), "it is not built again");
    let release = world.release_of(&second).id;
    world.goes_live(&release);
    assert_eq!(world.lane().unwrap().release, release);
    assert_eq!(world.ref_state(main_ref()).newest, Some(commit(3)));

    let pressed = world.deliver_as(onto(2, 3), "forth", Trigger::Webhook);
    assert_ne!(world.builds_of(&pressed), [second], "nothing came between: now it is the Test button");
}

#[test]
fn the_same_head_by_another_body_joins() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    // A system hook tells of the same push.
    assert_eq!(world.pushed(onto(1, 2)), first);
    assert_eq!(world.build(&first).requesters.len(), 1);
}

#[test]
fn a_push_joins_what_somebody_builds_by_hand() {
    let mut world = World::new(AUTO);
    let command = Command::Build {
        component: None,
        git_ref: crate::name::GitRef::parse("refs/heads/main").unwrap(),
        commit: Box::new(the_commit(2)),
        trigger: Trigger::Manual,
        nonce: "n1".into(),
    };
    let by_hand = world.built_by(command, &member("ada", Role::Member));
    assert_eq!([world.pushed(onto(1, 2))].to_vec(), by_hand);
}

#[test]
fn other_settings_make_another_build() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    world.settings(r#"{"components":[{"build_args":{"MODE":"fast"}}]}"#);
    let second = world.pushed(onto(1, 2));
    assert_ne!(first, second);
    assert!(matches!(world.state(&first), BuildState::Superseded { .. }));
}

#[test]
fn a_tag_on_a_commit_that_was_built_names_that_build() {
    let mut world =
        World::new(r#"{"auto_ci":{"tag":{"enabled":true}},"deploy":{"auto":false,"environment":"dev"}}"#);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    assert_eq!(world.pushed(tag("v1.0.0")), build);
    assert_eq!(world.build(&build).tag.as_deref(), Some("v1.0.0"));
}

#[test]
fn a_monorepo_push_yields_one_build_for_each_touched_component() {
    let mut world = World::new(
        r#"{"components":[{"name":"api","watch_path":["api/"]},{"name":"web","watch_path":["web/"]},{"name":"gw"}],
            "builds_at_once":2}"#,
    );
    let delivery = world.deliver(push_with("main", |push| {
        push.files = crate::policy::tests::complete(&["api/x", "README.md"]);
    }));
    let names: Vec<String> =
        world.builds_of(&delivery).iter().map(|id| world.build(id).component().to_string()).collect();
    assert_eq!(names, ["api", "gw"]);
    assert_eq!(world.start_all().len(), 2, "they run in parallel");
    let images: Vec<String> = world
        .builds_of(&delivery)
        .iter()
        .map(|id| serde_json::to_value(&world.build(id).spec.output).unwrap()["push"]["image"].to_string())
        .collect();
    assert_eq!(images, [r#""registry.local/team/app-api""#, r#""registry.local/team/app-gw""#]);
}

#[test]
fn a_build_knows_its_commit_under_the_names_of_t10() {
    let mut world = World::new(AUTO);
    let event = push_with("main", |push| {
        push.commit.author = Some("Ada".into());
        push.commit.timestamp = Some("2026-01-01T01:00:00+01:00".into());
        push.commit.url = Some("https://git/c/2".into());
    });
    let build = world.pushed(event);
    let metadata = world.build(&build).spec.metadata;
    let revision = commit(2).to_string();
    let expected = [
        ("GIT_REPO", "team/app"),
        ("GIT_BRANCH", "main"),
        ("GIT_REVISION", revision.as_str()),
        ("GIT_COMMITTER_USERNAME", "Ada"),
        ("GIT_COMMIT_MESSAGE", "work"),
        ("GIT_COMMIT_TIMESTAMP", "2026-01-01T00:00:00Z"),
        ("GIT_COMMIT_URL", "https://git/c/2"),
    ];
    assert_eq!(metadata.entries(), expected);
}
