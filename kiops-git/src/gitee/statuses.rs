//! What is told on pull requests.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::provider::{CommitStatus, MergeGate, Shown, StatusSubject, Statuses};
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::provider::Gitee;
use crate::rest::{marked, shortened, with_marker};
use crate::shape::status_text;

const CONTEXT_MAX: usize = 100;
const COMMENT_MAX: usize = 20_000;

#[derive(Deserialize)]
struct Me {
    id: u64,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    user: Option<Me>,
}

/// Gitee has no commit statuses in API v5: a status is a comment on its pull request, one a context, kept up to date ([`Shown::Comment`]). Of a commit that
/// no pull request is about it cannot be told (`Unsupported`).
#[async_trait]
impl Statuses for Gitee {
    async fn set_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<Shown> {
        let Some(request) = &subject.merge_request else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "set commit status",
                "Gitee shows statuses of pull requests only, as comments",
            )
            .with_remedy("look at the build itself: nothing is shown on the commit"));
        };
        let topic = format!("status/{}", shortened(&status.context, CONTEXT_MAX));
        self.comment(&subject.repository, request.number, &topic, &status_text(status)).await?;
        Ok(Shown::Comment)
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
        let below = ["pulls", number.as_str(), "comments"];
        let comments: Vec<Comment> = self.list(operation, "the list of comments", repository, &below).await?;
        // Anybody can write our marker into a comment of their own.
        let ours = |comment: &&Comment| {
            comment.user.as_ref().is_some_and(|user| user.id == me.id)
                && comment.body.as_ref().is_some_and(|body| marked(body, topic))
        };
        let new = serde_json::json!({ "body": body });
        match comments.iter().filter(ours).min_by_key(|comment| comment.id) {
            Some(comment) if comment.body.as_ref() == Some(&body) => {}
            Some(comment) => {
                let below = ["pulls", "comments", &comment.id.to_string()];
                let call = self.call(operation, Method::PATCH, repository, &below)?;
                call.idempotent().json(&new)?.good().await?;
            }
            None => {
                self.call(operation, Method::POST, repository, &below)?.json(&new)?.good().await?;
            }
        }
        Ok(())
    }

    /// Gitee does not tell: no call of API v5 speaks of it.
    async fn merge_gate(&self, _: &Repository, _: &str) -> Result<MergeGate> {
        let setting = "管理 > 代码审查设置 (Manage > Code review): ask for testers, who look at the comment before they accept";
        Ok(MergeGate::Unknown { setting: setting.into() })
    }
}
