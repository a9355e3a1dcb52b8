//! From Gitee's bodies to events.

use std::borrow::Cow;

use kiops_core::event::{
    Actor, Event, EventKind, MergeRequest, MergeRequestChange, Other, Push, Repository, TagPush,
};
use kiops_core::name::GitRef;
use kiops_core::webhook::peek;
use kiops_core::{Error, Result};

use super::payload;
use crate::body::{commit_id, ignored, or_empty, parse, repo_id, stated, tip};
use crate::commits::Commit;

/// The repository that a body names, by no more reading than that takes.
pub(super) fn named_repository(body: &[u8]) -> Repository {
    let [path, full, id] = peek(
        body,
        [&["repository", "path_with_namespace"], &["repository", "full_name"], &["repository", "id"]],
        |[path, _, id]| path.is_some() && id.is_some(),
    );
    Repository {
        id: id.and_then(|id| id.parse().ok()).and_then(|id| repo_id(Some(id))),
        path: path.filter(|path| !path.is_empty()).or(full).map(Cow::into_owned).unwrap_or_default(),
    }
}

/// Decodes any body that Gitee sends.
pub(super) fn decode(body: &[u8]) -> Result<Event> {
    let [name] = peek(body, [&["hook_name"]], |found| found[0].is_some());
    let name = name.ok_or_else(|| {
        Error::invalid("decode webhook", "the body has no `hook_name`, so it is no Gitee event")
            .with_remedy("check that the hook is Gitee's and that no proxy changes its body")
    })?;
    match &*name {
        "push_hooks" | "tag_push_hooks" => push(parse(body, "Gitee push")?),
        "merge_request_hooks" => merge_request(&parse(body, "Gitee pull request event")?),
        other => self::other(body, other),
    }
}

/// The ref's prefix tells a tag from a branch, whatever the hook is called (E52).
fn push(push: payload::Push<'_>) -> Result<Event> {
    let repository = repository(&push.repository);
    let actor = push.sender.as_ref().and_then(actor).or_else(|| push.pusher.as_ref().and_then(actor));
    let git_ref = match GitRef::parse(push.git_ref.as_ref()) {
        Ok(GitRef::Other(whole)) => {
            let note = format!("`{whole}` is neither a branch nor a tag");
            return Ok(ignored(repository, "push", note));
        }
        Ok(git_ref) => git_ref,
        Err(error) => return Ok(ignored(repository, "push", error.to_string())),
    };
    let (before, head) = (tip("before", &push.before)?, tip("after", &push.after)?);
    let commit = push.head_commit.as_ref().or_else(|| push.commits.list.last());
    let message = commit.and_then(|commit| stated(commit.message.as_ref()));
    let facts = commit.map(Commit::facts).unwrap_or_default();
    let kind = if git_ref.tag().is_some() {
        EventKind::Tag(TagPush {
            action: None,
            git_ref,
            before,
            head,
            commit_id: commit_id("head_commit.id", push.head_commit.as_ref().map(|commit| &commit.id))?,
            message,
            annotation: None,
            files: push.commits.changed(false),
            commit: facts,
        })
    } else {
        let listed = u64::try_from(push.commits.list.len()).ok();
        let whole = push.commits_more_than_ten == Some(false)
            && (push.total_commits_count.is_none() || push.total_commits_count == listed);
        let follows = before.commit().is_some() && head.commit().is_some() && before != head;
        let files = push.commits.changed(whole && follows);
        EventKind::Push(Push { action: None, git_ref, before, head, files, message, commit: facts })
    };
    Ok(Event { repository, actor, kind })
}

fn merge_request(event: &payload::PullRequestEvent<'_>) -> Result<Event> {
    let request = &event.pull_request;
    let id = |side: &payload::Side<'_>| side.repo.as_ref().and_then(|repo| repo.id);
    let (source, target) = (id(&request.head), id(&request.base));
    let decoded = MergeRequest {
        abbreviated_head: None,
        number: request.number,
        action: or_empty(event.action.as_ref()),
        change: change(event),
        head: commit_id("pull_request.head.sha", request.head.sha.as_ref())?,
        previous_head: None,
        source_branch: or_empty(request.head.branch.as_ref()),
        target_branch: or_empty(request.base.branch.as_ref()),
        head_ref: request.number.and_then(|number| GitRef::parse(&format!("refs/pull/{number}/head")).ok()),
        fork: source.is_none() || source != target,
        source_repository: repo_id(source),
        target_repository: repo_id(target),
        draft: request.draft.unwrap_or(false),
        labels: request.labels.iter().flatten().filter_map(|label| stated(label.name.as_ref())).collect(),
        author_id: request.user.as_ref().and_then(|user| user.id).map(|id| id.to_string()),
        author_name: request.user.as_ref().and_then(login),
        title: stated(request.title.as_ref()),
        commit: Default::default(),
        commit_message: None,
    };
    Ok(Event {
        repository: repository(&event.repository),
        actor: event.sender.as_ref().and_then(actor),
        kind: EventKind::MergeRequest(decoded),
    })
}

/// Actions that are not known are nothing that is built.
fn change(event: &payload::PullRequestEvent<'_>) -> MergeRequestChange {
    let text = |text: &Option<_>| or_empty(text.as_ref());
    match (text(&event.action).as_str(), text(&event.action_desc).as_str()) {
        ("open", _) => MergeRequestChange::Opened,
        ("reopen", _) => MergeRequestChange::Reopened,
        ("close", _) => MergeRequestChange::Closed,
        ("merge", _) => MergeRequestChange::Merged,
        ("approved" | "test" | "tested", _) => MergeRequestChange::Approval,
        ("update", "source_branch_changed") => MergeRequestChange::Code,
        ("update", "target_branch_changed") => MergeRequestChange::Retargeted,
        ("update", "update_label") => MergeRequestChange::Labels,
        _ => MergeRequestChange::Metadata,
    }
}

/// Reads what is worth showing of any other event. It must be JSON; beyond that nothing is asked of it.
fn other(body: &[u8], name: &str) -> Result<Event> {
    parse::<serde::de::IgnoredAny>(body, "JSON")?;
    let [action] = peek(body, [&["action"]], |found| found[0].is_some());
    let other = Other {
        name: name.chars().take(100).collect(),
        action: action.map(Cow::into_owned),
        ..Other::default()
    };
    Ok(Event { repository: named_repository(body), actor: None, kind: EventKind::Other(other) })
}

fn repository(repository: &payload::Repository<'_>) -> Repository {
    let path = stated(repository.path_with_namespace.as_ref());
    Repository {
        id: repo_id(repository.id),
        path: path.unwrap_or_else(|| or_empty(repository.full_name.as_ref())),
    }
}

fn actor(user: &payload::User<'_>) -> Option<Actor> {
    Some(Actor { id: user.id.map(|id| id.to_string()), name: login(user)? })
}

fn login(user: &payload::User<'_>) -> Option<String> {
    stated(user.login.as_ref())
        .or_else(|| stated(user.user_name.as_ref()))
        .or_else(|| stated(user.name.as_ref()))
}
