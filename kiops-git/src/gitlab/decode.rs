//! From GitLab's bodies to events.

use std::borrow::Cow;

use kiops_core::event::{
    Actor, Event, EventKind, Other, Pipeline, PipelineMergeRequest, Push, Repository, TagPush, Tip,
};
use kiops_core::name::{GitRef, RepoId};
use kiops_core::webhook::peek;
use kiops_core::{Error, Result};

use super::{merge_request, payload};
use crate::body::{ignored, not_an_object, or_empty, parse, repo_id, stated, tip};
use crate::commits::Commit;

/// The repository that a body names, by no more reading than that takes: a project of its own in most events, flat fields
/// in the other events of system hooks. Path and id may both be missing.
pub(super) fn named_repository(body: &[u8]) -> Repository {
    let [path, flat, own, id, flat_id] = peek(
        body,
        [
            &["project", "path_with_namespace"],
            &["project_path_with_namespace"],
            &["path_with_namespace"],
            &["project", "id"],
            &["project_id"],
        ],
        |[path, flat, own, ..]| path.is_some() || flat.is_some() || own.is_some(),
    );
    let path = path.or(flat).or(own).map(Cow::into_owned).unwrap_or_default();
    Repository { id: id.or(flat_id).and_then(|id| RepoId::parse(id).ok()), path }
}

/// Decodes any body that GitLab sends.
pub(super) fn decode(body: &[u8]) -> Result<Event> {
    let kind = kind(body).ok_or_else(|| not_an_object(body).unwrap_or_else(no_kind))?;
    match &*kind {
        "push" | "tag_push" => push(parse(body, "GitLab push")?),
        "merge_request" => merge_request::decode(&parse(body, "GitLab merge request event")?),
        "pipeline" => pipeline(&parse(body, "GitLab pipeline event")?),
        other => self::other(body, other),
    }
}

fn no_kind() -> Error {
    Error::invalid(
        "decode webhook",
        "the body has neither `object_kind` nor `event_name`, so it is no GitLab event",
    )
    .with_remedy("remove the hook's custom webhook template in GitLab, or let it keep these fields")
}

/// What kind of event a body says it is. System hooks have said it in `event_name` before they had `object_kind`.
pub(super) fn kind(body: &[u8]) -> Option<Cow<'_, str>> {
    let [object, event] =
        peek(body, [&["object_kind"], &["event_name"]], |found| found.iter().any(Option::is_some));
    object.or(event)
}

/// The ref's prefix tells a tag from a branch, whatever the event is called (E52).
fn push(push: payload::Push<'_>) -> Result<Event> {
    let mut repository = repository(&push.project);
    repository.id = repository.id.or_else(|| repo_id(push.project_id));
    let name = stated(push.user_username.as_ref()).or_else(|| stated(push.user_name.as_ref()));
    let actor = name.map(|name| Actor { id: push.user_id.map(|id| id.to_string()), name });
    let git_ref = match GitRef::parse(push.git_ref.as_ref()) {
        Ok(GitRef::Other(whole)) => {
            let note = format!("`{whole}` is neither a branch nor a tag");
            return Ok(ignored(repository, "push", note));
        }
        Ok(git_ref) => git_ref,
        Err(error) => return Ok(ignored(repository, "push", error.to_string())),
    };
    let (before, head) = (tip("before", &push.before)?, tip("after", &push.after)?);
    let is_tag = git_ref.tag().is_some();
    // A branch's `checkout_sha` is its head.
    let commit_id = match &push.checkout_sha {
        Some(sha) => tip("checkout_sha", sha)?.commit().cloned(),
        None => None,
    };
    let built = if is_tag { commit_id.as_ref() } else { head.commit() };
    let commits = &push.commits.list;
    let commit = built
        .and_then(|built| commits.iter().find(|commit| commit.id.as_ref() == built.as_str()))
        .or_else(|| commits.last());
    let message = commit.and_then(|commit| stated(commit.message.as_ref()));
    let facts = commit.map(Commit::facts).unwrap_or_default();
    // Of a new branch the list has no `before` to start from (E22); beyond 20 commits it is cut (E19).
    let listed = u64::try_from(commits.len()).ok();
    let moved = before.commit().is_some() && head.commit().is_some() && before != head;
    let all = moved && listed == push.total_commits_count;
    let kind = if is_tag {
        EventKind::Tag(TagPush {
            action: None,
            git_ref,
            before,
            head,
            commit_id,
            message,
            annotation: stated(push.message.as_ref()),
            // A tag says nothing of what changed since whatever was built before.
            files: push.commits.changed(false),
            commit: facts,
        })
    } else {
        let files = push.commits.changed(all);
        EventKind::Push(Push { action: None, git_ref, before, head, files, message, commit: facts })
    };
    Ok(Event { repository, actor, kind })
}

fn pipeline(event: &payload::Pipeline<'_>) -> Result<Event> {
    let attributes = &event.object_attributes;
    let before = match &attributes.before_sha {
        Some(sha) => tip("before_sha", sha)?,
        None => Tip::Absent,
    };
    let source = stated(attributes.source.as_ref());
    let child = event.source_pipeline.is_some() || source.as_deref() == Some("parent_pipeline");
    let merge_request = event.merge_request.as_ref().and_then(|request| {
        Some(PipelineMergeRequest {
            number: request.iid?,
            source_branch: or_empty(request.source_branch.as_ref()),
            target_branch: or_empty(request.target_branch.as_ref()),
            fork: is_fork(request.source_project_id, request.target_project_id),
        })
    });
    let kind = EventKind::Pipeline(Pipeline {
        ref_name: attributes.ref_name.as_ref().to_owned(),
        is_tag: attributes.tag.unwrap_or(false),
        head: tip("sha", &attributes.sha)?.commit().cloned(),
        before,
        status: attributes.status.as_ref().to_owned(),
        source,
        action: None,
        child,
        merge_request,
        fork: None,
        message: event.commit.as_ref().and_then(|commit| stated(commit.message.as_ref())),
        commit: event.commit.as_ref().map(Commit::facts).unwrap_or_default(),
    });
    Ok(Event { repository: repository(&event.project), actor: event.user.as_ref().and_then(actor), kind })
}

/// Reads what is worth showing of any other event. It must be JSON; beyond that nothing is asked of it, since refusing
/// what is only to be ignored would make GitLab disable the hook (E35).
fn other(body: &[u8], name: &str) -> Result<Event> {
    parse::<serde::de::IgnoredAny>(body, "JSON")?;
    let [action] = peek(body, [&["object_attributes", "action"]], |found| found[0].is_some());
    let action = action.map(Cow::into_owned);
    let name = name.chars().take(100).collect();
    let kind = EventKind::Other(Other { name, action, ..Other::default() });
    Ok(Event { repository: named_repository(body), actor: None, kind })
}

pub(super) fn repository(project: &payload::Project<'_>) -> Repository {
    Repository { id: repo_id(project.id), path: project.path_with_namespace.as_ref().to_owned() }
}

pub(super) fn actor(user: &payload::User<'_>) -> Option<Actor> {
    let name = stated(user.username.as_ref()).or_else(|| stated(user.name.as_ref()))?;
    Some(Actor { id: user.id.map(|id| id.to_string()), name })
}

/// A source that is not known to be the target is a fork: one that was deleted is null (E28).
pub(super) fn is_fork(source: Option<u64>, target: Option<u64>) -> bool {
    source.is_none() || source != target
}
