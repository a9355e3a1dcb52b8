//! Build statuses and pull request comments at Bitbucket Cloud.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::name::{CommitId, GitRef};
use kiops_core::provider::{CommitStatus, MergeGate, Shown, StatusState, StatusSubject, Statuses};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Bitbucket;
use super::host::PAGELEN;
use crate::rest::{labelled, shortened, with_label};
use crate::shape::status_text;

const SET: &str = "set commit status";
const COMMENT: &str = "comment on merge request";
const GATE: &str = "read merge settings";
/// Bitbucket's limits, in characters.
const KEY_MAX: usize = 40;
const NAME_MAX: usize = 255;
const DESCRIPTION_MAX: usize = 255;

#[derive(Serialize)]
struct StatusBody<'a> {
    /// Bitbucket's description wants every object to say what it is.
    #[serde(rename = "type")]
    kind: &'static str,
    key: String,
    state: &'static str,
    name: String,
    description: String,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refname: Option<&'a str>,
}

/// What became of a status at one repository.
enum Set {
    Done,
    /// The repository takes none from us.
    Refused(Error),
}

#[derive(Deserialize)]
struct UserBody {
    uuid: String,
}

#[derive(Deserialize)]
struct CommentBody {
    id: u64,
    content: Option<Content>,
    user: Option<UserBody>,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct Content {
    raw: Option<String>,
}

impl CommentBody {
    fn is_ours(&self, me: &str, topic: &str) -> bool {
        let text = self.content.as_ref().and_then(|content| content.raw.as_deref()).unwrap_or_default();
        !self.deleted && self.user.as_ref().is_some_and(|user| user.uuid == me) && labelled(text, topic)
    }
}

impl Bitbucket {
    async fn set(&self, repository: &Repository, commit: &CommitId, body: &StatusBody<'_>) -> Result<Set> {
        let path = ["commit", commit.as_str(), "statuses", "build"];
        // A second one with this key takes the first one's place.
        let call = self.call(SET, Method::POST, repository, &path)?.json(body)?.idempotent();
        let answer = call.send().await?;
        match answer.status {
            // Of a fork that we have no rights in, Bitbucket says that it is not there.
            401 | 403 | 404 => Ok(Set::Refused(answer.error())),
            _ => answer.good().map(|_| Set::Done),
        }
    }

    /// Who we are; `None` where the token may not ask (it lacks `account`).
    async fn me(&self) -> Result<Option<String>> {
        let answer = self.rest.get(COMMENT, &["user"])?.send().await?;
        match answer.status {
            403 | 404 => Ok(None),
            _ => Ok(Some(answer.good()?.read::<UserBody>()?.uuid)),
        }
    }

    /// What stands about a status where a link is wanted and we have none.
    fn web_url(&self, repository: &Repository) -> String {
        let slug = repository.id.as_ref().map_or("", |id| id.as_str());
        match repository.path.as_str() {
            "" => format!("{}{{}}/{slug}", self.web),
            path => format!("{}{path}", self.web),
        }
    }
}

/// Bitbucket's nearest word, and what it leaves out (E78).
const fn word(state: StatusState) -> (&'static str, Option<&'static str>) {
    match state {
        StatusState::Pending => ("INPROGRESS", Some("waiting")),
        StatusState::Running => ("INPROGRESS", None),
        StatusState::Success => ("SUCCESSFUL", None),
        StatusState::Failed => ("FAILED", None),
        StatusState::Canceled => ("STOPPED", None),
        // `STOPPED` would block a merge.
        StatusState::Skipped => ("SUCCESSFUL", Some("skipped")),
    }
}

#[async_trait]
impl Statuses for Bitbucket {
    async fn set_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<Shown> {
        let refname = match &subject.git_ref {
            Some(GitRef::Branch(name)) => Some(name.as_str()),
            Some(GitRef::Tag(name)) => Some(name.as_str()),
            _ => None,
        };
        let (state, rest) = word(status.state);
        let description = match rest {
            Some(rest) if status.description.is_empty() => rest.to_owned(),
            Some(rest) => format!("{rest}: {}", status.description),
            None => status.description.clone(),
        };
        let web = self.web_url(&subject.repository);
        let body = StatusBody {
            kind: "build",
            key: shortened(&status.context, KEY_MAX),
            state,
            name: shortened(&status.context, NAME_MAX),
            description: description.chars().take(DESCRIPTION_MAX).collect(),
            url: status.target_url.as_deref().unwrap_or(&web),
            refname,
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
                let topic = format!("status/{}", body.key);
                self.comment(&subject.repository, merge_request.number, &topic, &text).await?;
                Ok(Shown::Comment)
            }
        }
    }

    /// Where the token may not ask who it is, the comment is written anew and the older ones of the same author and topic are deleted.
    async fn comment(
        &self,
        repository: &Repository,
        merge_request: u64,
        topic: &str,
        text: &str,
    ) -> Result<()> {
        let number = merge_request.to_string();
        let path = ["pullrequests", number.as_str(), "comments"];
        let call = || Ok(self.get(COMMENT, repository, &path)?.query("pagelen", &PAGELEN.to_string()));
        let comments: Vec<CommentBody> = self.every(COMMENT, call).await?;
        let content = serde_json::json!({ "raw": with_label(topic, text) });
        let body = serde_json::json!({ "type": "pullrequest_comment", "content": content });
        let me = self.me().await?;
        // Anybody can write our label into a comment of their own.
        let ours = me.as_deref().and_then(|me| comments.iter().find(|comment| comment.is_ours(me, topic)));
        if let Some(comment) = ours {
            let id = comment.id.to_string();
            let path = ["pullrequests", &number, "comments", &id];
            let call = self.call(COMMENT, Method::PUT, repository, &path)?.json(&body)?;
            return call.idempotent().good().await.map(drop);
        }
        let call = self.call(COMMENT, Method::POST, repository, &path)?.json(&body)?;
        let made: CommentBody = call.read().await?;
        let author = made.user.filter(|_| me.is_none()).map(|user| user.uuid);
        let Some(author) = author else { return Ok(()) };
        for old in comments.iter().filter(|comment| comment.is_ours(&author, topic)) {
            let id = old.id.to_string();
            let path = ["pullrequests", &number, "comments", &id];
            let call = self.call(COMMENT, Method::DELETE, repository, &path)?.idempotent();
            let answer = call.send().await?;
            if answer.status != 404 {
                answer.good()?;
            }
        }
        Ok(())
    }

    /// Asking needs the scope `repository:admin`. A rule for a kind of branch (of the branching model) is not resolved: then the gate is unknown.
    async fn merge_gate(&self, repository: &Repository, branch: &str) -> Result<MergeGate> {
        #[derive(Deserialize)]
        struct Restriction {
            kind: String,
            pattern: Option<String>,
            branch_match_kind: Option<String>,
            value: Option<u64>,
        }
        let setting = format!(
            "Repository settings -> Branch restrictions -> {branch} -> Merge settings -> tick \"Minimum number of successful builds\" \
             and, with the Premium plan, \"Prevent a merge with unresolved merge checks\""
        );
        let call = || {
            let call = self.get(GATE, repository, &["branch-restrictions"])?;
            Ok(call.query("pagelen", &PAGELEN.to_string()))
        };
        let found = self.entries::<Restriction>(GATE, self.config.max_entries, call).await?;
        let restrictions = match found {
            Ok(found) => found,
            Err(answer) if answer.status == 403 => return Ok(MergeGate::Unknown { setting }),
            Err(answer) => return Err(answer.error()),
        };
        // Whether there is such a rule for the branch; `None`: that depends on the branching model.
        let stands = |kind: &str| {
            let rules = restrictions.iter().filter(|rule| rule.kind == kind && rule.value != Some(0));
            let (globs, models): (Vec<_>, Vec<_>) =
                rules.partition(|rule| rule.branch_match_kind.as_deref() != Some("branching_model"));
            let matched = globs.iter().any(|rule| glob(rule.pattern.as_deref().unwrap_or_default(), branch));
            (matched || models.is_empty()).then_some(matched)
        };
        // Without the second, Bitbucket warns and lets merge.
        Ok(match (stands("require_passing_builds_to_merge"), stands("enforce_merge_checks")) {
            (Some(true), Some(true)) => MergeGate::Closed,
            (Some(false), _) | (_, Some(false)) => MergeGate::Open { setting },
            _ => MergeGate::Unknown { setting },
        })
    }
}

/// Whether a branch is one of a pattern's: `*` is any text, slashes too.
fn glob(pattern: &str, branch: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| branch.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_holds_for_the_branches_that_it_names() {
        for (pattern, branch, holds) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("", "main", false),
            ("*", "any/thing", true),
            ("release/*", "release/1.0", true),
            ("release/*", "feature/release/1", false),
            ("*-fix", "a-fix", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(glob(pattern, branch), holds, "{pattern} {branch}");
        }
    }
}
