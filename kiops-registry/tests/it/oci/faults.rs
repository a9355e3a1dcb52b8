//! Faults that a real registry does not give on demand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use kiops_core::error::Retry;
use kiops_core::http::{
    Body, HostRule, HttpService, Reply, ReqwestConfig, ReqwestService, ScriptedHttp, Seen, SystemTimer,
    TestTimer,
};
use kiops_core::image::{Manifest, Registry as _, RegistryCredential, TagPage};
use kiops_core::name::{Digest, ImageName};
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, stream};
use kiops_registry::oci::{Oci, OciConfig};
use proptest::prelude::*;

use super::daemon::{ALICE, Auth, Daemon};
use crate::fixtures::{MANIFEST, image, tag};

const HOST: &str = "registry.example.com";

fn login(username: &str, password: &str) -> RegistryCredential {
    let password = Secret::new(password).unwrap();
    RegistryCredential { host: HOST.into(), username: username.into(), password }
}

fn app() -> ImageName {
    image("registry.example.com/team/app")
}

fn client_of(config: OciConfig, http: &ScriptedHttp) -> Oci {
    let service = Arc::new(http.clone());
    Oci::new(config, Some(login("alice", "wonderland")), service, Arc::new(SystemTimer)).unwrap()
}

fn client(http: &ScriptedHttp) -> Oci {
    client_of(OciConfig::new(HOST), http)
}

fn answers(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> ScriptedHttp {
    ScriptedHttp::answering(answer)
}

fn asks_for_token(realm: &str) -> Reply {
    Reply::status(401).header("www-authenticate", &format!("Bearer realm=\"{realm}\",service=\"s\""))
}

/// What of the account was sent, and to which host.
fn accounts_sent(http: &ScriptedHttp) -> Vec<(String, String)> {
    let seen = http.seen().into_iter().filter(|seen| seen.headers.contains_key(header::AUTHORIZATION));
    seen.map(|seen| {
        let host = seen.url.split('/').nth(2).unwrap_or_default().to_owned();
        (host, seen.header("authorization").to_owned())
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn every_status_is_told_by_its_kind_with_what_to_do() {
    for (status, kind) in [
        (403, ErrorKind::Forbidden),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (302, ErrorKind::Invalid),
    ] {
        let http = answers(move |_| {
            let body = r#"{"errors":[{"code":"SOMETHING","message":"in its own words"}]}"#;
            let reply = Reply::status(status).body(body);
            // With a 403 it would be a rate limit.
            if status > 404 { reply.header("retry-after", "90") } else { reply }
        });
        let error = client(&http).manifest(&app(), &Digest::of(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.message().contains("SOMETHING: in its own words"), "{status}: {error}");
        assert!(error.remedy().is_some() || kind == ErrorKind::Unavailable, "{status}: {error:?}");
        let waits = matches!(status, 429 | 500 | 503);
        assert_eq!(error.retry() == Retry::After(90), waits, "{status}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_busy_for_a_moment_is_asked_again() {
    let tries = Mutex::new(0);
    let content = Bytes::from_static(b"{}");
    let http = answers(move |_| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        let busy = Reply::status(503).header("retry-after", "1");
        if *tries < 3 {
            busy
        } else {
            Reply::status(200).header("content-type", MANIFEST).body(content.clone())
        }
    });
    client(&http).manifest(&app(), &Digest::of(b"{}")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_realm_on_another_host_gets_no_account_unless_it_is_listed() {
    for realm in [
        "https://tokens.evil.example/token",
        "http://registry.example.com/token",
        "https://registry.example.com:8443/token",
        "https://alice@registry.example.com/token",
        "https://auth.docker.io/token",
        "file:///etc/passwd",
    ] {
        let http = answers(move |_| asks_for_token(realm));
        let error = client(&http).resolve(&app().tagged(tag("v1"))).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Forbidden), "{realm}: {error}");
        assert!(error.remedy().unwrap().contains("realms"), "{realm}: {error:?}");
        assert_eq!(accounts_sent(&http), [], "{realm}");
    }
    let http = answers(|seen| match seen.path() {
        "/jwt/auth" => Reply::json(r#"{"access_token":"t","expires_in":60}"#),
        _ if seen.header("authorization") == "Bearer t" => Reply::status(404),
        _ => asks_for_token("https://gitlab.example.com/jwt/auth"),
    });
    let mut config = OciConfig::new(HOST);
    config.realms.push(HostRule::parse("https://gitlab.example.com/jwt/auth").unwrap());
    assert_eq!(client_of(config, &http).resolve(&app().tagged(tag("v1"))).await.unwrap(), None);
    let [realm, registry] = &accounts_sent(&http)[..] else { panic!("{:?}", http.seen()) };
    assert!(realm.0 == "gitlab.example.com" && realm.1.starts_with("Basic "));
    assert_eq!(registry, &(HOST.to_owned(), "Bearer t".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn alibabas_registries_get_their_tokens_from_their_own_region() {
    use kiops_registry::acr::{Network, instance, region};
    for (config, realm) in [
        (region("cn-hangzhou", Network::Public), "https://dockerauth.cn-hangzhou.aliyuncs.com/auth"),
        (region("cn-hangzhou", Network::Vpc), "https://dockerauth-vpc.cn-hangzhou.aliyuncs.com/auth"),
        (
            instance("shop", "cn-beijing", Network::Public),
            "https://dockerauth-ee.cn-beijing.aliyuncs.com/auth",
        ),
        (region("cn-zhangjiakou", Network::Public), "https://dockerauth-cn-zhangjiakou.aliyuncs.com/auth"),
    ] {
        let config = config.unwrap();
        let host = config.host.clone();
        let http = answers(move |seen| match seen.path() {
            "/auth" => Reply::json(r#"{"token":"t","expires_in":300}"#),
            _ if seen.header("authorization") == "Bearer t" => {
                Reply::json(r#"{"name":"team/app","tags":["v1","v2"]}"#)
            }
            _ => asks_for_token(realm),
        });
        let app = image(&format!("{host}/team/app"));
        let tags = client_of(config.clone(), &http).tags(&app, &TagPage::default()).await.unwrap();
        assert_eq!(tags, [tag("v1"), tag("v2")], "{host}");
        let http = answers(|_| asks_for_token("https://dockerauth.cn-shenzhen.aliyuncs.com/auth"));
        let error = client_of(config, &http).tags(&app, &TagPage::default()).await.unwrap_err();
        assert_eq!((error.kind(), accounts_sent(&http)), (ErrorKind::Forbidden, Vec::new()), "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_takes_no_account_along_and_goes_only_where_it_may() {
    let blob = Bytes::from_static(b"layer");
    let digest = Digest::of(&blob);
    let http = answers(move |seen| match seen.url.split('/').nth(2).unwrap_or_default() {
        HOST if seen.header("authorization").is_empty() => {
            Reply::status(401).header("www-authenticate", "Basic realm=x")
        }
        HOST => Reply::redirect(307, "https://store.example.net/layer?signature=s"),
        _ => Reply::status(200).body(blob.clone()),
    });
    let error = client(&http).blob(&app(), &digest).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(!error.to_string().contains("signature"), "{error}");
    let mut config = OciConfig::new(HOST);
    config.redirects.push(HostRule::parse("https://store.example.net/").unwrap());
    let stream = client_of(config, &http).blob(&app(), &digest).await.unwrap();
    assert_eq!(stream::collect(stream, 99).await.unwrap(), "layer");
    assert!(accounts_sent(&http).iter().all(|(host, _)| host == HOST));
}

#[tokio::test(start_paused = true)]
async fn two_accounts_at_one_host_never_mix() {
    let http = answers(|seen| match seen.path() {
        "/token" => Reply::json(format!(r#"{{"token":"of-{}"}}"#, seen.header("authorization").len())),
        _ if seen.header("authorization").is_empty() => asks_for_token("https://registry.example.com/token"),
        _ => Reply::status(404),
    });
    let of = |name: &str| {
        let service = Arc::new(http.clone());
        Oci::new(OciConfig::new(HOST), Some(login(name, "p")), service, Arc::new(SystemTimer)).unwrap()
    };
    let (short, long) = (of("a"), of("somebody-else"));
    for _ in 0..3 {
        for client in [&short, &long] {
            client.resolve(&app().tagged(tag("v1"))).await.unwrap();
        }
    }
    let sent: Vec<String> = accounts_sent(&http).into_iter().map(|(_, sent)| sent).collect();
    let bearers: Vec<&String> = sent.iter().filter(|sent| sent.starts_with("Bearer")).collect();
    assert_eq!(bearers.len(), 6);
    assert!(bearers.chunks(2).all(|pair| pair[0] != pair[1] && pair == &bearers[..2]), "{bearers:?}");
    assert_eq!(sent.len() - bearers.len(), 2, "each fetched one token with its own account: {sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_or_refused_is_replaced_once() {
    let count = Arc::new(Mutex::new(0));
    let refuse = Arc::new(Mutex::new(None::<String>));
    let http = {
        let (count, refuse) = (Arc::clone(&count), Arc::clone(&refuse));
        answers(move |seen| {
            if seen.path() == "/token" {
                let mut count = count.lock().unwrap();
                *count += 1;
                return Reply::json(format!(r#"{{"token":"t{count}","expires_in":300}}"#));
            }
            let sent = seen.header("authorization");
            let refused = refuse.lock().unwrap().as_deref() == Some(sent);
            if sent.is_empty() || refused {
                asks_for_token("https://registry.example.com/token")
            } else {
                Reply::status(404)
            }
        })
    };
    let service = Arc::new(http.clone());
    let timer = Arc::new(TestTimer::at(jiff::Timestamp::from_second(1_800_000_000).unwrap()));
    let client = Oci::new(OciConfig::new(HOST), Some(login("a", "p")), service, timer).unwrap();
    let reference = app().tagged(tag("v1"));
    let ask = || client.resolve(&reference);
    ask().await.unwrap();
    ask().await.unwrap();
    assert_eq!(*count.lock().unwrap(), 1);
    tokio::time::advance(Duration::from_secs(299)).await;
    ask().await.unwrap();
    assert_eq!(*count.lock().unwrap(), 2, "one that ends in a second is over");
    *refuse.lock().unwrap() = Some("Bearer t2".into());
    ask().await.unwrap();
    assert_eq!(*count.lock().unwrap(), 3, "one that was withdrawn is replaced");
    *refuse.lock().unwrap() = Some("Bearer t4".into());
    ask().await.unwrap();
    assert_eq!(*count.lock().unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_every_token_is_asked_twice_and_no_more() {
    let http = answers(|seen| match seen.path() {
        "/token" => Reply::json(r#"{"token":"t"}"#),
        _ => asks_for_token("https://registry.example.com/token"),
    });
    let error = client(&http).manifest(&app(), &Digest::of(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "the account is known and may not: {error}");
    assert_eq!(http.seen().iter().filter(|seen| seen.path().starts_with("/v2/")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_comes_with_another_digest_is_refused() {
    let http = answers(|_| Reply::status(200).header("content-type", MANIFEST).body("{}"));
    let error = client(&http).manifest(&app(), &Digest::of(b"other")).await.unwrap_err();
    assert!(error.message().contains("another digest"), "{error}");
    let stream = client(&http).blob(&app(), &Digest::of(b"other")).await.unwrap();
    let error = stream::collect(stream, 99).await.unwrap_err();
    assert!(error.message().contains("another digest"), "{error}");
    let http = answers(|_| Reply::status(201).header("docker-content-digest", Digest::of(b"other").as_str()));
    let manifest = Manifest { media_type: MANIFEST.into(), bytes: "{}".into() };
    let error = client(&http).put_manifest(&app(), &manifest).await.unwrap_err();
    assert!(error.message().contains("another digest"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_endless_answer_is_cut_off() {
    let endless = || {
        Body::once(None, Box::pin(futures_util::stream::repeat_with(|| Ok(Bytes::from(vec![b' '; 65_536])))))
    };
    let http = answers(move |_| Reply::status(200).body(endless()));
    let error = client(&http).manifest(&app(), &Digest::of(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let error = client(&http).tags(&app(), &TagPage::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    // Also where it is an error's.
    let http = answers(move |_| Reply::status(403).body(endless()));
    let error = client(&http).manifest(&app(), &Digest::of(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
}

/// A blob's bytes from `start`, which end after `many` with an error or a silent hang-up.
fn broken(content: &Bytes, start: usize, many: usize, loud: bool) -> Body {
    let part = content.slice(start..(start + many).min(content.len()));
    let cut = start + many < content.len();
    let error = (cut && loud).then(|| Err(Error::unavailable("read", "connection reset")));
    let chunks: Vec<_> = [Ok(part)].into_iter().chain(error).collect();
    let length = (content.len() - start) as u64;
    Body::once(Some(length), Box::pin(futures_util::stream::iter(chunks)))
}

#[tokio::test(start_paused = true)]
async fn a_blob_whose_stream_breaks_is_gone_on_with_where_it_broke() {
    let content = Bytes::from((0..1000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let digest = Digest::of(&content);
    for (ranges, loud) in [(true, true), (true, false), (false, true), (false, false)] {
        let blob = content.clone();
        let tries = Mutex::new(0);
        let http = answers(move |seen| {
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            let start = seen
                .header("range")
                .strip_prefix("bytes=")
                .and_then(|range| range.split('-').next()?.parse().ok());
            match start.filter(|_| ranges) {
                Some(start) => Reply::status(206)
                    .header("content-range", &format!("bytes {start}-999/1000"))
                    .body(broken(&blob, start, 300, loud)),
                None => Reply::status(200).body(broken(&blob, 0, 300 * *tries, loud)),
            }
        });
        let stream = client(&http).blob(&app(), &digest).await.unwrap();
        assert_eq!(stream::collect(stream, 9999).await.unwrap(), content, "{ranges} {loud}");
        assert_eq!(http.seen().len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_breaks_again_and_again_is_an_error_in_the_end() {
    let content = Bytes::from(vec![1; 1000]);
    let digest = Digest::of(&content);
    let http = answers(move |_| Reply::status(200).body(broken(&content, 0, 300, true)));
    let stream = client(&http).blob(&app(), &digest).await.unwrap();
    let error = stream::collect(stream, 9999).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_never_sent_to_another_host() {
    let http = answers(|seen| match (seen.method.as_str(), seen.path()) {
        ("HEAD", _) => Reply::status(404),
        ("POST", _) => {
            Reply::status(202).header("location", "https://evil.example/v2/team/app/blobs/uploads/1")
        }
        _ => Reply::status(201),
    });
    let content = Bytes::from_static(b"layer");
    let put = client(&http).put_blob(&app(), &Digest::of(&content), 5, stream::once(content)).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Forbidden);
    assert!(http.seen().iter().all(|seen| seen.url.contains(HOST)));
}

#[tokio::test(start_paused = true)]
async fn an_upload_behind_a_proxy_stays_encrypted() {
    let http = answers(|seen| match (seen.method.as_str(), seen.path()) {
        ("HEAD", _) => Reply::status(404),
        ("POST", _) => Reply::status(202)
            .header("location", "http://registry.example.com:80/v2/team/app/blobs/uploads/1?s=x"),
        _ => Reply::status(201),
    });
    let content = Bytes::from_static(b"layer");
    client(&http).put_blob(&app(), &Digest::of(&content), 5, stream::once(content.clone())).await.unwrap();
    let put = http.seen().pop().unwrap();
    let query = format!("?s=x&digest={}", Digest::of(&content).as_str().replace(':', "%3A"));
    assert_eq!(put.url, format!("https://{HOST}/v2/team/app/blobs/uploads/1{query}"));
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_becomes_an_upload_is_let_go_of() {
    let http = answers(|seen| match seen.method.as_str() {
        "POST" => Reply::status(202).header("location", "/v2/team/app/blobs/uploads/1"),
        _ => Reply::status(204),
    });
    let from = image("registry.example.com/team/base");
    assert!(!client(&http).mount_blob(&app(), &from, &Digest::of(b"x")).await.unwrap());
    let last = http.seen().pop().unwrap();
    assert_eq!((&last.method, last.path()), (&Method::DELETE, "/v2/team/app/blobs/uploads/1"));
}

#[tokio::test(start_paused = true)]
async fn pages_of_tags_are_followed_as_the_registry_counts_them_and_on_our_own_path() {
    let http = answers(|seen| {
        let page = |tags: &str, next: &str| {
            let link = format!("<https://evil.example/v2/other/tags/list?{next}>; rel=\"next\"");
            Reply::json(format!(r#"{{"name":"team/app","tags":[{tags}]}}"#)).header("link", &link)
        };
        match seen.url.split_once('?').map(|(_, query)| query) {
            Some("n=1000") => page(r#""b","a","not a tag""#, "next_page=opaque%2B"),
            Some("next_page=opaque%2B") => Reply::json(r#"{"tags":["c"]}"#),
            _ => Reply::status(400),
        }
    });
    let tags = client(&http).tags(&app(), &TagPage::default()).await.unwrap();
    assert_eq!(tags, [tag("a"), tag("b"), tag("c")]);
    assert!(http.seen().iter().all(|seen| seen.url.starts_with("https://registry.example.com/v2/team/app/")));
}

#[tokio::test(start_paused = true)]
async fn pages_of_tags_that_never_end_are_an_error() {
    let http = answers(|_| {
        Reply::json(r#"{"tags":["b","a"]}"#)
            .header("link", "</v2/team/app/tags/list?last=a&n=2>; rel=\"next\"")
    });
    let error = client(&http).tags(&app(), &TagPage::default()).await.unwrap_err();
    assert!(error.message().contains("never ends"), "{error}");
    let http = answers(|seen| {
        let last: u32 = seen.url.rsplit_once("last=t").and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
        let next = format!("</x?last=t{:06}>; rel=\"next\"", last + 1);
        Reply::json(format!(r#"{{"tags":["t{:06}"]}}"#, last + 1)).header("link", &next)
    });
    let config = OciConfig { max_tags: 50, ..OciConfig::new(HOST) };
    let error = client_of(config, &http).tags(&app(), &TagPage::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_tags_that_breaks_off_is_an_error_and_not_a_shorter_list() {
    let http = answers(|seen| match seen.url.contains("last=a") {
        true => Reply::status(404),
        false => Reply::json(r#"{"tags":["a"]}"#).header("link", "</v2/x?last=a>; rel=\"next\""),
    });
    let error = client(&http).tags(&app(), &TagPage::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let nothing = answers(|_| Reply::status(404));
    assert_eq!(client(&nothing).tags(&app(), &TagPage::default()).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn images_of_another_host_are_refused_before_anything_is_asked() {
    let http = answers(|_| Reply::status(200));
    let other = image("docker.io/library/alpine");
    let client = client(&http);
    assert_eq!(client.resolve(&other.tagged(tag("3"))).await.unwrap_err().kind(), ErrorKind::Invalid);
    client.manifest(&other, &Digest::of(b"x")).await.unwrap_err();
    client.tag(&other, &tag("t"), &Digest::of(b"x")).await.unwrap_err();
    client.delete(&other.tagged(tag("t"))).await.unwrap_err();
    assert!(!client.mount_blob(&app(), &other, &Digest::of(b"x")).await.unwrap());
    assert!(http.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn docker_hubs_own_images_are_found_below_library() {
    let http = answers(|_| Reply::status(404));
    let service = Arc::new(http.clone());
    let hub = Oci::new(OciConfig::new("docker.io"), None, service, Arc::new(SystemTimer)).unwrap();
    hub.resolve(&image("docker.io/alpine").tagged(tag("3"))).await.unwrap();
    assert_eq!(http.seen()[0].url, "https://registry-1.docker.io/v2/library/alpine/manifests/3");
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_said_not_to_be_there_and_is_is_removed_all_the_same() {
    let removed = Arc::new(Mutex::new(false));
    let http = {
        let removed = Arc::clone(&removed);
        answers(move |seen| match (seen.method.as_str(), seen.path().contains("sha256:")) {
            ("DELETE", true) => {
                *removed.lock().unwrap() = true;
                Reply::status(202)
            }
            ("DELETE", false) => Reply::status(404),
            ("HEAD", _) => Reply::status(200)
                .header("content-length", "2")
                .header("docker-content-digest", Digest::of(b"x").as_str()),
            _ => Reply::status(201),
        })
    };
    client(&http).delete(&app().tagged(tag("v1"))).await.unwrap();
    assert!(*removed.lock().unwrap());
    assert!(http.seen().iter().any(|seen| seen.method == Method::PUT && seen.path().ends_with("/v1")));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_whose_blob_the_registry_does_not_see_yet_may_be_put_again() {
    let manifest = Manifest {
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        bytes: Bytes::from_static(b"{}"),
    };
    for (code, retry) in [("MANIFEST_BLOB_UNKNOWN", Retry::Maybe), ("MANIFEST_INVALID", Retry::Never)] {
        let http = answers(move |_| {
            Reply::status(400).body(format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#))
        });
        let error = client(&http).put_manifest(&app(), &manifest).await.unwrap_err();
        assert_eq!(error.retry(), retry, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_mirror_is_asked_no_more() {
    let (good, bad) = (Bytes::from_static(b"layer"), Bytes::from_static(b"other"));
    let digest = Digest::of(&good);
    let http = answers(move |seen| {
        Reply::status(200).body(if seen.url.contains("mirror") { bad.clone() } else { good.clone() })
    });
    let config = OciConfig { mirrors: vec!["https://mirror.example.com".into()], ..OciConfig::new(HOST) };
    let client = client_of(config, &http);
    let error = stream::collect(client.blob(&app(), &digest).await.unwrap(), 99).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Maybe, "{error}");
    assert_eq!(stream::collect(client.blob(&app(), &digest).await.unwrap(), 99).await.unwrap(), "layer");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_deletes_nothing_keeps_its_tags_as_they_are() {
    let http = answers(|seen| match seen.method.as_str() {
        "DELETE" => Reply::status(405).body(r#"{"errors":[{"code":"UNSUPPORTED","message":"no"}]}"#),
        "HEAD" => Reply::status(200)
            .header("content-length", "2")
            .header("docker-content-digest", Digest::of(b"x").as_str()),
        _ => Reply::status(201),
    });
    for reference in [app().at(Digest::of(b"x")), app().tagged(tag("v1"))] {
        let error = client(&http).delete(&reference).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let touched = |seen: &&Seen| seen.method == Method::PUT && seen.path().ends_with("/v1");
    assert_eq!(http.seen().iter().filter(touched).count(), 0);
}

/// A service that breaks some of the uploads' pieces on their way: before they arrive, half-way, or after.
#[derive(Debug)]
struct Breaking<S> {
    inner: S,
    /// What happens to each PATCH in turn.
    script: Mutex<Vec<u8>>,
}

#[async_trait]
impl<S: HttpService> HttpService for Breaking<S> {
    async fn call(&self, mut request: Request<Body>) -> kiops_core::Result<Response<Body>> {
        let broken = || Error::unavailable("call", "connection reset");
        let fault = if *request.method() == Method::PATCH { self.script.lock().unwrap().pop() } else { None };
        match fault {
            Some(1) => Err(broken()),
            Some(2) => {
                let whole = request.body().as_bytes().unwrap().clone();
                let half = whole.slice(..whole.len() / 2);
                if !half.is_empty() {
                    let end = piece_start(request.headers()) + half.len() - 1;
                    let range = format!("{}-{end}", piece_start(request.headers()));
                    request.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
                    *request.body_mut() = half.into();
                    self.inner.call(request).await?;
                }
                Err(broken())
            }
            Some(3) => {
                self.inner.call(request).await?;
                Err(broken())
            }
            _ => self.inner.call(request).await,
        }
    }
}

fn piece_start(headers: &http::HeaderMap) -> usize {
    headers[header::CONTENT_RANGE].to_str().unwrap().split('-').next().unwrap().parse().unwrap()
}

/// A registry that keeps one upload as the specification has it: a piece goes on where the last one ended, and the status says where.
fn by_the_book(stored: &Arc<Mutex<Vec<u8>>>) -> ScriptedHttp {
    let stored = Arc::clone(stored);
    answers(move |seen| {
        let mut stored = stored.lock().unwrap();
        let at = |reply: Reply, length: usize| {
            let range = format!("0-{}", length.saturating_sub(1));
            reply
                .header("location", &format!("/v2/team/app/blobs/uploads/at-{length}"))
                .header("range", &range)
        };
        match seen.method.as_str() {
            "HEAD" => Reply::status(404),
            "POST" => {
                stored.clear();
                at(Reply::status(202), 0)
            }
            "PATCH" if piece_start(&seen.headers) == stored.len() => {
                stored.extend_from_slice(&seen.body);
                at(Reply::status(202), stored.len())
            }
            "PATCH" => at(Reply::status(416), stored.len()),
            "GET" => at(Reply::status(204), stored.len()),
            "PUT" => {
                stored.extend_from_slice(&seen.body);
                let named = seen.url.ends_with(&Digest::of(&stored).as_str().replace(':', "%3A"));
                Reply::status(if named { 201 } else { 400 })
            }
            _ => Reply::status(400),
        }
    })
}

fn contents(size: usize, seed: u8) -> (Bytes, Digest) {
    let content: Vec<u8> = (0..size).map(|n| (n * 31 + n / 251) as u8 ^ seed).collect();
    let digest = Digest::of(&content);
    (content.into(), digest)
}

#[test]
fn a_piece_goes_on_wherever_its_connection_breaks() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let config = OciConfig { piece_bytes: 64 << 10, ..OciConfig::new(HOST) };
    // More than three faults one after the other may be more than are borne.
    let faults = proptest::collection::vec(0_u8..4, 0..4);
    proptest!(|(script in faults, size in 64_000..300_000_usize, seed in any::<u8>())| {
        let (content, digest) = contents(size, seed);
        let stored = Arc::default();
        let service = Breaking { inner: by_the_book(&stored), script: Mutex::new(script) };
        let client = Oci::new(config.clone(), None, Arc::new(service), Arc::new(SystemTimer)).unwrap();
        let name = app();
        let put = client.put_blob(&name, &digest, size as u64, stream::once(content.clone()));
        runtime.block_on(put).unwrap();
        prop_assert!(*stored.lock().unwrap() == content);
    });
}

/// This one gives an upload up where it has more of it than its own answers said.
#[test]
fn an_upload_that_a_real_registry_gave_up_is_safely_repeated() {
    let Some(daemon) = Daemon::start(Auth::Htpasswd) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut config = daemon.config();
    config.piece_bytes = 64 << 10;
    let app = image(&format!("{}/team/app", daemon.host()));
    let faults = proptest::collection::vec(0_u8..4, 0..4);
    let cases = ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(cases, |(script in faults, size in 150_000..300_000_usize, seed in any::<u8>())| {
        let (content, digest) = contents(size, seed);
        let inner = ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap();
        let service = Arc::new(Breaking { inner, script: Mutex::new(script.clone()) });
        let client = daemon.client_over(config.clone(), Some(ALICE), service);
        runtime.block_on(async {
            for _ in 0..=script.len() {
                match client.put_blob(&app, &digest, size as u64, stream::once(content.clone())).await {
                    Ok(()) => return,
                    Err(error) => assert_eq!(error.retry(), Retry::Maybe, "{error}"),
                }
            }
            panic!("each fault ends one try at most: {script:?}");
        });
        prop_assert!(std::fs::read(daemon.blob(digest.hex())).unwrap() == content);
    });
}
