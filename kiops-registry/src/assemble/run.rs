//! One run: its reports, whether it is over, and whether somebody wants it to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream;
use jiff::Timestamp;
use kiops_core::log::{LINE_MAX, NewLine};
use kiops_core::run::{RunEvent, RunOutcome, RunReport, RunReports};
use kiops_core::stage::Stage;
use tokio::sync::watch;

use super::outcome::Stop;

/// How long a working run is silent before it says that it is alive.
const SILENCE: Duration = Duration::from_secs(10);

/// What is known of one run.
#[derive(Debug)]
pub(super) struct Run {
    state: Mutex<State>,
    /// How many reports there are; readers wait for more.
    grown: watch::Sender<u64>,
    cancel: AtomicBool,
    cancelled: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    reports: Vec<RunReport>,
    finished: bool,
    stage: Stage,
    spoke: Instant,
}

impl Run {
    pub(super) fn new() -> Self {
        let state = State { reports: Vec::new(), finished: false, stage: Stage::Setup, spoke: Instant::now() };
        Self {
            state: Mutex::new(state),
            grown: watch::Sender::new(0),
            cancel: AtomicBool::new(false),
            cancelled: watch::Sender::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a report; after the last one nothing is added.
    fn report(&self, event: RunEvent) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        if let RunEvent::Stage(stage) = event {
            state.stage = stage;
        }
        state.finished = matches!(event, RunEvent::Finished(_));
        state.spoke = Instant::now();
        let n = state.reports.len() as u64 + 1;
        state.reports.push(RunReport { n, event });
        self.grown.send_replace(n);
    }

    /// A stage begins.
    pub(super) fn stage(&self, stage: Stage) {
        self.report(RunEvent::Stage(stage));
    }

    /// A step of the stage begins.
    pub(super) fn step(&self, n: u32, of: u32) {
        self.report(RunEvent::Step { n, of });
    }

    /// A line of the current stage. What stands in it comes from the Dockerfile and from names: it is cleaned here.
    pub(super) fn line(&self, text: &str) {
        let stage = self.state().stage;
        let line = NewLine { at: Timestamp::now(), stage, text: clean(text) };
        self.report(RunEvent::Lines(vec![line]));
    }

    /// It is over.
    pub(super) fn finish(&self, outcome: RunOutcome) {
        self.report(RunEvent::Finished(outcome));
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// Asks the run to stop.
    pub(super) fn cancel(&self) {
        self.cancel.store(true, Ordering::Release);
        self.cancelled.send_replace(true);
    }

    /// Called wherever work goes on: stops a run that was canceled, and says now and then that it is alive.
    pub(super) fn tick(&self) -> Result<(), Stop> {
        if self.cancel.load(Ordering::Acquire) {
            return Err(Stop::Canceled);
        }
        if self.state().spoke.elapsed() >= SILENCE {
            self.report(RunEvent::Alive);
        }
        Ok(())
    }

    /// Resolves when somebody asks the run to stop.
    pub(super) async fn canceled(&self) {
        // The sender lives as long as `self`.
        let _ = self.cancelled.subscribe().wait_for(|canceled| *canceled).await;
    }

    /// Resolves when the run is over.
    pub(super) async fn finished(&self) {
        let _ = self.grown.subscribe().wait_for(|_| self.is_finished()).await;
    }

    /// The reports above `after` as they come.
    pub(super) fn reports(self: Arc<Self>, after: u64) -> RunReports {
        let grown = self.grown.subscribe();
        Box::pin(stream::unfold((self, grown, after, false), async |(run, mut grown, after, ended)| {
            if ended {
                return None;
            }
            loop {
                let next = {
                    let state = run.state();
                    let at = usize::try_from(after).unwrap_or(usize::MAX);
                    match state.reports.get(at) {
                        Some(report) => Some(report.clone()),
                        None if state.finished => return None,
                        None => None,
                    }
                };
                if let Some(report) = next {
                    let ended = matches!(report.event, RunEvent::Finished(_));
                    return Some((Ok(report), (run, grown, after + 1, ended)));
                }
                let _ = grown.wait_for(|n| *n > after).await;
            }
        }))
    }
}

/// Text as a log line: no control characters, not longer than a line may be.
fn clean(text: &str) -> String {
    const CUT: &str = "... [cut]";
    let mut clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.len() > LINE_MAX {
        let mut end = LINE_MAX - CUT.len();
        while !clean.is_char_boundary(end) {
            end -= 1;
        }
        clean.truncate(end);
        clean.push_str(CUT);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_control_characters_and_an_end() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a [31mb c");
        let long = clean(&"é".repeat(LINE_MAX));
        assert!(long.len() <= LINE_MAX && long.ends_with("... [cut]"));
    }

    #[tokio::test]
    async fn reports_are_numbered_and_end_with_the_outcome() {
        use futures_util::StreamExt as _;
        let run = Arc::new(Run::new());
        run.stage(Stage::Setup);
        run.line("x");
        let late = Arc::clone(&run).reports(1);
        run.finish(RunOutcome::Canceled);
        run.line("too late");
        let all: Vec<u64> = Arc::clone(&run).reports(0).map(|report| report.unwrap().n).collect().await;
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(late.count().await, 2);
        run.finished().await;
    }
}
