//! Answers: JSON, lists, and errors as problem documents.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use kiops_core::problem::Problem;
use kiops_core::store::{Listed, Page};
use kiops_core::{Error, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest JSON body that is read, in bytes.
const JSON_MAX: usize = 1 << 20;

/// An error as a problem document.
#[derive(Debug)]
pub(super) struct Refusal(Problem);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt) {
            tracing::error!(%error, "request failed");
        }
        Self(Problem::from(&error))
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.response().map(Body::from)
    }
}

pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// `{"items": [...], "total": n}`.
#[derive(Serialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    pub(super) total: u64,
}

impl<T> List<T> {
    pub(super) fn of<S>(listed: Listed<S>, view: impl FnMut(S) -> T) -> Self {
        Self { items: listed.items.into_iter().map(view).collect(), total: listed.total }
    }
}

/// `?service=&limit=20&offset=0`.
#[derive(Deserialize)]
pub(super) struct PageQuery {
    pub(super) service: Option<String>,
    limit: Option<String>,
    offset: Option<String>,
}

impl PageQuery {
    pub(super) fn page(&self) -> Result<Page, Refusal> {
        let number = |name: &str, value: Option<&str>, default: u64| match value {
            None | Some("") => Ok(default),
            Some(text) => text.parse::<u64>().map_err(|_| bad(format!("`{name}` is no whole number"))),
        };
        let limit = number("limit", self.limit.as_deref(), 20)?;
        let offset = number("offset", self.offset.as_deref(), 0)?;
        match u32::try_from(limit) {
            Ok(limit @ 1..=200) if i64::try_from(offset).is_ok() => Ok(Page { limit, offset }),
            _ => Err(bad("`limit` is 1 to 200, `offset` 0 or more".into())),
        }
    }
}

fn bad(detail: String) -> Refusal {
    Problem::new(StatusCode::BAD_REQUEST, detail).into()
}

pub(super) fn not_found(what: &str) -> Refusal {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no such {what}")).into()
}

/// A name or id from the path: one that cannot be parsed does not exist.
pub(super) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| not_found(what))
}

/// A JSON body of at most 1 MiB; an empty one is `{}`. Unlike axum's own, refusals are problem documents.
pub(super) struct Input<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = axum::body::to_bytes(request.into_body(), JSON_MAX).await.map_err(|_| {
            Refusal::from(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {JSON_MAX} bytes"),
            ))
        })?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| bad(format!("the body is not what is expected: {error}")))
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Refusal {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at `{}`", uri.path().escape_debug())).into()
}

pub(super) async fn no_such_method(method: Method) -> Refusal {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("`{method}` is not possible here")).into()
}
