//! Removing a target.

use super::DeployBench;
use super::fixtures::fresh_release;
use crate::error::ErrorKind;
use crate::testing::conformance::Subject;

/// And there is nothing to go back to, nor a rollout.
pub async fn a_removed_target_runs_nothing(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    bench.applied(&target).await;
    let (_, revision) = bench.applied(&target).await;
    bench.deployer.remove(&target).await.unwrap();
    assert_eq!(bench.observed(&target).await, None);
    assert_eq!(bench.deployer.history(&target).await.unwrap(), []);
    let error = bench.deployer.status(&target, revision).await.expect_err("nothing is rolled out");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = bench.deployer.rollback(&target, revision, &fresh_release()).await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(bench.observed(&target).await, None);
}

/// Who is unsure removes again.
pub async fn what_is_not_there_is_removed_without_an_error(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    for _ in 0..2 {
        bench.deployer.remove(&target).await.expect("what never was is removed");
    }
    bench.applied(&target).await;
    for _ in 0..3 {
        bench.deployer.remove(&target).await.expect("what was removed is removed again");
    }
    assert_eq!(bench.observed(&target).await, None);
}

/// By a new release.
pub async fn a_removed_target_is_deployed_to_again(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    for _ in 0..2 {
        bench.applied(&target).await;
        let (request, revision) = bench.applied(&target).await;
        bench.assert_live(&target, &request, revision).await;
        assert_eq!(bench.numbers(&target).await.len(), 2);
        bench.deployer.remove(&target).await.unwrap();
    }
}

/// Nobody else's.
pub async fn a_removal_takes_no_other_target_along(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let (removed, kept) = (bench.target(), bench.target());
    bench.applied(&removed).await;
    bench.applied(&kept).await;
    let (request, revision) = bench.applied(&kept).await;
    bench.deployer.remove(&removed).await.unwrap();
    bench.assert_live(&kept, &request, revision).await;
    assert_eq!(bench.numbers(&kept).await, [2, 1]);
}
