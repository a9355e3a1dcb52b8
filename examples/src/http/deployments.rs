//! Deployments: releases as people see them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use kiops_core::engine::{Command, Reply};
use kiops_core::name::{
    BuildId, ComponentName, ContainerName, EnvironmentName, ImageRef, PinnedImage, ReleaseId, ServiceName,
};
use kiops_core::problem::Problem;
use kiops_core::release::{Release, ReleaseState, Revision};
use kiops_core::service::{Service, Source, Target};
use kiops_core::{Error, access::Subject};
use serde::{Deserialize, Serialize};

use super::App;
use super::access::{Caller, nonce};
use super::answer::{Answer, Input, List, PageQuery, Path, Query, Refusal, not_found, parse};
use super::builds::FailureJson;
use super::services;

#[derive(Serialize)]
pub(super) struct DeploymentJson {
    id: ReleaseId,
    service: ServiceName,
    component: ComponentName,
    environment: EnvironmentName,
    build: Option<BuildId>,
    images: BTreeMap<ContainerName, String>,
    state: &'static str,
    /// Where people are, or were, asked about it.
    proposal: Option<String>,
    /// Whether it is what runs now.
    current: bool,
    revision: Option<u64>,
    requested_by: String,
    approved_by: Option<String>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    failure: Option<FailureJson>,
}

async fn view(app: &App, release: Release) -> Result<DeploymentJson, Refusal> {
    let lane = app.driver.store().lane(release.service(), &release.lane()).await?;
    let failure = match &release.state {
        ReleaseState::Failed(failure)
        | ReleaseState::RollingBack(failure)
        | ReleaseState::RolledBack(failure) => Some(FailureJson::of(failure.clone())),
        _ => None,
    };
    Ok(DeploymentJson {
        current: lane.is_some_and(|lane| lane.release == release.id),
        service: release.service().clone(),
        component: release.target.component.clone(),
        environment: release.target.environment.clone(),
        build: release.origin.build().cloned(),
        images: release.images.iter().map(|(name, image)| (name.clone(), image.to_string())).collect(),
        state: release.state.name(),
        revision: release.revision.map(|revision| revision.0),
        approved_by: release.approval.as_ref().map(|approval| approval.by.to_string()),
        requested_by: release.requested_by,
        created_at: release.created_at,
        finished_at: release.finished_at,
        failure,
        proposal: release.proposal,
        id: release.id,
    })
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(_): Caller,
    Path(name): Path,
    Query(query): Query<PageQuery>,
) -> Answer<List<DeploymentJson>> {
    let service = services::find(&app, &name).await?.value;
    let listed = app.driver.store().releases(Some(&service.name), query.page()?).await?;
    let mut items = Vec::with_capacity(listed.items.len());
    for release in listed.items {
        items.push(view(&app, release).await?);
    }
    Ok(Json(List { items, total: listed.total }))
}

/// `{"build": ID}`, `{"images": {"web": "name:tag@sha256:..."}}` or `{"image": "..."}`, for an image service also none of them: what its
/// settings name; `environment` and `component` where the service's own or only one is not meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployJson {
    build: Option<String>,
    images: Option<BTreeMap<ContainerName, ImageRef>>,
    image: Option<ImageRef>,
    environment: Option<EnvironmentName>,
    component: Option<ComponentName>,
}

pub(super) async fn create(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path,
    Input(input): Input<DeployJson>,
) -> Result<(StatusCode, Json<DeploymentJson>), Refusal> {
    let service = services::find(&app, &name).await?.value;
    let command = match (input.build, input.images, input.image) {
        (Some(build), None, None) => {
            let build = super::builds::find(&app, &build).await?;
            if *build.service() != service.name {
                return Err(not_found("build"));
            }
            Command::DeployBuild { build: build.id, environment: input.environment, nonce: nonce() }
        }
        (None, Some(images), None) => {
            let images = images
                .into_iter()
                .map(|(name, image)| Ok((name, pinned(image)?)))
                .collect::<Result<_, Refusal>>()?;
            Command::DeployImages {
                component: input.component,
                images,
                environment: input.environment,
                nonce: nonce(),
            }
        }
        (None, None, Some(image)) => {
            let container = only_container(&service, input.component.as_ref())?;
            let images = BTreeMap::from([(container, pinned(image)?)]);
            Command::DeployImages {
                component: input.component,
                images,
                environment: input.environment,
                nonce: nonce(),
            }
        }
        (None, None, None) if service.source == Source::Image => {
            let id = app
                .driver
                .deploy_ready(&service.name, input.component, input.environment, nonce(), by)
                .await?;
            return Ok((StatusCode::ACCEPTED, Json(view(&app, find(&app, id.as_str()).await?).await?)));
        }
        _ => {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "name one of `build`, `images` and `image`");
            return Err(problem.into());
        }
    };
    let release = carry_out(&app, &service.name, command, by).await?;
    Ok((StatusCode::ACCEPTED, Json(release)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackJson {
    environment: Option<EnvironmentName>,
    component: Option<ComponentName>,
    revision: Option<u64>,
}

pub(super) async fn rollback(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path,
    Input(input): Input<RollbackJson>,
) -> Result<(StatusCode, Json<DeploymentJson>), Refusal> {
    let service = services::find(&app, &name).await?.value;
    let to = input.revision.map(Revision);
    let id = app.driver.rollback(&service.name, input.component, input.environment, to, nonce(), by).await?;
    let release = app.driver.store().release(&id).await?.ok_or_else(|| not_found("deployment"))?;
    Ok((StatusCode::ACCEPTED, Json(view(&app, release).await?)))
}

pub(super) async fn approve(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path,
) -> Answer<DeploymentJson> {
    let release = find(&app, &id).await?;
    let service = release.service().clone();
    Ok(Json(carry_out(&app, &service, Command::Approve { release: release.id }, by).await?))
}

pub(super) async fn reject(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path,
) -> Answer<DeploymentJson> {
    let release = find(&app, &id).await?;
    let service = release.service().clone();
    Ok(Json(carry_out(&app, &service, Command::Reject { release: release.id }, by).await?))
}

async fn carry_out(
    app: &App,
    service: &ServiceName,
    command: Command,
    by: Subject,
) -> Result<DeploymentJson, Refusal> {
    let Reply::Release(id) = app.driver.command(service, command, by).await? else {
        return Err(Error::internal("deploy", "the engine answered something else").into());
    };
    let release = app.driver.store().release(&id).await?.ok_or_else(|| not_found("deployment"))?;
    view(app, release).await
}

async fn find(app: &App, id: &str) -> Result<Release, Refusal> {
    let id: ReleaseId = parse("deployment", id)?;
    app.driver.store().release(&id).await?.ok_or_else(|| not_found("deployment"))
}

fn pinned(image: ImageRef) -> Result<PinnedImage, Refusal> {
    PinnedImage::try_from(image).map_err(|error| {
        let remedy = "write it as name:tag@sha256:...";
        Problem::new(StatusCode::BAD_REQUEST, error.to_string()).with_remedy(remedy).into()
    })
}

/// The container that `image` alone means.
fn only_container(service: &Service, component: Option<&ComponentName>) -> Result<ContainerName, Refusal> {
    let several = || {
        Refusal::from(Problem::new(
            StatusCode::BAD_REQUEST,
            "there are several containers: name them in `images`",
        ))
    };
    let components = &service.settings.components;
    let component = match (component, components.as_slice()) {
        (Some(name), _) => service.settings.component(name).ok_or_else(|| not_found("component"))?,
        (None, [only]) => only,
        (None, _) => return Err(several()),
    };
    match &component.runs {
        None => Ok(ContainerName::from(&component.name)),
        Some(Target::Workload(workload)) => match workload.containers.as_slice() {
            [only] => Ok(only.name.clone()),
            _ => Err(several()),
        },
        Some(Target::Existing { container, .. }) => Ok(container.clone()),
        Some(Target::GitFile(file)) => Ok(file.container.clone()),
    }
}
