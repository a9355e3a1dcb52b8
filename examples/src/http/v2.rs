//! Image pulls.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use kiops_core::problem::Problem;
use kiops_registry::layout::ServeBody;

use super::App;
use super::access::Caller;

/// The pull side of the OCI distribution API, read-only.
pub(super) async fn pull(State(app): State<App>, Caller(_): Caller, request: Request) -> Response {
    let Some(layout) = &app.layout else {
        return Problem::new(StatusCode::NOT_FOUND, "no images are served here").response().map(Body::from);
    };
    layout.serve(request.method(), request.uri(), request.headers()).await.map(|body| match body {
        ServeBody::Empty => Body::empty(),
        ServeBody::Bytes(bytes) => Body::from(bytes),
        ServeBody::Stream { content, .. } => Body::from_stream(content),
    })
}
