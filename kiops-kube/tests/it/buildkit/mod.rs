//! BuildKit's executor on a real cluster, with a script in its image's place that behaves like it.

mod support;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kiops_core::build::{BuildExecutor as _, BuildOutput};
use kiops_core::image::RegistryCredential;
use kiops_core::name::CommitId;
use kiops_core::run::{RunEvent, RunOutcome, SourceAccess as _};
use kiops_core::secret::Secret;
use kiops_core::stage::{FailureKind, Stage};
use kiops_core::testing::conformance::build_executor::ExecutorBench;
use kiops_core::testing::conformance::{self, Subject};
use kiops_kube::run::Network;

use self::support::{Site, place, place_with_git};
use crate::builds::*;
use crate::checks::git::{Repository, TOKEN};

/// Executors, each a kiops of its own in one namespace.
struct Executors {
    place: Place,
    site: Mutex<Option<Site>>,
}

#[async_trait]
impl Subject<ExecutorBench> for Executors {
    async fn open(&self) -> Arc<ExecutorBench> {
        let site = Site::of(&self.place).await;
        let bench = site.bench();
        *self.site.lock().unwrap() = Some(site);
        bench
    }

    async fn reopen(&self) -> Option<Arc<ExecutorBench>> {
        self.site.lock().unwrap().as_ref().map(Site::bench)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buildkit_keeps_every_promise_of_an_executor() {
    let Some(place) = place().await else { return };
    conformance::build_executor::all(&Executors { place, site: Mutex::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_with_buildkit_is_told_in_stages_steps_and_plain_words() {
    let Some(place) = place().await else { return };
    let mut site = Site::of(&place).await;
    site.config.cache_repository = Some("registry.local/cache".into());
    let executor = site.executor();
    let run = start(&executor, &site.job("passes")).await;
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
    assert!(result.digest.is_some());
    let log = texts(&reports);
    for line in [
        "Checked out commit abc123def\n",
        "Step 1/2: FROM registry.local/base:1\n",
        "Step 2/2: RUN make\n",
        "making \nof FETCH_HEAD: \n",
        "Successfully pushed image ",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    // The next process reads the same.
    assert_eq!(lines(&read(&site.executor(), &run, 0).await), lines(&reports));
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_buildkit_have_the_names_that_people_know() {
    let Some(place) = place().await else { return };
    let site = Site::of(&place).await;
    let executor = site.executor();
    let mut runs = Vec::new();
    for (kind, expected) in [
        ("no-daemon", FailureKind::ExecutorUnavailable),
        ("no-dockerfile", FailureKind::DockerfileNotFound),
        ("no-base", FailureKind::BaseImageUnavailable),
        ("no-push", FailureKind::RegistryAuthenticationFailed),
        ("fails", FailureKind::RunFailed),
    ] {
        runs.push((start(&executor, &site.job(kind)).await, kind, expected));
    }
    let mut nowhere = site.job("passes");
    nowhere.spec.context = "nowhere".into();
    runs.push((start(&executor, &nowhere).await, "nowhere", FailureKind::SettingsInvalid));
    let mut refused = site.job("passes");
    refused.inputs.source = Arc::new(Source::at("https://git.example.com/refuses.git"));
    runs.push((start(&executor, &refused).await, "refused", FailureKind::GitCloneFailed));
    for (run, kind, expected) in runs {
        match outcome(&executor, &run).await {
            RunOutcome::Failed(failure) => assert_eq!(failure.kind, expected, "{kind}: {failure}"),
            other => panic!("{kind}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_log_of_a_buildkit_build_that_prints_all_it_has() {
    let Some(place) = place().await else { return };
    let site = Site::of(&place).await;
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
    for executor in [executor, site.executor()] {
        let reports = read(&executor, &run, 0).await;
        assert!(
            matches!(reports.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))),
            "{reports:?}"
        );
        let log = texts(&reports);
        assert!(log.contains("https://index.docker.io/v1/") && log.contains("robot$team+ci"), "{log}");
        // Printed by halves, and put together before it is masked.
        assert!(log.contains("\n***\n"), "{log}");
        assert!(hidden.iter().all(|secret| !log.contains(secret)) && !log.contains("value-3"), "{log}");
        // The credential of Git is not even there to be masked.
        assert!(!log.contains("GIT_CONFIG_VALUE_0"), "{log}");
    }
    let jobs = serde_json::to_string(&place.jobs().list(&of(&run)).await.unwrap()).unwrap();
    let pods = serde_json::to_string(&place.pods().list(&of(&run)).await.unwrap()).unwrap();
    for secret in hidden {
        assert!(!jobs.contains(secret) && !pods.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_buildkit_build_has_stopped_within_ten_seconds() {
    let Some(place) = place().await else { return };
    let site = Site::of(&place).await;
    let tried = stops_in_time(async || {
        let executor = site.executor();
        let (run, took) = canceled_at(&executor, &site.job("counts-on"), "line 5").await;
        let log = texts(&read(&executor, &run, 0).await);
        assert!(log.contains("line 5"), "{log}");
        assert_eq!(outcome(&site.executor(), &run).await, RunOutcome::Canceled);
        executor.forget(&run).await.unwrap();
        gone(&place, &run).await;
        took
    });
    tried.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_is_built_by_buildkit_without_a_push_and_without_a_secret() {
    let Some(place) = place().await else { return };
    let site = Site::of(&place).await;
    let executor = site.executor();
    let mut job = site.job("passes");
    job.spec.output = BuildOutput::Discard;
    job.inputs.secrets = [("npm-token".to_owned(), Secret::new("npm-token-value-3").unwrap())].into();
    let run = start(&executor, &job).await;
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Succeeded(_)));
    let secret = place.secrets().list(&of(&run)).await.unwrap().items.pop().unwrap();
    let keys: Vec<String> = secret.data.unwrap().into_keys().collect();
    assert_eq!(keys, ["buildkitd.toml", "git-header", "git-password"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_of_buildkit_is_neither_root_nor_privileged_and_has_no_token() {
    let Some(place) = place().await else { return };
    let site = Site::of(&place).await;
    let executor = site.executor();
    let run = start(&executor, &site.job("passes")).await;
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Succeeded(_)));
    let pod: Pod = place.pods().list(&of(&run)).await.unwrap().items.pop().unwrap();
    let spec = pod.spec.unwrap();
    assert_eq!(spec.automount_service_account_token, Some(false));
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let security = container.security_context.clone().unwrap();
        assert_eq!(security.run_as_user, Some(1000), "{}", container.name);
        assert!(security.privileged != Some(true), "{}", container.name);
        let mounts = container.volume_mounts.clone().unwrap_or_default();
        assert!(mounts.iter().all(|mount| !mount.mount_path.contains("serviceaccount")), "{mounts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_itself_lays_out_the_commit_and_follows_no_link_out_of_it() {
    let Some(place) = place_with_git().await else { return };
    let repository = Repository::served().await;
    let mut site = Site::of(&place).await;
    site.config.insecure_git_hosts = vec![repository.host()];
    let Network::Restricted(to) = &mut site.runs.network else { unreachable!("it is not open") };
    to.ports.insert(repository.host().rsplit_once(':').unwrap().1.parse().unwrap());
    let executor = site.executor();
    let mut job = site.job("passes");
    job.spec.commit = repository.commit.clone();
    job.inputs.source = Arc::new(repository.clone());
    assert!(repository.clone_access().await.unwrap().credential.is_some());
    let built = start(&executor, &job).await;
    // The second commit has another text there.
    let reports = read(&executor, &built, 0).await;
    let log = texts(&reports);
    assert!(log.contains("of first "), "{log}");
    assert!(!log.contains(TOKEN));
    assert!(matches!(reports.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))), "{log}");
    // A link is no folder, wherever it leads; and there is no commit of the other name.
    job.spec.commit = repository.next.clone();
    job.spec.context = "link".into();
    let no_folder = start(&executor, &job).await;
    job.spec.context = String::new();
    job.spec.commit = CommitId::parse("0123456789".repeat(4)).unwrap();
    let no_commit = start(&executor, &job).await;
    for (run, kind) in [(no_folder, FailureKind::SettingsInvalid), (no_commit, FailureKind::CommitNotFound)] {
        match outcome(&executor, &run).await {
            RunOutcome::Failed(failure) => assert_eq!(failure.kind, kind, "{failure}"),
            other => panic!("{other:?}"),
        }
    }
}
