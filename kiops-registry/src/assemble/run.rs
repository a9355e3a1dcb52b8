//! One run: its reports, whether it is over, and whether somebody wants it to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream;
use jiff::Timestamp;
use kiops_core::log::{Masker, NewLine};
use kiops_core::run::{RunEvent, RunOutcome, RunReport, RunReports};
use kiops_core::stage::{Failure, Stage};
use tokio::sync::watch;

use super::outcome::Stop;

/// How long a working run is silent before it says that it is alive.
const SILENCE: Duration = Duration::from_secs(10);

/// What is known of one run.
#[derive(Debug)]
pub(super) struct Run {
    state: Mutex<State>,
    masker: Masker,
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
    pub(super) fn new(masker: Masker) -> Self {
        let state =
            State { reports: Vec::new(), finished: false, stage: Stage::Setup, spoke: Instant::now() };
        Self {
            state: Mutex::new(state),
            masker,
            grown: watch::Sender::new(0),
            cancel: AtomicBool::new(false),
            cancelled: watch::Sender::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a report.
    fn report(&self, event: RunEvent) {
        self.report_as(|_, _| event);
    }

    /// Adds the report that its number and the current stage make; after the last one nothing is added.
    fn report_as(&self, event: impl FnOnce(u64, Stage) -> RunEvent) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        let n = state.reports.len() as u64 + 1;
        let event = event(n, state.stage);
        if let RunEvent::Stage(stage) = event {
            state.stage = stage;
        }
        state.finished = matches!(event, RunEvent::Finished(_));
        state.spoke = Instant::now();
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

    /// A line of the current stage. What stands in it comes from the Dockerfile and from names: it is masked and cleaned here.
    pub(super) fn line(&self, text: &str) {
        let text = self.clean(text);
        self.report_as(|n, stage| RunEvent::Lines(vec![NewLine { n, at: Timestamp::now(), stage, text }]));
    }

    /// It is over. What a failure says is masked like a line.
    pub(super) fn finish(&self, outcome: RunOutcome) {
        let clean = |failure: Failure| Failure {
            message: self.clean(&failure.message),
            remedy: self.clean(&failure.remedy),
            ..failure
        };
        let outcome = match outcome {
            RunOutcome::Failed(failure) => RunOutcome::Failed(clean(failure)),
            RunOutcome::Refused(failure) => RunOutcome::Refused(clean(failure)),
            other => other,
        };
        self.report(RunEvent::Finished(outcome));
    }

    fn clean(&self, text: &str) -> String {
        self.masker.mask_text(&text.replace(['\n', '\r'], " "))
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
        let mut grown = self.grown.subscribe();
        // Not within `wait_for`: it holds the lock of the number meanwhile, and whoever reports takes that while holding the state's.
        while !self.is_finished() && grown.changed().await.is_ok() {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::log::LINE_MAX;
    use kiops_core::secret::Secret;

    fn new_run() -> Run {
        Run::new(Masker::new([]).unwrap())
    }

    #[test]
    fn a_line_has_no_control_characters_an_end_and_no_secret() {
        let secret = Secret::new("hunter22").unwrap();
        let run = Run::new(Masker::new([&secret]).unwrap());
        assert_eq!(run.clean("a\u{1b}[31mb\nc hunter22"), "ab c ***");
        let long = run.clean(&"é".repeat(LINE_MAX));
        assert!(long.len() <= LINE_MAX && long.ends_with("... [cut]"));
    }

    #[test]
    fn who_waits_for_the_end_and_who_reports_never_wait_for_each_other() {
        for _ in 0..100 {
            let run = Arc::new(new_run());
            let (over, all_over) = std::sync::mpsc::channel();
            for _ in 0..2 {
                let (run, over) = (Arc::clone(&run), over.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(run.finished());
                    over.send(()).unwrap();
                });
            }
            std::thread::spawn(move || {
                for _ in 0..200 {
                    run.step(1, 2);
                }
                run.finish(RunOutcome::Canceled);
                over.send(()).unwrap();
            });
            for _ in 0..3 {
                all_over.recv_timeout(Duration::from_secs(60)).expect("all come to an end");
            }
        }
    }

    #[test]
    fn neither_the_message_nor_the_remedy_of_a_failure_shows_a_secret() {
        use kiops_core::stage::FailureKind;
        let secret = Secret::new("hunter22").unwrap();
        let run = Run::new(Masker::new([&secret]).unwrap());
        let failure = Failure::new(Stage::Push, FailureKind::PushFailed, "who is hunter22?");
        run.finish(RunOutcome::Failed(failure.with_remedy("do not say hunter22")));
        let reports = format!("{:?}", run.state().reports);
        assert!(reports.contains("who is ***?") && reports.contains("do not say ***"), "{reports}");
    }

    #[tokio::test]
    async fn reports_are_numbered_and_end_with_the_outcome() {
        use futures_util::StreamExt as _;
        let run = Arc::new(new_run());
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
