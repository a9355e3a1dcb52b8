//! The end of a run before its own, and what is left of it afterwards.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret as SecretObject};
use kiops_core::name::RunId;
use kiops_core::{Error, ErrorKind, Result, Retry};
use kube::api::{DeleteParams, ListParams};
use tokio::time::{Instant, timeout};

use super::carrier::{Carrier, Kind};
use super::phase::{
    End, How, Phase, Seen, ended_container, has_run, is_noted_as_ended, is_placed, is_stale, phase,
};
use super::pipeline::phase::{has_ended_well, is_live};
use super::stop::{Stop, Why, no_more_pods};
use super::{Runs, names, object, run_name};

/// How long a canceled run is given to end by itself before its pod is deleted.
const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// How long a cancel is waited for at all.
const CANCEL_MAX: Duration = Duration::from_secs(45);
/// How long a change is waited for before everything is looked at again.
const LOOK: Duration = Duration::from_secs(2);

impl Runs {
    /// Stops a run, and returns when nothing of it runs and nothing can start any more.
    pub(crate) async fn cancel(&self, run: &RunId) -> Result<()> {
        if self.find(run).await?.is_none() {
            return Ok(());
        }
        match self.kind {
            Kind::Job => self.cancel_job(run).await,
            Kind::PipelineRun => self.cancel_pipeline(run).await,
        }
    }

    async fn cancel_job(&self, run: &RunId) -> Result<()> {
        let mut changes = self.watch().await?.subscribe(run);
        let begun = Instant::now();
        let (mut stopped, mut cleared) = (false, false);
        let (mut known, mut told) = (HashSet::new(), HashSet::new());
        loop {
            let seen = changes.borrow_and_update().clone();
            let Some(job) = seen.carrier.as_deref() else { return Ok(()) };
            let runs = |pod: &Pod| may_run(pod) || (is_stale(pod) && !is_noted_as_ended(job.metadata()));
            if matches!(phase(&seen), Phase::Over(_)) && !seen.pods.iter().any(|pod| runs(pod)) {
                // Without a pod that ended and stays the Job's controller may be about to make one, the first or one in place of one that goes,
                // and a node to take it.
                let stays =
                    |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && (has_run(pod) || !is_live(pod));
                let is_kept = seen.pods.iter().any(|pod| stays(pod));
                if is_kept || job.is_finished() || job.metadata().deletion_timestamp.is_some() {
                    return Ok(());
                }
                if !cleared {
                    let why = match phase(&seen) {
                        Phase::Over(End { how: How::Lost { reason }, .. }) => Why::Lost(reason),
                        _ => Why::Canceled,
                    };
                    self.stop(run, why, true).await?;
                    self.clear(run).await?;
                    cleared = true;
                }
                if self.end_unseen(run).await? == 0 {
                    return Ok(());
                }
                if begun.elapsed() >= CANCEL_MAX {
                    return Err(not_ended(run));
                }
                drop(timeout(LOOK, changes.changed()).await);
                continue;
            }
            if !stopped {
                // A pod that a node has is told to end by itself, and keeps its log. Before that there is nothing to keep.
                let placed = seen.pods.iter().any(|pod| is_placed(pod));
                self.stop(run, Why::Canceled, !placed).await?;
                if !placed {
                    self.clear(run).await?;
                    cleared = true;
                }
                stopped = true;
                known = seen.pods.iter().map(|pod| pod.metadata.uid.clone()).collect();
            }
            let late = begun.elapsed() >= CANCEL_GRACE;
            for pod in &seen.pods {
                let name = pod.metadata.name.clone().unwrap_or_default();
                if !runs(pod) || (is_stale(pod) && self.confirm_end(run, &name).await?) {
                    continue;
                }
                // One that came later was made in place of one that somebody deleted: it would do everything again.
                let at_once = late || !known.contains(&pod.metadata.uid);
                if has_run(pod) && at_once {
                    // In place of one that is deleted the Job's controller makes another.
                    self.make_no_pods(run).await?;
                    self.delete::<Pod>("pods", name, &DeleteParams::default().grace_period(1)).await?;
                } else if !has_run(pod) && (at_once || !is_placed(pod)) {
                    self.clear(run).await?;
                    cleared = true;
                } else if !told.contains(&pod.metadata.uid) && self.end_pod(&name).await? {
                    told.insert(pod.metadata.uid.clone());
                }
            }
            if begun.elapsed() >= CANCEL_MAX {
                return Err(not_ended(run));
            }
            drop(timeout(LOOK, changes.changed()).await);
        }
    }

    /// Deletes the pods of a run that is stopped and cleared, and says how many there were. The watch may not know yet of one that the Job's
    /// controller made before; one that it makes later has nothing to start with.
    async fn end_unseen(&self, run: &RunId) -> Result<usize> {
        let params = ListParams::default().labels(&format!(
            "{},{}={run}",
            names::selector(&self.inner.config),
            names::RUN
        ));
        let api = &self.api::<Pod>();
        let found = self.cluster().call(&self.access("list", "pods"), || api.list(&params)).await?;
        let mut live = 0;
        for pod in found.items.into_iter().filter(may_run) {
            live += 1;
            let grace = u32::from(has_run(&pod));
            let name = pod.metadata.name.unwrap_or_default();
            self.delete::<Pod>("pods", name, &DeleteParams::default().grace_period(grace)).await?;
        }
        Ok(live)
    }

    /// Tekton ends the pod of a PipelineRun that it is told to cancel. Where it does not say so in time, what is left is ended here.
    async fn cancel_pipeline(&self, run: &RunId) -> Result<()> {
        let mut changes = self.watch().await?.subscribe(run);
        let begun = Instant::now();
        let mut stopped = false;
        loop {
            let seen = changes.borrow_and_update().clone();
            if seen.carrier.is_none() {
                return Ok(());
            }
            let live: Vec<_> = seen.pods.iter().filter(|pod| is_live(pod)).collect();
            let over = matches!(phase(&seen), Phase::Over(_));
            if over && live.is_empty() {
                return Ok(());
            }
            let late = begun.elapsed() >= CANCEL_GRACE;
            let all_done = seen.pods.iter().any(|pod| has_ended_well(pod));
            if !stopped && !over && (!all_done || late) {
                self.stop(run, Why::Canceled, true).await?;
                stopped = true;
            }
            if stopped && live.iter().any(|pod| !has_run(pod)) {
                self.clear(run).await?;
            }
            if late {
                for pod in live.iter().filter(|pod| has_run(pod)) {
                    let name = pod.metadata.name.clone().unwrap_or_default();
                    self.delete::<Pod>("pods", name, &DeleteParams::default().grace_period(1)).await?;
                }
            }
            if late && stopped && live.is_empty() {
                // Nothing of it is left, and what Tekton might still make of it has nothing to start with.
                self.clear(run).await?;
                self.note_end(run).await;
            }
            if begun.elapsed() >= CANCEL_MAX {
                return Err(not_ended(run));
            }
            let look = if late { LOOK } else { CANCEL_GRACE.saturating_sub(begun.elapsed()).min(LOOK) };
            drop(timeout(look, changes.changed()).await);
        }
    }

    /// Removes what of a stopped run has not started, and what it would start with. A node may take its time to let go of a pod that it
    /// never started, and the Job's controller may make one when the run is stopped already.
    pub(crate) async fn clear(&self, run: &RunId) -> Result<()> {
        self.make_no_pods(run).await?;
        let seen = self.watch().await?.subscribe(run).borrow().clone();
        self.delete_unstarted(run, &seen).await?;
        match &seen.carrier {
            Some(carrier) => self.take_place_of_secret(carrier).await,
            None => Ok(()),
        }
    }

    async fn make_no_pods(&self, run: &RunId) -> Result<()> {
        if self.kind == Kind::PipelineRun {
            // To stop one is to say so, and Tekton takes no second word.
            return Ok(());
        }
        let no_pods = serde_json::json!({ "spec": no_more_pods(self.kind) });
        match self.patch_carrier(run, &no_pods).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Puts a Secret without anything in it where the run's was. The start of a run that is stopped meanwhile may be on its way to
    /// create its own, and a pod that the Job's controller makes late would start with it.
    async fn take_place_of_secret(&self, carrier: &Carrier) -> Result<()> {
        match self.create("secrets", &object::empty_secret(carrier)).await {
            Err(error) if !matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Err(error),
            _ => Ok(()),
        }
    }

    async fn delete_unstarted(&self, run: &RunId, seen: &Seen) -> Result<()> {
        self.delete::<SecretObject>("secrets", run_name(self, run), &DeleteParams::default()).await?;
        self.delete_pods(seen.pods.iter().filter(|pod| !has_run(pod))).await
    }

    /// At once, and without asking the node.
    async fn delete_pods(&self, pods: impl Iterator<Item = &Arc<Pod>> + Send) -> Result<()> {
        let names: Vec<String> = pods.filter_map(|pod| pod.metadata.name.clone()).collect();
        for name in names {
            self.delete::<Pod>("pods", name, &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(())
    }

    /// Removes a run that is over, with everything that belongs to it.
    pub(crate) async fn forget(&self, run: &RunId) -> Result<()> {
        let Some(seen) = self.find(run).await? else { return Ok(()) };
        let stopped = seen.carrier.as_deref().is_some_and(|carrier| Stop::of(carrier.metadata()).is_some());
        let never_ran = stopped && !seen.pods.iter().any(|pod| has_run(pod));
        if !never_ran && !matches!(phase(&seen), Phase::Over(_)) {
            return Err(
                Error::conflict("forget run", format!("{run} is not over")).with_remedy("cancel it first")
            );
        }
        self.delete_carrier(run).await?;
        // Both would go with it, when the cluster and the node get round to it.
        self.delete_unstarted(run, &seen).await?;
        // A node that says for ever that such a container runs never lets go of its pod, either.
        self.delete_pods(seen.pods.iter().filter(|pod| is_stale(pod))).await?;
        let gone = |seen: &Seen| {
            seen.carrier.as_ref().is_none_or(|carrier| carrier.metadata().deletion_timestamp.is_some())
        };
        self.seen_until(self.watch().await?, run, gone).await?;
        if never_ran {
            // What the Job's controller made meanwhile; from now on it makes none.
            let seen = self.watch().await?.subscribe(run).borrow().clone();
            self.delete_pods(seen.pods.iter().filter(|pod| !has_run(pod))).await?;
        }
        Ok(())
    }

    /// The pod's own deadline is the one thing that ends a container and keeps its log. `false` where others changed the pod again and again
    /// meanwhile.
    async fn end_pod(&self, pod: &str) -> Result<bool> {
        let patch = serde_json::json!({ "spec": { "activeDeadlineSeconds": 1 } });
        match self.patch::<Pod>("pods", pod, &patch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }
}

/// Whether the container of a pod runs, or may yet.
fn may_run(pod: &Pod) -> bool {
    is_live(pod) && ended_container(pod, names::CONTAINER).is_none()
}

fn not_ended(run: &RunId) -> Error {
    let text = format!("run {run} did not end within {} s", CANCEL_MAX.as_secs());
    Error::new(ErrorKind::Timeout, "cancel run", text)
        .with_retry(Retry::Maybe)
        .with_remedy("look whether the pod's node is up")
}
