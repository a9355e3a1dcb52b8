//! Going back.

use super::DeployBench;
use super::fixtures::fresh_release;
use crate::error::{ErrorKind, Retry};
use crate::release::{Live, Revision};
use crate::testing::conformance::Subject;

/// Its images and its commit, under the number that comes next. What was there stays in the history.
pub async fn a_rollback_brings_a_revision_back_whole_as_a_new_one(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    let (first, one) = bench.applied(&target).await;
    bench.applied(&target).await;
    let release = fresh_release();
    let revision = bench.deployer.rollback(&target, one, &release).await.unwrap();
    assert_eq!(revision, Revision(3));
    let live = bench.observed(&target).await.expect("something is live");
    assert_eq!(live, Live { revision, release: release.clone(), images: first.images.clone() });
    let history = bench.deployer.history(&target).await.unwrap();
    assert_eq!(history.iter().map(|info| info.revision.0).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!((&history[0].release, &history[0].images), (&release, &first.images));
    assert_eq!(history[0].commit, first.commit);
    assert_eq!((&history[2].release, &history[2].images), (&first.release, &first.images));
}

/// The second call finds the first's revision, wherever it asks to go.
pub async fn a_rollback_is_done_once_however_often_it_is_asked_for(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    let (_, one) = bench.applied(&target).await;
    let (_, two) = bench.applied(&target).await;
    let release = fresh_release();
    let three = bench.deployer.rollback(&target, one, &release).await.unwrap();
    let before = (bench.observed(&target).await, bench.deployer.history(&target).await.unwrap());
    for to in [one, two, three, Revision(77)] {
        assert_eq!(bench.deployer.rollback(&target, to, &release).await.unwrap(), three, "to {to}");
        let after = (bench.observed(&target).await, bench.deployer.history(&target).await.unwrap());
        assert_eq!(after, before);
    }
}

/// Back, and forth again.
pub async fn a_rollback_goes_to_any_revision_also_to_the_live_one(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    let (first, one) = bench.applied(&target).await;
    let (second, two) = bench.applied(&target).await;
    let back = bench.deployer.rollback(&target, one, &fresh_release()).await.unwrap();
    let forth = [(two, &second), (back, &first), (Revision(5), &first), (Revision(4), &second)];
    for (n, (to, images)) in (4..).zip(forth) {
        let release = fresh_release();
        let revision = bench.deployer.rollback(&target, to, &release).await.unwrap();
        assert_eq!(revision, Revision(n), "back to {to}");
        let live = bench.observed(&target).await.expect("something is live");
        assert_eq!(live, Live { revision, release, images: images.images.clone() }, "back to {to}");
    }
}

/// What runs goes on running, and nothing is left of the try.
pub async fn a_rollback_to_what_is_not_there_is_refused_and_changes_nothing(
    subject: &dyn Subject<DeployBench>,
) {
    let bench = subject.open().await;
    let (target, other) = (bench.target(), bench.target());
    let (request, revision) = bench.applied(&target).await;
    for _ in 0..3 {
        bench.applied(&other).await;
    }
    let release = fresh_release();
    for absent in [0, 2, 3, 1000, u64::MAX] {
        let answer = bench.deployer.rollback(&target, Revision(absent), &release).await;
        let error = answer.expect_err("there is nothing to go back to");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::NotFound, Retry::Never), "{absent}: {error}");
        assert!(error.remedy().is_some_and(|remedy| !remedy.trim().is_empty()), "no remedy: {error}");
        bench.assert_live(&target, &request, revision).await;
    }
    assert_eq!(bench.numbers(&target).await, [1]);
    let revision = bench.deployer.rollback(&target, revision, &release).await;
    assert_eq!(revision.expect("the same release goes to what is there"), Revision(2));
}
