//! From Bitbucket Data Center's bodies to events.

use std::borrow::Cow;

use jiff::Timestamp;
use kiops_core::event::{Actor, ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, TagPush};
use kiops_core::name::GitRef;
use kiops_core::webhook::peek;
use kiops_core::{Error, Result};
use serde::de::IgnoredAny;

use super::{payload, pull_request};
use crate::body::{check_repeats, ignored, keyed, names, parse, repo_id, stated, tip};

/// The repository that a body names, by no more reading than that takes: its own, else a pull request's target, else the one that
/// was renamed.
pub(super) fn named_repository(body: &[u8]) -> Repository {
    let found = peek(
        body,
        [
            &["repository", "project", "key"],
            &["repository", "slug"],
            &["repository", "id"],
            &["pullRequest", "toRef", "repository", "project", "key"],
            &["pullRequest", "toRef", "repository", "slug"],
            &["pullRequest", "toRef", "repository", "id"],
            &["new", "project", "key"],
            &["new", "slug"],
            &["new", "id"],
        ],
        |found| found[..3].iter().all(Option::is_some),
    );
    let (places, _) = found.as_chunks::<3>();
    let named = places.iter().find(|[key, slug, _]| key.is_some() && slug.is_some());
    let Some([Some(key), Some(slug), id]) = named else { return Repository::default() };
    Repository { id: repo_id(id.as_ref().and_then(|id| id.parse().ok())), path: path(key, slug) }
}

/// Decodes any body that Bitbucket Data Center sends. `header` is what `X-Event-Key` says.
pub(super) fn decode(header: Option<&str>, body: &[u8]) -> Result<Vec<Event>> {
    let [signed] = peek(body, [&["eventKey"]], |found| found[0].is_some());
    let key = signed.as_deref().filter(|key| !key.is_empty()).or(header).ok_or_else(|| {
        Error::invalid(
            "decode webhook",
            "neither `eventKey` nor the header X-Event-Key says what the body is",
        )
        .with_remedy("let every proxy between Bitbucket and here pass the header on")
    })?;
    let event = match key.split_once(':') {
        Some(("repo", "refs_changed") | ("mirror", "repo_synchronized")) => {
            return refs_changed(key, &parse(body, "Bitbucket push")?);
        }
        Some((
            "pr",
            action @ ("opened" | "from_ref_updated" | "to_ref_updated" | "modified" | "reopened" | "merged"
            | "declined" | "deleted"),
        )) => pull_request::decode(action, &parse(body, "Bitbucket pull request event")?)?,
        Some(("diagnostics", "ping")) => {
            parse::<IgnoredAny>(body, "JSON")?;
            Event { repository: named_repository(body), actor: sender(body), kind: EventKind::Ping }
        }
        _ => other(body, key)?,
    };
    Ok(vec![event])
}

/// An event for each branch and tag that changed (E48).
fn refs_changed(key: &str, event: &payload::RefsChanged<'_>) -> Result<Vec<Event>> {
    let repository = repository(&event.repository);
    let actor = event.actor.as_ref().and_then(actor);
    check_repeats(names(&repository, actor.as_ref()), event.changes.as_ref().map_or(0, Vec::len))?;
    let mut events = Vec::new();
    for change in event.changes.iter().flatten() {
        let kind = match GitRef::parse(change.ref_id.as_ref()) {
            Ok(GitRef::Other(whole)) => Err(format!("`{whole}` is neither a branch nor a tag")),
            Ok(git_ref) => Ok(moved(git_ref, change, event.to_commit.as_ref())?),
            Err(error) => Err(error.to_string()),
        };
        events.push(match kind {
            Ok(kind) => Event { repository: repository.clone(), actor: actor.clone(), kind },
            Err(note) => ignored(repository.clone(), key, note),
        });
    }
    if events.is_empty() {
        events.push(Event { repository, actor, kind: EventKind::EmptyPush });
    }
    Ok(events)
}

fn moved(
    git_ref: GitRef,
    change: &payload::Change<'_>,
    to_commit: Option<&payload::Commit<'_>>,
) -> Result<EventKind> {
    let before = tip("changes.fromHash", &change.from_hash)?;
    let head = tip("changes.toHash", &change.to_hash)?;
    // One commit is told of for all changes of a push: it speaks only for the one that leads to it.
    let commit = to_commit.filter(|commit| commit.id.as_ref() == Some(&change.to_hash));
    let message = commit.and_then(|commit| stated(commit.message.as_ref()));
    let commit = commit.map(facts).unwrap_or_default();
    let action = stated(change.kind.as_ref());
    // Of no push does a body say which files it changed: the provider is asked.
    let files = ChangedFiles::Unknown;
    Ok(if git_ref.tag().is_some() {
        EventKind::Tag(TagPush {
            action,
            git_ref,
            before,
            head,
            commit_id: None,
            message,
            annotation: None,
            files,
            commit,
        })
    } else {
        EventKind::Push(Push { action, git_ref, before, head, files, message, commit })
    })
}

fn facts(commit: &payload::Commit<'_>) -> CommitFacts {
    let author = commit.author.as_ref();
    let timestamp = commit.committer_timestamp.and_then(|at| match serde_json::from_str::<i64>(at.get()) {
        Ok(milliseconds) => {
            Timestamp::from_millisecond(milliseconds).ok().map(|timestamp| timestamp.to_string())
        }
        Err(_) => serde_json::from_str::<String>(at.get()).ok(),
    });
    CommitFacts {
        author: author
            .and_then(|who| stated(who.display_name.as_ref()).or_else(|| stated(who.name.as_ref()))),
        timestamp,
        url: None,
    }
}

/// Reads what is worth showing of any other event. It must be JSON; beyond that nothing is asked of it.
fn other(body: &[u8], key: &str) -> Result<Event> {
    parse::<IgnoredAny>(body, "JSON")?;
    let about = key.strip_prefix("pr:").and_then(|action| pull_request::about(action, body));
    Ok(Event { repository: named_repository(body), actor: sender(body), kind: keyed(key, about) })
}

fn sender(body: &[u8]) -> Option<Actor> {
    let [name, id] =
        peek(body, [&["actor", "name"], &["actor", "id"]], |found| found.iter().all(Option::is_some));
    let name = name.filter(|name| !name.is_empty())?.into_owned();
    Some(Actor { id: id.map(Cow::into_owned), name })
}

pub(super) fn repository(repository: &payload::Repository<'_>) -> Repository {
    let path = path(repository.project.key.as_ref(), repository.slug.as_ref());
    Repository { id: repo_id(repository.id), path }
}

fn path(key: &str, slug: &str) -> String {
    format!("{key}/{slug}")
}

pub(super) fn actor(user: &payload::User<'_>) -> Option<Actor> {
    let name = stated(user.name.as_ref()).or_else(|| stated(user.display_name.as_ref()))?;
    Some(Actor { id: user.id.map(|id| id.to_string()), name })
}
