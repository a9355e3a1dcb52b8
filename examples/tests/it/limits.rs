//! What requests may cost: large ones, encoded ones, nested ones, and ones that do not come to an end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kiops_core::engine::IngestLimits;
use kiops_examples::http::RequestLimits;

use crate::house::{House, SITE, push_event, refused, secret};
use crate::support::call;

const WEBHOOK: &str = "/api/v1/webhook/gitlab";

/// Sends bytes over a connection of their own and leaves it open.
fn begin(house: &House, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&house.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

fn post(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-member: root\r\n{headers}\r\n")
}

/// The status line of the answer, once there is one; empty: the server hung up.
fn status(stream: &mut TcpStream) -> String {
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

/// Whether the server closes the connection.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_body_over_the_cap_is_refused_without_being_read_whole() {
    let house = House::open();
    // The length that is declared is enough to know: nothing of the body is ever sent.
    let mut stream = begin(&house, post(WEBHOOK, "content-length: 10000000000\r\n").as_bytes());
    assert_eq!(status(&mut stream), "HTTP/1.1 413 Payload Too Large");
    let settings = format!("/api/v1/services/{SITE}/settings");
    let put = post(&settings, "content-length: 10000000000\r\n").replacen("POST", "PUT", 1);
    assert_eq!(status(&mut begin(&house, put.as_bytes())), "HTTP/1.1 413 Payload Too Large");

    // Where none is declared, reading ends at the piece that passes the cap, though more could come.
    let house = House::with_limits(RequestLimits::default(), IngestLimits::default().with_body(100_000));
    let mut stream = begin(&house, post(WEBHOOK, "transfer-encoding: chunked\r\n").as_bytes());
    let piece = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    stream.write_all(piece.as_bytes()).unwrap();
    stream.write_all(piece.as_bytes()).unwrap();
    assert_eq!(status(&mut stream), "HTTP/1.1 413 Payload Too Large");
    let cap = house.deliver_signed(&vec![b' '; 100_000], &secret(SITE));
    assert_eq!(cap.status, 401, "as large as the cap is not too large: {}", cap.text());
    refused(&house.deliver_signed(&vec![b' '; 100_001], &secret(SITE)), 413, "larger than 100000 bytes");
}

#[test]
fn bombs_and_deep_nesting_are_harmless() {
    let house = House::open();
    // Never inflated: a signature is over what was sent.
    for encoding in ["gzip", "br", "deflate", "zstd", "identity, gzip"] {
        let answer =
            call(&house.address, "POST", WEBHOOK, &[("content-encoding", encoding)], b"\x1f\x8b\x08");
        refused(&answer, 415, "encoded body");
        let headers = [("content-encoding", encoding), ("x-member", "root")];
        let path = format!("/api/v1/services/{SITE}/builds");
        refused(&call(&house.address, "POST", &path, &headers, b"\x1f\x8b\x08"), 415, "encoded body");
    }
    for deep in [format!("{{\"settings\":{}", "[".repeat(100_000)), "{\"a\":".repeat(100_000)] {
        assert_eq!(call(&house.address, "POST", WEBHOOK, &[], deep.as_bytes()).status, 401);
        for (method, path) in [
            ("PUT", format!("/api/v1/services/{SITE}/settings")),
            ("POST", format!("/api/v1/services/{SITE}/deployments")),
        ] {
            refused(&house.call("root", method, &path, deep.as_bytes()), 400, "");
        }
    }
    let large = format!("{{\"components\":\"{}\"}}", "a".repeat(1 << 20));
    let path = format!("/api/v1/services/{SITE}/settings");
    refused(&house.call("root", "PUT", &path, large.as_bytes()), 413, "larger than 1048576 bytes");
    assert_eq!(house.get(&format!("/api/v1/services/{SITE}"))["name"], SITE);
}

#[test]
fn slow_requests_stand_in_nobodys_way_and_are_ended() {
    let limits = RequestLimits {
        head: Duration::from_millis(400),
        body: Duration::from_millis(400),
        ..RequestLimits::default()
    };
    let house = House::with_limits(limits, IngestLimits::default());
    let idle = begin(&house, b"");
    let mut heads: Vec<TcpStream> =
        (0..20).map(|_| begin(&house, b"POST /api/v1/webhook/gitlab HTTP/1.1\r\nhos")).collect();
    let half = |path: &str| begin(&house, (post(path, "content-length: 1000\r\n") + "{\"half\":").as_bytes());
    let mut delivery = half(WEBHOOK);
    let mut json = half(&format!("/api/v1/services/{SITE}/deployments"));

    // Somebody else is served meanwhile.
    let before = house.clone.ok(&["rev-parse", "HEAD"]);
    let commit = house.clone.push_change("meanwhile");
    assert_eq!(house.decided(&push_event("ada", &before, &commit))["outcome"], "built");

    // A trickle does not buy time.
    let until = Instant::now() + Duration::from_secs(20);
    for head in &mut heads {
        while head.write_all(b"t").is_ok() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(Instant::now() < until, "a head that never ends is kept");
    }
    for stream in [&mut delivery, &mut json] {
        assert_eq!(status(stream), "HTTP/1.1 408 Request Timeout");
    }
    for stream in [idle, delivery, json] {
        assert!(is_closed(stream));
    }
}

#[test]
fn connections_over_the_limit_wait_for_a_place() {
    let limits = RequestLimits { connections: 3, ..RequestLimits::default() };
    let house = House::with_limits(limits, IngestLimits::default());
    let mut open: Vec<TcpStream> = (0..3).map(|_| begin(&house, b"GET /healthz HTTP/1.1\r\n")).collect();
    let mut next = begin(&house, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    next.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(status(&mut next), "", "there are only three places");
    next.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    drop(open.pop());
    assert_eq!(status(&mut next), "HTTP/1.1 200 OK");
    // Those that were there first are still served.
    for mut stream in open {
        stream.write_all(b"host: 127.0.0.1\r\n\r\n").unwrap();
        assert_eq!(status(&mut stream), "HTTP/1.1 200 OK");
    }
}
