//! Services and their settings.

use axum::Json;
use axum::extract::State;
use kiops_core::access::Action;
use kiops_core::build::Trigger;
use kiops_core::name::ServiceName;
use kiops_core::policy::SeenBases;
use kiops_core::service::readiness::{Readiness, readiness};
use kiops_core::service::{Service, Settings, Source};
use kiops_core::store::{Page, Store, Stored};
use serde::Serialize;

use super::App;
use super::access::{Caller, require};
use super::answer::{Answer, Input, List, PageQuery, Path, Query, Refusal, not_found, parse};
use super::builds::{BuildJson, Queue};

#[derive(Serialize)]
pub(super) struct ServiceJson {
    name: ServiceName,
    source: Source,
    created_at: String,
    /// T14's word: that of the newest build; before the first one `Connected` where the webhook works, else none.
    label: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_build: Option<BuildJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Settings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    readiness: Option<Readiness>,
    /// What its base images were when they were looked at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    base_images: Option<SeenBases>,
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(_): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<List<ServiceJson>> {
    let listed = app.driver.store().services(query.page()?).await?;
    let mut items = Vec::with_capacity(listed.items.len());
    for stored in listed.items {
        items.push(view(&app, stored, false).await?);
    }
    Ok(Json(List { items, total: listed.total }))
}

pub(super) async fn one(State(app): State<App>, Caller(_): Caller, Path(name): Path) -> Answer<ServiceJson> {
    let stored = find(&app, &name).await?;
    Ok(Json(view(&app, stored, true).await?))
}

pub(super) async fn settings(
    State(app): State<App>,
    Caller(_): Caller,
    Path(name): Path,
) -> Answer<Settings> {
    Ok(Json(find(&app, &name).await?.value.settings))
}

/// Replaces the settings as a whole; what is left out has its default.
pub(super) async fn put_settings(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path,
    Input(settings): Input<Settings>,
) -> Answer<Settings> {
    require(&by, Action::Configure)?;
    let stored = find(&app, &name).await?;
    settings.validate()?;
    let service = Service { settings, ..stored.value };
    app.driver.store().put_service(&service, Some(stored.version), app.driver.now()).await?;
    Ok(Json(service.settings))
}

pub(super) async fn find(app: &App, name: &str) -> Result<Stored<Service>, Refusal> {
    let name: ServiceName = parse("service", name)?;
    app.driver.store().service(&name).await?.ok_or_else(|| not_found("service"))
}

/// How many of a service's newest deliveries are looked at to see whether its webhook works.
const LOOK_BACK: u32 = 50;

/// Whether a service's webhook works: one of its newest deliveries came in by it, and not by listing heads.
pub async fn is_connected(store: &dyn Store, service: &ServiceName) -> kiops_core::Result<bool> {
    let newest = store.deliveries(Some(service), Page::first(LOOK_BACK)).await?;
    Ok(newest.items.iter().any(|delivery| delivery.trigger == Trigger::Webhook))
}

async fn view(app: &App, stored: Stored<Service>, whole: bool) -> Result<ServiceJson, Refusal> {
    let service = stored.value;
    let newest =
        app.driver.store().builds(Some(&service.name), Page::first(1)).await?.items.into_iter().next();
    let last_build = match newest {
        Some(build) => Some(BuildJson::of(app, &Queue::load(app).await?, build).await?),
        None => None,
    };
    let label = match &last_build {
        Some(build) => Some(build.label()),
        None => is_connected(app.driver.store().as_ref(), &service.name).await?.then_some("Connected"),
    };
    let readiness = match whole {
        true => Some(readiness(&service, &app.surroundings.facts(&service).await?)),
        false => None,
    };
    let base_images = match whole {
        true => app.driver.seen_bases(&service.name).await?,
        false => None,
    };
    Ok(ServiceJson {
        label,
        last_build: last_build.filter(|_| whole),
        name: service.name,
        source: service.source,
        created_at: stored.created_at.to_string(),
        settings: whole.then_some(service.settings),
        readiness,
        base_images,
    })
}
