//! What no real Bitbucket does on demand.

use kiops_core::provider::{GitProvider as _, HookEvents, HookSecret, Hooks as _, Search, WantedHook};
use kiops_core::secret::Secret;
use kiops_core::{ErrorKind, Retry, stream};
use kiops_git::bitbucket::Bitbucket;
use kiops_git::rest::HostConfig;

use super::{app, bitbucket, hasty, with};
use crate::hosts::{Fault, TOKEN, first_commit};
use crate::plain::{full_ref, id};

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(status, Vec::new(), body.into())
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let said = |text: &str| format!(r#"{{"type":"error","error":{{"message":"{text}"}}}}"#);
    let scopes = r#"{"type":"error","error":{"message":"No scope","detail":{"required":["repository","webhook"],"granted":["repository"]}}}"#;
    let headers = vec![
        ("x-oauth-scopes", "account".to_owned()),
        ("x-accepted-oauth-scopes", "repository, repository:admin".to_owned()),
    ];
    for (fault, kind, words) in [
        (status(401, &said("Token is invalid")), ErrorKind::Unauthorized, "make a new one"),
        (status(403, scopes), ErrorKind::Forbidden, "make one with `webhook`"),
        (
            Fault::Status(403, headers, said("No")),
            ErrorKind::Forbidden,
            "`repository` and `repository:admin`",
        ),
        (status(403, &said("Access denied")), ErrorKind::Forbidden, "its owner's role"),
        (status(404, &said("Repository not found")), ErrorKind::NotFound, "Repository not found"),
        (status(409, &said("Conflict")), ErrorKind::Conflict, "Conflict"),
        (status(410, &said("Removed")), ErrorKind::NotFound, "newer kiops"),
        (status(422, &said("Bad")), ErrorKind::Invalid, "Bad"),
        (status(200, "<html>Log in</html>"), ErrorKind::Unavailable, "no proxy answers in its place"),
    ] {
        let (host, _, repository) = app().await;
        host.fault(fault.clone());
        let error = bitbucket(&host).heads(&repository).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(host.asked().len(), 1, "{fault:?} is not tried again");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_then_told() {
    for fault in [status(500, ""), status(502, ""), status(503, ""), Fault::Refused, Fault::CutOff] {
        let (host, _, repository) = app().await;
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
    let (host, _, repository) = app().await;
    let limited = |seconds: &str| {
        let headers = vec![("retry-after", seconds.to_owned()), ("x-ratelimit-nearlimit", "true".to_owned())];
        Fault::Status(429, headers, "Rate limit for this resource has been exceeded".into())
    };
    host.fault(limited("2"));
    hasty(&host).heads(&repository).await.unwrap();
    host.fault(limited("3600"));
    let error = hasty(&host).heads(&repository).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::After(3600)));
}

#[tokio::test]
async fn a_host_that_stalls_ends_with_the_deadline() {
    let (host, _, repository) = app().await;
    for _ in 0..3 {
        host.fault(Fault::Stalls);
    }
    let error = hasty(&host).heads(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn an_archive_that_breaks_off_or_is_a_login_page_ends_with_an_error() {
    let (host, _, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    let by_path = kiops_core::event::Repository { id: None, ..repository };
    for fault in [Fault::CutOff, status(200, "<html>Log in</html>")] {
        host.fault(fault);
        let archive = bitbucket(&host).archive(&by_path, &commit).await.unwrap();
        let error = stream::collect(archive, 1 << 20).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn what_changes_something_is_not_sent_twice() {
    let (host, _, repository) = app().await;
    host.fault(status(200, r#"{"values":[]}"#));
    host.fault(status(502, ""));
    let wanted = WantedHook {
        url: "https://ci.example.com/".into(),
        secret: HookSecret::Shared(Secret::new("x").unwrap()),
        events: HookEvents::PUSH,
        verify_tls: true,
    };
    let error = bitbucket(&host).ensure(&repository, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(host.asked().iter().filter(|asked| asked.method == http::Method::POST).count(), 1);
}

#[tokio::test]
async fn a_next_page_is_asked_for_at_the_same_place_wherever_it_is_said_to_be() {
    let (host, _, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    let branch = |next: &str| {
        let body = serde_json::json!({
            "values": [{ "name": "main", "target": { "hash": commit } }], "next": next,
        });
        status(200, &body.to_string())
    };
    host.fault(branch("https://evil.example.com/steal?page=7"));
    host.fault(status(200, r#"{"values":[]}"#));
    bitbucket(&host).branches(&repository, &Search::all()).await.unwrap();
    let asked = host.asked();
    assert!(asked.iter().all(|asked| asked.url.starts_with("https://api.bitbucket.org/2.0/")));
    assert_eq!(asked[1].parameter("page"), "7");
}

#[tokio::test]
async fn pages_in_a_circle_or_without_an_end_are_an_error_and_no_short_list() {
    let (host, _, repository) = app().await;
    let page = |next: &str| status(200, &serde_json::json!({ "values": [], "next": next }).to_string());
    // Page 7 says that page 7 follows.
    host.fault(page("https://api.bitbucket.org/x?page=7"));
    host.fault(page("https://api.bitbucket.org/x?page=7"));
    let error = bitbucket(&host).heads(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for n in 0..200 {
        host.fault(page(&format!("https://api.bitbucket.org/x?page={n}")));
    }
    let few = HostConfig { max_entries: 100, ..Bitbucket::cloud() };
    let error = with(few, &host).heads(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_redirect_to_another_host_is_refused_and_carries_nothing() {
    let (host, _, repository) = app().await;
    let location = vec![("location", "https://evil.example.com/".to_owned())];
    host.fault(Fault::Status(302, location, String::new()));
    let error = bitbucket(&host).head(&repository, &full_ref("refs/heads/main")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn a_host_that_repeats_the_token_is_not_quoted() {
    let (host, _, repository) = app().await;
    host.fault(status(403, &format!(r#"{{"error":{{"message":"token {TOKEN} may not"}}}}"#)));
    let error = bitbucket(&host).commit(&repository, &id(&"a".repeat(40))).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
}
