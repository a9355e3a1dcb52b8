//! Builds behind a way to the API server that has faults: the right end, one Job, every line once, nothing left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use kiops_core::build::{BuildExecutor as _, BuildOutput};
use kiops_core::name::{RunId, Tag};
use kiops_core::run::{RunEvent, RunOutcome, RunReport};
use kiops_core::testing::conformance::build_executor::ExecutorJob;
use kiops_core::{Result, Retry};
use kiops_kube::KanikoExecutor;

use super::support::*;
use crate::builds::*;
use crate::proxy::{Call, Fault, Proxied, random};

/// The patience of the driver, which comes again after every fault that may pass.
const PATIENCE: Duration = Duration::from_secs(150);

/// Makes a call as the driver does: again, while that may help.
async fn insisted<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => {
                assert!(error.retry() != Retry::Never && begun.elapsed() < PATIENCE, "{error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn started(executor: &KanikoExecutor, job: &ExecutorJob) -> RunId {
    let run = fresh_run();
    insisted(async || executor.start(&run, &job.spec, job.inputs.clone()).await).await;
    run
}

/// All reports of a run, taken up behind the last one after every error.
async fn followed(executor: &KanikoExecutor, run: &RunId) -> Vec<RunReport> {
    let mut all: Vec<RunReport> = Vec::new();
    let reading = async {
        loop {
            let after = all.last().map_or(0, |report| report.n);
            let mut reports = insisted(async || executor.reports(run, after).await).await;
            while let Some(Ok(report)) = reports.next().await {
                all.push(report);
            }
            if matches!(all.last().map(|report| &report.event), Some(RunEvent::Finished(_))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reading).await.is_ok(), "{run} does not end: {all:?}");
    all
}

/// Some builds of 60 lines at once, each of which must end as if nothing had been wrong.
async fn builds_are_whole(place: &Place, way: &Proxied, builds: usize) {
    let site = place.site().await;
    let executor = site.executor_by(way.cluster.clone());
    let build = async |_| {
        let run = started(&executor, &site.job("counts")).await;
        let reports = followed(&executor, &run).await;
        let end = &reports.last().unwrap().event;
        assert!(matches!(end, RunEvent::Finished(RunOutcome::Succeeded(_))), "{end:?}");
        let told = lines(&reports);
        assert!(told.is_sorted_by(|one, next| one.0 < next.0), "{told:?}");
        let counted: Vec<String> =
            told.iter().map(|(_, text)| text.clone()).filter(|text| text.starts_with("line ")).collect();
        let expected: Vec<String> = (1..=60).map(|n| format!("line {n}")).collect();
        assert_eq!(counted, expected, "{told:?}");
        // The whole log, as somebody reads it whose way is whole.
        assert_eq!(told, lines(&read(&site.executor(), &run, 0).await));
        let (jobs, pods, wanted) = (place.jobs(), place.pods(), of(&run));
        let (jobs, pods) = tokio::join!(jobs.list(&wanted), pods.list(&wanted));
        assert_eq!((jobs.unwrap().items.len(), pods.unwrap().items.len()), (1, 1));
        insisted(async || executor.forget(&run).await).await;
        gone(place, &run).await;
    };
    join_all((0..builds).map(build)).await;
}

/// A third fails; of those, one half is done all the same.
fn a_third_fails(call: &Call) -> Fault {
    match call.random % 6 {
        0 => Fault::Refused(500),
        1 => Fault::DoneBut(500),
        _ => Fault::None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_ends_right_while_a_third_of_all_calls_fail() {
    let Some(place) = place().await else { return };
    let way = Proxied::faulty(&place.cluster, a_third_fails).await;
    builds_are_whole(&place, &way, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_cut_every_second_lose_nothing() {
    let Some(place) = place().await else { return };
    let second = Duration::from_secs(1);
    let way = Proxied::faulty(&place.cluster, move |call| match (call.verb, call.random % 2) {
        ("watch", 0) => Fault::EndsAfter(second),
        ("watch", _) => Fault::BreaksAfter(second),
        _ => Fault::None,
    })
    .await;
    builds_are_whole(&place, &way, 3).await;
    assert!(way.count("watch", "pods") > 3, "{:?}", way.calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_too_old_lists_anew() {
    let Some(place) = place().await else { return };
    // Said in the stream, as API servers do, or instead of it, as what stands before them may do.
    let way = Proxied::faulty(&place.cluster, |call| match (call.verb, call.random % 4) {
        ("watch", 0) => Fault::Expired,
        ("watch", 1) => Fault::Refused(410),
        ("watch", _) => Fault::EndsAfter(Duration::from_millis(700)),
        _ => Fault::None,
    })
    .await;
    builds_are_whole(&place, &way, 3).await;
    assert!(way.count("list", "pods") > 2 && way.count("list", "jobs") > 2, "{:?}", way.calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_api_server_is_waited_for() {
    let Some(place) = place().await else { return };
    let way = Proxied::faulty(&place.cluster, |call| match call.random % 2 {
        0 => Fault::Busy(1),
        _ => Fault::Late(Duration::from_millis(300)),
    })
    .await;
    builds_are_whole(&place, &way, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_makes_no_second_job() {
    let Some(place) = place().await else { return };
    let way = Proxied::faulty(&place.cluster, |call| match (call.verb, call.random % 3) {
        ("create" | "patch" | "delete", 0) => Fault::Lost,
        ("create", 1) => Fault::DoneBut(409),
        ("patch" | "delete", 1) => Fault::DoneBut(500),
        _ => Fault::None,
    })
    .await;
    builds_are_whole(&place, &way, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_stream_that_breaks_loses_and_repeats_no_line() {
    let Some(place) = place().await else { return };
    let way = Proxied::faulty(&place.cluster, |call| match (call.resource.as_str(), call.random % 4) {
        ("pods/log", 0) => Fault::BreaksAfter(Duration::from_millis(call.random / 4 % 1500)),
        ("pods/log", 1) => Fault::Refused(500),
        ("pods/log", _) => Fault::BreaksAt((call.random / 4 % 3000) as usize),
        _ => Fault::None,
    })
    .await;
    builds_are_whole(&place, &way, 4).await;
    assert!(way.count("get", "pods/log") > 12, "{:?}", way.calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_connection_that_was_dropped_without_a_word_keeps_no_build_waiting() {
    let Some(place) = place().await else { return };
    let first = AtomicBool::new(true);
    let way = Proxied::faulty(&place.cluster, move |call| {
        match call.resource == "pods/log" && first.swap(false, Ordering::Relaxed) {
            true => Fault::SilentAt(700),
            false => Fault::None,
        }
    })
    .await;
    builds_are_whole(&place, &way, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_takes_at_most_six_requests_besides_its_log() {
    let Some(place) = place().await else { return };
    let way = Proxied::faulty(&place.cluster, |_| Fault::None).await;
    let site = place.site().await;
    let executor = site.executor_by(way.cluster.clone());
    // What all builds share is there: the watch, and the network policy.
    let first = start(&executor, &site.job("passes")).await;
    assert!(matches!(outcome(&executor, &first).await, RunOutcome::Succeeded(_)));
    executor.forget(&first).await.unwrap();
    gone(&place, &first).await;
    let before = way.calls().len();
    let run = start(&executor, &site.job("passes")).await;
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Succeeded(_)));
    executor.forget(&run).await.unwrap();
    let calls = way.calls().split_off(before);
    // The one watch may have been about to start.
    let calls = calls.into_iter().filter(|call| call.verb != "watch");
    let (logs, calls): (Vec<_>, Vec<_>) = calls.partition(|call| call.resource == "pods/log");
    println!("{} requests, and {} for the log", calls.len(), logs.len());
    assert!(calls.len() <= 6, "{calls:?} {logs:?}");
    assert!(calls.iter().all(|call| call.verb != "list"), "{calls:?}");
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_canceled_behind_faults_is_gone_and_does_nothing_later() {
    let Some(place) = place().await else { return };
    let way = Proxied::faulty(&place.cluster, |call| match (call.verb, call.random % 12) {
        ("watch", 0..6) => Fault::EndsAfter(Duration::from_secs(1)),
        ("watch", 6) => Fault::Expired,
        (_, 0) => Fault::Refused(500),
        (_, 1) => Fault::DoneBut(500),
        (_, 2) => Fault::Lost,
        (_, 3) => Fault::Busy(1),
        (_, 4) => Fault::Late(Duration::from_millis(700)),
        _ => Fault::None,
    })
    .await;
    let site = place.site().await;
    let executor = site.executor_by(way.cluster.clone());
    let begun = Instant::now();
    let canceled = async |worker: u64| {
        let mut canceled = 0;
        while begun.elapsed() < Duration::from_secs(30) {
            let mut job = site.job("passes");
            let tag = Tag::parse(format!("c{worker}-{canceled}")).unwrap();
            job.spec.output = BuildOutput::Push { image: site.image(), tag };
            let run = started(&executor, &job).await;
            let moment = random(worker * 1000 + canceled) % 4500;
            tokio::time::sleep(Duration::from_millis(moment)).await;
            insisted(async || executor.cancel(&run).await).await;
            let running = |pod: &k8s_openapi::api::core::v1::Pod| {
                pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
            };
            let pods = place.pods().list(&of(&run)).await.unwrap().items;
            assert!(!pods.iter().any(running), "{run} runs on: {pods:?}");
            let pushed = site.pushed(&job);
            let end = followed(&executor, &run).await.pop().map(|report| report.event);
            let Some(RunEvent::Finished(end)) = end else { panic!("{run} has no outcome") };
            assert!(matches!(end, RunOutcome::Canceled | RunOutcome::Succeeded(_)), "{moment}: {end:?}");
            assert!(pushed.is_some() || matches!(end, RunOutcome::Canceled), "{moment}: {end:?}");
            insisted(async || executor.forget(&run).await).await;
            gone(&place, &run).await;
            assert_eq!(site.pushed(&job), pushed, "{run} pushed when it was canceled");
            canceled += 1;
        }
        canceled
    };
    let canceled: u64 = join_all((0..8).map(canceled)).await.into_iter().sum();
    println!("{canceled} builds were canceled");
    assert!(canceled >= 10);
}
