//! [`TektonExecutor`]: builds images with Tekton, each build a PipelineRun (`tekton.dev/v1`) of its own.
//!
//! Its one task has the steps of a build: `setup-...` fetches the commit with Git, `build` builds it with Kaniko into a folder of the pod,
//! `push` pushes that folder as the candidate tag. The digest comes back as the result `digest`; stages, failures and the log are read step by step.
//!
//! # Secrets
//! They are in a Secret of the run, owned by its PipelineRun and gone with it, and each step has its own only: Git's credential is the fetching
//! step's, the credential for pushing is `push`'s (and `build`'s, where layers are cached in a registry), build secrets are `build`'s. The
//! PipelineRun starts when the Secret is there: until then it is pending.
//!
//! # Limits
//! A run that is canceled, or takes too long, loses its pod, and with it what nobody has read of its log: Tekton removes it, unless its feature
//! flag `keep-pod-on-cancel` is on.

mod config;
mod lines;
mod render;

#[cfg(test)]
mod tests;

pub use config::TektonConfig;

use async_trait::async_trait;
use kiops_core::build::{BuildExecutor, BuildSpec};
use kiops_core::name::RunId;
use kiops_core::provider::CloneAccess;
use kiops_core::run::{Observed, RunInputs, RunReports};
use kiops_core::stage::Failure;
use kiops_core::{Error, Result};
use kube::api::DynamicObject;

use self::lines::TektonReader;
use self::render::draft;
use crate::build::{Given, Hosts, is_admitted};
use crate::kaniko::parts::Asked;
use crate::run::{Carrier, Draft, Kind, Reader, Runs, objects};

const NAME: &str = "tekton";
/// What the log is read by, as annotations: the Dockerfile from the context's folder, the commit, and where the image goes.
const DOCKERFILE: &str = "kiops.dev/dockerfile";
const COMMIT: &str = "kiops.dev/commit";
const DESTINATION: &str = "kiops.dev/destination";

/// Builds images with Tekton.
///
/// Runs outlive the process: whoever opens an executor on the same namespace and instance goes on with them. A cancel that comes
/// between the registry's taking the manifest and the end of the step leaves the candidate tag behind an outcome of `Canceled`.
#[derive(Debug)]
pub struct TektonExecutor {
    config: TektonConfig,
    runs: Runs,
    asked: Asked,
}

impl TektonExecutor {
    /// An executor for these runs. Whether the cluster has Tekton is asked by the first run.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) for settings that no pod can have.
    pub fn new(config: TektonConfig, runs: &Runs) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, runs: runs.carried_by(Kind::PipelineRun), asked: Asked::default() })
    }

    /// The PipelineRun that [`start`](BuildExecutor::start) would create for this run, to be looked at. It holds no secret; its Secret is not shown.
    ///
    /// # Errors
    /// What stands in the way of rendering, as `start` would say.
    pub fn pipeline_run(
        &self,
        run: &RunId,
        spec: &BuildSpec,
        access: &CloneAccess,
        inputs: &RunInputs,
    ) -> Result<DynamicObject> {
        let draft = self.draft(spec, access, inputs)?;
        let rendered =
            objects(self.runs.config(), Kind::PipelineRun, run, draft).carrier.into_pipeline_run()?;
        let value = serde_json::to_value(&rendered).and_then(serde_json::from_value);
        value.map_err(|error| Error::internal("render build", error.to_string()))
    }

    fn draft(&self, spec: &BuildSpec, access: &CloneAccess, inputs: &RunInputs) -> Result<Draft> {
        let kaniko = &self.config.kaniko;
        let hosts = Hosts {
            cache: kaniko.cache_repository.as_deref(),
            insecure_git: &kaniko.insecure_git_hosts,
            insecure_registries: &kaniko.insecure_registries,
        };
        is_admitted(&self.runs.config().network, spec, access, &hosts)?;
        draft(&self.config, spec, &Given::of(spec, access, inputs), self.asked.steps(&spec.build))
    }
}

#[async_trait]
impl BuildExecutor for TektonExecutor {
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
    Box::new(TektonReader::of(carrier))
}
