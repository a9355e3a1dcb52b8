//! `step`: one input, one set of changes.

use jiff::Timestamp;

use super::bases::{self, FoundBases};
use super::command::{self, Command};
use super::decide::decide_delivery;
use super::draft::Draft;
use super::previews::PreviewInput;
use super::reply::Reply;
use super::schedule::{self, ScheduledHead};
use crate::access::Subject;
use crate::build::BuildInput;
use crate::error::Result;
use crate::name::{BuildId, CommitId, DeliveryId, ReleaseId};
use crate::policy::{Answered, Decision, Facts, Question, RefState, Rules, Saw, decide};
use crate::queue::Pick;
use crate::release::ReleaseInput;
use crate::run::{RunEvent, RunOutcome};
use crate::service::Service;
use crate::store::{Changes, DeliveryRecord, EventRecord, View};

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A delivery is to be decided.
    Decide {
        /// Which.
        delivery: DeliveryId,
        /// Answers to what was asked in the rounds before.
        answers: Vec<Answered>,
        /// How many rounds there were.
        rounds: u8,
        /// Who is behind it, as a member (settled 15).
        subject: Subject,
    },
    /// A build got its slots.
    Start(Pick),
    /// Something happened to a build.
    Build {
        /// Which.
        build: BuildId,
        /// What.
        input: BuildInput,
        /// The executors that there are: a build that all of them refused has failed.
        executors: Vec<String>,
    },
    /// Something happened to a release.
    Release {
        /// Which.
        release: ReleaseId,
        /// What.
        input: ReleaseInput,
    },
    /// Something happened to a preview.
    Preview {
        /// Of which merge request.
        number: u64,
        /// What.
        input: PreviewInput,
    },
    /// A schedule of the service may be due.
    Scheduled {
        /// The tracked branch's newest commit, where one was due and it was looked up.
        head: Option<Box<ScheduledHead>>,
    },
    /// The base images of the service were looked at.
    Bases(Box<FoundBases>),
    /// Somebody wants something.
    Command {
        /// What.
        command: Command,
        /// Who.
        by: Subject,
    },
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// These must be answered first; nothing changes yet.
    Ask(Vec<Question>),
    /// This changes.
    Save(Box<Stepped>),
}

/// What a step changes, and what it tells whoever asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    /// What changes.
    pub changes: Changes,
    /// What whoever asked is told.
    pub reply: Reply,
}

/// One input, one set of changes. Pure: the same view, input and time give the same changes.
///
/// An error leaves everything as it is: `Conflict` where the state does not allow it (with the remedy), `Forbidden`, `NotFound`,
/// `Invalid`. A late or repeated report of a run is a `Conflict` that the driver lets go of.
pub fn step(rules: &Rules, view: &View, input: Input, now: Timestamp) -> Result<Next> {
    let mut draft = Draft::new(view, now)?;
    let reply = match input {
        Input::Decide { delivery, answers, rounds, subject } => {
            let questions = decide_delivery(&mut draft, rules, &delivery, answers, rounds, &subject)?;
            if !questions.is_empty() {
                return Ok(Next::Ask(questions));
            }
            Reply::Done
        }
        Input::Start(pick) => {
            let input = BuildInput::Start { executor: pick.executor.clone() };
            draft.apply_build(&pick.build, input)?;
            draft.take_slots(pick.slots);
            Reply::Done
        }
        Input::Build { build, input, executors } => {
            let input = settle_refusal(&draft, &build, input, &executors);
            draft.apply_build(&build, input)?;
            Reply::Done
        }
        Input::Release { release, input } => {
            draft.apply_release(&release, input)?;
            Reply::Done
        }
        Input::Preview { number, input } => {
            draft.preview_input(number, input)?;
            Reply::Done
        }
        Input::Scheduled { head } => schedule::look(&mut draft, head.as_deref())?,
        Input::Bases(found) => bases::look(&mut draft, &found)?,
        Input::Command { command, by } => command::carry_out(&mut draft, rules, command, &by)?,
    };
    draft.advance_previews()?;
    draft.advance_lanes()?;
    Ok(Next::Save(Box::new(Stepped { changes: draft.finish(), reply })))
}

/// A refusal by the last executor that could have taken the build is its failure.
fn settle_refusal(draft: &Draft<'_>, build: &BuildId, input: BuildInput, executors: &[String]) -> BuildInput {
    let BuildInput::Report { run, event: RunEvent::Finished(RunOutcome::Refused(failure)) } = input else {
        return input;
    };
    let another = draft.build(build).is_some_and(|build| {
        executors.iter().any(|name| build.executor.as_ref() != Some(name) && !build.refused_by.contains(name))
    });
    let outcome = if another { RunOutcome::Refused(failure) } else { RunOutcome::Failed(failure) };
    BuildInput::Report { run, event: RunEvent::Finished(outcome) }
}

/// What today's settings, or these, would make of an event that was decided before (K42). Changes nothing.
///
/// The ref is taken as it was before the event: what was decided since would make it look late. What was answered then
/// counts; `answers` are to questions that only these settings ask ([`Decision::questions`]). After two
/// `rounds` nothing more is asked.
pub fn explain(
    rules: &Rules,
    service: &Service,
    delivery: &DeliveryRecord,
    event: &EventRecord,
    answers: &[Answered],
    rounds: u8,
) -> Decision {
    let mut state = RefState::default();
    if let Some(decision) = &event.decision {
        // What its files were compared with is part of what was known then.
        for component in &service.settings.components {
            let since = decision.findings.iter().find_map(|finding| match &finding.saw {
                Saw::PathsNotTouched { component: of, since, .. } if *of == component.name => since.clone(),
                _ => None,
            });
            if let Some(since) = since.or_else(|| compared_with(event)) {
                state.covered.entry(component.name.clone()).or_insert(since);
            }
        }
    }
    let facts = Facts {
        state,
        answers: event.answers.iter().chain(answers).cloned().collect(),
        rounds,
        unsigned: !delivery.signed,
        live: event.live.clone(),
        received_at: Some(delivery.received_at),
        ..Facts::default()
    };
    decide(rules, service, &event.event, &facts)
}

/// The commit that an event's head was compared with, if it was.
fn compared_with(event: &EventRecord) -> Option<CommitId> {
    event.answers.iter().find_map(|answered| match answered {
        Answered { question: Question::Compare { from, .. }, answer: Some(_) } => Some(from.clone()),
        _ => None,
    })
}
