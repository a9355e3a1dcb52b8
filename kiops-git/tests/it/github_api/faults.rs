//! What no real GitHub does on demand.

use std::sync::Arc;
use std::time::Duration;

use kiops_core::http::{Reply, ScriptedHttp};
use kiops_core::provider::{GitProvider as _, HookEvents, HookSecret, Hooks as _, Search, WantedHook};
use kiops_core::secret::Secret;
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_core::{ErrorKind, Retry, stream};
use kiops_git::github::GitHub;
use kiops_git::rest::HostConfig;

use super::face::WEB;
use super::{app, github, hasty, with};
use crate::hosts::{Clock, Fault, TOKEN, first_commit, tokens};
use crate::plain::{full_ref, id};

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(status, Vec::new(), body.into())
}

fn headed(status: u16, headers: &[(&'static str, &str)], message: &str) -> Fault {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Fault::Status(status, headers, format!(r#"{{"message":"{message}"}}"#))
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let scopes = |held| [("x-oauth-scopes", held), ("x-accepted-oauth-scopes", "repo, public_repo")];
    for (fault, kind, words) in [
        (status(401, r#"{"message":"Bad credentials"}"#), ErrorKind::Unauthorized, "make a new one"),
        (headed(404, &scopes("gist"), "Not Found"), ErrorKind::NotFound, "lacks scope repo, public_repo"),
        (headed(403, &scopes(""), "Forbidden"), ErrorKind::Forbidden, "it has none"),
        (headed(404, &scopes("repo"), "Not Found"), ErrorKind::NotFound, "owner/repository"),
        (
            headed(403, &[("x-accepted-github-permissions", "contents=read")], "Resource not accessible"),
            ErrorKind::Forbidden,
            "contents=read",
        ),
        (
            headed(403, &[("x-github-sso", "required; url=https://evil.example.com")], "Resource protected"),
            ErrorKind::Forbidden,
            "Configure SSO",
        ),
        (headed(409, &[], "Something is under way"), ErrorKind::Conflict, "Something is under way"),
        (
            status(422, r#"{"message":"Validation Failed","errors":[{"field":"sha","code":"invalid"}]}"#),
            ErrorKind::Invalid,
            "sha invalid",
        ),
        (status(451, r#"{"message":"Repository access blocked"}"#), ErrorKind::Invalid, "access blocked"),
        (status(200, "<html>Sign in</html>"), ErrorKind::Unavailable, "no proxy answers in its place"),
    ] {
        let (host, _, repository) = app().await;
        host.fault(fault.clone());
        let error = github(&host).heads(&repository).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains("evil"), "{error}");
        assert_eq!(host.asked().len(), 1, "{fault:?} is not tried again");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_then_told() {
    for fault in [status(500, ""), status(502, ""), status(503, ""), Fault::Refused, Fault::CutOff] {
        let (host, _, repository) = app().await;
        host.fault(fault.clone());
        host.fault(fault.clone());
        // The body of an empty repository's answer is needed to know it.
        hasty(&host).branches(&repository, &Search::all()).await.unwrap();
        for _ in 0..3 {
            host.fault(fault.clone());
        }
        let error = hasty(&host).branches(&repository, &Search::all()).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Maybe), "{fault:?}");
    }
}

#[tokio::test]
async fn every_way_in_which_github_limits_is_waited_for_or_told_with_its_time() {
    let in_an_hour = (jiff::Timestamp::now() + Duration::from_secs(3600)).as_second().to_string();
    let primary = |reset: &str| {
        headed(
            403,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)],
            "API rate limit exceeded",
        )
    };
    let secondary =
        |wait: &str| headed(403, &[("retry-after", wait)], "You have exceeded a secondary rate limit");
    let too_many = |wait: &str| headed(429, &[("retry-after", wait)], "Too many requests");
    let past = "1000000001";
    for short in [primary(past), secondary("2"), too_many("2")] {
        let (host, _, repository) = app().await;
        host.fault(short.clone());
        hasty(&host).branches(&repository, &Search::all()).await.unwrap();
        assert_eq!(host.asked().len(), 2, "{short:?}");
    }
    for long in [primary(&in_an_hour), secondary("3600"), too_many("3600")] {
        let (host, _, repository) = app().await;
        host.fault(long.clone());
        let error = hasty(&host).branches(&repository, &Search::all()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited, "{long:?}");
        let Retry::After(seconds) = error.retry() else { panic!("{error:?}") };
        assert!((3500..=3600).contains(&seconds), "{seconds}");
        assert_eq!(host.asked().len(), 1, "{long:?}");
    }
}

#[tokio::test]
async fn a_host_that_stalls_ends_with_the_deadline() {
    let (host, _, repository) = app().await;
    for _ in 0..3 {
        host.fault(Fault::Stalls);
    }
    let error = hasty(&host).branches(&repository, &Search::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn an_archive_that_breaks_off_ends_with_an_error() {
    let (host, _, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    host.host.point(&repository, &full_ref("refs/heads/main"), Some(&commit)).await;
    // The redirect first, whole.
    let to = format!("{WEB}/_codeload/team/app/legacy.tar.gz/{commit}");
    host.fault(Fault::Status(302, vec![("location", to)], String::new()));
    host.fault(Fault::CutOff);
    let archive = github(&host).archive(&repository, &commit).await.unwrap();
    let error = stream::collect(archive, 1 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_changes_something_is_not_sent_twice() {
    let (host, _, repository) = app().await;
    host.fault(status(200, "[]"));
    host.fault(status(502, ""));
    let secret = HookSecret::Shared(Secret::new("x").unwrap());
    let wanted = WantedHook {
        url: "https://ci.example.com/".into(),
        secret,
        events: HookEvents::PUSH,
        verify_tls: true,
    };
    let error = github(&host).ensure(&repository, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(host.asked().iter().filter(|asked| asked.method == http::Method::POST).count(), 1);
}

#[tokio::test]
async fn a_next_page_that_never_ends_or_leads_elsewhere_is_not_followed() {
    let (host, _, repository) = app().await;
    let commit = "a".repeat(40);
    let branch = format!(r#"[{{"name":"main","commit":{{"sha":"{commit}"}}}}]"#);
    let link =
        |url: &str| Fault::Status(200, vec![("link", format!("<{url}>; rel=\"next\""))], branch.clone());
    // The second page says that the first one follows, at another host.
    host.fault(link("https://evil.example.com/steal?page=987654321"));
    host.fault(link("https://evil.example.com/steal?page=1"));
    let page = github(&host).branches(&repository, &Search::all()).await.unwrap();
    assert_eq!(page.items.len(), 1, "one branch, however often it comes");
    let asked: Vec<String> = host.asked().iter().map(|asked| asked.parameter("page").to_owned()).collect();
    assert_eq!(asked, ["1", "2", "3"]);
    assert!(host.asked().iter().all(|asked| asked.url.starts_with(WEB)));
    // Pages without an end.
    for _ in 0..200 {
        host.fault(link("?page=1"));
    }
    let few = HostConfig { max_entries: 100, ..HostConfig::new(WEB) };
    let error = with(few, &host).branches(&repository, &Search::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.remedy().unwrap().contains("max_entries"));
}

#[tokio::test]
async fn a_redirect_to_another_host_is_refused_and_carries_nothing() {
    let (host, _, repository) = app().await;
    let location = vec![("location", "https://evil.example.com/".to_owned())];
    host.fault(Fault::Status(302, location, String::new()));
    let error = github(&host).head(&repository, &full_ref("refs/heads/main")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn a_host_that_repeats_the_token_is_not_quoted() {
    let (host, _, repository) = app().await;
    host.fault(status(403, &format!(r#"{{"message":"token {TOKEN} may not"}}"#)));
    let error = github(&host).commit(&repository, &id(&"a".repeat(40))).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
}

/// github.com itself: the interface and the archives are at hosts of their own.
fn dot_com(http: &ScriptedHttp) -> GitHub {
    let config = HostConfig::new("https://github.com");
    GitHub::new(config, Arc::new(http.clone()), Arc::new(Clock::Fast), tokens()).unwrap()
}

#[tokio::test]
async fn an_archive_of_github_com_comes_from_codeload_without_the_token() {
    let commit = "a".repeat(40);
    let to = format!("https://codeload.github.com/team/app/legacy.tar.gz/{commit}?token=SHORT");
    let http = ScriptedHttp::replies([Reply::redirect(302, &to), Reply::status(404)]);
    let repository = kiops_core::event::Repository { id: None, path: "team/app".into() };
    let error = dot_com(&http).archive(&repository, &id(&commit)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let seen = http.seen();
    assert_eq!(seen[0].url, format!("https://api.github.com/repos/team/app/tarball/{commit}"));
    assert_eq!(seen[0].header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!((seen[1].url.as_str(), seen[1].header("authorization")), (to.as_str(), ""));
}

#[tokio::test]
async fn a_repository_that_was_renamed_is_found_where_github_says_it_went() {
    let commit = "a".repeat(40);
    let to = "https://api.github.com/repositories/1296269/git/ref/heads%2Fmain";
    let found = format!(r#"{{"ref":"refs/heads/main","object":{{"sha":"{commit}","type":"commit"}}}}"#);
    let http = ScriptedHttp::replies([Reply::redirect(301, to), Reply::json(found)]);
    let repository = kiops_core::event::Repository { id: None, path: "team/old-name".into() };
    let head = dot_com(&http).head(&repository, &full_ref("refs/heads/main")).await.unwrap();
    assert_eq!(head, Some(id(&commit)));
    assert_eq!(http.seen()[1].header("authorization"), format!("Bearer {TOKEN}"), "it is the same host");
}
