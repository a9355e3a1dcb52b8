//! Pull requests: merge requests in Bitbucket Cloud's words.

use kiops_core::event::{About, Event, EventKind, MergeRequest, MergeRequestChange};
use kiops_core::name::CommitId;
use kiops_core::{Error, Result};

use super::decode::{actor, repository, uuid};
use super::payload;
use crate::body::{or_empty, parse, stated};

/// Decodes a pull-request event. `action` is its key without `pullrequest:`.
pub(super) fn decode(action: &str, event: &payload::PullRequestEvent<'_>) -> Result<Event> {
    let state = event.pullrequest.state.as_ref().map(AsRef::as_ref);
    let request = request(action, change(action, state), event)?;
    Ok(Event {
        repository: repository(&event.repository),
        actor: event.actor.as_ref().and_then(actor),
        kind: EventKind::MergeRequest(request),
    })
}

/// The pull request that a comment or a review is about, where the body has it.
pub(super) fn about(action: &str, body: &[u8]) -> Option<Box<About>> {
    let event = parse(body, "Bitbucket pull request event").ok()?;
    let change = match action {
        "approved" | "unapproved" | "changes_request_created" | "changes_request_removed" => {
            MergeRequestChange::Approval
        }
        _ => MergeRequestChange::Metadata,
    };
    Some(Box::new(About::MergeRequest(Box::new(request(action, change, &event).ok()?))))
}

fn request(
    action: &str,
    change: MergeRequestChange,
    event: &payload::PullRequestEvent<'_>,
) -> Result<MergeRequest> {
    let request = &event.pullrequest;
    let repo = |side: &payload::Side<'_>| {
        side.repository.as_ref().and_then(|repository| repository.uuid.as_ref()).and_then(uuid)
    };
    let branch =
        |side: &payload::Side<'_>| or_empty(side.branch.as_ref().and_then(|branch| branch.name.as_ref()));
    let (source, target) = (repo(&request.source), repo(&request.destination));
    let own = event.repository.uuid.as_ref().and_then(uuid);
    let hash = request.source.commit.as_ref().and_then(|commit| stated(commit.hash.as_ref()));
    let (head, abbreviated_head) = match hash {
        None => (None, None),
        Some(hash) => match CommitId::parse(&hash) {
            Ok(head) => (Some(head), None),
            Err(_) => (None, Some(digits(hash)?)),
        },
    };
    Ok(MergeRequest {
        number: request.id,
        action: action.to_owned(),
        change,
        head,
        abbreviated_head,
        previous_head: None,
        source_branch: branch(&request.source),
        target_branch: branch(&request.destination),
        // Bitbucket Cloud keeps no ref for a pull request: the head is in its source branch alone.
        head_ref: None,
        fork: source.is_none() || source.as_ref() != target.as_ref().or(own.as_ref()) || is_renamed(request),
        source_repository: source,
        target_repository: target,
        draft: request.draft.unwrap_or(false),
        labels: Vec::new(),
        author_id: request.author.as_ref().and_then(|author| stated(author.uuid.as_ref())),
        // Whoever acted is shown: of one person the two places often have different names.
        author_name: None,
        title: stated(request.title.as_ref()),
        commit: Default::default(),
        commit_message: None,
    })
}

/// Whether the two repositories have different names, which of one repository nothing makes: to be safe, a fork, whatever the ids say.
fn is_renamed(request: &payload::PullRequest<'_>) -> bool {
    let name = |side: &payload::Side<'_>| {
        side.repository.as_ref().and_then(|repository| stated(repository.full_name.as_ref()))
    };
    matches!((name(&request.source), name(&request.destination)), (Some(source), Some(target)) if source != target)
}

/// The first digits of a commit id, as bodies of pull requests have them.
fn digits(hash: String) -> Result<String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if (7..=64).contains(&hash.len()) && hash.bytes().all(is_digit) {
        return Ok(hash);
    }
    let text = "`pullrequest.source.commit.hash`: it is not 7 to 64 of the digits 0-9 and a-f";
    Err(Error::invalid("decode webhook", text))
}

/// What was updated is not said: it counts as new code, and a head that was built before is not built again. The key is not signed:
/// where the state speaks against it, nothing happened.
fn change(action: &str, state: Option<&str>) -> MergeRequestChange {
    let (change, expected): (_, &[&str]) = match action {
        "created" => (MergeRequestChange::Opened, &["OPEN"]),
        "updated" => (MergeRequestChange::Code, &["OPEN"]),
        "fulfilled" => (MergeRequestChange::Merged, &["MERGED"]),
        "rejected" => (MergeRequestChange::Closed, &["DECLINED", "SUPERSEDED"]),
        _ => return MergeRequestChange::Metadata,
    };
    let known = state.filter(|state| matches!(*state, "OPEN" | "MERGED" | "DECLINED" | "SUPERSEDED"));
    if known.is_none_or(|state| expected.contains(&state)) { change } else { MergeRequestChange::Metadata }
}
