//! What people ask for.

use super::*;
use crate::name::{ContainerName, GitRef, ImageRef, PinnedImage};

fn ada() -> Subject {
    member("ada", Role::Member)
}

fn by_hand(nonce: &str) -> Command {
    Command::Build {
        component: None,
        git_ref: GitRef::parse("refs/heads/main").unwrap(),
        commit: Box::new(the_commit(2)),
        trigger: Trigger::Manual,
        nonce: nonce.into(),
    }
}

fn image(content: &str) -> PinnedImage {
    let digest = Digest::of(content.as_bytes());
    ImageRef::parse(&format!("registry.local/team/app:1@{digest}")).unwrap().pinned().unwrap()
}

fn deploy_images(name: &str, nonce: &str) -> Command {
    Command::DeployImages {
        component: None,
        images: [(ContainerName::parse(name).unwrap(), image("x"))].into(),
        environment: None,
        nonce: nonce.into(),
    }
}

#[test]
fn a_build_by_hand_ignores_every_filter() {
    let mut world = World::new(r#"{"auto_ci":{"enabled":false}}"#);
    let builds = world.built_by(by_hand("n"), &ada());
    let build = world.build(&builds[0]);
    assert_eq!((build.trigger, build.branch.as_deref()), (Trigger::Manual, Some("main")));
    assert_eq!(world.log_of(&builds[0]), ["[setup] Triggered by Manual Build"]);
    assert_eq!(build.spec.metadata.git_commit_message, "work");
}

#[test]
fn a_second_build_by_hand_is_a_build_of_its_own_and_the_same_request_is_not() {
    let mut world = World::new(AUTO);
    let first = world.built_by(by_hand("1"), &ada());
    let second = world.built_by(by_hand("2"), &ada());
    assert_ne!(first, second);
    assert_eq!(world.state(&first[0]), BuildState::Queued, "nothing supersedes what is built by hand");
    assert_eq!(world.built_by(by_hand("1"), &ada()), first);
    world.fail(&first[0]);
    let failed = world.build(&first[0]);
    assert_eq!(world.built_by(by_hand("1"), &ada()), first);
    assert_eq!(world.build(&first[0]), failed, "the same request finds the same build, however it ended");
    assert_eq!(world.all_builds().len(), 2);
}

#[test]
fn building_takes_a_member_and_a_component_that_exists() {
    let mut world = World::new(AUTO);
    refused(world.command(by_hand("n"), &member("eve", Role::Viewer)), ErrorKind::Forbidden, "stronger role");
    let Command::Build { git_ref, commit, trigger, nonce, .. } = by_hand("n") else { unreachable!() };
    let component = Some(crate::name::ComponentName::parse("web").unwrap());
    let other = Command::Build { component, git_ref, commit, trigger, nonce };
    refused(world.command(other, &ada()), ErrorKind::NotFound, "no component `web`");
}

#[test]
fn a_queued_and_a_running_build_can_be_canceled() {
    let mut world = World::new(AUTO);
    let cancel = |build: &BuildId| Command::CancelBuild { build: build.clone() };
    let queued = world.pushed(onto(1, 2));
    world.command(cancel(&queued), &ada()).unwrap();
    assert_eq!(world.state(&queued), BuildState::Canceled { by: "ada".into() });
    let running = world.pushed(onto(2, 3));
    world.start_all();
    let run = world.build(&running).run();
    let stepped = world.step(Input::Command { command: cancel(&running), by: ada() }).unwrap();
    let stop = Effect::CancelRun { run, executor: "assembler".into() };
    assert!(stepped.changes.work.iter().any(|work| work.effect == stop));
    assert_eq!(stepped.changes.free_slots, [running]);
}

#[test]
fn while_it_is_deployed_a_build_cannot_be_canceled_and_the_remedy_is_rollback() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.succeed(&build);
    let cancel = || Command::CancelBuild { build: build.clone() };
    refused(world.command(cancel(), &ada()), ErrorKind::Conflict, "wait for the rollout and roll back");
    let release = world.release_of(&build).id;
    world.goes_live(&release);
    refused(world.command(cancel(), &ada()), ErrorKind::Conflict, "is over: succeeded");
}

#[test]
fn canceling_takes_a_member_and_a_build_that_exists() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    let cancel = |build| Command::CancelBuild { build };
    refused(world.command(cancel(build), &Subject::unknown()), ErrorKind::Forbidden, "stronger role");
    let unknown = BuildId::derive(["nothing"]);
    refused(world.command(cancel(unknown), &ada()), ErrorKind::NotFound, "there is no build");
}

#[test]
fn only_what_succeeded_can_be_deployed() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    let deploy = || Command::DeployBuild { build: build.clone(), environment: None, nonce: "n".into() };
    refused(world.command(deploy(), &ada()), ErrorKind::Conflict, "is queued");
    world.fail(&build);
    refused(world.command(deploy(), &ada()), ErrorKind::Conflict, "is failed");
}

#[test]
fn an_environment_must_be_named_and_registered() {
    let mut world = World::new("{}");
    refused(world.command(deploy_images("main", "n"), &ada()), ErrorKind::Invalid, "no environment is named");
    let mut elsewhere = deploy_images("main", "n");
    if let Command::DeployImages { environment, .. } = &mut elsewhere {
        *environment = Some(EnvironmentName::parse("mars").unwrap());
    }
    refused(world.command(elsewhere, &ada()), ErrorKind::NotFound, "`mars` is not registered");
}

#[test]
fn with_several_components_one_must_be_named() {
    let mut world = World::new(
        r#"{"components":[{"name":"api"},{"name":"web"}],"deploy":{"auto":false,"environment":"dev"}}"#,
    );
    refused(
        world.command(deploy_images("api", "n"), &ada()),
        ErrorKind::Invalid,
        "several components: name one",
    );
}

#[test]
fn images_go_to_containers_that_exist_and_every_container_has_one() {
    let mut world = World::new(
        r#"{"deploy":{"auto":false,"environment":"dev"},"components":[{"runs":{"type":"workload",
            "containers":[{"name":"web"},{"name":"db"}]}}]}"#,
    );
    refused(
        world.command(deploy_images("x", "1"), &ada()),
        ErrorKind::Invalid,
        "there is no container `x`; there are web, db",
    );
    refused(
        world.command(deploy_images("web", "2"), &ada()),
        ErrorKind::Invalid,
        "container `db` has no image",
    );
    let mut both = deploy_images("web", "3");
    if let Command::DeployImages { images, .. } = &mut both {
        images.insert(ContainerName::parse("db").unwrap(), image("db"));
    }
    let release = world.released_by(both, &ada());
    world.goes_live(&release);
    let release = world.released_by(deploy_images("web", "4"), &ada());
    let images = world.release(&release).images;
    assert_eq!(images[&ContainerName::parse("db").unwrap()], image("db"), "it keeps what is live");
}

#[test]
fn a_container_that_is_gone_from_the_settings_does_not_stand_in_the_way() {
    let mut world = World::new(
        r#"{"deploy":{"auto":false,"environment":"dev"},"components":[{"runs":{"type":"workload",
            "containers":[{"name":"old"}]}}]}"#,
    );
    let release = world.released_by(deploy_images("old", "1"), &ada());
    world.goes_live(&release);
    world.settings(r#"{"deploy":{"auto":false,"environment":"dev"}}"#);
    let release = world.released_by(deploy_images("main", "2"), &ada());
    assert_eq!(world.release(&release).images.len(), 1);
}

#[test]
fn the_same_request_to_deploy_finds_its_release_again() {
    let mut world = World::new(r#"{"deploy":{"auto":false,"environment":"dev"}}"#);
    let release = world.released_by(deploy_images("main", "n"), &ada());
    world.goes_live(&release);
    let before = world.release(&release);
    assert_eq!(world.released_by(deploy_images("main", "n"), &ada()), release);
    assert_eq!(world.release(&release), before, "a release that is over never begins again");
    assert_ne!(world.released_by(deploy_images("main", "other"), &ada()), release);
}

#[test]
fn rollback_goes_back_to_a_revision_whole() {
    let mut world = World::new(AUTO);
    world.live(onto(1, 2));
    world.live(onto(2, 3));
    let images = [(ContainerName::parse("gone").unwrap(), image("old"))];
    let command = Command::Rollback {
        component: None,
        environment: None,
        to: Revision(1),
        images: images.clone().into(),
        commit: Some(commit(2)),
        nonce: "n".into(),
    };
    let release = world.released_by(command, &ada());
    assert_eq!(world.release(&release).images, images.clone().into());
    world.goes_live(&release);
    assert_eq!(world.lane().unwrap().images, images.into());
}

#[test]
fn what_was_decided_before_a_rollback_does_not_undo_it() {
    let mut world = World::new(AUTO);
    world.live(onto(1, 2));
    let on_its_way = world.pushed(onto(2, 3));
    world.start_all();
    let command = Command::Rollback {
        component: None,
        environment: None,
        to: Revision(1),
        images: [(ContainerName::parse("main").unwrap(), image("old"))].into(),
        commit: None,
        nonce: "n".into(),
    };
    let release = world.released_by(command, &ada());
    world.goes_live(&release);
    world.succeed(&on_its_way);
    assert_eq!(world.release_of(&on_its_way).state, ReleaseState::Superseded { by: release });
}

#[test]
fn a_refusal_moves_a_build_on_and_the_last_one_is_its_failure() {
    let mut world = World::new(AUTO);
    let build = world.pushed(onto(1, 2));
    world.start_all();
    let failure = Failure::new(Stage::Build, FailureKind::UnsupportedInstruction, "RUN");
    let refusal = |world: &World| BuildInput::Report {
        run: world.build(&build).run(),
        event: RunEvent::Finished(RunOutcome::Refused(failure.clone())),
    };
    let both = vec!["assembler".to_owned(), "kaniko".to_owned()];
    let input = Input::Build { build: build.clone(), input: refusal(&world), executors: both };
    world.step(input).unwrap();
    assert_eq!(world.state(&build), BuildState::Queued);
    let (waiting, _) = now(world.store.queue()).unwrap();
    let picks = pick(
        &waiting,
        &Default::default(),
        &["assembler".into(), "kaniko".into()],
        &world.limits,
        world.time(),
    );
    assert_eq!(picks[0].executor, "kaniko");
    world.step(Input::Start(picks[0].clone())).unwrap();
    let both = vec!["assembler".to_owned(), "kaniko".to_owned()];
    let input = Input::Build { build: build.clone(), input: refusal(&world), executors: both };
    world.step(input).unwrap();
    assert_eq!(world.state(&build), BuildState::Failed(failure));
}

#[test]
fn inputs_about_nothing_say_so() {
    let mut world = World::new(AUTO);
    let build = BuildId::derive(["nothing"]);
    refused(world.input(&build, BuildInput::Tick), ErrorKind::NotFound, "there is no build");
    let release = ReleaseId::derive(["nothing"]);
    refused(world.releases_input(&release, ReleaseInput::Tick), ErrorKind::NotFound, "there is no release");
    world.service = ServiceName::parse("nobody").unwrap();
    refused(world.input(&build, BuildInput::Tick), ErrorKind::NotFound, "not registered");
}

#[test]
fn a_service_without_registry_settings_skips_with_the_remedy() {
    let mut world = World::new("{}");
    let stored = now(world.store.service(&world.service)).unwrap().unwrap();
    let bare = crate::policy::tests::bare_service(Default::default());
    now(world.store.put_service(&bare, Some(stored.version), at(0))).unwrap();
    let delivery = world.deliver(onto(1, 2));
    assert_eq!(world.outcome(&delivery), EventOutcome::Skipped);
    assert!(world.record(&delivery).events[0].reason().unwrap().contains("complete them"));
    refused(world.command(by_hand("n"), &ada()), ErrorKind::Invalid, "has no registry settings");
}
