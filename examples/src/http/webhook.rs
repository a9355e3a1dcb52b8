//! Deliveries: the library takes them in, the route only feeds it.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::StreamExt as _;
use kiops_core::engine::Refused;
use kiops_core::problem::Problem;

use super::App;

pub(super) async fn take(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut intake = match app.ingest.begin(&parts.method, parts.uri.path(), parts.headers) {
        Ok(intake) => intake,
        Err(refused) => return refused.map(Body::from),
    };
    let mut stream = body.into_data_stream();
    let read = async {
        while let Some(chunk) = stream.next().await {
            let broken = |_| Box::new(Problem::new(StatusCode::BAD_REQUEST, "the body broke off").response());
            intake.push(&chunk.map_err(broken)?)?;
        }
        Ok::<(), Refused>(())
    };
    match tokio::time::timeout(app.limits.body, read).await {
        Ok(Ok(())) => {}
        Ok(Err(refused)) => return refused.map(Body::from),
        Err(_) => {
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long")
                .response()
                .map(Body::from);
        }
    }
    let taken = intake.finish(app.driver.store().as_ref(), app.driver.now()).await;
    if !taken.accepted.is_empty() {
        app.driver.wake();
    }
    taken.response.map(Body::from)
}
