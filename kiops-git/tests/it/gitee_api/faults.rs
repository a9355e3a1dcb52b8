//! What Gitee does on no demand.

use kiops_core::provider::{GitProvider as _, Hooks as _, Search};
use kiops_core::{ErrorKind, Retry, stream};
use kiops_git::rest::HostConfig;

use super::face::WEB;
use super::{app, gitee, hasty, with};
use crate::hosts::{Clock, Fault, TOKEN, first_commit};
use crate::plain::{full_ref, id};

const URL: &str = "https://ci.example.com/";

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(status, Vec::new(), body.into())
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    for (fault, kind, words) in [
        (
            status(401, r#"{"message":"401 Unauthorized: Access token does not exist"}"#),
            ErrorKind::Unauthorized,
            "make a new one",
        ),
        (status(401, r#"{"message":"Access token is expired"}"#), ErrorKind::Unauthorized, "私人令牌"),
        (status(403, r#"{"message":"insufficient scope"}"#), ErrorKind::Forbidden, "`projects`"),
        (status(403, r#"{"message":"403 Forbidden"}"#), ErrorKind::Forbidden, "administrator"),
        (status(404, r#"{"message":"404 Project Not Found"}"#), ErrorKind::NotFound, "may see it"),
        (status(409, r#"{"message":"busy"}"#), ErrorKind::Conflict, "busy"),
        (status(422, r#"{"messages":["url is blocked"]}"#), ErrorKind::Invalid, "url is blocked"),
        (status(200, "<html>Sign in</html>"), ErrorKind::Unavailable, "no proxy answers in its place"),
    ] {
        let (host, _, repository) = app().await;
        host.fault(fault.clone());
        let error = gitee(&host).state(&repository, URL).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(host.asked().len(), 1, "{fault:?} is not tried again");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_then_told() {
    for fault in [status(500, ""), status(503, ""), Fault::Refused, Fault::CutOff] {
        let (host, _, repository) = app().await;
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
async fn a_long_rate_limit_is_told_and_a_stalling_host_ends_with_the_deadline() {
    let (host, _, repository) = app().await;
    host.fault(Fault::Status(429, vec![("retry-after", "3600".to_owned())], String::new()));
    let error = hasty(&host).heads(&repository).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::After(3600)));
    for _ in 0..3 {
        host.fault(Fault::Stalls);
    }
    let error = hasty(&host).heads(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn an_archive_that_breaks_off_ends_with_an_error() {
    let (host, _, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    host.fault(Fault::CutOff);
    let archive = gitee(&host).archive(&repository, &commit).await.unwrap();
    let error = stream::collect(archive, 1 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn pages_without_an_end_are_not_read_for_ever() {
    let (host, _, repository) = app().await;
    let endless = |n: u64| {
        let headers = vec![("total_count", u64::MAX.to_string())];
        Fault::Status(200, headers, format!(r#"[{{"name":"b{n}","commit":{{"sha":"{}"}}}}]"#, "a".repeat(40)))
    };
    host.fault(endless(1));
    host.fault(endless(1));
    let error = gitee(&host).branches(&repository, &Search::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    (0..200).for_each(|n| host.fault(endless(n)));
    let few = HostConfig { max_entries: 100, ..HostConfig::new(WEB) };
    let error = with(few, Clock::Real, &host).branches(&repository, &Search::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_redirect_to_another_host_is_refused_and_a_repeated_token_not_quoted() {
    let (host, _, repository) = app().await;
    let location = vec![("location", "https://evil.example.com/".to_owned())];
    host.fault(Fault::Status(302, location, String::new()));
    let error = gitee(&host).head(&repository, &full_ref("refs/heads/main")).await.unwrap_err();
    assert_eq!((error.kind(), host.asked().len()), (ErrorKind::Forbidden, 1));
    host.fault(status(403, &format!(r#"{{"message":"token {TOKEN} may not"}}"#)));
    let error = gitee(&host).commit(&repository, &id(&"a".repeat(40))).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
}
