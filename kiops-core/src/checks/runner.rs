//! The trait of whatever runs checks.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::Repository;
use crate::name::{BuildId, CommitId, PinnedImage, ProviderName, RunId, ServiceName};
use crate::run::{Observed, RunInputs, RunReports};
use crate::service::CheckSpec;

/// Runs checks. The guarantees are those of a build executor, run id by run id: `start` is idempotent, a run goes on
/// without a reader, `cancel` settles it, a run that is not known ends at once with [`crate::run::RunOutcome::Lost`].
///
/// The exit code decides success ([`crate::run::RunOutcome::Succeeded`] for 0); a gate by severity reads [`crate::run::RunResult::sarif`].
#[async_trait]
pub trait CheckRunner: Send + Sync + std::fmt::Debug {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// Starts a check. Idempotent by run id.
    async fn start(&self, run: &RunId, job: &CheckJob, inputs: RunInputs) -> Result<()>;

    /// The reports numbered above `after`, as they come, up to `Finished`.
    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports>;

    /// Stops a check. One that is over, or not known, is no error.
    async fn cancel(&self, run: &RunId) -> Result<()>;

    /// Every run that the runner knows of.
    async fn observed(&self) -> Result<Vec<Observed>>;

    /// Lets go of a finished run's reports and leftovers. Idempotent.
    async fn forget(&self, run: &RunId) -> Result<()>;
}

/// What a check runs on. It is stored and holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckJob {
    /// The build that it judges.
    pub build: BuildId,
    /// The service it is for.
    pub service: ServiceName,
    /// The check.
    pub check: CheckSpec,
    /// Where the source is, for a check of the source.
    pub provider: ProviderName,
    /// Which repository.
    pub repository: Repository,
    /// The commit.
    pub commit: CommitId,
    /// The image that it runs in or looks at, by digest.
    pub image: Option<PinnedImage>,
}

impl CheckJob {
    /// The check's command with `{image}` and `{commit}` filled in; without a built image `{image}` stays as it is.
    pub fn command(&self) -> Vec<String> {
        let filled = |word: &String| {
            let word = word.replace("{commit}", self.commit.as_str());
            match &self.image {
                Some(image) => word.replace("{image}", &image.to_string()),
                None => word,
            }
        };
        self.check.command.iter().map(filled).collect()
    }
}
