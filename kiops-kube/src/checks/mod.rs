//! [`KubeChecks`]: runs checks, each a Job of its own.
//!
//! # What a check is given
//! - `KIOPS_SERVICE`, `KIOPS_REPOSITORY` and `KIOPS_COMMIT`; `KIOPS_IMAGE`, the image that was built, by digest, once there is one;
//!   `KIOPS_ENVIRONMENT` and, where it is known, `KIOPS_URL`, for a check of what is live. What the check's own `env` says comes first.
//! - A check of the source works in `/workspace`, where the commit is checked out. It is fetched by Git in containers of their own,
//!   which alone have the credential.
//! - The registry's credentials for pulling are what its image is pulled with, and lie in `$DOCKER_CONFIG/config.json` for tools that look
//!   at images (Trivy).
//!
//! # Reports
//! A check whose gate is not its exit code writes a SARIF report to its standard output, as scanners do where no file is named (`trivy image
//! --quiet --format sarif`, `semgrep scan --quiet --sarif`): on one line, or on several of which the last is `}`, and nothing between them. The
//! report is kept with the build and not shown in the log. Two reports are a failure: one of them might be somebody else's. A line may have 1.3 MB, a report 32 MiB.
//!
//! # Rights
//! The pods keep to the Pod Security level `baseline`, or `restricted` where the settings say so. The service account's token is not mounted.

mod config;
mod reader;
mod render;

pub use config::ChecksConfig;
pub use render::WORKSPACE;

use async_trait::async_trait;
use kiops_core::Result;
use kiops_core::checks::{CheckJob, CheckRunner};
use kiops_core::name::RunId;
use kiops_core::run::{Observed, RunInputs, RunReports};
use kiops_core::service::CheckPhase;

use self::reader::CheckReader;
use self::render::{Given, draft};
use crate::run::{Carrier, Reader, Runs, clone_address};

const NAME: &str = "checks";

/// Runs checks on Kubernetes.
///
/// Runs outlive the process: whoever opens a runner on the same namespace and instance goes on with them.
#[derive(Debug)]
pub struct KubeChecks {
    config: ChecksConfig,
    runs: Runs,
}

impl KubeChecks {
    /// A runner for these runs.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) for settings that no Job can have.
    pub fn new(config: ChecksConfig, runs: &Runs) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, runs: runs.clone() })
    }
}

#[async_trait]
impl CheckRunner for KubeChecks {
    fn name(&self) -> &str {
        NAME
    }

    async fn start(&self, run: &RunId, job: &CheckJob, inputs: RunInputs) -> Result<()> {
        let access = match job.check.phase {
            CheckPhase::Source => Some(inputs.source.clone_access().await?),
            CheckPhase::Image | CheckPhase::Deployed => None,
        };
        if let Some(access) = &access {
            clone_address(access, &self.config.insecure_git_hosts)?
                .is_admitted(&self.runs.config().network)?;
        }
        let given = Given {
            access: access.as_ref(),
            // Nothing is pushed by a check, and what it runs is often somebody else's.
            registries: inputs.pull.iter().collect(),
            secrets: &inputs.secrets,
            unused: inputs.push.as_ref().map(|push| &push.password),
        };
        let draft = draft(&self.config, job, &given)?;
        self.runs.start(run, draft).await
    }

    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        self.runs.reports(run, reader, after).await
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        self.runs.cancel(run).await
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        self.runs.observed(NAME).await
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.runs.forget(run).await
    }
}

fn reader(carrier: &Carrier) -> Box<dyn Reader> {
    Box::new(CheckReader::of(carrier))
}
