//! Redirects, followed by us: a service must not.

use ::http::header::{self, HeaderMap, HeaderName};
use ::http::{Method, Response, StatusCode};
use url::Url;

use super::body::Body;
use super::egress::{Egress, shown};
use crate::error::{Error, ErrorKind, Result};

/// What one request consists of.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// A header whose name has one of these words stays behind when a redirect leads to another host, and so does every value that is
/// marked as sensitive.
const CREDENTIALS: [&str; 9] =
    ["auth", "cookie", "token", "secret", "password", "credential", "key", "session", "signature"];

impl Exchange {
    /// Errors show this: method, and URL without query and user information.
    pub(super) fn operation(&self) -> String {
        format!("{} {}", self.method, shown(&self.url))
    }

    /// The request that a response redirects to, or `None` where it is no redirect. `spare` is the body once more.
    pub(super) fn redirected(
        &self,
        response: &Response<Body>,
        spare: Option<Body>,
        egress: &Egress,
    ) -> Result<Option<Self>> {
        let status = response.status();
        // Browsers go on with GET: a request that was to change something would look as if it had.
        if self.method == Method::POST && matches!(status.as_u16(), 301 | 302) {
            return Ok(None);
        }
        let (301 | 302 | 303 | 307 | 308, Some(location)) =
            (status.as_u16(), response.headers().get(header::LOCATION))
        else {
            return Ok(None);
        };
        let fail = |kind, message: String| Error::new(kind, self.operation(), message);
        let url = location.to_str().ok().and_then(|location| self.url.join(location).ok());
        let Some(mut url) = url else {
            return Err(fail(ErrorKind::Invalid, "it redirects to something that is no URL".into()));
        };
        url.set_fragment(None);
        if self.url.scheme() == "https" && url.scheme() != "https" {
            let message = format!("it redirects to {}, which is not encrypted", shown(&url));
            return Err(fail(ErrorKind::Forbidden, message));
        }
        egress.check_url(&url).map_err(|error| {
            let message = format!("it redirects to where calls may not go: {}", error.message());
            fail(ErrorKind::Forbidden, message)
                .with_remedy("add the target to the egress rules if it is meant")
        })?;

        let mut headers = self.headers.clone();
        headers.remove(header::HOST);
        if !stays_home(&self.url, &url) {
            strip_credentials(&mut headers);
        }
        let to_get = status == StatusCode::SEE_OTHER && self.method != Method::HEAD;
        let (method, body) = if to_get {
            for name in [
                header::CONTENT_TYPE,
                header::CONTENT_LENGTH,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_LOCATION,
                header::CONTENT_RANGE,
                header::TRANSFER_ENCODING,
            ] {
                headers.remove(name);
            }
            (Method::GET, Body::empty())
        } else {
            let Some(body) = spare else {
                let message = "it redirects an upload that can be read only once".to_owned();
                return Err(fail(ErrorKind::Unsupported, message));
            };
            (self.method.clone(), body)
        };
        Ok(Some(Self { method, url, headers, body }))
    }
}

/// Whether credentials may go along: same scheme, host and port, or the same host's own `https`.
fn stays_home(from: &Url, to: &Url) -> bool {
    let upgraded = from.scheme() == "http"
        && to.scheme() == "https"
        && from.port_or_known_default() == Some(80)
        && to.port_or_known_default() == Some(443);
    let same = from.scheme() == to.scheme() && from.port_or_known_default() == to.port_or_known_default();
    from.host() == to.host() && (same || upgraded)
}

fn strip_credentials(headers: &mut HeaderMap) {
    let sensitive: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, value)| {
            value.is_sensitive() || CREDENTIALS.iter().any(|word| name.as_str().contains(word))
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in sensitive {
        headers.remove(name);
    }
}
