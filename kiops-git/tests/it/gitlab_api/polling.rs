//! A service that no webhook reaches: it is built from listing heads alone.

use std::time::Duration;

use kiops_core::build::Trigger;
use kiops_core::engine::Driver;
use kiops_core::name::GitRef;
use kiops_core::service::readiness::{ReadinessFacts, ReadinessItem, readiness};
use kiops_core::store::{EventOutcome, Page, Store as _};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use serde_json::json;

use super::world::{World, app, fate, once};
use crate::hosts::Fault;

/// Short, so that no test waits for it.
const EVERY: Duration = Duration::from_millis(5);

async fn polled() -> (World, Driver) {
    let auto_ci = json!({
        "deliveries": "polling", "push": {"branches": ["main", "topic/*"]}, "tag": {"enabled": true},
    });
    let world = World::new(auto_ci, json!([{}])).await;
    let driver = world.driver("one", Some(EVERY));
    (world, driver)
}

/// What readiness says of polling, and whether the service is ready.
async fn readies(world: &World, driver: &Driver) -> (bool, ReadinessItem) {
    let service = world.store.service(&app()).await.unwrap().unwrap().value;
    let facts =
        ReadinessFacts::local().with_webhook(false).with_heads(driver.heads_every(), driver.listed(&app()));
    let report = readiness(&service, &facts);
    let polling = report.items.into_iter().find(|item| item.name == "polling").unwrap();
    (report.ready, polling)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_a_webhook_anywhere_is_built_from_listing_alone() {
    let (world, driver) = polled().await;
    assert!(world.store.hook(&app()).await.unwrap().is_none());
    assert!(readies(&world, &driver).await.0, "before the first list, too");
    let first = world.commit(None, "a", "first").await;
    let skipped = world.commit(Some(&first), "a", "not now [skip ci]").await;
    let second = world.commit(Some(&skipped), "a", "second").await;
    let offered = world.commit(Some(&first), "a", "somebody's merge request").await;
    let topic = world.commit(Some(&first), "a", "a topic").await;
    // What was tagged before is history; what is on the branch is built.
    world.push(&[("refs/heads/main", &first), ("refs/tags/v0", &first)]).await;
    world
        .work(&driver, async {
            assert_eq!(world.decided(&first).await, fate("refs/heads/main", &first, Trigger::Reconcile));
            world.push(&[("refs/heads/main", &skipped)]).await;
            assert_eq!(world.decided(&skipped).await.3, Some(EventOutcome::Skipped));
            // A merge request has a ref, and it is no head.
            let request = GitRef::parse("refs/merge-requests/4/head").unwrap();
            world.host.host.point(&world.repository, &request, Some(&offered)).await;
            world.push(&[("refs/heads/elsewhere", &offered), ("refs/heads/topic/x", &topic)]).await;
            assert_eq!(world.decided(&topic).await, fate("refs/heads/topic/x", &topic, Trigger::Reconcile));
            world.push(&[("refs/heads/main", &second)]).await;
            assert_eq!(world.decided(&second).await, fate("refs/heads/main", &second, Trigger::Reconcile));
            world.push(&[("refs/tags/v1", &second)]).await;
            while world.fates().await.last() != Some(&fate("refs/tags/v1", &second, Trigger::Reconcile)) {
                tokio::time::sleep(EVERY).await;
            }
        })
        .await;
    let built = world.built().await;
    assert!([&first, &second, &topic].into_iter().all(|commit| built.contains_key(commit)), "{built:?}");
    assert_eq!(built.len(), 3, "neither what asked to be skipped nor the merge request");
    assert_eq!(world.fates().await.len(), 5);
    let builds = world.store.builds(None, Page::first(100)).await.unwrap().items;
    assert!(builds.iter().all(|build| build.trigger == Trigger::Reconcile), "{builds:?}");
    let (ready, polling) = readies(&world, &driver).await;
    assert!(ready && polling.met && polling.required, "{polling:?}");
    assert!(polling.message.contains("merge requests and pipelines are not"), "{polling:?}");
    // GitLab is told of each, and was never asked for a hook.
    let state = world.face.state();
    let told = state.statuses.iter().filter(|status| status["state"] == "success");
    let told: Vec<_> = told.map(|status| status["sha"].as_str().unwrap()).collect();
    assert!([&first, &second, &topic].into_iter().all(|commit| told.contains(&commit.as_str())), "{told:?}");
    assert!(state.hooks.is_empty());
    assert!(world.host.asked().iter().all(|asked| !asked.path.iter().any(|part| part == "hooks")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_lists_no_heads_shows_in_readiness_until_it_does() {
    let (world, driver) = polled().await;
    let first = world.commit(None, "a", "first").await;
    world.push(&[("refs/heads/main", &first)]).await;
    let refused = || Fault::Status(401, Vec::new(), r#"{"message":"401 Unauthorized"}"#.into());
    world.host.fault(refused());
    assert_eq!(driver.listed(&app()), None);
    assert_eq!(driver.reconcile_heads().await.unwrap(), 0, "one repository stands in no other's way");
    assert_eq!(driver.listed(&app()), Some(false));
    let (ready, polling) = readies(&world, &driver).await;
    assert!(!ready && !polling.met && polling.message.contains("could not be listed"), "{polling:?}");
    assert!(world.fates().await.is_empty());

    world.work(&driver, async { drop(world.decided(&first).await) }).await;
    assert_eq!(driver.listed(&app()), Some(true));
    assert!(readies(&world, &driver).await.0);
    assert_eq!(world.built().await, once([&first]));
}
