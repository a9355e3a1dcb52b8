//! Commit statuses and comments at GitLab.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::name::{CommitId, GitRef};
use kiops_core::provider::{CommitStatus, MergeGate, Shown, StatusState, StatusSubject, Statuses};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::GitLab;
use crate::rest::{Answer, marked, shortened, with_marker};
use crate::shape::status_text;

const SET: &str = "set commit status";
const COMMENT: &str = "comment on merge request";
/// GitLab's limits, in characters.
const NAME_MAX: usize = 255;
const DESCRIPTION_MAX: usize = 255;

#[derive(Serialize)]
struct StatusBody<'a> {
    state: &'static str,
    name: &'a str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "ref")]
    git_ref: Option<&'a str>,
}

/// What became of a status at one project.
enum Set {
    Done,
    /// The project takes none from us.
    Refused(Error),
}

impl GitLab {
    async fn set(&self, repository: &Repository, commit: &CommitId, body: &StatusBody<'_>) -> Result<Set> {
        let call = self.project(SET, Method::POST, repository, &["statuses", commit.as_str()])?;
        // The same status twice is one.
        let answer = call.json(body)?.idempotent().send().await?;
        match answer.status {
            400 if stands_already(&answer) => Ok(Set::Done),
            // Of a fork that we have no rights in, GitLab says that it is not there.
            401 | 403 | 404 => Ok(Set::Refused(answer.error())),
            _ => answer.good().map(|_| Set::Done),
        }
    }
}

/// Whether an answer says that the status is what it should be (E73): "Cannot transition status via :run from :running".
///
/// A pipeline that has ended is not taken back by `pending`: that is refused in the same words, and as true.
fn stands_already(answer: &Answer) -> bool {
    answer.said().contains("Cannot transition status via")
}

const fn word(state: StatusState) -> &'static str {
    // GitLab knows the same six.
    state.name()
}

#[async_trait]
impl Statuses for GitLab {
    async fn set_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<Shown> {
        let git_ref = match &subject.git_ref {
            Some(GitRef::Branch(name)) => Some(name.as_str()),
            Some(GitRef::Tag(name)) => Some(name.as_str()),
            _ => None,
        };
        let name = shortened(&status.context, NAME_MAX);
        let body = StatusBody {
            state: word(status.state),
            name: &name,
            description: status.description.chars().take(DESCRIPTION_MAX).collect(),
            target_url: status.target_url.as_deref(),
            git_ref,
        };
        let merge_request = subject.merge_request.as_ref();
        if let Some(fork) = merge_request.and_then(|merge_request| merge_request.fork.as_ref())
            && let Set::Done = self.set(fork, &subject.commit, &body).await?
        {
            return Ok(Shown::Commit);
        }
        let is_fork = merge_request.is_some_and(|merge_request| merge_request.fork.is_some());
        match (self.set(&subject.repository, &subject.commit, &body).await?, merge_request) {
            (Set::Done, _) => Ok(if is_fork { Shown::Target } else { Shown::Commit }),
            (Set::Refused(error), None) => Err(error),
            (Set::Refused(_), Some(merge_request)) => {
                let text = status_text(status);
                let topic = format!("status/{name}");
                self.comment(&subject.repository, merge_request.number, &topic, &text).await?;
                Ok(Shown::Comment)
            }
        }
    }

    async fn comment(
        &self,
        repository: &Repository,
        merge_request: u64,
        topic: &str,
        text: &str,
    ) -> Result<()> {
        #[derive(Deserialize)]
        struct Author {
            id: u64,
        }
        #[derive(Deserialize)]
        struct NoteBody {
            id: u64,
            body: String,
            author: Author,
        }
        let me: Author = self.rest.get(COMMENT, &["user"])?.read().await?;
        let number = merge_request.to_string();
        let path = ["merge_requests", number.as_str(), "notes"];
        let order = [("sort", "asc"), ("order_by", "created_at")];
        let notes: Vec<NoteBody> = self.every(COMMENT, repository, &path, &order).await?;
        let body = serde_json::json!({ "body": with_marker(topic, text) });
        // Anybody can write our marker into a comment of their own.
        let ours = notes.iter().find(|note| note.author.id == me.id && marked(&note.body, topic));
        let call = match ours {
            Some(note) => {
                let id = note.id.to_string();
                self.project(COMMENT, Method::PUT, repository, &["merge_requests", &number, "notes", &id])?
            }
            None => self.project(COMMENT, Method::POST, repository, &path)?,
        };
        call.json(&body)?.good().await.map(drop)
    }

    async fn merge_gate(&self, repository: &Repository, _: &str) -> Result<MergeGate> {
        #[derive(Deserialize)]
        struct Settings {
            only_allow_merge_if_pipeline_succeeds: Option<bool>,
        }
        let settings: Settings = self.get("read merge settings", repository, &[])?.read().await?;
        let setting =
            "Settings -> Merge requests -> Merge checks -> tick \"Pipelines must succeed\"".to_owned();
        Ok(match settings.only_allow_merge_if_pipeline_succeeds {
            Some(true) => MergeGate::Closed,
            Some(false) => MergeGate::Open { setting },
            // GitLab tells it to members only.
            None => MergeGate::Unknown { setting },
        })
    }
}
