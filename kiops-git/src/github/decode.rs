//! From GitHub's bodies to events.

use std::borrow::Cow;

use kiops_core::event::{
    About, Actor, ChangedFiles, Event, EventKind, Other, Pipeline, Push, Repository, TagPush, Tip,
};
use kiops_core::name::{GitRef, RepoId};
use kiops_core::webhook::peek;
use kiops_core::{Error, Result};

use super::{payload, pull_request};
use crate::body::{commit_id, ignored, or_empty, parse, repo_id, stated, tip};
use crate::commits::Commit;

/// So many commits a push lists at most, and so many paths each list of a commit (E38): of a list this long the rest may be missing.
const COMMITS_MAX: usize = 2048;
const PATHS_MAX: usize = 3000;

/// The repository that a body names, by no more reading than that takes. Path and id may both be missing: an App's or
/// organisation's events need not be of any.
pub(super) fn named_repository(body: &[u8]) -> Repository {
    let [path, id] = peek(body, [&["repository", "full_name"], &["repository", "id"]], |found| {
        found.iter().all(Option::is_some)
    });
    Repository {
        id: id.and_then(|id| RepoId::parse(id).ok()),
        path: path.map(Cow::into_owned).unwrap_or_default(),
    }
}

/// Decodes any body that GitHub sends. `name` is what `X-GitHub-Event` says.
pub(super) fn decode(name: Option<&str>, body: &[u8]) -> Result<Event> {
    let name = name.ok_or_else(|| {
        Error::invalid("decode webhook", "the header X-GitHub-Event is missing, or comes more than once")
            .with_remedy("let every proxy between GitHub and here pass it on")
    })?;
    match name {
        "push" => push(parse(body, "GitHub push")?),
        "pull_request" => pull_request::decode(&parse(body, "GitHub pull request event")?),
        "workflow_run" => workflow_run(&parse(body, "GitHub workflow run event")?),
        "ping" => {
            parse::<serde::de::IgnoredAny>(body, "JSON")?;
            Ok(Event { repository: named_repository(body), actor: sender(body), kind: EventKind::Ping })
        }
        other => self::other(body, other),
    }
}

/// The ref's prefix tells a tag from a branch (E40, E52).
fn push(push: payload::Push<'_>) -> Result<Event> {
    let repository = repository(&push.repository);
    let pusher = push.pusher.as_ref().and_then(|pusher| stated(pusher.name.as_ref()));
    let actor = push.sender.as_ref().and_then(actor).or_else(|| pusher.map(|name| Actor { id: None, name }));
    let git_ref = match GitRef::parse(push.git_ref.as_ref()) {
        Ok(GitRef::Other(whole)) => {
            let note = format!("`{whole}` is neither a branch nor a tag");
            return Ok(ignored(repository, "push", note));
        }
        Ok(git_ref) => git_ref,
        Err(error) => return Ok(ignored(repository, "push", error.to_string())),
    };
    let (before, head) = (tip("before", &push.before)?, tip("after", &push.after)?);
    let commit = push.head_commit.as_ref();
    let message = commit.and_then(|commit| stated(commit.message.as_ref()));
    let facts = commit.map(Commit::facts).unwrap_or_default();
    let kind = if git_ref.tag().is_some() {
        EventKind::Tag(TagPush {
            action: None,
            git_ref,
            before,
            head,
            commit_id: commit_id("head_commit.id", commit.map(|commit| &commit.id))?,
            message,
            annotation: None,
            // A tag says nothing of what changed since whatever was built before.
            files: ChangedFiles::Unknown,
            commit: facts,
        })
    } else {
        // A new branch has no `before` to start from (E22), and what a forced push took away is in no commit's list (E58).
        let whole = push.commits.list.len() < COMMITS_MAX && push.commits.longest < PATHS_MAX;
        let follows = before.commit().is_some() && head.commit().is_some() && !push.created && !push.forced;
        let files = push.commits.changed(whole && follows);
        EventKind::Push(Push { action: None, git_ref, before, head, files, message, commit: facts })
    };
    Ok(Event { repository, actor, kind })
}

fn workflow_run(event: &payload::WorkflowRunEvent<'_>) -> Result<Event> {
    let run = &event.workflow_run;
    let fork = match (run.head_repository.as_ref().and_then(|head| head.id), event.repository.id) {
        (Some(head), Some(own)) => head != own,
        // A head whose repository is gone was a fork's.
        _ => true,
    };
    let source = stated(run.event.as_ref());
    let kind = EventKind::Pipeline(Pipeline {
        ref_name: or_empty(run.head_branch.as_ref()),
        // For a tag's run `head_branch` names the tag; nothing says so.
        is_tag: false,
        head: commit_id("workflow_run.head_sha", run.head_sha.as_ref())?,
        before: Tip::Absent,
        status: stated(run.conclusion.as_ref()).unwrap_or_else(|| or_empty(run.status.as_ref())),
        action: Some(event.action.as_ref().to_owned()),
        child: source.as_deref() == Some("workflow_run"),
        source,
        merge_request: None,
        fork: Some(fork),
        message: run.head_commit.as_ref().and_then(|commit| stated(commit.message.as_ref())),
        commit: run.head_commit.as_ref().map(Commit::facts).unwrap_or_default(),
    });
    Ok(Event {
        repository: repository(&event.repository),
        actor: event.sender.as_ref().and_then(actor),
        kind,
    })
}

/// Reads what is worth showing of any other event. It must be JSON; beyond that nothing is asked of it.
fn other(body: &[u8], name: &str) -> Result<Event> {
    parse::<serde::de::IgnoredAny>(body, "JSON")?;
    let [action] = peek(body, [&["action"]], |found| found[0].is_some());
    let about = match name {
        "create" | "delete" => about_ref(body, name == "delete"),
        _ => None,
    };
    let note = match name {
        "package" | "registry_package" => Some(
            "images are taken from the sender `ghcr`: point the hook for packages at its own webhook URL"
                .into(),
        ),
        "create" | "delete" => Some("what follows from it comes as a push".into()),
        _ => None,
    };
    let other = Other {
        name: name.chars().take(100).collect(),
        action: action.map(Cow::into_owned).or_else(|| about.is_some().then(|| name.to_owned())),
        note,
        about,
    };
    Ok(Event { repository: named_repository(body), actor: sender(body), kind: EventKind::Other(other) })
}

fn about_ref(body: &[u8], deleted: bool) -> Option<Box<About>> {
    let event: payload::RefEvent<'_> = parse(body, "GitHub ref event").ok()?;
    let kind = match event.ref_type.as_ref() {
        "branch" => "heads",
        "tag" => "tags",
        _ => return None,
    };
    let git_ref = GitRef::parse(&format!("refs/{kind}/{}", event.name.as_ref())).ok()?;
    Some(Box::new(About::Ref { git_ref, head: None, deleted }))
}

fn sender(body: &[u8]) -> Option<Actor> {
    let [login, id] =
        peek(body, [&["sender", "login"], &["sender", "id"]], |found| found.iter().all(Option::is_some));
    let name = login.filter(|login| !login.is_empty())?.into_owned();
    Some(Actor { id: id.map(Cow::into_owned), name })
}

pub(super) fn repository(repository: &payload::Repository<'_>) -> Repository {
    Repository { id: repo_id(repository.id), path: repository.full_name.as_ref().to_owned() }
}

pub(super) fn actor(user: &payload::User<'_>) -> Option<Actor> {
    let name = stated(user.login.as_ref())?;
    Some(Actor { id: user.id.map(|id| id.to_string()), name })
}
