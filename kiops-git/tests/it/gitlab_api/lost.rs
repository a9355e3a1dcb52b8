//! Pushes that GitLab tells nobody of: too many branches at once, a hook that it has switched off, a delivery that got lost. Heads are
//! listed through GitLab's interface, and each is decided once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kiops_core::build::Trigger;
use kiops_core::name::{GitRef, GitTag};
use kiops_core::provider::{HookActivity, HookChange};
use kiops_core::store::{EventOutcome, Page, Store as _};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use serde_json::json;

use super::world::{World, fate, once, sorted};
use crate::deliveries::ZERO;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_of_so_many_branches_that_gitlab_tells_of_none_is_found_and_each_is_decided_once() {
    let world = World::hooked().await;
    let first = world.commit(None, "a", "first").await;
    world.push(&[("refs/heads/main", &first)]).await;
    world.settle().await;
    let names = ["a", "b", "c", "d"].map(|name| format!("refs/heads/topic/{name}"));
    let mut heads = Vec::new();
    for name in &names {
        heads.push(world.commit(Some(&first), "a", name).await);
    }
    let other = world.commit(Some(&first), "a", "of no interest").await;
    let mut refs: Vec<_> = names.iter().map(String::as_str).zip(&heads).collect();
    refs.push(("refs/heads/elsewhere", &other));
    world.push(&refs).await;
    assert_eq!(world.records().await.len(), 1, "GitLab sends none");
    assert_eq!(world.reconcile().await, 4);
    let fates = world.fates().await;
    assert_eq!(fates[0], fate("refs/heads/main", &first, Trigger::Webhook));
    let expected: Vec<_> =
        refs[..4].iter().map(|(name, head)| fate(name, head, Trigger::Reconcile)).collect();
    assert_eq!(
        sorted(fates[1..].to_vec()),
        expected,
        "the one that no filter lets through is not even recorded"
    );
    assert_eq!(world.reconcile().await, 0);
    assert_eq!(world.built().await, once(heads.iter().chain([&first])));

    // Again, with branches that are known.
    let mut next = Vec::new();
    for (name, head) in names.iter().zip(&heads) {
        next.push(world.commit(Some(head), "a", &format!("more of {name}")).await);
    }
    let refs: Vec<_> = names.iter().map(String::as_str).zip(&next).collect();
    world.push(&refs).await;
    assert_eq!((world.reconcile().await, world.reconcile().await), (4, 0));
    assert_eq!(world.built().await, once(heads.iter().chain(&next).chain([&first])));
    // Three are told of, and nothing is left to find.
    let mut last = Vec::new();
    for (name, head) in names.iter().zip(&next).take(3) {
        last.push(world.commit(Some(head), "a", &format!("the end of {name}")).await);
    }
    world.push(&names.iter().map(String::as_str).zip(&last).collect::<Vec<_>>()).await;
    world.settle().await;
    assert_eq!(world.reconcile().await, 0);
    let fates = world.fates().await;
    assert_eq!(fates.len(), 12);
    assert!(fates[9..].iter().all(|(.., trigger, _)| *trigger == Trigger::Webhook), "{fates:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_tags_at_once_that_gitlab_tells_of_none_are_each_built_once() {
    let world = World::hooked_with(json!({"tag": {"enabled": true}}), json!([{}])).await;
    let first = world.commit(None, "a", "first").await;
    world.push(&[("refs/heads/main", &first)]).await;
    world.settle().await;
    assert_eq!(world.reconcile().await, 0);
    let mut heads = Vec::new();
    for number in 0..4 {
        heads.push(world.commit(Some(&first), "a", &format!("release {number}")).await);
    }
    let names = ["v1", "v2", "v3", "v4"].map(|name| format!("refs/tags/{name}"));
    let refs: Vec<_> = names.iter().map(String::as_str).zip(&heads).collect();
    world.push(&refs).await;
    world.host.host.annotate(&world.repository, &GitTag::parse("v4").unwrap(), &heads[3]).await;
    assert_eq!(world.records().await.len(), 1);
    assert_eq!((world.reconcile().await, world.reconcile().await), (4, 0));
    let expected: Vec<_> = refs.iter().map(|(name, head)| fate(name, head, Trigger::Reconcile)).collect();
    assert_eq!(sorted(world.fates().await[1..].to_vec()), expected);
    assert_eq!(world.built().await, once(heads.iter().chain([&first])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_while_gitlab_has_the_hook_switched_off_is_decided_once_and_deliveries_go_on_after_that()
 {
    let world = World::hooked().await;
    let main = world.commit(None, "a", "first").await;
    world.push(&[("refs/heads/main", &main)]).await;
    world.settle().await;

    // We are away until GitLab has had enough.
    world.up.store(false, Ordering::SeqCst);
    let mut heads = vec![main.clone()];
    let names = ["1", "2", "3", "4", "5"].map(|name| format!("refs/heads/topic/{name}"));
    for (at, name) in names.iter().enumerate() {
        // The last one is pushed after we are back.
        world.up.store(at == 4, Ordering::SeqCst);
        let head = world.commit(Some(&main), "a", name).await;
        world.push(&[(name, &head)]).await;
        heads.push(head);
        let disabled = matches!(world.activity().await, HookActivity::Disabled { until: Some(_) });
        assert_eq!(disabled, at >= 3, "after {} failures", at + 1);
    }
    assert_eq!(world.records().await.len(), 1);
    assert_eq!((world.reconcile().await, world.reconcile().await), (5, 0));
    let expected: Vec<_> =
        names.iter().zip(&heads[1..]).map(|(name, head)| fate(name, head, Trigger::Reconcile)).collect();
    assert_eq!(sorted(world.fates().await[1..].to_vec()), expected);

    // Switching it on makes GitLab send a push that looks real, of the newest commit of the default branch.
    assert_eq!(world.ensure().await, HookChange::Reenabled);
    assert_eq!(world.activity().await, HookActivity::Active);
    world.deliver(&GitRef::parse("refs/heads/main").unwrap(), main.as_str(), &main).await;
    world.settle().await;
    assert_eq!(world.built().await, once(&heads), "it was built before");
    assert_eq!(world.fates().await[6], fate("refs/heads/main", &main, Trigger::Webhook));

    // From now on each push is told of, and listing finds nothing more.
    for (at, name) in names.iter().enumerate() {
        let head = world.commit(Some(&heads[at + 1]), "a", &format!("{name} goes on")).await;
        world.push(&[(name, &head)]).await;
        // Before it is decided, and after it.
        assert_eq!(world.reconcile().await, 0);
        assert_eq!(world.reconcile().await, 0);
        heads.push(head.clone());
        assert_eq!(world.fates().await.last(), Some(&fate(name, &head, Trigger::Webhook)));
    }
    assert_eq!(world.fates().await.len(), 12);
    assert_eq!(world.built().await, once(&heads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_branches_whose_second_delivery_is_lost_the_second_alone_is_found() {
    let world = World::hooked().await;
    let first = world.commit(None, "a", "first").await;
    let mut heads = Vec::new();
    for (at, name) in ["main", "topic/x", "topic/y"].into_iter().enumerate() {
        let head = world.commit(Some(&first), "a", name).await;
        world.up.store(at != 1, Ordering::SeqCst);
        world.push(&[(&format!("refs/heads/{name}"), &head)]).await;
        heads.push(head);
    }
    world.settle().await;
    assert_eq!((world.reconcile().await, world.reconcile().await), (1, 0));
    let expected = [
        fate("refs/heads/main", &heads[0], Trigger::Webhook),
        fate("refs/heads/topic/y", &heads[2], Trigger::Webhook),
        fate("refs/heads/topic/x", &heads[1], Trigger::Reconcile),
    ];
    assert_eq!(world.fates().await, expected);
    assert_eq!(world.built().await, once(&heads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_lost_one_of_three_pushes_to_a_branch_changed_is_built_with_the_third() {
    let components =
        json!([{"name": "web", "watch_path": ["web/**"]}, {"name": "api", "watch_path": ["api/**"]}]);
    let world = World::hooked_with(json!({}), components).await;
    let main = "refs/heads/main";
    let first = world.commit(None, "web/a", "first").await;
    world.push(&[(main, &first)]).await;
    world.settle().await;
    // `api/a` comes with the second, which nobody tells of; the third has nothing of either.
    let second = world.commit(Some(&first), "api/a", "second").await;
    world.up.store(false, Ordering::SeqCst);
    world.push(&[(main, &second)]).await;
    world.up.store(true, Ordering::SeqCst);
    let third = world.commit(Some(&second), "api/a", "second").await;
    world.push(&[(main, &third)]).await;
    world.settle().await;
    assert_eq!(world.reconcile().await, 0, "what the branch points at was told of");
    let expected = [fate(main, &first, Trigger::Webhook), fate(main, &third, Trigger::Webhook)];
    assert_eq!(world.fates().await, expected);
    let builds = world.store.builds(None, Page::first(100)).await.unwrap().items;
    let of_third: Vec<_> = builds.iter().filter(|build| *build.commit() == third).collect();
    assert!(of_third.iter().any(|build| build.component().as_str() == "api"), "{of_third:?}");

    // Found in time, the lost one is a push like any other, and the next one follows on it.
    let fourth = world.commit(Some(&third), "api/b", "fourth").await;
    world.up.store(false, Ordering::SeqCst);
    world.push(&[(main, &fourth)]).await;
    world.up.store(true, Ordering::SeqCst);
    assert_eq!(world.reconcile().await, 1);
    let fifth = world.commit(Some(&fourth), "api/b", "fifth").await;
    world.push(&[(main, &fifth)]).await;
    world.settle().await;
    assert_eq!(world.reconcile().await, 0);
    let fates = world.fates().await;
    let expected = [fate(main, &fourth, Trigger::Reconcile), fate(main, &fifth, Trigger::Webhook)];
    assert_eq!(fates[2..], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_comes_after_its_head_was_found_builds_nothing_again() {
    let world = World::hooked().await;
    let main = GitRef::parse("refs/heads/main").unwrap();
    let first = world.commit(None, "a", "first").await;
    let second = world.commit(Some(&first), "a", "second").await;
    for head in [&first, &second] {
        world.host.host.point(&world.repository, &main, Some(head)).await;
        assert_eq!(world.reconcile().await, 1);
    }
    // GitLab was slow: it tells of the newer one, once more of the same, and then of the older one.
    for (before, head) in [(first.as_str(), &second), (first.as_str(), &second), (ZERO, &first)] {
        world.deliver(&main, before, head).await;
        assert_eq!(world.reconcile().await, 0);
    }
    let late = (main.to_string(), first.clone(), Trigger::Webhook, Some(EventOutcome::Skipped));
    let expected = [
        fate("refs/heads/main", &first, Trigger::Reconcile),
        fate("refs/heads/main", &second, Trigger::Reconcile),
        fate("refs/heads/main", &second, Trigger::Webhook),
        late,
    ];
    assert_eq!(world.fates().await, expected);
    assert_eq!(world.built().await, once([&first, &second]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_list_at_the_same_time_find_each_head_once() {
    let world = World::hooked().await;
    world.up.store(false, Ordering::SeqCst);
    let first = world.commit(None, "a", "first").await;
    let names = ["main", "topic/1", "topic/2", "topic/3"].map(|name| format!("refs/heads/{name}"));
    let mut heads = Vec::new();
    for name in &names {
        let head = world.commit(Some(&first), "a", name).await;
        world.push(&[(name, &head)]).await;
        heads.push(head);
    }
    let drivers = ["one", "two"].map(|name| world.driver(name, None));
    let (one, two) = tokio::join!(drivers[0].reconcile_heads(), drivers[1].reconcile_heads());
    assert_eq!(one.unwrap() + two.unwrap(), 4);
    world.settle().await;
    assert_eq!(world.fates().await.len(), 4);
    assert_eq!(world.built().await, once(&heads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_listing_under_way_all_the_time_every_push_is_built_once_whether_it_is_told_of_or_not() {
    let world = World::hooked().await;
    let driver = world.driver("one", Some(Duration::from_millis(1)));
    let mut heads = Vec::new();
    let pushes = async {
        let mut tip = world.commit(None, "a", "first").await;
        for number in 0..12 {
            // Every third is lost; only the last of a branch can be found.
            world.up.store(number % 3 != 1, Ordering::SeqCst);
            let head = world.commit(Some(&tip), "a", &format!("push {number}")).await;
            let name = format!("refs/heads/topic/{number}");
            world.push(&[(&name, &head)]).await;
            driver.wake();
            heads.push(head.clone());
            tip = head;
        }
        for head in &heads {
            world.decided(head).await;
        }
    };
    world.work(&driver, pushes).await;
    assert_eq!(world.built().await, once(&heads));
    for (.., outcome) in world.fates().await {
        assert_eq!(outcome, Some(EventOutcome::Built));
    }
    assert_eq!(world.reconcile().await, 0);
}
