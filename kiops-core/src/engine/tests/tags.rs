//! Which tags move to which image.

use super::*;
use crate::engine::promote::tags_to_move;
use crate::policy::tests::{merge_request, tag};

const TAGS: &str = r#"{"auto_ci":{"tag":{"enabled":true},"merge_request":{"enabled":true}}}"#;

/// A world whose builds move `latest`, the branch's and the Git tag's name.
fn world() -> World {
    let world = World::new("{}");
    let mut service = service(TAGS);
    let templates =
        ["latest", "{branch}", "{tag}"].map(|text| crate::image::TagTemplate::parse(text).unwrap());
    service.settings.image.as_mut().unwrap().tags = templates.to_vec();
    now(world.store.put_service(&service, Some(1), at(0))).unwrap();
    world
}

/// What a driver would move for a build now.
fn moves(world: &World, build: &BuildId) -> Vec<String> {
    let primary = Primary {
        service: now(world.store.service(&world.service)).unwrap().map(|stored| stored.value),
        build: Some(world.build(build)),
        ..Primary::default()
    };
    let input = Input::Build { build: build.clone(), input: BuildInput::Tick, executors: Vec::new() };
    let view = now(world.store.view(&wants(&world.service, &input, &primary))).unwrap();
    tags_to_move(&view, build).iter().map(ToString::to_string).collect()
}

fn promotes(stepped: &Stepped, build: &BuildId) -> bool {
    stepped.changes.work.iter().any(|work| work.effect == Effect::Promote { build: build.clone() })
}

/// Runs a build up to the moment when its tags are to be moved.
fn to_promote(world: &mut World, build: &BuildId) -> Stepped {
    world.start_all();
    let digest = Some(digest_of(world.build(build).commit()));
    let result = RunResult { digest, ..RunResult::default() };
    world.report(build, RunEvent::Finished(RunOutcome::Succeeded(result))).unwrap()
}

#[test]
fn a_push_moves_the_tags_of_its_branch() {
    let mut world = world();
    let build = world.pushed(onto(1, 2));
    assert_eq!(moves(&world, &build), [""; 0], "nothing is tested yet");
    let stepped = to_promote(&mut world, &build);
    assert!(promotes(&stepped, &build));
    assert_eq!(moves(&world, &build), ["latest", "main"]);
    assert!(world.log_of(&build).contains(&"[release] Moving latest, main to the tested image"));
}

#[test]
fn a_git_tag_on_a_commit_that_was_built_moves_its_tag_to_that_image() {
    let mut world = world();
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let before = world.build(&build);
    let delivery = world.deliver(tag("v1.0.0"));
    assert_eq!(world.builds_of(&delivery), std::slice::from_ref(&build));
    assert_eq!(moves(&world, &build), ["latest", "main", "v1.0.0"]);
    world.input(&build, BuildInput::Promoted(Ok(()))).unwrap();
    assert_eq!(world.build(&build).finished_at, before.finished_at);
    assert_eq!(world.state(&build), BuildState::Succeeded);
}

#[test]
fn a_git_tag_on_an_older_commit_leaves_the_branchs_tags_alone() {
    let mut world = world();
    let older = world.pushed(onto(1, 2));
    world.succeed(&older);
    let newer = world.pushed(onto(2, 3));
    world.succeed(&newer);
    world.pushed(tag("v1.0.0"));
    let moved = moves(&world, &older);
    assert!(moved.contains(&"v1.0.0".to_owned()), "{moved:?}");
    assert!(!moved.contains(&"main".to_owned()), "{moved:?}");
}

#[test]
fn a_request_that_joins_while_tags_move_has_its_own_moved_too() {
    let mut world = world();
    let build = world.pushed(merge_request(|_| {}));
    let stepped = to_promote(&mut world, &build);
    assert!(!promotes(&stepped, &build), "a merge request moves none");
    assert_eq!(world.state(&build), BuildState::Succeeded);
    // The fast-forward merge: the same commit reaches main.
    assert_eq!(world.pushed(onto(1, 2)), build);
    assert_eq!(moves(&world, &build), ["latest", "main"]);

    let second = world.pushed(onto(2, 3));
    to_promote(&mut world, &second);
    world.pushed(crate::policy::tests::tag_with("v2", |tag| {
        tag.head = commit(3).into();
        tag.commit_id = Some(commit(3));
    }));
    assert_eq!(moves(&world, &second), ["latest", "main", "v2"]);
    assert_eq!(world.state(&second).name(), "running");
}

#[test]
fn an_older_build_that_is_slower_does_not_take_the_tags_back() {
    let mut world = world();
    let older = world.pushed(onto(1, 2));
    world.start_all();
    let newer = world.pushed(onto(2, 3));
    to_promote(&mut world, &newer);
    to_promote(&mut world, &older);
    assert_eq!(moves(&world, &older), [""; 0], "the newer one is at it");
    world.input(&newer, BuildInput::Promoted(Ok(()))).unwrap();
    assert_eq!(moves(&world, &older), [""; 0], "the newer one has them");
    assert_eq!(moves(&world, &newer), ["latest", "main"]);
    // A third push that is not built yet changes nothing of that.
    world.pushed(onto(3, 4));
    assert_eq!(moves(&world, &older), [""; 0]);
}

#[test]
fn a_build_by_hand_of_an_old_commit_does_not_take_the_tags_back() {
    let mut world = world();
    let first = world.pushed(onto(1, 2));
    world.fail(&first);
    let command = Command::Build {
        component: None,
        git_ref: crate::name::GitRef::parse("refs/heads/main").unwrap(),
        commit: Box::new(the_commit(2)),
        trigger: Trigger::Manual,
        nonce: "n".into(),
    };
    let by_hand = world.built_by(command, &member("ada", Role::Member)).remove(0);
    to_promote(&mut world, &by_hand);
    assert_eq!(moves(&world, &by_hand), ["latest", "main"]);
    let newer = world.pushed(onto(2, 3));
    world.succeed(&newer);
    assert_eq!(moves(&world, &by_hand), [""; 0]);
}

#[test]
fn a_canceled_build_moves_no_tags_any_more() {
    let mut world = world();
    let build = world.pushed(onto(1, 2));
    to_promote(&mut world, &build);
    let stepped = world.input(&build, BuildInput::Cancel { by: "ada".into() }).unwrap();
    let promote =
        crate::effect::Work::new(&world.service, at(0), Effect::Promote { build: build.clone() }, "");
    assert!(stepped.changes.cancel_work.contains(&promote.id));
    assert_eq!(moves(&world, &build), [""; 0]);
}
