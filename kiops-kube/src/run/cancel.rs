//! The end of a run before its own.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kiops_core::name::RunId;
use kiops_core::{Error, ErrorKind, Result, Retry};
use kube::api::{DeleteParams, ListParams};
use tokio::time::{Instant, timeout};

use super::carrier::{Carrier, Kind};
use super::phase::{
    End, How, Phase, Seen, ended_container, has_run, is_live, is_noted_as_ended, is_placed, is_stale, phase,
};
use super::pipeline::phase::has_ended_well;
use super::stop::Why;
use super::{Runs, names};

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
            Kind::Job => JobCancel::of(self, run).done().await,
            Kind::PipelineRun => self.cancel_pipeline(run).await,
        }
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
                    self.end_at_once(pod).await?;
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

    /// Deletes a pod with hardly any time to end. Its log goes with it.
    async fn end_at_once(&self, pod: &Pod) -> Result<()> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        self.delete::<Pod>("pods", name, &DeleteParams::default().grace_period(1)).await
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

/// The cancel of a run that is a Job.
struct JobCancel<'a> {
    runs: &'a Runs,
    run: &'a RunId,
    begun: Instant,
    /// The pods that were there when it was stopped; `None`: it is not yet.
    known: Option<HashSet<Option<String>>>,
    /// The pods that were told to end.
    told: HashSet<Option<String>>,
    /// Whether what of it has not started was removed, with what it would start with.
    cleared: bool,
}

impl<'a> JobCancel<'a> {
    fn of(runs: &'a Runs, run: &'a RunId) -> Self {
        let (known, told) = (None, HashSet::new());
        Self { runs, run, begun: Instant::now(), known, told, cleared: false }
    }

    async fn done(mut self) -> Result<()> {
        let mut changes = self.runs.watch().await?.subscribe(self.run);
        loop {
            let seen = changes.borrow_and_update().clone();
            let Some(job) = seen.carrier.as_deref() else { return Ok(()) };
            let live: Vec<&Pod> = seen.pods.iter().map(AsRef::as_ref).filter(|pod| runs(pod, job)).collect();
            match phase(&seen) {
                Phase::Over(end) if live.is_empty() => {
                    if is_settled(&seen, job) || self.nothing_comes(end).await? {
                        return Ok(());
                    }
                }
                _ => self.stop(&seen, &live).await?,
            }
            if self.begun.elapsed() >= CANCEL_MAX {
                return Err(not_ended(self.run));
            }
            drop(timeout(LOOK, changes.changed()).await);
        }
    }

    /// Stops the run, and ends the pods in which something runs or may.
    async fn stop(&mut self, seen: &Seen, live: &[&Pod]) -> Result<()> {
        if self.known.is_none() {
            // A pod that a node has is told to end by itself, and keeps its log. Before that there is nothing to keep.
            let placed = seen.pods.iter().any(|pod| is_placed(pod));
            self.runs.stop(self.run, Why::Canceled, !placed).await?;
            if !placed {
                self.clear().await?;
            }
        }
        let uids = || seen.pods.iter().map(|pod| pod.metadata.uid.clone()).collect();
        self.known.get_or_insert_with(uids);
        let late = self.begun.elapsed() >= CANCEL_GRACE;
        for pod in live {
            let (uid, name) = (&pod.metadata.uid, pod.metadata.name.as_deref().unwrap_or_default());
            if is_stale(pod) && self.runs.confirm_end(self.run, name).await? {
                continue;
            }
            // One that came later was made in place of one that somebody deleted: it would do everything again.
            let at_once = late || !self.known.iter().any(|known| known.contains(uid));
            if has_run(pod) && at_once {
                // In place of one that is deleted the Job's controller makes another.
                self.runs.make_no_pods(self.run).await?;
                self.runs.end_at_once(pod).await?;
            } else if !has_run(pod) && (at_once || !is_placed(pod)) {
                self.clear().await?;
            } else if !self.told.contains(uid) && self.runs.end_pod(name).await? {
                self.told.insert(uid.clone());
            }
        }
        Ok(())
    }

    async fn clear(&mut self) -> Result<()> {
        self.runs.clear(self.run).await?;
        self.cleared = true;
        Ok(())
    }

    /// Whether nothing of a run that is over is there, nor comes: where no pod of it stays the Job's controller may be about to make one, the first
    /// or one in place of one that goes, and a node to take it.
    async fn nothing_comes(&mut self, end: End) -> Result<bool> {
        if !self.cleared {
            let why = match end.how {
                How::Lost { reason } => Why::Lost(reason),
                _ => Why::Canceled,
            };
            self.runs.stop(self.run, why, true).await?;
            self.clear().await?;
        }
        Ok(self.end_unseen().await? == 0)
    }

    /// Deletes the pods of a run that is stopped and cleared, and says how many there were. The watch may not know yet of one that the Job's
    /// controller made before; one that it makes later has nothing to start with.
    async fn end_unseen(&self) -> Result<usize> {
        let selector = format!("{},{}={}", names::selector(&self.runs.inner.config), names::RUN, self.run);
        let (api, params) = (&self.runs.api::<Pod>(), ListParams::default().labels(&selector));
        let access = self.runs.access("list", "pods");
        let found = self.runs.cluster().call(&access, || api.list(&params)).await?;
        let live: Vec<Pod> = found.items.into_iter().filter(may_run).collect();
        for pod in &live {
            let grace = u32::from(has_run(pod));
            let name = pod.metadata.name.clone().unwrap_or_default();
            self.runs.delete::<Pod>("pods", name, &DeleteParams::default().grace_period(grace)).await?;
        }
        Ok(live.len())
    }
}

/// Whether a pod of it ended and stays, or its controller is done with it: then no other pod is made.
fn is_settled(seen: &Seen, job: &Carrier) -> bool {
    let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && (has_run(pod) || !is_live(pod));
    job.is_finished() || job.metadata().deletion_timestamp.is_some() || seen.pods.iter().any(|pod| stays(pod))
}

/// Whether the container of a pod runs, or may yet. Of one whose node never says that it ended, somebody has to write it down.
fn runs(pod: &Pod, job: &Carrier) -> bool {
    may_run(pod) || (is_stale(pod) && !is_noted_as_ended(job.metadata()))
}

fn may_run(pod: &Pod) -> bool {
    is_live(pod) && ended_container(pod, names::CONTAINER).is_none()
}

fn not_ended(run: &RunId) -> Error {
    let text = format!("run {run} did not end within {} s", CANCEL_MAX.as_secs());
    Error::new(ErrorKind::Timeout, "cancel run", text)
        .with_retry(Retry::Maybe)
        .with_remedy("look whether the pod's node is up")
}
