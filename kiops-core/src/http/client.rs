//! The rules above a service.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{HeaderValue, Method, Request, Response, Uri, header};
use bytes::Bytes;
use futures_core::Stream;
use jiff::Timestamp;

use super::HttpService;
use super::body::Body;
use super::egress::Egress;
use super::redirect::Exchange;
use super::status::{is_passing, wait_hint};
use super::timer::{Sleeping, Timer};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::stream::ByteStream;

/// Calls a service by the rules that all our calls keep. Cheap to clone; clones share the service.
///
/// - **Egress**: only where [`Egress`] allows, redirects included.
/// - **Redirects**: followed, at most [`Limits::redirects`]. `Authorization`, `Cookie`, `PRIVATE-TOKEN` and every other
///   header with such a name or marked sensitive ([`HeaderValue::set_sensitive`]), stay behind when host, port or scheme changes; from https
///   to http nothing follows. 303 goes on as GET; 301 and 302 after POST are returned as they are; 307 and 308, and the others of
///   another method, send the body again.
/// - **Tries**: a request that failed in passing (not reached, broken off, timed out, 408, 425, 429, 500, 502, 503, 504, a 403 that is a rate
///   limit) is sent again, at most [`Limits::tries`] times in all, if its method is idempotent or it is marked
///   [`Idempotent`], and if its body can be read again. Waits are the server's own (`Retry-After`, `RateLimit-*`) or
///   grow from [`Limits::backoff`]. Where a wait would be longer than [`Limits::longest_wait`] or than the deadline allows,
///   the last result is returned instead.
/// - **Deadline**: [`Limits::deadline`] covers everything up to the last byte of the body.
/// - **Size**: a response body over [`Limits::body`] is an error of kind `TooLarge`.
///
/// Any status is a response, not an error; [`super::status_error`] makes an error of one. Errors name method and URL without
/// query and user information.
#[derive(Debug, Clone)]
pub struct HttpClient {
    service: Arc<dyn HttpService>,
    egress: Arc<Egress>,
    timer: Arc<dyn Timer>,
    limits: Limits,
}

/// Bounds of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// From the call to the last byte of the response, tries and waits included. 60 seconds.
    pub deadline: Duration,
    /// The largest response body in bytes. 8 MiB.
    pub body: u64,
    /// How often a request is sent at most. 3; 0 counts as 1.
    pub tries: u32,
    /// The wait before the second try; doubled for each further one, shortened by up to half at random. 250 milliseconds.
    pub backoff: Duration,
    /// The longest wait between two tries. 20 seconds.
    pub longest_wait: Duration,
    /// How many redirects are followed one after the other. 5; with 0 a redirect is returned as it is.
    pub redirects: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            body: 8 * 1024 * 1024,
            tries: 3,
            backoff: Duration::from_millis(250),
            longest_wait: Duration::from_secs(20),
            redirects: 5,
        }
    }
}

/// Put into a request's extensions: sending it twice does no more than sending it once, whatever its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotent;

/// Sent where a request names no other; some hosts refuse calls without.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("kiops/", env!("CARGO_PKG_VERSION")));

impl HttpClient {
    /// A client with default limits.
    pub fn new(service: Arc<dyn HttpService>, egress: impl Into<Arc<Egress>>, timer: Arc<dyn Timer>) -> Self {
        Self { service, egress: egress.into(), timer, limits: Limits::default() }
    }

    /// The same client with other limits: a longer deadline for an archive, a larger body for a blob.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// The limits of its calls.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The time and the sleep that it goes by.
    pub const fn timer(&self) -> &Arc<dyn Timer> {
        &self.timer
    }

    /// The time that it judges by.
    pub fn now(&self) -> Timestamp {
        self.timer.now()
    }

    /// Calls, and returns the response with its body still to be read. What breaks within the body is not tried again.
    pub async fn call(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (response, guard) = self.tries(request, false).await?;
        Ok(response.map(|body| {
            let length = body.length();
            Body::once(length, Box::pin(Guarded { stream: Some(body.into_stream()), guard }))
        }))
    }

    /// Calls, and reads the whole body; a body that breaks off counts as a failed try.
    pub async fn fetch(&self, request: Request<Body>) -> Result<Response<Bytes>> {
        let (response, _) = self.tries(request, true).await?;
        let (parts, body) = response.into_parts();
        let body = match body.as_bytes() {
            Some(bytes) => bytes.clone(),
            None => body.collect(self.cap()).await?,
        };
        Ok(Response::from_parts(parts, body))
    }

    fn cap(&self) -> usize {
        usize::try_from(self.limits.body).unwrap_or(usize::MAX)
    }

    async fn tries(&self, request: Request<Body>, whole: bool) -> Result<(Response<Body>, Guard)> {
        let (parts, body) = request.into_parts();
        let url = self.egress.check(&parts.uri.to_string())?;
        let repeatable = is_idempotent(&parts.method) || parts.extensions.get::<Idempotent>().is_some();
        let mut headers = parts.headers;
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let mut exchange = Exchange { method: parts.method, url, headers, body };

        let operation = exchange.operation();
        let start = self.timer.now();
        let mut guard = Guard {
            deadline: self.timer.sleep(self.limits.deadline),
            left: self.limits.body,
            limits: self.limits,
            operation: operation.clone(),
        };
        let mut sent = 1;
        loop {
            let spare =
                exchange.body.reopen().filter(|_| repeatable && sent < self.limits.tries).map(|body| {
                    Exchange {
                        method: exchange.method.clone(),
                        url: exchange.url.clone(),
                        headers: exchange.headers.clone(),
                        body,
                    }
                });
            let Some(result) = before(&mut guard.deadline, self.once(exchange, whole)).await else {
                return Err(guard.timeout());
            };
            let Some(spare) = spare else { return result.map(|response| (response, guard)) };
            let Some(wait) = self.wait(&result, sent) else {
                return result.map(|response| (response, guard));
            };
            let spent = Duration::try_from(self.timer.now().duration_since(start)).unwrap_or_default();
            if wait > self.limits.longest_wait || spent.saturating_add(wait) >= self.limits.deadline {
                return result.map(|response| (response, guard));
            }
            tracing::debug!(%operation, sent, ?wait, "a call failed in passing and is sent again");
            drop(result);
            if before(&mut guard.deadline, self.timer.sleep(wait)).await.is_none() {
                return Err(guard.timeout());
            }
            exchange = spare;
            sent += 1;
        }
    }

    /// How long to wait before sending again, or `None` where the result stands.
    fn wait(&self, result: &Result<Response<Body>>, sent: u32) -> Option<Duration> {
        let backoff = || {
            let full = self
                .limits
                .backoff
                .saturating_mul(2u32.saturating_pow(sent - 1))
                .min(self.limits.longest_wait);
            full / 2 + (full / 2).mul_f64(self.timer.random() as f64 / u64::MAX as f64)
        };
        match result {
            Ok(response) if is_passing(response.status(), response.headers()) => {
                Some(wait_hint(response.headers(), self.timer.now()).unwrap_or_else(backoff))
            }
            Ok(_) => None,
            Err(error) => match error.retry() {
                Retry::Never => None,
                Retry::Maybe => Some(backoff()),
                Retry::After(seconds) => Some(Duration::from_secs(seconds.into())),
            },
        }
    }

    /// One try: a request, and the redirects that it leads to.
    async fn once(&self, mut exchange: Exchange, whole: bool) -> Result<Response<Body>> {
        let mut followed = 0;
        loop {
            let operation = exchange.operation();
            let spare = exchange.body.reopen();
            let is_head = exchange.method == Method::HEAD;
            let request = request(&mut exchange)?;
            let response = self.service.call(request).await?;
            if self.limits.redirects > 0
                && let Some(next) = exchange.redirected(&response, spare, &self.egress)?
            {
                followed += 1;
                if followed > self.limits.redirects {
                    let message = format!("it was redirected more than {} times", self.limits.redirects);
                    return Err(Error::invalid(operation, message));
                }
                exchange = next;
                continue;
            }
            let (parts, body) = response.into_parts();
            // The length that a HEAD is answered with is that of what it does not send.
            if is_head {
                return Ok(Response::from_parts(parts, Body::empty()));
            }
            if body.length().is_some_and(|length| length > self.limits.body) {
                return Err(too_large(operation, self.limits.body));
            }
            let body = if whole {
                let read = body.collect(self.cap()).await;
                Body::from(read.map_err(|error| {
                    if error.kind() == ErrorKind::TooLarge {
                        too_large(operation, self.limits.body)
                    } else {
                        error
                    }
                })?)
            } else {
                body
            };
            return Ok(Response::from_parts(parts, body));
        }
    }
}

fn request(exchange: &mut Exchange) -> Result<Request<Body>> {
    let uri: Uri = exchange.url.as_str().parse().map_err(|_| {
        Error::invalid(exchange.operation(), "its address has characters that a request may not have")
    })?;
    let mut request = Request::new(std::mem::take(&mut exchange.body));
    *request.method_mut() = exchange.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = exchange.headers.clone();
    Ok(request)
}

const fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    )
}

fn too_large(operation: String, cap: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        operation,
        format!("the response is larger than the limit of {cap} bytes"),
    )
}

/// The result of `future`, or `None` once the deadline has passed.
async fn before<T>(deadline: &mut Sleeping, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        deadline.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// What bounds a response's body.
struct Guard {
    deadline: Sleeping,
    left: u64,
    limits: Limits,
    operation: String,
}

impl Guard {
    fn timeout(&self) -> Error {
        let message = format!("it took longer than {:?}", self.limits.deadline);
        Error::new(ErrorKind::Timeout, self.operation.clone(), message)
    }
}

/// A body under guard. It ends with its first error.
struct Guarded {
    stream: Option<ByteStream>,
    guard: Guard,
}

impl Stream for Guarded {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        let item = match stream.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(chunk))) => match this.guard.left.checked_sub(chunk.len() as u64) {
                Some(left) => {
                    this.guard.left = left;
                    return Poll::Ready(Some(Ok(chunk)));
                }
                None => Some(Err(too_large(this.guard.operation.clone(), this.guard.limits.body))),
            },
            Poll::Ready(end) => end,
            Poll::Pending => match this.guard.deadline.as_mut().poll(context) {
                Poll::Ready(()) => Some(Err(this.guard.timeout())),
                Poll::Pending => return Poll::Pending,
            },
        };
        this.stream = None;
        Poll::Ready(item)
    }
}
