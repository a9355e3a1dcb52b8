//! The HTTP API over the library: an axum router that judges nothing by itself.

mod access;
mod answer;
mod builds;
mod deliveries;
mod deployments;
mod guard;
mod log;
mod previews;
mod provenance;
mod reports;
mod senders;
mod serve;
mod services;
mod trigger;
mod v2;
mod webhook;

pub use access::{Authenticate, LocalOwner};
pub use guard::HostPolicy;
pub use senders::{AnySender, senders};
pub use serve::{RequestLimits, serve};
pub use services::is_connected;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::routing::{delete, get, post, put};
use kiops_core::engine::{Driver, Ingest, TriggerApi};
use kiops_core::service::Service;
use kiops_core::service::readiness::ReadinessFacts;
use kiops_registry::layout::ImageLayout;

/// What the host knows of a service's surroundings.
#[async_trait]
pub trait Surroundings: Send + Sync + std::fmt::Debug {
    /// The facts that readiness is judged by.
    async fn facts(&self, service: &Service) -> kiops_core::Result<ReadinessFacts>;
}

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct App {
    /// Performs and answers.
    pub driver: Driver,
    /// Takes deliveries in.
    pub ingest: Arc<Ingest>,
    /// Takes calls of the API trigger in.
    pub trigger: Arc<TriggerApi>,
    /// Says who asks.
    pub authenticate: Arc<dyn Authenticate>,
    /// Which hosts and origins are answered.
    pub hosts: HostPolicy,
    /// What requests may cost.
    pub limits: RequestLimits,
    /// What the host knows of a service's surroundings (K07).
    pub surroundings: Arc<dyn Surroundings>,
    /// The images that are served read-only under `/v2/`; `None`: nothing is.
    pub layout: Option<Arc<ImageLayout>>,
}

/// Every route of the API, of image pulls and of health checks.
pub fn router(app: App) -> Router {
    let api = Router::new()
        .route("/services", get(services::list))
        .route("/services/{name}", get(services::one))
        .route("/services/{name}/settings", get(services::settings).put(services::put_settings))
        .route("/services/{name}/builds", post(builds::start))
        .route("/services/{name}/trigger", get(trigger::show))
        .route("/services/{name}/trigger/key", put(trigger::put_key).delete(trigger::delete_key))
        .route("/services/{name}/deployments", get(deployments::list).post(deployments::create))
        .route("/services/{name}/rollback", post(deployments::rollback))
        .route("/services/{name}/previews", get(previews::list))
        .route("/services/{name}/previews/{number}", delete(previews::remove))
        .route("/deployments/{id}/approve", post(deployments::approve))
        .route("/deployments/{id}/reject", post(deployments::reject))
        .route("/builds", get(builds::list))
        .route("/builds/{id}", get(builds::one))
        .route("/builds/{id}/log", get(log::log))
        .route("/builds/{id}/provenance", get(provenance::provenance))
        .route("/builds/{id}/checks/{check}/report", get(reports::report))
        .route("/builds/{id}/cancel", post(builds::cancel))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::one))
        .route("/deliveries/{id}/explain", post(deliveries::explain))
        .route("/deliveries/{id}/approve", post(deliveries::approve));
    // A Host or Origin from elsewhere is a browser being misled; deliveries prove themselves instead.
    let guarded = Router::new()
        .nest("/api/v1", api)
        .route("/v2/", get(v2::pull))
        .route("/v2/{*path}", get(v2::pull).head(v2::pull).fallback(v2::pull))
        .route("/healthz", get(serve::healthz))
        .route("/readyz", get(serve::readyz))
        .fallback(answer::no_such_path)
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::guard));
    Router::new()
        .route("/api/v1/webhook", axum::routing::any(webhook::take))
        .route("/api/v1/webhook/{provider}", axum::routing::any(webhook::take))
        .route("/api/v1/webhook/{provider}/{hook}", axum::routing::any(webhook::take))
        .route("/api/v1/trigger/{service}", axum::routing::any(trigger::call))
        .merge(guarded)
        .method_not_allowed_fallback(answer::no_such_method)
        .with_state(app)
}
