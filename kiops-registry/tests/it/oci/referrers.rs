//! What is attached to images: with a real registry, which keeps no list, and with scripted ones that do.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use kiops_core::ErrorKind;
use kiops_core::filter::TagFilter;
use kiops_core::http::{Reply, ScriptedHttp, Seen, SystemTimer};
use kiops_core::image::{
    Attachment, ImageUse, Referrers, Registry as _, RetentionFacts, RetentionPolicy, TagGroup,
    plan_retention, prune, referrers_tag,
};
use kiops_core::name::{Digest, ImageName};
use kiops_registry::oci::{Oci, OciConfig};
use serde_json::{Value, json};

use super::daemon::{Auth, Daemon};
use crate::fixtures::{MANIFEST, image, push, tag};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SBOM: &str = "application/spdx+json";

fn sbom(word: &str) -> Attachment {
    Attachment::sbom(format!(r#"{{"spdxVersion":"SPDX-2.3","name":"{word}"}}"#)).unwrap()
}

/// The body of a plain GET, by nothing of ours.
fn plain_get(host: &str, path: &str, accept: &str) -> Value {
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 OK"), "{path}: {head}");
    serde_json::from_str(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_reads_back_by_plain_http() {
    let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
    let (client, host) = (daemon.client(None), daemon.host());
    let app = image(&format!("{host}/team/app"));
    let subject = push(&client, app.as_str(), &["v1"], "one").await;
    let attached = client.attach(&app, &subject, &sbom("one")).await.unwrap();
    let list = plain_get(&host, &format!("/v2/team/app/manifests/sha256-{}", subject.hex()), INDEX);
    assert_eq!((&list["mediaType"], &list["schemaVersion"]), (&json!(INDEX), &json!(2)));
    let entry = &list["manifests"][0];
    assert_eq!((&entry["digest"], &entry["artifactType"]), (&json!(attached), &json!(SBOM)));
    let manifest = plain_get(&host, &format!("/v2/team/app/manifests/{attached}"), MANIFEST);
    assert_eq!(manifest["subject"]["digest"], subject.as_str());
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    let layer = &manifest["layers"][0];
    let content =
        plain_get(&host, &format!("/v2/team/app/blobs/{}", layer["digest"].as_str().unwrap()), "*/*");
    assert_eq!((&content["name"], &layer["mediaType"]), (&json!("one"), &json!(SBOM)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_goes_takes_along_what_is_attached_to_it() {
    let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
    let client = daemon.client(None);
    let app = image(&format!("{}/team/app", daemon.host()));
    let old = push(&client, app.as_str(), &["old"], "old").await;
    let new = push(&client, app.as_str(), &["new"], "new").await;
    for digest in [&old, &new] {
        client.attach(&app, digest, &sbom("both")).await.unwrap();
    }
    let now = Timestamp::now();
    let ages = [(old.clone(), now - SignedDuration::from_hours(48)), (new.clone(), now)];
    let used = ImageUse { built: ages.into(), ..ImageUse::default() };
    let tags = TagFilter::parse(["*"]).unwrap();
    let group = TagGroup { tags, newest: Some(1), ..TagGroup::default() };
    let policy = RetentionPolicy { groups: vec![group], ..RetentionPolicy::default() };
    let facts = RetentionFacts::read(&client, &app, used).await.unwrap();
    let report = prune(&client, &plan_retention(&policy, &facts, now)).await.unwrap();
    assert!(report.is_done() && report.items.len() == 2, "{report:?}");
    assert_eq!(client.list(&app, &old, None).await.unwrap(), []);
    assert_eq!(client.list(&app, &new, None).await.unwrap().len(), 1);
    let tags = client.tags(&app, &kiops_core::image::TagPage::default()).await.unwrap();
    assert_eq!(tags, [tag("new"), referrers_tag(&new).unwrap()]);
}

fn app() -> ImageName {
    image("registry.example.com/team/app")
}

const SUBJECT: &str = r#"{"schemaVersion":2,"layers":[]}"#;

fn subject() -> Digest {
    Digest::of(SUBJECT.as_bytes())
}

fn client(http: &ScriptedHttp) -> Oci {
    let config = OciConfig::new("registry.example.com");
    Oci::new(config, None, Arc::new(http.clone()), Arc::new(SystemTimer)).unwrap()
}

/// A registry that has the subject and all blobs, and takes every manifest; `other` answers first.
fn scripted(other: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> ScriptedHttp {
    let blobs: BTreeMap<Digest, usize> = ["{}".to_owned()]
        .into_iter()
        .chain(sbom("x").payloads.iter().map(|one| String::from_utf8(one.bytes.to_vec()).unwrap()))
        .map(|text| (Digest::of(text.as_bytes()), text.len()))
        .collect();
    ScriptedHttp::answering(move |seen| {
        if let Some(reply) = other(seen) {
            return reply;
        }
        let (before, last) = seen.path().rsplit_once('/').unwrap();
        let digest = Digest::parse(last).ok();
        match (&seen.method, before) {
            (&Method::GET, "/v2/team/app/manifests") if digest == Some(subject()) => {
                Reply::status(200).header("content-type", MANIFEST).body(SUBJECT)
            }
            (&Method::HEAD, "/v2/team/app/blobs") => match digest.and_then(|digest| blobs.get(&digest)) {
                Some(size) => Reply::status(200).header("content-length", &size.to_string()),
                None => Reply::status(404),
            },
            (&Method::PUT, "/v2/team/app/manifests") => Reply::status(201),
            _ => Reply::status(404),
        }
    })
}

fn puts(http: &ScriptedHttp) -> Vec<String> {
    let puts = http.seen().into_iter().filter(|seen| seen.method == Method::PUT);
    puts.map(|seen| seen.path().rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_registry_that_lists_by_itself_gets_no_tag() {
    // It says so with the manifest, or only by having a list.
    let told = scripted(|seen| {
        let is_put = seen.method == Method::PUT;
        is_put.then(|| Reply::status(201).header("oci-subject", subject().as_str()))
    });
    let listing = scripted(|seen| {
        let empty = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": null});
        seen.path().contains("/referrers/").then(|| Reply::json(empty.to_string()))
    });
    for http in [told, listing] {
        let attached = client(&http).attach(&app(), &subject(), &sbom("x")).await.unwrap();
        assert_eq!(puts(&http), [attached.as_str()]);
    }
    // Of another subject it says nothing about ours.
    let other = scripted(|seen| {
        let is_put = seen.method == Method::PUT;
        is_put.then(|| Reply::status(201).header("oci-subject", Digest::of(b"other").as_str()))
    });
    client(&other).attach(&app(), &subject(), &sbom("x")).await.unwrap_err();
    assert!(puts(&other).len() > 1, "{:?}", puts(&other));
}

fn entry(n: u8, kind: &str) -> Value {
    json!({"mediaType": MANIFEST, "digest": Digest::of(&[n]), "size": 7, "artifactType": kind, "data": "e30=",
        "annotations": null})
}

#[tokio::test]
async fn a_registrys_own_list_is_read_page_by_page_and_filtered_where_it_was_not() {
    let http = scripted(|seen| {
        let page = |entries: &[Value]| {
            Reply::json(json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string())
        };
        let next = format!("</v2/team/app/referrers/{}?page=2>; rel=\"next\"", subject());
        let sha512 = json!({"mediaType": MANIFEST, "digest": "sha512:abc", "size": 1});
        seen.path().contains("/referrers/").then(|| match seen.url.contains("page=2") {
            false => page(&[entry(1, SBOM), entry(2, "application/x")]).header("link", &next),
            true => page(&[entry(3, SBOM), entry(1, SBOM), sha512]),
        })
    });
    let listed = client(&http).list(&app(), &subject(), Some(SBOM)).await.unwrap();
    let mut expected = vec![Digest::of(&[1]), Digest::of(&[3])];
    expected.sort();
    assert_eq!(listed.into_iter().map(|one| one.digest).collect::<Vec<_>>(), expected);
    assert!(
        http.seen()[0].url.ends_with("?artifactType=application%2Fspdx%2Bjson"),
        "{}",
        http.seen()[0].url
    );
    assert_eq!(client(&http).list(&app(), &subject(), None).await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_ends_and_one_that_is_none_are_refused() {
    let same = json!({"manifests": [entry(1, SBOM)]}).to_string();
    for body in [r#"{"manifests":[]}"#, "<html>", &same].map(str::to_owned) {
        let http = scripted(move |seen| {
            let reply = || Reply::json(body.clone()).header("link", "</v2/x?page=2>; rel=\"next\"");
            seen.path().contains("/referrers/").then(reply)
        });
        let error = client(&http).list(&app(), &subject(), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(http.seen().len() < 10);
    }
    let denied = scripted(|seen| seen.path().contains("/referrers/").then(|| Reply::status(403)));
    let error = client(&denied).list(&app(), &subject(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "what is refused is not the same as what is not there");
}

/// The list that a tag stands for, at a registry that checks conditions or does not.
#[derive(Debug, Default)]
struct List {
    entries: Option<Vec<Value>>,
    puts: usize,
}

/// A registry with such a list, in which others change something right before and right after each change of ours.
fn with_list(
    list: &Arc<Mutex<List>>,
    checks: bool,
    before: impl Fn(&mut List) + Send + Sync + 'static,
    after: impl Fn(&mut List) + Send + Sync + 'static,
) -> ScriptedHttp {
    let list = Arc::clone(list);
    scripted(move |seen| {
        if !seen.path().ends_with(referrers_tag(&subject()).unwrap().as_str()) {
            return None;
        }
        let mut list = list.lock().unwrap();
        let text = |entries: &Vec<Value>| {
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": {"a": "b"}})
                .to_string()
        };
        let known_by = |list: &List| {
            list.entries.as_ref().map(|entries| format!("\"{}\"", Digest::of(text(entries).as_bytes())))
        };
        if seen.method == Method::GET {
            return Some(match &list.entries {
                Some(entries) => Reply::json(text(entries)).header("etag", &known_by(&list).unwrap()),
                None => Reply::status(404),
            });
        }
        assert_eq!(seen.method, Method::PUT);
        list.puts += 1;
        before(&mut list);
        let known_by = known_by(&list);
        let is_met = match &known_by {
            Some(known_by) => seen.header("if-match") == known_by,
            None => seen.header("if-none-match") == "*",
        };
        if checks && !is_met {
            return Some(Reply::status(412));
        }
        let put: Value = serde_json::from_slice(&seen.body).unwrap();
        list.entries = put["manifests"].as_array().cloned();
        after(&mut list);
        Some(Reply::status(201))
    })
}

fn digests(list: &Mutex<List>) -> Vec<String> {
    let list = list.lock().unwrap();
    let entries = list.entries.iter().flatten();
    let mut digests: Vec<String> =
        entries.map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect();
    digests.sort();
    digests
}

#[tokio::test(start_paused = true)]
async fn a_list_that_somebody_writes_over_is_written_again_with_theirs_in_it() {
    let list = Arc::<Mutex<List>>::default();
    // Whoever read the list before ours was in it puts theirs over it, twice.
    let http = with_list(
        &list,
        false,
        |_| {},
        |list| {
            let n = u8::try_from(list.puts).unwrap();
            if n <= 2 {
                list.entries = Some((1..=n).map(|n| entry(n, SBOM)).collect());
            }
        },
    );
    let attached = client(&http).attach(&app(), &subject(), &sbom("x")).await.unwrap();
    let mut expected = vec![Digest::of(&[1]).to_string(), Digest::of(&[2]).to_string(), attached.to_string()];
    expected.sort();
    assert_eq!(digests(&list), expected);
    assert_eq!(list.lock().unwrap().puts, 3);
    // What we do not know of their entries stays.
    assert!(list.lock().unwrap().entries.iter().flatten().any(|entry| entry["data"] == "e30="));
    client(&http).attach(&app(), &subject(), &sbom("x")).await.unwrap();
    assert_eq!(list.lock().unwrap().puts, 3, "what is listed is not listed again");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_checks_conditions_loses_nobodys_attachment() {
    let list = Arc::<Mutex<List>>::default();
    // Between our look and our change another one attaches something, once.
    let before = |list: &mut List| {
        if list.puts == 1 {
            list.entries = Some(vec![entry(1, SBOM)]);
        }
    };
    let http = with_list(&list, true, before, |_| {});
    let attached = client(&http).attach(&app(), &subject(), &sbom("x")).await.unwrap();
    let mut expected = vec![Digest::of(&[1]).to_string(), attached.to_string()];
    expected.sort();
    assert_eq!(digests(&list), expected);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_others_change_all_the_time_ends_in_an_error_that_says_try_again() {
    let list = Arc::<Mutex<List>>::default();
    let http = with_list(&list, false, |_| {}, |list| list.entries = Some(vec![entry(1, SBOM)]));
    let error = client(&http).attach(&app(), &subject(), &sbom("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Conflict, kiops_core::Retry::Maybe), "{error}");
    assert!(list.lock().unwrap().puts < 10);
}

#[tokio::test]
async fn a_tag_that_is_an_image_is_never_written_over() {
    let http = scripted(|seen| {
        let is_tag = seen.path().contains("/manifests/sha256-");
        (is_tag && seen.method == Method::GET)
            .then(|| Reply::status(200).header("content-type", MANIFEST).body(SUBJECT))
    });
    let error = client(&http).attach(&app(), &subject(), &sbom("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.remedy().unwrap().contains("another tag"), "{error:?}");
    assert_eq!(puts(&http).len(), 1, "the attachment itself");
}
