//! After a kill, a cut or an error: old or new, whole, and the same call completes it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::DeployBench;
use super::fixtures::{fresh_release, live_of};
use crate::release::Live;
use crate::testing::conformance::Subject;

/// What lives in memory only has nothing to prove here.
pub async fn what_was_applied_is_there_after_a_kill(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let (target, removed) = (bench.target(), bench.target());
    bench.applied(&removed).await;
    bench.deployer.remove(&removed).await.unwrap();
    let (first, one) = bench.applied(&target).await;
    let (request, revision) = bench.applied(&target).await;
    let history = bench.deployer.history(&target).await.unwrap();
    drop(bench);
    let Some(bench) = subject.reopen().await else { return };
    bench.assert_live(&target, &request, revision).await;
    assert_eq!(bench.deployer.history(&target).await.unwrap(), history);
    assert_eq!(bench.deployer.apply(&target, &first).await.unwrap(), one, "it is still known");
    bench.assert_live(&target, &request, revision).await;
    assert_eq!(bench.observed(&removed).await, None);
    let back = bench.deployer.rollback(&target, one, &fresh_release()).await.unwrap();
    assert_eq!(back.0, 3, "numbers go on");
}

/// Wherever it is cut: before it began, in between, or when it was done and nobody heard of it.
pub async fn an_apply_that_was_cut_off_is_completed_by_the_same_call(subject: &dyn Subject<DeployBench>) {
    for after in 0..12 {
        let bench = subject.open().await;
        let target = bench.target();
        let (old, one) = bench.applied(&target).await;
        let new = bench.request(&target);
        cut(bench.deployer.apply(&target, &new), after).await;
        let bench = match after % 2 {
            0 => bench,
            _ => {
                drop(bench);
                let Some(bench) = subject.reopen().await else { continue };
                bench
            }
        };
        assert_whole(bench.observed(&target).await, [live_of(&old, one), live_of(&new, next(one))], after);
        let two = bench.deployer.apply(&target, &new).await.expect("the same call completes it");
        assert_eq!(two, next(one), "cut after {after}");
        bench.assert_live(&target, &new, two).await;
        // A rollback in the same way.
        let release = fresh_release();
        cut(bench.deployer.rollback(&target, one, &release), after).await;
        let back = Live { revision: next(two), release: release.clone(), images: old.images.clone() };
        assert_whole(bench.observed(&target).await, [live_of(&new, two), back.clone()], after);
        bench.deployer.rollback(&target, one, &release).await.expect("the same call completes it");
        assert_eq!(bench.observed(&target).await, Some(back), "cut after {after}");
        assert_eq!(bench.numbers(&target).await, [3, 2, 1], "cut after {after}");
    }
}

/// A full disk, a cluster that is away. Proved where the bench has a fault.
pub async fn after_an_error_what_ran_before_runs_on_and_the_same_call_completes_it(
    subject: &dyn Subject<DeployBench>,
) {
    let bench = subject.open().await;
    let Some(fault) = &bench.fault else { return };
    let target = bench.target();
    let (old, one) = bench.applied(&target).await;
    let new = bench.request(&target);
    fault(true);
    for _ in 0..2 {
        let error = bench.deployer.apply(&target, &new).await.expect_err("its runtime has a fault");
        assert!(!error.message().trim().is_empty(), "{error:?}");
    }
    fault(false);
    assert_whole(bench.observed(&target).await, [live_of(&old, one), live_of(&new, next(one))], 0);
    let two = bench.deployer.apply(&target, &new).await.expect("the same call completes it");
    assert_eq!(two, next(one), "a try that failed took no number");
    bench.assert_live(&target, &new, two).await;
    let release = fresh_release();
    fault(true);
    bench.deployer.rollback(&target, one, &release).await.expect_err("its runtime has a fault");
    fault(false);
    let back = Live { revision: next(two), release: release.clone(), images: old.images.clone() };
    assert_whole(bench.observed(&target).await, [live_of(&new, two), back.clone()], 0);
    bench.deployer.rollback(&target, one, &release).await.expect("the same call completes it");
    assert_eq!(bench.observed(&target).await, Some(back));
    assert_eq!(bench.numbers(&target).await, [3, 2, 1]);
}

const fn next(revision: crate::release::Revision) -> crate::release::Revision {
    crate::release::Revision(revision.0 + 1)
}

fn assert_whole(found: Option<Live>, either: [Live; 2], after: usize) {
    let whole = found.as_ref().is_some_and(|found| either.contains(found));
    assert!(whole, "cut after {after}: neither the old nor the new release is live whole, but {found:?}");
}

/// Lets go of a call when it has gone on this many times, or is done.
async fn cut(call: impl Future, after: usize) {
    let mut call = pin!(call);
    for _ in 0..after {
        let done = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
        if done {
            return;
        }
        tokio::task::yield_now().await;
    }
}
