//! Following builds: logs, secrets, restarts of ours, and what a build leaves behind.

use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kiops_core::build::{BuildExecutor as _, BuildOutput};
use kiops_core::image::RegistryCredential;
use kiops_core::run::{ObservedState, RunEvent, RunOutcome};
use kiops_core::secret::Secret;
use kiops_core::stage::{FailureKind, Stage};
use kube::Api;
use kube::api::ListParams;

use super::support::*;
use crate::builds::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_is_told_in_stages_steps_and_plain_words() {
    let Some(place) = place().await else { return };
    let mut site = place.site().await;
    site.config.cache_repository = Some("registry.local/cache".into());
    let executor = site.executor();
    let job = site.job("passes");
    executor.accepts(&job.spec, &job.dockerfile).unwrap();
    let run = start(&executor, &job).await;
    let reports = read(&executor, &run, 0).await;
    let events: Vec<&RunEvent> = reports
        .iter()
        .map(|report| &report.event)
        .filter(|event| !matches!(event, RunEvent::Lines(_) | RunEvent::Alive))
        .collect();
    let RunEvent::Finished(RunOutcome::Succeeded(result)) = events.last().unwrap() else {
        panic!("{events:?}")
    };
    assert_eq!(
        events[..events.len() - 1],
        [
            &RunEvent::Stage(Stage::Setup),
            &RunEvent::Stage(Stage::Build),
            &RunEvent::Step { n: 1, of: 2 },
            &RunEvent::Step { n: 2, of: 2 },
            &RunEvent::Stage(Stage::Push),
        ]
    );
    assert_eq!(result.cached_layers, Some(1));
    let log = texts(&reports);
    for line in [
        "Counting objects: 100% (3/3), done.\n",
        "Checked out commit abc123def\n",
        "Step 1/2: FROM registry.local/base:1\n",
        "Step 2/2: RUN make\n",
        "making \n",
        "Successfully pushed image ",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_ours_neither_loses_nor_repeats_a_line() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let before = site.executor();
    let run = start(&before, &site.job("counts")).await;
    let mut all = read_until(
        &before,
        &run,
        0,
        |event| matches!(event, RunEvent::Lines(lines) if lines.iter().any(|line| line.text == "line 10")),
    )
    .await;
    drop(before);
    // Three more processes, each cut off in its turn.
    for cut in ["line 25", "line 40", "never"] {
        let executor = site.executor();
        let known = executor.observed().await.unwrap();
        assert!(known.iter().any(|one| one.run == run && one.state == ObservedState::Running), "{known:?}");
        let after = all.last().unwrap().n;
        all.extend(
            read_until(
                &executor,
                &run,
                after,
                |event| matches!(event, RunEvent::Lines(lines) if lines.iter().any(|line| line.text == cut)),
            )
            .await,
        );
    }
    assert!(matches!(all.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))), "{all:?}");
    let found: Vec<String> =
        lines(&all).into_iter().map(|(_, text)| text).filter(|text| text.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=60).map(|n| format!("line {n}")).collect();
    assert_eq!(found, expected);
    assert_eq!(lines(&read(&site.executor(), &run, 0).await), lines(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_log_of_a_build_that_prints_them_all_nor_in_its_objects() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let mut job = site.job("tells-files");
    let credential = |host: &str, password: &str| RegistryCredential {
        host: host.into(),
        username: "robot$team+ci".into(),
        password: Secret::new(password).unwrap(),
    };
    job.inputs.pull = vec![credential("docker.io", "pull-password-1")];
    job.inputs.push = Some(credential("registry.local", "push-\"password\"-2"));
    job.inputs.secrets = [("npm-token".to_owned(), Secret::new("npm-token-value-3").unwrap())].into();
    let hidden = ["pull-password-1", "push-\"password\"-2", "npm-token-value-3", GIT_TOKEN];
    let run = start(&executor, &job).await;
    // The next process was given none of them.
    for executor in [executor, site.executor()] {
        let reports = read(&executor, &run, 0).await;
        assert!(
            matches!(reports.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))),
            "{reports:?}"
        );
        let log = texts(&reports);
        assert!(log.contains("https://index.docker.io/v1/") && log.contains("robot$team+ci"), "{log}");
        assert!(log.contains("oauth2 ***"), "{log}");
        assert!(hidden.iter().all(|secret| !log.contains(secret)), "{log}");
        // Not the first part of one either, where the node parts a line.
        assert!(!log.contains("xglpa"), "{log}");
    }
    let jobs = serde_json::to_string(&place.jobs().list(&of(&run)).await.unwrap()).unwrap();
    let pods = serde_json::to_string(&place.pods().list(&of(&run)).await.unwrap()).unwrap();
    let events = Api::<k8s_openapi::api::core::v1::Event>::namespaced(
        place.cluster.client.clone(),
        &place.namespace.name,
    );
    let events = serde_json::to_string(&events.list(&ListParams::default()).await.unwrap()).unwrap();
    for secret in hidden {
        assert!(!jobs.contains(secret) && !pods.contains(secret) && !events.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_has_no_token_of_the_cluster_and_a_secret_that_goes_with_it() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("passes")).await;
    let pod: Pod = loop {
        if let Some(pod) = place.pods().list(&of(&run)).await.unwrap().items.pop() {
            break pod;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let spec = pod.spec.unwrap();
    assert_eq!(spec.automount_service_account_token, Some(false));
    let mounts = spec.containers[0].volume_mounts.clone().unwrap_or_default();
    assert!(mounts.iter().all(|mount| !mount.mount_path.contains("serviceaccount")), "{mounts:?}");
    outcome(&executor, &run).await;
    assert_eq!(place.secrets().list(&of(&run)).await.unwrap().items.len(), 1);
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_builds_without_a_push() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let mut job = site.job("passes");
    job.spec.output = BuildOutput::Discard;
    let run = start(&executor, &job).await;
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Succeeded(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_have_the_names_that_people_know() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let mut runs = Vec::new();
    for (kind, expected) in [
        ("no-clone", FailureKind::GitCloneFailed),
        ("no-dockerfile", FailureKind::DockerfileNotFound),
        ("no-push", FailureKind::RegistryAuthenticationFailed),
        ("fails", FailureKind::RunFailed),
    ] {
        runs.push((start(&executor, &site.job(kind)).await, kind, expected));
    }
    for (run, kind, expected) in runs {
        match outcome(&executor, &run).await {
            RunOutcome::Failed(failure) => assert_eq!(failure.kind, expected, "{kind}: {failure}"),
            other => panic!("{kind}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_costs_no_stream_and_an_idle_reader_ends_with_its_handle() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    let mut reports = executor.reports(&run, 0).await.unwrap();
    assert!(reports.next().await.is_some());
    drop(reports);
    executor.cancel(&run).await.unwrap();
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Canceled));
}
