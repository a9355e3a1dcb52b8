//! The ends of builds that do not come by themselves, and a Tekton that does not answer.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kiops_core::build::BuildExecutor;
use kiops_core::name::RunId;
use kiops_core::run::{RunEvent, RunOutcome};
use kiops_core::stage::{FailureKind, Stage};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::support::{Ground, ground};
use crate::builds::*;

async fn says(executor: &dyn BuildExecutor, run: &RunId, text: &str) {
    let reports = read_until(
        executor,
        run,
        0,
        |event| matches!(event, RunEvent::Lines(lines) if lines.iter().any(|line| line.text.contains(text))),
    )
    .await;
    assert!(texts(&reports).contains(text), "{reports:?}");
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

async fn pods(ground: &Ground, run: &RunId) -> Vec<Pod> {
    ground.place.pods().list(&of(run)).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_is_canceled_through_its_status_and_is_gone_within_ten_seconds() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let tried = stops_in_time(async || {
        let executor = site.executor();
        let (run, took) = canceled_at(&executor, &site.job("counts-on"), "line 5").await;
        assert!(!pods(&ground, &run).await.iter().any(is_running));
        let found = ground.pipeline_runs().list(&of(&run)).await.unwrap().items.pop().unwrap();
        assert_eq!(found.data["spec"]["status"], "Cancelled");
        assert_eq!(found.data["status"]["conditions"][0]["reason"], "Cancelled");
        assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
        executor.forget(&run).await.unwrap();
        ground.gone(&run).await;
        took
    });
    tried.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_with_tekton_that_is_canceled_at_any_moment_ends_and_leaves_nothing() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let cancels = (0..8u64).map(|n| {
        let (executor, job, ground) = (&executor, site.job("passes"), &ground);
        async move {
            let run = start(executor, &job).await;
            tokio::time::sleep(Duration::from_millis(n * 700)).await;
            executor.cancel(&run).await.unwrap();
            let ended = outcome(executor, &run).await;
            assert!(matches!(ended, RunOutcome::Canceled | RunOutcome::Succeeded(_)), "{n}: {ended:?}");
            assert_eq!(outcome(executor, &run).await, ended);
            executor.forget(&run).await.unwrap();
            ground.gone(&run).await;
        }
    });
    futures_util::future::join_all(cancels).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_somebody_cancels_in_tekton_is_canceled_here() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    says(&executor, &run, "making").await;
    let name = ground.pipeline_runs().list(&of(&run)).await.unwrap().items[0].metadata.name.clone().unwrap();
    let cancel = Patch::Merge(json!({ "spec": { "status": "Cancelled" } }));
    ground.pipeline_runs().patch(&name, &PatchParams::default(), &cancel).await.unwrap();
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_with_tekton_that_takes_too_long_is_a_timeout() {
    let Some(ground) = ground().await else { return };
    let mut site = ground.site().await;
    site.config.kaniko.pod.deadline_secs = Some(12);
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    // Somebody reads while the pod goes away, and somebody does afterwards.
    for _ in 0..2 {
        match outcome(&executor, &run).await {
            RunOutcome::Failed(failure) => {
                assert_eq!(failure.kind, FailureKind::TimedOut, "{failure}");
                assert!(failure.message.contains("12 s"), "{failure}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_needs_too_much_memory_in_a_step_names_its_limit() {
    let Some(ground) = ground().await else { return };
    let mut site = ground.site().await;
    site.config.kaniko.limits = [("memory".to_owned(), "24Mi".to_owned())].into();
    let executor = site.executor();
    let run = start(&executor, &site.job("oom")).await;
    match outcome(&executor, &run).await {
        RunOutcome::Failed(failure) => {
            assert_eq!((failure.kind, failure.stage), (FailureKind::OutOfMemory, Stage::Build), "{failure}");
            assert!(failure.message.contains("24Mi"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_whose_pod_somebody_deletes_is_lost_and_does_not_go_on() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    says(&executor, &run, "making").await;
    let name = pods(&ground, &run).await[0].metadata.name.clone().unwrap();
    let (ended, _) = tokio::join!(outcome(&executor, &run), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ground.place.pods().delete(&name, &DeleteParams::default().grace_period(1)).await.unwrap()
    });
    assert!(matches!(&ended, RunOutcome::Lost { reason } if reason.contains("pod")), "{ended:?}");
    // Of what Tekton may have made anew, nothing stays.
    let begun = Instant::now();
    while pods(&ground, &run).await.iter().any(is_running) {
        assert!(begun.elapsed() < Duration::from_mins(2), "it runs again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Lost { .. }));
    executor.forget(&run).await.unwrap();
    ground.gone(&run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_run_that_somebody_deletes_is_lost() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    says(&executor, &run, "making").await;
    let name = ground.pipeline_runs().list(&of(&run)).await.unwrap().items[0].metadata.name.clone().unwrap();
    let (ended, _) = tokio::join!(outcome(&executor, &run), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ground.pipeline_runs().delete(&name, &DeleteParams::background()).await.unwrap()
    });
    assert!(matches!(&ended, RunOutcome::Lost { reason } if reason.contains("PipelineRun")), "{ended:?}");
    ground.gone(&run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tekton_that_does_not_answer_is_told_in_the_log_and_keeps_no_cancel_waiting() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    ground.tekton.sleep(true);
    let run = start(&executor, &site.job("passes")).await;
    says(&executor, &run, "Waiting: Tekton has not taken the PipelineRun yet").await;
    executor.cancel(&run).await.unwrap();
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
    // When it comes back it makes nothing of it.
    ground.tekton.sleep(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(pods(&ground, &run).await.is_empty());
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
    executor.forget(&run).await.unwrap();
    ground.gone(&run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_cut_off_is_completed_by_the_next_one_or_by_who_reads() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let hold = Patch::Merge(json!({ "spec": { "status": "PipelineRunPending" } }));
    for again in [true, false] {
        ground.tekton.sleep(true);
        let job = site.job("passes");
        let run = start(&executor, &job).await;
        let name =
            ground.pipeline_runs().list(&of(&run)).await.unwrap().items[0].metadata.name.clone().unwrap();
        ground.pipeline_runs().patch(&name, &PatchParams::default(), &hold).await.unwrap();
        ground.tekton.sleep(false);
        if again {
            start_as(&executor, &run, &job.spec, &job.inputs).await;
        }
        assert!(matches!(outcome(&executor, &run).await, RunOutcome::Succeeded(_)), "again: {again}");
    }
}
