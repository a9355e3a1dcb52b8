//! Pull requests: merge requests in GitHub's words.

use kiops_core::Result;
use kiops_core::event::{Event, EventKind, MergeRequest, MergeRequestChange};
use kiops_core::name::GitRef;

use super::decode::{actor, repository};
use super::payload;
use crate::body::{commit_id, or_empty, repo_id, stated};

/// Decodes a pull-request event.
pub(super) fn decode(event: &payload::PullRequestEvent<'_>) -> Result<Event> {
    let request = &event.pull_request;
    let number = event.number.or(request.number);
    let (source, target) = (repo(&request.head), repo(&request.base).or(event.repository.id));
    let change = change(event);
    let before = event.before.as_ref().filter(|_| change == MergeRequestChange::Code);
    let named = request.head.repo.is_some() || request.base.repo.is_some();
    let decoded = MergeRequest {
        abbreviated_head: None,
        number,
        action: event.action.as_ref().to_owned(),
        change,
        head: commit_id("pull_request.head.sha", request.head.sha.as_ref())?,
        previous_head: commit_id("before", before)?,
        source_branch: or_empty(request.head.branch.as_ref()),
        target_branch: or_empty(request.base.branch.as_ref()),
        head_ref: number.and_then(|number| GitRef::parse(&format!("refs/pull/{number}/head")).ok()),
        fork: source.is_none() || source != target,
        source_repository: repo_id(source),
        target_repository: repo_id(target.filter(|_| named)),
        draft: request.draft.unwrap_or(false),
        labels: request.labels.iter().flatten().filter_map(|label| stated(label.name.as_ref())).collect(),
        author_id: request.user.as_ref().and_then(|user| user.id).map(|id| id.to_string()),
        author_name: request.user.as_ref().and_then(|user| stated(user.login.as_ref())),
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

fn repo(side: &payload::Side<'_>) -> Option<u64> {
    side.repo.as_ref().and_then(|repo| repo.id)
}

/// Actions that are not known are nothing that is built.
fn change(event: &payload::PullRequestEvent<'_>) -> MergeRequestChange {
    match event.action.as_ref() {
        "opened" => MergeRequestChange::Opened,
        "synchronize" => MergeRequestChange::Code,
        "ready_for_review" => MergeRequestChange::ReadyForReview,
        "reopened" => MergeRequestChange::Reopened,
        "edited" if is_retargeted(event) => MergeRequestChange::Retargeted,
        "labeled" | "unlabeled" => MergeRequestChange::Labels,
        "closed" if event.pull_request.merged == Some(true) => MergeRequestChange::Merged,
        "closed" => MergeRequestChange::Closed,
        _ => MergeRequestChange::Metadata,
    }
}

fn is_retargeted(event: &payload::PullRequestEvent<'_>) -> bool {
    let changed = event.changes.as_ref().and_then(|changes| changes.base.as_ref());
    let before = changed.and_then(|base| base.branch.as_ref()).and_then(|branch| branch.from.as_ref());
    before.is_some() && before != event.pull_request.base.branch.as_ref()
}
