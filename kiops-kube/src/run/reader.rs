//! What turns the lines of one kind of program into stages, steps, text and an outcome. Pure.

use kiops_core::run::{RunEvent, RunOutcome, RunResult};
use kiops_core::stage::{Failure, FailureKind, Stage};

use super::carrier::Carrier;
use super::clone::not_fetched;
use super::phase::{End, How};

/// What one line tells. Nothing of it is masked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What the line tells besides its text, before it.
    pub(crate) events: Vec<RunEvent>,
    /// The texts, in order; a text may have several lines.
    pub(crate) texts: Vec<String>,
}

/// Reads the log of one run from its first line. What it makes of a line depends on nothing but the lines before.
pub(crate) trait Reader: Send + std::fmt::Debug {
    /// The stage that the run is in.
    fn stage(&self) -> Stage;

    /// The next container's log begins; not told of the first one's.
    fn begin(&mut self, _container: &str) -> Reading {
        Reading::default()
    }

    /// The next line.
    fn read(&mut self, line: &str) -> Reading;

    /// The texts of lines that were held back for what might have come, and did not.
    fn rest(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What a program that ended with 0 hands over, and left as its last message.
    fn succeeded(&self, message: &str) -> Result<RunResult, Failure>;

    /// What a program that ended with another status failed at.
    fn failed(&self, exit: i32) -> Failure;

    /// Why a program could not be started at all, by the node's words.
    fn not_started(&self, message: &str) -> Failure {
        let text = format!("its container did not start: {message}");
        Failure::new(self.stage(), FailureKind::ExecutorUnavailable, text)
            .with_remedy("correct the image in the executor's settings")
    }

    /// Whether what a success hands over is whole without the log.
    fn is_whole_without_log(&self) -> bool {
        false
    }
}

/// Makes the reader of a run from what carries it.
pub(crate) type NewReader = fn(&Carrier) -> Box<dyn Reader>;

/// The status of a program that was killed. What is canceled, late, or ended with its node is told as that before; what is left is the
/// kernel, for memory. A node does not always say so itself: containerd 1.6 may learn of it after the container's end, and of one process among
/// several no node says anything.
pub(crate) const KILLED: i32 = 137;

/// What was killed for the memory that it needed.
pub(crate) fn killed(stage: Stage, what: &str) -> Failure {
    let text = format!("{what} was killed (status {KILLED}), as what needs more memory than it may have is");
    Failure::new(stage, FailureKind::OutOfMemory, text)
}

/// Whether how a run ended can be told although its log cannot be read.
pub(crate) fn is_known_without_log(reader: &dyn Reader, end: &End) -> bool {
    match end.how {
        How::Succeeded { .. } => reader.is_whole_without_log(),
        // The words are in the log.
        How::Failed { .. } => false,
        _ => true,
    }
}

/// How a run ended, in words.
pub(crate) fn outcome(reader: &dyn Reader, end: &End) -> RunOutcome {
    let stage = reader.stage();
    let failed = |kind, text: String| RunOutcome::Failed(Failure::new(stage, kind, text));
    match &end.how {
        How::Succeeded { message } => match reader.succeeded(message) {
            Ok(result) => RunOutcome::Succeeded(result),
            Err(failure) => RunOutcome::Failed(failure),
        },
        How::Failed { exit, limit } => {
            let mut failure = reader.failed(*exit);
            if let (FailureKind::OutOfMemory, Some(limit)) = (failure.kind, limit) {
                failure.message = format!("{}; its limit is {limit}", failure.message);
            }
            RunOutcome::Failed(failure)
        }
        How::NotPrepared { message } => RunOutcome::Failed(not_fetched(message)),
        How::NotStarted { message } => RunOutcome::Failed(reader.not_started(message)),
        How::NotRun { message } => RunOutcome::Failed(
            Failure::new(
                stage,
                FailureKind::ExecutorUnavailable,
                format!("Tekton did not run it: {message}"),
            )
            .with_remedy("look at the PipelineRun, and whether Tekton takes this version of it"),
        ),
        How::OutOfMemory { limit } => failed(
            FailureKind::OutOfMemory,
            match limit {
                Some(limit) => format!("it needed more than its limit of {limit}"),
                None => "the node had no more to give".to_owned(),
            },
        ),
        How::Evicted { message }
            if ["ephemeral-storage", "disk", "EmptyDir"].iter().any(|what| message.contains(what)) =>
        {
            failed(FailureKind::DiskFull, message.clone())
        }
        How::Evicted { message } => RunOutcome::Lost { reason: format!("its node put it out: {message}") },
        How::Deadline { seconds } => failed(
            FailureKind::TimedOut,
            seconds.map_or_else(String::new, |seconds| format!("it did not end within {seconds} s")),
        ),
        How::Lost { reason } => RunOutcome::Lost { reason: reason.clone() },
        How::Canceled => RunOutcome::Canceled,
    }
}
