//! How a rollout stands.

use super::DeployBench;
use crate::error::ErrorKind;
use crate::release::{Revision, RolloutStatus};
use crate::testing::conformance::Subject;

/// Of what can run, as complete.
pub async fn a_rollout_comes_to_an_end(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    for _ in 0..2 {
        let (_, revision) = bench.applied(&target).await;
        assert_eq!(bench.ended(&target, revision).await, RolloutStatus::Complete);
        assert_eq!(bench.ended(&target, revision).await, RolloutStatus::Complete, "it stays so");
    }
    let back =
        bench.deployer.rollback(&target, Revision(1), &super::fixtures::fresh_release()).await.unwrap();
    assert_eq!(bench.ended(&target, back).await, RolloutStatus::Complete);
}

/// At once: nobody waits for it any more.
pub async fn an_older_revision_was_replaced_by_the_one_that_is_live(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    let (_, one) = bench.applied(&target).await;
    let (_, two) = bench.applied(&target).await;
    assert_eq!(bench.deployer.status(&target, one).await.unwrap(), RolloutStatus::Replaced(two));
    bench.ended(&target, two).await;
    let three =
        bench.deployer.rollback(&target, one, &super::fixtures::fresh_release()).await.expect("it goes back");
    for older in [one, two] {
        let status = bench.deployer.status(&target, older).await.unwrap();
        assert_eq!(status, RolloutStatus::Replaced(three), "revision {older}");
    }
}

/// Neither one that will come later, nor one of another target.
pub async fn a_revision_that_is_not_there_stands_nowhere(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let (target, other) = (bench.target(), bench.target());
    for _ in 0..3 {
        bench.applied(&other).await;
    }
    for known in 0..2 {
        for absent in [0, known + 1, known + 2, 1000, u64::MAX] {
            let answer = bench.deployer.status(&target, Revision(absent)).await;
            let error = answer.expect_err("a revision that is not there has no status");
            assert_eq!(error.kind(), ErrorKind::NotFound, "{absent}: {error}");
        }
        bench.applied(&target).await;
    }
}

/// However often it is asked.
pub async fn asking_changes_nothing(subject: &dyn Subject<DeployBench>) {
    let bench = subject.open().await;
    let target = bench.target();
    bench.applied(&target).await;
    let (request, revision) = bench.applied(&target).await;
    let history = bench.deployer.history(&target).await.unwrap();
    for _ in 0..3 {
        bench.deployer.status(&target, revision).await.unwrap();
        bench.assert_live(&target, &request, revision).await;
        assert_eq!(bench.deployer.history(&target).await.unwrap(), history);
    }
}
