//! From Bitbucket Cloud's bodies to events.

use std::borrow::Cow;

use kiops_core::event::{Actor, ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, TagPush, Tip};
use kiops_core::name::{GitRef, RepoId};
use kiops_core::webhook::peek;
use kiops_core::{Error, Result};

use super::{payload, pull_request};
use crate::body::{Text, check_repeats, ignored, keyed, names, parse, stated, tip};

/// The repository that a body names, by no more reading than that takes; of a pull request the target.
pub(super) fn named_repository(body: &[u8]) -> Repository {
    let [path, id] = peek(body, [&["repository", "full_name"], &["repository", "uuid"]], |found| {
        found.iter().all(Option::is_some)
    });
    Repository {
        id: id.and_then(|id| RepoId::parse(id).ok()),
        path: path.map(Cow::into_owned).unwrap_or_default(),
    }
}

/// Decodes any body that Bitbucket Cloud sends. `key` is what `X-Event-Key` says.
pub(super) fn decode(key: Option<&str>, body: &[u8]) -> Result<Vec<Event>> {
    let key = key.ok_or_else(|| {
        Error::invalid("decode webhook", "the header X-Event-Key is missing, or comes more than once")
            .with_remedy("let every proxy between Bitbucket and here pass it on")
    })?;
    let event = match key.split_once(':') {
        Some(("repo", "push")) => return push(&parse(body, "Bitbucket push")?),
        Some(("pullrequest", action @ ("created" | "updated" | "fulfilled" | "rejected"))) => {
            pull_request::decode(action, &parse(body, "Bitbucket pull request event")?)?
        }
        _ => other(body, key)?,
    };
    Ok(vec![event])
}

/// An event for each branch and tag that the push changed (E47).
fn push(event: &payload::PushEvent<'_>) -> Result<Vec<Event>> {
    let repository = repository(&event.repository);
    let actor = event.actor.as_ref().and_then(actor);
    check_repeats(names(&repository, actor.as_ref()), event.push.changes.len())?;
    let mut events = Vec::new();
    for change in &event.push.changes {
        let (new, old) = (change.new.as_deref(), change.old.as_deref());
        let Some(named) = new.or(old) else { continue };
        let event = match git_ref(named) {
            Ok(git_ref) => {
                let kind = moved(git_ref, old, new)?;
                Event { repository: repository.clone(), actor: actor.clone(), kind }
            }
            Err(note) => ignored(repository.clone(), "repo:push", note),
        };
        events.push(event);
    }
    if events.is_empty() {
        events.push(Event { repository, actor, kind: EventKind::EmptyPush });
    }
    Ok(events)
}

/// The ref's class is what Bitbucket says that it is, since its name has no prefix (E52); or why it is none that kiops handles.
fn git_ref(named: &payload::Ref<'_>) -> Result<GitRef, String> {
    let class = match named.kind.as_ref() {
        "branch" => "heads",
        "tag" => "tags",
        other => return Err(format!("`{}` is neither a branch nor a tag", other.escape_debug())),
    };
    GitRef::parse(&format!("refs/{class}/{}", named.name.as_ref())).map_err(|error| error.to_string())
}

fn moved(
    git_ref: GitRef,
    old: Option<&payload::Ref<'_>>,
    new: Option<&payload::Ref<'_>>,
) -> Result<EventKind> {
    let before = pointed_at("push.changes.old.target.hash", old)?;
    let head = pointed_at("push.changes.new.target.hash", new)?;
    let message = new.and_then(|new| stated(new.target.message.as_ref()));
    let commit = new.map(|new| facts(&new.target)).unwrap_or_default();
    // Of no push does a body say which files it changed: the provider is asked.
    let files = ChangedFiles::Unknown;
    Ok(if git_ref.tag().is_some() {
        let annotation = new.and_then(|new| stated(new.message.as_ref()));
        let commit_id = head.commit().cloned();
        EventKind::Tag(TagPush {
            action: None,
            git_ref,
            before,
            head,
            commit_id,
            message,
            annotation,
            files,
            commit,
        })
    } else {
        EventKind::Push(Push { action: None, git_ref, before, head, files, message, commit })
    })
}

fn pointed_at(field: &str, named: Option<&payload::Ref<'_>>) -> Result<Tip> {
    named.map_or(Ok(Tip::Absent), |named| tip(field, &named.target.hash))
}

fn facts(target: &payload::Target<'_>) -> CommitFacts {
    let raw = target.author.as_ref().and_then(|author| author.raw.as_ref()).map(Text::as_ref);
    let name = raw.map(|raw| raw.split('<').next().unwrap_or_default().trim());
    let url = target.links.as_ref().and_then(|links| links.html.as_ref());
    CommitFacts {
        author: name.filter(|name| !name.is_empty()).map(str::to_owned),
        timestamp: stated(target.date.as_ref()),
        url: url.and_then(|url| stated(url.href.as_ref())),
    }
}

/// Reads what is worth showing of any other event. It must be JSON; beyond that nothing is asked of it.
fn other(body: &[u8], key: &str) -> Result<Event> {
    parse::<serde::de::IgnoredAny>(body, "JSON")?;
    let about = key.strip_prefix("pullrequest:").and_then(|action| pull_request::about(action, body));
    let [uuid, username, nickname, display_name] = peek(
        body,
        [&["actor", "uuid"], &["actor", "username"], &["actor", "nickname"], &["actor", "display_name"]],
        |found| found.iter().all(Option::is_some),
    );
    let said = |text: &Cow<'_, str>| !text.is_empty();
    let name = [username, nickname, display_name].into_iter().flatten().find(said);
    let id = uuid.filter(said).map(Cow::into_owned);
    let actor = name.map(|name| Actor { id, name: name.into_owned() });
    Ok(Event { repository: named_repository(body), actor, kind: keyed(key, about) })
}

pub(super) fn repository(repository: &payload::Repository<'_>) -> Repository {
    Repository { id: repository.uuid.as_ref().and_then(uuid), path: repository.full_name.as_ref().to_owned() }
}

pub(super) fn uuid(uuid: &Text<'_>) -> Option<RepoId> {
    RepoId::parse(uuid.as_ref()).ok()
}

pub(super) fn actor(user: &payload::User<'_>) -> Option<Actor> {
    let names = [&user.username, &user.nickname, &user.display_name];
    let name = names.into_iter().find_map(|name| stated(name.as_ref()))?;
    Some(Actor { id: stated(user.uuid.as_ref()), name })
}
