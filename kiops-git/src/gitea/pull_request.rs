//! Pull requests: merge requests in the family's words.

use kiops_core::Result;
use kiops_core::event::{Event, EventKind, MergeRequest, MergeRequestChange};
use kiops_core::name::GitRef;

use super::decode::{actor, login, repository};
use super::payload;
use crate::body::{Text, commit_id, or_empty, repo_id, stated};

/// Decodes a pull-request event.
pub(super) fn decode(event: &payload::PullRequestEvent<'_>) -> Result<Event> {
    let request = &event.pull_request;
    let (head, base) = (request.head.as_ref(), request.base.as_ref());
    let repo = |side: Option<&payload::Side<'_>>, gogs: Option<&payload::Id>| {
        side.and_then(|side| side.repo.as_ref()).or(gogs).and_then(|repo| repo.id)
    };
    let (source, target) = (repo(head, request.head_repo.as_ref()), repo(base, request.base_repo.as_ref()));
    let branch = |side: Option<&payload::Side<'_>>, gogs: Option<&Text<'_>>| {
        let named = side.and_then(|side| stated(side.branch.as_ref()));
        named.unwrap_or_else(|| or_empty(gogs))
    };
    let decoded = MergeRequest {
        abbreviated_head: None,
        number: event.number,
        action: event.action.as_ref().to_owned(),
        change: change(event),
        head: commit_id("pull_request.head.sha", head.and_then(|head| head.sha.as_ref()))?,
        previous_head: None,
        source_branch: branch(head, request.head_branch.as_ref()),
        target_branch: branch(base, request.base_branch.as_ref()),
        head_ref: event.number.and_then(|number| GitRef::parse(&format!("refs/pull/{number}/head")).ok()),
        fork: source.is_none() || source != target.or(event.repository.id),
        source_repository: repo_id(source),
        target_repository: repo_id(target),
        draft: request.draft.unwrap_or(false) || request.title.as_ref().is_some_and(says_draft),
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
    match event.action.as_ref() {
        "opened" => MergeRequestChange::Opened,
        "synchronized" | "synchronize" => MergeRequestChange::Code,
        "reopened" => MergeRequestChange::Reopened,
        "closed" if event.pull_request.merged == Some(true) => MergeRequestChange::Merged,
        "closed" => MergeRequestChange::Closed,
        "label_updated" | "label_cleared" => MergeRequestChange::Labels,
        "reviewed" => MergeRequestChange::Approval,
        "edited" => edited(event),
        _ => MergeRequestChange::Metadata,
    }
}

/// What is built stands before what is not.
fn edited(event: &payload::PullRequestEvent<'_>) -> MergeRequestChange {
    let was = |change: Option<&payload::From<'_>>, is: fn(&Text<'_>) -> bool| {
        change.and_then(|change| change.from.as_ref()).is_some_and(is)
    };
    let Some(changes) = &event.changes else { return MergeRequestChange::Metadata };
    let draft = event.pull_request.title.as_ref().is_some_and(says_draft);
    if !draft && was(changes.title.as_ref(), says_draft) {
        return MergeRequestChange::ReadyForReview;
    }
    if was(changes.target_branch.as_ref(), |branch| !branch.as_ref().is_empty()) {
        return MergeRequestChange::Retargeted;
    }
    MergeRequestChange::Metadata
}

/// Whether a title marks its pull request as not ready, by the prefixes that the hosts have unless they are told others.
fn says_draft(title: &Text<'_>) -> bool {
    let title = title.as_ref().as_bytes();
    ["wip:", "[wip]"].iter().any(|prefix| {
        title.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    })
}
