//! What goes wrong, and answers that Docker Hub would not give.

use std::sync::Mutex;

use kiops_core::ErrorKind;
use kiops_core::error::Retry;
use kiops_core::http::{Body, Reply, ScriptedHttp};
use kiops_core::image::{Catalog as _, Listing, Registry as _};
use kiops_core::name::Digest;
use kiops_registry::dockerhub::{DockerHub, DockerHubConfig};
use proptest::prelude::*;

use super::host::{Hub, NOW, said};
use super::{ME, client, login};
use crate::fixtures::{image, tag};

/// A client whose list is answered so.
fn answered(reply: impl Fn() -> Reply + Send + Sync + 'static) -> DockerHub {
    client(ScriptedHttp::answering(move |_| reply()), None)
}

async fn list(client: &DockerHub) -> kiops_core::Result<usize> {
    client.images("library", &Listing::all()).await.map(|page| page.items.len())
}

#[tokio::test(start_paused = true)]
async fn every_status_is_told_with_what_to_do_at_docker_hub() {
    for (status, kind, words) in [
        (401, ErrorKind::Unauthorized, "access token"),
        (403, ErrorKind::Forbidden, "Read & Write"),
        (404, ErrorKind::NotFound, "private repository"),
        (429, ErrorKind::RateLimited, "pause"),
        (302, ErrorKind::Invalid, "proxy"),
    ] {
        let client =
            answered(move || said(status, "in its own words").header("location", "https://evil.example/"));
        let error = list(&client).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.message().contains("in its own words"), "{status}: {error}");
        assert!(error.remedy().unwrap().contains(words), "{status}: {error}");
    }
    assert_eq!(list(&answered(|| Reply::status(503))).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn too_many_calls_wait_as_long_as_docker_hub_says() {
    for (header, value) in [("retry-after", "90".to_owned()), ("x-retry-after", (NOW + 90).to_string())] {
        let client = answered(move || {
            said(429, "Rate limit exceeded")
                .header(header, &value)
                .header("x-ratelimit-limit", "180")
                .header("x-ratelimit-remaining", "0")
        });
        let error = list(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        let waited = matches!(error.retry(), Retry::After(85..=90));
        assert!(waited, "{header}: {error:?}");
        assert!(error.remedy().unwrap().contains("180"), "{header}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_too_many_names_the_limit_and_what_to_do() {
    for account in [None, Some(login(ME))] {
        let hub = Hub::new();
        let http = ScriptedHttp::answering(move |seen| {
            let limited = seen.url.starts_with("https://registry-1.docker.io/v2/library/nginx")
                && !seen.header("authorization").is_empty();
            if !limited {
                return hub.answer(seen);
            }
            let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
            Reply::status(429).body(body)
        });
        let with_account = account.is_some();
        let client = client(http, account);
        let nginx = image("docker.io/library/nginx");
        for error in [
            client.resolve(&nginx.tagged(tag("alpine"))).await.unwrap_err(),
            client.manifest(&nginx, &Digest::of(b"{}")).await.unwrap_err(),
            client.blob(&nginx, &Digest::of(b"{}")).await.err().unwrap(),
        ] {
            assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
            let remedy = error.remedy().unwrap();
            let left = if with_account { "199 of 200 left in 6 hours" } else { "76 of 200 left in 6 hours" };
            assert!(remedy.contains("limit on pulls") && remedy.contains(left), "{error}");
            assert!(remedy.contains("mirror"), "{error}");
            assert_eq!(remedy.contains("give a Docker Hub user name"), !with_account, "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_address_of_an_answer_is_called() {
    let page = r#"{"count":300,"next":"https://evil.example/v2/x?page=2","previous":"http://169.254.169.254/","results":[{"name":"nginx"}]}"#;
    let http = ScriptedHttp::answering(move |_| Reply::json(page));
    let client = client(http.clone(), None);
    let mut wanted = Listing::all();
    for _ in 0..3 {
        let next = client.images("library", &wanted).await.unwrap().next.unwrap();
        wanted = wanted.after(next);
    }
    assert!(
        http.seen().iter().all(|seen| seen.url.starts_with("https://hub.docker.com/v2/namespaces/library/"))
    );
    assert_eq!(http.seen().len(), 3);
    let redirect = ScriptedHttp::answering(|_| Reply::redirect(302, "https://evil.example/"));
    assert!(list(&super::client(redirect.clone(), None)).await.is_err());
    assert_eq!(redirect.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_says_it_goes_on_and_has_nothing_ends() {
    let client = answered(|| Reply::json(r#"{"next":"https://hub.docker.com/x","results":[]}"#));
    assert_eq!(client.images("library", &Listing::all()).await.unwrap().next, None);
    let found = client.available_tags(&image("docker.io/library/nginx"), &Listing::text("x")).await.unwrap();
    assert_eq!((found.items, found.next), (Vec::new(), None));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_list_or_has_no_end_is_an_error() {
    for body in ["<html>", "", "[]", r#"{"results":{}}"#, r#"{"results":[{"name":7}]}"#] {
        let error = list(&answered(move || Reply::json(body))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{body}: {error}");
    }
    let endless = || {
        let spaces = futures_util::stream::repeat_with(|| Ok(bytes::Bytes::from(vec![b' '; 65_536])));
        Reply::status(200).body(Body::once(None, Box::pin(spaces)))
    };
    assert_eq!(list(&answered(endless)).await.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn entries_that_have_no_usable_name_are_left_out() {
    let page =
        r#"{"results":[{"name":"good","description":null},{"name":"../bad"},{"name":"Bad"},{"name":""}]}"#;
    assert_eq!(list(&answered(move || Reply::json(page))).await.unwrap(), 1);
    let page = r#"{"results":[{"name":"-bad"},{"name":"v1","digest":"md5:1","full_size":-1,"images":{"os":"linux","architecture":"amd64"},"tag_last_pushed":"0001-01-01T00:00:00Z"}]}"#;
    let client = answered(move || Reply::json(page));
    let found = client.available_tags(&image("docker.io/me/x"), &Listing::all()).await.unwrap();
    let [one] = &found.items[..] else { panic!("{found:?}") };
    assert_eq!((one.digest.clone(), one.size, one.pushed_at), (None, None, None));
    assert_eq!(one.platforms, ["linux/amd64"]);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_gives_no_token_is_an_error_and_shows_nothing() {
    for body in [r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, "{}", "x"] {
        let http = ScriptedHttp::answering(move |_| Reply::json(body));
        let error = list(&client(http.clone(), Some(login(ME)))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{body}: {error}");
        assert!(http.seen().iter().all(|seen| seen.url.ends_with("/v2/auth/token")), "{:?}", http.seen());
    }
    let http = ScriptedHttp::answering(|_| said(401, "dckr_pat_wonderland is not a token"));
    let error = list(&client(http, Some(login(ME)))).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(ME.1), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_at_once_is_not_asked_for_without_end() {
    let given = Mutex::new(0);
    let http = ScriptedHttp::answering(move |seen| match seen.url.ends_with("/v2/auth/token") {
        true => {
            *given.lock().unwrap() += 1;
            Reply::json(format!(r#"{{"access_token":"t{}"}}"#, given.lock().unwrap()))
        }
        false => said(401, "no"),
    });
    let error = list(&client(http.clone(), Some(login(ME)))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(http.seen().len(), 4, "two tokens, two tries");
}

#[test]
fn another_registry_is_not_docker_hub() {
    let mut config = DockerHubConfig::default();
    config.registry.host = "harbor.example.com".into();
    let (service, timer) = (ScriptedHttp::replies([]), kiops_core::http::SystemTimer);
    let error =
        DockerHub::new(config, None, std::sync::Arc::new(service), std::sync::Arc::new(timer)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_answer_panics(body in "\\PC{0,80}", fields in "[a-z_\":,{}\\[\\]0-9]{0,60}", status in 200_u16..600) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        for body in [body, format!("{{\"results\":[{{\"name\":\"x\",{fields}}}]}}")] {
            let client = answered(move || Reply::status(status).body(body.clone()));
            let _ = runtime.block_on(list(&client));
            let _ = runtime.block_on(client.available_tags(&image("docker.io/a/b"), &Listing::text("a")));
        }
    }
}
