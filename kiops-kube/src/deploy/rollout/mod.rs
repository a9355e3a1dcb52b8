//! How a rollout stands, from what the cluster says of it. Pure: no clock, no call.

mod pods;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, DeploymentCondition, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::release::RolloutStatus;
use kiops_core::stage::{Failure, FailureKind, Stage};

/// The number that the Deployment controller gives to a Deployment and its newest ReplicaSet alike.
const GENERATION_OF_SET: &str = "deployment.kubernetes.io/revision";
/// The same of a DaemonSet, and the label of its pods that says which template they were made from.
const DAEMON_GENERATION: &str = "deprecated.daemonset.template.generation";
const DAEMON_POD_GENERATION: &str = "pod-template-generation";
/// The label of a StatefulSet's pods that says which template they were made from.
const REVISION_HASH: &str = "controller-revision-hash";

/// What is rolled out, with what belongs to it.
#[derive(Debug, Clone, Copy)]
pub enum Rollout<'a> {
    /// A Deployment, and ReplicaSets among which its own are.
    Deployment(&'a Deployment, &'a [ReplicaSet]),
    /// A StatefulSet.
    StatefulSet(&'a StatefulSet),
    /// A DaemonSet.
    DaemonSet(&'a DaemonSet),
}

/// How a rollout stands.
///
/// - Nothing is believed before the controller has seen the newest generation: until then its figures are those of the rollout before.
/// - Only pods of the newest template count; `pods` may hold others, also those of other workloads.
/// - It is complete when every pod that is wanted is of the newest template and available, no other pod is left, and no container
///   started less than five seconds ago (half a minute, where it was restarted): one without a readiness probe is "ready" before it
///   crashes.
/// - It has failed when a container was restarted three times and waits for the next time, when an image cannot be pulled (at once where
///   the registry says no, after a minute otherwise), when a container cannot be made for a minute, or when the progress deadline is
///   over. What may still come by itself, as room on a node, is progress.
/// - A clock that runs ahead or behind makes a verdict earlier and never wrong: ages below zero count as long ago.
///
/// StatefulSets and DaemonSets have no progress deadline; the release's own timer ends them.
pub fn rollout_status(rollout: Rollout<'_>, pods: &[Pod], now: Timestamp) -> RolloutStatus {
    let figures = Figures::of(rollout);
    if !figures.seen {
        return RolloutStatus::Progressing("the cluster has not taken up the change yet".to_owned());
    }
    let fresh: Vec<&Pod> = pods.iter().filter(|pod| alive(pod) && is_newest(rollout, pod)).collect();
    let failure = if figures.wanted > 0 { pods::failure(&fresh, now) } else { None };
    if let Some(failure) = failure {
        return RolloutStatus::Failed(failure);
    }
    if figures.complete() {
        return match pods::unsettled(&fresh, now) {
            Some(waiting) => RolloutStatus::Progressing(waiting),
            None => RolloutStatus::Complete,
        };
    }
    let waits = figures.waits(pods::ready(&fresh));
    let why = figures.refused.or_else(|| pods::hint(&fresh));
    let text = match &why {
        Some(why) => format!("{waits}: {why}"),
        None => waits,
    };
    match figures.overdue {
        Some(seconds) => RolloutStatus::Failed(overdue(seconds, &text)),
        None => RolloutStatus::Progressing(text),
    }
}

fn overdue(seconds: i32, text: &str) -> Failure {
    Failure::new(
        Stage::Deploy,
        FailureKind::RolloutFailed,
        format!("no progress for {seconds} s (progress deadline), {text}"),
    )
    .with_remedy("look at the pods' events and logs; the previous revision is one rollback away")
}

/// A rollout's figures, whatever the kind.
#[derive(Debug, Default)]
struct Figures {
    /// The controller has seen the newest generation.
    seen: bool,
    /// Pods that there should be.
    wanted: i32,
    /// Pods that there are, of any template.
    total: i32,
    /// Pods of the newest template.
    updated: i32,
    /// Pods that serve, of any template.
    available: i32,
    /// Somebody else has to do something before it goes on.
    held: Option<&'static str>,
    /// The cluster refuses to make pods, in its own words.
    refused: Option<String>,
    /// The progress deadline is over, in seconds.
    overdue: Option<i32>,
}

impl Figures {
    fn of(rollout: Rollout<'_>) -> Self {
        match rollout {
            Rollout::Deployment(deployment, _) => Self::of_deployment(deployment),
            Rollout::StatefulSet(set) => Self::of_stateful_set(set),
            Rollout::DaemonSet(set) => Self::of_daemon_set(set),
        }
    }

    fn of_deployment(deployment: &Deployment) -> Self {
        let (spec, status) = (deployment.spec.as_ref(), deployment.status.as_ref());
        let condition = |kind: &str, value: &str| {
            let conditions = status.and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().find(|found| found.type_ == kind && found.status == value)
        };
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let updated = status.and_then(|status| status.updated_replicas).unwrap_or(0);
        // The controller may have seen this rollout and not yet taken back what it said of the one before.
        let of_another = |found: &DeploymentCondition| {
            let at = found.last_transition_time.as_ref().map(|at| at.0);
            updated < wanted && at.is_some() && at < template_changed(&deployment.metadata)
        };
        let late = condition("Progressing", "False").filter(|found| {
            found.reason.as_deref() == Some("ProgressDeadlineExceeded") && !of_another(found)
        });
        Self {
            seen: seen(&deployment.metadata, status.and_then(|status| status.observed_generation)),
            wanted,
            total: status.and_then(|status| status.replicas).unwrap_or(0),
            updated,
            available: status.and_then(|status| status.available_replicas).unwrap_or(0),
            held: spec
                .and_then(|spec| spec.paused)
                .unwrap_or(false)
                .then_some("the Deployment is paused: resume it (kubectl rollout resume)"),
            refused: condition("ReplicaFailure", "True").map(|found| {
                format!("the cluster makes no pod: {}", pods::words(found.message.as_deref().unwrap_or("")))
            }),
            overdue: late.map(|_| spec.and_then(|spec| spec.progress_deadline_seconds).unwrap_or(600)),
        }
    }

    fn of_stateful_set(set: &StatefulSet) -> Self {
        let (spec, status) = (set.spec.as_ref(), set.status.as_ref());
        let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
        let held = match strategy.and_then(|strategy| strategy.type_.as_deref()) {
            Some("OnDelete") => Some("pods change only when somebody deletes them (updateStrategy OnDelete)"),
            _ => strategy
                .and_then(|strategy| strategy.rolling_update.as_ref()?.partition)
                .filter(|partition| *partition > 0)
                .map(|_| "a partition keeps some pods as they are (updateStrategy.rollingUpdate.partition)"),
        };
        Self {
            seen: seen(&set.metadata, status.and_then(|status| status.observed_generation)),
            wanted: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            total: status.map_or(0, |status| status.replicas),
            updated: status.map_or(0, |status| {
                // Once all pods are new, the controller forgets the older template and counts them as current. The revisions are the same, too,
                // where a template comes back before another one was everywhere.
                let updated = status.updated_replicas.unwrap_or(0);
                let same =
                    status.update_revision.is_some() && status.update_revision == status.current_revision;
                if same { updated.max(status.current_replicas.unwrap_or(0)) } else { updated }
            }),
            // `availableReplicas` is newer than the oldest clusters.
            available: status.and_then(|status| status.ready_replicas).unwrap_or(0),
            held,
            ..Self::default()
        }
    }

    fn of_daemon_set(set: &DaemonSet) -> Self {
        let (spec, status) = (set.spec.as_ref(), set.status.as_ref());
        let on_delete =
            spec.and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref()) == Some("OnDelete");
        let wanted = status.map_or(0, |status| status.desired_number_scheduled);
        Self {
            seen: seen(&set.metadata, status.and_then(|status| status.observed_generation)),
            wanted,
            total: status.map_or(0, |status| status.current_number_scheduled),
            updated: status.and_then(|status| status.updated_number_scheduled).unwrap_or(0),
            available: status.and_then(|status| status.number_available).unwrap_or(0),
            held: on_delete
                .then_some("pods change only when somebody deletes them (updateStrategy OnDelete)"),
            ..Self::default()
        }
    }

    const fn complete(&self) -> bool {
        self.updated >= self.wanted && self.total == self.updated && self.available >= self.wanted
    }

    /// What it waits for, in figures.
    fn waits(&self, ready: usize) -> String {
        let wanted = self.wanted;
        let all_ready = i32::try_from(ready).is_ok_and(|ready| ready >= wanted);
        match self.held {
            Some(held) if self.updated < wanted => format!("{} of {wanted} updated; {held}", self.updated),
            _ if self.updated < wanted => format!("{} of {wanted} updated", self.updated),
            _ if !all_ready => format!("{ready} of {wanted} ready"),
            _ if self.total > self.updated => {
                format!("{} older ones still run", self.total.saturating_sub(self.updated))
            }
            _ => format!("{} of {wanted} available", self.available),
        }
    }
}

fn seen(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    observed.is_some_and(|observed| observed >= metadata.generation.unwrap_or(0))
}

/// When somebody last wrote the pod template, by the API server's clock.
fn template_changed(metadata: &ObjectMeta) -> Option<Timestamp> {
    let writes = metadata.managed_fields.iter().flatten().filter(|write| {
        let fields = write.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.pointer("/f:spec/f:template").is_some())
    });
    writes.filter_map(|write| write.time.as_ref().map(|at| at.0)).max()
}

/// A pod that is being deleted says nothing about what comes.
const fn alive(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

/// Whether a pod was made from the workload's newest template.
fn is_newest(rollout: Rollout<'_>, pod: &Pod) -> bool {
    match rollout {
        Rollout::Deployment(deployment, sets) => sets.iter().any(|set| {
            owns(&deployment.metadata, &set.metadata)
                && owns(&set.metadata, &pod.metadata)
                && annotation(&deployment.metadata, GENERATION_OF_SET).is_some()
                && annotation(&deployment.metadata, GENERATION_OF_SET)
                    == annotation(&set.metadata, GENERATION_OF_SET)
        }),
        Rollout::StatefulSet(set) => {
            let newest = set.status.as_ref().and_then(|status| status.update_revision.as_deref());
            owns(&set.metadata, &pod.metadata) && newest.is_some() && label(pod, REVISION_HASH) == newest
        }
        Rollout::DaemonSet(set) => {
            let newest = annotation(&set.metadata, DAEMON_GENERATION);
            owns(&set.metadata, &pod.metadata)
                && (newest.is_none() || label(pod, DAEMON_POD_GENERATION) == newest)
        }
    }
}

fn owns(owner: &ObjectMeta, owned: &ObjectMeta) -> bool {
    let owners = owned.owner_references.iter().flatten();
    owner.uid.as_ref().is_some_and(|uid| owners.into_iter().any(|found| found.uid == *uid))
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}
