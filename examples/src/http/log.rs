//! A build's log: as text, or followed as it grows.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use jiff::SignedDuration;
use kiops_core::log::{Cursor, LogLine, LogStore};
use kiops_core::name::BuildId;

use super::App;
use super::access::Caller;
use super::answer::{Path, Refusal};
use super::builds;

/// How many lines are read at a time.
const PIECE: usize = 500;

/// How long a silent stream waits before it shows that it lives.
const KEEP_ALIVE: SignedDuration = SignedDuration::from_secs(15);

/// Text, `[stage] line` each; or with `Accept: text/event-stream` the same lines as events, whose ids resume by `Last-Event-ID`
/// (HTML's server-sent events), until an event `end`.
pub(super) async fn log(
    State(app): State<App>,
    Caller(_): Caller,
    Path(id): Path,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let build = builds::find(&app, &id).await?;
    let logs = Arc::clone(app.driver.logs());
    let wants_events = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    let (body, kind) = if wants_events {
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
        (events(logs, build.id, Cursor(last)), "text/event-stream")
    } else {
        // The first piece is read here, so that a log that cannot be read is an error and not an empty text.
        logs.read(&build.id, Cursor(0), 1).await?;
        (text(logs, build.id), "text/plain; charset=utf-8")
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn text(logs: Arc<dyn LogStore>, build: BuildId) -> Body {
    Body::from_stream(futures_util::stream::try_unfold(Cursor(0), move |cursor| {
        let (logs, build) = (Arc::clone(&logs), build.clone());
        async move {
            let page = logs.read(&build, cursor, PIECE).await?;
            let Some(last) = page.lines.last() else { return Ok::<_, kiops_core::Error>(None) };
            let next = Cursor(last.n);
            let piece: String = page.lines.iter().map(|line| format!("{}\n", shown(line))).collect();
            Ok(Some((Bytes::from(piece), next)))
        }
    }))
}

fn events(logs: Arc<dyn LogStore>, build: BuildId, from: Cursor) -> Body {
    Body::from_stream(futures_util::stream::unfold(Some(from), move |cursor| {
        let (logs, build) = (Arc::clone(&logs), build.clone());
        async move {
            let cursor = cursor?;
            let page = match logs.read(&build, cursor, PIECE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, "a log cannot be read");
                    return Some((
                        Ok::<_, Infallible>(Bytes::from_static(
                            b"event: error\ndata: the log cannot be read\n\n",
                        )),
                        None,
                    ));
                }
            };
            let next = page.lines.last().map_or(cursor, |line| Cursor(line.n));
            let mut piece: String =
                page.lines.iter().map(|line| format!("id: {}\ndata: {}\n\n", line.n, shown(line))).collect();
            if page.ended {
                piece.push_str("event: end\ndata:\n\n");
                return Some((Ok(Bytes::from(piece)), None));
            }
            if piece.is_empty() {
                if let Err(error) = logs.changed(&build, cursor, KEEP_ALIVE).await {
                    tracing::error!(%error, "a log cannot be watched");
                    return None;
                }
                piece.push_str(": still here\n\n");
            }
            Some((Ok(Bytes::from(piece)), Some(next)))
        }
    }))
}

fn shown(line: &LogLine) -> String {
    format!("[{}] {}", line.stage, line.text)
}
