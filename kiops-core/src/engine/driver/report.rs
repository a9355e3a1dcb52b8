//! Telling a Git host how commits stand: commit statuses, and a comment on the merge request.

use std::sync::{Arc, PoisonError};

use tokio::sync::{Mutex, Semaphore};

use super::Shared;
use crate::access::Trust;
use crate::build::Build;
use crate::engine::decide::touched;
use crate::engine::report;
use crate::engine::unbuilt::unbuilt;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::{EventKind, MergeRequest, Repository};
use crate::log::NewLine;
use crate::name::{BuildId, CommitId, ComponentName, DeliveryId, GitRef, ProviderName, ServiceName};
use crate::policy::RefKey;
use crate::provider::{CommitStatus, StatusMergeRequest, StatusSubject};
use crate::release::BuildView;
use crate::service::Report;
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
    provider: ProviderName,
    repository: Repository,
    status: CommitStatus,
    git_ref: Option<GitRef>,
    /// Whether it is told of the repository itself, beside the merge requests.
    at_home: bool,
    /// The merge requests that it is told for.
    requests: Vec<StatusMergeRequest>,
    /// What is written on which of them, once there is nothing to wait for.
    comments: Vec<(u64, String)>,
}

/// What was told last in a place, as far as this process knows, and the ledger's version that it was read at; the lock orders those who
/// tell.
pub(super) type Told = Arc<Mutex<Option<(Words, u64)>>>;

/// How many places' last words are remembered at most.
const TOLD_MAX: usize = 4096;

/// How much one Git host is told at once.
const AT_ONCE: usize = 8;

/// How often something is told that fails for reasons that may pass: with waits of up to a minute, for about three hours. A status that
/// stays behind could block a merge for ever.
const TRIES: u32 = 200;

/// The same where the host refuses us: a token that ended may be renewed.
const REFUSED_TRIES: u32 = 30;

impl Shared {
    /// Tells how a build stands *now*: whatever happened since the work was stored is told along with it, and work that has nothing new to
    /// tell says nothing. So no status is older than the one before, and many changes in a row become one.
    pub(super) async fn report(&self, claim: &Claim, id: &BuildId, version: u64) -> Result<()> {
        let telling = async {
            match self.store.build(id).await? {
                Some(build) => self.tell_host(claim, &Place::of(&build), version, None).await,
                None => Ok(()),
            }
        };
        if let Some(error) = given_up(claim, telling.await)? {
            tracing::warn!(build = %id, %error, "the Git host could not be told of a build");
            self.note(claim, id, &error).await;
        }
        self.store.finish(claim).await
    }

    /// Tells why a delivery's commits were not built, where nothing was built of them by now.
    pub(super) async fn report_decision(&self, claim: &Claim, id: &DeliveryId, version: u64) -> Result<()> {
        let telling = async {
            let service = self.store.service(&claim.work.service).await?;
            let record = self.store.delivery(id).await?;
            let (Some(service), Some(record)) = (service, record) else { return Ok(()) };
            let Some(git) = service.value.source.git() else { return Ok(()) };
            for event in &record.events {
                let Some(commit) = event.head() else { continue };
                let request = match &event.event.kind {
                    EventKind::MergeRequest(request) => status_request(request),
                    _ => None,
                };
                let git_ref = touched(event).0.and_then(git_ref);
                for (component, status) in unbuilt(&service.value, event) {
                    let place = Place { service: record.service.clone(), component, commit: commit.clone() };
                    let words = Words {
                        provider: git.provider.clone(),
                        repository: git.repository.clone(),
                        status,
                        git_ref: git_ref.clone(),
                        at_home: request.is_none(),
                        requests: request.iter().cloned().collect(),
                        comments: Vec::new(),
                    };
                    self.tell_host(claim, &place, version, Some(words)).await?;
                }
            }
            Ok(())
        };
        if let Some(error) = given_up(claim, telling.await)? {
            tracing::warn!(delivery = %id, %error, "the Git host could not be told why nothing was built");
        }
        self.store.finish(claim).await
    }

    /// Tells the newest of a place: how the build that it belongs to stands, and `otherwise` where there is none.
    async fn tell_host(
        &self,
        claim: &Claim,
        place: &Place,
        asked: u64,
        otherwise: Option<Words>,
    ) -> Result<()> {
        let Some(service) = self.store.service(&place.service).await? else { return Ok(()) };
        let report = service.value.settings.auto_ci.report;
        let told = self.told(place);
        let mut told = told.lock().await;
        // Whoever tried before may have told something, of which we know nothing.
        let is_fresh = claim.failures == 0 && claim.claimed_before == 0;
        let mut said = None;
        // Another process may have told something older meanwhile: look until nothing changes.
        loop {
            let (words, version) = self.words(place, report.comment).await?;
            let Some(words) = words.or_else(|| otherwise.clone()) else { return Ok(()) };
            // What was told after the change was stored is as new as this. What another process told since was of a later change, whose own
            // work looks again.
            let known = |told: &(Words, u64)| is_fresh && told.1 > asked && told.0 == words;
            if said.as_ref() == Some(&words) || told.as_ref().is_some_and(known) {
                return Ok(());
            }
            // Where this fails, the host may have taken it all the same.
            *told = None;
            self.say(report, &place.commit, &words).await?;
            said = Some(words.clone());
            *told = Some((words, version));
        }
    }

    /// What a place shows now, and the ledger's version that this was read at; `None` where nothing was built.
    async fn words(&self, place: &Place, wants_comment: bool) -> Result<(Option<Words>, u64)> {
        let mut wants = Wants::of(place.service.clone());
        wants.commits.insert(place.commit.clone());
        let mut view = self.store.view(&wants).await?;
        let version = view.ledger.version;
        let mut builds: Vec<Build> = std::mem::take(&mut view.builds)
            .into_values()
            .filter(|build| Place::of(build) == *place)
            .collect();
        // A fork's build says less than one of the same commit with secrets and checks; of equals the newest counts.
        builds.sort_by_key(|build| (build.identity.trust != Trust::Fork, build.order));
        let Some(build) = builds.last() else { return Ok((None, version)) };
        let release = match &build.release {
            Some(release) => self.store.release(release).await?,
            None => None,
        };
        let seen = BuildView::of(build, release.as_ref());
        let status = report::status(build, &seen, self.build_url(build));
        let requests = self.merge_requests(&builds).await?;
        let comments = match wants_comment && seen.state.is_over() {
            true => {
                let preview =
                    release.as_ref().and_then(|release| report::preview(&view.environments, release));
                let text = |number: u64| {
                    let own = preview.as_ref().filter(|(of, _)| *of == number);
                    report::comment(build, &seen, &status, own.map(|(_, url)| url.as_str()))
                };
                let numbers = self.newest_at(place, &requests).await?;
                numbers.into_iter().map(|number| (number, text(number))).collect()
            }
            false => Vec::new(),
        };
        let scopes = || builds.iter().flat_map(|build| &build.requesters);
        let words = Words {
            provider: build.spec.provider.clone(),
            repository: build.spec.repository.clone(),
            git_ref: build.requesters.iter().filter_map(|by| build.ref_of(by)).find_map(git_ref),
            at_home: !scopes().all(|by| matches!(by.scope, RefKey::MergeRequest(_))) || requests.is_empty(),
            status,
            requests,
            comments,
        };
        Ok((Some(words), version))
    }

    /// The merge requests whose newest head this is: a comment is about the newest.
    async fn newest_at(&self, place: &Place, requests: &[StatusMergeRequest]) -> Result<Vec<u64>> {
        let mut wants = Wants::of(place.service.clone());
        wants.refs.extend(requests.iter().map(|request| RefKey::MergeRequest(request.number)));
        let refs = self.store.view(&wants).await?.refs;
        let is_newest = |number: &u64| {
            let state = refs.get(&RefKey::MergeRequest(*number));
            state.and_then(|state| state.newest.as_ref()).is_none_or(|newest| *newest == place.commit)
        };
        Ok(requests.iter().map(|request| request.number).filter(is_newest).collect())
    }

    /// The merge requests that asked for builds, each once, with the forks that they come from.
    async fn merge_requests(&self, builds: &[Build]) -> Result<Vec<StatusMergeRequest>> {
        let mut requests: Vec<StatusMergeRequest> = Vec::new();
        for by in builds.iter().flat_map(|build| &build.requesters) {
            let RefKey::MergeRequest(number) = by.scope else { continue };
            if requests.iter().any(|request| request.number == number) {
                continue;
            }
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

    async fn say(&self, report: Report, commit: &CommitId, words: &Words) -> Result<()> {
        let provider = self.adapters.provider(&words.provider)?;
        let Some(statuses) = provider.statuses() else { return Ok(()) };
        let turns = {
            let mut telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
            let turns =
                telling.entry(words.provider.clone()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)));
            Arc::clone(turns)
        };
        let _turn = turns.acquire().await;
        if report.status {
            let subject = |merge_request: Option<&StatusMergeRequest>| StatusSubject {
                repository: words.repository.clone(),
                commit: commit.clone(),
                git_ref: words.git_ref.clone(),
                merge_request: merge_request.cloned(),
            };
            // A commit lies in every fork that it is offered from.
            for (at, request) in words.requests.iter().enumerate() {
                if words.requests[..at].iter().all(|other| other.fork != request.fork) {
                    statuses.set_status(&subject(Some(request)), &words.status).await?;
                }
            }
            if words.at_home && words.requests.iter().all(|request| request.fork.is_some()) {
                statuses.set_status(&subject(None), &words.status).await?;
            }
        }
        for (number, text) in words.comments.iter().filter(|_| report.comment) {
            statuses.comment(&words.repository, *number, &words.status.context, text).await?;
        }
        Ok(())
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
        let line = NewLine { n: 1, at: self.clock.now(), stage, text };
        if let Err(error) = self.logs.append(id, claim.work.id.as_str(), vec![line]).await {
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

/// An error is to be tried again; what is given back is one that is not, or not any more: a build is worth more than its status.
fn given_up(claim: &Claim, result: Result<()>) -> Result<Option<Error>> {
    let Err(error) = result else { return Ok(None) };
    let refused = matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden);
    let tries = if refused { REFUSED_TRIES } else { TRIES };
    let passes = refused || error.retry() != Retry::Never;
    if !passes || claim.failures + 1 >= tries {
        return Ok(Some(error));
    }
    Err(if error.retry() == Retry::Never { error.with_retry(Retry::Maybe) } else { error })
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
        RefKey::MergeRequest(_)
        | RefKey::Manual(_)
        | RefKey::Listed
        | RefKey::Schedule
        | RefKey::BaseImages
        | RefKey::Previews => None,
    }
}
