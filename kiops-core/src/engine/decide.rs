//! Deciding a delivery: facts for each event, the decision, and what follows from it.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::step::missing;
use crate::access::Subject;
use crate::build::Trigger;
use crate::error::Result;
use crate::event::EventKind;
use crate::name::{CommitId, DeliveryId};
use crate::notify::DomainEvent;
use crate::policy::{
    Answer, Answered, Facts, Outcome, Planned, Question, RefKey, Rules, Skip, SkipReason, Standing, decide,
};
use crate::store::{EventOutcome, EventRecord};

/// Decides every event that is not decided yet. Returns what must be answered first; then nothing was changed.
pub(super) fn decide_delivery(
    draft: &mut Draft<'_>,
    rules: &Rules,
    id: &DeliveryId,
    answers: Vec<Answered>,
    rounds: u8,
    subject: &Subject,
) -> Result<Vec<Question>> {
    let mut record = draft.delivery().cloned().ok_or_else(|| missing("delivery", id.as_str()))?;
    let service = draft.service();
    let mut questions = BTreeSet::new();
    for at in 0..record.events.len() {
        let Some(event) = record.events.get_mut(at).filter(|event| event.decision.is_none()) else {
            continue;
        };
        let (scope, _) = touched(event);
        let state = scope.as_ref().map(|scope| draft.ref_state(scope)).unwrap_or_default();
        let tracked = service
            .source
            .git()
            .map(|git| draft.ref_state(&RefKey::Branch(git.branch.clone())).covered)
            .unwrap_or_default();
        let facts = Facts { state, tracked, answers: answers.clone(), rounds, unsigned: !record.signed };
        let decision = decide(rules, service, &event.event, &facts);
        if let Outcome::Ask(asked) = &decision.outcome {
            questions.extend(asked.iter().cloned());
            continue;
        }
        // Once one event asks, the round is repeated as a whole: nothing of it may be kept.
        if !questions.is_empty() {
            continue;
        }
        event.answers.clone_from(&answers);
        event.decision = Some(decision);
        let source = Source { delivery: id, repeat: record.repeat, trigger: record.trigger, subject };
        let event = event.clone();
        let builds = follow(draft, &source, &event, scope.as_ref())?;
        if let Some(event) = record.events.get_mut(at) {
            event.builds = builds;
            tell(draft, id, record.trigger, &record.events[at]);
        }
    }
    if questions.is_empty() {
        draft.put_delivery(record);
    }
    Ok(questions.into_iter().collect())
}

/// Where a plan comes from.
pub(super) struct Source<'a> {
    pub(super) delivery: &'a DeliveryId,
    pub(super) repeat: bool,
    pub(super) trigger: Trigger,
    pub(super) subject: &'a Subject,
}

/// What follows from a decision: builds are enqueued, and the ref remembers its head.
pub(super) fn follow(
    draft: &mut Draft<'_>,
    source: &Source<'_>,
    record: &EventRecord,
    scope: Option<&RefKey>,
) -> Result<Vec<crate::name::BuildId>> {
    let Some(decision) = &record.decision else { return Ok(Vec::new()) };
    let mut builds = Vec::new();
    match &decision.outcome {
        Outcome::Build(planned) => {
            for planned in planned {
                builds.push(draft.enqueue(planned, source, record)?);
            }
            if let Some(scope) = scope {
                note(draft, scope, record, planned.iter().any(|plan| plan.standing == Standing::Late));
                cover_untouched(draft, scope, record, planned);
            }
        }
        Outcome::Skip(skip) => {
            if let Some(scope) = scope {
                skipped(draft, scope, record, skip);
            }
        }
        Outcome::Hold(_) => {
            if let Some(scope) = scope {
                note(draft, scope, record, false);
            }
        }
        Outcome::Ask(_) => {}
    }
    Ok(builds)
}

fn skipped(draft: &mut Draft<'_>, scope: &RefKey, record: &EventRecord, skip: &Skip) {
    match skip.reason {
        SkipReason::RefDeleted => {
            let mut state = draft.ref_state(scope);
            state.newest = None;
            draft.put_ref(scope.clone(), state);
        }
        // An event that is of no interest says nothing of the head; a deleted branch does even where it does not match.
        SkipReason::NotRelevant | SkipReason::NoCommit => {}
        _ if deleted(record) => {}
        SkipReason::PathsNotTouched => {
            note(draft, scope, record, false);
            cover_untouched(draft, scope, record, &[]);
        }
        reason => note(draft, scope, record, reason == SkipReason::Late),
    }
}

fn note(draft: &mut Draft<'_>, scope: &RefKey, record: &EventRecord, late: bool) {
    if let Some(head) = head(record) {
        let mut state = draft.ref_state(scope);
        state.note(&head, late);
        draft.put_ref(scope.clone(), state);
    }
}

/// A head that touches no watched path of a component changes nothing of what was built: it counts as covered.
fn cover_untouched(draft: &mut Draft<'_>, scope: &RefKey, record: &EventRecord, planned: &[Planned]) {
    let Some(head) = head(record) else { return };
    let mut state = draft.ref_state(scope);
    for component in &draft.service().settings.components {
        if !planned.iter().any(|plan| plan.component == component.name)
            && let Some(covered) = state.covered.get_mut(&component.name)
        {
            *covered = head.clone();
        }
    }
    draft.put_ref(scope.clone(), state);
}

/// The commit that an event is about: what was decided on, for an annotated tag the commit that the provider told.
fn head(record: &EventRecord) -> Option<CommitId> {
    let head = match &record.event.kind {
        EventKind::Push(push) => push.head.commit().cloned(),
        EventKind::Tag(tag) => tag.head.commit().map(|head| tag.commit_id.as_ref().unwrap_or(head).clone()),
        EventKind::MergeRequest(request) => request.head.clone(),
        EventKind::Pipeline(pipeline) => pipeline.head.clone(),
        _ => None,
    }?;
    let told = record.answers.iter().find_map(|answered| match answered {
        Answered { question: Question::Commit { id }, answer: Some(Answer::Commit(Some(commit))) }
            if *id == head =>
        {
            Some(commit.id.clone())
        }
        _ => None,
    });
    Some(told.unwrap_or(head))
}

fn deleted(record: &EventRecord) -> bool {
    match &record.event.kind {
        EventKind::Push(push) => push.head.commit().is_none(),
        EventKind::Tag(tag) => tag.head.commit().is_none(),
        _ => false,
    }
}

/// The scope that an event belongs to, and the commits whose builds matter to it.
pub(super) fn touched(record: &EventRecord) -> (Option<RefKey>, Vec<CommitId>) {
    let scope = match &record.event.kind {
        EventKind::Push(push) => RefKey::of_ref(&push.git_ref),
        EventKind::Tag(tag) => RefKey::of_ref(&tag.git_ref),
        EventKind::MergeRequest(request) => request.number.map(RefKey::MergeRequest),
        EventKind::Pipeline(pipeline) => {
            let kind = if pipeline.is_tag { "tags" } else { "heads" };
            let full = format!("refs/{kind}/{}", pipeline.ref_name);
            crate::name::GitRef::parse(&full).ok().as_ref().and_then(RefKey::of_ref)
        }
        _ => None,
    };
    // A tag object's commit is known only from an answer: the driver adds it to what is wanted in the next round.
    let commits = head(record).into_iter().collect();
    (scope, commits)
}

fn tell(draft: &mut Draft<'_>, delivery: &DeliveryId, trigger: Trigger, record: &EventRecord) {
    let service = draft.name().clone();
    let findings = record.decision.as_ref().map(|decision| decision.findings.as_slice()).unwrap_or_default();
    let event = DomainEvent::Decided {
        delivery: delivery.clone(),
        service,
        trigger,
        event: record.event.kind.name().to_owned(),
        outcome: record.outcome().map_or("", EventOutcome::name).to_owned(),
        reason: record.reason().unwrap_or_default(),
        findings: findings.iter().map(ToString::to_string).collect(),
        builds: record.builds.clone(),
    };
    draft.tell(event);
}
