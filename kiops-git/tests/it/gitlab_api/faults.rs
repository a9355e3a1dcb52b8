//! What no real GitLab does on demand.

use std::sync::Arc;

use kiops_core::event::Repository;
use kiops_core::provider::{GitProvider as _, Hooks as _, Search};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_core::{ErrorKind, Retry, stream};
use kiops_git::rest::HostConfig;

use super::face::{Face, WEB};
use super::{gitlab, hasty, with};
use crate::hosts::{Fault, InProcess, TOKEN, first_commit};
use crate::plain::{full_ref, id};

async fn app() -> (Arc<InProcess>, Repository) {
    let host = InProcess::new(Face::default());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, repository)
}

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(status, Vec::new(), body.into())
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    for (fault, kind, words) in [
        (status(401, r#"{"message":"401 Unauthorized"}"#), ErrorKind::Unauthorized, "make a new one"),
        (
            status(401, r#"{"error":"invalid_token","error_description":"Token was revoked."}"#),
            ErrorKind::Unauthorized,
            "was revoked",
        ),
        (
            status(403, r#"{"error":"insufficient_scope","error_description":"needs higher privileges"}"#),
            ErrorKind::Forbidden,
            "`read_repository`",
        ),
        (status(403, r#"{"message":"403 Forbidden"}"#), ErrorKind::Forbidden, "role in the project"),
        (status(404, r#"{"message":"404 Project Not Found"}"#), ErrorKind::NotFound, "404 Project Not Found"),
        (status(409, r#"{"message":"Conflict"}"#), ErrorKind::Conflict, "Conflict"),
        (status(422, r#"{"message":{"url":["is blocked"]}}"#), ErrorKind::Invalid, "url is blocked"),
        (status(200, "<html>Sign in</html>"), ErrorKind::Unavailable, "no proxy answers in its place"),
    ] {
        let (host, repository) = app().await;
        host.fault(fault.clone());
        let error = gitlab(&host).heads(&repository).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(host.asked().len(), 1, "{fault:?} is not tried again");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_then_told() {
    for fault in [status(500, ""), status(502, ""), status(503, ""), Fault::Refused, Fault::CutOff] {
        let (host, repository) = app().await;
        host.fault(fault.clone());
        host.fault(fault.clone());
        hasty(&host).heads(&repository).await.unwrap();
        for _ in 0..3 {
            host.fault(fault.clone());
        }
        let error = hasty(&host).heads(&repository).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Maybe), "{fault:?}");
    }
}

#[tokio::test]
async fn a_short_rate_limit_is_waited_for_and_a_long_one_is_told() {
    let (host, repository) = app().await;
    let limited = |seconds: &str| {
        Fault::Status(429, vec![("retry-after", seconds.to_owned())], r#"{"message":"Retry later"}"#.into())
    };
    host.fault(limited("2"));
    hasty(&host).heads(&repository).await.unwrap();
    host.fault(limited("3600"));
    let error = hasty(&host).heads(&repository).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::After(3600)));
}

#[tokio::test]
async fn a_host_that_stalls_ends_with_the_deadline() {
    let (host, repository) = app().await;
    for _ in 0..3 {
        host.fault(Fault::Stalls);
    }
    let error = hasty(&host).heads(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn an_archive_that_breaks_off_ends_with_an_error() {
    let (host, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    host.fault(Fault::CutOff);
    let archive = gitlab(&host).archive(&repository, &commit).await.unwrap();
    let error = stream::collect(archive, 1 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_changes_something_is_not_sent_twice() {
    let (host, repository) = app().await;
    host.fault(status(200, "[]"));
    host.fault(status(502, ""));
    let wanted = kiops_core::provider::WantedHook {
        url: "https://ci.example.com/".into(),
        secret: kiops_core::provider::HookSecret::Shared(kiops_core::secret::Secret::new("x").unwrap()),
        events: kiops_core::provider::HookEvents::PUSH,
        verify_tls: true,
    };
    let error = gitlab(&host).ensure(&repository, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(host.asked().iter().filter(|asked| asked.method == http::Method::POST).count(), 1);
}

#[tokio::test]
async fn a_next_page_that_never_ends_or_leads_elsewhere_is_not_followed() {
    let (host, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    let branch = format!(r#"[{{"name":"main","commit":{{"id":"{commit}"}}}}]"#);
    let link =
        |url: &str| Fault::Status(200, vec![("link", format!("<{url}>; rel=\"next\""))], branch.clone());
    // Page 7 says that page 7 follows.
    host.fault(link("https://evil.example.com/steal?page=7"));
    host.fault(link("https://evil.example.com/steal?page=7"));
    let error = gitlab(&host).branches(&repository, &Search::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(host.asked().iter().all(|asked| asked.url.starts_with(WEB)));
    // Pages without an end.
    for n in 1..200 {
        host.fault(link(&format!("?page={n}")));
    }
    let few = HostConfig { max_entries: 100, ..HostConfig::new(WEB) };
    let error = with(few, &host).branches(&repository, &Search::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_redirect_to_another_host_is_refused_and_carries_nothing() {
    let (host, repository) = app().await;
    let location = vec![("location", "https://evil.example.com/".to_owned())];
    host.fault(Fault::Status(302, location, String::new()));
    let error = gitlab(&host).head(&repository, &full_ref("refs/heads/main")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn a_host_that_repeats_the_token_is_not_quoted() {
    let (host, repository) = app().await;
    host.fault(status(403, &format!(r#"{{"message":"token {TOKEN} may not"}}"#)));
    let error = gitlab(&host).commit(&repository, &id(&"a".repeat(40))).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
}
