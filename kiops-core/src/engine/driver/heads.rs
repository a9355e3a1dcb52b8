//! Finding lost webhooks: heads are listed, and one without a decision becomes a push of our own making.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::{Driver, Shared};
use crate::build::Trigger;
use crate::error::Result;
use crate::event::{ChangedFiles, CommitFacts, Event, EventKind, Push, TagPush, Tip};
use crate::name::{CommitId, DeliveryId, GitRef, ServiceName};
use crate::policy::{Facts, Outcome, RefKey, RefState, Rules, SkipReason, decide};
use crate::provider::Head;
use crate::service::{GitSource, Service, Source};
use crate::store::{Accepted, DeliveryRecord, EventRecord, HeadStanding, NewDelivery, Page, Wants};
use crate::webhook::ReplayKey;

pub(super) async fn run(driver: Driver, every: Duration) {
    loop {
        if let Err(error) = driver.reconcile_heads().await {
            tracing::error!(%error, "heads could not be listed");
        }
        tokio::time::sleep(every).await;
    }
}

/// How a service's heads were listed the last time.
#[derive(Debug, Default)]
pub(super) struct Listed {
    worked: bool,
    /// A digest of the history that was noted.
    noted: Option<u64>,
}

impl Driver {
    /// Lists the heads of every service and takes in those that no delivery told of. Says how many there were.
    pub async fn reconcile_heads(&self) -> Result<usize> {
        let mut found = 0;
        let mut offset = 0;
        let mut seen = BTreeSet::new();
        loop {
            let page = self.shared.store.services(Page { limit: 100, offset }).await?;
            for service in &page.items {
                seen.insert(service.value.name.clone());
                match self.shared.reconcile_service(&service.value).await {
                    Ok(some) => found += some,
                    // One repository that cannot be reached stands in no other's way.
                    Err(error) => {
                        tracing::warn!(service = %service.value.name, %error, "heads could not be listed")
                    }
                }
            }
            offset += page.items.len() as u64;
            if page.items.is_empty() || offset >= page.total {
                break;
            }
        }
        self.shared.listed().retain(|service, _| seen.contains(service));
        if found > 0 {
            self.wake();
        }
        Ok(found)
    }

    /// Whether a service's heads could be listed by this process the last time; `None`: that was not tried yet.
    pub fn listed(&self, service: &ServiceName) -> Option<bool> {
        self.shared.listed().get(service).map(|listed| listed.worked)
    }
}

impl Shared {
    fn listed(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Listed>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The heads of a service, as its host lists them.
    async fn list(&self, service: &Service, git: &GitSource) -> Result<Vec<Head>> {
        let listed = match self.adapters.provider(&git.provider) {
            Ok(provider) => provider.heads(&git.repository).await,
            Err(error) => Err(error),
        };
        self.listed().entry(service.name.clone()).or_default().worked = listed.is_ok();
        listed
    }

    async fn reconcile_service(&self, service: &Service) -> Result<usize> {
        let Source::Git(git) = &service.source else { return Ok(0) };
        if !service.settings.auto_ci.enabled || self.store.has_undecided(&service.name).await? {
            return Ok(0);
        }
        let heads = self.list(service, git).await?;
        let keyed = heads.into_iter().filter_map(|head| Some((RefKey::of_ref(&head.git_ref)?, head)));
        let (keyed, others): (Vec<_>, Vec<_>) =
            keyed.partition(|(_, head)| wanted(service, &head.git_ref, &head.commit));
        let (listed_before, standings) = self.standings(service, &keyed).await?;
        // What was tagged before the service was registered, or while nobody asked for such tags, is history, not news.
        let is_tag = |key: &RefKey| matches!(key, RefKey::Tag(_));
        let others = others.into_iter().filter(|(key, _)| is_tag(key));
        let mut history: Vec<(RefKey, CommitId)> = others.map(|(key, head)| (key, head.commit)).collect();
        let mut news = Vec::new();
        for ((key, head), standing) in keyed.into_iter().zip(standings) {
            match standing {
                HeadStanding::Decided => {}
                HeadStanding::New if !listed_before && is_tag(&key) => history.push((key, head.commit)),
                HeadStanding::Known(_) | HeadStanding::New => news.push((key, head)),
            }
        }
        if !listed_before {
            history.push((RefKey::Listed, mark()?));
        }
        self.note_history(service, &history).await?;
        if news.is_empty() {
            return Ok(0);
        }
        let wants = Wants {
            refs: news.iter().map(|(key, _)| key.clone()).collect(),
            ..Wants::of(service.name.clone())
        };
        let known = self.store.view(&wants).await?.refs;
        // What was listed may be older than what has been decided meanwhile. A head that is still there after what is known was
        // read is not.
        let listed = self.list(service, git).await?;
        let now: BTreeMap<&GitRef, &CommitId> =
            listed.iter().map(|head| (&head.git_ref, &head.commit)).collect();
        let made_up = news.into_iter().filter_map(|(key, Head { commit, git_ref, .. })| {
            let state = known.get(&key);
            let is_news = HeadStanding::of(&key, &commit, state) != HeadStanding::Decided;
            (is_news && now.get(&git_ref) == Some(&&commit))
                .then(|| self.made_up(service, git, git_ref, state, commit))
        });
        let accepted = self.store.accept(made_up.collect()).await?;
        let new = accepted.iter().filter(|accepted| matches!(accepted, Accepted::New(_))).count();
        if new > 0 {
            tracing::info!(service = %service.name, heads = new, "heads without a decision were found");
        }
        Ok(new)
    }

    /// Whether heads were listed before, and how each of these stands.
    async fn standings(
        &self,
        service: &Service,
        heads: &[(RefKey, Head)],
    ) -> Result<(bool, Vec<HeadStanding>)> {
        // A tag that was skipped before anybody asked for its commit is known by its tag object.
        let names = |head: &Head| [Some(head.commit.clone()), head.object.clone()].into_iter().flatten();
        let mut asked = vec![(RefKey::Listed, mark()?)];
        asked.extend(heads.iter().flat_map(|(key, head)| names(head).map(|name| (key.clone(), name))));
        let mut answers = self.store.decided(&service.name, &asked).await?.into_iter();
        let listed_before = answers.next() == Some(HeadStanding::Decided);
        let standing = |(_, head): &(RefKey, Head)| {
            let commit = answers.next().unwrap_or(HeadStanding::New);
            let object = head.object.as_ref().and_then(|_| answers.next());
            if object == Some(HeadStanding::Decided) { HeadStanding::Decided } else { commit }
        };
        Ok((listed_before, heads.iter().map(standing).collect()))
    }

    /// Notes what is nobody's news. A repository has many tags that few rounds change: the same ones are noted once by each process.
    async fn note_history(&self, service: &Service, history: &[(RefKey, CommitId)]) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        history.hash(&mut hasher);
        let digest = Some(hasher.finish());
        let is_noted = self.listed().get(&service.name).is_some_and(|listed| listed.noted == digest);
        if history.is_empty() || is_noted {
            return Ok(());
        }
        self.store.note_heads(&service.name, history).await?;
        self.listed().entry(service.name.clone()).or_default().noted = digest;
        Ok(())
    }

    fn made_up(
        &self,
        service: &Service,
        git: &GitSource,
        git_ref: GitRef,
        known: Option<&RefState>,
        head: CommitId,
    ) -> NewDelivery {
        let now = self.clock.now();
        let before = known.and_then(|state| state.newest.clone());
        let moves = known.map_or(0, |state| state.moves);
        let replay = ReplayKey::of_head(&git_ref, before.as_ref(), &head, moves);
        let id = DeliveryId::derive([
            service.name.as_str(),
            "reconcile",
            replay.as_str(),
            &now.as_nanosecond().to_string(),
        ]);
        let record = DeliveryRecord {
            id,
            service: service.name.clone(),
            provider: git.provider.clone(),
            trigger: Trigger::Reconcile,
            received_at: now,
            signed: true,
            repeat: false,
            events: vec![EventRecord::new(event(service, git_ref, before, head))],
            quarantined: None,
        };
        NewDelivery { record, body_digest: replay.as_str().to_owned(), replay, body: bytes::Bytes::new() }
    }
}

/// What the mark [`RefKey::Listed`] points at: Git's name for a tree without anything.
fn mark() -> Result<CommitId> {
    Ok(CommitId::parse("4b825dc642cb6eb9a060e54bf8d69288fbee4904")?)
}

fn event(service: &Service, git_ref: GitRef, before: Option<CommitId>, head: CommitId) -> Event {
    let repository = service.source.git().map(|git| git.repository.clone()).unwrap_or_default();
    let kind = if git_ref.tag().is_some() {
        EventKind::Tag(TagPush {
            action: None,
            git_ref,
            before: Tip::from(before),
            head: Tip::At(head.clone()),
            commit_id: Some(head),
            message: None,
            annotation: None,
            files: ChangedFiles::Unknown,
            commit: CommitFacts::default(),
        })
    } else {
        EventKind::Push(Push {
            action: None,
            git_ref,
            before: Tip::from(before),
            head: Tip::At(head),
            files: ChangedFiles::Unknown,
            message: None,
            commit: CommitFacts::default(),
        })
    };
    Event { repository, actor: None, kind }
}

/// Whether the filters could let this head through at all: the others are not worth a record.
fn wanted(service: &Service, git_ref: &GitRef, commit: &CommitId) -> bool {
    let event = event(service, git_ref.clone(), None, commit.clone());
    let decision = decide(&Rules::none(), service, &event, &Facts::default());
    !matches!(decision.outcome, Outcome::Skip(skip) if matches!(
        skip.reason,
        SkipReason::AutoCiOff | SkipReason::TriggerOff | SkipReason::RefNotMatched | SkipReason::NotRelevant
    ))
}
