//! Previews of merge requests: which there are, and removing one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use kiops_core::engine::Command;
use kiops_core::name::{
    ComponentName, ContainerName, DnsLabel, EnvironmentName, PinnedImage, ReleaseId, ServiceName,
};
use kiops_core::policy::Preview;
use kiops_core::release::Lane;
use kiops_core::service::Environment;
use serde::Serialize;

use super::App;
use super::access::Caller;
use super::answer::{Answer, List, Path, PathPair, Refusal, parse};
use super::services;

/// A preview as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct PreviewJson {
    number: u64,
    environment: EnvironmentName,
    namespace: DnsLabel,
    state: &'static str,
    reason: Option<String>,
    problem: Option<String>,
    until: Timestamp,
    components: Vec<ComponentJson>,
}

/// What is live of a component in a preview.
#[derive(Debug, Serialize)]
struct ComponentJson {
    component: ComponentName,
    url: Option<String>,
    deployment: Option<ReleaseId>,
    images: BTreeMap<ContainerName, PinnedImage>,
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(_by): Caller,
    Path(name): Path,
) -> Answer<List<PreviewJson>> {
    let service = services::find(&app, &name).await?.value.name;
    let mut items = Vec::new();
    for (number, preview) in app.driver.previews(&service).await?.into_iter().rev() {
        items.push(view(&app, &service, number, preview).await?);
    }
    let total = items.len() as u64;
    Ok(Json(List { items, total }))
}

pub(super) async fn remove(
    State(app): State<App>,
    Caller(by): Caller,
    PathPair(name, number): PathPair,
) -> Result<Response, Refusal> {
    let service = services::find(&app, &name).await?.value.name;
    let number: u64 = parse("preview", &number)?;
    app.driver.command(&service, Command::RemovePreview { number }, by).await?;
    Ok(match app.driver.previews(&service).await?.remove(&number) {
        Some(preview) => {
            (StatusCode::ACCEPTED, Json(view(&app, &service, number, preview).await?)).into_response()
        }
        // It was gone before anybody could look.
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn view(
    app: &App,
    service: &ServiceName,
    number: u64,
    preview: Preview,
) -> Result<PreviewJson, Refusal> {
    let environments = app.driver.store().environments().await?;
    let found = Environment::find(&environments, service, &preview.environment);
    let found = found.filter(|found| found.preview.is_some());
    let mut components = Vec::new();
    for component in preview.targets.keys() {
        let lane = Lane { environment: preview.environment.clone(), component: component.clone() };
        let live = app.driver.store().lane(service, &lane).await?;
        components.push(ComponentJson {
            url: found.as_ref().and_then(|found| found.url_of(service, component)),
            deployment: live.as_ref().map(|live| live.release.clone()),
            images: live.map(|live| live.images).unwrap_or_default(),
            component: component.clone(),
        });
    }
    Ok(PreviewJson {
        number,
        namespace: preview.namespace.clone(),
        state: preview.state.name(),
        reason: preview.state.why().map(str::to_owned),
        problem: preview.problem,
        until: preview.until,
        environment: preview.environment,
        components,
    })
}
