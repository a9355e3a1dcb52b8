//! Telling a Git host how commits stand: commit statuses, and a comment on the merge request.

use std::sync::{Arc, PoisonError};

use tokio::sync::Mutex;

use super::Shared;
use crate::build::Build;
use crate::engine::decide::touched;
use crate::engine::report;
use crate::engine::unbuilt::unbuilt;
use crate::error::{Error, Result, Retry};
use crate::event::{EventKind, MergeRequest, Repository};
use crate::log::NewLine;
use crate::name::{BuildId, CommitId, ComponentName, DeliveryId, GitRef, ServiceName};
use crate::policy::RefKey;
use crate::provider::{CommitStatus, StatusMergeRequest, StatusSubject, Statuses};
use crate::release::BuildView;
use crate::service::{GitSource, Report};
use crate::stage::Stage;
use crate::store::{Claim, Wants};

/// What a Git host has one place for: builds of the same commit and component take turns in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    service: ServiceName,
    component: ComponentName,
    commit: CommitId,
}

/// What a host is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    status: CommitStatus,
    git_ref: Option<GitRef>,
    /// The merge requests that it is told for.
    requests: Vec<StatusMergeRequest>,
    /// What is written on them, once there is nothing to wait for.
    comment: Option<String>,
}

/// What was told last in a place, as far as this process knows; the lock orders those who tell.
pub(super) type Told = Arc<Mutex<Option<Words>>>;

/// How many places' last words are remembered at most.
const TOLD_MAX: usize = 4096;

/// How many Git hosts are told something at once.
pub(super) const AT_ONCE: usize = 8;

/// How often something is told that fails for reasons that may pass: with waits of up to a minute, for about three hours. A status that
/// stays behind could block a merge for ever.
const TRIES: u32 = 200;

impl Shared {
    /// Tells how a build stands *now*: whatever happened since the work was stored is told along with it, and work that has nothing new to
    /// tell says nothing. So no status is older than the one before, and many changes in a row become one.
    pub(super) async fn report(&self, claim: &Claim, id: &BuildId) -> Result<()> {
        let telling = async {
            match self.store.build(id).await? {
                Some(build) => self.tell_host(claim, &Place::of(&build), None).await,
                None => Ok(()),
            }
        };
        if let Some(error) = self.in_turn(claim, telling).await? {
            tracing::warn!(build = %id, %error, "the Git host could not be told of a build");
            self.note(claim, id, &error).await;
        }
        self.store.finish(claim).await
    }

    /// Tells why a delivery's commits were not built, where nothing was built of them by now.
    pub(super) async fn report_decision(&self, claim: &Claim, id: &DeliveryId) -> Result<()> {
        let telling = async {
            let service = self.store.service(&claim.work.service).await?;
            let record = self.store.delivery(id).await?;
            let (Some(service), Some(record)) = (service, record) else { return Ok(()) };
            for event in &record.events {
                let Some(commit) = event.head() else { continue };
                let request = match &event.event.kind {
                    EventKind::MergeRequest(request) => status_request(request),
                    _ => None,
                };
                let git_ref = touched(event).0.and_then(git_ref);
                for (component, status) in unbuilt(&service.value, event) {
                    let place = Place { service: record.service.clone(), component, commit: commit.clone() };
                    let (git_ref, requests) = (git_ref.clone(), request.iter().cloned().collect());
                    let words = Words { status, git_ref, requests, comment: None };
                    self.tell_host(claim, &place, Some(words)).await?;
                }
            }
            Ok(())
        };
        if let Some(error) = self.in_turn(claim, telling).await? {
            tracing::warn!(delivery = %id, %error, "the Git host could not be told why nothing was built");
        }
        self.store.finish(claim).await
    }

    /// Tells when its turn comes. An error is to be tried again; what is given back is one that is not, or not any more: a build is worth
    /// more than its status.
    async fn in_turn(
        &self,
        claim: &Claim,
        telling: impl Future<Output = Result<()>>,
    ) -> Result<Option<Error>> {
        let _turn = self.telling.acquire().await;
        match telling.await {
            Err(error) if error.retry() != Retry::Never && claim.failures + 1 < TRIES => Err(error),
            Err(error) => Ok(Some(error)),
            Ok(()) => Ok(None),
        }
    }

    /// Tells the newest of a place: how the newest build of the commit stands, and `otherwise` where there is none.
    async fn tell_host(&self, claim: &Claim, place: &Place, otherwise: Option<Words>) -> Result<()> {
        let Some(service) = self.store.service(&place.service).await? else { return Ok(()) };
        let service = service.value;
        let Some(git) = service.source.git() else { return Ok(()) };
        let provider = self.adapters.provider(&git.provider)?;
        let Some(statuses) = provider.statuses() else { return Ok(()) };
        let told = self.told(place);
        let mut told = told.lock().await;
        // Whoever tried before may have told something, of which we know nothing.
        if claim.failures > 0 {
            *told = None;
        }
        // Another process may have told something older meanwhile: look until nothing changes.
        loop {
            let words = match self.newest_build(place).await? {
                Some(build) => Some(self.words(&build).await?),
                None => otherwise.clone(),
            };
            let Some(words) = words.filter(|words| told.as_ref() != Some(words)) else { return Ok(()) };
            // Where this fails, the host may have taken it all the same.
            *told = None;
            say(statuses, service.settings.auto_ci.report, git, &place.commit, &words).await?;
            *told = Some(words);
        }
    }

    /// The newest build of a place: the host's one place is its.
    async fn newest_build(&self, place: &Place) -> Result<Option<Build>> {
        let mut wants = Wants::of(place.service.clone());
        wants.commits.insert(place.commit.clone());
        let builds = self.store.view(&wants).await?.builds;
        let of_place = builds.into_values().filter(|build| Place::of(build) == *place);
        Ok(of_place.max_by_key(|build| build.order))
    }

    async fn words(&self, build: &Build) -> Result<Words> {
        let release = match &build.release {
            Some(release) => self.store.release(release).await?,
            None => None,
        };
        let view = BuildView::of(build, release.as_ref());
        let status = report::status(build, &view, self.build_url(build));
        let comment = view.state.is_over().then(|| report::comment(build, &view, &status));
        let git_ref = build.requesters.iter().filter_map(|by| build.ref_of(by)).find_map(git_ref);
        Ok(Words { status, git_ref, requests: self.merge_requests(build).await?, comment })
    }

    /// The merge requests that asked for a build, with the forks that they come from.
    async fn merge_requests(&self, build: &Build) -> Result<Vec<StatusMergeRequest>> {
        let mut requests = Vec::new();
        for by in &build.requesters {
            let RefKey::MergeRequest(number) = by.scope else { continue };
            let record = match &by.delivery {
                Some(delivery) => self.store.delivery(delivery).await?,
                None => None,
            };
            let found = record.and_then(|record| {
                record.events.iter().find_map(|event| match &event.event.kind {
                    EventKind::MergeRequest(request) if request.number == Some(number) => {
                        status_request(request)
                    }
                    _ => None,
                })
            });
            requests.push(found.unwrap_or(StatusMergeRequest { number, fork: None }));
        }
        Ok(requests)
    }

    fn build_url(&self, build: &Build) -> Option<String> {
        let pattern = self.config.build_url.as_ref()?;
        Some(pattern.replace("{service}", build.service().as_str()).replace("{build}", build.id.as_str()))
    }

    fn told(&self, place: &Place) -> Told {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= TOLD_MAX {
            // What is forgotten is told once more at most.
            all.retain(|_, told| Arc::strong_count(told) > 1);
        }
        Arc::clone(all.entry(place.clone()).or_default())
    }

    /// Says in a build's log that the host could not be told.
    async fn note(&self, claim: &Claim, id: &BuildId, error: &Error) {
        let stage = Stage::Setup;
        let text = format!("The commit status could not be set: {error}");
        let line = NewLine { at: self.clock.now(), stage, text };
        if let Err(error) = self.logs.append(id, claim.work.id.as_str(), 1, vec![line]).await {
            tracing::debug!(%error, "nor could that be written to the log");
        }
    }
}

impl Place {
    fn of(build: &Build) -> Self {
        let (service, component) = (build.service().clone(), build.component().clone());
        Self { service, component, commit: build.commit().clone() }
    }
}

async fn say(
    statuses: &dyn Statuses,
    report: Report,
    git: &GitSource,
    commit: &CommitId,
    words: &Words,
) -> Result<()> {
    let Words { status, git_ref, requests, comment } = words;
    if report.status {
        let subject = |merge_request: Option<&StatusMergeRequest>| StatusSubject {
            repository: git.repository.clone(),
            commit: commit.clone(),
            git_ref: git_ref.clone(),
            merge_request: merge_request.cloned(),
        };
        // A commit lies in every fork that it is offered from.
        for (at, request) in requests.iter().enumerate() {
            if requests[..at].iter().all(|other| other.fork != request.fork) {
                statuses.set_status(&subject(Some(request)), status).await?;
            }
        }
        if requests.is_empty() {
            statuses.set_status(&subject(None), status).await?;
        }
    }
    if let Some(comment) = comment.as_ref().filter(|_| report.comment) {
        for request in requests {
            statuses.comment(&git.repository, request.number, &status.context, comment).await?;
        }
    }
    Ok(())
}

/// A merge request, as a status belongs to it.
fn status_request(request: &MergeRequest) -> Option<StatusMergeRequest> {
    let fork = request.source_repository.clone().filter(|_| request.fork);
    let fork = fork.map(|id| Repository { id: Some(id), path: String::new() });
    Some(StatusMergeRequest { number: request.number?, fork })
}

fn git_ref(scope: RefKey) -> Option<GitRef> {
    match scope {
        RefKey::Branch(branch) => Some(GitRef::Branch(branch)),
        RefKey::Tag(tag) => Some(GitRef::Tag(tag)),
        RefKey::MergeRequest(_) | RefKey::Manual(_) => None,
    }
}
