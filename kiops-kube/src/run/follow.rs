//! The reports of one run, from what carries it, its pod and its log, container by container.
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
use kiops_core::run::{RunEvent, RunOutcome, RunReport, RunReports};
use kiops_core::stage::Stage;
use kiops_core::{Error, ErrorKind, Result, Retry};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::carrier::Carrier;
use super::log::{Place, Record, Records};
use super::notes::notes_of;
use super::number::Numbers;
use super::phase::{End, How, Phase, Reason, Seen, has_run, is_spoken_for, is_stale, phase, the_pod};
use super::pipeline::phase::is_ending;
use super::reader::{NewReader, Reader, Reading, is_known_without_log, outcome};
use super::stop::{Stop, Why};
use super::{END_MAX, Runs, mask};

/// How often a run that says nothing is said to be alive.
const SIGN: Duration = Duration::from_secs(30);
/// Between two attempts to read a log.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest time between two attempts to read a log that ended and whose container did not, for all that is known.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// So many attempts in a row to read the log of a run that is over ...
const TRIES: u32 = 5;
/// ... over so long at least.
const UNREAD: Duration = Duration::from_secs(20);
/// The rest of a log that cannot be read for so long is left out where the run's end is known without it.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// A log that says nothing for so long is asked for anew: what is between us and the node may have dropped the connection and told nobody.
const SILENT: Duration = Duration::from_secs(120);
/// A pod whose node does not speak for it for so long is given up. Long before that the cluster says that it is not ready.
const NODE_LOST: Duration = Duration::from_secs(90);
/// How long the watch may be behind: over the pod of a run that is over, and over the word of a controller whose pod is gone.
const BEHIND: Duration = Duration::from_secs(5);

mod batch;
mod shown;
mod steps;
mod waiting;

use self::batch::Batch;
use self::shown::{above, masked, untold};
use self::steps::{container_end, runs};
use self::waiting::Wait;

/// The reports above `after` of a run that has a Job or PipelineRun.
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
        told: Instant::now(),
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
    /// When it was given.
    told: Instant,
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

/// Leaves out what was seen before.
type Unseen = Box<dyn FnMut(&Record) -> bool + Send>;

struct Log {
    pod: String,
    uid: Option<String>,
    /// The container that is read, and those that are to be read after it.
    container: String,
    next: VecDeque<String>,
    place: Place,
    open: Option<(Records, Unseen)>,
    /// The container or the run was seen to be over, and what is open is the whole rest.
    last: bool,
    failures: u32,
    /// How long a change of the run is waited for, when the log ends before it.
    pause: Duration,
    /// When something of it came last.
    heard: Instant,
    /// Since when the pod is not ready.
    unready: Option<Instant>,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<RunReport>> {
        loop {
            while let Some(report) = self.queue.pop_front() {
                if let Some(report) = above(report, self.after) {
                    (self.last, self.told) = (report.n, Instant::now());
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
        let Some(carrier) = seen.carrier else {
            self.queue.push_back(lost(self.after, "what carried it was deleted".to_owned()));
            return State::Done;
        };
        let created = carrier.metadata().creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |at| at.0);
        let (reader, numbers) = ((self.new_reader)(&carrier), Numbers::new(created));
        self.tell(numbers.before(0), RunEvent::Stage(reader.stage()));
        let telling = Telling { created, reader, numbers, notes: 0, masker: None };
        State::Waiting(Box::new(telling), Wait::new())
    }

    async fn open(&mut self, mut telling: Box<Telling>, pod: &Pod) -> Result<State> {
        telling.masker = match self.runs.secret(&self.run).await? {
            Some(secret) => Some(mask::masker(&secret)?),
            None => {
                // Without it nobody knows what must not be shown.
                let end = self.until_over(pod.metadata.uid.as_deref()).await?;
                let text =
                    "The log is not shown: the run's Secret, which says what to mask in it, was deleted";
                return self.end(telling, end, Some(text)).await;
            }
        };
        let containers = self.seen.borrow().carrier.as_deref().map(Carrier::log_containers);
        let mut next = VecDeque::from(containers.unwrap_or_default());
        let log = Log {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone(),
            container: next.pop_front().unwrap_or_default(),
            next,
            place: Place::default(),
            open: None,
            last: false,
            failures: 0,
            pause: AGAIN,
            heard: Instant::now(),
            unready: None,
        };
        Ok(State::Reading(telling, Box::new(log)))
    }

    /// The next piece of the log, or what came of its end.
    async fn read(&mut self, mut telling: Box<Telling>, mut log: Box<Log>) -> Result<State> {
        if log.open.is_none() {
            let runs = runs(self.seen.clone(), log.uid.clone(), log.container.clone());
            if !runs.await {
                // It never will, and the node has no log of it.
                log.next.clear();
                return self.after_container(telling, log).await;
            }
            log.last = {
                let seen = self.seen.borrow_and_update();
                matches!(phase(&seen), Phase::Over(_))
                    || container_end(&seen, log.uid.as_ref(), &log.container).is_some()
            };
            match self.runs.log(&log.pod, &log.container, !log.last, log.place.since()).await {
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
        let patience = if log.last { self.runs.patience() } else { SIGN };
        let chunk = tokio::select! {
            chunk = records.next() => chunk,
            () = sleep(patience) => {
                if log.last {
                    log.open = None;
                    log.failures += 1;
                    return self.after_break(telling, log, false).await;
                }
                if log.heard.elapsed() >= SILENT {
                    (log.open, log.heard) = (None, Instant::now());
                }
                self.sign();
                self.look_at_node(&mut log).await?;
                return Ok(State::Reading(telling, log));
            }
            turn = turned(&mut self.seen), if !log.last => {
                match turn {
                    Turn::Leaves => self.lose().await?,
                    // The rest is read anew, to an end that is told.
                    Turn::Over => log.open = None,
                }
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
        log.heard = Instant::now();
        if !found.is_empty() {
            (log.failures, log.pause) = (0, AGAIN);
        }
        for record in &found {
            log.place.saw(record);
        }
        self.tell_records(&mut telling, found);
        // What is held back for what may come is a sign of life, too.
        self.sign_if_due();
        if !ended {
            return Ok(State::Reading(telling, log));
        }
        log.open = None;
        if log.last {
            return self.after_container(telling, log).await;
        }
        self.after_break(telling, log, false).await
    }

    /// The log is at its end, or cannot be read; the run may be over, or on its way there.
    async fn after_break(&mut self, telling: Box<Telling>, mut log: Box<Log>, gone: bool) -> Result<State> {
        let seen = self.seen.borrow_and_update().clone();
        let there = seen.pods.iter().any(|pod| pod.metadata.uid == log.uid);
        match phase(&seen) {
            Phase::Over(end) if gone || !there => return self.end(telling, end, None).await,
            Phase::Over(end) if log.failures >= TRIES && is_known_without_log(&*telling.reader, &end) => {
                if log.heard.elapsed() >= GIVEN_UP {
                    return self.end(telling, end, Some("The rest of the log cannot be read")).await;
                }
                sleep(AGAIN_MAX).await;
            }
            // Whoever reads asks again, from where it was. The end of a log that is there is not left out.
            Phase::Over(_) if log.failures >= TRIES && log.heard.elapsed() >= UNREAD => {
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
                self.sign_if_due();
                self.look_at_node(&mut log).await?;
            }
        }
        Ok(State::Reading(telling, log))
    }

    /// Gives a run up whose node is gone: nobody would say so before five minutes are over, and its pod is not deleted as long as the node
    /// does not answer.
    async fn look_at_node(&mut self, log: &mut Log) -> Result<()> {
        let seen = self.seen.borrow_and_update().clone();
        let stale = the_pod(&seen).is_some_and(is_stale);
        if phase(&seen) != Phase::Running || stale || speaks(&seen) {
            log.unready = None;
        } else if log.unready.get_or_insert_with(Instant::now).elapsed() >= NODE_LOST {
            let why = Why::Lost("its node does not answer any more".to_owned());
            self.give_up(why).await?;
        }
        Ok(())
    }

    /// Gives the run up, before anything runs a second time.
    async fn lose(&mut self) -> Result<()> {
        if self.is_ended_by_tekton().await {
            return Ok(());
        }
        let why = Why::Lost("its pod was deleted while it ran, as when a node is drained".to_owned());
        self.give_up(why).await
    }

    async fn give_up(&mut self, why: Why) -> Result<()> {
        self.runs.stop(&self.run, why, true).await?;
        self.runs.clear(&self.run).await?;
        // The watch may be behind what was just written.
        drop(timeout(AGAIN, changed(&mut self.seen)).await);
        Ok(())
    }

    /// How the run of this pod ends. In place of one that is gone the Job's controller makes another.
    async fn until_over(&mut self, pod: Option<&str>) -> Result<End> {
        loop {
            let seen = self.seen.borrow_and_update().clone();
            if let Phase::Over(end) = phase(&seen) {
                return Ok(end);
            }
            let is_there = pod.is_none() || seen.pods.iter().any(|one| one.metadata.uid.as_deref() == pod);
            if !is_there || leaves(&seen) {
                self.lose().await?;
            }
            drop(timeout(SIGN, changed(&mut self.seen)).await);
        }
    }

    fn tell(&mut self, n: u64, event: RunEvent) {
        self.queue.push_back(RunReport { n, event });
    }

    fn tell_notes(&mut self, telling: &mut Telling, carrier: Option<&Carrier>) {
        let notes = carrier.map(|carrier| notes_of(carrier.metadata())).unwrap_or_default();
        for note in notes.into_iter().skip(telling.notes) {
            telling.notes += 1;
            let n = telling.numbers.before(telling.notes);
            let line = NewLine { n, at: note.at, stage: telling.reader.stage(), text: note.text };
            self.tell(n, RunEvent::Lines(vec![line]));
        }
    }

    fn tell_records(&mut self, telling: &mut Telling, records: Vec<Record>) {
        let Some(masker) = telling.masker.clone() else { return };
        let Telling { reader, numbers, .. } = telling;
        let mut batch = Batch::new(&masker, numbers);
        for record in records {
            let reading = reader.read(&String::from_utf8_lossy(&record.text));
            self.tell_reading(&mut batch, reading, record.at, reader.stage());
        }
        self.tell_lines(batch.take());
    }

    /// The next container's log begins, where the one before ended then.
    fn tell_begin(&mut self, telling: &mut Telling, container: &str, at: Timestamp) {
        let Some(masker) = telling.masker.clone() else { return };
        let Telling { reader, numbers, .. } = telling;
        let mut batch = Batch::new(&masker, numbers);
        let reading = reader.begin(container);
        self.tell_reading(&mut batch, reading, at, reader.stage());
        self.tell_lines(batch.take());
    }

    fn tell_reading(&mut self, batch: &mut Batch<'_>, reading: Reading, at: Timestamp, stage: Stage) {
        for event in reading.events {
            self.tell_lines(batch.take());
            let n = batch.numbers.next(at);
            self.tell(n, event);
        }
        for text in reading.texts {
            batch.push(at, stage, &text);
        }
    }

    fn tell_lines(&mut self, lines: Vec<NewLine>) {
        if let Some(last) = lines.last() {
            self.tell(last.n, RunEvent::Lines(lines));
        }
    }

    async fn end(&mut self, mut telling: Box<Telling>, mut end: End, note: Option<&str>) -> Result<State> {
        if telling.masker.is_none() {
            let secret = self.runs.secret(&self.run).await?;
            telling.masker = secret.as_ref().map(mask::masker).transpose()?;
        }
        if let How::Lost { reason } = &end.how {
            // What was said to be lost stays so, whatever the Job's controller would make of it. Somebody may have stopped it before, and the watch
            // be behind.
            if let Some(stop) = self.runs.stop(&self.run, Why::Lost(reason.clone()), true).await? {
                let how = match stop.why {
                    Why::Canceled => How::Canceled,
                    Why::Lost(reason) => How::Lost { reason },
                };
                end = End { how, at: Some(stop.at) };
            }
        }
        Ok(self.finish(&mut telling, &end, note))
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

    fn sign_if_due(&mut self) {
        if self.queue.is_empty() && self.told.elapsed() >= SIGN {
            self.sign();
        }
    }

    fn sign(&mut self) {
        let alive = {
            let seen = self.seen.borrow();
            match phase(&seen) {
                Phase::Running => speaks(&seen),
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

/// Resolves when something of the run has changed. The watch lives as long as whoever follows.
async fn changed(seen: &mut watch::Receiver<Seen>) {
    if seen.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// What happens to a run whose log is open.
enum Turn {
    /// Its pod is to be deleted, and it goes on.
    Leaves,
    /// It is over, and the end of its log has not come since.
    Over,
}

async fn turned(seen: &mut watch::Receiver<Seen>) -> Turn {
    loop {
        let (leaves, over) = {
            let seen = seen.borrow_and_update();
            (leaves(&seen), matches!(phase(&seen), Phase::Over(_)))
        };
        if leaves {
            return Turn::Leaves;
        }
        if over {
            sleep(END_MAX).await;
            return Turn::Over;
        }
        changed(seen).await;
    }
}

/// Whether the node of a running pod speaks for it. Of steps one after the other those that are done make the pod unready; a node that is lost
/// has its pods removed.
fn speaks(seen: &Seen) -> bool {
    let steps = matches!(seen.carrier.as_deref(), Some(Carrier::PipelineRun(_)));
    the_pod(seen)
        .is_some_and(|pod| is_spoken_for(pod) || (steps && pod.metadata.deletion_timestamp.is_none()))
}

/// Whether somebody else deletes the pod of a run that goes on. Its controller would run everything again.
fn leaves(seen: &Seen) -> bool {
    let stopped = match seen.carrier.as_deref() {
        Some(Carrier::PipelineRun(run)) => is_ending(run, seen),
        Some(job) => Stop::of(job.metadata()).is_some(),
        None => true,
    };
    !stopped
        && !matches!(phase(seen), Phase::Over(_))
        && (the_pod(seen).is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()) || is_replaced(seen))
}

/// Whether a pod that ran is deleted, or has another in its place already.
fn is_replaced(seen: &Seen) -> bool {
    let now = the_pod(seen).map(|pod| &pod.metadata.uid);
    let goes = |pod: &Pod| pod.metadata.deletion_timestamp.is_some() || now != Some(&pod.metadata.uid);
    seen.pods.iter().any(|pod| has_run(pod) && goes(pod))
}
