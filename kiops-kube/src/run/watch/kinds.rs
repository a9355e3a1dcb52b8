//! What is taken from each kind of object that is watched.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kube::runtime::watcher;

use super::super::carrier::Kind;
use super::super::pipeline::{PipelineRun, TaskRun, pipeline_run};
use super::super::{RunsConfig, names};
use super::{Rows, Watched, kept, label};

impl Watched for Job {
    const RESOURCE: &'static str = "jobs";

    fn applied(self, rows: &mut Rows) {
        let Some(run) = label(&self, names::RUN).map(str::to_owned) else { return };
        let name = self.metadata.name.clone().unwrap_or_default();
        rows.by_job.insert(name, run.clone());
        rows.change(&run, |seen| seen.carrier = Some(Arc::new(self.into())));
    }

    fn deleted(&self, rows: &mut Rows) {
        rows.by_job.remove(self.metadata.name.as_deref().unwrap_or_default());
        rows.carrier_deleted(&self.metadata);
    }

    fn only(rows: &mut Rows, uids: &HashSet<String>) {
        rows.only_carriers(Kind::Job, uids);
    }
}

impl Watched for PipelineRun {
    const RESOURCE: &'static str = pipeline_run::RESOURCE;

    fn applied(self, rows: &mut Rows) {
        let Some(run) = label(&self, names::RUN).map(str::to_owned) else { return };
        rows.change(&run, |seen| seen.carrier = Some(Arc::new(self.into())));
    }

    fn deleted(&self, rows: &mut Rows) {
        rows.carrier_deleted(&self.metadata);
    }

    fn only(rows: &mut Rows, uids: &HashSet<String>) {
        rows.only_carriers(Kind::PipelineRun, uids);
    }
}

impl Watched for TaskRun {
    const RESOURCE: &'static str = pipeline_run::TASK_RUNS;

    fn applied(self, rows: &mut Rows) {
        let Some(run) = label(&self, names::RUN).map(str::to_owned) else { return };
        rows.change(&run, |seen| seen.task = Some(Arc::new(self)));
    }

    fn deleted(&self, rows: &mut Rows) {
        let Some(run) = label(self, names::RUN) else { return };
        rows.change(run, |seen| {
            if seen.task.as_ref().is_some_and(|task| task.metadata.uid == self.metadata.uid) {
                seen.task = None;
            }
        });
    }

    fn only(rows: &mut Rows, uids: &HashSet<String>) {
        for row in rows.runs.values() {
            row.send_if_modified(|seen| {
                let gone = seen.task.as_ref().is_some_and(|task| !kept(&task.metadata, uids));
                if gone {
                    seen.task = None;
                }
                gone
            });
        }
    }
}

impl Watched for Pod {
    const RESOURCE: &'static str = "pods";

    fn applied(self, rows: &mut Rows) {
        let Some(run) = label(&self, names::RUN).map(str::to_owned) else { return };
        rows.change(&run, |seen| {
            seen.pods.retain(|pod| pod.metadata.uid != self.metadata.uid);
            seen.pods.push(Arc::new(self));
        });
    }

    fn deleted(&self, rows: &mut Rows) {
        let Some(run) = label(self, names::RUN) else { return };
        rows.change(run, |seen| seen.pods.retain(|pod| pod.metadata.uid != self.metadata.uid));
    }

    fn only(rows: &mut Rows, uids: &HashSet<String>) {
        for row in rows.runs.values() {
            row.send_if_modified(|seen| {
                let before = seen.pods.len();
                seen.pods.retain(|pod| kept(&pod.metadata, uids));
                seen.pods.len() != before
            });
        }
    }
}

impl Watched for KubeEvent {
    const RESOURCE: &'static str = "events";

    fn applied(self, rows: &mut Rows) {
        let job = self.involved_object.name.as_deref().unwrap_or_default();
        let Some(run) = rows.by_job.get(job).cloned() else { return };
        let message = self.message.unwrap_or_default();
        rows.change(&run, |seen| seen.refusal = Some(message));
    }

    // Events go after an hour; what they said is true until there is a pod.
    fn deleted(&self, _: &mut Rows) {}
    fn only(_: &mut Rows, _: &HashSet<String>) {}

    fn wanted(_: &RunsConfig) -> watcher::Config {
        watcher::Config::default().fields("involvedObject.kind=Job,reason=FailedCreate")
    }
}
