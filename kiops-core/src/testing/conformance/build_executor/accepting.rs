//! What is said before anything is started.

use super::ExecutorBench;
use crate::testing::conformance::Subject;
use crate::testing::conformance::runs::state_of;

/// Slots are counted by it: always the same one.
pub async fn the_executor_has_a_name(subject: &dyn Subject<ExecutorBench>) {
    let (one, two) = (subject.open().await, subject.open().await);
    assert!(!one.executor.name().trim().is_empty());
    assert_eq!(one.executor.name(), two.executor.name());
}

/// Asking starts nothing.
pub async fn what_it_can_build_is_accepted(subject: &dyn Subject<ExecutorBench>) {
    let bench = subject.open().await;
    let before = bench.executor.observed().await.unwrap();
    let jobs = [Some(&bench.passes), bench.slow.as_ref(), bench.tells.as_ref()];
    for job in jobs.into_iter().flatten() {
        bench.executor.accepts(&job.spec, &job.dockerfile).expect("what it can build is accepted");
        bench.executor.accepts(&job.spec, &job.dockerfile).expect("also when it is asked again");
    }
    for found in bench.executor.observed().await.unwrap() {
        let known = before.iter().any(|observed| observed.run == found.run);
        assert!(
            known || state_of(bench.as_ref(), &found.run).await.is_none(),
            "asking started {}",
            found.run
        );
    }
}

/// What stands in the way, and what to use instead. Proved where the bench has such a build.
pub async fn what_it_cannot_build_is_refused_before_the_start_with_a_way_out(
    subject: &dyn Subject<ExecutorBench>,
) {
    let bench = subject.open().await;
    let Some(job) = &bench.refused else { return };
    let failure = bench.executor.accepts(&job.spec, &job.dockerfile).expect_err("it cannot be built");
    assert!(!failure.message.trim().is_empty(), "it says what stands in the way: {failure:?}");
    assert!(!failure.remedy.trim().is_empty(), "it says what to use instead: {failure:?}");
    let again = bench.executor.accepts(&job.spec, &job.dockerfile);
    assert_eq!(again, Err(failure), "the same question has the same answer");
}
