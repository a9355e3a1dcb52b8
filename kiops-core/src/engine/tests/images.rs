//! Image services: from a push of an image to what runs.

use super::*;
use crate::policy::SkipReason;
use crate::policy::tests::{digest_now, image_push, image_service, is_digest, pinned};
use crate::release::Origin;

impl World {
    /// A world with the image service of S20, whose images are at the digests of 1.
    fn of_images() -> Self {
        let mut world = Self::new("{}");
        let stored = now(world.store.service(&world.service)).unwrap().unwrap();
        now(world.store.put_service(&image_service(), Some(stored.version), at(0))).unwrap();
        world.tag_at("nginx:alpine", 1);
        world.tag_at("mysql:8.0", 1);
        world
    }

    fn tag_at(&mut self, image: &str, n: u8) {
        self.told.insert(digest_now(image), is_digest(n).unwrap());
    }

    /// `image:tag` was pushed with this content.
    fn image_pushed(&mut self, image: &str, tag: &str, n: u8) -> DeliveryId {
        self.tag_at(&format!("{}:{tag}", image.trim_start_matches("library/")), n);
        self.deliver(image_push(image, tag))
    }

    /// The one release that a delivery led to.
    #[track_caller]
    fn release_by(&self, delivery: &DeliveryId) -> Release {
        let releases = self.record(delivery).events[0].releases.clone();
        let [release] = releases.as_slice() else { panic!("not one release: {:?}", self.record(delivery)) };
        self.release(release)
    }

    fn running(&self) -> Vec<String> {
        self.lane().unwrap().images.values().map(ToString::to_string).collect()
    }
}

#[test]
fn an_image_push_becomes_a_release_that_names_what_told_of_it() {
    let mut world = World::of_images();
    let delivery = world.image_pushed("library/nginx", "alpine", 2);
    assert_eq!(world.outcome(&delivery), EventOutcome::Deployed);
    assert_eq!(world.record(&delivery).events[0].reason().unwrap(), "deploys main");
    let release = world.release_by(&delivery);
    assert_eq!((release.origin.clone(), release.requested_by.as_str()), (Origin::ImagePush(delivery), "ada"));
    world.goes_live(&release.id);
    assert_eq!(world.running(), [pinned("mysql:8.0", 1), pinned("nginx:alpine", 2)].map(|i| i.to_string()));
    assert!(world.all_builds().is_empty());
}

#[test]
fn two_images_pushed_one_after_the_other_both_run_in_the_end() {
    let mut world = World::of_images();
    let first = world.image_pushed("library/nginx", "alpine", 2);
    let first = world.release_by(&first).id;
    // The first is still on its way.
    let second = world.image_pushed("library/mysql", "8.0", 3);
    let second = world.release_by(&second).id;
    world.goes_live(&first);
    world.goes_live(&second);
    assert_eq!(world.running(), [pinned("mysql:8.0", 3), pinned("nginx:alpine", 2)].map(|i| i.to_string()));
}

#[test]
fn the_same_image_told_of_again_is_released_once() {
    let mut world = World::of_images();
    let first = world.image_pushed("library/nginx", "alpine", 2);
    let skipped = |world: &World, delivery: &DeliveryId| {
        let record = world.record(delivery);
        let decision = record.events[0].decision.clone().unwrap();
        matches!(decision.outcome, crate::policy::Outcome::Skip(skip) if skip.reason == SkipReason::Unchanged)
    };
    let again = world.deliver(image_push("library/nginx", "alpine"));
    assert!(skipped(&world, &again), "it is on its way");
    let release = world.release_by(&first).id;
    world.goes_live(&release);
    let again = world.deliver(image_push("library/nginx", "alpine"));
    assert!(skipped(&world, &again), "it is live");
    assert_eq!(world.all_releases().len(), 1);
}

#[test]
fn a_push_that_comes_late_deploys_what_the_tag_points_at_by_now() {
    let mut world = World::of_images();
    // Both pushes happened before the first was told of.
    let late = world.image_pushed("library/nginx", "alpine", 3);
    assert_eq!(world.release_by(&late).images.values().nth(1), Some(&pinned("nginx:alpine", 3)));
    let second = world.deliver(image_push("library/nginx", "alpine"));
    assert_eq!(world.outcome(&second), EventOutcome::Skipped);
}

#[test]
fn an_image_that_failed_is_tried_again_when_it_is_pushed_again() {
    let mut world = World::of_images();
    let first = world.image_pushed("library/nginx", "alpine", 2);
    let first = world.release_by(&first).id;
    let failed = Failure::new(Stage::Deploy, FailureKind::RuntimeUnavailable, "gone");
    world.releases_input(&first, ReleaseInput::Applied(Err(failed))).unwrap();
    assert!(world.release(&first).is_over());
    let again = world.image_pushed("library/nginx", "alpine", 2);
    let again = world.release_by(&again).id;
    world.goes_live(&again);
}

#[test]
fn a_newer_image_takes_the_place_of_one_that_waits_for_its_turn() {
    let mut world = World::of_images();
    let mut ids = Vec::new();
    for n in 2..5 {
        let delivery = world.image_pushed("library/nginx", "alpine", n);
        ids.push(world.release_by(&delivery).id);
    }
    assert!(matches!(world.release(&ids[1]).state, ReleaseState::Superseded { .. }));
    world.goes_live(&ids[0]);
    world.goes_live(&ids[2]);
    assert!(world.running()[1].ends_with(Digest::of(&[4]).as_str()));
}

#[test]
fn an_image_waits_for_approval_where_the_environment_asks_for_it() {
    let mut world = World::of_images();
    world.environment(r#"{"name":"dev","runtime":"here","approval_required":true}"#);
    let delivery = world.image_pushed("library/nginx", "alpine", 2);
    let release = world.release_by(&delivery);
    assert_eq!(release.state, ReleaseState::AwaitingApproval);
    let again = world.deliver(image_push("library/nginx", "alpine"));
    assert_eq!(world.outcome(&again), EventOutcome::Skipped, "it waits already");
    let owner = member("owner", Role::Owner);
    world.command(Command::Approve { release: release.id.clone() }, &owner).unwrap();
    world.goes_live(&release.id);
}

#[test]
fn an_environment_that_is_not_registered_is_named() {
    let mut world = World::of_images();
    let mut service = image_service();
    service.settings.deploy.environment = Some(EnvironmentName::parse("moon").unwrap());
    let stored = now(world.store.service(&world.service)).unwrap().unwrap();
    now(world.store.put_service(&service, Some(stored.version), at(0))).unwrap();
    world.tag_at("nginx:alpine", 2);
    let delivery = world.accept(image_push("library/nginx", "alpine"), "body", Trigger::Webhook);
    let input = Input::Decide { delivery, answers: Vec::new(), rounds: 0, subject: world.subject.clone() };
    refused(world.step(input), ErrorKind::NotFound, "environment `moon` is not registered");
}

impl World {
    fn image_settings(&self, change: impl FnOnce(&mut Vec<crate::service::Container>)) {
        let stored = now(self.store.service(&self.service)).unwrap().unwrap();
        let mut service = image_service();
        match service.settings.components[0].runs.as_mut() {
            Some(crate::service::Target::Workload(workload)) => change(&mut workload.containers),
            other => panic!("{other:?}"),
        }
        now(self.store.put_service(&service, Some(stored.version), at(0))).unwrap();
    }

    fn decide(&mut self, delivery: &DeliveryId) {
        let (delivery, subject) = (delivery.clone(), self.subject.clone());
        self.step(Input::Decide { delivery, answers: Vec::new(), rounds: 0, subject }).unwrap();
    }

    fn deploy_by_hand(
        &mut self,
        container: &str,
        image: crate::name::PinnedImage,
        by: &Subject,
    ) -> ReleaseId {
        let images = [(crate::name::ContainerName::parse(container).unwrap(), image)].into();
        let command = Command::DeployImages { component: None, images, environment: None, nonce: "h".into() };
        self.released_by(command, by)
    }
}

#[test]
fn what_waits_for_approval_comes_along_with_no_other_release() {
    let mut world = World::of_images();
    let first = world.image_pushed("library/nginx", "alpine", 1);
    let first = world.release_by(&first).id;
    world.goes_live(&first);
    world.environment(r#"{"name":"dev","runtime":"here","approval_required":true}"#);
    let waits = world.deploy_by_hand("web", pinned("nginx:alpine", 66), &member("dev", Role::Member));
    assert_eq!(world.release(&waits).state, ReleaseState::AwaitingApproval);
    // Somebody who needs no approval for what they push.
    world.subject = member("boss", Role::Admin);
    let push = world.image_pushed("library/mysql", "8.0", 2);
    let release = world.release_by(&push);
    assert_eq!(release.state, ReleaseState::Deploying);
    let expected = [pinned("mysql:8.0", 2), pinned("nginx:alpine", 1)];
    assert!(release.images.values().eq(&expected), "nobody approved it: {:?}", release.images);
}

#[test]
fn an_older_push_that_waited_for_its_registry_goes_over_no_newer_one() {
    let mut world = World::of_images();
    world.image_settings(|all| all[0].tags = crate::filter::TagFilter::parse(["build-*"]).unwrap());
    world.tag_at("nginx:build-7", 7);
    world.tag_at("nginx:build-8", 8);
    // Received in this order; the first was looked for in vain at first, and is tried again after the second.
    let older = world.accept(image_push("library/nginx", "build-7"), "7", Trigger::Webhook);
    world.seconds += 10;
    let newer = world.accept(image_push("library/nginx", "build-8"), "8", Trigger::Webhook);
    world.decide(&newer);
    let release = world.release_by(&newer).id;
    world.goes_live(&release);
    world.decide(&older);
    assert_eq!(
        world.outcome(&older),
        EventOutcome::Skipped,
        "E57: {:?}",
        world.record(&older).events[0].reason()
    );
}

#[test]
fn a_container_that_was_not_pushed_keeps_what_was_deployed_by_hand() {
    let mut world = World::of_images();
    let first = world.image_pushed("library/nginx", "alpine", 1);
    let first = world.release_by(&first).id;
    world.goes_live(&first);
    let fix = world.deploy_by_hand("web", pinned("nginx:hotfix", 9), &member("dev", Role::Member));
    world.goes_live(&fix);
    let push = world.image_pushed("library/mysql", "8.0", 2);
    let release = world.release_by(&push);
    let expected = [pinned("mysql:8.0", 2), pinned("nginx:hotfix", 9)];
    assert!(release.images.values().eq(&expected), "{:?}", release.images);
}

#[test]
fn going_back_to_the_old_digest_after_a_failed_rollout_deploys_it() {
    let mut world = World::of_images();
    world.environment(r#"{"name":"dev","runtime":"here","rollback_on_failure":false}"#);
    let first = world.image_pushed("library/nginx", "alpine", 1);
    let first = world.release_by(&first).id;
    world.goes_live(&first);
    let bad = world.image_pushed("library/nginx", "alpine", 2);
    let bad = world.release_by(&bad).id;
    world.releases_input(&bad, ReleaseInput::Applied(Ok(Revision(2)))).unwrap();
    let failed = Failure::new(Stage::Deploy, FailureKind::RolloutFailed, "crash loop");
    world.releases_input(&bad, ReleaseInput::Status(RolloutStatus::Failed(failed))).unwrap();
    assert!(matches!(world.release(&bad).state, ReleaseState::Failed(_)));
    // The runtime has 2; the tag is put back to what worked.
    let good = world.image_pushed("library/nginx", "alpine", 1);
    assert_eq!(world.outcome(&good), EventOutcome::Deployed, "{:?}", world.record(&good).events[0].reason());
}

#[test]
fn explain_with_the_same_settings_says_what_was_decided() {
    let mut world = World::of_images();
    let first = world.image_pushed("library/nginx", "alpine", 1);
    let first = world.release_by(&first).id;
    world.goes_live(&first);
    let again = world.deliver(image_push("library/nginx", "alpine"));
    assert_eq!(world.outcome(&again), EventOutcome::Skipped);
    let record = world.record(&again);
    // What the driver would ask of the registry.
    let told = [Answered { question: digest_now("mysql:8.0"), answer: is_digest(1) }];
    let explained =
        crate::engine::explain(&world.rules, &image_service(), &record, &record.events[0], &told, 1);
    assert_eq!(explained.outcome, record.events[0].decision.clone().unwrap().outcome);
}

#[test]
fn a_delivery_of_many_images_does_not_grow_with_their_square() {
    let mut world = World::of_images();
    world.image_settings(|all| all[0].tags = crate::filter::TagFilter::parse(["t*"]).unwrap());
    let mut size_of = |n: u32| {
        let tags: Vec<String> = (0..n).map(|at| format!("t{at}")).collect();
        for tag in &tags {
            world.tag_at(&format!("nginx:{tag}"), 3);
        }
        let delivery = world.accept(image_push("library/nginx", "t0"), "b", Trigger::Webhook);
        let mut record = world.record(&delivery);
        record.events = tags.iter().map(|tag| EventRecord::new(image_push("library/nginx", tag))).collect();
        let mut wants = Wants::of(world.service.clone());
        wants.delivery = Some(delivery.clone());
        let mut view = now(world.store.view(&wants)).unwrap();
        view.delivery = Some(record);
        let answers = tags
            .iter()
            .map(|tag| Answered { question: digest_now(&format!("nginx:{tag}")), answer: is_digest(3) });
        let answers = answers.chain([Answered { question: digest_now("mysql:8.0"), answer: is_digest(1) }]);
        let input =
            Input::Decide { delivery, answers: answers.collect(), rounds: 1, subject: world.subject.clone() };
        let Next::Save(stepped) = step(&world.rules, &view, input, world.time()).unwrap() else { panic!() };
        serde_json::to_vec(&stepped.changes.delivery).unwrap().len()
    };
    let (ten, hundred) = (size_of(10), size_of(100));
    assert!(hundred < ten * 15, "10 images: {ten} bytes, 100 images: {hundred} bytes");
}

#[test]
fn an_image_that_is_not_to_be_had_stops_only_the_component_that_needs_it() {
    let mut world = World::of_images();
    let mut service = image_service();
    let mut other = service.settings.components[0].clone();
    service.settings.components[0].name = crate::name::ComponentName::parse("one").unwrap();
    other.name = crate::name::ComponentName::parse("two").unwrap();
    if let Some(crate::service::Target::Workload(workload)) = other.runs.as_mut() {
        workload.containers[1].image =
            crate::service::ContainerImage::Ready(crate::name::ImageRef::parse_familiar("gone:1").unwrap());
    }
    service.settings.components.push(other);
    let stored = now(world.store.service(&world.service)).unwrap().unwrap();
    now(world.store.put_service(&service, Some(stored.version), at(0))).unwrap();
    world.told.insert(digest_now("gone:1"), Answer::Image(None));
    let push = world.image_pushed("library/nginx", "alpine", 2);
    assert_eq!(world.outcome(&push), EventOutcome::Deployed, "{:?}", world.record(&push).events[0].reason());
}
