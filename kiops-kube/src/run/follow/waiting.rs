//! Until the container of a run starts.

use std::time::Duration;

use jiff::Timestamp;
use kiops_core::Result;
use tokio::time::{Instant, timeout};

use super::super::notes::note_patch;
use super::super::phase::{Phase, Reason, Seen, Waiting, has_run, is_placed, phase, the_pod};
use super::super::stop::Why;
use super::{Follower, SIGN, State, Telling, changed, is_replaced, leaves};

/// What must be waited for so long is told.
const NOTED_AFTER: Duration = Duration::from_secs(2);
/// A pod that has waited so long, and whose run has no Secret, was left by a start that was cut off; one that has not started so long after
/// its run was stopped is not waited for.
const STARTED_AFTER: Duration = Duration::from_secs(10);
/// A pod that is to be deleted and has not started is waited for so long.
const LEAVING: Duration = Duration::from_secs(60);

/// Since when a run waits for the same.
pub(super) struct Wait {
    since: Instant,
    reason: Option<Reason>,
    checked: bool,
    /// When it was last looked for what keeps its pod from starting, and that. As long as that does, it gives no sign of life.
    looked: Instant,
    hindrance: Option<String>,
    /// Since when its pod is to be deleted.
    leaving: Option<Instant>,
    /// Whether something was written down that it waits for. The watch may show first that its pod has started.
    noted: bool,
}

impl Wait {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            since: now,
            reason: None,
            checked: false,
            looked: now,
            hindrance: None,
            leaving: None,
            noted: false,
        }
    }
}

impl Follower {
    /// Until the container has run, or never will.
    pub(super) async fn wait(&mut self, mut telling: Box<Telling>, mut wait: Wait) -> Result<State> {
        let seen = self.seen.borrow_and_update().clone();
        let now = phase(&seen);
        let waits = matches!(now, Phase::Waiting(_));
        let written = if wait.noted && !waits { self.runs.found(&self.run).await? } else { None };
        self.tell_notes(&mut telling, written.as_ref().or(seen.carrier.as_deref()));
        if let Some(pod) = the_pod(&seen).filter(|pod| has_run(pod)) {
            return self.open(telling, pod).await;
        }
        match now {
            Phase::Over(end) => self.end(telling, end, None).await,
            Phase::Running => Ok(self.changed_or(telling, wait, SIGN).await),
            Phase::Waiting(mut waiting) => {
                if waiting.reason != Reason::Starting {
                    wait.hindrance = None;
                } else if wait.looked.elapsed() >= SIGN {
                    wait.hindrance = self.hindrance(&seen).await;
                    wait.looked = Instant::now();
                }
                if let Some(words) = &wait.hindrance {
                    waiting = Waiting { reason: Reason::Container, detail: words.clone() };
                }
                if wait.reason != Some(waiting.reason) {
                    (wait.since, wait.reason, wait.checked) = (Instant::now(), Some(waiting.reason), false);
                }
                if is_replaced(&seen) {
                    self.lose().await?;
                } else if !leaves(&seen) {
                    wait.leaving = None;
                } else if wait.leaving.get_or_insert_with(Instant::now).elapsed() >= LEAVING {
                    // Its node does not answer, and the Job's controller waits for it.
                    self.lose().await?;
                }
                let told = !matches!(waiting.reason, Reason::Starting | Reason::Stopping);
                let waited = wait.since.elapsed();
                if told && waited >= NOTED_AFTER {
                    wait.noted = true;
                    let carrier = seen.carrier.as_deref();
                    let patch = carrier
                        .and_then(|carrier| note_patch(carrier.metadata(), &waiting, Timestamp::now()));
                    if let Some(patch) = patch {
                        self.runs.note(&self.run, &patch).await;
                    }
                }
                let may_stay =
                    matches!(waiting.reason, Reason::Starting | Reason::Container | Reason::Stopping);
                if may_stay && waited >= STARTED_AFTER && !wait.checked {
                    wait.checked = true;
                    if waiting.reason == Reason::Stopping {
                        self.runs.clear(&self.run).await?;
                    } else if self.runs.secret(&self.run).await?.is_none() {
                        let why = Why::Lost("its start was cut off before its Secret was there".to_owned());
                        self.runs.stop(&self.run, why, true).await?;
                    } else if let Some(carrier) = &seen.carrier {
                        // A start that was cut off later than that.
                        self.runs.release(&self.run, carrier).await?;
                    }
                }
                let next = if told && waited < NOTED_AFTER {
                    NOTED_AFTER - waited
                } else if may_stay && !wait.checked {
                    STARTED_AFTER.saturating_sub(waited)
                } else {
                    SIGN
                };
                Ok(self.changed_or(telling, wait, next).await)
            }
        }
    }

    /// What keeps a pod that a node has from starting, in the node's words: no status of the pod tells of a ConfigMap that cannot be mounted.
    async fn hindrance(&mut self, seen: &Seen) -> Option<String> {
        let pod = the_pod(seen).filter(|pod| is_placed(pod))?;
        match self.runs.warning(pod).await {
            Ok(warning) => warning,
            Err(error) => {
                tracing::debug!(run = %self.run, %error, "the events of a pod cannot be read");
                None
            }
        }
    }

    async fn changed_or(&mut self, telling: Box<Telling>, wait: Wait, time: Duration) -> State {
        if timeout(time, changed(&mut self.seen)).await.is_err() && wait.hindrance.is_none() {
            self.sign();
        }
        State::Waiting(telling, wait)
    }
}
