//! The pull side of the OCI distribution API, without any HTTP framework.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use kiops_core::Result;
use kiops_core::name::{Digest, Tag};
use kiops_core::stream::ByteStream;
use percent_encoding::percent_decode_str;

use super::read::{BlobStream, images_at};
use super::{ImageLayout, Inner, TAG_PAGE};
use crate::disk::blocking;
use crate::manifest::OCI_INDEX;

/// A response body: nothing, bytes, or the stream of a blob.
pub enum ServeBody {
    /// Nothing, also for HEAD, whatever `Content-Length` says.
    Empty,
    /// All of it.
    Bytes(Bytes),
    /// A blob of this many bytes. It ends with an error if the file is damaged: the connection has to be cut then.
    Stream {
        /// The content.
        content: ByteStream,
        /// How many bytes it has.
        size: u64,
    },
}

impl std::fmt::Debug for ServeBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Stream { size, .. } => write!(f, "Stream({size} bytes)"),
        }
    }
}

impl ImageLayout {
    /// Answers a request below `/v2/`: the ping, GET and HEAD of manifests and blobs, lists of tags and of what is attached. Anything
    /// else is refused, what would change something with 405. Errors have the specification's JSON form.
    ///
    /// The name in the path is an image's name without its host, as registries have it; a `ns` parameter, which containerd
    /// sends to mirrors, names the host. A blob is only given out where a manifest of that image names it. One byte range of a
    /// blob may be asked for.
    pub async fn serve(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<ServeBody> {
        let head = method == Method::HEAD;
        let answer = if head || method == Method::GET {
            match self.answer(uri, headers, head).await {
                Ok(Ok(response)) => response,
                Ok(Err(refusal)) => refusal.into_response(),
                Err(error) => {
                    tracing::error!(%uri, %error, "image layout cannot be served");
                    Refusal::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "UNKNOWN",
                        "the registry has a fault, see its log",
                    )
                    .into_response()
                }
            }
        } else {
            let mut response = Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "this registry is read-only: images come from builds",
            )
            .into_response();
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        };
        finish(answer, head)
    }

    async fn answer(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        head: bool,
    ) -> Result<Result<Response<ServeBody>, Refusal>> {
        let Some(route) = Route::parse(uri) else {
            return Ok(Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "UNSUPPORTED",
                "there is nothing at this path",
            )));
        };
        let inner = Arc::clone(&self.inner);
        match route {
            Route::Ping => Ok(Ok(json("{}".into()))),
            Route::Manifest { name, reference } => {
                blocking(move || manifest(&inner, &name, &reference)).await
            }
            Route::Tags { name, query } => blocking(move || tags(&inner, &name, &query)).await,
            Route::Referrers { name, digest, artifact_type } => {
                blocking(move || referrers(&inner, &name, &digest, artifact_type.as_deref())).await
            }
            Route::Blob { name, digest } => {
                let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
                blocking(move || blob(inner, &name, digest, range.as_deref().filter(|_| !head))).await
            }
        }
    }
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Ping,
    Manifest { name: Name, reference: String },
    Blob { name: Name, digest: String },
    Tags { name: Name, query: Query },
    Referrers { name: Name, digest: String, artifact_type: Option<String> },
}

/// An image's name after its host, and the host if the client named one.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    path: String,
    host: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    n: Option<String>,
    last: Option<String>,
}

impl Route {
    fn parse(uri: &Uri) -> Option<Self> {
        let decode =
            |text: &str| percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        let rest = uri.path().strip_prefix("/v2")?;
        if rest.is_empty() || rest == "/" {
            return Some(Self::Ping);
        }
        let (mut query, mut host, mut artifact_type) = (Query::default(), None, None);
        for pair in uri.query().unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match key {
                "n" => &mut query.n,
                "last" => &mut query.last,
                "ns" => &mut host,
                "artifactType" => &mut artifact_type,
                _ => continue,
            };
            *slot = Some(decode(value)?);
        }
        let rest = rest.strip_prefix('/')?;
        let name = |path: &str| Name { path: path.to_owned(), host };
        if let Some(path) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags { name: name(path), query });
        }
        let (before, last) = rest.rsplit_once('/')?;
        let last = decode(last)?;
        if let Some(path) = before.strip_suffix("/manifests") {
            return Some(Self::Manifest { name: name(path), reference: last });
        }
        if let Some(path) = before.strip_suffix("/referrers") {
            return Some(Self::Referrers { name: name(path), digest: last, artifact_type });
        }
        let path = before.strip_suffix("/blobs")?;
        Some(Self::Blob { name: name(path), digest: last })
    }
}

impl Name {
    /// Whether the layout has such an image.
    fn is_known(&self, inner: &Inner) -> Result<bool> {
        let index = inner.index.load()?;
        Ok(images_at(&index, &self.path, self.host.as_deref()).next().is_some())
    }
}

fn manifest(inner: &Inner, name: &Name, reference: &str) -> Result<Result<Response<ServeBody>, Refusal>> {
    if !name.is_known(inner)? {
        return Ok(Err(Refusal::unknown_name()));
    }
    let Some(found) = inner.find(&name.path, reference, name.host.as_deref())? else {
        return Ok(Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            format!("`{}` has no such manifest", name.path),
        )));
    };
    let mut response = Response::new(ServeBody::Bytes(found.manifest.bytes));
    set(&mut response, CONTENT_TYPE, &found.manifest.media_type);
    set_digest(&mut response, &found.digest);
    Ok(Ok(response))
}

fn tags(inner: &Inner, name: &Name, query: &Query) -> Result<Result<Response<ServeBody>, Refusal>> {
    if !name.is_known(inner)? {
        return Ok(Err(Refusal::unknown_name()));
    }
    let limit = match query.n.as_deref().map(str::parse::<usize>) {
        None => TAG_PAGE,
        Some(Ok(n)) => n.min(TAG_PAGE),
        Some(Err(_)) => {
            return Ok(Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "PAGINATION_NUMBER_INVALID",
                "`n` is not a number",
            )));
        }
    };
    let index = inner.index.load()?;
    let all: BTreeSet<&Tag> = images_at(&index, &name.path, name.host.as_deref())
        .flat_map(|(_, image)| image.tags.keys())
        .collect();
    let after = query.last.as_deref().unwrap_or_default();
    let mut left = all.into_iter().filter(|tag| tag.as_str() > after);
    let page: Vec<&str> = left.by_ref().take(limit).map(Tag::as_str).collect();
    let mut response = json(serde_json::json!({ "name": name.path, "tags": page }).to_string());
    if let (Some(last), Some(_)) = (page.last(), left.next()) {
        set(
            &mut response,
            LINK,
            &format!("</v2/{}/tags/list?n={limit}&last={last}>; rel=\"next\"", name.path),
        );
    }
    Ok(Ok(response))
}

/// What is attached to a manifest, as an index; an empty one also where there is no such image, as the specification has it.
fn referrers(
    inner: &Inner,
    name: &Name,
    digest: &str,
    artifact_type: Option<&str>,
) -> Result<Result<Response<ServeBody>, Refusal>> {
    let Ok(subject) = Digest::parse(digest) else {
        return Ok(Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "this is no sha256 digest")));
    };
    let index = inner.index.load()?;
    let mut attached = BTreeMap::new();
    for (_, image) in images_at(&index, &name.path, name.host.as_deref()) {
        let found = inner.attached(image, &subject, artifact_type)?;
        attached.extend(found.into_iter().map(|one| (one.digest.clone(), one)));
    }
    let attached: Vec<_> = attached.into_values().collect();
    let list = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": attached });
    let mut response = json(list.to_string());
    set(&mut response, CONTENT_TYPE, OCI_INDEX);
    if artifact_type.is_some() {
        set(&mut response, HeaderName::from_static("oci-filters-applied"), "artifactType");
    }
    Ok(Ok(response))
}

fn blob(
    inner: Arc<Inner>,
    name: &Name,
    digest: String,
    range: Option<&str>,
) -> Result<Result<Response<ServeBody>, Refusal>> {
    let Ok(digest) = Digest::parse(digest) else {
        return Ok(Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "this is no sha256 digest")));
    };
    if !name.is_known(&inner)? {
        return Ok(Err(Refusal::unknown_name()));
    }
    let Some(size) = inner.find_blob(&name.path, &digest, name.host.as_deref())? else {
        return Ok(Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "BLOB_UNKNOWN",
            format!("`{}` has no such blob", name.path),
        )));
    };
    let (status, start, length) = match range.and_then(|range| parse_range(range, size)) {
        None => (StatusCode::OK, 0, size),
        Some(Some((start, length))) => (StatusCode::PARTIAL_CONTENT, start, length),
        Some(None) => {
            let mut response = Response::new(ServeBody::Empty);
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(Ok(response));
        }
    };
    let content = if status == StatusCode::OK {
        BlobStream::open(inner, digest.clone())?
    } else {
        BlobStream::part(inner, digest.clone(), start, length)?
    };
    let mut response = Response::new(ServeBody::Stream { content: Box::pin(content), size: length });
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, CONTENT_RANGE, &format!("bytes {start}-{}/{size}", start + length - 1));
    }
    set(&mut response, CONTENT_TYPE, "application/octet-stream");
    set(&mut response, ACCEPT_RANGES, "bytes");
    set_digest(&mut response, &digest);
    Ok(Ok(response))
}

/// Start and length of the one range that is asked for. `None`: no range that we read, so all of it is given, as RFC 9110
/// allows; `Some(None)`: a range outside the blob.
fn parse_range(range: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let within =
        |start: u64, end: u64| (start < size && start <= end).then(|| (start, end.min(size - 1) - start + 1));
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => {
            let length = last.parse::<u64>().ok()?.min(size);
            Some((length > 0).then(|| (size - length, length)))
        }
        (false, true) => Some(within(first.parse().ok()?, u64::MAX)),
        (false, false) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if last < first { None } else { Some(within(first, last)) }
        }
    }
}

/// A refusal in the specification's words.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn unknown_name() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "there is no image of this name")
    }

    fn into_response(self) -> Response<ServeBody> {
        let body = serde_json::json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let mut response = json(body.to_string());
        *response.status_mut() = self.status;
        response
    }
}

fn json(text: String) -> Response<ServeBody> {
    let mut response = Response::new(ServeBody::Bytes(text.into()));
    set(&mut response, CONTENT_TYPE, "application/json");
    response
}

/// Sets a header; a value that no header can hold is left out.
fn set(response: &mut Response<ServeBody>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn set_digest(response: &mut Response<ServeBody>, digest: &Digest) {
    set(response, HeaderName::from_static("docker-content-digest"), digest.as_str());
    set(response, http::header::ETAG, &format!("\"{digest}\""));
}

/// Length and version headers; HEAD keeps the headers and loses the body.
fn finish(mut response: Response<ServeBody>, head: bool) -> Response<ServeBody> {
    let length = match response.body() {
        ServeBody::Empty => 0,
        ServeBody::Bytes(bytes) => bytes.len() as u64,
        ServeBody::Stream { size, .. } => *size,
    };
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    let version = HeaderName::from_static("docker-distribution-api-version");
    response.headers_mut().insert(version, HeaderValue::from_static("registry/2.0"));
    if head {
        *response.body_mut() = ServeBody::Empty;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn routes_are_read_from_their_ends() {
        let route = |uri: &str| Route::parse(&uri.parse().unwrap());
        let name = |path: &str| Name { path: path.into(), host: None };
        assert_eq!(route("/v2/"), Some(Route::Ping));
        assert_eq!(route("/v2"), Some(Route::Ping));
        assert_eq!(
            route("/v2/manifests/blobs/manifests/tags"),
            Some(Route::Manifest { name: name("manifests/blobs"), reference: "tags".into() })
        );
        assert_eq!(
            route("/v2/a/blobs/sha256%3Aab?ns=h.io"),
            Some(Route::Blob {
                name: Name { path: "a".into(), host: Some("h.io".into()) },
                digest: "sha256:ab".into()
            })
        );
        assert_eq!(
            route("/v2/a/tags/list?n=3&last=b"),
            Some(Route::Tags {
                name: name("a"),
                query: Query { n: Some("3".into()), last: Some("b".into()) }
            })
        );
        assert_eq!(
            route("/v2/a/referrers/sha256:x?artifactType=a%2Fb%2Bjson"),
            Some(Route::Referrers {
                name: name("a"),
                digest: "sha256:x".into(),
                artifact_type: Some("a/b+json".into())
            })
        );
        for other in ["/", "/v2x", "/v2/_catalog", "/v2/a", "/v2/a/uploads/sha256:x"] {
            assert_eq!(route(other), None, "{other}");
        }
    }

    #[test]
    fn ranges_follow_rfc_9110() {
        for (range, expected) in [
            ("bytes=0-0", Some(Some((0, 1)))),
            ("bytes=2-", Some(Some((2, 8)))),
            ("bytes=2-99", Some(Some((2, 8)))),
            ("bytes=-3", Some(Some((7, 3)))),
            ("bytes=-99", Some(Some((0, 10)))),
            ("bytes=10-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=5-2", None),
            ("bytes=0-1,4-5", None),
            ("bytes=-", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(parse_range(range, 10), expected, "{range}");
        }
    }

    proptest! {
        #[test]
        fn no_path_or_range_panics(path in "/v2/[a-z/%0-9:.]{0,60}", range in ".{0,30}", size in any::<u64>()) {
            if let Ok(uri) = path.parse() {
                let _ = Route::parse(&uri);
            }
            if let Some(Some((start, length))) = parse_range(&range, size) {
                prop_assert!(length > 0 && start + length <= size);
            }
            let _ = parse_range(&format!("bytes={size}-{}", u64::MAX), size);
        }
    }
}
