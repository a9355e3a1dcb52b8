//! Hosts and origins: a page elsewhere must not reach this server through somebody's browser.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kiops_core::problem::Problem;

use super::App;
use super::answer::Refusal;

/// Which hosts are answered: loopback, and the public URL's.
#[derive(Debug, Clone, Default)]
pub struct HostPolicy {
    /// Scheme, host and port of the public URL (`https://kiops.example.com`), where there is one.
    pub public_url: Option<String>,
}

impl HostPolicy {
    fn knows_host(&self, host: &str) -> bool {
        is_loopback(host)
            || self
                .public_url
                .as_deref()
                .and_then(host_of)
                .is_some_and(|public| public.eq_ignore_ascii_case(host))
    }

    /// An origin is known if it is the public URL, or this server itself on loopback.
    fn knows_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let public = self
            .public_url
            .as_deref()
            .is_some_and(|url| url.trim_end_matches('/').eq_ignore_ascii_case(origin));
        public || host_of(origin).is_some_and(|named| is_loopback(named) && Some(named) == host)
    }
}

fn host_of(url: &str) -> Option<&str> {
    url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest))
}

fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or((rest, "]")),
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let is_local = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_port && is_local
}

pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match refusal(&app.hosts, &request) {
        Some(problem) => Refusal::from(problem).into_response(),
        None => next.run(request).await,
    }
}

fn refusal(hosts: &HostPolicy, request: &Request) -> Option<Problem> {
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text("host").or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    if !host.is_some_and(|host| hosts.knows_host(host)) {
        let problem =
            Problem::new(StatusCode::MISDIRECTED_REQUEST, "this server does not answer for that host");
        return Some(problem.with_remedy("use the server's own address, or configure its public URL"));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let foreign = text("origin").is_some_and(|origin| !hosts.knows_origin(origin, host))
        || text("sec-fetch-site").is_some_and(|site| site == "cross-site");
    (!reads && foreign)
        .then(|| Problem::new(StatusCode::FORBIDDEN, "a page of another origin may not change anything here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_the_public_url_are_known() {
        let policy = HostPolicy { public_url: Some("https://kiops.example.com".into()) };
        for known in
            ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:80", "127.9.9.9", "kiops.example.com"]
        {
            assert!(policy.knows_host(known), "{known}");
        }
        for foreign in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "",
            "[::2]",
            "10.0.0.1",
            "?",
            "[::1]evil",
            "[::1",
            "localhost:evil",
        ] {
            assert!(!policy.knows_host(foreign), "{foreign}");
        }
        assert!(policy.knows_origin("https://kiops.example.com", None));
        assert!(policy.knows_origin("http://127.0.0.1:80", Some("127.0.0.1:80")));
        assert!(!policy.knows_origin("http://127.0.0.1:81", Some("127.0.0.1:80")));
        assert!(!policy.knows_origin("null", Some("127.0.0.1:80")));
    }
}
