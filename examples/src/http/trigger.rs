//! The API trigger: calls of other programs, and the key and the snippets that they need.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use kiops_core::access::Action;
use kiops_core::engine::{TriggerApi, TriggerSnippets, Triggered, check_trigger_key};
use kiops_core::problem::Problem;
use kiops_core::secret::Secret;
use kiops_core::webhook::SecretSet;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::App;
use super::access::{Caller, nonce, require};
use super::answer::{Answer, Input, Path, Refusal};
use super::services::find;

/// How long the key before a new one is taken, unless the caller says.
const OVERLAP_HOURS: u32 = 24;

/// `POST /api/v1/trigger/{service}`: the library judges the call, the route only feeds it.
pub(super) async fn call(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let read = axum::body::to_bytes(body, TriggerApi::body_max());
    let body = match tokio::time::timeout(app.limits.body, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body broke off, or is larger than 16 KiB");
        }
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    let request = http::Request::from_parts(parts, body);
    match app.trigger.take(request, from, app.driver.store().as_ref(), app.driver.now()).await {
        Ok(call) => match app.driver.trigger(call, nonce()).await {
            Ok(Triggered::Builds(builds)) => {
                (StatusCode::ACCEPTED, Json(json!({"outcome": "built", "builds": builds}))).into_response()
            }
            Ok(Triggered::Skipped(reason)) => {
                Json(json!({"outcome": "skipped", "reason": reason, "builds": []})).into_response()
            }
            Err(error) => Refusal::from(error).into_response(),
        },
        Err(refused) => refused.map(Body::from),
    }
}

fn plain(status: StatusCode, detail: &str) -> Response {
    Problem::new(status, detail).response().map(Body::from)
}

#[derive(Serialize)]
pub(super) struct TriggerJson {
    enabled: bool,
    /// Where to call.
    url: String,
    /// How many keys are taken now; the keys themselves are shown once, when they are set.
    keys: usize,
    /// Until when the key before the current one is taken.
    previous_until: Option<Timestamp>,
    /// Ready to paste; the key is named by a variable (R06-R09).
    snippets: TriggerSnippets,
}

/// `GET /api/v1/services/{name}/trigger`.
pub(super) async fn show(
    State(app): State<App>,
    Caller(_): Caller,
    Path(name): Path,
    request: HeaderMap,
) -> Answer<TriggerJson> {
    let service = find(&app, &name).await?.value;
    let keys = app.driver.store().trigger_keys(&service.name).await?;
    let now = app.driver.now();
    let host = request.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let base = app.hosts.public_url.clone().unwrap_or_else(|| format!("http://{host}"));
    let url = format!("{}/api/v1/trigger/{}", base.trim_end_matches('/'), service.name);
    let until = keys.entries().iter().filter_map(|entry| entry.until).filter(|until| *until > now).max();
    Ok(Json(TriggerJson {
        enabled: service.settings.auto_ci.enabled && service.settings.auto_ci.api.enabled,
        keys: keys.valid(now).count(),
        previous_until: until,
        snippets: TriggerSnippets::of(&url),
        url,
    }))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NewKey {
    key: Option<String>,
    overlap_hours: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct KeyJson {
    key: String,
}

/// `PUT /api/v1/services/{name}/trigger/key`: sets a key, or makes one; says it this once.
pub(super) async fn put_key(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path,
    Input(new): Input<NewKey>,
) -> Answer<KeyJson> {
    require(&by, Action::Configure)?;
    let service = find(&app, &name).await?.value;
    let text = match new.key {
        Some(key) => key,
        None => kiops_core::engine::new_trigger_key()?,
    };
    let invalid = || kiops_core::Error::invalid("set trigger key", "the key is empty");
    let key = Secret::new(text.clone()).ok_or_else(invalid)?;
    check_trigger_key(&key)?;
    let keys = app.driver.store().trigger_keys(&service.name).await?;
    let overlap = SignedDuration::from_hours(i64::from(new.overlap_hours.unwrap_or(OVERLAP_HOURS)));
    let keys = keys.rotated(key, app.driver.now(), overlap);
    app.driver.store().put_trigger_keys(&service.name, &keys).await?;
    Ok(Json(KeyJson { key: text }))
}

/// `DELETE /api/v1/services/{name}/trigger/key`: no key is taken any more.
pub(super) async fn delete_key(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path,
) -> Result<StatusCode, Refusal> {
    require(&by, Action::Configure)?;
    let service = find(&app, &name).await?.value;
    app.driver.store().put_trigger_keys(&service.name, &SecretSet::default()).await?;
    Ok(StatusCode::NO_CONTENT)
}
