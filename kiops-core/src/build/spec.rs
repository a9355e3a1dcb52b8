//! What is to be built. A spec is stored and holds no secrets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Repository;
use crate::name::{
    BuildId, CommitId, ComponentName, GitRef, ImageName, PinnedImage, ProviderName, SecretName, ServiceName,
    Tag,
};

/// Everything that decides what a build makes, except secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSpec {
    /// The build.
    pub build: BuildId,
    /// The service it is for.
    pub service: ServiceName,
    /// The component it is for.
    pub component: ComponentName,
    /// Which host the source is at.
    pub provider: ProviderName,
    /// Which repository.
    pub repository: Repository,
    /// The commit that is checked out, whatever the ref points at by then.
    pub commit: CommitId,
    /// The ref in that repository from which the commit can be fetched.
    pub git_ref: GitRef,
    /// The context folder without slashes around it; `""` is the root.
    pub context: String,
    /// The Dockerfile's path from the repository's root.
    pub dockerfile: String,
    /// The Dockerfile's stage to stop at; `None`: the last.
    pub target: Option<String>,
    /// Build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Build secrets: id and where the value is kept. Empty for a fork's build.
    pub secrets: BTreeMap<String, SecretName>,
    /// Labels for the image (`org.opencontainers.image.*`).
    pub labels: BTreeMap<String, String>,
    /// What is known of the commit (T10).
    pub metadata: BuildMetadata,
    /// Where the image goes.
    pub output: BuildOutput,
}

/// Where the image goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOutput {
    /// It is pushed under this tag, and no other (settled 9).
    Push {
        /// Host and path.
        image: ImageName,
        /// The candidate tag.
        tag: Tag,
    },
    /// It is built and thrown away: a fork's build.
    Discard,
}

impl BuildOutput {
    /// The pinned image that a push to this output made.
    pub fn pinned(&self, digest: crate::name::Digest) -> Option<PinnedImage> {
        match self {
            Self::Push { image, tag } => {
                Some(PinnedImage { name: image.clone(), tag: Some(tag.clone()), digest })
            }
            Self::Discard => None,
        }
    }
}

/// What is known of the commit, under the names that T10 gives them. Empty where nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", default)]
pub struct BuildMetadata {
    /// The repository's path.
    pub git_repo: String,
    /// The branch, or the tag's name for a tag.
    pub git_branch: String,
    /// The full commit id.
    pub git_revision: String,
    /// Who committed, as the commit says; at most 256 bytes of it.
    pub git_committer_username: String,
    /// The commit's message: its first 16 KiB, and `... [cut]` where there is more.
    pub git_commit_message: String,
    /// When it was committed: ISO 8601 in UTC, ending in Z.
    pub git_commit_timestamp: String,
    /// Where a person can look at it.
    pub git_commit_url: String,
}

impl BuildMetadata {
    /// Name and value of each, in T10's order.
    pub fn entries(&self) -> [(&'static str, &str); 7] {
        [
            ("GIT_REPO", &self.git_repo),
            ("GIT_BRANCH", &self.git_branch),
            ("GIT_REVISION", &self.git_revision),
            ("GIT_COMMITTER_USERNAME", &self.git_committer_username),
            ("GIT_COMMIT_MESSAGE", &self.git_commit_message),
            ("GIT_COMMIT_TIMESTAMP", &self.git_commit_timestamp),
            ("GIT_COMMIT_URL", &self.git_commit_url),
        ]
    }
}
