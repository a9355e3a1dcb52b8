//! Telling a Git host how builds stand: commit statuses, and a comment on the merge request.

use std::sync::{Arc, PoisonError};

use tokio::sync::Mutex;

use super::Shared;
use crate::build::Build;
use crate::engine::report;
use crate::error::{Error, Result, Retry};
use crate::event::{EventKind, Repository};
use crate::log::NewLine;
use crate::name::{BuildId, GitRef};
use crate::policy::RefKey;
use crate::provider::{CommitStatus, StatusMergeRequest, StatusSubject, Statuses};
use crate::release::BuildView;
use crate::service::{GitSource, Report, Service};
use crate::stage::Stage;
use crate::store::{Claim, Page};

/// The status that was told last, as far as this process knows; the lock orders those who tell.
pub(super) type Told = Arc<Mutex<Option<CommitStatus>>>;

/// How many builds' last statuses are remembered at most.
const TOLD_MAX: usize = 4096;

/// How many Git hosts are told something at once.
pub(super) const AT_ONCE: usize = 8;

/// How often something is told that fails for reasons that may pass: with waits of up to a minute, for about three hours. A status that
/// stays behind could block a merge for ever.
const TRIES: u32 = 200;

/// Among how many of a service's newest builds another one of the same commit is looked for.
const NEWEST: u32 = 100;

impl Shared {
    /// Tells how a build stands *now*: whatever happened since the work was stored is told along with it, and work that has nothing new to
    /// tell says nothing. So no status is older than the one before, and many changes in a row become one.
    pub(super) async fn report(&self, claim: &Claim, id: &BuildId) -> Result<()> {
        let _place = self.telling.acquire().await;
        match self.tell_host(claim, id).await {
            Err(error) if error.retry() != Retry::Never && claim.failures + 1 < TRIES => Err(error),
            // A build is worth more than its status: what cannot be told is said in its log, and no more.
            Err(error) => {
                tracing::warn!(build = %id, %error, "the Git host could not be told of a build");
                self.note(claim, id, &error).await;
                self.store.finish(claim).await
            }
            Ok(()) => self.store.finish(claim).await,
        }
    }

    async fn tell_host(&self, claim: &Claim, id: &BuildId) -> Result<()> {
        let Some(service) = self.store.service(&claim.work.service).await? else { return Ok(()) };
        let service = service.value;
        let Some(git) = service.source.git() else { return Ok(()) };
        let provider = self.adapters.provider(&git.provider)?;
        let Some(statuses) = provider.statuses() else { return Ok(()) };
        let told = self.told(id);
        let mut told = told.lock().await;
        // Whoever tried before may have told something, of which we know nothing.
        if claim.failures > 0 {
            *told = None;
        }
        loop {
            let Some((build, view)) = self.seen(id).await? else { return Ok(()) };
            // The host has one place for a commit's status: it belongs to the newest build of that commit.
            if self.is_replaced(&build).await? {
                return Ok(());
            }
            let several = service.settings.components.len() > 1;
            let status = report::status(&build, &view, several, self.build_url(&build));
            // Another process may have told something older meanwhile: look until nothing changes.
            if told.as_ref() == Some(&status) {
                return Ok(());
            }
            // Where this fails, the host may have taken it all the same.
            *told = None;
            self.tell_status(statuses, &service, git, &build, &view, &status).await?;
            *told = Some(status);
        }
    }

    /// Whether a newer build of the same component and commit has taken this one's place at the host.
    async fn is_replaced(&self, build: &Build) -> Result<bool> {
        let newest = self.store.builds(Some(build.service()), Page::first(NEWEST)).await?;
        Ok(newest.items.iter().any(|other| {
            other.order > build.order
                && other.commit() == build.commit()
                && other.component() == build.component()
        }))
    }

    async fn tell_status(
        &self,
        statuses: &dyn Statuses,
        service: &Service,
        git: &GitSource,
        build: &Build,
        view: &BuildView,
        status: &CommitStatus,
    ) -> Result<()> {
        let Report { status: wants_status, comment: wants_comment } = service.settings.auto_ci.report;
        let requests = self.merge_requests(build).await?;
        if wants_status {
            let subject = StatusSubject {
                repository: git.repository.clone(),
                commit: build.commit().clone(),
                git_ref: build.requesters.iter().find_map(|requester| git_ref(&requester.scope)),
                merge_request: requests.first().cloned(),
            };
            statuses.set_status(&subject, status).await?;
        }
        if wants_comment && view.state.is_over() {
            let text = report::comment(build, view, status);
            for request in &requests {
                statuses.comment(&git.repository, request.number, &status.context, &text).await?;
            }
        }
        Ok(())
    }

    /// The merge requests that asked for a build, with the forks that they come from.
    async fn merge_requests(&self, build: &Build) -> Result<Vec<StatusMergeRequest>> {
        let mut requests = Vec::new();
        for (number, delivery) in report::merge_requests(build) {
            let record = match &delivery {
                Some(delivery) => self.store.delivery(delivery).await?,
                None => None,
            };
            let fork = record.and_then(|record| {
                record.events.into_iter().find_map(|event| match event.event.kind {
                    EventKind::MergeRequest(request) if request.number == Some(number) && request.fork => {
                        request.source_repository
                    }
                    _ => None,
                })
            });
            let fork = fork.map(|id| Repository { id: Some(id), path: String::new() });
            requests.push(StatusMergeRequest { number, fork });
        }
        Ok(requests)
    }

    /// A build and what people see of it.
    async fn seen(&self, id: &BuildId) -> Result<Option<(Build, BuildView)>> {
        let Some(build) = self.store.build(id).await? else { return Ok(None) };
        let release = match &build.release {
            Some(release) => self.store.release(release).await?,
            None => None,
        };
        let view = BuildView::of(&build, release.as_ref());
        Ok(Some((build, view)))
    }

    fn build_url(&self, build: &Build) -> Option<String> {
        let pattern = self.config.build_url.as_ref()?;
        Some(pattern.replace("{service}", build.service().as_str()).replace("{build}", build.id.as_str()))
    }

    fn told(&self, id: &BuildId) -> Told {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= TOLD_MAX {
            // What is forgotten is told once more at most.
            all.retain(|_, told| Arc::strong_count(told) > 1);
        }
        Arc::clone(all.entry(id.clone()).or_default())
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

fn git_ref(scope: &RefKey) -> Option<GitRef> {
    match scope {
        RefKey::Branch(branch) => Some(GitRef::Branch(branch.clone())),
        RefKey::Tag(tag) => Some(GitRef::Tag(tag.clone())),
        RefKey::MergeRequest(_) | RefKey::Manual(_) => None,
    }
}
