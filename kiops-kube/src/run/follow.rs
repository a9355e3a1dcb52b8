//! The reports of one run, from its Job, its pod and its log.
//!
//! A reader that asks for what comes after a number reads the log from its start all the same: stage, step and what came from a
//! cache are told by lines that it has seen already. Only a connection that broke is taken up where it was.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use futures_util::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kiops_core::log::{Masker, NewLine};
use kiops_core::name::RunId;
use kiops_core::run::{RunEvent, RunOutcome, RunReport, RunReports, RunResult};
use kiops_core::stage::Failure;
use kiops_core::{Error, ErrorKind, Result, Retry};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::log::{Place, Record, Records};
use super::notes::{note_patch, notes_of};
use super::number::Numbers;
use super::phase::{End, How, Phase, Reason, Seen, has_run, is_ready, is_stale, phase, the_pod};
use super::reader::{NewReader, Reader, outcome};
use super::stop::{Stop, Why};
use super::{Runs, mask};

/// How often a run that says nothing is said to be alive.
const SIGN: Duration = Duration::from_secs(30);
/// What must be waited for so long is told.
const NOTED_AFTER: Duration = Duration::from_secs(2);
/// A pod that has waited so long, and whose run has no Secret, was left by a start that was cut off; one that has not started so long after
/// its run was stopped is not waited for.
const STARTED_AFTER: Duration = Duration::from_secs(10);
/// Between two attempts to read a log.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest time between two attempts to read a log that ended and whose container did not, for all that is known.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// So many attempts in a row to read the log of a run that is over.
const TRIES: u32 = 5;

/// The reports above `after` of a run that has a Job.
pub(crate) fn reports(
    runs: Runs,
    run: RunId,
    reader: NewReader,
    seen: watch::Receiver<Seen>,
    after: u64,
) -> RunReports {
    let follower = Follower {
        runs,
        run,
        new_reader: reader,
        seen,
        after,
        last: after,
        queue: VecDeque::new(),
        state: State::Begin,
    };
    Box::pin(stream::unfold(follower, |mut follower| async {
        let report = follower.next().await?;
        Some((report, follower))
    }))
}

/// The end of a run that nobody knows.
pub(crate) fn lost(after: u64, reason: String) -> RunReport {
    RunReport { n: after.saturating_add(1), event: RunEvent::Finished(RunOutcome::Lost { reason }) }
}

struct Follower {
    runs: Runs,
    run: RunId,
    new_reader: NewReader,
    seen: watch::Receiver<Seen>,
    after: u64,
    /// The number of the last report that was given.
    last: u64,
    queue: VecDeque<RunReport>,
    state: State,
}

enum State {
    Begin,
    Waiting(Box<Telling>, Wait),
    Reading(Box<Telling>, Box<Log>),
    Done,
}

/// What is told of a run, as far as it was told.
struct Telling {
    created: Timestamp,
    reader: Box<dyn Reader>,
    numbers: Numbers,
    notes: usize,
    /// What the reader says is masked by it; nothing can be said of a log that was not opened.
    masker: Option<Masker>,
}

/// Since when a run waits for the same.
struct Wait {
    since: Instant,
    reason: Option<Reason>,
    checked: bool,
}

/// Leaves out what was seen before.
type Unseen = Box<dyn FnMut(&Record) -> bool + Send>;

struct Log {
    pod: String,
    uid: Option<String>,
    place: Place,
    open: Option<(Records, Unseen)>,
    /// The run was seen to be over, and what is open is the whole rest.
    last: bool,
    failures: u32,
    /// How long a change of the run is waited for, when the log ends before it.
    pause: Duration,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<RunReport>> {
        loop {
            while let Some(report) = self.queue.pop_front() {
                if let Some(report) = above(report, self.after) {
                    self.last = report.n;
                    return Some(Ok(report));
                }
            }
            let state = std::mem::replace(&mut self.state, State::Done);
            let next = match state {
                State::Begin => Ok(self.begin()),
                State::Waiting(telling, wait) => self.wait(telling, wait).await,
                State::Reading(telling, log) => self.read(telling, log).await,
                State::Done => return None,
            };
            match next {
                Ok(next) => self.state = next,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn begin(&mut self) -> State {
        let seen = self.seen.borrow_and_update().clone();
        let Some(job) = seen.job else {
            self.queue.push_back(lost(self.after, "its Job was deleted".to_owned()));
            return State::Done;
        };
        let created = job.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |at| at.0);
        let (reader, numbers) = ((self.new_reader)(&job), Numbers::new(created));
        self.tell(numbers.before(0), RunEvent::Stage(reader.stage()));
        let telling = Telling { created, reader, numbers, notes: 0, masker: None };
        State::Waiting(Box::new(telling), Wait::new())
    }

    /// Until the container has run, or never will.
    async fn wait(&mut self, mut telling: Box<Telling>, mut wait: Wait) -> Result<State> {
        let seen = self.seen.borrow_and_update().clone();
        self.tell_notes(&mut telling, &seen);
        let now = phase(&seen);
        if let Some(pod) = the_pod(&seen).filter(|pod| has_run(pod)) {
            return self.open(telling, pod).await;
        }
        match now {
            Phase::Over(end) => self.end(telling, &end, None).await,
            Phase::Running => Ok(self.changed_or(telling, wait, SIGN).await),
            Phase::Waiting(waiting) => {
                if wait.reason != Some(waiting.reason) {
                    wait = Wait { reason: Some(waiting.reason), ..Wait::new() };
                }
                let told = !matches!(waiting.reason, Reason::Starting | Reason::Stopping);
                let waited = wait.since.elapsed();
                if told && waited >= NOTED_AFTER {
                    let patch = seen.job.and_then(|job| note_patch(&job, &waiting, Timestamp::now()));
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

    async fn changed_or(&mut self, telling: Box<Telling>, wait: Wait, time: Duration) -> State {
        if timeout(time, changed(&mut self.seen)).await.is_err() {
            self.sign();
        }
        State::Waiting(telling, wait)
    }

    async fn open(&mut self, mut telling: Box<Telling>, pod: &Pod) -> Result<State> {
        telling.masker = match self.runs.secret(&self.run).await? {
            Some(secret) => Some(mask::masker(&secret)?),
            None => {
                // Without it nobody knows what must not be shown.
                let end = self.until_over().await;
                let text =
                    "The log is not shown: the run's Secret, which says what to mask in it, was deleted";
                return self.end(telling, &end, Some(text)).await;
            }
        };
        let log = Log {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone(),
            place: Place::default(),
            open: None,
            last: false,
            failures: 0,
            pause: AGAIN,
        };
        Ok(State::Reading(telling, Box::new(log)))
    }

    /// The next piece of the log, or what came of its end.
    async fn read(&mut self, mut telling: Box<Telling>, mut log: Box<Log>) -> Result<State> {
        if log.open.is_none() {
            let over = matches!(phase(&self.seen.borrow_and_update()), Phase::Over(_));
            log.last = over;
            match self.runs.log(&log.pod, !over, log.place.since()).await {
                Ok(records) => log.open = Some((records, Box::new(log.place.filter()))),
                Err(error) => {
                    log.failures += 1;
                    tracing::debug!(run = %self.run, %error, "the log of a run cannot be read");
                    if error.kind() == ErrorKind::Forbidden {
                        return Err(error);
                    }
                    let gone = error.kind() == ErrorKind::NotFound;
                    return self.after_break(telling, log, gone).await;
                }
            }
        }
        let Some((records, wanted)) = &mut log.open else { return Ok(State::Reading(telling, log)) };
        let chunk = tokio::select! {
            chunk = records.next() => chunk,
            () = sleep(SIGN) => {
                self.sign();
                return Ok(State::Reading(telling, log));
            }
            () = pod_leaves(&mut self.seen) => {
                self.lose().await?;
                return Ok(State::Reading(telling, log));
            }
        };
        let (mut found, ended) = match chunk {
            Ok(Some(found)) => (found, false),
            Ok(None) => (log.last.then(|| records.rest()).flatten().into_iter().collect(), true),
            Err(error) => {
                tracing::debug!(run = %self.run, %error, "the log of a run broke off");
                log.open = None;
                log.failures += 1;
                return self.after_break(telling, log, false).await;
            }
        };
        found.retain(|record| wanted(record));
        if !found.is_empty() {
            (log.failures, log.pause) = (0, AGAIN);
        }
        for record in &found {
            log.place.saw(record);
        }
        self.tell_records(&mut telling, found);
        if !ended {
            return Ok(State::Reading(telling, log));
        }
        log.open = None;
        if log.last {
            let end = self.until_over().await;
            return self.end(telling, &end, None).await;
        }
        self.after_break(telling, log, false).await
    }

    /// The log is at its end, or cannot be read; the run may be over, or on its way there.
    async fn after_break(&mut self, telling: Box<Telling>, mut log: Box<Log>, gone: bool) -> Result<State> {
        let seen = self.seen.borrow_and_update().clone();
        let there = seen.pods.iter().any(|pod| pod.metadata.uid == log.uid);
        match phase(&seen) {
            Phase::Over(end) if gone || !there => return self.end(telling, &end, None).await,
            // Whoever reads asks again, from where it was. The end of a log that is there is not left out.
            Phase::Over(_) if log.failures >= TRIES => {
                let text = format!("the log of run {} cannot be read", self.run);
                return Err(Error::unavailable("read log", text).with_retry(Retry::Maybe));
            }
            Phase::Over(_) => {
                if log.failures > 0 {
                    sleep(AGAIN).await;
                }
            }
            _ if !there || leaves(&seen) => {
                self.lose().await?;
                if timeout(SIGN, changed(&mut self.seen)).await.is_err() {
                    self.sign();
                }
            }
            _ => {
                if the_pod(&seen).is_some_and(is_stale) {
                    self.runs.confirm_end(&self.run, &log.pod).await?;
                }
                drop(timeout(log.pause, changed(&mut self.seen)).await);
                log.pause = (log.pause * 2).min(AGAIN_MAX);
            }
        }
        Ok(State::Reading(telling, log))
    }

    /// Gives the run up, before anything runs a second time.
    async fn lose(&mut self) -> Result<()> {
        let why = Why::Lost("its pod was deleted while it ran, as when a node is drained".to_owned());
        self.runs.stop(&self.run, why, true).await?;
        self.runs.clear(&self.run).await?;
        // The watch may be behind what was just written.
        drop(timeout(AGAIN, changed(&mut self.seen)).await);
        Ok(())
    }

    async fn until_over(&mut self) -> End {
        loop {
            if let Phase::Over(end) = phase(&self.seen.borrow_and_update()) {
                return end;
            }
            changed(&mut self.seen).await;
        }
    }

    fn tell(&mut self, n: u64, event: RunEvent) {
        self.queue.push_back(RunReport { n, event });
    }

    fn tell_notes(&mut self, telling: &mut Telling, seen: &Seen) {
        let notes = seen.job.as_deref().map(notes_of).unwrap_or_default();
        for note in notes.into_iter().skip(telling.notes) {
            telling.notes += 1;
            let n = telling.numbers.before(telling.notes);
            let line = NewLine { n, at: note.at, stage: telling.reader.stage(), text: note.text };
            self.tell(n, RunEvent::Lines(vec![line]));
        }
    }

    fn tell_records(&mut self, telling: &mut Telling, records: Vec<Record>) {
        let Some(masker) = telling.masker.clone() else { return };
        let mut lines: Vec<NewLine> = Vec::new();
        for record in records {
            let reading = telling.reader.read(&String::from_utf8_lossy(&record.text));
            let at = record.at;
            for event in reading.events {
                self.tell_lines(&mut lines);
                let n = telling.numbers.next(at);
                self.tell(n, event);
            }
            let stage = telling.reader.stage();
            for text in reading.texts {
                let mut stream = masker.stream();
                let mut clean = stream.push(text.as_bytes());
                // Also a line of nothing is a line.
                clean.extend(stream.push(b"\n"));
                for text in clean {
                    lines.push(NewLine { n: telling.numbers.next(at), at, stage, text });
                }
            }
        }
        self.tell_lines(&mut lines);
    }

    fn tell_lines(&mut self, lines: &mut Vec<NewLine>) {
        if let Some(last) = lines.last() {
            let n = last.n;
            self.tell(n, RunEvent::Lines(std::mem::take(lines)));
        }
    }

    async fn end(&mut self, mut telling: Box<Telling>, end: &End, note: Option<&str>) -> Result<State> {
        if telling.masker.is_none() {
            let secret = self.runs.secret(&self.run).await?;
            telling.masker = secret.as_ref().map(mask::masker).transpose()?;
        }
        if let How::Lost { reason } = &end.how {
            // What was said to be lost stays so, whatever the Job's controller would make of it.
            self.runs.stop(&self.run, Why::Lost(reason.clone()), true).await?;
        }
        Ok(self.finish(&mut telling, end, note))
    }

    fn finish(&mut self, telling: &mut Telling, end: &End, note: Option<&str>) -> State {
        let at = end.at.unwrap_or(telling.created);
        let mut n = telling.numbers.end(at);
        let mask = |text: &str| telling.masker.as_ref().map(|masker| masker.mask_text(text));
        let rest = telling.reader.rest();
        let texts = rest.iter().filter_map(|text| mask(text)).chain(note.map(str::to_owned));
        let stage = telling.reader.stage();
        let mut lines = Vec::new();
        for text in texts {
            lines.push(NewLine { n, at, stage, text });
            n += 1;
        }
        if !lines.is_empty() {
            self.queue.push_back(RunReport { n: n - 1, event: RunEvent::Lines(lines) });
        }
        let outcome = outcome(telling.reader.as_ref(), end);
        let outcome = match &telling.masker {
            Some(masker) => masked(outcome, masker),
            None => untold(outcome),
        };
        // Whoever has seen more than is left of the run's log still hears of its end; whoever has seen that, does not again.
        let n = if n < self.after { self.after.saturating_add(1) } else { n };
        self.tell(n, RunEvent::Finished(outcome));
        State::Done
    }

    fn sign(&mut self) {
        let alive = {
            let seen = self.seen.borrow();
            match phase(&seen) {
                Phase::Running => the_pod(&seen).is_some_and(is_ready),
                // Room comes by itself, after whatever time; a wrong name does not.
                Phase::Waiting(waiting) => {
                    matches!(waiting.reason, Reason::Starting | Reason::Quota | Reason::Unschedulable)
                }
                Phase::Over(_) => false,
            }
        };
        if alive {
            // Its number is the last report's, which the reader has.
            self.queue.push_back(RunReport { n: self.last, event: RunEvent::Alive });
        }
    }
}

impl Wait {
    fn new() -> Self {
        Self { since: Instant::now(), reason: None, checked: false }
    }
}

/// An outcome whose words may be shown.
fn masked(outcome: RunOutcome, masker: &Masker) -> RunOutcome {
    match outcome {
        RunOutcome::Failed(mut failure) => {
            failure.message = masker.mask_text(&failure.message);
            RunOutcome::Failed(failure)
        }
        RunOutcome::Succeeded(mut result) => {
            result.sarif = result.sarif.map(|report| mask::masked_report(&report, masker));
            RunOutcome::Succeeded(result)
        }
        outcome => outcome,
    }
}

/// The same without any words of the run's, where nobody knows any more what to mask in them.
fn untold(outcome: RunOutcome) -> RunOutcome {
    match outcome {
        RunOutcome::Failed(failure) => {
            RunOutcome::Failed(Failure::new(failure.stage, failure.kind, "").with_remedy(failure.remedy))
        }
        RunOutcome::Succeeded(result) => RunOutcome::Succeeded(RunResult { sarif: None, ..result }),
        outcome => outcome,
    }
}

/// What of a report stands above a number.
fn above(report: RunReport, after: u64) -> Option<RunReport> {
    match report.event {
        RunEvent::Alive => Some(report),
        RunEvent::Lines(lines) if report.n > after => {
            let lines = lines.into_iter().filter(|line| line.n > after).collect();
            Some(RunReport { n: report.n, event: RunEvent::Lines(lines) })
        }
        event if report.n > after => Some(RunReport { n: report.n, event }),
        _ => None,
    }
}

/// Resolves when something of the run has changed. The watch lives as long as whoever follows.
async fn changed(seen: &mut watch::Receiver<Seen>) {
    if seen.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// Resolves when the pod of a run that goes on is to be deleted.
async fn pod_leaves(seen: &mut watch::Receiver<Seen>) {
    while !leaves(&seen.borrow()) {
        changed(seen).await;
    }
}

/// Whether somebody else deletes the pod of a run that goes on. Its Job's controller would run everything again.
fn leaves(seen: &Seen) -> bool {
    let stopped = seen.job.as_deref().is_none_or(|job| Stop::of(job).is_some());
    !stopped
        && !matches!(phase(seen), Phase::Over(_))
        && the_pod(seen).is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
}

#[cfg(test)]
mod tests {
    use kiops_core::stage::{FailureKind, Stage};

    use super::*;

    #[test]
    fn where_nobody_knows_what_to_mask_a_failure_has_no_words_of_the_runs() {
        let words = "fatal: unable to access 'https://oauth2:glpat-x@git.example.com/'";
        let failure = Failure::new(Stage::Setup, FailureKind::GitCloneFailed, words);
        let RunOutcome::Failed(told) = untold(RunOutcome::Failed(failure.clone())) else { unreachable!() };
        assert_eq!((told.stage, told.kind, &told.remedy), (failure.stage, failure.kind, &failure.remedy));
        assert!(!told.message.contains("glpat-x"), "{told}");
    }
}
