//! GitHub's commit statuses, comments of pull requests, and what blocks a merge.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::provider::{CommitStatus, MergeGate, Shown, StatusState, StatusSubject, Statuses};
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::json;

use super::GitHub;
use super::provider::{check_id, is_of_app};
use crate::rest::{marked, shortened, with_marker};

/// Characters of a status's description.
const DESCRIPTION: usize = 140;

/// Characters of a status's context.
const CONTEXT: usize = 255;

/// Characters of a comment; GitHub takes 65,536, our marker among them.
const COMMENT: usize = 65_000;

/// What our contexts begin with.
const OURS: &str = "kiops/";

/// In GitHub's words, of classic branch protection and of rulesets alike.
const SETTING: &str = "Require status checks to pass";

#[derive(Deserialize)]
struct CommentObject {
    id: u64,
    user: Option<UserId>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct UserId {
    id: u64,
}

#[derive(Deserialize)]
struct BranchObject {
    #[serde(default)]
    protection: Protection,
}

#[derive(Default, Deserialize)]
struct Protection {
    required_status_checks: Option<RequiredChecks>,
}

#[derive(Deserialize)]
struct RequiredChecks {
    #[serde(default)]
    enforcement_level: Option<String>,
    #[serde(default)]
    contexts: Vec<String>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    required_status_checks: Vec<RequiredContext>,
}

#[derive(Deserialize)]
struct RequiredContext {
    context: String,
}

/// GitHub's word for a state, and what the description begins with where that is another one (E78).
const fn word(state: StatusState) -> (&'static str, Option<&'static str>) {
    match state {
        StatusState::Pending => ("pending", None),
        StatusState::Running => ("pending", Some("running")),
        StatusState::Success => ("success", None),
        StatusState::Failed => ("failure", None),
        StatusState::Canceled => ("error", Some("canceled")),
        StatusState::Skipped => ("success", Some("skipped")),
    }
}

fn description(status: &CommitStatus) -> String {
    let text = status.description.trim();
    let text = match word(status.state).1 {
        Some(word) if text.is_empty() => word.to_owned(),
        Some(word) if !text.to_lowercase().starts_with(word) => format!("{word}: {text}"),
        _ => text.to_owned(),
    };
    text.chars().take(DESCRIPTION).collect()
}

impl GitHub {
    async fn post_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<()> {
        let operation = "set commit status";
        check_id(operation, &subject.commit)?;
        let mut body = json!({
            "state": word(status.state).0,
            "context": shortened(&status.context, CONTEXT),
            "description": description(status),
        });
        if let Some(url) = &status.target_url {
            body["target_url"] = json!(url);
        }
        let path = ["statuses", subject.commit.as_str()];
        let call = self.at(operation, Method::POST, &subject.repository, &path)?;
        let answer = call.json(&body)?.idempotent().send().await?;
        let said = answer.said();
        answer.good().map(drop).map_err(|error| {
            if said.contains("maximum number of statuses") {
                let message = error.message().to_owned();
                Error::new(ErrorKind::Full, operation, message)
                    .with_remedy("GitHub takes 1000 statuses for a commit and context: push a new commit")
            } else if said.contains("No commit found") {
                Error::not_found(operation, error.message().to_owned())
                    .with_remedy("the commit is gone from GitHub, or lies in another repository")
            } else {
                error
            }
        })
    }

    /// The id of whoever the token speaks for: a person, or an App's bot.
    async fn own_id(&self, operation: &'static str, repository: &Repository) -> Result<u64> {
        let answer = self.rest.get(operation, &["user"])?.about(repository).send().await?;
        if !is_of_app(&answer) {
            return answer.good()?.read::<UserId>().map(|user| user.id);
        }
        // An App's token: only the other interface says whose it is.
        #[derive(Deserialize)]
        struct Data {
            data: Viewed,
        }
        #[derive(Deserialize)]
        struct Viewed {
            viewer: Viewer,
        }
        #[derive(Deserialize)]
        struct Viewer {
            #[serde(rename = "databaseId")]
            id: u64,
        }
        let call = self.rest.below(operation, Method::POST, &self.graphql, &["graphql"])?.about(repository);
        let query = json!({"query": "query { viewer { databaseId } }"});
        let found: Data = call.json(&query)?.idempotent().read().await?;
        Ok(found.data.viewer.id)
    }
}

/// Statuses need scope `repo:status` (which `repo` includes) or the permission Commit statuses: read and write; comments `repo`, or Pull
/// requests: read and write.
///
/// GitHub knows four words: running is `pending`, skipped `success`, canceled `error`, and the description begins with ours.
#[async_trait]
impl Statuses for GitHub {
    /// Set in the repository that the pull request goes to, also for a fork's commit: that is whose statuses GitHub shows at it,
    /// and forks share their commits. Where it refuses, a comment.
    async fn set_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<Shown> {
        let refused = match (self.post_status(subject, status).await, &subject.merge_request) {
            (Ok(()), Some(request)) if request.fork.is_some() => return Ok(Shown::Target),
            (Ok(()), _) => return Ok(Shown::Commit),
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => error,
        };
        let Some(request) = &subject.merge_request else { return Err(refused) };
        if !matches!(refused.kind(), ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Full) {
            return Err(refused);
        }
        let mut text = format!("**{}**: {}", status.context, status.state.name());
        if !status.description.trim().is_empty() {
            text.push_str(&format!(", {}", status.description.trim()));
        }
        if let Some(url) = &status.target_url {
            text.push_str(&format!(" ([details]({url}))"));
        }
        let topic = format!("status/{}", status.context);
        match self.comment(&subject.repository, request.number, &topic, &text).await {
            Ok(()) => Ok(Shown::Comment),
            // Why there is no status is what has to be mended.
            Err(_) => Err(refused),
        }
    }

    async fn comment(
        &self,
        repository: &Repository,
        merge_request: u64,
        topic: &str,
        text: &str,
    ) -> Result<()> {
        let operation = "comment on merge request";
        let number = merge_request.to_string();
        let own = self.own_id(operation, repository).await?;
        let path = ["issues", number.as_str(), "comments"];
        let comments: Vec<CommentObject> =
            self.all(operation, || self.get(operation, repository, &path)).await?;
        let ours = comments.iter().find(|comment| {
            comment.user.as_ref().is_some_and(|user| user.id == own)
                && comment.body.as_deref().is_some_and(|body| marked(body, topic))
        });
        let text: String = text.chars().take(COMMENT).collect();
        let body = json!({"body": with_marker(topic, &text)});
        let call = match ours {
            Some(comment) => {
                let id = comment.id.to_string();
                self.at(operation, Method::PATCH, repository, &["issues", "comments", &id])?.idempotent()
            }
            None => self.at(operation, Method::POST, repository, &path)?,
        };
        call.json(&body)?.good().await.map(drop)
    }

    /// Closed where a required status check begins with `kiops/`, in the branch's protection or in a ruleset.
    async fn merge_gate(&self, repository: &Repository, branch: &str) -> Result<MergeGate> {
        let operation = "read merge rules";
        let setting = || {
            format!(
                "{SETTING}, with the checks that begin with `{OURS}`: in the repository's Settings, Rules, Rulesets, or Settings, Branches, for `{branch}`"
            )
        };
        let unknown = || MergeGate::Unknown { setting: setting() };
        let found = self.get(operation, repository, &["branches", branch])?.find::<BranchObject>().await;
        let protection = match found {
            Ok(Some(found)) => found.protection,
            Ok(None) => return Ok(unknown()),
            Err(error) if error.kind() == ErrorKind::Forbidden => return Ok(unknown()),
            Err(error) => return Err(error),
        };
        let required = protection.required_status_checks;
        let required = required.filter(|checks| checks.enforcement_level.as_deref() != Some("off"));
        let mut contexts = required.map_or_else(Vec::new, |checks| checks.contexts);
        let rules =
            self.all::<Rule>(operation, || self.get(operation, repository, &["rules", "branches", branch]));
        let mut is_known = true;
        match rules.await {
            Ok(rules) => contexts.extend(
                rules
                    .into_iter()
                    .filter(|rule| rule.kind == "required_status_checks")
                    .flat_map(|rule| rule.parameters.required_status_checks)
                    .map(|check| check.context),
            ),
            // Servers without rulesets.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::Forbidden => is_known = false,
            Err(error) => return Err(error),
        }
        Ok(if contexts.iter().any(|context| context.starts_with(OURS)) {
            MergeGate::Closed
        } else if is_known {
            MergeGate::Open { setting: setting() }
        } else {
            unknown()
        })
    }
}
