//! Pull requests: merge requests in Bitbucket Data Center's words.

use kiops_core::event::{About, Event, EventKind, MergeRequest, MergeRequestChange};
use kiops_core::name::GitRef;
use kiops_core::{Error, Result};

use super::decode::{actor, repository};
use super::payload;
use crate::body::{commit_id, parse, repo_id, stated};

/// Decodes a pull-request event. `action` is its key without `pr:`.
pub(super) fn decode(action: &str, event: &payload::PullRequestEvent<'_>) -> Result<Event> {
    let request = request(action, change(action, event), event)?;
    let target = event.repository.as_ref().or(event.pull_request.to_ref.repository.as_ref());
    let target = target.ok_or_else(|| {
        Error::invalid("decode webhook", "`pullRequest.toRef.repository`: the pull request names no target")
    })?;
    Ok(Event {
        repository: repository(target),
        actor: event.actor.as_ref().and_then(actor),
        kind: EventKind::MergeRequest(request),
    })
}

/// The pull request that a comment or a review is about, where the body has it.
pub(super) fn about(action: &str, body: &[u8]) -> Option<Box<About>> {
    let event = parse(body, "Bitbucket pull request event").ok()?;
    let change = match action {
        "reviewer:updated" => MergeRequestChange::Metadata,
        _ if action.starts_with("reviewer:") => MergeRequestChange::Approval,
        _ => MergeRequestChange::Metadata,
    };
    Some(Box::new(About::MergeRequest(Box::new(request(action, change, &event).ok()?))))
}

fn request(
    action: &str,
    change: MergeRequestChange,
    event: &payload::PullRequestEvent<'_>,
) -> Result<MergeRequest> {
    let request = &event.pull_request;
    let (from, to) = (&request.from_ref, &request.to_ref);
    let id = |side: &payload::Side<'_>| side.repository.as_ref().and_then(|repository| repository.id);
    let (source, target) = (id(from), id(to));
    let own = event.repository.as_ref().and_then(|repository| repository.id);
    let author = request.author.as_ref().and_then(|author| author.user.as_ref());
    let before = event.previous_from_hash.as_ref().filter(|_| change == MergeRequestChange::Code);
    Ok(MergeRequest {
        number: request.id,
        action: action.to_owned(),
        change,
        head: commit_id("pullRequest.fromRef.latestCommit", from.latest_commit.as_ref())?,
        abbreviated_head: None,
        previous_head: commit_id("previousFromHash", before)?,
        source_branch: short(from.id.as_ref()).to_owned(),
        target_branch: short(to.id.as_ref()).to_owned(),
        head_ref: request
            .id
            .and_then(|number| GitRef::parse(&format!("refs/pull-requests/{number}/from")).ok()),
        fork: source.is_none() || source != target.or(own),
        source_repository: repo_id(source),
        target_repository: repo_id(target),
        draft: request.draft.unwrap_or(false),
        labels: Vec::new(),
        author_id: author.and_then(|author| author.id).map(|id| id.to_string()),
        // Whoever acted is shown, as for Bitbucket Cloud.
        author_name: None,
        title: stated(request.title.as_ref()),
        commit: Default::default(),
        commit_message: None,
    })
}

/// A ref's short name: its prefix is taken off once (E51).
fn short(full: &str) -> &str {
    full.strip_prefix("refs/heads/").or_else(|| full.strip_prefix("refs/tags/")).unwrap_or(full)
}

/// Of a modified request what is built stands before what is not: the fields with what was before come with every change, and
/// most are the same as now.
fn change(action: &str, event: &payload::PullRequestEvent<'_>) -> MergeRequestChange {
    let request = &event.pull_request;
    let before = event.previous_target.as_ref().and_then(|target| target.id.as_ref());
    match action {
        "opened" => MergeRequestChange::Opened,
        "from_ref_updated" => MergeRequestChange::Code,
        "reopened" => MergeRequestChange::Reopened,
        "modified" if event.previous_draft == Some(true) && request.draft == Some(false) => {
            MergeRequestChange::ReadyForReview
        }
        "modified" if before.is_some_and(|before| *before != request.to_ref.id) => {
            MergeRequestChange::Retargeted
        }
        "merged" => MergeRequestChange::Merged,
        "declined" | "deleted" => MergeRequestChange::Closed,
        _ => MergeRequestChange::Metadata,
    }
}
