//! Deciding a delivery: facts for each event, the decision, and what follows from it.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::enqueue::Source;
use super::reply::missing;
use super::unbuilt::unbuilt;
use crate::access::Subject;
use crate::build::Trigger;
use crate::error::Result;
use crate::event::EventKind;
use crate::name::{BuildId, CommitId, DeliveryId, ImageRef};
use crate::notify::DomainEvent;
use crate::policy::{
    Answered, Facts, Outcome, Planned, Question, RefKey, RefState, Rules, Skip, SkipReason, decide,
};
use crate::service::Service;
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
        let facts = Facts {
            received_at: Some(record.received_at),
            ..facts(draft, scope.as_ref(), answers.clone(), rounds, record.signed)
        };
        let decision = decide(rules, service, &event.event, &facts);
        if let Outcome::Ask(asked) = &decision.outcome {
            questions.extend(asked.iter().cloned());
            continue;
        }
        // Once one event asks, the round is repeated as a whole: nothing of it may be kept.
        if !questions.is_empty() {
            continue;
        }
        event.answers = own_answers(service, event, &answers);
        if matches!(event.event.kind, EventKind::ImagePush(_)) {
            event.live = facts.live;
        }
        event.decision = Some(decision);
        let source = Source { delivery: id, repeat: record.repeat, trigger: record.trigger, subject };
        let event = event.clone();
        draft.note_request(&record, &event)?;
        let builds = follow(draft, &source, &event, scope.as_ref())?;
        let releases = match event.decision.as_ref().map(|decision| &decision.outcome) {
            Some(Outcome::Deploy(planned)) => draft.redeploy(planned, &source, &event, record.received_at)?,
            _ => Vec::new(),
        };
        if !unbuilt(service, &event).is_empty() {
            draft.report_decision(id);
        }
        if let Some(event) = record.events.get_mut(at) {
            (event.builds, event.releases) = (builds, releases);
            tell(draft, id, record.trigger, &record.events[at]);
        }
    }
    if questions.is_empty() {
        draft.put_delivery(record);
    }
    Ok(questions.into_iter().collect())
}

/// The answers that an event's decision may have used: of the images that a delivery speaks of, each event keeps its own.
fn own_answers(service: &Service, record: &EventRecord, answers: &[Answered]) -> Vec<Answered> {
    let is_own = |answered: &&Answered| match (&answered.question, &record.event.kind) {
        (Question::Image { image }, EventKind::ImagePush(push)) => {
            let pushed = image.name.path() == push.image && image.tag == push.tag;
            let own = |ready: &ImageRef| ready.name == image.name && image.tag == Some(ready.tag_or_latest());
            pushed || service.settings.ready_images().any(own)
        }
        (Question::Image { .. }, _) => false,
        _ => true,
    };
    answers.iter().filter(is_own).cloned().collect()
}

/// What is known of a scope and of the tracked branch.
pub(super) fn facts(
    draft: &Draft<'_>,
    scope: Option<&RefKey>,
    answers: Vec<Answered>,
    rounds: u8,
    signed: bool,
) -> Facts {
    Facts {
        state: scope.map(|scope| draft.ref_state(scope)).unwrap_or_default(),
        tracked: tracked(draft).covered,
        live: draft.live_images(),
        received_at: None,
        answers,
        rounds,
        unsigned: !signed,
    }
}

fn tracked(draft: &Draft<'_>) -> RefState {
    let branch = draft.service().source.git().map(|git| git.branch.clone());
    branch.map(|branch| draft.ref_state(&RefKey::Branch(branch))).unwrap_or_default()
}

/// What follows from a decision: builds are enqueued, and the ref remembers its head.
pub(super) fn follow(
    draft: &mut Draft<'_>,
    source: &Source<'_>,
    record: &EventRecord,
    scope: Option<&RefKey>,
) -> Result<Vec<BuildId>> {
    let Some(decision) = &record.decision else { return Ok(Vec::new()) };
    let mut builds = Vec::new();
    if let Outcome::Build(planned) = &decision.outcome {
        if let Some(scope) = scope {
            watch_from_here(draft, scope, record);
        }
        for planned in planned {
            builds.push(draft.enqueue(planned, source, record)?);
        }
    }
    let Some(scope) = scope else { return Ok(builds) };
    let late = decision.is_late();
    match &decision.outcome {
        Outcome::Build(planned) => {
            note(draft, scope, record, late);
            if !late {
                cover_untouched(draft, scope, record, planned);
            }
        }
        Outcome::Skip(skip) => skipped(draft, scope, record, skip, late),
        Outcome::Hold(_) => note(draft, scope, record, late),
        Outcome::Deploy(_) | Outcome::Ask(_) => {}
    }
    Ok(builds)
}

fn skipped(draft: &mut Draft<'_>, scope: &RefKey, record: &EventRecord, skip: &Skip, late: bool) {
    match (&record.event.kind, skip.reason) {
        // An event that is of no interest says nothing of the head. Nor does a pipeline: its push does, and a head that
        // counts as decided is not looked for any more.
        (_, SkipReason::NotRelevant | SkipReason::NoCommit) | (EventKind::Pipeline(_), _) => {}
        (EventKind::Push(push), _) if push.is_deleted() => deleted(draft, scope, push.before.commit()),
        (EventKind::Tag(tag), _) if tag.is_deleted() => deleted(draft, scope, None),
        (_, SkipReason::PathsNotTouched) => {
            watch_from_here(draft, scope, record);
            note(draft, scope, record, late);
            if !late {
                cover_untouched(draft, scope, record, &[]);
            }
        }
        _ => {
            watch_from_here(draft, scope, record);
            let unplaced = !late && !follows_on(&draft.ref_state(scope), record);
            note(draft, scope, record, late || unplaced);
            if unplaced {
                let mut state = draft.ref_state(scope);
                state.unplaced = record.head();
                draft.put_ref(scope.clone(), state);
            }
        }
    }
}

/// The ref is gone. What is told of an older head than the newest came late, and says nothing of the newer one.
fn deleted(draft: &mut Draft<'_>, scope: &RefKey, before: Option<&CommitId>) {
    let mut state = draft.ref_state(scope);
    if before.is_none() || before == state.newest.as_ref() {
        state.delete();
        draft.put_ref(scope.clone(), state);
    }
}

/// Whether a head that was skipped before anybody asked how it stands is surely not older than what was decided before.
fn follows_on(state: &RefState, record: &EventRecord) -> bool {
    state.newest.is_none() || state.newest == record.head() || state.newest.as_ref() == before(record)
}

fn note(draft: &mut Draft<'_>, scope: &RefKey, record: &EventRecord, late: bool) {
    if let Some(head) = record.head() {
        let mut state = draft.ref_state(scope);
        state.note(&head, late);
        draft.put_ref(scope.clone(), state);
    }
}

/// The first head of a branch: what was there before it is nobody's news, and everything from there on is.
fn watch_from_here(draft: &mut Draft<'_>, scope: &RefKey, record: &EventRecord) {
    let (Some(before), RefKey::Branch(_)) = (before(record), scope) else { return };
    let (mut state, tracked) = (draft.ref_state(scope), tracked(draft).covered);
    if state.newest.is_some() {
        return;
    }
    for component in &draft.service().settings.components {
        if !tracked.contains_key(&component.name) {
            state.covered.entry(component.name.clone()).or_insert_with(|| before.clone());
        }
    }
    draft.put_ref(scope.clone(), state);
}

/// A head that touches no watched path of a component changes nothing of what was built: it counts as covered.
fn cover_untouched(draft: &mut Draft<'_>, scope: &RefKey, record: &EventRecord, planned: &[Planned]) {
    let Some(head) = record.head() else { return };
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

/// The head before, where the sender says.
const fn before(record: &EventRecord) -> Option<&CommitId> {
    match &record.event.kind {
        EventKind::Push(push) => push.before.commit(),
        EventKind::MergeRequest(request) => request.previous_head.as_ref(),
        _ => None,
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
    let commits = record.head().into_iter().collect();
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
