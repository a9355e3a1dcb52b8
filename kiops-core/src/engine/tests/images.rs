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
