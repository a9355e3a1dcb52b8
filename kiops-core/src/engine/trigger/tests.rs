use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::store::MemoryStore;
use crate::webhook::SecretSet;

const KEY: &str = "abcdefghij0123456789ABCDEF";
const OLD: &str = "zyxwvutsrq9876543210ABCDEF";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the memory store never waits"),
    }
}

struct World {
    api: TriggerApi,
    store: MemoryStore,
}

impl World {
    /// `shop` takes a key, and for an hour the one before it.
    fn new() -> Self {
        let (api, store) = (TriggerApi::new([1; 32]), MemoryStore::new());
        let keys =
            SecretSet::new([secret(OLD)]).rotated(secret(KEY), at(0), jiff::SignedDuration::from_hours(1));
        now(store.put_trigger_keys(&ServiceName::parse("shop").unwrap(), &keys)).unwrap();
        Self { api, store }
    }

    fn take(
        &self,
        request: http::request::Builder,
        body: &str,
        second: i64,
    ) -> Result<TriggerCall, (u16, String)> {
        let request = request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        self.take_from(request, address(1), second)
    }

    fn take_from(
        &self,
        request: Request<Bytes>,
        from: IpAddr,
        second: i64,
    ) -> Result<TriggerCall, (u16, String)> {
        now(self.api.take(request, from, &self.store, at(second))).map_err(|refused| {
            (refused.status().as_u16(), String::from_utf8_lossy(refused.body()).into_owned())
        })
    }
}

fn json(path: &str) -> http::request::Builder {
    Request::post(path).header("Content-type", "application/JSON; charset=utf-8")
}

fn shop() -> http::request::Builder {
    json("/api/v1/trigger/shop")
}

fn body(key: &str) -> String {
    format!(r#"{{"secret_key":"{key}"}}"#)
}

#[test]
fn the_key_comes_in_the_body_or_in_the_header() {
    let world = World::new();
    let call = world.take(shop(), &body(KEY), 0).unwrap();
    let whole = TriggerCall {
        service: ServiceName::parse("shop").unwrap(),
        git_ref: None,
        commit: None,
        idempotency_key: None,
    };
    assert_eq!(call, whole);
    let bearer = Request::post("/api/v1/trigger/shop").header("authorization", format!("bearer {KEY}"));
    assert_eq!(world.take(bearer, "", 0).unwrap(), whole);
}

#[test]
fn what_to_build_is_said_with_the_call() {
    let world = World::new();
    let commit = "ab".repeat(20);
    let text = format!(
        r#"{{"secret_key":"{KEY}","branch":"fix/a","commit":"{commit}","idempotency_key":"run-7.1"}}"#
    );
    let call = world.take(shop(), &text, 0).unwrap();
    assert_eq!(call.git_ref.unwrap().to_string(), "refs/heads/fix/a");
    assert_eq!(
        (call.commit.unwrap().as_str(), call.idempotency_key.as_deref()),
        (commit.as_str(), Some("run-7.1"))
    );
    let tag = format!(r#"{{"secret_key":"{KEY}","tag":"v1"}}"#);
    let call = world.take(shop().header("idempotency-key", "k"), &tag, 0).unwrap();
    assert_eq!(
        (call.git_ref.unwrap().to_string(), call.idempotency_key.unwrap()),
        ("refs/tags/v1".into(), "k".into())
    );
}

#[test]
fn the_key_before_counts_until_its_time_is_over() {
    let world = World::new();
    world.take(shop(), &body(OLD), 3599).unwrap();
    assert_eq!(world.take(shop(), &body(OLD), 3600).unwrap_err().0, 401);
    world.take(shop(), &body(KEY), 3600).unwrap();
}

#[test]
fn a_wrong_key_a_service_without_one_and_an_unknown_service_look_alike() {
    let world = World::new();
    let wrong = world.take(shop(), &body("wrong"), 0).unwrap_err();
    assert_eq!(wrong.0, 401);
    for path in ["/api/v1/trigger/other", "/api/v1/trigger/No%20Name", "/api/v1/trigger/"] {
        assert_eq!(world.take(json(path), &body(KEY), 0).unwrap_err(), wrong, "{path}");
    }
    assert!(!wrong.1.contains("wrong\\\"") && wrong.1.contains("remedy"), "{}", wrong.1);
}

#[test]
fn what_is_wrong_with_a_call_is_said_with_what_to_do() {
    let world = World::new();
    let both = format!(r#"{{"secret_key":"{KEY}","branch":"a","tag":"b"}}"#);
    let key = format!(r#"{{"secret_key":"{KEY}","idempotency_key":"a b"}}"#);
    let large = format!(r#"{{"secret_key":"{}"}}"#, "x".repeat(BODY_MAX));
    for (request, text, status, says) in [
        (json("/api/v1/hook/shop"), body(KEY), 404, "no trigger path"),
        (Request::get("/api/v1/trigger/shop"), String::new(), 405, "POST"),
        (Request::post("/api/v1/trigger/shop"), body(KEY), 415, "application/json"),
        (Request::post("/api/v1/trigger/shop").header("content-type", "text/plain"), body(KEY), 415, "JSON"),
        (shop(), "{".into(), 400, "cannot be read"),
        (shop(), r#"{"secret_kei":"k"}"#.into(), 400, "secret_key"),
        (shop(), "{}".into(), 400, "no key"),
        (shop(), r#"{"secret_key":7}"#.into(), 400, "cannot be read"),
        (shop(), both, 400, "both a branch and a tag"),
        (shop(), key, 400, "idempotency key"),
        (shop().header("authorization", "Bearer other"), body(KEY), 400, "different keys"),
        (shop(), large, 413, "16 KiB"),
    ] {
        let (refused, problem) = world.take(request, &text, 0).unwrap_err();
        assert_eq!(refused, status, "{problem}");
        assert!(problem.contains(says) && problem.contains("remedy"), "{problem}");
        assert!(!problem.contains(KEY), "{problem}");
    }
}

#[test]
fn callers_are_limited_by_their_address_and_a_service_by_its_calls() {
    let world = World::new();
    for n in 0..CALLS_MAX[0] {
        let key = if n % 2 == 0 { KEY } else { "wrong" };
        let status = world.take(shop(), &body(key), 1).err().map(|(status, _)| status);
        assert_ne!(status, Some(429), "call {n}");
    }
    assert_eq!(world.take(shop(), &body(KEY), 2).unwrap_err().0, 429);
    let request = || shop().body(Bytes::from(body(KEY))).unwrap();
    world.take_from(request(), address(2), 2).expect("another address is another caller");
    world.take(shop(), &body(KEY), 60).expect("a minute later it goes on");
    let counts =
        (0..=255).map(|n| world.take_from(request(), address(n), 130).is_ok()).filter(|ok| *ok).count();
    assert_eq!(counts, CALLS_MAX[1] as usize, "the service has had enough, whoever calls");
    let six = |last: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, last));
    let wrong = || shop().body(Bytes::from(body("wrong"))).unwrap();
    let last = CALLS_MAX[0] as u16;
    for n in 0..=last {
        let status = world.take_from(wrong(), six(n), 200).unwrap_err().0;
        assert_eq!(status == 429, n == last, "a network of IPv6 is one caller");
    }
}

#[test]
fn addresses_without_number_do_not_fill_the_memory() {
    let mut calls = Calls::default();
    let caller = |n: u32| Counted::From(short("shop"), IpAddr::from(n.to_be_bytes()));
    for n in 0..COUNTED_MAX as u32 {
        assert_eq!(calls.add(caller(n), at(0)), None);
    }
    assert!(calls.add(caller(u32::MAX), at(1)).is_some(), "whoever comes after waits");
    assert_eq!(calls.counts.len(), COUNTED_MAX);
    assert_eq!(calls.add(caller(u32::MAX), at(60)), None);
    assert_eq!(calls.counts.len(), 1);
}

#[test]
fn a_key_that_could_be_guessed_is_refused() {
    for weak in [
        "short",
        &"a".repeat(40),
        "abcabcabcabcabcabcabcabcabc",
        "abcdefghij 0123456789ABCDEF",
        "abcdefghij\"0123456789ABCDEF",
        &"aB3".repeat(300),
    ] {
        let error = check_trigger_key(&secret(weak)).unwrap_err();
        assert!(!error.to_string().contains(weak), "{error}");
    }
    check_trigger_key(&secret(KEY)).unwrap();
    #[cfg(feature = "runtime")]
    {
        let (one, other) = (new_trigger_key().unwrap(), new_trigger_key().unwrap());
        check_trigger_key(&secret(&one)).unwrap();
        assert_ne!(one, other);
    }
}

proptest! {
    #[test]
    fn whatever_is_called_is_answered(path in "\\PC{0,80}", text in "\\PC{0,200}", kind in "\\PC{0,30}") {
        let world = World::new();
        let request = Request::post("/").body(Bytes::from(text.into_bytes())).unwrap();
        let (mut parts, body) = request.into_parts();
        if let Ok(uri) = format!("/api/v1/trigger/{path}").parse() {
            parts.uri = uri;
        }
        for kind in [kind.as_str(), "application/json"] {
            if let Ok(kind) = header::HeaderValue::from_str(kind) {
                parts.headers.insert(header::CONTENT_TYPE, kind);
            }
            let request = Request::from_parts(parts.clone(), body.clone());
            let refused = world.take_from(request, address(1), 0).unwrap_err().0;
            prop_assert!((400..500).contains(&refused), "{}", refused);
        }
    }
}
