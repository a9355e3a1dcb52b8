//! Finding lost webhooks: heads are listed, and one without a decision becomes a push of our own making.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
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
        self.shared.listed().get(service).copied()
    }
}

impl Shared {
    fn listed(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, bool>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The heads of a service, as its host lists them.
    async fn list(&self, service: &Service, git: &GitSource) -> Result<Vec<Head>> {
        let listed = match self.adapters.provider(&git.provider) {
            Ok(provider) => provider.heads(&git.repository).await,
            Err(error) => Err(error),
        };
        self.listed().insert(service.name.clone(), listed.is_ok());
        listed
    }

    async fn reconcile_service(&self, service: &Service) -> Result<usize> {
        let Source::Git(git) = &service.source else { return Ok(0) };
        if !service.settings.auto_ci.enabled || self.store.has_undecided(&service.name).await? {
            return Ok(0);
        }
        let heads = self.list(service, git).await?;
        let keyed: Vec<(RefKey, Head)> = heads
            .into_iter()
            .filter_map(|head| Some((RefKey::of_ref(&head.git_ref)?, head)))
            .filter(|(_, head)| wanted(service, &head.git_ref, &head.commit))
            .collect();
        let standings = self.standings(service, &keyed).await?;
        // What was tagged before the service was registered is history, not news.
        let first_sight = standings.iter().all(|standing| *standing == HeadStanding::New);
        let (mut news, mut history) = (Vec::new(), Vec::new());
        for ((key, head), standing) in keyed.into_iter().zip(standings) {
            match standing {
                HeadStanding::Decided => {}
                HeadStanding::New if first_sight && matches!(key, RefKey::Tag(_)) => {
                    history.push((key, head.commit));
                }
                HeadStanding::Known(_) | HeadStanding::New => news.push((key, head)),
            }
        }
        if !history.is_empty() {
            self.store.note_heads(&service.name, &history).await?;
        }
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

    async fn standings(&self, service: &Service, heads: &[(RefKey, Head)]) -> Result<Vec<HeadStanding>> {
        // A tag that was skipped before anybody asked for its commit is known by its tag object.
        let names = |head: &Head| [Some(head.commit.clone()), head.object.clone()].into_iter().flatten();
        let asked: Vec<(RefKey, CommitId)> =
            heads.iter().flat_map(|(key, head)| names(head).map(|name| (key.clone(), name))).collect();
        let mut answers = self.store.decided(&service.name, &asked).await?.into_iter();
        let standing = |(_, head): &(RefKey, Head)| {
            let commit = answers.next().unwrap_or(HeadStanding::New);
            let object = head.object.as_ref().and_then(|_| answers.next());
            if object == Some(HeadStanding::Decided) { HeadStanding::Decided } else { commit }
        };
        Ok(heads.iter().map(standing).collect())
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
