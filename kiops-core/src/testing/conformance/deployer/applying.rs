//! Applying: once for each release, whole, in the order in which they are asked for.

use super::DeployBench;
use super::fixtures::{fresh_release, live_of};
use crate::error::{ErrorKind, Retry};
use crate::release::{DeployRequest, Revision};
use crate::testing::conformance::Subject;

/// Always the same one: environments name it.
pub async fn the_deployer_has_a_name(subject: &dyn Subject<DeployBench>) {
    let (one, two) = (subject.open().await, subject.open().await);
    assert!(!one.deployer.name().trim().is_empty());
    assert_eq!(one.deployer.name(), two.deployer.name());
}

/// Not an error, but nothing.
pub async fn nothing_is_live_before_the_first_release(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    assert_eq!(bench.observed(&target).await, None);
    assert_eq!(bench.deployer.history(&target).await.unwrap(), []);
    let rollback = bench.deployer.rollback(&target, Revision(1), &fresh_release()).await;
    assert_eq!(rollback.expect_err("there is nothing to go back to").kind(), ErrorKind::NotFound);
    assert_eq!(bench.observed(&target).await, None);
}

/// 1, 2, 3 and so on, for each target.
pub async fn revisions_are_numbered_from_one_without_gaps(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let (one, two) = (bench.target(), bench.target());
    for n in 1..=4 {
        assert_eq!(bench.applied(&one).await.1, Revision(n));
        if n % 2 == 0 {
            assert_eq!(bench.applied(&two).await.1, Revision(n / 2));
        }
    }
    assert_eq!(bench.numbers(&one).await, [4, 3, 2, 1]);
    assert_eq!(bench.numbers(&two).await, [2, 1]);
}

/// As soon as `apply` has returned.
pub async fn what_is_live_is_the_newest_release_by_its_digests(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    for _ in 0..3 {
        let (request, revision) = bench.applied(&target).await;
        bench.assert_live(&target, &request, revision).await;
    }
    // The same images again, as another release: a new revision all the same.
    let (before, _) = bench.applied(&target).await;
    let again = DeployRequest { release: fresh_release(), ..before };
    let revision = bench.deployer.apply(&target, &again).await.unwrap();
    assert_eq!(revision, Revision(5));
    bench.assert_live(&target, &again, revision).await;
}

/// Release, images, commit, who asked, and when.
pub async fn history_says_what_every_release_was_newest_first(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    let mut applied = Vec::new();
    for n in 0..4 {
        let mut request = bench.request(&target);
        if n == 1 {
            request.commit = None;
        }
        applied.push((bench.deployer.apply(&target, &request).await.unwrap(), request));
    }
    let history = bench.deployer.history(&target).await.unwrap();
    assert_eq!(history.len(), applied.len());
    for (info, (revision, request)) in history.iter().zip(applied.iter().rev()) {
        let DeployRequest { release, images, commit, requested_by } = request;
        assert_eq!(info.revision, *revision);
        assert_eq!((&info.release, &info.images, &info.commit), (release, images, commit));
        assert_eq!(info.requested_by, *requested_by);
    }
    assert!(history.is_sorted_by(|newer, older| newer.applied_at >= older.applied_at), "{history:?}");
}

/// The second call finds the first's revision, with whatever it comes: nothing is applied anew.
pub async fn a_release_is_applied_once_however_often_it_is_asked_for(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    let (request, revision) = bench.applied(&target).await;
    let other = DeployRequest { release: request.release.clone(), ..bench.request(&target) };
    let history = bench.deployer.history(&target).await.unwrap();
    for again in [&request, &other, &request] {
        assert_eq!(bench.deployer.apply(&target, again).await.unwrap(), revision);
        bench.assert_live(&target, &request, revision).await;
        assert_eq!(bench.deployer.history(&target).await.unwrap(), history);
    }
}

/// A driver that comes back from a long sleep and repeats its call does not take the place of what came meanwhile.
pub async fn an_older_release_that_is_asked_for_late_changes_nothing(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    let (first, one) = bench.applied(&target).await;
    let back = fresh_release();
    let two = bench.deployer.rollback(&target, one, &back).await.unwrap();
    let (newest, three) = bench.applied(&target).await;
    let history = bench.deployer.history(&target).await.unwrap();
    assert_eq!(bench.deployer.apply(&target, &first).await.unwrap(), one);
    bench.assert_live(&target, &newest, three).await;
    assert_eq!(bench.deployer.rollback(&target, one, &back).await.unwrap(), two);
    bench.assert_live(&target, &newest, three).await;
    // By the other call, too: what counts is the release's id.
    assert_eq!(bench.deployer.rollback(&target, two, &first.release).await.unwrap(), one);
    let request = DeployRequest { release: back, ..first };
    assert_eq!(bench.deployer.apply(&target, &request).await.unwrap(), two);
    bench.assert_live(&target, &newest, three).await;
    assert_eq!(bench.deployer.history(&target).await.unwrap(), history);
}

/// Services, components and environments.
pub async fn targets_are_apart(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let (one, two) = (bench.target(), bench.target());
    let (first, revision) = bench.applied(&one).await;
    assert_eq!(bench.observed(&two).await, None);
    assert_eq!(bench.deployer.history(&two).await.unwrap(), []);
    // A release that went to one target is no release of another's.
    let same = DeployRequest { release: first.release.clone(), ..bench.request(&two) };
    let other = bench.deployer.apply(&two, &same).await.unwrap();
    assert_eq!(bench.observed(&two).await, Some(live_of(&same, other)));
    bench.assert_live(&one, &first, revision).await;
}

/// With all that is needed to go back to each.
pub async fn at_least_the_newest_ten_revisions_are_kept(subject: &dyn Subject<DeployBench>) {
    const APPLIED: u64 = 14;
    let bench = subject.open().await;
    let target = bench.target();
    let mut requests = Vec::new();
    for _ in 0..APPLIED {
        requests.push(bench.applied(&target).await.0);
    }
    let numbers = bench.numbers(&target).await;
    assert!(numbers.len() >= 10, "{numbers:?}");
    let expected: Vec<u64> = (1..=APPLIED).rev().take(numbers.len()).collect();
    assert_eq!(numbers, expected, "the newest, without gaps");
    let (tenth, release) = (Revision(APPLIED - 9), fresh_release());
    let revision =
        bench.deployer.rollback(&target, tenth, &release).await.expect("the tenth newest is there");
    let live = bench.observed(&target).await.expect("something is live");
    assert_eq!((live.revision, &live.release), (revision, &release));
    let old = &requests[usize::try_from(tenth.0).unwrap() - 1];
    assert_eq!(live.images, old.images);
}

/// Proved where the bench has such a release.
pub async fn a_release_that_cannot_be_applied_changes_nothing_and_says_why(
    subject: &dyn Subject<DeployBench>,
) {
    let bench = subject.open().await;
    let Some(refuse) = &bench.refused else { return };
    let target = bench.target();
    for _ in 0..2 {
        let before = (bench.observed(&target).await, bench.deployer.history(&target).await.unwrap());
        let (mut refused, mut request) = (target.clone(), bench.request(&target));
        refuse(&mut refused, &mut request);
        for _ in 0..2 {
            let error = bench.deployer.apply(&refused, &request).await.expect_err("it cannot be applied");
            assert_eq!(error.retry(), Retry::Never, "{error}");
            assert!(!error.message().trim().is_empty(), "{error:?}");
            assert!(error.remedy().is_some_and(|remedy| !remedy.trim().is_empty()), "no remedy: {error}");
        }
        let after = (bench.observed(&target).await, bench.deployer.history(&target).await.unwrap());
        assert_eq!(after, before);
        bench.applied(&target).await;
    }
    assert_eq!(bench.numbers(&target).await, [2, 1], "what was refused has no number");
}
