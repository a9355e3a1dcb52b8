//! Answers that a real registry does not give on demand.

use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::http::{ScriptedHttp, SystemTimer};
use kiops_core::image::{Manifest, Registry as _, TagPage};
use kiops_core::name::{Digest, ImageName};
use kiops_registry::distribution_client::DistributionClient;
use kiops_registry::oci::OciConfig;

use super::client_of;
use super::face::{Answer, Asked, Face};
use crate::fixtures::{MANIFEST, image, tag};

fn config(face: &Face) -> OciConfig {
    let mut config = OciConfig::new(face.host());
    config.url = Some(format!("http://{}", face.host()));
    config.private = true;
    config
}

fn client(face: &Face) -> DistributionClient {
    client_of(config(face), Some(("alice", "wonderland")))
}

fn app(face: &Face) -> ImageName {
    image(&format!("{}/team/app", face.host()))
}

/// A registry that lets everybody in and answers so beyond that.
fn open(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Face {
    Face::answering(move |asked| match asked.line.as_str() {
        "GET /v2/" => Answer::status("200 OK"),
        _ => answer(asked),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_on_another_host_gets_neither_a_call_nor_an_account() {
    let other = Face::answering(|_| Answer::status("200 OK").body(r#"{"token":"t"}"#));
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", other.host());
    let face =
        Face::answering(move |_| Answer::status("401 Unauthorized").header("www-authenticate", &realm));
    let error = client(&face).resolve(&app(&face).tagged(tag("v1"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(error.remedy().unwrap().contains("realms"), "{error}");
    assert!(other.asked().is_empty(), "{:?}", other.asked());
    assert!(face.asked().iter().all(|asked| asked.authorization.is_empty()), "{:?}", face.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_no_token_along() {
    let store = Face::answering(|_| Answer::status("200 OK").body("layer"));
    let place = format!("http://{}/layer?signature=s", store.host());
    let face = Face::answering(move |asked| match asked.line.as_str() {
        line if line.starts_with("GET /token") => {
            Answer::status("200 OK").body(r#"{"token":"opaque","expires_in":300}"#)
        }
        _ if asked.authorization == "Bearer opaque" => {
            Answer::status("307 Temporary Redirect").header("location", &place)
        }
        _ => Answer::wants_token(asked),
    });
    let blob = client(&face).blob(&app(&face), &Digest::of(b"layer")).await.unwrap();
    assert_eq!(kiops_core::stream::collect(blob, 99).await.unwrap(), "layer");
    let [asked] = &store.asked()[..] else { panic!("{:?}", store.asked()) };
    assert_eq!(asked.authorization, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_is_told_by_its_kind_through_the_crate_too() {
    for (status, code, kind) in [
        ("403 Forbidden", "DENIED", ErrorKind::Forbidden),
        ("404 Not Found", "MANIFEST_UNKNOWN", ErrorKind::NotFound),
        ("429 Too Many Requests", "TOOMANYREQUESTS", ErrorKind::RateLimited),
        ("500 Internal Server Error", "UNKNOWN", ErrorKind::Unavailable),
        ("503 Service Unavailable", "UNKNOWN", ErrorKind::Unavailable),
    ] {
        let face = open(move |_| {
            Answer::status(status)
                .body(&format!(r#"{{"errors":[{{"code":"{code}","message":"in its own words"}}]}}"#))
        });
        let error = client(&face).manifest(&app(&face), &Digest::of(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.message().contains("in its own words"), "{status}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_busy_for_a_moment_is_asked_again_through_the_crate_too() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let face = open(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 | 1 => Answer::status("503 Service Unavailable"),
        _ => Answer::status("200 OK").header("content-type", MANIFEST).body("{}"),
    });
    client(&face).manifest(&app(&face), &Digest::of(b"{}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_with_another_digest_is_refused_through_the_crate_too() {
    let face = open(|_| Answer::status("200 OK").header("content-type", MANIFEST).body("{}"));
    let error = client(&face).manifest(&app(&face), &Digest::of(b"other")).await.unwrap_err();
    assert!(error.message().contains("another digest"), "{error}");
    let stream = client(&face).blob(&app(&face), &Digest::of(b"other")).await.unwrap();
    let error = kiops_core::stream::collect(stream, 99).await.unwrap_err();
    assert!(error.message().contains("another digest"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_ends_with_the_deadline() {
    let face = open(|_| Answer::status("200 OK").header("transfer-encoding", "chunked"));
    let mut config = config(&face);
    config.call_seconds = 1;
    let error = client_of(config, None).manifest(&app(&face), &Digest::of(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_became_an_upload_is_to_be_pushed() {
    let face = open(|_| Answer::status("202 Accepted").header("location", "/v2/team/app/blobs/uploads/1"));
    let (client, app) = (client(&face), app(&face));
    let from = image(&format!("{}/team/base", face.host()));
    assert!(!client.mount_blob(&app, &from, &Digest::of(b"x")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_stored_where_the_registry_does_not_say_where() {
    let face = open(|_| Answer::status("201 Created"));
    let manifest = Manifest { media_type: MANIFEST.into(), bytes: "{}".into() };
    let digest = client(&face).put_manifest(&app(&face), &manifest).await.unwrap();
    assert_eq!(digest, manifest.digest());
    let put = face.asked().into_iter().find(|asked| asked.line.starts_with("PUT ")).unwrap();
    assert_eq!(put.line, format!("PUT /v2/team/app/manifests/{digest}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_whose_pages_cannot_be_followed_are_an_error_and_not_half_a_list() {
    let face = open(|asked| {
        let tags = match asked.line.contains("n=1&") || asked.line.ends_with("n=1") {
            true => r#"["a"]"#,
            false => r#"["a","b"]"#,
        };
        let link = "</v2/team/app/tags/list?cursor=x>; rel=\"next\"";
        Answer::status("200 OK").header("link", link).body(&format!(r#"{{"name":"team/app","tags":{tags}}}"#))
    });
    let error = client(&face).tags(&app(&face), &TagPage::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.remedy().unwrap().contains("Oci"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_of_a_registry_that_pages_by_the_last_one_are_all_there() {
    let face = open(|asked| {
        let tags = match asked.line.split_once("last=").map(|(_, last)| last) {
            None => r#"["b","a"]"#,
            Some("a") => r#"["d","c"]"#,
            Some(_) => "null",
        };
        Answer::status("200 OK").body(&format!(r#"{{"name":"team/app","tags":{tags}}}"#))
    });
    let tags = client(&face).tags(&app(&face), &TagPage::default()).await.unwrap();
    assert_eq!(tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_crate_would_lose_is_refused_before_anything_is_sent() {
    let face = Face::answering(|asked| match asked.line.starts_with("GET /token") {
        true => Answer::status("200 OK").body(r#"{"token":"looks.like.jwt"}"#),
        false => Answer::wants_token(asked),
    });
    let error = client(&face).resolve(&app(&face).tagged(tag("v1"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(face.asked().iter().all(|asked| !asked.line.contains("manifests")), "{:?}", face.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_and_images_of_other_hosts_are_refused() {
    let face = open(|_| Answer::status("200 OK"));
    let other = image("elsewhere.example.com/team/app");
    let error = client(&face).tags(&other, &TagPage::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(face.asked().is_empty());
    let mut config = config(&face);
    config.mirrors = vec!["https://mirror.example.com".into()];
    let (service, timer) = (Arc::new(ScriptedHttp::replies([])), Arc::new(SystemTimer));
    let error = DistributionClient::new(config, None, service, timer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
