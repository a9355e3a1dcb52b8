//! What is left of a run that is stopped or over.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Secret as SecretObject};
use kiops_core::name::RunId;
use kiops_core::{Error, ErrorKind, Result};
use kube::api::DeleteParams;

use super::carrier::{Carrier, Kind};
use super::phase::{Phase, Seen, has_run, is_stale, phase};
use super::stop::{Stop, no_more_pods};
use super::{Runs, object, run_name};

impl Runs {
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

    pub(super) async fn make_no_pods(&self, run: &RunId) -> Result<()> {
        if self.kind == Kind::PipelineRun {
            // To stop one is to say so, and Tekton takes no second word.
            return Ok(());
        }
        let no_pods = serde_json::json!({ "spec": no_more_pods(self.kind) });
        match self.patch_carrier(run, &no_pods).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
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
}
