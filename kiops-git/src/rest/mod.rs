//! What all hosts with a REST interface share: addresses, tokens, pages, answers, archives.
//!
//! A provider names the path of a call segment by segment; no value can become another path. Everything goes through
//! [`HttpClient`], which keeps deadlines, retries, rate limits and egress rules.

mod answer;
pub(crate) mod archive;
mod call;
mod config;
mod link;
mod multipart;
pub(crate) mod objects;
mod pages;
mod text;
mod tree;

pub(crate) use answer::Answer;
pub(crate) use call::Call;
pub use config::HostConfig;
pub(crate) use link::next_parameter;
pub(crate) use multipart::Multipart;
pub(crate) use pages::Pages;
pub(crate) use text::{labelled, marked, shortened, with_label, with_marker, without_user_info};
pub(crate) use tree::{Entry, differences, limited};

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Method};
use kiops_core::event::Repository;
use kiops_core::http::{HttpClient, HttpService, Limits, Timer};
use kiops_core::provider::{Token, TokenSource};
use kiops_core::{Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

/// How a host's interface is spoken.
pub(crate) struct Dialect {
    /// Its name for people: `GitLab`.
    pub host: &'static str,
    /// What its answers are asked for as.
    pub accept: &'static str,
    /// Further headers of every call.
    pub headers: &'static [(&'static str, &'static str)],
    /// The value of `Authorization` for a token.
    pub authorization: fn(&str) -> Zeroizing<String>,
    /// What it says about an error, out of the body.
    pub said: fn(&[u8]) -> Option<String>,
    /// What a person can do about an answer that is an error, where more is known than its status.
    pub remedy: fn(&Answer) -> Option<String>,
}

/// A host's interface.
pub(crate) struct Rest {
    client: HttpClient,
    /// Where it begins, with a slash at the end.
    base: String,
    tokens: Arc<dyn TokenSource>,
    dialect: &'static Dialect,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Rest {
    /// The interface at `base`, which the configuration's egress rules allow.
    pub(crate) fn new(
        dialect: &'static Dialect,
        base: String,
        config: &HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        let client = HttpClient::new(service, config.egress()?, timer).with_limits(config.limits());
        Ok(Self { client, base, tokens, dialect })
    }

    pub(crate) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// The token that calls about this repository are sent with.
    pub(crate) async fn token(&self, repository: Option<&Repository>) -> Result<Option<Token>> {
        self.tokens.token(repository).await
    }

    pub(crate) fn get(&self, operation: &'static str, path: &[&str]) -> Result<Call<'_>> {
        self.call(operation, Method::GET, path)
    }

    pub(crate) fn call(&self, operation: &'static str, method: Method, path: &[&str]) -> Result<Call<'_>> {
        self.below(operation, method, &self.base, path)
    }

    /// A call to another place than the interface. The egress rules must allow it.
    pub(crate) fn below(
        &self,
        operation: &'static str,
        method: Method,
        base: &str,
        path: &[&str],
    ) -> Result<Call<'_>> {
        Ok(Call::new(self, operation, method, format!("{base}{}", joined(operation, path)?)))
    }

    /// The same client with the limits of an archive: `bytes` at most, and as long as it takes to read them.
    fn for_archives(&self, bytes: u64, deadline: std::time::Duration) -> HttpClient {
        let mut limits: Limits = *self.client.limits();
        limits.body = bytes;
        limits.deadline = deadline;
        self.client.with_limits(limits)
    }

    fn authorization(&self, token: &Token) -> Result<HeaderValue> {
        let refuse = || {
            Error::invalid("send token", "the token has characters that no header can carry")
                .with_remedy("paste the token again, without line breaks")
        };
        let text = token.secret.expose_str().ok_or_else(refuse)?;
        let value = (self.dialect.authorization)(text);
        let mut value = HeaderValue::from_str(&value).map_err(|_| refuse())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// What stays as it is in a segment of a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path of segments, each encoded whole, its slashes too.
fn joined(operation: &'static str, path: &[&str]) -> Result<String> {
    let mut joined = String::new();
    for (at, segment) in path.iter().enumerate() {
        // Servers and libraries take these for "here" and "up", encoded or not.
        if matches!(*segment, "" | "." | "..") {
            let message = format!("`{segment}` is no name that an address can hold");
            return Err(Error::not_found(operation, message));
        }
        if at > 0 {
            joined.push('/');
        }
        joined.extend(utf8_percent_encode(segment, SEGMENT));
    }
    Ok(joined)
}

/// Where to clone the repository at `path` from a host that people open at `web`.
pub(crate) fn clone_url(operation: &'static str, web: &str, path: &str) -> Result<String> {
    let segments: Vec<&str> = path.split('/').collect();
    Ok(format!("{web}{}.git", joined(operation, &segments)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_stays_within_its_segment() {
        assert_eq!(joined("test", &["projects", "a/b c?d#e%2F"]).unwrap(), "projects/a%2Fb%20c%3Fd%23e%252F");
        for bad in ["", ".", ".."] {
            joined("test", &["projects", bad]).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn no_segment_becomes_another_path(segment in "\\PC{1,40}") {
            prop_assume!(!matches!(segment.as_str(), "." | ".."));
            let path = joined("test", &["a", &segment, "b"]).unwrap();
            let url = url::Url::parse(&format!("https://h/{path}")).unwrap();
            let parts: Vec<_> = url.path_segments().unwrap().collect();
            prop_assert_eq!(parts.len(), 3);
            prop_assert_eq!(percent_encoding::percent_decode_str(parts[1]).decode_utf8().unwrap(), segment);
            prop_assert!(url.query().is_none() && url.fragment().is_none());
        }
    }
}
