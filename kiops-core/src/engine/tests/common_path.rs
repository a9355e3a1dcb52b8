//! Deliveries on a path that names no sender: the headers say whose they are, and that sender's rules judge them.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode, header};

use super::ingest::{PATH, Sender, hook, push_of, records, signed_to, store, token, with_path};
use super::*;
use crate::engine::{Ingest, IngestLimits, Taken};
use crate::name::ProviderName;
use crate::secret::Secret;
use crate::store::Hook;
use crate::webhook::{Detector, SecretSet, WebhookSource};

/// `x-signed` shows `signed`, whatever else is there; then `x-open` shows `open`, and `x-far` a sender that nobody takes.
#[derive(Debug)]
struct Marks;

const MARKS: [(&str, &str); 3] = [("x-signed", "signed"), ("x-open", "open"), ("x-far", "far")];

impl Detector for Marks {
    fn detect(&self, headers: &HeaderMap) -> Option<ProviderName> {
        let found = MARKS.into_iter().find(|(mark, _)| headers.contains_key(*mark));
        found.map(|(_, name)| ProviderName::parse(name).unwrap())
    }

    fn marks(&self) -> Vec<&'static str> {
        MARKS.map(|(mark, _)| mark).to_vec()
    }
}

fn without_detector() -> Ingest {
    let senders = [Sender { name: "signed", signs: true }, Sender { name: "open", signs: false }];
    let senders = senders.map(|sender| Arc::new(sender) as Arc<dyn WebhookSource>);
    Ingest::new(senders, IngestLimits::default(), [7; 32])
}

fn ingest() -> Ingest {
    without_detector().with_detector(Arc::new(Marks))
}

fn take(store: &dyn Store, request: Request<Bytes>) -> Taken {
    now(ingest().handle(request, store, at(0)))
}

/// The same request with these headers more.
fn showing(mut request: Request<Bytes>, marks: &[&'static str]) -> Request<Bytes> {
    for mark in marks {
        request.headers_mut().insert(*mark, "push".parse().unwrap());
    }
    request
}

fn unsigned(path: &str, body: &str) -> Request<Bytes> {
    Request::post(path).body(Bytes::from(body.to_owned())).unwrap()
}

/// What a refusal says: its detail and its remedy.
fn said(response: &http::Response<Bytes>) -> String {
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    format!("{} {}", problem["detail"], problem["remedy"])
}

#[test]
fn a_delivery_on_the_common_path_is_the_same_as_on_its_senders_own() {
    let store = store(&[hook("app", "team/app", &[1])]);
    let body = push_of("team/app");
    for path in ["/api/v1/webhook", "/webhook/"] {
        let request = showing(signed_to(path, path, &token(1), &body), &["x-signed"]);
        let taken = take(&store, request);
        assert_eq!(taken.response.status(), StatusCode::OK, "{path}");
        let record = records(&store).remove(0);
        assert_eq!(taken.accepted, [Accepted::New(record.id.clone())]);
        assert_eq!((record.provider.as_str(), record.signed), ("signed", true));
        let again = take(&store, signed_to("/api/v1/webhook/signed", path, &token(1), &body));
        assert_eq!(again.accepted, [Accepted::Duplicate(record.id)], "sent to both, it is one");
    }
}

#[test]
fn whose_headers_a_request_shows_is_who_must_vouch_for_it() {
    let secret = SecretSet::new([Secret::new(PATH).unwrap()]);
    let provider = ProviderName::parse("open").unwrap();
    let open = Hook { provider, secrets: secret, ..with_path(hook("open", "team/app", &[])) };
    let store = store(&[hook("app", "team/app", &[1]), open]);
    let (body, own) = (push_of("team/app"), format!("/api/v1/webhook/{PATH}"));
    // The sender that signs nothing would take it by this path: the headers of the one that signs stand in the way.
    for marks in [&["x-signed"][..], &["x-open", "x-signed"]] {
        let taken = take(&store, showing(unsigned(&own, &body), marks));
        assert_eq!(taken.response.status(), StatusCode::UNAUTHORIZED, "{marks:?}");
    }
    // And the other way round: a signature is nothing to a sender that has none.
    let signed = signed_to("/api/v1/webhook", "a", &token(1), &body);
    assert_eq!(take(&store, showing(signed, &["x-open"])).response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(records(&store), []);

    let by_path = take(&store, showing(unsigned(&own, &body), &["x-open"]));
    assert_eq!(by_path.response.status(), StatusCode::OK);
    assert!(!records(&store)[0].signed, "what it claims is confirmed, as on its own path");
    let common = take(&store, showing(unsigned("/api/v1/webhook", &body), &["x-open"]));
    assert_eq!(common.response.status(), StatusCode::UNAUTHORIZED, "without the hook's id nothing proves it");
    let signed = signed_to("/api/v1/webhook", "b", &token(1), &body);
    let taken = take(&store, showing(signed, &["x-open", "x-signed"]));
    assert_eq!(taken.response.status(), StatusCode::OK);
    assert_eq!(records(&store)[0].provider.as_str(), "signed");
}

#[test]
fn guessing_on_the_common_path_costs_as_much_as_on_a_senders_own() {
    let store = store(&[hook("app", "team/app", &[1, 2])]);
    let mut answers = Vec::new();
    for path in ["/api/v1/webhook", "/api/v1/webhook/signed"] {
        for repository in ["team/app", "nobody/knows"] {
            let request = signed_to(path, "a", &token(9), &push_of(repository));
            let taken = take(&store, showing(request, &["x-signed"]));
            answers.push((taken.response.status(), taken.macs, taken.response.into_body()));
        }
    }
    assert_eq!((answers[0].0, answers[0].1), (StatusCode::UNAUTHORIZED, 2));
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn headers_that_show_nobody_are_told_which_ones_were_looked_for() {
    let store = store(&[hook("app", "team/app", &[1])]);
    for path in ["/api/v1/webhook", &format!("/api/v1/webhook/{PATH}")] {
        let taken = take(&store, signed_to(path, "a", &token(1), &push_of("team/app")));
        assert_eq!((taken.response.status(), taken.macs), (StatusCode::BAD_REQUEST, 0));
        let said = said(&taken.response);
        assert!(
            said.contains("x-signed, x-open, x-far") && said.contains(".../webhook/{provider}"),
            "{said}"
        );
        let far = take(&store, showing(unsigned(path, "{}"), &["x-far"]));
        assert_eq!(far.response.status(), StatusCode::NOT_FOUND);
        assert!(self::said(&far.response).contains("show sender `far`"));
    }
    assert_eq!(records(&store), []);
}

#[test]
fn without_a_detector_there_is_no_common_path() {
    let store = store(&[hook("app", "team/app", &[1])]);
    for path in ["/api/v1/webhook", "/api/v1/webhook/", &format!("/api/v1/webhook/{PATH}")] {
        let request = signed_to(path, "a", &token(1), &push_of("team/app"));
        let taken = now(without_detector().handle(showing(request, &["x-signed"]), &store, at(0)));
        assert_eq!(taken.response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let taken = now(without_detector().handle(unsigned("/api/v1/webhook", "{}"), &store, at(0)));
    let said = said(&taken.response);
    assert!(said.contains("names no sender") && said.contains(".../webhook/{provider}"), "{said}");
}

#[test]
fn what_a_heads_says_is_judged_on_the_common_path_as_well() {
    let ingest = ingest();
    let begin = |method: Method, path: &str, headers: &[(&'static str, &str)]| {
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), value.parse::<header::HeaderValue>().unwrap())
        });
        let begun = ingest.begin(&method, path, headers.collect());
        begun.map_or_else(|refused| refused.status(), |_| StatusCode::CONTINUE)
    };
    const SHOWN: (&str, &str) = ("x-signed", "push");
    assert_eq!(begin(Method::POST, "/ci/webhook", &[SHOWN]), StatusCode::CONTINUE);
    for path in ["/webhook/short", "/webhook/0123456789abcdef/more", "/webhooks", "/my-webhook"] {
        assert_eq!(begin(Method::POST, path, &[SHOWN]), StatusCode::NOT_FOUND, "{path}");
    }
    for headers in [&[SHOWN][..], &[]] {
        assert_eq!(begin(Method::GET, "/webhook", headers), StatusCode::METHOD_NOT_ALLOWED);
    }
    let encoded = [SHOWN, ("content-encoding", "gzip")];
    assert_eq!(begin(Method::POST, "/webhook", &encoded), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let long = [SHOWN, ("content-length", "27262977")];
    assert_eq!(begin(Method::POST, "/webhook", &long), StatusCode::PAYLOAD_TOO_LARGE);
}
