use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{HeaderValue, Method, Request, header};
use bytes::Bytes;
use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Retry};
use crate::http::{
    Body, Egress, HostRule, HttpClient, Idempotent, Limits, Reply, ScriptedHttp, TestTimer, Timer,
};
use crate::stream;

/// A client over a script, with what a test looks at afterwards.
struct World {
    client: HttpClient,
    script: ScriptedHttp,
    timer: TestTimer,
}

impl World {
    fn new(script: ScriptedHttp) -> Self {
        let egress = Egress::new(
            ["https://a.io", "https://b.io", "http://a.io", "http://c.io:8080/ok/"]
                .map(|rule| HostRule::parse(rule).unwrap()),
        );
        let timer = TestTimer::at(Timestamp::from_second(1_700_000_000).unwrap());
        let client = HttpClient::new(Arc::new(script.clone()), egress, Arc::new(timer));
        Self { client, script, timer }
    }

    fn replies(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::new(ScriptedHttp::replies(replies))
    }

    fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = *self.client.limits();
        change(&mut limits);
        self.client = self.client.with_limits(limits);
        self
    }

    async fn fetch(&self, request: Request<Body>) -> Result<(u16, Bytes), Error> {
        let response = self.client.fetch(request).await?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    fn seconds(&self) -> f64 {
        self.timer.elapsed().as_secs_f64()
    }
}

fn get(url: &str) -> Request<Body> {
    Request::get(url).body(Body::empty()).unwrap()
}

fn post(url: &str, body: &'static str) -> Request<Body> {
    Request::post(url).header("content-type", "text/plain").body(Body::from(body)).unwrap()
}

fn broken() -> Reply {
    Reply::error(Error::unavailable("call", "reset"))
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_tried_again_with_growing_waits() {
    let world = World::replies([broken(), Reply::status(503), Reply::json("1")]);
    assert_eq!(world.fetch(get("https://a.io/x")).await.unwrap(), (200, Bytes::from("1")));
    assert_eq!(world.script.seen().len(), 3);
    assert!((0.74..0.76).contains(&world.seconds()), "0.25 + 0.5, not {}", world.seconds());
}

#[tokio::test(start_paused = true)]
async fn tries_are_bounded_and_the_last_result_is_returned() {
    let world = World::new(ScriptedHttp::answering(|_| Reply::status(502)));
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().0, 502);
    assert_eq!(world.script.seen().len(), 3);
    let world = World::new(ScriptedHttp::answering(|_| broken()));
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(world.script.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn final_answers_and_final_errors_are_not_tried_again() {
    for status in [200, 304, 400, 401, 403, 404, 409, 501] {
        let world = World::replies([Reply::status(status)]);
        assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().0, status);
    }
    let world = World::replies([Reply::error(Error::invalid("call", "no"))]);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap_err().message(), "no");
    assert_eq!(world.script.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_post_is_sent_once_unless_it_is_marked_idempotent() {
    let world = World::replies([Reply::status(503)]);
    assert_eq!(world.fetch(post("https://a.io/", "x")).await.unwrap().0, 503);
    let world = World::replies([broken(), Reply::status(201)]);
    let mut request = post("https://a.io/", "body");
    request.extensions_mut().insert(Idempotent);
    assert_eq!(world.fetch(request).await.unwrap().0, 201);
    assert_eq!(world.script.seen()[1].body, "body");
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_waiting_time_is_kept() {
    for (reply, seconds) in [
        (Reply::status(429).header("retry-after", "7"), 7.0),
        (Reply::status(503).header("retry-after", "Tue, 14 Nov 2023 22:13:32 GMT"), 12.0),
        (
            Reply::status(403).header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", "1700000005"),
            5.0,
        ),
        (Reply::status(429).header("ratelimit-remaining", "0").header("ratelimit-reset", "3"), 3.0),
        (Reply::error(Error::unavailable("call", "later").with_retry(Retry::After(4))), 4.0),
    ] {
        let world = World::replies([reply, Reply::status(204)]);
        assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().0, 204);
        assert!((seconds..seconds + 0.01).contains(&world.seconds()), "{seconds} {}", world.seconds());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_is_left_to_the_caller() {
    let world = World::replies([Reply::status(429).header("retry-after", "3600")]);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().0, 429);
    assert!(world.seconds() < 0.01);
    let world = World::replies([Reply::status(429).header("retry-after", "10")])
        .limits(|limits| limits.deadline = Duration::from_secs(5));
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().0, 429);
    let world = World::replies([Reply::status(429).header("retry-after", "18446744073709551615")]);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().0, 429);
}

#[tokio::test(start_paused = true)]
async fn a_retry_opens_a_stream_body_anew() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let body = Body::reopenable(4, move || {
        count.fetch_add(1, Ordering::Relaxed);
        stream::once(Bytes::from_static(b"blob"))
    });
    let world = World::replies([broken(), Reply::redirect(307, "https://b.io/up"), Reply::status(201)]);
    assert_eq!(world.fetch(Request::put("https://a.io/up").body(body).unwrap()).await.unwrap().0, 201);
    let seen = world.script.seen();
    assert!(seen.iter().all(|seen| seen.body == "blob" && seen.method == Method::PUT));
    assert_eq!((seen.len(), opened.load(Ordering::Relaxed)), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_runs_once_is_neither_repeated_nor_redirected() {
    let once = || {
        let body = Body::once(Some(4), stream::once(Bytes::from_static(b"blob")));
        Request::put("https://a.io/up").body(body).unwrap()
    };
    let world = World::replies([Reply::status(503)]);
    assert_eq!(world.fetch(once()).await.unwrap().0, 503);
    let world = World::replies([Reply::redirect(307, "/elsewhere")]);
    assert_eq!(world.fetch(once()).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_counts_as_a_failed_try() {
    let half = Body::once(
        None,
        Box::pin(futures_util::stream::iter([
            Ok(Bytes::from_static(b"ha")),
            Err(Error::unavailable("read", "reset")),
        ])),
    );
    let world = World::replies([Reply::status(200).body(half), Reply::json("whole")]);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().1, "whole");
}

fn with_credentials(mut request: Request<Body>) -> Request<Body> {
    let headers = request.headers_mut();
    for name in ["authorization", "cookie", "private-token", "x-api-key", "x-registry-auth"] {
        headers.insert(name, HeaderValue::from_static("s3cret"));
    }
    let mut own = HeaderValue::from_static("s3cret");
    own.set_sensitive(true);
    headers.insert("x-own", own);
    headers.insert("accept", HeaderValue::from_static("text/plain"));
    request
}

#[tokio::test]
async fn credentials_stay_behind_when_a_redirect_leads_elsewhere() {
    let world = World::replies([Reply::redirect(302, "https://b.io/y?sig=1#frag"), Reply::json("ok")]);
    world.fetch(with_credentials(get("https://a.io/x"))).await.unwrap();
    let seen = world.script.seen();
    assert_eq!(seen[0].header("private-token"), "s3cret");
    assert_eq!((seen[1].url.as_str(), seen[1].header("accept")), ("https://b.io/y?sig=1", "text/plain"));
    assert!(!format!("{:?}", seen[1].headers).contains("s3cret") && !seen[1].headers.contains_key("x-own"));
    // They do not come back with a way back.
    let there_and_back = World::replies([
        Reply::redirect(307, "https://b.io/"),
        Reply::redirect(307, "https://a.io/"),
        Reply::json(""),
    ]);
    there_and_back.fetch(with_credentials(get("https://a.io/"))).await.unwrap();
    assert_eq!(there_and_back.script.seen()[2].header("authorization"), "");
}

#[tokio::test]
async fn credentials_stay_with_their_host_and_its_own_https() {
    for (from, to) in [
        ("https://a.io/x", "/y"),
        ("https://a.io/x", "https://A.io:443/y"),
        ("http://a.io/x", "https://a.io/y"),
    ] {
        let world = World::replies([Reply::redirect(308, to), Reply::json("ok")]);
        world.fetch(with_credentials(get(from))).await.unwrap();
        let seen = world.script.seen();
        assert_eq!((seen[1].header("authorization"), seen[1].header("x-own")), ("s3cret", "s3cret"), "{to}");
    }
}

#[tokio::test]
async fn no_redirect_leads_from_https_to_http() {
    for to in ["http://a.io/x", "http://c.io:8080/ok/"] {
        let world = World::replies([Reply::redirect(302, to)]);
        let error = world.fetch(with_credentials(get("https://a.io/x"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(error.message().contains("not encrypted"), "{error}");
        assert_eq!(world.script.seen().len(), 1);
    }
}

#[tokio::test]
async fn no_redirect_leads_past_the_egress_rules() {
    for to in [
        "https://evil.io/",
        "https://169.254.169.254/",
        "https://[::ffff:127.0.0.1]/",
        "https://a.io@evil.io/",
        "https://u:hunter2@a.io/",
        "//evil.io/x",
        "https://a.io:8443/",
        "file:///etc/passwd",
    ] {
        let world = World::replies([Reply::redirect(301, to)]);
        let error = world.fetch(get("https://a.io/x?token=hunter2")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{to}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(world.script.seen().len(), 1);
    }
    let world = World::replies([Reply::redirect(301, "http://")]);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn redirects_are_counted() {
    let world = World::new(ScriptedHttp::answering(|_| Reply::redirect(302, "/again")));
    let error = world.fetch(get("https://a.io/?token=x")).await.unwrap_err();
    assert!(
        error.to_string().contains("more than 5 times") && !error.to_string().contains("token"),
        "{error}"
    );
    assert_eq!(world.script.seen().len(), 6);
    let world = World::replies([Reply::redirect(302, "/next")]).limits(|limits| limits.redirects = 0);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().0, 302);
    let world = World::replies([Reply::status(304)]);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().0, 304);
}

#[tokio::test]
async fn methods_and_bodies_follow_by_the_status() {
    for (status, sent, method, body) in [
        (303, Method::POST, Method::GET, ""),
        (303, Method::PUT, Method::GET, ""),
        (303, Method::HEAD, Method::HEAD, "x"),
        (301, Method::PUT, Method::PUT, "x"),
        (307, Method::POST, Method::POST, "x"),
        (308, Method::POST, Method::POST, "x"),
        (308, Method::DELETE, Method::DELETE, "x"),
    ] {
        let world = World::replies([Reply::redirect(status, "/y"), Reply::status(200)]);
        let mut request = post("https://a.io/x", "x");
        *request.method_mut() = sent.clone();
        world.fetch(request).await.unwrap();
        let seen = &world.script.seen()[1];
        assert_eq!((&seen.method, &seen.body[..]), (&method, body.as_bytes()), "{status} {sent}");
        assert_eq!(seen.headers.contains_key(header::CONTENT_TYPE), !body.is_empty(), "{status} {sent}");
    }
}

#[tokio::test]
async fn what_was_to_change_something_does_not_become_a_read_by_a_redirect() {
    for status in [301, 302] {
        let world = World::replies([Reply::redirect(status, "/y"), Reply::status(200)]);
        assert_eq!(world.fetch(post("https://a.io/x", "x")).await.unwrap().0, status);
        assert_eq!(world.script.seen().len(), 1);
    }
}

#[tokio::test]
async fn calls_outside_the_egress_rules_are_never_made() {
    let world = World::replies([]);
    for url in [
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/",
        "http://user@evil@good/",
        "https://user:pw@a.io/",
        "https://evil.io/",
        "https://a.io:444/",
        "http://c.io:8080/other",
        "http://c.io:8080/ok/../other",
        "/relative",
    ] {
        let Ok(request) = Request::get(url).body(Body::empty()) else { continue };
        let error = world.fetch(request).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Invalid), "{url}: {error}");
        assert!(!error.to_string().contains("pw"), "{error}");
    }
    assert!(world.script.seen().is_empty());
}

#[tokio::test]
async fn a_response_over_the_cap_is_refused() {
    let small = |limits: &mut Limits| limits.body = 4;
    let world = World::replies([Reply::json("12345")]).limits(small);
    assert_eq!(world.fetch(get("https://a.io/?token=x")).await.unwrap_err().kind(), ErrorKind::TooLarge);
    let unknown = || Reply::status(200).body(Body::once(None, stream::once(Bytes::from_static(b"12345"))));
    let world = World::replies([unknown(), unknown()]).limits(small);
    let error = world.fetch(get("https://a.io/?token=x")).await.unwrap_err();
    assert_eq!(error.to_string(), "GET https://a.io/: the response is larger than the limit of 4 bytes");
    let body = world.client.call(get("https://a.io/")).await.unwrap().into_body();
    let mut body = body.into_stream();
    assert_eq!(stream::next(&mut body).await.unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(stream::next(&mut body).await.is_none());
    let world = World::replies([Reply::json("1234"), Reply::json("12345")]).limits(small);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap().1, "1234");
    let head = Request::head("https://a.io/").body(Body::empty()).unwrap();
    assert_eq!(world.fetch(head).await.unwrap(), (200, Bytes::new()));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_covers_answer_waits_and_body() {
    let short = |limits: &mut Limits| limits.deadline = Duration::from_secs(2);
    let timer: Arc<dyn Timer> = Arc::new(TestTimer::at(Timestamp::UNIX_EPOCH));
    let world = World::replies([Reply::json("late").after(&timer, Duration::from_secs(3))]).limits(short);
    let error = world.fetch(get("https://a.io/x?q=1")).await.unwrap_err();
    assert_eq!(error.to_string(), "GET https://a.io/x: it took longer than 2s");
    assert_eq!(error.kind(), ErrorKind::Timeout);

    let stuck = || Reply::status(200).body(Body::once(None, Box::pin(futures_util::stream::pending())));
    let world = World::replies([stuck(), stuck()]).limits(short);
    assert_eq!(world.fetch(get("https://a.io/")).await.unwrap_err().kind(), ErrorKind::Timeout);
    let body = world.client.call(get("https://a.io/")).await.unwrap().into_body();
    assert_eq!(body.collect(9).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!((4.0..4.1).contains(&world.seconds()), "{}", world.seconds());
}

#[tokio::test]
async fn a_user_agent_is_sent_unless_the_request_has_its_own() {
    let world = World::replies([Reply::status(200), Reply::status(200)]);
    world.fetch(get("https://a.io/")).await.unwrap();
    world
        .fetch(Request::get("https://a.io/").header("user-agent", "own").body(Body::empty()).unwrap())
        .await
        .unwrap();
    let seen = world.script.seen();
    assert!(seen[0].header("user-agent").starts_with("kiops/"));
    assert_eq!(seen[1].header("user-agent"), "own");
}
