//! What carries a run: the object of which the cluster makes its pod.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Container;
use kiops_core::{Error, Result};
use kube::api::ObjectMeta;

use super::names;
use super::phase::is_noted_as_ended;
use super::pipeline::{PipelineRun, pipeline_run};

/// Which kind of object carries a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A Job of the cluster's own.
    Job,
    /// A PipelineRun of Tekton's.
    PipelineRun,
}

/// The object that carries a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Carrier {
    Job(Box<Job>),
    PipelineRun(Box<PipelineRun>),
}

impl Kind {
    /// What people call it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::PipelineRun => "PipelineRun",
        }
    }

    /// The resource, in the words of RBAC.
    pub(crate) const fn resource(self) -> &'static str {
        match self {
            Self::Job => "jobs",
            Self::PipelineRun => pipeline_run::RESOURCE,
        }
    }

    pub(crate) const fn api_version(self) -> &'static str {
        match self {
            Self::Job => "batch/v1",
            Self::PipelineRun => pipeline_run::API_VERSION,
        }
    }
}

impl Carrier {
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Job(_) => Kind::Job,
            Self::PipelineRun(_) => Kind::PipelineRun,
        }
    }

    pub(crate) fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Job(job) => &job.metadata,
            Self::PipelineRun(run) => &run.metadata,
        }
    }

    /// The Job that it is.
    pub(crate) fn into_job(self) -> Result<Job> {
        match self {
            Self::Job(job) => Ok(*job),
            Self::PipelineRun(_) => Err(Error::internal("render build", "its run is no Job")),
        }
    }

    /// The PipelineRun that it is.
    pub(crate) fn into_pipeline_run(self) -> Result<PipelineRun> {
        match self {
            Self::PipelineRun(run) => Ok(*run),
            Self::Job(_) => Err(Error::internal("render build", "its run is no PipelineRun")),
        }
    }

    /// What was remembered of the run.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata().annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// A Job's containers.
    pub(crate) fn job_containers(&self) -> &[Container] {
        match self {
            Self::Job(job) => {
                let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
                pod.map_or(&[], |pod| &pod.containers)
            }
            Self::PipelineRun(_) => &[],
        }
    }

    /// The containers whose logs are the run's, in the order in which they work.
    pub(crate) fn log_containers(&self) -> Vec<String> {
        match self {
            Self::Job(_) => vec![names::CONTAINER.to_owned()],
            Self::PipelineRun(run) => run.steps().map(|step| names::step_container(&step.name)).collect(),
        }
    }

    /// Whether its controller is done with it.
    pub(crate) fn is_finished(&self) -> bool {
        match self {
            Self::Job(job) => {
                let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
                let mut conditions = conditions.into_iter().flatten();
                conditions.any(|one| one.status == "True" && matches!(&*one.type_, "Complete" | "Failed"))
            }
            Self::PipelineRun(run) => run.done().is_some(),
        }
    }

    /// Whether its end is written down: noted, or of a PipelineRun told by Tekton. Somebody may have been told of it, so it stays.
    pub(crate) fn has_end(&self) -> bool {
        is_noted_as_ended(self.metadata()) || (matches!(self, Self::PipelineRun(_)) && self.is_finished())
    }

    /// Whether it is kept from starting until its Secret is there.
    pub(crate) fn is_held(&self) -> bool {
        match self {
            Self::Job(_) => false,
            Self::PipelineRun(run) => run.spec.status.as_deref() == Some(pipeline_run::PENDING),
        }
    }
}

impl From<Job> for Carrier {
    fn from(job: Job) -> Self {
        Self::Job(Box::new(job))
    }
}

impl From<PipelineRun> for Carrier {
    fn from(run: PipelineRun) -> Self {
        Self::PipelineRun(Box::new(run))
    }
}
