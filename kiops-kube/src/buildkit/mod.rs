//! [`BuildKitExecutor`]: builds images with BuildKit, without root and without a daemon that stays, each build a Job of its own.
//!
//! Containers with Git fetch the commit; then a daemon runs as long as the build does, as user 1000, and pushes the candidate tag. Progress, failures,
//! what came from the cache and the image's digest are read from the log, in which BuildKit keeps what commands print apart from what it says.
//!
//! # Secrets
//! The Git credential, registry credentials and build secrets are in a Secret of the run, owned by its Job and gone with it: never in
//! arguments, labels, annotations or the image's history. A RUN reads a build secret by `RUN --mount=type=secret,id=ID`. The container in which the
//! commands run has no Git credential, and a build that is thrown away has nothing at all.
//!
//! # Limits
//! The pod needs the Pod Security level `privileged`, for its seccomp and AppArmor profiles are `Unconfined`; it is not privileged itself, and not root. The
//! commands of a Dockerfile share the daemon's process namespace: take it that they might reach what the build was given for its registries.

mod config;
mod daemon;
mod dockerfile;
mod failure;
mod lines;
mod render;
mod status;

#[cfg(test)]
mod tests;

pub use config::BuildKitConfig;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use kiops_core::Result;
use kiops_core::build::{BuildExecutor, BuildSpec};
use kiops_core::name::RunId;
use kiops_core::provider::CloneAccess;
use kiops_core::run::{Observed, RunInputs, RunReports};
use kiops_core::stage::Failure;

use self::lines::BuildKitReader;
use self::render::draft;
use crate::build::{Given, Hosts, accepts_target, is_admitted};
use crate::run::{Carrier, Draft, Kind, Reader, Runs, objects};

const NAME: &str = "buildkit";
/// The commit, as an annotation.
const COMMIT: &str = "kiops.dev/commit";
/// The Dockerfile from the repository's root, as an annotation.
const DOCKERFILE: &str = "kiops.dev/dockerfile";
/// The image that is pushed, as an annotation.
const DESTINATION: &str = "kiops.dev/destination";

/// Builds images with BuildKit on Kubernetes.
///
/// Runs outlive the process: whoever opens an executor on the same namespace and instance goes on with them. A cancel that comes
/// between the registry's taking the manifest and BuildKit's end leaves the candidate tag behind an outcome of `Canceled`.
#[derive(Debug)]
pub struct BuildKitExecutor {
    config: BuildKitConfig,
    runs: Runs,
}

impl BuildKitExecutor {
    /// An executor for these runs.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) for settings that no Job can have.
    pub fn new(config: BuildKitConfig, runs: &Runs) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, runs: runs.clone() })
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
        draft(&self.config, spec, &Given::of(spec, access, inputs))
    }
}

#[async_trait]
impl BuildExecutor for BuildKitExecutor {
    fn name(&self) -> &str {
        NAME
    }

    fn accepts(&self, spec: &BuildSpec, dockerfile: &str) -> Result<(), Failure> {
        if let Some(failure) = dockerfile::refused(dockerfile, &self.config.frontends) {
            return Err(failure);
        }
        accepts_target(spec)
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
    Box::new(BuildKitReader::of(carrier))
}
