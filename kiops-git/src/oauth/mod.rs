//! Connecting to a Git host by OAuth: the authorisation-code flow with PKCE, and connections that refresh their tokens.
//!
//! [`OAuth`] is one application at one host. A server mounts two routes over it: one that sends the browser to the host, one to which the
//! host sends it back. Then [`OAuth::connection`] is a `TokenSource` for that host's provider, in any replica.
//!
//! ```
//! use http::{HeaderMap, Response, header};
//! use kiops_core::Result;
//! use kiops_core::name::ConnectionId;
//! use kiops_git::oauth::{Callback, OAuth};
//!
//! /// `POST /git-providers/{connection}/connect`, of somebody who may change the connection: off to the host.
//! async fn connect(oauth: &OAuth, connection: &ConnectionId, session: &str) -> Result<Response<String>> {
//!     let begun = oauth.authorize(connection, session).await?;
//!     let mut response = Response::new(String::new());
//!     *response.status_mut() = http::StatusCode::SEE_OTHER;
//!     put(response.headers_mut(), header::LOCATION, begun.url.as_str());
//!     put(response.headers_mut(), header::SET_COOKIE, &begun.cookie);
//!     Ok(response)
//! }
//!
//! /// `GET /oauth/callback`, the application's registered redirect URI: back from the host.
//! async fn callback(oauth: &OAuth, query: &str, headers: &HeaderMap, session: &str) -> Result<Response<String>> {
//!     let cookies = headers.get(header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
//!     let done = oauth.complete(&Callback { query, cookies, session }).await;
//!     let mut response = match done {
//!         Ok(connected) => Response::new(format!("{} is connected", connected.connection)),
//!         Err(error) => {
//!             let mut response = Response::new(error.to_string());
//!             *response.status_mut() = http::StatusCode::BAD_REQUEST;
//!             response
//!         }
//!     };
//!     // Whatever came of it: this flow is over.
//!     if let Some(cookie) = oauth.clear_cookie(query) {
//!         put(response.headers_mut(), header::SET_COOKIE, &cookie);
//!     }
//!     // The query has the code in it: no page that the answer links to may see it.
//!     put(response.headers_mut(), header::REFERRER_POLICY, "no-referrer");
//!     Ok(response)
//! }
//!
//! fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
//!     if let Ok(value) = value.parse() {
//!         headers.insert(name, value);
//!     }
//! }
//! ```
//!
//! # What holds
//! - **One browser.** The answer is taken only with the cookie that [`OAuth::authorize`] set, in the same session, within ten minutes, once.
//!   Any replica may take it: nothing is kept between the two routes.
//! - **PKCE, S256 only**, at every host.
//! - **One refresh.** Of all calls in all replicas that find a token ended, one asks the host; the others wait for what it stores.
//! - **Nothing is dropped before its successor is stored.** A refresh goes on when whoever asked for it has gone; a new pair that could not
//!   be stored is kept in memory, used, and stored as soon as the store takes it.
//! - A process that dies after the host has given a new pair and before it is stored takes the pair with it. A host that takes every refresh token once
//!   has then ended the connection, and it must be connected again. No client can help that: the host does not give a pair twice.

mod answer;
mod config;
mod connection;
mod cookie;
mod flow;

pub use config::{Endpoints, OAuthConfig, OAuthHost};
pub use connection::OAuthConnection;
pub use flow::{Authorization, Callback, Connected, OAuth};
