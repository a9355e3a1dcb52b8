//! From one container's log to the next one's, and the pods that Tekton removes.

use jiff::Timestamp;
use kiops_core::Result;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::carrier::Carrier;
use super::super::log::Place;
use super::super::phase::{End, How, Phase, Seen, container_has_run, ended_container, phase};
use super::super::pipeline::phase::is_ending;
use super::{AGAIN, BEHIND, Follower, Log, State, Telling};

impl Follower {
    /// The log of a container was read to its end: the next one's, if that container has ended well.
    pub(super) async fn after_container(
        &mut self,
        mut telling: Box<Telling>,
        mut log: Box<Log>,
    ) -> Result<State> {
        if let Some(next) = log.next.pop_front() {
            // Of a run that is over the watch may not know yet how this container ended.
            let (uid, container) = (log.uid.clone(), log.container.clone());
            let mut seen = self.seen.clone();
            let known = seen.wait_for(move |seen| {
                let there = seen.pods.iter().any(|pod| pod.metadata.uid == uid);
                !there || container_end(seen, uid.as_ref(), &container).is_some()
            });
            drop(timeout(BEHIND, known).await);
            let end = container_end(&self.seen.borrow(), log.uid.as_ref(), &log.container);
            if let Some((0, at)) = end {
                let at = at.unwrap_or(telling.created);
                self.tell_begin(&mut telling, &next, at);
                *log = Log { container: next, place: Place::default(), failures: 0, pause: AGAIN, ..*log };
                return Ok(State::Reading(telling, log));
            }
        }
        let end = self.until_over(log.uid.as_deref()).await?;
        self.end(telling, end, None).await
    }

    /// Whether a pod that goes is one that Tekton removes: that of what it ends, before it says so.
    pub(super) async fn is_ended_by_tekton(&mut self) -> bool {
        let ending = |seen: &Seen| match seen.carrier.as_deref() {
            Some(Carrier::PipelineRun(run)) => is_ending(run, seen),
            _ => true,
        };
        if matches!(self.seen.borrow().carrier.as_deref(), Some(Carrier::Job(_))) {
            return false;
        }
        let mut seen = self.seen.clone();
        if timeout(BEHIND, seen.wait_for(ending)).await.is_err() {
            return false;
        }
        let over = async { seen.wait_for(|seen| matches!(phase(seen), Phase::Over(_))).await.is_ok() };
        drop(timeout(BEHIND, over).await);
        // What fails with its pod was not ended by Tekton.
        let failed =
            |end: &End| matches!(end.how, How::Failed { .. } | How::OutOfMemory { .. } | How::NotRun { .. });
        !matches!(phase(&self.seen.borrow()), Phase::Over(end) if failed(&end))
    }
}

/// Whether a container of the pod with this uid has run, or may do so yet.
pub(super) async fn runs(mut seen: watch::Receiver<Seen>, uid: Option<String>, container: String) -> bool {
    let known = move |seen: &Seen| {
        let pod = seen.pods.iter().find(|pod| pod.metadata.uid == uid);
        let over = matches!(phase(seen), Phase::Over(_));
        !over || pod.is_none_or(|pod| container_has_run(pod, &container))
    };
    // Of a run that is over the watch may not know yet what its containers did.
    timeout(BEHIND, seen.wait_for(known)).await.is_ok()
}

/// How a container of the pod with this uid ended, and when.
pub(super) fn container_end(
    seen: &Seen,
    uid: Option<&String>,
    container: &str,
) -> Option<(i32, Option<Timestamp>)> {
    let pod = seen.pods.iter().find(|pod| pod.metadata.uid.as_ref() == uid)?;
    let ended = ended_container(pod, container)?;
    Some((ended.exit_code, ended.finished_at.as_ref().map(|at| at.0)))
}
