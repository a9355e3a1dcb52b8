//! Deliveries: what came in, what was decided, and why.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use kiops_core::engine::Command;
use kiops_core::event::EventKind;
use kiops_core::name::{BuildId, CommitId, DeliveryId, ProviderName, ReleaseId, ServiceName};
use kiops_core::policy::{Decision, Finding};
use kiops_core::service::Settings;
use kiops_core::store::{DeliveryRecord, EventOutcome, EventRecord};
use serde::{Deserialize, Serialize};

use super::App;
use super::access::Caller;
use super::answer::{Answer, Input, List, PageQuery, Path, Query, Refusal, not_found, parse};
use super::builds::service_of;

#[derive(Serialize)]
pub(super) struct DeliveryJson {
    id: DeliveryId,
    provider: ProviderName,
    service: ServiceName,
    trigger: kiops_core::build::Trigger,
    received_at: Timestamp,
    #[serde(flatten)]
    leading: EventJson,
    events: Vec<EventJson>,
}

#[derive(Serialize, Clone)]
struct EventJson {
    event: Option<String>,
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    commit: Option<CommitId>,
    image: Option<String>,
    outcome: Option<EventOutcome>,
    reason: Option<String>,
    findings: Vec<FindingJson>,
    builds: Vec<BuildId>,
    deployments: Vec<ReleaseId>,
}

/// A finding: typed for programs, rendered for people.
#[derive(Serialize, Clone)]
struct FindingJson {
    #[serde(flatten)]
    finding: Finding,
    text: String,
}

fn findings(decision: &Decision) -> Vec<FindingJson> {
    decision
        .findings
        .iter()
        .map(|finding| FindingJson { text: finding.to_string(), finding: finding.clone() })
        .collect()
}

fn event(record: &EventRecord) -> EventJson {
    let git_ref = match &record.event.kind {
        EventKind::Push(push) => Some(push.git_ref.to_string()),
        EventKind::Tag(tag) => Some(tag.git_ref.to_string()),
        EventKind::MergeRequest(request) => request.head_ref.as_ref().map(ToString::to_string),
        EventKind::Pipeline(pipeline) => Some(pipeline.ref_name.clone()),
        _ => None,
    };
    let image = match &record.event.kind {
        EventKind::ImagePush(push) => {
            Some(push.tag.as_ref().map_or_else(|| push.image.clone(), |tag| format!("{}:{tag}", push.image)))
        }
        _ => None,
    };
    EventJson {
        event: Some(record.event.kind.name().to_owned()),
        image,
        git_ref,
        commit: record.head(),
        outcome: record.outcome(),
        reason: record.reason(),
        findings: record.decision.as_ref().map(findings).unwrap_or_default(),
        builds: record.builds.clone(),
        deployments: record.releases.clone(),
    }
}

fn view(record: DeliveryRecord) -> DeliveryJson {
    let mut leading = record.leading().map_or_else(
        || EventJson {
            event: None,
            git_ref: None,
            commit: None,
            image: None,
            outcome: None,
            reason: Some("the delivery reports nothing".into()),
            findings: Vec::new(),
            builds: Vec::new(),
            deployments: Vec::new(),
        },
        event,
    );
    leading.outcome = record.outcome();
    if let Some(reason) = &record.quarantined {
        leading.reason = Some(reason.clone());
    }
    DeliveryJson {
        leading,
        events: record.events.iter().map(event).collect(),
        id: record.id,
        provider: record.provider,
        service: record.service,
        trigger: record.trigger,
        received_at: record.received_at,
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(_): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<List<DeliveryJson>> {
    let page = query.page()?;
    let service = service_of(&app, &query).await?;
    Ok(Json(List::of(app.driver.store().deliveries(service.as_ref(), page).await?, view)))
}

pub(super) async fn one(State(app): State<App>, Caller(_): Caller, Path(id): Path) -> Answer<DeliveryJson> {
    Ok(Json(view(find(&app, &id).await?)))
}

/// `{"settings": {...}}`; without them today's count.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainJson {
    settings: Option<Settings>,
}

#[derive(Serialize)]
pub(super) struct ExplainedJson {
    outcome: &'static str,
    reason: String,
    findings: Vec<FindingJson>,
    events: Vec<ExplainedEventJson>,
}

#[derive(Serialize)]
struct ExplainedEventJson {
    event: String,
    outcome: &'static str,
    reason: String,
    findings: Vec<FindingJson>,
}

/// What would happen now (K42). Changes nothing.
pub(super) async fn explain(
    State(app): State<App>,
    Caller(_): Caller,
    Path(id): Path,
    Input(input): Input<ExplainJson>,
) -> Answer<ExplainedJson> {
    let record = find(&app, &id).await?;
    let decisions = app.driver.explain(&record.id, input.settings).await?;
    let events: Vec<ExplainedEventJson> = record
        .events
        .into_iter()
        .zip(decisions)
        .map(|(event, decision)| {
            let findings = findings(&decision);
            // Nothing is asked any more, so every outcome has its word.
            let record = EventRecord { decision: Some(decision), ..event };
            ExplainedEventJson {
                event: record.event.kind.name().to_owned(),
                outcome: record.outcome().map_or("undecided", EventOutcome::name),
                reason: record.reason().unwrap_or_default(),
                findings,
            }
        })
        .collect();
    let leading = events.iter().find(|event| event.outcome != "ignored").or_else(|| events.first());
    Ok(Json(ExplainedJson {
        outcome: leading.map_or("ignored", |event| event.outcome),
        reason: leading.map(|event| event.reason.clone()).unwrap_or_default(),
        findings: leading.map(|event| event.findings.clone()).unwrap_or_default(),
        events,
    }))
}

/// `{"commit": FULL_ID}`: the commit that somebody looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveJson {
    commit: CommitId,
}

/// Lets a held fork's commit be built.
pub(super) async fn approve(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path,
    Input(input): Input<ApproveJson>,
) -> Answer<DeliveryJson> {
    let record = find(&app, &id).await?;
    let command = Command::ApproveFork { delivery: record.id.clone(), commit: input.commit };
    app.driver.command(&record.service, command, by).await?;
    Ok(Json(view(find(&app, &id).await?)))
}

async fn find(app: &App, id: &str) -> Result<DeliveryRecord, Refusal> {
    let id: DeliveryId = parse("delivery", id)?;
    app.driver.store().delivery(&id).await?.ok_or_else(|| not_found("delivery"))
}
