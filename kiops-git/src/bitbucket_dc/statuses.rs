//! Build statuses and pull request comments at Bitbucket Data Center.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::name::{CommitId, GitRef};
use kiops_core::provider::{CommitStatus, MergeGate, Shown, StatusState, StatusSubject, Statuses};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::BitbucketDc;
use super::host::key_and_slug;
use crate::rest::{labelled, shortened, with_label};

const SET: &str = "set commit status";
const COMMENT: &str = "comment on merge request";
/// Bitbucket's limits, in characters.
const KEY_MAX: usize = 255;
const DESCRIPTION_MAX: usize = 255;

#[derive(Serialize)]
struct StatusBody<'a> {
    key: &'a str,
    state: &'static str,
    name: &'a str,
    description: String,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", rename = "ref")]
    git_ref: Option<String>,
}

/// What became of a status at one repository.
enum Set {
    Done,
    /// The repository takes none from us.
    Refused(Error),
}

#[derive(Deserialize)]
struct ActivityBody {
    comment: Option<CommentBody>,
}

#[derive(Deserialize)]
struct CommentBody {
    id: u64,
    version: u64,
    text: String,
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    name: String,
}

impl BitbucketDc {
    async fn set(&self, repository: &Repository, commit: &CommitId, body: &StatusBody<'_>) -> Result<Set> {
        // A second one with this key takes the first one's place.
        let call = self.call(SET, Method::POST, repository, &["commits", commit.as_str(), "builds"])?;
        let answer = call.json(body)?.idempotent().send().await?;
        match answer.status {
            401 | 403 | 404 => Ok(Set::Refused(answer.error())),
            _ => answer.good().map(|_| Set::Done),
        }
    }
}

/// Bitbucket's nearest word, and what it leaves out (E78). `CANCELLED` is younger than the versions that we serve.
const fn word(state: StatusState) -> (&'static str, Option<&'static str>) {
    match state {
        StatusState::Pending => ("INPROGRESS", Some("waiting")),
        StatusState::Running => ("INPROGRESS", None),
        StatusState::Success => ("SUCCESSFUL", None),
        StatusState::Failed => ("FAILED", None),
        StatusState::Canceled => ("FAILED", Some("canceled")),
        StatusState::Skipped => ("SUCCESSFUL", Some("skipped")),
    }
}

#[async_trait]
impl Statuses for BitbucketDc {
    async fn set_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<Shown> {
        let (key, slug) = key_and_slug(SET, &subject.repository)?;
        let web = format!("{}projects/{key}/repos/{slug}/commits/{}", self.web, subject.commit);
        let (state, rest) = word(status.state);
        let description = match rest {
            Some(rest) if status.description.is_empty() => rest.to_owned(),
            Some(rest) => format!("{rest}: {}", status.description),
            None => status.description.clone(),
        };
        let name = shortened(&status.context, KEY_MAX);
        let body = StatusBody {
            key: &name,
            state,
            name: &name,
            description: description.chars().take(DESCRIPTION_MAX).collect(),
            url: status.target_url.as_deref().unwrap_or(&web),
            git_ref: subject.git_ref.as_ref().map(GitRef::to_string),
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
                let link = status.target_url.as_ref().map(|url| format!("\n\n{url}")).unwrap_or_default();
                let text =
                    format!("**{}**: {} - {}{link}", status.context, status.state.name(), status.description);
                let topic = format!("status/{name}");
                self.comment(&subject.repository, merge_request.number, &topic, &text).await?;
                Ok(Shown::Comment)
            }
        }
    }

    /// Who we are is what Bitbucket says with every answer (`X-AUSERNAME`); where it does not, the comment is written anew.
    async fn comment(
        &self,
        repository: &Repository,
        merge_request: u64,
        topic: &str,
        text: &str,
    ) -> Result<()> {
        let number = merge_request.to_string();
        let about = self.get(COMMENT, repository, &["pull-requests", &number])?.good().await?;
        let me = about.header("x-ausername").map(str::to_owned);
        let path = ["pull-requests", number.as_str(), "activities"];
        let activities: Vec<ActivityBody> =
            self.every(COMMENT, || self.get(COMMENT, repository, &path)).await?;
        let mut comments = activities.iter().filter_map(|activity| activity.comment.as_ref());
        // Anybody can write our label into a comment of their own.
        let is_ours = |comment: &&CommentBody| {
            let author = comment.author.as_ref().map(|author| author.name.as_str());
            author.is_some() && author == me.as_deref() && labelled(&comment.text, topic)
        };
        let text = with_label(topic, text);
        // The newest first: the oldest of ours is the one that is kept.
        let (call, body) = match comments.rfind(is_ours) {
            Some(comment) => {
                let id = comment.id.to_string();
                let path = ["pull-requests", &number, "comments", &id];
                let call = self.call(COMMENT, Method::PUT, repository, &path)?;
                (call, serde_json::json!({ "text": text, "version": comment.version }))
            }
            None => {
                let path = ["pull-requests", &number, "comments"];
                (self.call(COMMENT, Method::POST, repository, &path)?, serde_json::json!({ "text": text }))
            }
        };
        call.json(&body)?.good().await.map(drop)
    }

    /// The setting of the repository. Rules for single branches ("Required builds") are not looked at: where there are such, the merge may be
    /// blocked although this says that it is not.
    async fn merge_gate(&self, repository: &Repository, _: &str) -> Result<MergeGate> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Settings {
            /// A number, or an object with one.
            required_successful_builds: Option<serde_json::Value>,
        }
        let setting =
            "Repository settings -> Merge checks -> switch on \"Minimum successful builds\"".to_owned();
        let call = self.get("read merge settings", repository, &["settings", "pull-requests"])?;
        let answer = call.send().await?;
        if matches!(answer.status, 401 | 403) {
            return Ok(MergeGate::Unknown { setting });
        }
        let settings: Settings = answer.good()?.read()?;
        let Some(wanted) = settings.required_successful_builds else {
            return Ok(MergeGate::Unknown { setting });
        };
        let is_on = wanted.get("enable").is_none_or(|enable| enable != false);
        let count = wanted.get("count").unwrap_or(&wanted);
        let count = count.as_u64().or_else(|| count.as_str().and_then(|count| count.parse().ok()));
        Ok(match count {
            Some(0) => MergeGate::Open { setting },
            Some(_) if is_on => MergeGate::Closed,
            Some(_) => MergeGate::Open { setting },
            None => MergeGate::Unknown { setting },
        })
    }
}
