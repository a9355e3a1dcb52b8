//! Saving and viewing: all or nothing, and one consistent picture.

use super::fixtures::{
    at, branch, build, changes, claims, commit, conflict, decided_at, delivery, environment, lane, live,
    looked_at, name, release, service, skipped, slot, view, with_live_check, with_shop, work,
};
use crate::build::{Build, BuildState, CheckState, Step};
use crate::policy::RefKey;
use crate::queue::{LimitName, Slot, Waiting};
use crate::release::ReleaseState;
use crate::service::Settings;
use crate::stage::Stage;
use crate::store::{Changes, Ledger, Page, Store, View, Wants};
use crate::testing::conformance::Subject;

const RUNNING: BuildState = BuildState::Running(Step::Run(Stage::Build));

fn total(n: u32, build: &Build) -> Slot {
    slot(LimitName::Total, n, build)
}

/// Everything that changes can hold is there afterwards, and the ledger says so.
pub async fn what_is_saved_is_seen_by_the_next_view(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_environment(&environment("staging", "here")).await.unwrap();
    let taken = delivery("shop", "1", "a", at(1));
    store.accept(vec![taken.clone()]).await.unwrap();
    let empty = view(store.as_ref(), "shop").await;
    assert_eq!(empty.ledger, Ledger { version: 0, order: 0 }, "nothing was saved yet");
    let queued = build("shop", 1, BuildState::Queued);
    let pending = release("shop", 1, ReleaseState::Pending);
    let record = skipped(taken.record);
    let saved = Changes {
        order: 5,
        builds: vec![queued.clone()],
        releases: vec![pending.clone()],
        refs: vec![(branch("main"), decided_at(&[commit(1)])), (RefKey::Schedule, looked_at(at(7)))],
        lanes: vec![live("shop", 3)],
        delivery: Some(record.clone()),
        take_slots: vec![total(0, &queued)],
        work: vec![work("shop", "w", at(9))],
        ..changes("shop", 0)
    };
    store.save(&saved, None).await.unwrap();
    let wants = Wants {
        refs: [branch("main"), branch("unknown"), RefKey::Schedule].into(),
        delivery: Some(record.id.clone()),
        ..Wants::of(name("shop"))
    };
    let expected = View {
        ledger: Ledger { version: 1, order: 5 },
        service: Some(service("shop")),
        environments: vec![environment("staging", "here")],
        builds: [(queued.id.clone(), queued.clone())].into(),
        releases: [(pending.id.clone(), pending)].into(),
        refs: [(branch("main"), decided_at(&[commit(1)])), (RefKey::Schedule, looked_at(at(7)))].into(),
        lanes: vec![live("shop", 3)],
        delivery: Some(record),
    };
    assert_eq!(store.view(&wants).await.unwrap(), expected);
    let started = Build { attempt: 1, ..build("shop", 1, RUNNING) };
    let next = Changes { order: 5, builds: vec![started.clone()], ..changes("shop", 1) };
    store.save(&next, None).await.unwrap();
    let seen = store.view(&wants).await.unwrap();
    assert_eq!(seen.ledger, Ledger { version: 2, order: 5 }, "each save raises the version by one");
    assert_eq!(seen.builds, [(queued.id, started)].into(), "a record is replaced whole");
}

/// What is live nowhere any more is in no view, and can be live again.
pub async fn a_lane_that_is_gone_is_not_there_and_the_others_are(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    for of in ["shop", "blog"] {
        store.save(&Changes { lanes: vec![live(of, 3)], ..changes(of, 0) }, None).await.unwrap();
    }
    let lane = live("shop", 3).lane;
    let gone = Changes { gone_lanes: vec![lane.clone()], ..changes("shop", 1) };
    store.save(&gone, None).await.unwrap();
    assert_eq!(view(store.as_ref(), "shop").await.lanes, []);
    assert_eq!(store.lane(&name("shop"), &lane).await.unwrap(), None);
    assert_eq!(view(store.as_ref(), "blog").await.lanes, [live("blog", 3)], "a lane is of one service");
    let never_there = Changes { gone_lanes: vec![lane], ..changes("shop", 2) };
    store.save(&never_there, None).await.unwrap();
    store.save(&Changes { lanes: vec![live("shop", 4)], ..changes("shop", 3) }, None).await.unwrap();
    assert_eq!(view(store.as_ref(), "shop").await.lanes, [live("shop", 4)]);
}

/// What was stepped from is gone: nothing of the changes may be there.
pub async fn a_save_from_another_version_than_the_ledgers_changes_nothing(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    store.save(&changes("shop", 0), None).await.unwrap();
    let queued = build("shop", 1, BuildState::Queued);
    for version in [0, 2, 7] {
        let late = Changes {
            order: 9,
            builds: vec![queued.clone()],
            releases: vec![release("shop", 1, ReleaseState::Pending)],
            refs: vec![(branch("main"), decided_at(&[commit(1)]))],
            lanes: vec![live("shop", 1)],
            take_slots: vec![total(0, &queued)],
            work: vec![work("shop", "w", at(0))],
            ..changes("shop", version)
        };
        conflict(store.save(&late, None).await, "the ledger's version is 1");
    }
    let wants = Wants { refs: [branch("main")].into(), ..Wants::of(name("shop")) };
    let seen = store.view(&wants).await.unwrap();
    let ledger = Ledger { version: 1, order: 0 };
    assert_eq!(seen, View { ledger, service: Some(service("shop")), ..View::default() });
    assert_eq!(store.queue().await.unwrap(), (Vec::new(), Vec::new()));
    assert_eq!(claims(store.as_ref(), "a", at(0)).await.claims, []);
    store.save(&changes("blog", 0), None).await.expect("every service has a ledger of its own");
}

/// One place, one build; and a conflict in one part keeps out all parts.
pub async fn a_slot_that_is_taken_is_a_conflict_and_nothing_is_saved(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    let (ours, theirs) = (build("shop", 1, RUNNING), build("blog", 1, RUNNING));
    let shop =
        Changes { builds: vec![ours.clone()], take_slots: vec![total(0, &ours)], ..changes("shop", 0) };
    store.save(&shop, None).await.unwrap();
    let blog = Changes {
        builds: vec![theirs.clone()],
        take_slots: vec![slot(LimitName::Service(name("blog")), 0, &theirs), total(0, &theirs)],
        work: vec![work("blog", "w", at(0))],
        ..changes("blog", 0)
    };
    conflict(store.save(&blog, None).await, "the place is taken");
    assert_eq!(view(store.as_ref(), "blog").await.ledger.version, 0);
    assert_eq!(store.build(&theirs.id).await.unwrap(), None);
    assert_eq!(store.queue().await.unwrap().1, [total(0, &ours)]);
    assert_eq!(claims(store.as_ref(), "a", at(0)).await.claims, []);
    let twice = Changes { take_slots: vec![total(1, &theirs), total(1, &ours)], ..changes("blog", 0) };
    conflict(store.save(&twice, None).await, "one place is asked for twice");
    let own = Changes { take_slots: vec![total(0, &ours)], ..changes("shop", 1) };
    conflict(store.save(&own, None).await, "a place is taken once, also by the build that has it");
    let elsewhere = [
        total(1, &theirs),
        slot(LimitName::Service(name("blog")), 0, &theirs),
        slot(LimitName::Service(name("shop")), 0, &theirs),
        slot(LimitName::Executor("total".to_owned()), 0, &theirs),
        slot(LimitName::Executor("blog".to_owned()), 0, &theirs),
    ];
    let blog = Changes { take_slots: elsewhere.to_vec(), ..changes("blog", 0) };
    store.save(&blog, None).await.expect("the same number of another limit is another place");
    let mut slots = store.queue().await.unwrap().1;
    slots.sort();
    let mut expected: Vec<Slot> = elsewhere.into_iter().chain([total(0, &ours)]).collect();
    expected.sort();
    assert_eq!(slots, expected);
}

/// A build that ends makes room for one that starts, in one save.
pub async fn slots_are_freed_before_they_are_taken(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let (first, second) = (build("shop", 1, RUNNING), build("shop", 2, RUNNING));
    let executor = LimitName::Executor("assembler".to_owned());
    let take = vec![total(0, &first), slot(executor, 3, &first)];
    store.save(&Changes { take_slots: take, ..changes("shop", 0) }, None).await.unwrap();
    let over = Changes {
        free_slots: vec![first.id.clone(), build("shop", 9, RUNNING).id],
        take_slots: vec![total(0, &second)],
        ..changes("shop", 1)
    };
    store.save(&over, None).await.expect("freeing what holds nothing is no error");
    assert_eq!(store.queue().await.unwrap().1, [total(0, &second)], "a build gives all its slots back");
}

/// Over or not: what is wanted is there, what is over and not wanted is not.
pub async fn a_view_shows_what_goes_on_and_what_is_wanted(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let states =
        [BuildState::Queued, BuildState::Starting, RUNNING, BuildState::Succeeded, BuildState::Succeeded];
    let builds: Vec<Build> = (1..).zip(states).map(|(n, state)| build("shop", n, state)).collect();
    let states = [ReleaseState::AwaitingApproval, ReleaseState::Live, ReleaseState::Expired];
    let releases: Vec<_> = (1..).zip(states).map(|(n, state)| release("shop", n, state)).collect();
    let saved = Changes { builds: builds.clone(), releases: releases.clone(), ..changes("shop", 0) };
    store.save(&saved, None).await.unwrap();
    let seen = view(store.as_ref(), "shop").await;
    assert!(
        seen.builds.values().eq(by_id(&builds[..3])),
        "builds that are not over: {:?}",
        seen.builds.keys()
    );
    assert_eq!(seen.releases.into_values().collect::<Vec<_>>(), releases[..1]);
    let wants = Wants { builds: [builds[3].id.clone()].into(), ..Wants::of(name("shop")) };
    let seen = store.view(&wants).await.unwrap();
    assert!(seen.builds.values().eq(by_id(&builds[..4])), "a build by its id: {:?}", seen.builds.keys());
    let wants = Wants { commits: [builds[4].commit().clone()].into(), ..Wants::of(name("shop")) };
    let seen = store.view(&wants).await.unwrap();
    let expected = [&builds[..3], &builds[4..]].concat();
    assert!(seen.builds.values().eq(by_id(&expected)), "builds of a commit: {:?}", seen.builds.keys());
    let wants = Wants { releases: [releases[2].id.clone()].into(), ..Wants::of(name("shop")) };
    let seen = store.view(&wants).await.unwrap();
    let mut ids: Vec<_> = seen.releases.into_keys().collect();
    ids.sort();
    let mut expected = vec![releases[0].id.clone(), releases[2].id.clone()];
    expected.sort();
    assert_eq!(ids, expected, "a release by its id");
}

fn by_id(builds: &[Build]) -> impl Iterator<Item = &Build> {
    let mut sorted: Vec<&Build> = builds.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    sorted.into_iter()
}

/// A build that is over is at rest only once its checks of what is live are: until then whatever replaces what they look at must see it.
pub async fn a_view_shows_a_build_whose_checks_of_what_is_live_go_on(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let states = [CheckState::Waiting, CheckState::Running, CheckState::Passed, CheckState::Skipped];
    let builds: Vec<Build> = (1..).zip(states).map(|(n, state)| with_live_check("shop", n, state)).collect();
    store.save(&Changes { builds: builds.clone(), ..changes("shop", 0) }, None).await.unwrap();
    let seen = view(store.as_ref(), "shop").await;
    assert!(seen.builds.values().eq(&builds[1..2]), "builds whose checks go on: {:?}", seen.builds.keys());
    let ended = with_live_check("shop", 2, CheckState::Passed);
    store.save(&Changes { builds: vec![ended.clone()], ..changes("shop", 1) }, None).await.unwrap();
    assert!(view(store.as_ref(), "shop").await.builds.is_empty(), "the check has ended");
    assert_eq!(store.build(&ended.id).await.unwrap(), Some(ended));
}

/// Ids and commits of another service are not found, nor are its refs and its deliveries.
pub async fn a_view_shows_nothing_of_another_service(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    let taken = delivery("shop", "1", "a", at(1));
    store.accept(vec![taken.clone()]).await.unwrap();
    let (build, release) = (build("shop", 1, BuildState::Queued), release("shop", 1, ReleaseState::Pending));
    let saved = Changes {
        builds: vec![build.clone()],
        releases: vec![release.clone()],
        refs: vec![(branch("main"), decided_at(&[commit(1)]))],
        lanes: vec![live("shop", 1)],
        ..changes("shop", 0)
    };
    store.save(&saved, None).await.unwrap();
    let wants = Wants {
        service: name("blog"),
        builds: [build.id].into(),
        commits: [commit(1)].into(),
        releases: [release.id].into(),
        refs: [branch("main")].into(),
        delivery: Some(taken.record.id),
    };
    let seen = store.view(&wants).await.unwrap();
    assert_eq!(seen, View { service: Some(service("blog")), ..View::default() });
    let unknown = view(store.as_ref(), "nobody").await;
    assert_eq!(unknown, View::default(), "a service that is not registered has an empty view");
}

/// What the queue decides by: of all services, with the limits as they are set now.
pub async fn the_queue_shows_every_build_that_waits_and_every_slot(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let mut blog = service("blog");
    blog.settings = Settings { builds_at_once: 5, ..Settings::default() };
    store.put_service(&blog, None, at(0)).await.unwrap();
    let waits = [build("shop", 1, BuildState::Queued), build("shop", 2, BuildState::Queued)];
    let runs = build("shop", 3, RUNNING);
    let shop = Changes {
        builds: vec![waits[0].clone(), waits[1].clone(), runs.clone()],
        take_slots: vec![total(0, &runs)],
        ..changes("shop", 0)
    };
    store.save(&shop, None).await.unwrap();
    let other = build("blog", 4, BuildState::Queued);
    store.save(&Changes { builds: vec![other.clone()], ..changes("blog", 0) }, None).await.unwrap();
    let waiting = |build: &Build, service_limit| Waiting {
        build: build.id.clone(),
        service: build.service().clone(),
        service_limit,
        refused_by: build.refused_by.clone(),
        since: build.created_at,
        order: build.order,
        not_before: build.not_before,
    };
    let (mut seen, slots) = store.queue().await.unwrap();
    seen.sort_by_key(|waiting| waiting.order);
    assert_eq!(seen, [waiting(&waits[0], 2), waiting(&waits[1], 2), waiting(&other, 5)]);
    assert_eq!(slots, [total(0, &runs)]);
    let started = build("shop", 1, BuildState::Starting);
    store.save(&Changes { builds: vec![started], ..changes("shop", 1) }, None).await.unwrap();
    assert_eq!(store.queue().await.unwrap().0.len(), 2, "a build that started waits no more");
    assert_eq!(store.builds(None, Page::first(10)).await.unwrap().total, 4);
}

/// One lane has one live release.
pub async fn a_lane_is_replaced_whole(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    assert_eq!(store.lane(&name("shop"), &lane()).await.unwrap(), None);
    for n in [1, 2] {
        let saved = Changes { lanes: vec![live("shop", n)], ..changes("shop", n - 1) };
        store.save(&saved, None).await.unwrap();
        assert_eq!(store.lane(&name("shop"), &lane()).await.unwrap(), Some(live("shop", n)));
    }
    assert_eq!(view(store.as_ref(), "shop").await.lanes, [live("shop", 2)]);
    assert_eq!(store.lane(&name("blog"), &lane()).await.unwrap(), None, "a lane belongs to a service");
}
