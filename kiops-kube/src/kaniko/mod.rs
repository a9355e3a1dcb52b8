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

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use kiops_core::build::{BuildExecutor, BuildSpec};
use kiops_core::name::{BuildId, RunId};
use kiops_core::provider::CloneAccess;
use kiops_core::run::{Observed, RunInputs, RunReports};
use kiops_core::stage::Failure;
use kiops_core::{Error, Result};

use self::lines::KanikoReader;
use self::render::draft;
use crate::build::{Given, Hosts, accepts_target, is_admitted};
use crate::run::{Draft, Reader, Runs, objects};

const NAME: &str = "kaniko";
/// How many steps a Dockerfile has, as an annotation.
const STEPS: &str = "kiops.dev/steps";
/// Of so many builds that were asked about and not started yet it is known how many steps they have.
const ASKED_MAX: usize = 1024;

/// Builds images with Kaniko on Kubernetes.
///
/// Runs outlive the process: whoever opens an executor on the same namespace and instance goes on with them. A cancel that comes
/// between the registry's taking the manifest and Kaniko's end leaves the candidate tag behind an outcome of `Canceled`.
#[derive(Debug)]
pub struct KanikoExecutor {
    config: KanikoConfig,
    runs: Runs,
    /// Only `accepts` is shown the Dockerfile, and only `start` makes the Job that keeps how many steps it has.
    asked: Mutex<VecDeque<(BuildId, Option<u32>)>>,
}

impl KanikoExecutor {
    /// An executor for these runs.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) for settings that no Job can have.
    pub fn new(config: KanikoConfig, runs: &Runs) -> Result<Self> {
        let invalid = |text: &str| Err(Error::invalid("set up kaniko", text));
        if config.image.trim().is_empty() {
            return invalid("image: it is empty");
        }
        config.pod.validate("set up kaniko")?;
        if config.cache_ttl_hours == 0 {
            return invalid("cache_ttl_hours: it is 0");
        }
        Ok(Self { config, runs: runs.clone(), asked: Mutex::default() })
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
        Ok(objects(self.runs.config(), run, draft).job)
    }

    fn draft(&self, spec: &BuildSpec, access: &CloneAccess, inputs: &RunInputs) -> Result<Draft> {
        let hosts = Hosts {
            cache: self.config.cache_repository.as_deref(),
            insecure_git: &self.config.insecure_git_hosts,
            insecure_registries: &self.config.insecure_registries,
        };
        is_admitted(&self.runs.config().network, spec, access, &hosts)?;
        draft(&self.config, spec, &Given::of(spec, access, inputs), self.steps(&spec.build))
    }

    fn remember(&self, build: &BuildId, steps: Option<u32>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|(known, _)| known != build);
        if asked.len() >= ASKED_MAX {
            asked.pop_front();
        }
        asked.push_back((build.clone(), steps));
    }

    fn steps(&self, build: &BuildId) -> Option<u32> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().find(|(known, _)| known == build).and_then(|(_, steps)| *steps)
    }
}

#[async_trait]
impl BuildExecutor for KanikoExecutor {
    fn name(&self) -> &str {
        NAME
    }

    fn accepts(&self, spec: &BuildSpec, dockerfile: &str) -> Result<(), Failure> {
        if let Some(failure) = dockerfile::refused(dockerfile) {
            return Err(failure);
        }
        accepts_target(spec)?;
        self.remember(&spec.build, dockerfile::steps(dockerfile));
        Ok(())
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

fn reader(job: &Job) -> Box<dyn Reader> {
    Box::new(KanikoReader::of(job))
}
