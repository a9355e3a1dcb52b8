//! Several at once. A runtime of one thread proves less here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use super::DeployBench;
use super::fixtures::{fresh_release, live_of};
use crate::release::Revision;
use crate::testing::conformance::Subject;

/// Drivers that all believe that it is theirs.
pub async fn one_release_applied_by_many_at_once_is_one_revision(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    bench.applied(&target).await;
    let request = bench.request(&target);
    let calls = (0..8).map(|_| {
        let (bench, target, request) = (Arc::clone(&bench), target.clone(), request.clone());
        tokio::spawn(async move { bench.deployer.apply(&target, &request).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    for call in join_all(calls).await {
        assert_eq!(call.expect("every call finds the one revision"), Revision(2));
    }
    bench.assert_live(&target, &request, Revision(2)).await;
    assert_eq!(bench.numbers(&target).await, [2, 1]);
}

/// Never a mixture, and none is lost: each has a number of its own, and the highest is live.
pub async fn releases_applied_at_once_end_with_one_of_them_whole(subject: &dyn Subject<DeployBench>) {
    const RELEASES: u64 = 8;
    let bench = subject.open().await;
    let target = bench.target();
    let calls = (0..RELEASES).map(|_| {
        let (bench, target) = (Arc::clone(&bench), target.clone());
        tokio::spawn(async move { bench.applied(&target).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut made = Vec::new();
    for call in join_all(calls).await {
        made.push(call.expect("every release is applied"));
    }
    made.sort_by_key(|(_, revision)| *revision);
    let numbers: Vec<u64> = made.iter().map(|(_, revision)| revision.0).collect();
    assert_eq!(numbers, (1..=RELEASES).collect::<Vec<_>>());
    let (request, revision) = made.last().expect("some were made");
    bench.assert_live(&target, request, *revision).await;
    let history = bench.deployer.history(&target).await.unwrap();
    for (info, (request, revision)) in history.iter().zip(made.iter().rev()) {
        assert_eq!(info.revision, *revision);
        assert_eq!((&info.release, &info.images), (&request.release, &request.images));
    }
}

/// Each is a revision of its own.
pub async fn releases_and_rollbacks_at_once_are_all_there(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    let (first, one) = bench.applied(&target).await;
    let calls = (0..6).map(|n| {
        let (bench, target) = (Arc::clone(&bench), target.clone());
        tokio::spawn(async move {
            if n % 2 == 0 {
                let revision = bench.deployer.rollback(&target, one, &fresh_release()).await.unwrap();
                (revision, None)
            } else {
                let (request, revision) = bench.applied(&target).await;
                (revision, Some(request.images))
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut numbers = BTreeSet::from([one]);
    let history = {
        let mut made = Vec::new();
        for call in join_all(calls).await {
            let (revision, images) = call.expect("every call succeeds");
            assert!(numbers.insert(revision), "{revision} is two revisions");
            made.push((revision, images.unwrap_or_else(|| first.images.clone())));
        }
        made.sort_by_key(|(revision, _)| std::cmp::Reverse(*revision));
        made
    };
    let found = bench.deployer.history(&target).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|info| (info.revision, info.images)).collect();
    assert_eq!(found[..found.len() - 1], history);
    let live = bench.observed(&target).await.expect("something is live");
    assert_eq!((live.revision, &live.images), (history[0].0, &history[0].1));
}

/// One or the other, never nothing and never parts of both.
pub async fn readers_see_a_release_whole_while_others_replace_it(subject: &dyn Subject<DeployBench>) {
    const READERS: usize = 3;
    const RELEASES: u64 = 10;
    let bench = subject.open().await;
    let target = bench.target();
    let mut requests = vec![bench.applied(&target).await.0];
    requests.extend((1..RELEASES).map(|_| bench.request(&target)));
    let over = Arc::new(AtomicBool::new(false));
    let readers = (0..READERS).map(|_| {
        let (bench, target, over) = (Arc::clone(&bench), target.clone(), Arc::clone(&over));
        let known: Vec<_> = (1..).zip(&requests).map(|(n, request)| live_of(request, Revision(n))).collect();
        tokio::spawn(async move {
            let mut seen = Revision(1);
            while !over.load(Ordering::Acquire) {
                let live = bench.observed(&target).await.expect("something is always live");
                assert!(live.revision >= seen, "{} after {seen}", live.revision);
                seen = live.revision;
                assert!(known.contains(&live), "{live:?} was never applied");
                let history = bench.deployer.history(&target).await.unwrap();
                assert!(history.first().is_some_and(|newest| newest.revision >= seen));
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for request in &requests[1..] {
        bench.deployer.apply(&target, request).await.unwrap();
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::Release);
    for reader in join_all(readers).await {
        reader.expect("every reader always saw a whole release");
    }
}
