//! `HttpService` by reqwest.

use std::error::Error as StdError;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response, header};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::HttpService;
use super::body::Body;
use super::egress::{Egress, PRIVATE, shown};
use crate::error::{Error, ErrorKind, Result};

/// An [`HttpService`] over a [`reqwest::Client`]: TLS by rustls with the system's trusted roots.
///
/// Must be called within a tokio runtime. Clones share connections.
#[derive(Clone)]
pub struct ReqwestService {
    client: reqwest::Client,
    read_timeout: Duration,
}

/// How [`ReqwestService::new`] connects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReqwestConfig {
    /// How long a connection may take to come about, TLS included. 10 seconds.
    pub connect_timeout: Duration,
    /// How long a response's body may send nothing. 60 seconds. Until its head is there only the caller's deadline counts: a large upload takes
    /// its time.
    pub read_timeout: Duration,
    /// Certificates to trust besides the system's, as PEM: for hosts with a private authority. None.
    pub extra_roots_pem: Vec<Vec<u8>>,
}

impl Default for ReqwestConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            extra_roots_pem: Vec::new(),
        }
    }
}

impl ReqwestService {
    /// A client of its own. Its resolver gives only addresses that `egress` allows for the name, at the moment of connecting; so
    /// it takes no proxy from the environment, which would resolve names itself. Give it the same rules as the
    /// [`HttpClient`](super::HttpClient) above it. An error of kind `Invalid` where a certificate is none.
    pub fn new(config: &ReqwestConfig, egress: impl Into<Arc<Egress>>) -> Result<Self> {
        let mut roots = Vec::new();
        for pem in &config.extra_roots_pem {
            let found = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
            if found.is_empty() {
                return Err(Error::invalid("set up HTTP client", "an extra root is no PEM certificate"));
            }
            roots.extend(found);
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(config.connect_timeout)
            .dns_resolver(Resolver(egress.into()))
            .tls_certs_merge(roots)
            .build()
            .map_err(|error| Error::invalid("set up HTTP client", cause(&error)).with_source(error))?;
        Ok(Self { client, read_timeout: config.read_timeout })
    }

    /// The host's own client. **Its redirects must be off** (`redirect::Policy::none()`): reqwest would carry a
    /// `PRIVATE-TOKEN` along to another host, and past the egress rules. The addresses of names are then the
    /// client's own matter: give it a resolver or a proxy that keeps private networks out.
    pub const fn from_client(client: reqwest::Client) -> Self {
        Self { client, read_timeout: Duration::MAX }
    }
}

impl fmt::Debug for ReqwestService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestService")
    }
}

#[async_trait]
impl HttpService for ReqwestService {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string());
        let operation = format!("{} {}", parts.method, url.map_or_else(|_| "?".into(), |url| shown(&url)));
        let body = match body.as_bytes() {
            Some(bytes) => reqwest::Body::from(bytes.clone()),
            None => {
                if let Some(length) = body.length() {
                    parts.headers.insert(header::CONTENT_LENGTH, length.into());
                }
                reqwest::Body::wrap_stream(body.into_stream())
            }
        };
        let failed = |error: reqwest::Error| failure(operation.clone(), error);
        let request = reqwest::Request::try_from(Request::from_parts(parts, body)).map_err(failed)?;
        let answer = self.client.execute(request).await.map_err(failed)?;

        let length = answer.content_length();
        let mut response = Response::new(());
        *response.status_mut() = answer.status();
        *response.version_mut() = answer.version();
        *response.headers_mut() = answer.headers().clone();
        let (patience, stream) = (self.read_timeout, Box::pin(answer.bytes_stream()));
        let stream = futures_util::stream::unfold(Some((stream, operation)), move |state| async move {
            let (mut stream, operation) = state?;
            match tokio::time::timeout(patience, stream.next()).await {
                Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some((stream, operation)))),
                Ok(Some(Err(error))) => Some((Err(failure(operation, error)), None)),
                Ok(None) => None,
                Err(_) => {
                    let message = format!("the server sent nothing for {patience:?}");
                    Some((Err(Error::new(ErrorKind::Timeout, operation, message)), None))
                }
            }
        });
        Ok(response.map(|()| Body::once(length, Box::pin(stream))))
    }
}

fn failure(operation: String, error: reqwest::Error) -> Error {
    let error = error.without_url();
    if let Some(refused) = chain(&error).find_map(|error| error.downcast_ref::<Refused>()) {
        return Error::new(ErrorKind::Forbidden, operation, refused.to_string()).with_remedy(PRIVATE);
    }
    let (kind, what) = if error.is_timeout() {
        (ErrorKind::Timeout, "no answer in time")
    } else if error.is_connect() {
        (ErrorKind::Unavailable, "the host cannot be reached")
    } else if error.is_builder() {
        (ErrorKind::Invalid, "the request cannot be sent")
    } else {
        (ErrorKind::Unavailable, "the exchange broke off")
    };
    Error::new(kind, operation, format!("{what}: {}", cause(&error))).with_source(error)
}

/// The innermost cause, which says the most ("Connection refused").
fn cause(error: &reqwest::Error) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |&error| error.source())
}

/// A name whose addresses are all refused.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` resolves to private or special addresses only, and its egress rule allows public ones")]
struct Refused(String);

/// The system's resolver, less the addresses that the rules refuse.
struct Resolver(Arc<Egress>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let lookup = host.clone();
            let found: Vec<SocketAddr> = tokio::task::spawn_blocking(move || {
                (lookup.as_str(), 0).to_socket_addrs().map(Iterator::collect)
            })
            .await??;
            let known = !found.is_empty();
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| egress.allows_address(&host, address.ip())).collect();
            if known && allowed.is_empty() {
                return Err(Refused(host).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
