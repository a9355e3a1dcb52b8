//! Merge requests: GitLab sends an `update` for everything from new commits to a moved milestone.

use kiops_core::Result;
use kiops_core::event::{Event, EventKind, MergeRequest, MergeRequestChange};
use kiops_core::name::GitRef;

use super::decode::{actor, is_fork, repository};
use super::payload;
use crate::body::{Text, commit_id, or_empty, repo_id, stated};
use crate::commits::Commit;

/// Decodes a merge-request event.
pub(super) fn decode(event: &payload::MergeRequest<'_>) -> Result<Event> {
    let attributes = &event.object_attributes;
    let head = commit_id("last_commit.id", attributes.last_commit.as_ref().map(|commit| &commit.id))?;
    let previous_head = commit_id("oldrev", attributes.oldrev.as_ref())?;
    let action = stated(attributes.action.as_ref());
    let change = match action.as_deref() {
        Some("update") if previous_head.is_some() => MergeRequestChange::Code,
        Some("update") => update(event.changes.as_ref()),
        Some(action) => of_action(action),
        None => of_state(attributes.state.as_ref().map(AsRef::as_ref)),
    };
    let labels = event.labels.iter().flatten().filter_map(|label| stated(label.title.as_ref())).collect();
    let request = MergeRequest {
        abbreviated_head: None,
        number: attributes.iid,
        action: action.unwrap_or_else(|| or_empty(attributes.state.as_ref())),
        change,
        head,
        previous_head,
        source_branch: or_empty(attributes.source_branch.as_ref()),
        target_branch: or_empty(attributes.target_branch.as_ref()),
        head_ref: attributes
            .iid
            .and_then(|iid| GitRef::parse(&format!("refs/merge-requests/{iid}/head")).ok()),
        fork: is_fork(attributes.source_project_id, attributes.target_project_id),
        source_repository: repo_id(attributes.source_project_id),
        target_repository: repo_id(attributes.target_project_id),
        draft: attributes
            .draft
            .or(attributes.work_in_progress)
            .unwrap_or_else(|| attributes.title.as_ref().is_some_and(says_draft)),
        labels,
        author_id: attributes.author_id.map(|id| id.to_string()),
        author_name: None,
        title: stated(attributes.title.as_ref()),
        commit: attributes.last_commit.as_ref().map(Commit::facts).unwrap_or_default(),
        commit_message: attributes.last_commit.as_ref().and_then(|commit| stated(commit.message.as_ref())),
    };
    Ok(Event {
        repository: repository(&event.project),
        actor: event.user.as_ref().and_then(actor),
        kind: EventKind::MergeRequest(request),
    })
}

/// What an update without new commits means. What is built stands before what is not (E25, E27).
fn update(changes: Option<&payload::Changes<'_>>) -> MergeRequestChange {
    let Some(changes) = changes else { return MergeRequestChange::Metadata };
    let turned_off = |change: &Option<payload::Change<bool>>| {
        change.as_ref().is_some_and(|change| change.previous == Some(true) && change.current == Some(false))
    };
    let retitled = changes.title.as_ref().is_some_and(|title| match (&title.previous, &title.current) {
        (Some(previous), Some(current)) => says_draft(previous) && !says_draft(current),
        _ => false,
    });
    // Before 13.x a title without its prefix is all that tells.
    let unsaid = changes.draft.is_none() && changes.work_in_progress.is_none();
    if turned_off(&changes.draft) || turned_off(&changes.work_in_progress) || (unsaid && retitled) {
        return MergeRequestChange::ReadyForReview;
    }
    let retargeted = changes.target_branch.as_ref().is_some_and(|target| {
        target.previous.is_some() && target.current.is_some() && target.previous != target.current
    });
    if retargeted {
        return MergeRequestChange::Retargeted;
    }
    if changes.labels.is_some() { MergeRequestChange::Labels } else { MergeRequestChange::Metadata }
}

/// Actions that are not known are nothing that is built (E26).
fn of_action(action: &str) -> MergeRequestChange {
    match action {
        "open" => MergeRequestChange::Opened,
        "reopen" => MergeRequestChange::Reopened,
        "close" => MergeRequestChange::Closed,
        "merge" => MergeRequestChange::Merged,
        "approved" | "unapproved" | "approval" | "unapproval" => MergeRequestChange::Approval,
        _ => MergeRequestChange::Metadata,
    }
}

/// Older Test buttons send a merge request as it is, without an action. A test is expected to build (E37).
fn of_state(state: Option<&str>) -> MergeRequestChange {
    match state {
        Some("opened") => MergeRequestChange::Opened,
        Some("closed") => MergeRequestChange::Closed,
        Some("merged") => MergeRequestChange::Merged,
        _ => MergeRequestChange::Metadata,
    }
}

/// Whether a title marks its merge request as not ready, by any of the prefixes that GitLab has known.
fn says_draft(title: &Text<'_>) -> bool {
    const PREFIXES: [&str; 5] = ["draft:", "[draft]", "(draft)", "wip:", "[wip]"];
    let title = title.as_ref().as_bytes();
    PREFIXES.iter().any(|prefix| {
        title.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    })
}
