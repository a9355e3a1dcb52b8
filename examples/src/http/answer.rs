//! Answers: JSON, lists, and errors as problem documents.

use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kiops_core::error::without_text;
use kiops_core::problem::Problem;
use kiops_core::store::{Listed, Page};
use kiops_core::{Error, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::App;

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

/// Something to keep as a file: a browser that shows it instead would run what is in it. `file` is of `a-z0-9-.` alone.
pub(super) fn download(body: Body, kind: &'static str, file: &str) -> Result<Response, Refusal> {
    let file = HeaderValue::try_from(format!("attachment; filename=\"{file}\""))
        .map_err(|error| Error::internal("name download", error.to_string()))?;
    let mut response = Response::new(body);
    for (header, value) in [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, file),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ] {
        response.headers_mut().insert(header, value);
    }
    Ok(response)
}

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

// Unlike axum's own, the refusals of these are problem documents.

/// The one name or id in a path. What is no text cannot be one that exists.
pub(super) struct Path(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let name = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        name.map(|name| Self(name.0)).map_err(|_| not_found("name or id"))
    }
}

/// Two names or ids in a path.
pub(super) struct PathPair(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathPair {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let pair = axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await;
        pair.map(|pair| Self(pair.0.0, pair.0.1)).map_err(|_| not_found("name or id"))
    }
}

/// What follows the path's question mark.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|refused| bad(refused.body_text()))
    }
}

/// A JSON body of at most 1 MiB; an empty one is `{}`.
pub(super) struct Input<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let refuse = |status, detail: String| Refusal::from(Problem::new(status, detail));
        let mut encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
        if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let detail = "an encoded body is not taken: send it as it is".to_owned();
            return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let too_large =
            || refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {JSON_MAX} bytes"));
        if request.body().size_hint().lower() > JSON_MAX as u64 {
            return Err(too_large());
        }
        let read = axum::body::to_bytes(request.into_body(), JSON_MAX);
        let bytes = match tokio::time::timeout(app.limits.body, read).await {
            Ok(read) => read.map_err(|error| match too_long(&error) {
                true => too_large(),
                false => bad("the body broke off".into()),
            })?,
            Err(_) => return Err(refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long".into())),
        };
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let expected = |error: &dyn std::fmt::Display| {
            bad(format!("the body is not what is expected: {}", without_text(&error)))
        };
        // A list would be read as the fields in their order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(expected(&"it is no JSON object"));
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        // The path names the field where the error itself does not.
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| expected(&error))?;
        json.end().map_err(|error| expected(&error))?;
        Ok(Self(value))
    }
}

fn too_long(error: &axum::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(super) async fn no_such_path() -> Refusal {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path").into()
}

pub(super) async fn no_such_method(method: Method) -> Refusal {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("`{method}` is not possible here")).into()
}
