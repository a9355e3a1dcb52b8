//! A service that answers from a script, and a timer under a test's control.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::HttpService;
use super::body::Body;
use super::timer::{Sleeping, Timer};
use crate::error::{Error, Result};
use crate::stream;

/// An [`HttpService`] that answers from a list or a function, and remembers what it was asked.
///
/// ```
/// use kiops_core::http::{Reply, ScriptedHttp};
/// let first_fails = ScriptedHttp::replies([Reply::status(503), Reply::json(r#"{"id": 1}"#)]);
/// let by_path = ScriptedHttp::answering(|seen| match seen.path() {
///     "/version" => Reply::json(r#"{"version": "18.0"}"#),
///     _ => Reply::status(404),
/// });
/// # drop((first_fails, by_path));
/// ```
#[derive(Clone)]
pub struct ScriptedHttp(Arc<Inner>);

struct Inner {
    answer: Box<dyn Fn(&Seen) -> Reply + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its whole address.
    pub url: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, read to the end.
    pub body: Bytes,
}

impl Seen {
    /// The path without the query.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        path.split('?').next().unwrap_or(path)
    }

    /// A header's text; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    result: Result<Response<Body>>,
    delay: Option<(Arc<dyn Timer>, Duration)>,
}

impl Reply {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { result: Ok(response), delay: None }
    }

    /// 200 with a JSON body.
    pub fn json(body: impl Into<String>) -> Self {
        Self::status(200).header("content-type", "application/json").body(body.into())
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).header("location", location)
    }

    /// No response at all.
    pub const fn error(error: Error) -> Self {
        Self { result: Err(error), delay: None }
    }

    /// The same answer with one more header. A name or value that is none is left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let header = (HeaderName::try_from(name), HeaderValue::try_from(value));
        if let (Ok(response), (Ok(name), Ok(value))) = (&mut self.result, header) {
            response.headers_mut().append(name, value);
        }
        self
    }

    /// The same answer with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        if let Ok(response) = &mut self.result {
            *response.body_mut() = body.into();
        }
        self
    }

    /// The same answer, given only after `delay`.
    #[must_use]
    pub fn after(mut self, timer: &Arc<dyn Timer>, delay: Duration) -> Self {
        self.delay = Some((Arc::clone(timer), delay));
        self
    }
}

impl ScriptedHttp {
    /// Gives these answers in this order, then errors of kind `Internal`.
    pub fn replies(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        Self::answering(move |seen| {
            let next = replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            next.unwrap_or_else(|| {
                let message = format!("nothing is scripted for {} {}", seen.method, seen.path());
                Reply::error(Error::internal("scripted call", message))
            })
        })
    }

    /// Gives the answers of a function.
    pub fn answering(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { answer: Box::new(answer), seen: Mutex::default() }))
    }

    /// What was asked so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for ScriptedHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedHttp").field("seen", &self.seen().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpService for ScriptedHttp {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = stream::collect(body.into_stream(), usize::MAX).await?;
        let seen = Seen { method: parts.method, url: parts.uri.to_string(), headers: parts.headers, body };
        let reply = (self.0.answer)(&seen);
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        if let Some((timer, delay)) = reply.delay {
            timer.sleep(delay).await;
        }
        reply.result
    }
}

/// A [`Timer`] on tokio's clock, which a test may pause: its time begins at a fixed moment and goes on with that clock. Chance is always the
/// same number: the longest wait.
#[derive(Debug, Clone, Copy)]
pub struct TestTimer {
    start: Timestamp,
    since: tokio::time::Instant,
}

impl TestTimer {
    /// A timer that says `start` now.
    pub fn at(start: Timestamp) -> Self {
        Self { start, since: tokio::time::Instant::now() }
    }

    /// How long it has been running.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Timer for TestTimer {
    fn now(&self) -> Timestamp {
        self.start + self.since.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleeping {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u64 {
        u64::MAX
    }
}
