//! Commit statuses and comments on pull requests.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::provider::{CommitStatus, MergeGate, Shown, StatusState, StatusSubject, Statuses};
use kiops_core::{ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::provider::Gitea;
use crate::rest::{marked, shortened, with_marker};
use crate::shape::status_text;

/// What fits wherever these hosts show it. They set no limit themselves.
const DESCRIPTION_MAX: usize = 255;
const CONTEXT_MAX: usize = 255;
/// A comment's text, well below what their databases take.
const COMMENT_MAX: usize = 60_000;

#[derive(Serialize)]
struct NewStatus<'a> {
    state: &'static str,
    context: &'a str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
}

#[derive(Deserialize)]
struct Me {
    id: u64,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    #[serde(default)]
    body: String,
    #[serde(default)]
    user: Option<Me>,
}

#[derive(Serialize)]
struct NewComment<'a> {
    body: &'a str,
}

#[derive(Deserialize)]
struct Branch {
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    enable_status_check: bool,
    #[serde(default)]
    status_check_contexts: Option<Vec<String>>,
}

/// What to switch on, in the host's words.
const SETTING: &str =
    "Settings > Branches > Branch protection: Enable Status Check, with the pattern `kiops/*`";

/// A pull request shows and demands the statuses of its target only. So that is where they are set, a fork's commits too ([`Shown::Target`]): the
/// host keeps them there. Where that is refused they are written as a comment.
#[async_trait]
impl Statuses for Gitea {
    async fn set_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<Shown> {
        let operation = "set commit status";
        let context = shortened(&status.context, CONTEXT_MAX);
        let (state, description) = worded(status);
        let new = NewStatus {
            state,
            context: &context,
            description: description.chars().take(DESCRIPTION_MAX).collect(),
            target_url: status.target_url.as_deref(),
        };
        let below = ["statuses", subject.commit.as_str()];
        let call = self.call(operation, Method::POST, &subject.repository, &below)?;
        // One that comes twice is shown once: the newest of a context counts.
        let Err(refused) = call.idempotent().json(&new)?.good().await else {
            let is_fork = subject.merge_request.as_ref().is_some_and(|request| request.fork.is_some());
            return Ok(if is_fork { Shown::Target } else { Shown::Commit });
        };
        match &subject.merge_request {
            Some(request) if matches!(refused.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => {
                let topic = format!("status/{context}");
                self.comment(&subject.repository, request.number, &topic, &status_text(status)).await?;
                Ok(Shown::Comment)
            }
            _ => Err(refused),
        }
    }

    async fn comment(
        &self,
        repository: &Repository,
        merge_request: u64,
        topic: &str,
        text: &str,
    ) -> Result<()> {
        let operation = "write comment";
        let me: Me = self.rest.get(operation, &["user"])?.about(repository).read().await?;
        let text: String = text.chars().take(COMMENT_MAX).collect();
        let body = with_marker(topic, &text);
        let number = merge_request.to_string();
        // All in one answer: this list has no pages.
        let comments: Vec<Comment> =
            self.get(operation, repository, &["issues", &number, "comments"])?.read().await?;
        // Anybody can write our marker into a comment of their own.
        let ours = |comment: &&Comment| {
            comment.user.as_ref().is_some_and(|user| user.id == me.id) && marked(&comment.body, topic)
        };
        let new = NewComment { body: &body };
        match comments.iter().filter(ours).min_by_key(|comment| comment.id) {
            Some(comment) if comment.body == body => {}
            Some(comment) => {
                let below = ["issues", "comments", &comment.id.to_string()];
                let call = self.call(operation, Method::PATCH, repository, &below)?;
                call.idempotent().json(&new)?.good().await?;
            }
            None => {
                let below = ["issues", &number, "comments"];
                self.call(operation, Method::POST, repository, &below)?.json(&new)?.good().await?;
            }
        }
        Ok(())
    }

    async fn merge_gate(&self, repository: &Repository, branch: &str) -> Result<MergeGate> {
        let operation = "read branch protection";
        let below = ["branches"].into_iter().chain(branch.split('/')).collect::<Vec<_>>();
        let answer = self.get(operation, repository, &below)?.send().await?;
        let setting = SETTING.to_owned();
        if matches!(answer.status, 403 | 404) {
            return Ok(MergeGate::Unknown { setting });
        }
        let branch: Branch = answer.good()?.read()?;
        let contexts = branch.status_check_contexts.unwrap_or_default();
        // Without patterns every status counts.
        let demanded = contexts.is_empty() || contexts.iter().any(|pattern| may_match_ours(pattern));
        Ok(if branch.protected && branch.enable_status_check && demanded {
            MergeGate::Closed
        } else {
            MergeGate::Open { setting }
        })
    }
}

/// The host's word and what a person reads beside it. `error` stops a merge as `failure` does; nothing but `success` lets one pass everywhere.
fn worded(status: &CommitStatus) -> (&'static str, String) {
    let word = match status.state {
        StatusState::Pending => "pending",
        StatusState::Running => return ("pending", with_state(status)),
        StatusState::Success => "success",
        StatusState::Failed => "failure",
        StatusState::Canceled => return ("error", with_state(status)),
        StatusState::Skipped => return ("success", with_state(status)),
    };
    (word, status.description.clone())
}

/// The state in our word, where the host has none for it.
fn with_state(status: &CommitStatus) -> String {
    let word = status.state.name();
    if status.description.is_empty() { word.to_owned() } else { format!("{word}: {}", status.description) }
}

/// Whether a pattern of contexts can stand for one of ours (`kiops/api`).
fn may_match_ours(pattern: &str) -> bool {
    const OURS: &str = "kiops/";
    match pattern.find(['*', '?', '[', '{', '\\']) {
        None => pattern.starts_with(OURS),
        Some(end) => {
            let literal = &pattern[..end];
            literal.starts_with(OURS) || OURS.starts_with(literal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_counts_where_it_could_mean_one_of_ours() {
        for ours in ["*", "kiops/*", "kiops/api", "k*", "kiops/{api,web}"] {
            assert!(may_match_ours(ours), "{ours}");
        }
        for other in ["ci/*", "lint", "kiops", "", "kiopsx/*"] {
            assert!(!may_match_ours(other), "{other}");
        }
    }
}
