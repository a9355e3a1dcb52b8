//! The HTTP seam: one small trait, [`HttpService`], and above it [`HttpClient`] with the rules that every call of ours keeps.
//!
//! A host gives its own client by implementing the trait, or takes `ReqwestService` (feature `reqwest`). Adapters never use
//! a service bare: they go through [`HttpClient`], which knows where calls may go ([`Egress`]), follows redirects without
//! handing credentials to strangers, caps bodies, keeps deadlines, and tries again where that is safe.
//!
//! ```
//! use std::sync::Arc;
//! use kiops_core::http::{Body, Egress, HostRule, HttpClient, HttpService, Timer};
//!
//! async fn projects(service: Arc<dyn HttpService>, timer: Arc<dyn Timer>) -> kiops_core::Result<bytes::Bytes> {
//!     let egress = Egress::new([HostRule::parse("https://gitlab.example.com/api/v4/")?]);
//!     let client = HttpClient::new(service, egress, timer);
//!     let request = http::Request::get("https://gitlab.example.com/api/v4/projects").body(Body::empty());
//!     let request = request.map_err(|error| kiops_core::Error::internal("list projects", error.to_string()))?;
//!     Ok(client.fetch(request).await?.into_body())
//! }
//! ```

mod address;
mod body;
mod client;
mod egress;
mod redirect;
#[cfg(feature = "reqwest")]
mod reqwest_service;
#[cfg(any(test, feature = "testing"))]
mod scripted;
mod status;
#[cfg(test)]
mod tests;
mod timer;

pub use address::AddressKind;
pub use body::Body;
pub use client::{HttpClient, Idempotent, Limits};
pub use egress::{Egress, HostRule};
#[cfg(feature = "reqwest")]
pub use reqwest_service::{ReqwestConfig, ReqwestService};
#[cfg(any(test, feature = "testing"))]
pub use scripted::{Reply, ScriptedHttp, Seen, TestTimer};
pub use status::{status_error, wait_hint};
#[cfg(feature = "runtime")]
pub use timer::SystemTimer;
pub use timer::{Sleeping, Timer};

use std::fmt;

use ::http::{Request, Response};
use async_trait::async_trait;

use crate::error::Result;

/// Sends HTTP requests: one request, one response, nothing more.
///
/// # Guarantees asked of an implementation
/// - One exchange a call. Redirects are **not** followed (a 3xx is returned as it is), nothing is retried, no cookies are kept, bodies
///   are not decompressed. [`HttpClient`] judges redirects; a service that followed one would carry credentials past it.
/// - `Content-Length` comes from [`Body::length`] where that is known.
/// - Any status is a response. An error means that there is none: of kind `Unavailable` (not reached, broken off), `Timeout`,
///   `Forbidden` (an address that [`Egress::allows_address`] refuses), or `Invalid` (it cannot be sent).
/// - No error text holds a URL's query or user information, or a header's value.
/// - Dropping the future, or the response's body, ends the exchange.
#[async_trait]
pub trait HttpService: Send + Sync + fmt::Debug {
    /// Sends a request and returns the response once its headers are there.
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>>;
}
