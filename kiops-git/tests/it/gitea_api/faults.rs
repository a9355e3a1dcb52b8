//! What no real host does on demand.

use std::sync::Arc;

use kiops_core::event::Repository;
use kiops_core::provider::{
    GitProvider as _, HookEvents, HookSecret, Hooks as _, Search, TreeQuery, WantedHook,
};
use kiops_core::secret::Secret;
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_core::{ErrorKind, Retry, stream};
use kiops_git::rest::HostConfig;

use super::face::{Face, WEB};
use super::{gitea, hasty, with};
use crate::hosts::{Fault, InProcess, TOKEN, first_commit};
use crate::plain::{full_ref, id};

const URL: &str = "https://ci.example.com/";

async fn app() -> (Arc<InProcess>, Repository) {
    let host = InProcess::new(Face::default());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, repository)
}

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(status, Vec::new(), body.into())
}

fn wanted() -> WantedHook {
    let secret = HookSecret::Shared(Secret::new("x").unwrap());
    WantedHook { url: URL.into(), secret, events: HookEvents::PUSH, verify_tls: true }
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    for (fault, kind, words) in [
        (
            status(401, r#"{"message":"invalid username, password or token"}"#),
            ErrorKind::Unauthorized,
            "make a new one",
        ),
        (
            status(
                403,
                r#"{"message":"token does not have at least one of required scope(s): [write:repository]"}"#,
            ),
            ErrorKind::Forbidden,
            "token lacks scope `write:repository`",
        ),
        (status(403, r#"{"message":"user should be an owner"}"#), ErrorKind::Forbidden, "its owner's role"),
        (status(404, r#"{"message":"not found"}"#), ErrorKind::NotFound, "may see it"),
        (status(409, r#"{"message":"busy"}"#), ErrorKind::Conflict, "busy"),
        (status(422, r#"{"message":"[Url]: is blocked"}"#), ErrorKind::Invalid, "is blocked"),
        (status(423, r#"{"message":"archived"}"#), ErrorKind::Invalid, "until it is unarchived"),
        (status(200, "<html>Sign in</html>"), ErrorKind::Unavailable, "no proxy answers in its place"),
    ] {
        let (host, repository) = app().await;
        host.fault(fault.clone());
        let error = gitea(&host).state(&repository, URL).await.unwrap_err();
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
        hasty(&host).state(&repository, URL).await.unwrap();
        for _ in 0..3 {
            host.fault(fault.clone());
        }
        let error = hasty(&host).state(&repository, URL).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Maybe), "{fault:?}");
    }
}

#[tokio::test]
async fn refs_that_break_off_are_no_refs() {
    let (host, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    host.host.point(&repository, &full_ref("refs/heads/main"), Some(&commit)).await;
    for fault in [Fault::CutOff, status(200, "{}"), status(200, "[{}]")] {
        host.fault(fault.clone());
        let error = hasty(&host).heads(&repository).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}");
        host.fault(fault.clone());
        let error = hasty(&host).head(&repository, &full_ref("refs/heads/main")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}");
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
    let error = hasty(&host).state(&repository, URL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn an_archive_that_breaks_off_ends_with_an_error() {
    let (host, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    host.fault(Fault::CutOff);
    let archive = gitea(&host).archive(&repository, &commit).await.unwrap();
    let error = stream::collect(archive, 1 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_changes_something_is_not_sent_twice() {
    let (host, repository) = app().await;
    host.fault(status(200, "[]"));
    host.fault(status(502, ""));
    let error = gitea(&host).ensure(&repository, &wanted()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(host.asked().iter().filter(|asked| asked.method == http::Method::POST).count(), 1);
}

#[tokio::test]
async fn pages_without_an_end_are_not_read_for_ever() {
    let (host, repository) = app().await;
    let hook = |id: u64| format!(r#"[{{"id":{id},"active":true,"config":{{"url":"{URL}"}}}}]"#);
    // The same one again and again.
    host.fault(status(200, &hook(1)));
    host.fault(status(200, &hook(1)));
    let error = gitea(&host).state(&repository, URL).await.unwrap_err();
    assert_eq!((error.kind(), host.asked().len()), (ErrorKind::Unavailable, 2));
    // Ever new ones, and a count beyond reason.
    for id in 0..200 {
        let headers = vec![("x-total-count", u64::MAX.to_string())];
        host.fault(Fault::Status(200, headers, hook(id)));
    }
    let few = HostConfig { max_entries: 100, ..HostConfig::new(WEB) };
    let error = with(few, &host).state(&repository, URL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_next_page_elsewhere_is_not_followed() {
    let (host, _) = app().await;
    let link = vec![("link", r#"<https://evil.example.com/steal?page=2>; rel="next""#.to_owned())];
    host.fault(Fault::Status(200, link, r#"{"ok":true,"data":[{"id":1,"full_name":"team/app"}]}"#.into()));
    let provider = gitea(&host);
    let page = provider.repositories(&Search::all()).await.unwrap();
    let rest = provider.repositories(&Search::all().after(page.next.unwrap())).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (0, None));
    assert!(host.asked().iter().all(|asked| asked.url.starts_with(WEB)));
}

#[tokio::test]
async fn a_tree_that_says_that_it_goes_on_and_does_not_ends() {
    let (host, repository) = app().await;
    let commit = id(&"a".repeat(40));
    host.fault(status(
        200,
        r#"{"tree":[{"path":"a","mode":"100644","sha":"1"}],"truncated":true,"total_count":99}"#,
    ));
    host.fault(status(200, r#"{"tree":null,"truncated":true}"#));
    let query = TreeQuery { folder: String::new(), recursive: false, limit: 10 };
    let error = gitea(&host).tree(&repository, &commit, &query).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_file_that_the_host_gives_no_content_of_is_too_large() {
    let (host, repository) = app().await;
    let commit = id(&"a".repeat(40));
    host.fault(status(200, r#"{"tree":[{"path":"a","mode":"100644","size":7,"sha":"1"}]}"#));
    host.fault(status(200, r#"{"content":"","encoding":"base64","size":7}"#));
    let error = gitea(&host).file(&repository, &commit, "a", 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.remedy().unwrap().contains("DEFAULT_MAX_BLOB_SIZE"));
}

#[tokio::test]
async fn a_repository_is_found_by_its_path_from_before_a_rename() {
    let (host, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    let main = full_ref("refs/heads/main");
    host.host.point(&repository, &main, Some(&commit)).await;
    let renamed = format!("{WEB}/api/v1/repos/team/app/git/refs/heads/main");
    host.fault(Fault::Status(307, vec![("location", renamed)], String::new()));
    let before = Repository { path: "team/old-name".into(), ..repository };
    assert_eq!(gitea(&host).head(&before, &main).await.unwrap(), Some(commit));
}

#[tokio::test]
async fn a_redirect_to_another_host_is_refused_and_carries_nothing() {
    let (host, repository) = app().await;
    let location = vec![("location", "https://evil.example.com/".to_owned())];
    host.fault(Fault::Status(302, location, String::new()));
    let error = gitea(&host).head(&repository, &full_ref("refs/heads/main")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn a_host_that_repeats_the_token_is_not_quoted() {
    let (host, repository) = app().await;
    host.fault(status(403, &format!(r#"{{"message":"token {TOKEN} may not"}}"#)));
    let error = gitea(&host).commit(&repository, &id(&"a".repeat(40))).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
}
