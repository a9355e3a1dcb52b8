//! Deliveries of a plain repository's post-receive hook: both sides of them.

use std::borrow::Cow;

use jiff::Timestamp;
use kiops_core::event::{Actor, ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, TagPush, Tip};
use kiops_core::name::{GitRef, NameError, ProviderLiteral, ProviderName};
use kiops_core::webhook::{Delivery, ReplayKey, SecretSet, Verification, WebhookSource, peek, scheme};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::body::{check_repeats, ignored, parse};

const NAME: ProviderLiteral = ProviderLiteral::new("plain");

/// Webhooks of plain repositories, named `plain`: one POST a push, signed by Standard Webhooks, with a [`Notice`] as body.
///
/// Each change is one event: a push, a tag, or something ignored where the ref is neither a branch nor a tag, or its name
/// or ids are none that kiops handles. What files changed is never said ([`ChangedFiles::Unknown`]), nor what a tag
/// object points at: the repository is there to be asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainWebhook;

/// The body of a delivery: what one `git push` changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice<'a> {
    /// The repository's path or URL, exactly as it is registered.
    #[serde(borrow)]
    pub repository: Cow<'a, str>,
    /// Who pushed, for people to read. May be empty.
    #[serde(borrow, default)]
    pub pusher: Cow<'a, str>,
    /// What was pushed, in the order that the hook was told.
    pub changes: Vec<Change<'a>>,
}

/// One ref that a push changed: the three words of a line that Git gives a post-receive hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<'a> {
    /// The full ref.
    #[serde(rename = "ref", borrow)]
    pub git_ref: Cow<'a, str>,
    /// The object before; zeros: there was none.
    #[serde(borrow)]
    pub before: Cow<'a, str>,
    /// The object after; zeros: the ref was deleted.
    #[serde(borrow)]
    pub after: Cow<'a, str>,
}

impl Notice<'_> {
    /// The bytes to sign and send.
    pub fn body(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::internal("write delivery", "it has no JSON form").with_source(error))
    }
}

impl WebhookSource for PlainWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let [path] = peek(&delivery.body, [&["repository"]], |found| found[0].is_some());
        path.filter(|path| !path.is_empty()).map(|path| Repository { id: None, path: path.into_owned() })
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::standard_webhooks(delivery, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        let notice: Notice<'_> = parse(&delivery.body, "plain repository's delivery")?;
        check_repeats(notice.repository.len() + notice.pusher.len(), notice.changes.len())?;
        let repository = Repository { id: None, path: notice.repository.into_owned() };
        let actor = (!notice.pusher.is_empty()).then(|| Actor { id: None, name: notice.pusher.into_owned() });
        let event = |change: &Change<'_>| match kind(change) {
            Ok(Some(kind)) => Event { repository: repository.clone(), actor: actor.clone(), kind },
            Ok(None) => {
                let note = format!("`{}` is neither a branch nor a tag", change.git_ref.escape_debug());
                ignored(repository.clone(), "push", note)
            }
            Err(error) => ignored(repository.clone(), "push", error.to_string()),
        };
        Ok(notice.changes.iter().map(event).collect())
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        match delivery.header(scheme::ID_HEADER) {
            Some(id) => ReplayKey::of_signed_id(id),
            None => ReplayKey::of_body(delivery),
        }
    }
}

fn kind(change: &Change<'_>) -> Result<Option<EventKind>, NameError> {
    let git_ref = GitRef::parse(&change.git_ref)?;
    let (before, head) = (Tip::parse(&change.before)?, Tip::parse(&change.after)?);
    let (files, commit) = (ChangedFiles::Unknown, CommitFacts::default());
    Ok(match git_ref {
        GitRef::Branch(_) => {
            Some(EventKind::Push(Push { action: None, git_ref, before, head, files, message: None, commit }))
        }
        GitRef::Tag(_) => Some(EventKind::Tag(TagPush {
            action: None,
            git_ref,
            before,
            head,
            commit_id: None,
            message: None,
            annotation: None,
            files,
            commit,
        })),
        GitRef::Other(_) => None,
    })
}
