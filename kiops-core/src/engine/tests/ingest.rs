//! Taking deliveries in: whose they are, what they may cost, and what is answered.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode, header};

use super::down::Down;
use super::*;
use crate::engine::{Ingest, IngestLimits, Taken};
use crate::error::Error;
use crate::event::{CommitFacts, EventKind, Push, Repository, Tip};
use crate::name::{HookId, ProviderName, RepoId};
use crate::secret::Secret;
use crate::store::Hook;
use crate::webhook::{Delivery, SecretSet, Verification, WebhookSource, peek, scheme};

/// A sender of `{"repository":..,"of":..,"also":[..]}`: a push of the repository `of`, or of `repository` where there is no `of`, and of each of
/// `also`. The one called `wide` speaks of many repositories, and nothing tells its deliveries apart.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) name: &'static str,
    pub(super) signs: bool,
}

impl WebhookSource for Sender {
    fn name(&self) -> ProviderName {
        ProviderName::parse(self.name).unwrap()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let [path] = peek(&delivery.body, [&["repository"]], |[path]| path.is_some());
        Some(Repository { id: None, path: path?.into_owned() })
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        if self.signs {
            scheme::standard_webhooks(delivery, secrets, now)
        } else {
            scheme::hook_path(delivery, secrets, now)
        }
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        #[derive(serde::Deserialize)]
        struct Body {
            repository: String,
            of: Option<String>,
            #[serde(default)]
            also: Vec<String>,
        }
        let body: Body = serde_json::from_slice(&delivery.body)
            .map_err(|error| Error::invalid("decode delivery", error.to_string()))?;
        let paths = std::iter::once(body.of.unwrap_or(body.repository)).chain(body.also);
        let kind = EventKind::Push(Push {
            action: None,
            git_ref: crate::name::GitRef::parse("refs/heads/main").unwrap(),
            before: Tip::Zeros,
            head: commit(2).into(),
            files: Default::default(),
            message: None,
            commit: CommitFacts::default(),
        });
        let event =
            |path| Event { repository: Repository { id: None, path }, actor: None, kind: kind.clone() };
        Ok(paths.map(event).collect())
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        if self.name == "wide" {
            return ReplayKey::indistinct(delivery);
        }
        delivery.header("webhook-id").map_or_else(|| ReplayKey::of_body(delivery), ReplayKey::of_signed_id)
    }

    fn signs(&self) -> bool {
        self.signs
    }

    fn spans_repositories(&self) -> bool {
        self.name == "wide"
    }
}

fn ingest() -> Ingest {
    limited(IngestLimits::default())
}

fn limited(limits: IngestLimits) -> Ingest {
    let senders =
        [("signed", true), ("open", false), ("wide", true)].map(|(name, signs)| Sender { name, signs });
    Ingest::new(senders.map(|sender| Arc::new(sender) as Arc<dyn WebhookSource>), limits, [7; 32])
}

pub(super) fn token(n: u8) -> Secret {
    scheme::signing_token(&[n; 32]).unwrap()
}

/// A hook of a service: by its repository's path, with these secrets.
pub(super) fn hook(service: &str, path: &str, secrets: &[u8]) -> Hook {
    Hook {
        service: ServiceName::parse(service).unwrap(),
        provider: ProviderName::parse("signed").unwrap(),
        repository: Repository { id: None, path: path.into() },
        hook: None,
        secrets: SecretSet::new(secrets.iter().map(|n| token(*n))),
    }
}

pub(super) fn store(hooks: &[Hook]) -> MemoryStore {
    let store = MemoryStore::new();
    for hook in hooks {
        now(store.put_hook(hook)).unwrap();
    }
    store
}

pub(super) fn push_of(path: &str) -> String {
    format!(r#"{{"repository":"{path}"}}"#)
}

fn signed(id: &str, secret: &Secret, body: &str) -> Request<Bytes> {
    signed_to("/api/v1/webhook/signed", id, secret, body)
}

pub(super) fn signed_to(path: &str, id: &str, secret: &Secret, body: &str) -> Request<Bytes> {
    Request::post(path)
        .header(scheme::ID_HEADER, id)
        .header(scheme::TIMESTAMP_HEADER, at(0).as_second())
        .header(scheme::SIGNATURE_HEADER, scheme::sign(secret, id, at(0), body.as_bytes()).unwrap())
        .body(Bytes::from(body.to_owned()))
        .unwrap()
}

fn take(store: &dyn Store, request: Request<Bytes>) -> Taken {
    now(ingest().handle(request, store, at(0)))
}

pub(super) fn records(store: &MemoryStore) -> Vec<DeliveryRecord> {
    now(store.deliveries(None, Page::first(100))).unwrap().items
}

#[test]
fn what_verifies_is_stored_before_it_is_answered() {
    let store = store(&[hook("app", "team/app", &[1])]);
    let taken = take(&store, signed("a", &token(1), &push_of("team/app")));
    assert_eq!(taken.response.status(), StatusCode::OK);
    let record = &records(&store)[0];
    assert_eq!(taken.accepted, [Accepted::New(record.id.clone())]);
    assert_eq!((record.service.as_str(), record.signed, record.trigger), ("app", true, Trigger::Webhook));
    let body = String::from_utf8(taken.response.body().to_vec()).unwrap();
    assert_eq!(body, format!(r#"{{"status":"accepted","deliveries":["{}"]}}"#, record.id));
    let kept = now(store.delivery_body(&record.id)).unwrap().unwrap();
    assert_eq!(kept, push_of("team/app").as_bytes());
}

#[test]
fn a_wrong_secret_and_an_unknown_repository_get_the_same_answer_after_the_same_work() {
    let store = store(&[
        hook("app", "team/app", &[1]),
        hook("web", "team/web", &[2, 3]),
        hook("one", "team/big", &[4, 5]),
        hook("two", "team/big", &[6]),
    ]);
    let wrong = token(99);
    let mut answers = Vec::new();
    for (path, secret) in [
        ("team/app", &wrong),
        ("team/web", &wrong),
        ("team/big", &wrong),
        ("nobody/knows", &wrong),
        ("nobody/knows", &token(1)),
        ("team/web", &token(1)),
    ] {
        let taken = take(&store, signed("a", secret, &push_of(path)));
        assert_eq!(taken.macs, 3, "{path}");
        answers.push((taken.response.status(), taken.response.headers().clone(), taken.response.into_body()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    assert_eq!(records(&store), []);
    let right = take(&store, signed("a", &token(1), &push_of("team/app")));
    assert_eq!((right.response.status(), right.macs), (StatusCode::OK, 3));
}

#[test]
fn a_request_without_any_signature_costs_as_much() {
    let store = store(&[hook("app", "team/app", &[1, 2])]);
    for body in [push_of("team/app"), push_of("x"), "{".to_owned(), String::new(), "[1]".to_owned()] {
        let request = Request::post("/api/v1/webhook/signed").body(Bytes::from(body)).unwrap();
        let taken = take(&store, request);
        assert_eq!((taken.response.status(), taken.macs), (StatusCode::UNAUTHORIZED, 2));
    }
}

#[test]
fn two_services_on_one_repository_each_need_their_own_secret() {
    let store = store(&[hook("app", "team/mono", &[1]), hook("web", "team/mono", &[2])]);
    let taken = take(&store, signed("a", &token(2), &push_of("team/mono")));
    assert_eq!(taken.accepted.len(), 1);
    let services: Vec<_> = records(&store).iter().map(|record| record.service.to_string()).collect();
    assert_eq!(services, ["web"]);
    let taken = take(&store, signed("b", &token(1), &push_of("team/mono")));
    assert_eq!(taken.accepted.len(), 1);
    assert_eq!(records(&store)[0].service.as_str(), "app");
}

#[test]
fn one_secret_of_two_services_gives_each_a_delivery_of_its_own() {
    let store = store(&[hook("app", "team/mono", &[1]), hook("web", "team/mono", &[1])]);
    let taken = take(&store, signed("a", &token(1), &push_of("team/mono")));
    assert_eq!(taken.accepted.len(), 2);
    assert_eq!(records(&store).len(), 2);
}

#[test]
fn the_same_delivery_twice_is_answered_200_and_recorded_once() {
    let store = store(&[hook("app", "team/app", &[1])]);
    let send = || signed("a", &token(1), &push_of("team/app"));
    take(&store, send());
    let again = take(&store, send());
    assert_eq!(again.response.status(), StatusCode::OK);
    let record = &records(&store)[0];
    assert_eq!(again.accepted, [Accepted::Duplicate(record.id.clone())]);
    assert!(again.response.body().starts_with(br#"{"status":"duplicate""#));
    assert_eq!(records(&store).len(), 1);
}

#[test]
fn a_captured_delivery_under_a_new_id_does_not_verify() {
    let store = store(&[hook("app", "team/app", &[1])]);
    let mut request = signed("a", &token(1), &push_of("team/app"));
    request.headers_mut().insert(scheme::ID_HEADER, "b".parse().unwrap());
    assert_eq!(take(&store, request).response.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_secret_that_has_run_out_verifies_nothing() {
    let old = hook("app", "team/app", &[1]);
    let rotated = old.secrets.rotated(token(2), at(-100), later(50));
    let store = store(&[Hook { secrets: rotated, ..old }]);
    let by_old = take(&store, signed("a", &token(1), &push_of("team/app")));
    assert_eq!((by_old.response.status(), by_old.macs), (StatusCode::UNAUTHORIZED, 2));
    let by_new = take(&store, signed("b", &token(2), &push_of("team/app")));
    assert_eq!((by_new.response.status(), by_new.macs), (StatusCode::OK, 2));
}

#[test]
fn a_service_without_a_secret_accepts_nothing() {
    let store = store(&[hook("app", "team/app", &[])]);
    let taken = take(&store, signed("a", &token(1), &push_of("team/app")));
    assert_eq!(taken.response.status(), StatusCode::UNAUTHORIZED);
}

pub(super) const PATH: &str = "0123456789abcdef-hook";

pub(super) fn with_path(hook: Hook) -> Hook {
    Hook { hook: Some(HookId::parse(PATH).unwrap()), ..hook }
}

#[test]
fn one_services_secret_never_starts_anothers_build() {
    let store = store(&[with_path(hook("app", "team/app", &[1])), hook("web", "team/web", &[2])]);
    // Right secret for A, and the body speaks of B: by the common path, and by A's own.
    let of_b = push_of("team/web");
    for path in ["/api/v1/webhook/signed", &format!("/api/v1/webhook/signed/{PATH}")] {
        let taken = take(&store, signed_to(path, "a", &token(1), &of_b));
        assert_eq!(taken.response.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    // The body speaks of A first, and what it reports is B's.
    let both = r#"{"repository":"team/app","of":"team/web"}"#;
    let taken = take(&store, signed("b", &token(1), both));
    assert_eq!(taken.response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(records(&store), []);
}

#[test]
fn a_renamed_repository_is_known_by_its_id() {
    let id = RepoId::parse("7").unwrap();
    let ours = Hook {
        repository: Repository { id: Some(id.clone()), path: "old/name".into() },
        ..hook("app", "", &[1])
    };
    let theirs = Repository { id: Some(id), path: "new/name".into() };
    assert!(crate::engine::ingest::same_repository(&ours, Some(&theirs)));
    let other = Repository { id: Some(RepoId::parse("8").unwrap()), path: "old/name".into() };
    assert!(!crate::engine::ingest::same_repository(&ours, Some(&other)));
}

#[test]
fn a_signing_senders_own_path_needs_the_signature_too() {
    let store = store(&[with_path(hook("app", "team/app", &[1]))]);
    let path = format!("/api/v1/webhook/signed/{PATH}");
    let right = take(&store, signed_to(&path, "a", &token(1), &push_of("team/app")));
    assert_eq!(right.response.status(), StatusCode::OK);
    let wrong = take(&store, signed_to(&path, "b", &token(9), &push_of("team/app")));
    assert_eq!(wrong.response.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_sender_that_signs_nothing_comes_in_by_its_own_path_only() {
    let open =
        Hook { provider: ProviderName::parse("open").unwrap(), ..with_path(hook("app", "team/app", &[])) };
    let secret = Secret::new(PATH).unwrap();
    let store = store(&[Hook { secrets: SecretSet::new([secret]), ..open }]);
    let send = |path: &str, body: &str| {
        let request = Request::post(path).body(Bytes::from(body.to_owned())).unwrap();
        take(&store, request)
    };
    let by_path = send(&format!("/api/v1/webhook/open/{PATH}"), &push_of("team/app"));
    assert_eq!(by_path.response.status(), StatusCode::OK);
    assert!(!records(&store)[0].signed, "what it claims is confirmed before it counts");
    let common = send("/api/v1/webhook/open", &push_of("team/app"));
    assert_eq!(common.response.status(), StatusCode::UNAUTHORIZED);
    let guessed = send("/api/v1/webhook/open/0123456789abcdef-else", &push_of("team/app"));
    assert_eq!(guessed.response.status(), StatusCode::UNAUTHORIZED);
    let of_another = send(&format!("/api/v1/webhook/open/{PATH}"), &push_of("team/web"));
    assert_eq!(of_another.response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(records(&store).len(), 1);
}

/// A hook of the sender that speaks of many repositories.
fn wide(hook: Hook) -> Hook {
    Hook { provider: ProviderName::parse("wide").unwrap(), ..hook }
}

#[test]
fn of_a_delivery_of_many_repositories_each_service_gets_its_own_events() {
    let store = store(&[wide(with_path(hook("app", "team/app", &[1]))), wide(hook("web", "team/web", &[1]))]);
    let path = format!("/api/v1/webhook/wide/{PATH}");
    let send = |path: &str, secret: u8, body: &str| take(&store, signed_to(path, "a", &token(secret), body));

    let mixed = r#"{"repository":"team/web","also":["team/app","team/other","team/app"]}"#;
    assert_eq!(send(&path, 1, mixed).accepted.len(), 1);
    let record = &records(&store)[0];
    assert_eq!((record.service.as_str(), record.events.len()), ("app", 2));
    assert!(record.events.iter().all(|event| event.event.repository.path == "team/app"));

    // What is proven and nobody's is answered so that it is not sent again, and not kept.
    let others = send(&path, 1, &push_of("team/other"));
    assert_eq!((others.response.status(), others.accepted.len()), (StatusCode::OK, 0));
    assert_eq!(others.response.body(), r#"{"status":"ignored","deliveries":[]}"#);
    // What is not proven is refused, whatever it speaks of; and so is what is nobody's without a path of its own.
    for (path, secret) in [(path.as_str(), 9), ("/api/v1/webhook/wide", 1)] {
        let refused = send(path, secret, &push_of("team/other"));
        assert_eq!(refused.response.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(send("/api/v1/webhook/wide", 1, &push_of("team/web")).accepted.len(), 1);
    assert_eq!(records(&store).len(), 2);
}

#[test]
fn deliveries_that_nothing_tells_apart_all_count_and_of_one_moment_once() {
    let store = store(&[wide(hook("app", "team/app", &[1]))]);
    let send = |at: Timestamp| {
        let request = signed_to("/api/v1/webhook/wide", "a", &token(1), &push_of("team/app"));
        now(ingest().handle(request, &store, at)).accepted
    };
    assert!(matches!(send(at(0))[..], [Accepted::New(_)]));
    assert!(matches!(send(at(1))[..], [Accepted::New(_)]));
    assert!(matches!(send(at(1))[..], [Accepted::Duplicate(_)]));
    assert_eq!(records(&store).len(), 2);
}

fn begin(method: Method, path: &str, headers: &[(header::HeaderName, &str)]) -> StatusCode {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    ingest().begin(&method, path, headers).map_or_else(|refused| refused.status(), |_| StatusCode::CONTINUE)
}

#[test]
fn what_a_heads_says_is_judged_before_the_body_is_read() {
    let post = |path: &str| begin(Method::POST, path, &[]);
    for path in ["/api/v1/webhook/signed", "/webhook/signed/", "/hooks/webhook/open/0123456789abcdef"] {
        assert_eq!(post(path), StatusCode::CONTINUE, "{path}");
    }
    for path in [
        "/api/v1/webhook/nobody",
        "/api/v1/webhook/",
        "/",
        "/api/v1/webhook/signed/short",
        "/webhook/signed/a b/c",
    ] {
        assert_eq!(post(path), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(begin(Method::GET, "/api/v1/webhook/signed", &[]), StatusCode::METHOD_NOT_ALLOWED);
    let with = |name, value: &str| begin(Method::POST, "/api/v1/webhook/signed", &[(name, value)]);
    for encoding in ["gzip", "br", "identity, gzip", "x"] {
        assert_eq!(with(header::CONTENT_ENCODING, encoding), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    assert_eq!(with(header::CONTENT_ENCODING, "Identity"), StatusCode::CONTINUE);
    assert_eq!(with(header::CONTENT_LENGTH, "27262976"), StatusCode::CONTINUE);
    assert_eq!(with(header::CONTENT_LENGTH, "27262977"), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn a_second_encoding_header_is_seen_too() {
    let mut headers = HeaderMap::new();
    headers.append(header::CONTENT_ENCODING, "identity".parse().unwrap());
    headers.append(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    let refused = ingest().begin(&Method::POST, "/webhook/signed", headers).unwrap_err();
    assert_eq!(refused.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[test]
fn another_method_is_told_which_one() {
    let refused = ingest().begin(&Method::PUT, "/webhook/signed", HeaderMap::new()).unwrap_err();
    assert_eq!(refused.headers()[header::ALLOW], "POST");
}

#[test]
fn a_body_over_the_cap_is_refused_at_the_piece_that_passes_it() {
    let ingest = limited(IngestLimits::default().with_body(10));
    let mut intake = ingest.begin(&Method::POST, "/webhook/signed", HeaderMap::new()).unwrap();
    intake.push(b"12345").unwrap();
    intake.push(b"67890").unwrap();
    let refused = intake.push(b"1").unwrap_err();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn deeply_nested_json_is_harmless() {
    let store = store(&[hook("app", "team/app", &[1])]);
    let deep = "[".repeat(100_000);
    let before = format!(r#"{{"x":{deep},"repository":"team/app"}}"#);
    let after = format!(r#"{{"repository":"team/app","x":{deep}}}"#);
    for body in [&deep, &before, &after] {
        let unsigned = Request::post("/webhook/signed").body(Bytes::from(body.clone())).unwrap();
        assert_eq!(take(&store, unsigned).response.status(), StatusCode::UNAUTHORIZED);
    }
    // Signed and broken: it is said, and nothing is stored.
    let taken = take(&store, signed("a", &token(1), &after));
    assert_eq!(taken.response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(records(&store), []);
}

#[test]
fn a_store_that_is_down_is_never_answered_2xx() {
    let kinds = [
        (ErrorKind::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        (ErrorKind::Timeout, StatusCode::SERVICE_UNAVAILABLE),
        (ErrorKind::Corrupt, StatusCode::SERVICE_UNAVAILABLE),
        (ErrorKind::Conflict, StatusCode::SERVICE_UNAVAILABLE),
        (ErrorKind::Full, StatusCode::INSUFFICIENT_STORAGE),
    ];
    for (kind, status) in kinds {
        for reads in [true, false] {
            let down = Down { memory: store(&[hook("app", "team/app", &[1])]), reads, kind };
            let taken = take(&down, signed("a", &token(1), &push_of("team/app")));
            assert_eq!(taken.response.status(), status);
            assert_eq!(taken.response.headers()[header::RETRY_AFTER], "10");
            assert_eq!(taken.accepted, []);
            let body = String::from_utf8(taken.response.into_body().to_vec()).unwrap();
            assert!(!body.contains("/var/lib"), "no detail of ours: {body}");
        }
    }
}

#[test]
fn answers_are_problem_documents_with_a_remedy() {
    let taken = take(&store(&[]), signed("a", &token(1), &push_of("team/app")));
    assert_eq!(taken.response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_slice(taken.response.body()).unwrap();
    assert_eq!(problem["status"], 401);
    assert!(problem["remedy"].as_str().unwrap().contains("compare the webhook's secret"));
}

#[test]
fn nothing_of_a_secret_is_printed() {
    let ingest = ingest();
    let mut headers = HeaderMap::new();
    headers.insert("x-gitlab-token", "hunter2".parse().unwrap());
    let mut intake = ingest.begin(&Method::POST, "/webhook/signed", headers).unwrap();
    intake.push(b"hunter2").unwrap();
    let printed = format!("{ingest:?} {intake:?}");
    assert!(!printed.contains("hunter2") && !printed.contains("7, 7, 7"), "{printed}");
}

proptest::proptest! {
    #[test]
    fn no_request_panics_or_gets_in(path in ".{0,40}", body in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
        let store = store(&[with_path(hook("app", "team/app", &[1]))]);
        for path in [path.as_str(), &format!("/webhook/{path}"), "/webhook/signed", "/webhook/open"] {
            if let Ok(mut intake) = ingest().begin(&Method::POST, path, HeaderMap::new()) {
                intake.push(&body).unwrap();
                let taken = now(intake.finish(&store, at(0)));
                proptest::prop_assert_eq!(taken.response.status(), StatusCode::UNAUTHORIZED);
            }
        }
        proptest::prop_assert_eq!(records(&store), []);
    }
}

/// The hook of an image service: it names no repository.
fn of_images(provider: &str) -> Hook {
    let hook = with_path(hook("app", "", &[1]));
    Hook { provider: ProviderName::parse(provider).unwrap(), repository: Repository::default(), ..hook }
}

#[test]
fn an_image_service_is_told_by_its_own_path_only_of_any_image() {
    let store = store(&[of_images("signed")]);
    now(store.put_service(&crate::policy::tests::image_service(), None, at(0))).unwrap();
    let path = format!("/api/v1/webhook/signed/{PATH}");
    for (id, image) in [("a", "library/nginx"), ("b", "library/mysql")] {
        let taken = take(&store, signed_to(&path, id, &token(1), &push_of(image)));
        assert_eq!((taken.response.status(), taken.accepted.len()), (StatusCode::OK, 1), "{image}");
    }
    for (path, secret) in [("/api/v1/webhook/signed", 1), (path.as_str(), 9)] {
        for named in ["library/nginx", ""] {
            let taken = take(&store, signed_to(path, "c", &token(secret), &push_of(named)));
            assert_eq!(taken.response.status(), StatusCode::UNAUTHORIZED, "{path} {named:?}");
        }
    }
    assert_eq!(records(&store).len(), 2);
}

#[test]
fn an_image_service_keeps_nothing_of_other_images_that_a_registry_tells_all_of() {
    let store = store(&[of_images("wide")]);
    now(store.put_service(&crate::policy::tests::image_service(), None, at(0))).unwrap();
    let path = format!("/api/v1/webhook/wide/{PATH}");
    let mixed = r#"{"repository":"team/web","also":["library/mysql","library/nginx","team/app"]}"#;
    take(&store, signed_to(&path, "a", &token(1), mixed));
    let images: Vec<_> =
        records(&store)[0].events.iter().map(|event| event.event.repository.path.clone()).collect();
    assert_eq!(images, ["library/mysql", "library/nginx"]);
    let others = take(&store, signed_to(&path, "b", &token(1), &push_of("team/web")));
    assert_eq!((others.response.status(), others.accepted.len()), (StatusCode::OK, 0));
    assert_eq!(records(&store).len(), 1);
}

#[test]
fn a_git_service_whose_hook_names_no_repository_hears_of_no_other_repository() {
    let store = store(&[of_images("signed")]);
    now(store.put_service(&crate::policy::tests::plain(), None, at(0))).unwrap();
    let path = format!("/api/v1/webhook/signed/{PATH}");
    let taken = take(&store, signed_to(&path, "a", &token(1), &push_of("somebody/else")));
    assert_eq!(taken.response.status(), StatusCode::UNAUTHORIZED, "{:?}", taken.accepted);
}
