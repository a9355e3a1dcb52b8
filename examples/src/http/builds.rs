//! Builds.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use kiops_core::access::Action;
use kiops_core::build::{Build, BuildMetadata, BuildOutput, BuildState, CheckRecord, CheckState, Trigger};
use kiops_core::checks::FindingCounts;
use kiops_core::engine::Command;
use kiops_core::name::{
    BuildId, CheckName, CommitId, ComponentName, Digest, EnvironmentName, ReleaseId, ServiceName,
};
use kiops_core::queue::{Slot, Waiting, waits_for};
use kiops_core::release::{BuildView, VisibleState};
use kiops_core::service::CheckPhase;
use kiops_core::stage::{Failure, FailureKind, Stage};
use serde::{Deserialize, Serialize};

use super::App;
use super::access::{Caller, require};
use super::answer::{Answer, Input, List, PageQuery, Path, Query, Refusal, not_found, parse};
use super::{reports, services};

#[derive(Serialize)]
pub(super) struct BuildJson {
    id: BuildId,
    service: ServiceName,
    component: ComponentName,
    trigger: Trigger,
    state: VisibleState,
    stage: Option<Stage>,
    label: &'static str,
    label_k: &'static str,
    progress: u8,
    queue_position: Option<usize>,
    waiting_for: Option<String>,
    commit: CommitId,
    branch: Option<String>,
    tag: Option<String>,
    message: String,
    metadata: BuildMetadata,
    image: Option<String>,
    digest: Option<Digest>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    duration_ms: Option<i64>,
    failure: Option<FailureJson>,
    superseded_by: Option<String>,
    checks: Vec<CheckJson>,
}

#[derive(Serialize)]
struct CheckJson {
    name: CheckName,
    phase: CheckPhase,
    stage: Stage,
    owner: Option<String>,
    state: &'static str,
    failure: Option<FailureJson>,
    findings: Option<FindingCounts>,
    /// Where its report can be downloaded.
    report: Option<String>,
    /// Of a check of what is live: what it looks at, or looked at last.
    environment: Option<EnvironmentName>,
    deployment: Option<ReleaseId>,
}

impl CheckJson {
    fn all(build: &Build) -> Vec<Self> {
        let one = |check: &CheckRecord| {
            let live = build.live_checks.as_ref().filter(|_| check.is_of_live());
            Self {
                name: check.spec.name.clone(),
                phase: check.spec.phase,
                stage: check.spec.stage,
                owner: check.spec.owner.clone(),
                state: check.state.name(),
                failure: match &check.state {
                    CheckState::Failed(failure) => Some(FailureJson::of(failure.clone())),
                    _ => None,
                },
                findings: check.findings.clone(),
                report: reports::address(build, check),
                environment: live.map(|live| live.environment.clone()),
                deployment: live.map(|live| live.release.clone()),
            }
        };
        build.checks.iter().map(one).collect()
    }
}

#[derive(Serialize)]
pub(super) struct FailureJson {
    pub(super) kind: FailureKind,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl FailureJson {
    pub(super) fn of(failure: Failure) -> Self {
        Self { kind: failure.kind, message: failure.message, remedy: failure.remedy }
    }
}

/// What the queue looks like now, for position and reason of those that wait.
pub(super) struct Queue {
    waiting: Vec<Waiting>,
    slots: BTreeSet<Slot>,
}

impl Queue {
    pub(super) async fn load(app: &App) -> Result<Self, Refusal> {
        let (mut waiting, slots) = app.driver.store().queue().await?;
        waiting.sort_by_key(|waiting| (waiting.since, waiting.order));
        Ok(Self { waiting, slots: slots.into_iter().collect() })
    }

    fn place(&self, app: &App, build: &BuildId) -> Option<(usize, String)> {
        let at = self.waiting.iter().position(|waiting| waiting.build == *build)?;
        let executors = app.driver.adapters().executor_names();
        let waits =
            waits_for(&self.waiting[at], &self.slots, &executors, app.driver.limits(), app.driver.now());
        Some((at + 1, waits.to_string()))
    }
}

impl BuildJson {
    pub(super) async fn of(app: &App, queue: &Queue, mut build: Build) -> Result<Self, Refusal> {
        let mut place = queue.place(app, &build.id);
        // Build and queue were read one after the other: where they disagree, something moved in between.
        for _ in 0..3 {
            if place.is_some() == matches!(build.state, BuildState::Queued) {
                break;
            }
            build = app.driver.store().build(&build.id).await?.ok_or_else(|| not_found("build"))?;
            place = Queue::load(app).await?.place(app, &build.id);
        }
        let release = match &build.release {
            Some(id) => app.driver.store().release(id).await?,
            None => None,
        };
        let view = BuildView::of(&build, release.as_ref());
        let (queue_position, waiting_for) = place.unzip();
        let ended = release.as_ref().map_or(build.finished_at, |release| release.finished_at);
        let superseded_by = match (&build.state, release.as_ref().map(|release| &release.state)) {
            (BuildState::Superseded { by }, _) => Some(by.to_string()),
            (_, Some(kiops_core::release::ReleaseState::Superseded { by })) => {
                let newer = app.driver.store().release(by).await?;
                Some(
                    newer
                        .and_then(|newer| newer.origin.build().cloned())
                        .map_or_else(|| by.to_string(), |id| id.to_string()),
                )
            }
            _ => None,
        };
        let image = match &build.spec.output {
            BuildOutput::Push { image, tag } => Some(format!("{image}:{tag}")),
            BuildOutput::Discard => None,
        };
        let until = ended.unwrap_or_else(|| app.driver.now());
        let duration = build.started_at.map(|start| until.duration_since(start).as_millis());
        Ok(Self {
            checks: CheckJson::all(&build),
            state: view.state,
            stage: view.stage,
            label: view.state.label(),
            label_k: view.state.label_k(),
            progress: view.progress.percent(),
            queue_position,
            waiting_for,
            service: build.service().clone(),
            component: build.component().clone(),
            commit: build.commit().clone(),
            id: build.id,
            trigger: build.trigger,
            branch: build.branch,
            tag: build.tag,
            message: build.spec.metadata.git_commit_message.clone(),
            metadata: build.spec.metadata,
            image,
            digest: build.digest,
            created_at: build.created_at,
            started_at: build.started_at,
            finished_at: if view.state.is_over() { ended } else { None },
            duration_ms: duration.and_then(|ms| i64::try_from(ms).ok()),
            failure: view.failure.map(FailureJson::of),
            superseded_by,
        })
    }

    pub(super) const fn label(&self) -> &'static str {
        self.label
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(_): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<List<BuildJson>> {
    let page = query.page()?;
    let service = service_of(&app, &query).await?;
    let listed = app.driver.store().builds(service.as_ref(), page).await?;
    let queue = Queue::load(&app).await?;
    let mut items = Vec::with_capacity(listed.items.len());
    for build in listed.items {
        items.push(BuildJson::of(&app, &queue, build).await?);
    }
    Ok(Json(List { items, total: listed.total }))
}

/// The service that a list is narrowed to; an empty one means all.
pub(super) async fn service_of(app: &App, query: &PageQuery) -> Result<Option<ServiceName>, Refusal> {
    match query.service.as_deref() {
        None | Some("") => Ok(None),
        Some(name) => Ok(Some(services::find(app, name).await?.value.name)),
    }
}

pub(super) async fn one(State(app): State<App>, Caller(_): Caller, Path(id): Path) -> Answer<BuildJson> {
    let build = find(&app, &id).await?;
    Ok(Json(BuildJson::of(&app, &Queue::load(&app).await?, build).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartJson {
    component: Option<ComponentName>,
}

/// Builds the newest commit of the tracked branch (T12).
pub(super) async fn start(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path,
    Input(input): Input<StartJson>,
) -> Result<(StatusCode, Json<List<BuildJson>>), Refusal> {
    require(&by, Action::Build)?;
    let service = services::find(&app, &name).await?.value;
    let nonce = super::access::nonce();
    let ids = app.driver.build_newest(&service.name, input.component, Trigger::Manual, nonce, by).await?;
    let queue = Queue::load(&app).await?;
    let mut items = Vec::new();
    for id in &ids {
        if let Some(build) = app.driver.store().build(id).await? {
            items.push(BuildJson::of(&app, &queue, build).await?);
        }
    }
    let total = items.len() as u64;
    Ok((StatusCode::ACCEPTED, Json(List { items, total })))
}

pub(super) async fn cancel(State(app): State<App>, Caller(by): Caller, Path(id): Path) -> Answer<BuildJson> {
    let build = find(&app, &id).await?;
    let service = build.service().clone();
    app.driver.command(&service, Command::CancelBuild { build: build.id.clone() }, by).await?;
    let build = find(&app, &id).await?;
    Ok(Json(BuildJson::of(&app, &Queue::load(&app).await?, build).await?))
}

pub(super) async fn find(app: &App, id: &str) -> Result<Build, Refusal> {
    let id: BuildId = parse("build", id)?;
    app.driver.store().build(&id).await?.ok_or_else(|| not_found("build"))
}
