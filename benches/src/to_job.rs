//! From a webhook that comes in to the Job that it leads to: the ingest, the SQLite store, the driver and Kaniko's executor in one process,
//! the API server in another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::engine::{Adapters, Driver, DriverConfig, Ingest, IngestLimits, SystemClock};
use kiops_core::event::Repository;
use kiops_core::filter::RefFilter;
use kiops_core::image::TagTemplate;
use kiops_core::name::{BranchName, GitRef, ImageName, ProviderName, RepoId, ServiceName};
use kiops_core::notify::DomainEvent;
use kiops_core::policy::Rules;
use kiops_core::secret::{SealingKey, StaticKey};
use kiops_core::service::{GitSource, ImageTarget, Service, Settings, Source};
use kiops_core::store::{Hook, Store};
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::{FakeGit, FakeRegistry};
use kiops_core::webhook::{SecretSet, scheme};
use kiops_store::{LogFiles, LogFilesConfig, SqliteConfig, SqliteStore};
use tokio::time::timeout;

use crate::builds::{asked, executor};
use crate::kube::{KubeApi, Pace};
use crate::{Outcome, push, scratch};

/// The repository's id and path.
const ID: &str = "77";
const PATH: &str = "group/app";

/// The times from a delivery's first byte until its Job was created, of so many pushes one after the other.
pub fn times(pushes: usize) -> Outcome<Vec<Duration>> {
    let api = KubeApi::start(Pace { starts_ms: 1, lines: 10, ends_ms: Some(1) })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measured(&api.address, pushes))
}

pub(crate) async fn measured(address: &str, pushes: usize) -> Outcome<Vec<Duration>> {
    let folder = scratch()?;
    let keys = Arc::new(StaticKey::new(SealingKey::new([1; 32])));
    let store = SqliteStore::open(SqliteConfig::new(folder.path().join("kiops.db")), keys).await?;
    let store: Arc<dyn Store> = Arc::new(store);
    let logs = Arc::new(LogFiles::open(LogFilesConfig::new(folder.path().join("logs")))?);
    let repository = Repository { id: Some(RepoId::parse(ID)?), path: PATH.to_owned() };
    let git = FakeGit::new(ProviderName::parse("gitlab")?, repository.clone(), Chaos::none());
    let adapters = Adapters::builder()
        .provider(Arc::new(git.clone()))
        .registry("registry.example.com", Arc::new(FakeRegistry::new(Chaos::none())))
        .executor(Arc::new(executor(address)?))
        .build();
    let driver = Driver::new(
        Arc::clone(&store),
        logs,
        adapters,
        Rules::none(),
        Arc::new(SystemClock),
        DriverConfig::new("bench"),
    );
    let token = scheme::signing_token(&[7; 32])?;
    let service = service(repository.clone())?;
    store.put_service(&service, None, driver.now()).await?;
    let hook = Hook {
        service: service.name,
        provider: ProviderName::parse("gitlab")?,
        repository,
        hook: None,
        secrets: SecretSet::new([token.clone()]),
    };
    store.put_hook(&hook).await?;
    let ingest = Ingest::new(kiops_git::sources(), IngestLimits::default(), [3; 32]);
    let (working, mut watching) = (driver.clone(), driver.watch());
    let worker = tokio::spawn(async move { working.run(std::future::pending(), Duration::ZERO).await });

    let (main, mut parent, mut accepted) = (GitRef::parse("refs/heads/main")?, None, Vec::new());
    for n in 0..pushes {
        let commit =
            git.commit(&n.to_string(), parent.as_ref(), "Change", &[("Dockerfile", "FROM scratch\n")]);
        git.point(&main, Some(&commit));
        let body = Bytes::from(body(
            parent.as_ref().map_or_else(|| "0".repeat(40), ToString::to_string).as_str(),
            commit.as_ref(),
        ));
        let headers = push::signed_headers(&token, &format!("delivery-{n}"), driver.now(), &body)?;
        let mut request = http::Request::post("/api/v1/webhook/gitlab").body(body)?;
        *request.headers_mut() = headers;
        let begun = Timestamp::now();
        let taken = ingest.handle(request, store.as_ref(), driver.now()).await;
        if taken.accepted.is_empty() {
            return Err(format!("push {n} was answered with {}", taken.response.status()).into());
        }
        driver.wake();
        accepted.push((commit.to_string(), begun));
        let over = async {
            while let Some(event) = watching.next().await {
                if matches!(&event, DomainEvent::Build { commit: of, view, .. } if *of == commit && view.state.is_over())
                {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(20), over)
            .await
            .map_err(|_| format!("the build of push {n} does not end"))?;
        parent = Some(commit);
    }
    worker.abort();
    let jobs = asked(address).await?.jobs;
    let created = |commit: &str| jobs.iter().find(|(from, _)| from.ends_with(commit)).map(|(_, at)| *at);
    let times = accepted.iter().map(|(commit, begun)| {
        let at = created(commit).ok_or_else(|| format!("commit {commit} has no Job"))?;
        Ok(Duration::try_from(at.duration_since(*begun))?)
    });
    times.collect()
}

/// Of so many times the one that 99 of 100 do not pass.
pub fn p99(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

fn service(repository: Repository) -> Outcome<Service> {
    let mut settings = Settings::default();
    settings.auto_ci.push.branches = RefFilter::parse(["main"])?;
    settings.image = Some(ImageTarget {
        name: ImageName::parse("registry.example.com/group/app")?,
        candidate: TagTemplate::short_commit(),
        tags: Vec::new(),
    });
    settings.validate()?;
    let branch = BranchName::parse("main")?;
    let source = GitSource { provider: ProviderName::parse("gitlab")?, repository, branch };
    Ok(Service { name: ServiceName::parse("app")?, source: Source::Git(source), settings })
}

/// A push as GitLab tells it, of one commit.
fn body(before: &str, after: &str) -> String {
    let project = serde_json::json!({ "id": 77, "name": "App", "path_with_namespace": PATH, "default_branch": "main",
        "web_url": "https://git.example.org/group/app" });
    let commit = serde_json::json!({ "id": after, "message": "Change", "title": "Change", "timestamp": "2026-11-02T10:11:12+01:00",
        "url": "https://git.example.org/group/app", "author": { "name": "Grace", "email": "" },
        "added": [], "modified": ["Dockerfile"], "removed": [] });
    serde_json::json!({ "object_kind": "push", "event_name": "push", "before": before, "after": after, "ref": "refs/heads/main",
        "checkout_sha": after, "message": null, "user_id": 9, "user_name": "Ada L.", "user_username": "ada",
        "project_id": 77, "project": project, "commits": [commit], "total_commits_count": 1 })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_times_the_slowest_is_left_out() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(p99(&times), Duration::from_millis(99));
        assert_eq!(p99(&times[..10]), Duration::from_millis(10));
        assert_eq!(p99(&[]), Duration::ZERO);
    }
}
