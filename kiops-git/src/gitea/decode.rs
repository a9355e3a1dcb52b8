//! From the family's bodies to events.

use std::borrow::Cow;

use kiops_core::event::{About, Actor, Event, EventKind, Other, Push, Repository, TagPush};
use kiops_core::name::GitRef;
use kiops_core::webhook::peek;
use kiops_core::{Error, Result};

use super::{payload, pull_request};
use crate::body::{commit_id, ignored, parse, repo_id, stated, tip};
use crate::commits::Commit;

/// Before `total_commits` there was, no push listed more commits than this.
const COMMITS_MAX: usize = 5;

/// The repository that a body names, by no more reading than that takes.
pub(super) fn named_repository(body: &[u8]) -> Repository {
    let [path, id] = peek(body, [&["repository", "full_name"], &["repository", "id"]], |found| {
        found.iter().all(Option::is_some)
    });
    Repository {
        id: id.and_then(|id| id.parse().ok()).and_then(|id| repo_id(Some(id))),
        path: path.map(Cow::into_owned).unwrap_or_default(),
    }
}

/// Decodes any body. `name` is what the header `header` says.
pub(super) fn decode(header: &str, name: Option<&str>, body: &[u8]) -> Result<Event> {
    let name = name.ok_or_else(|| {
        Error::invalid("decode webhook", format!("the header {header} is missing, or comes more than once"))
            .with_remedy(
                "choose the sender that the hook's type names, and let every proxy pass its headers on",
            )
    })?;
    match name {
        "push" => push(parse(body, "push")?),
        "pull_request_comment" | "pull_request_review_comment" => other(body, name),
        request if request == "pull_request" || request.starts_with("pull_request_") => {
            pull_request::decode(&parse(body, "pull request event")?)
        }
        _ => other(body, name),
    }
}

/// The ref's prefix tells a tag from a branch (E49, E52).
fn push(push: payload::Push<'_>) -> Result<Event> {
    let repository = repository(&push.repository);
    let actor = push.pusher.as_ref().or(push.sender.as_ref()).and_then(actor);
    let git_ref = match GitRef::parse(push.git_ref.as_ref()) {
        Ok(GitRef::Other(whole)) => {
            let note = format!("`{whole}` is neither a branch nor a tag");
            return Ok(ignored(repository, "push", note));
        }
        Ok(git_ref) => git_ref,
        Err(error) => return Ok(ignored(repository, "push", error.to_string())),
    };
    let (before, head) = (tip("before", &push.before)?, tip("after", &push.after)?);
    let commits = &push.commits.list;
    let listed = head.commit().and_then(|head| commits.iter().find(|one| one.id.as_ref() == head.as_str()));
    let commit = push.head_commit.as_ref().or(listed);
    let message = commit.and_then(|commit| stated(commit.message.as_ref()));
    let facts = commit.map(Commit::facts).unwrap_or_default();
    let kind = if git_ref.tag().is_some() {
        EventKind::Tag(TagPush {
            action: None,
            git_ref,
            before,
            commit_id: commit_id("head_commit.id", commit.map(|commit| &commit.id))?,
            head,
            message,
            annotation: None,
            files: push.commits.changed(false),
            commit: facts,
        })
    } else {
        let whole = match push.total_commits {
            Some(total) => u64::try_from(commits.len()).ok() == Some(total),
            None => commits.len() < COMMITS_MAX,
        };
        let follows = before.commit().is_some() && head.commit().is_some() && before != head;
        let files = push.commits.changed(whole && follows);
        EventKind::Push(Push { action: None, git_ref, before, head, files, message, commit: facts })
    };
    Ok(Event { repository, actor, kind })
}

/// Reads what is worth showing of any other event. It must be JSON; beyond that nothing is asked of it.
fn other(body: &[u8], name: &str) -> Result<Event> {
    parse::<serde::de::IgnoredAny>(body, "JSON")?;
    let [action, login, id] = peek(body, [&["action"], &["sender", "login"], &["sender", "id"]], |found| {
        found.iter().all(Option::is_some)
    });
    let about = match name {
        "create" | "delete" => about_ref(body, name == "delete"),
        _ => None,
    };
    let other = Other {
        name: name.chars().take(100).collect(),
        action: action.map(Cow::into_owned).or_else(|| about.is_some().then(|| name.to_owned())),
        note: None,
        about,
    };
    let actor = login
        .filter(|login| !login.is_empty())
        .map(|login| Actor { id: id.map(Cow::into_owned), name: login.into_owned() });
    Ok(Event { repository: named_repository(body), actor, kind: EventKind::Other(other) })
}

fn about_ref(body: &[u8], deleted: bool) -> Option<Box<About>> {
    let event: payload::RefEvent<'_> = parse(body, "ref event").ok()?;
    let kind = match event.ref_type.as_ref() {
        "branch" => "heads",
        "tag" => "tags",
        _ => return None,
    };
    let git_ref = GitRef::parse(&format!("refs/{kind}/{}", event.name.as_ref())).ok()?;
    let head = commit_id("sha", event.sha.as_ref()).ok().flatten();
    Some(Box::new(About::Ref { git_ref, head, deleted }))
}

pub(super) fn repository(repository: &payload::Repository<'_>) -> Repository {
    Repository { id: repo_id(repository.id), path: repository.full_name.as_ref().to_owned() }
}

pub(super) fn actor(user: &payload::User<'_>) -> Option<Actor> {
    Some(Actor { id: user.id.map(|id| id.to_string()), name: login(user)? })
}

pub(super) fn login(user: &payload::User<'_>) -> Option<String> {
    stated(user.login.as_ref()).or_else(|| stated(user.username.as_ref()))
}
