//! [`KanikoExecutor`]: builds images with Kaniko, each build a Job of its own.
//!
//! The Job clones the repository at its commit, builds without a Docker daemon, and pushes the candidate tag; the digest comes back
//! as the container's last message. Progress, failures and what came from the cache are read from the log.
//!
//! # Secrets
//! The Git credential, registry credentials and build secrets are in a Secret of the run, owned by its Job and gone with it: never in
//! arguments, labels, annotations or the image's history. A RUN reads a build secret from its file, `/kaniko/secrets/ID`, of which
//! Kaniko takes nothing into the image; `RUN --mount=type=secret` is refused.
//!
//! # Limits
//! Kaniko works as root of its container, and so do the commands of a Dockerfile: they can read what the build was given, the Git and
//! registry credentials included. Give tokens that may read this repository and push to this project, and nothing else.

mod asked;
mod config;
mod context;
mod dockerfile;
mod failure;
mod lines;
mod render;

#[cfg(test)]
mod tests;

pub use config::KanikoConfig;
pub use render::SECRETS_DIR;

/// What another executor takes from here that has Kaniko build, and clones and pushes by itself.
pub(crate) mod parts {
    pub(crate) use super::asked::Asked;
    pub(crate) use super::context::{Context, dockerfile_from};
    pub(crate) use super::lines::{KanikoReader, steps_of};
    pub(crate) use super::render::{
        CERTIFICATE, DEADLINE_SECS, DOCKER_CONFIG, EXECUTOR, LOG_FORMAT, To, arguments, container,
        registry_arguments,
    };
}

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use kiops_core::Result;
use kiops_core::build::{BuildExecutor, BuildSpec};
use kiops_core::name::RunId;
use kiops_core::provider::CloneAccess;
use kiops_core::run::{Observed, RunInputs, RunReports};
use kiops_core::stage::Failure;

use self::asked::Asked;
use self::lines::KanikoReader;
use self::render::draft;
use crate::build::{Given, Hosts, is_admitted};
use crate::run::{Carrier, Draft, Kind, Reader, Runs, objects};

const NAME: &str = "kaniko";
/// How many steps a Dockerfile has, as an annotation.
pub(crate) const STEPS: &str = "kiops.dev/steps";

/// Builds images with Kaniko on Kubernetes.
///
/// Runs outlive the process: whoever opens an executor on the same namespace and instance goes on with them. A cancel that comes
/// between the registry's taking the manifest and Kaniko's end leaves the candidate tag behind an outcome of `Canceled`.
#[derive(Debug)]
pub struct KanikoExecutor {
    config: KanikoConfig,
    runs: Runs,
    asked: Asked,
}

impl KanikoExecutor {
    /// An executor for these runs.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) for settings that no Job can have.
    pub fn new(config: KanikoConfig, runs: &Runs) -> Result<Self> {
        config.validate("set up kaniko")?;
        Ok(Self { config, runs: runs.clone(), asked: Asked::default() })
    }

    /// The Job that [`start`](BuildExecutor::start) would create for this run, to be looked at. It holds no secret; its Secret is not shown.
    ///
    /// # Errors
    /// What stands in the way of rendering, as `start` would say.
    pub fn job(
        &self,
        run: &RunId,
        spec: &BuildSpec,
        access: &CloneAccess,
        inputs: &RunInputs,
    ) -> Result<Job> {
        let draft = self.draft(spec, access, inputs)?;
        objects(self.runs.config(), Kind::Job, run, draft).carrier.into_job()
    }

    fn draft(&self, spec: &BuildSpec, access: &CloneAccess, inputs: &RunInputs) -> Result<Draft> {
        let hosts = Hosts {
            cache: self.config.cache_repository.as_deref(),
            insecure_git: &self.config.insecure_git_hosts,
            insecure_registries: &self.config.insecure_registries,
        };
        is_admitted(&self.runs.config().network, spec, access, &hosts)?;
        draft(&self.config, spec, &Given::of(spec, access, inputs), self.asked.steps(&spec.build))
    }
}

#[async_trait]
impl BuildExecutor for KanikoExecutor {
    fn name(&self) -> &str {
        NAME
    }

    fn accepts(&self, spec: &BuildSpec, dockerfile: &str) -> Result<(), Failure> {
        self.asked.accepts(spec, dockerfile)
    }

    async fn start(&self, run: &RunId, spec: &BuildSpec, inputs: RunInputs) -> Result<()> {
        let access = inputs.source.clone_access().await?;
        let draft = self.draft(spec, &access, &inputs)?;
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
    Box::new(KanikoReader::of(carrier))
}
