//! What we tell a Git host about its commits and merge requests.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::Repository;
use crate::name::{CommitId, GitRef};

/// A Git host that shows commit statuses and merge-request comments.
///
/// # Guarantees
/// - Every call may be repeated: a status that stands already is no error (E73), a comment is updated in place.
/// - A status replaces the one of the same context on the same commit.
/// - Texts over the host's limits are shortened, contexts with a hash, so that two never become one (E74).
#[async_trait]
pub trait Statuses: Send + Sync {
    /// Sets a commit's status, and says where it ended up: where the commit's own project refuses (a fork's that we have no rights
    /// in, E28), it is tried at the target, and last as a comment on the merge request.
    async fn set_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<Shown>;

    /// Writes a comment on a merge request, or replaces the one that was written for the same `topic` before.
    /// A topic is a word or two of ASCII letters, digits, `-`, `/` and `.`; it is hidden in the comment.
    async fn comment(
        &self,
        repository: &Repository,
        merge_request: u64,
        topic: &str,
        text: &str,
    ) -> Result<()>;

    /// Whether the host lets a merge request be merged although a build failed (K41), and which setting would change that.
    async fn merge_gate(&self, repository: &Repository, branch: &str) -> Result<MergeGate>;
}

/// What a status belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusSubject {
    /// The repository that was built; for a merge request the target.
    pub repository: Repository,
    /// The commit.
    pub commit: CommitId,
    /// The branch or tag that was built. GitLab wants it where a commit is on several.
    pub git_ref: Option<GitRef>,
    /// The merge request that was built.
    pub merge_request: Option<StatusMergeRequest>,
}

/// The merge request that a status belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusMergeRequest {
    /// Its number in the target repository.
    pub number: u64,
    /// The fork that its commits lie in; `None`: the target itself, or it is gone.
    pub fork: Option<Repository>,
}

/// A status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// How it stands.
    pub state: StatusState,
    /// What it is about: `kiops/api`. One a component.
    pub context: String,
    /// One sentence for people.
    pub description: String,
    /// Where they can read on.
    pub target_url: Option<String>,
}

/// How something stands. Hosts that know fewer words get the nearest, and the description says the rest (E78).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// It waits.
    Pending,
    /// It is under way.
    Running,
    /// It went well.
    Success,
    /// It went wrong.
    Failed,
    /// Somebody ended it.
    Canceled,
    /// It was left out on purpose, which blocks nothing.
    Skipped,
}

impl StatusState {
    /// The name used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
        }
    }
}

/// Where a status ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// On the commit, where it lies: in the fork of a merge request, else in the repository.
    Commit,
    /// On the commit in the merge request's target.
    Target,
    /// As a comment on the merge request: the host takes no status.
    Comment,
}

/// What stands between a failed build and a merge (K41).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "gate")]
pub enum MergeGate {
    /// A failed build blocks the merge.
    Closed,
    /// It does not.
    Open {
        /// What to switch on at the host, in its own words.
        setting: String,
    },
    /// The host does not tell, or the token may not ask.
    Unknown {
        /// Where to look, in the host's own words.
        setting: String,
    },
}

/// Text in Markdown that shows it as it is, on one line: a failure's words may be a program's output, and hosts take lines of a comment that
/// begin with `/` for commands.
pub fn as_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '!' | '@' | '~' | '&' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_of_a_failure_is_markup(text in "\\PC{0,80}") {
            let shown = as_markdown(&text);
            let bare: String = shown.replace("\\\\", "");
            for c in ['<', '[', '`', '@'] {
                prop_assert_eq!(bare.matches(c).count(), bare.matches(&format!("\\{c}")).count());
            }
        }
    }
}
