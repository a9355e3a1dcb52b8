//! Releases along their lane: one under way, nothing older over anything newer.

use super::*;
use crate::policy::tests::tag;

#[test]
fn a_success_is_released_by_itself_and_goes_live() {
    let mut world = World::new(AUTO);
    let build = world.live(onto(1, 2));
    let live = world.lane().unwrap();
    assert_eq!(live.images.values().next().unwrap().digest, digest_of(&commit(2)));
    assert_eq!(live.release, world.release_of(&build).id);
    assert_eq!(world.release_of(&build).target.namespace.as_str(), "app");
}

#[test]
fn with_auto_deploy_off_nothing_is_released() {
    let mut world = World::new(r#"{"deploy":{"auto":false,"environment":"dev"}}"#);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    assert_eq!(world.build(&build).release, None);
    assert_eq!(world.all_releases(), []);
}

#[test]
fn a_tag_builds_with_auto_deploy_off_and_one_call_deploys_that_digest() {
    let mut world = World::new(
        r#"{"auto_ci":{"push":{"enabled":false},"tag":{"enabled":true}},"deploy":{"auto":false,"environment":"dev"}}"#,
    );
    let build = world.pushed(tag("v1.0.0"));
    world.succeed(&build);
    assert_eq!(world.all_releases(), []);
    let command = Command::DeployBuild { build: build.clone(), environment: None, nonce: "n".into() };
    let release = world.released_by(command, &member("ada", Role::Member));
    world.goes_live(&release);
    assert_eq!(world.lane().unwrap().images.values().next().unwrap().digest, digest_of(&commit(2)));
    assert_eq!(
        world.build(&build).release,
        None,
        "a release by hand does not change what people see of the build"
    );
}

#[test]
fn while_one_is_under_way_the_next_waits_and_of_those_that_wait_the_newest_goes() {
    let mut world = World::new(AUTO);
    let builds: Vec<BuildId> = (1..4)
        .map(|n| {
            let build = world.pushed(onto(n, n + 1));
            world.start_all();
            build
        })
        .collect();
    builds.iter().for_each(|build| drop(world.succeed(build)));
    let states: Vec<_> = builds.iter().map(|build| world.release_of(build).state.name()).collect();
    assert_eq!(states, ["deploying", "superseded", "pending"]);
    let (first, last) = (world.release_of(&builds[0]).id, world.release_of(&builds[2]).id);
    world.goes_live(&first);
    assert_eq!(world.release(&last).state, ReleaseState::Deploying);
    assert_eq!(world.release(&last).previous, Some(Revision(1)));
    world.goes_live(&last);
    assert_eq!(world.lane().unwrap().release, last);
}

#[test]
fn a_superseded_release_closes_the_log_of_a_build_that_is_over() {
    let mut world = World::new(AUTO);
    let first = world.pushed(onto(1, 2));
    world.start_all();
    let second = world.pushed(onto(2, 3));
    world.start_all();
    let third = world.pushed(onto(3, 4));
    world.succeed(&first);
    world.succeed(&second);
    assert!(!world.closed.contains(&second), "its release waits");
    let stepped = world.succeed(&third);
    assert!(world.closed.contains(&second));
    assert!(world.log_of(&second).last().unwrap().starts_with("[deploy] Superseded by release"));
    let told = stepped.changes.events.iter().any(|event| {
        matches!(event, crate::notify::DomainEvent::Build { build, view, .. }
            if *build == second && view.state == crate::release::VisibleState::Superseded)
    });
    assert!(told, "whoever watches that build learns of it");
}

#[test]
fn a_failed_rollout_goes_back_and_the_lane_knows_what_runs() {
    let mut world = World::new(AUTO);
    let good = world.live(onto(1, 2));
    let bad = world.pushed(onto(2, 3));
    world.succeed(&bad);
    let release = world.release_of(&bad).id;
    world.releases_input(&release, ReleaseInput::Applied(Ok(Revision(2)))).unwrap();
    let failure = Failure::new(Stage::Deploy, FailureKind::RolloutFailed, "0 of 1");
    let failed = ReleaseInput::Status(RolloutStatus::Failed(failure));
    let stepped = world.releases_input(&release, failed).unwrap();
    let back = Effect::GoBack { release: release.clone(), to: Revision(1) };
    assert!(stepped.changes.work.iter().any(|work| work.effect == back));
    world.releases_input(&release, ReleaseInput::WentBack(Ok(Revision(3)))).unwrap();
    assert!(matches!(world.release(&release).state, ReleaseState::RolledBack(_)));
    let live = world.lane().unwrap();
    assert_eq!((live.release, live.revision), (world.release_of(&good).id, Revision(3)));
    assert_eq!(live.images.values().next().unwrap().digest, digest_of(&commit(2)));
}

#[test]
fn a_force_push_back_is_released_again_without_another_build() {
    let mut world = World::new(AUTO);
    let old = world.live(onto(1, 2));
    let new = world.live(onto(2, 3));
    assert_ne!(old, new);
    let before = world.all_builds().len();
    assert_eq!(world.pushed(onto(3, 2)), old);
    assert_eq!(world.all_builds().len(), before);
    let release = world.release_of(&old).id;
    world.goes_live(&release);
    assert_eq!(world.lane().unwrap().images.values().next().unwrap().digest, digest_of(&commit(2)));
}

#[test]
fn what_is_live_or_on_its_way_is_not_released_again() {
    let mut world =
        World::new(r#"{"auto_ci":{"tag":{"enabled":true}},"deploy":{"auto":true,"environment":"dev"}}"#);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    world.pushed(tag("v1"));
    assert_eq!(world.all_releases().len(), 1, "it is on its way");
    let release = world.release_of(&build).id;
    world.goes_live(&release);
    world.pushed(tag("v2"));
    assert_eq!(world.all_releases().len(), 1, "it is live");
}

#[test]
fn going_back_while_something_newer_is_on_its_way_replaces_that() {
    let mut world = World::new(AUTO);
    let old = world.live(onto(1, 2));
    let new = world.pushed(onto(2, 3));
    world.succeed(&new);
    assert_eq!(world.pushed(onto(3, 2)), old);
    let release = world.release_of(&new).id;
    world.goes_live(&release);
    let again = world.release_of(&old);
    assert_eq!(again.state, ReleaseState::Deploying, "the head is the older commit by now");
}

#[test]
fn progress_never_falls_when_a_build_is_released_again() {
    let mut world = World::new(AUTO);
    let old = world.live(onto(1, 2));
    world.live(onto(2, 3));
    world.pushed(onto(3, 2));
    let view = crate::release::BuildView::of(&world.build(&old), Some(&world.release_of(&old)));
    assert_eq!(view.progress.percent(), 100);
}

#[test]
fn each_component_has_a_lane_of_its_own() {
    let mut world = World::new(
        r#"{"components":[{"name":"api"},{"name":"web"}],"deploy":{"auto":true,"environment":"dev"}}"#,
    );
    let delivery = world.deliver(onto(1, 2));
    for build in world.builds_of(&delivery) {
        world.succeed(&build);
        assert_eq!(world.release_of(&build).state, ReleaseState::Deploying);
    }
}

#[test]
fn what_stands_in_the_way_of_a_release_is_said_and_the_build_succeeds_all_the_same() {
    let mut world = World::new(r#"{"deploy":{"auto":true,"environment":"prod"}}"#);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    assert_eq!(world.state(&build), BuildState::Succeeded);
    let lines = world.log_of(&build);
    assert!(
        lines.iter().any(|line| line.contains("Not released") && line.contains("`prod` is not registered")),
        "{lines:?}"
    );

    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.settings(r#"{"components":[{"name":"other"}],"deploy":{"auto":true,"environment":"dev"}}"#);
    world.succeed(&build);
    assert_eq!(world.state(&build), BuildState::Succeeded);
    assert!(
        world
            .log_of(&build)
            .iter()
            .any(|line| line.contains("component `main` is not in the settings any more"))
    );
}

const SIDECAR: &str = r#"{"deploy":{"auto":true,"environment":"dev"},"components":[{"runs":{"type":"workload",
    "containers":[{"name":"web"},{"name":"cache","image":{"ready":"docker.io/library/redis:7"}}]}}]}"#;

#[test]
fn containers_that_did_not_change_keep_their_pin() {
    let mut world = World::new(SIDECAR);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let lines = world.log_of(&build).join("\n");
    assert!(lines.contains("container `cache`: image `docker.io/library/redis:7` has no digest"), "{lines}");

    let name = |name: &str| crate::name::ContainerName::parse(name).unwrap();
    let digest = Digest::of(b"redis");
    let redis = crate::name::ImageRef::parse(&format!("docker.io/library/redis:7@{digest}")).unwrap();
    let images =
        [(name("web"), world.build(&build).image().unwrap()), (name("cache"), redis.pinned().unwrap())];
    let command = Command::DeployImages {
        component: None,
        images: images.into(),
        environment: None,
        nonce: "n".into(),
    };
    let release = world.released_by(command, &member("ada", Role::Member));
    world.goes_live(&release);

    world.live(onto(2, 3));
    let live = world.lane().unwrap();
    assert_eq!(live.images[&name("cache")].digest, digest);
    assert_eq!(live.images[&name("web")].digest, digest_of(&commit(3)));
}
