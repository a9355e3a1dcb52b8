//! The objects of `tekton.dev/v1`, as far as they are written and read here; by Tekton's public documentation of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{
    ContainerStateTerminated, EnvVar, LocalObjectReference, ResourceRequirements, SecurityContext,
    Toleration, Volume, VolumeMount,
};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

pub(crate) const API_VERSION: &str = "tekton.dev/v1";
/// PipelineRuns, in the words of RBAC.
pub(crate) const RESOURCE: &str = "pipelineruns.tekton.dev";
/// TaskRuns, in the words of RBAC.
pub(crate) const TASK_RUNS: &str = "taskruns.tekton.dev";

/// What `spec.status` says of a PipelineRun that does not start yet.
pub(crate) const PENDING: &str = "PipelineRunPending";
/// What `spec.status` says of a PipelineRun that is to end.
pub(crate) const CANCELED: &str = "Cancelled";

/// The only task of a run.
pub(crate) const TASK: &str = "build";
/// The result by which it hands over what its program left as its last message.
pub(crate) const RESULT: &str = "digest";
/// What Tekton puts the path of that result's file for.
pub(crate) const RESULT_PATH: &str = "$(results.digest.path)";

/// A PipelineRun.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PipelineRun {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: PipelineRunSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<RunStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PipelineRunSpec {
    /// [`PENDING`], [`CANCELED`], or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    pub(crate) timeouts: Timeouts,
    pub(crate) task_run_template: TaskRunTemplate,
    pub(crate) pipeline_spec: PipelineSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Timeouts {
    /// As Go writes durations: `7200s`.
    pub(crate) pipeline: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TaskRunTemplate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_account_name: Option<String>,
    pub(crate) pod_template: PodTemplate,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodTemplate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) automount_service_account_token: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enable_service_links: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image_pull_secrets: Option<Vec<LocalObjectReference>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_selector: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tolerations: Option<Vec<Toleration>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority_class_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PipelineSpec {
    pub(crate) tasks: Vec<PipelineTask>,
    pub(crate) results: Vec<Declared>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PipelineTask {
    pub(crate) name: String,
    pub(crate) task_spec: TaskSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TaskSpec {
    pub(crate) results: Vec<Declared>,
    pub(crate) steps: Vec<Step>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) volumes: Vec<Volume>,
}

/// A result, where it is declared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Declared {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) image: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) command: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<EnvVar>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) volume_mounts: Vec<VolumeMount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compute_resources: Option<ResourceRequirements>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) security_context: Option<SecurityContext>,
}

/// How a PipelineRun or a TaskRun stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RunStatus {
    pub(crate) conditions: Vec<Condition>,
    /// A PipelineRun's results.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) results: Vec<Declared>,
    /// A TaskRun's steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<StepState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_time: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StepState {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) terminated: Option<ContainerStateTerminated>,
    /// `Completed`, `Error`, `Skipped`, ...
    pub(crate) termination_reason: String,
}

/// A TaskRun: what Tekton makes of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TaskRun {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: TaskRunSpec,
    pub(crate) status: Option<RunStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TaskRunSpec {
    /// `TaskRunCancelled`, or nothing.
    pub(crate) status: Option<String>,
}

impl PipelineRun {
    /// The steps of its only task.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.spec.pipeline_spec.tasks.iter().flat_map(|task| &task.task_spec.steps)
    }

    /// What Tekton says of its end; `None`: it is not over.
    pub(crate) fn done(&self) -> Option<&Condition> {
        self.status.as_ref()?.done()
    }

    /// What it handed over.
    pub(crate) fn result(&self) -> Option<&str> {
        let results = &self.status.as_ref()?.results;
        results.iter().find(|result| result.name == RESULT)?.value.as_ref()?.as_str()
    }
}

impl RunStatus {
    /// What the condition says that tells how it goes.
    pub(crate) fn succeeded(&self) -> Option<&Condition> {
        self.conditions.iter().find(|one| one.type_ == "Succeeded")
    }

    /// The same where it is over.
    pub(crate) fn done(&self) -> Option<&Condition> {
        self.succeeded().filter(|one| one.status != "Unknown")
    }
}

macro_rules! tekton {
    ($type:ty, $kind:literal, $plural:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                "tekton.dev".into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

tekton!(PipelineRun, "PipelineRun", "pipelineruns");
tekton!(TaskRun, "TaskRun", "taskruns");
