//! The trait of whatever runs checks.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::Repository;
use crate::name::{BuildId, CommitId, EnvironmentName, PinnedImage, ProviderName, RunId, ServiceName};
use crate::run::{Observed, RunInputs, RunReports};
use crate::service::CheckSpec;

/// Runs checks. The guarantees are those of a build executor, run id by run id: `start` is idempotent, a run goes on
/// without a reader, `cancel` settles it, a run that is not known ends at once with [`crate::run::RunOutcome::Lost`].
///
/// The exit code decides success ([`crate::run::RunOutcome::Succeeded`] for 0); the report that a gate by severity
/// goes by, once it is kept, is [`crate::run::RunResult::sarif`].
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
    /// The environment where it is live, for a check of what is live.
    #[serde(default)]
    pub environment: Option<EnvironmentName>,
    /// Where it is reached there, if that is known.
    #[serde(default)]
    pub url: Option<String>,
}

impl CheckJob {
    /// The check's command with `{image}`, `{commit}`, `{environment}` and `{url}` filled in; what there is none of stays as it is.
    pub fn command(&self) -> Vec<String> {
        let words = [
            ("{commit}", Some(self.commit.to_string())),
            ("{image}", self.image.as_ref().map(ToString::to_string)),
            ("{environment}", self.environment.as_ref().map(ToString::to_string)),
            ("{url}", self.url.clone()),
        ];
        let filled = |word: &String| {
            words.iter().fold(word.clone(), |word, (name, value)| match value {
                Some(value) => word.replace(name, value),
                None => word,
            })
        };
        self.check.command.iter().map(filled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_and_what_there_is_none_of_stays() {
        let commit = "ab".repeat(20);
        let job = serde_json::json!({
            "build": BuildId::derive(["one"]), "service": "app",
            "check": {"name": "zap", "phase": "deployed", "command": ["zap", "-t={url}/{commit}", "{environment}", "{image}"]},
            "provider": "plain", "repository": {"id": null, "path": "/r"}, "commit": commit, "image": null,
        });
        let job: CheckJob = serde_json::from_value(job).unwrap();
        assert_eq!(
            job.command(),
            ["zap".to_owned(), format!("-t={{url}}/{commit}"), "{environment}".into(), "{image}".into()]
        );
        let environment = Some(EnvironmentName::parse("dev").unwrap());
        let job = CheckJob { environment, url: Some("https://app.dev".into()), ..job };
        assert_eq!(
            job.command(),
            ["zap".to_owned(), format!("-t=https://app.dev/{commit}"), "dev".into(), "{image}".into()]
        );
    }
}
