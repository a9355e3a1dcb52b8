//! The reports of a build's checks.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use kiops_core::Error;
use kiops_core::build::{Build, CheckRecord};
use kiops_core::log::LogStore;
use kiops_core::name::{BuildId, CheckName, RunId};
use kiops_core::problem::Problem;

use super::App;
use super::access::Caller;
use super::answer::{PathPair, Refusal, download, not_found, parse};
use super::builds;

/// How many bytes are read at a time.
const PIECE: usize = 256 << 10;

/// The address of a check's report; `None`: it has none.
pub(super) fn address(build: &Build, check: &CheckRecord) -> Option<String> {
    check.findings.as_ref().map(|_| format!("/api/v1/builds/{}/checks/{}/report", build.id, check.spec.name))
}

/// The SARIF report that a check ended with, as it is kept.
pub(super) async fn report(
    State(app): State<App>,
    Caller(_): Caller,
    PathPair(id, check): PathPair,
) -> Result<Response, Refusal> {
    let build = builds::find(&app, &id).await?;
    let name: CheckName = parse("check", &check)?;
    let check = build.check(&name).ok_or_else(|| not_found("check"))?;
    if check.findings.is_none() {
        return Err(none(format!("check `{name}` has no report")));
    }
    let (logs, run) = (Arc::clone(app.driver.logs()), build.check_run(check));
    // The first piece is read here, so that a report that cannot be read is an error and not an empty one.
    let Some(first) = logs.report(&build.id, &run, 0, PIECE).await? else {
        return Err(none(format!("the report of check `{name}` is gone with the build's log")));
    };
    let file = format!("{}-{name}.sarif", build.id);
    download(pieces(logs, build.id, run, first), "application/sarif+json", &file)
}

fn none(detail: String) -> Refusal {
    Problem::new(StatusCode::NOT_FOUND, detail).into()
}

fn pieces(logs: Arc<dyn LogStore>, build: BuildId, run: RunId, first: Bytes) -> Body {
    Body::from_stream(futures_util::stream::try_unfold((Some(first), 0), move |(first, from)| {
        let (logs, build, run) = (Arc::clone(&logs), build.clone(), run.clone());
        async move {
            let piece = match first {
                Some(piece) => piece,
                None => logs.report(&build, &run, from, PIECE).await?.ok_or_else(|| {
                    Error::not_found("read report", "it was removed while it was being read")
                })?,
            };
            let next = from + piece.len() as u64;
            Ok::<_, Error>((!piece.is_empty()).then_some((piece, (None, next))))
        }
    }))
}
