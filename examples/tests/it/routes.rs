//! What holds for every route: pages of lists, what is not there, other methods, and pages that mislead a browser.

use std::net::SocketAddr;

use axum::http::Request;
use kiops_core::ErrorKind;
use kiops_core::name::MemberId;
use kiops_examples::http::{Authenticate as _, LocalOwner};
use serde_json::{Value, json};

use crate::house::{House, SITE, push_event, refused, refused_with_remedy, secret};
use crate::support::call;

const ZEROS: &str = "000000000000000000000000";

#[test]
fn lists_come_newest_first_and_page_by_page() {
    let house = House::open();
    let commits = ["one", "two", "three"].map(|content| {
        let commit = house.push("ada", content);
        assert_eq!(house.built(SITE, &commit)["state"], "succeeded");
        commit
    });
    house.register("docs", crate::house::settings("docs"));
    let deployments = format!("/api/v1/services/{SITE}/deployments");
    for (path, total) in
        [("/api/v1/builds", 3), ("/api/v1/deliveries", 3), (deployments.as_str(), 3), ("/api/v1/services", 2)]
    {
        let all = house.get(path);
        assert_eq!((&all["total"], all["items"].as_array().unwrap().len()), (&json!(total), total), "{path}");
        for at in 0..total {
            let page = house.get(&format!("{path}?limit=1&offset={at}"));
            assert_eq!(page["items"], json!([all["items"][at]]), "{path} at {at}");
            assert_eq!(page["total"], total);
        }
        for same in ["?limit=200", "?limit=3&offset=0", "?limit=&offset=", "?other=1"] {
            assert_eq!(house.get(&format!("{path}{same}"))["items"], all["items"], "{path}{same}");
        }
        for beyond in [total.to_string(), i64::MAX.to_string()] {
            let page = house.get(&format!("{path}?offset={beyond}"));
            assert_eq!((&page["items"], &page["total"]), (&json!([]), &json!(total)), "{path} at {beyond}");
        }
        for bad in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=ten",
            "limit=1.5",
            "limit=%2B",
            "limit=99999999999999999999",
            "offset=-1",
            "offset=ten",
            "offset=9223372036854775808",
            "offset=99999999999999999999",
            "limit=1&limit=2",
        ] {
            refused(&house.call("root", "GET", &format!("{path}?{bad}"), b""), 400, "");
        }
    }
    let newest_first = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["commit"].as_str().unwrap().to_owned()).collect()
    };
    let mut expected = commits.to_vec();
    expected.reverse();
    assert_eq!(newest_first(&house.get("/api/v1/builds")), expected);
    assert_eq!(newest_first(&house.get("/api/v1/deliveries")), expected);
    for path in ["/api/v1/builds", "/api/v1/deliveries"] {
        assert_eq!(house.get(&format!("{path}?service="))["total"], 3);
        assert_eq!(house.get(&format!("{path}?service={SITE}"))["total"], 3);
        assert_eq!(house.get(&format!("{path}?service=docs"))["total"], 0);
        refused(&house.call("root", "GET", &format!("{path}?service=none"), b""), 404, "service");
        refused(&house.call("root", "GET", &format!("{path}?service=%FF"), b""), 404, "service");
    }
}

/// Every route that names something: method, what stands before and after the name, a body that would do, and a name that
/// is well-formed.
fn named() -> [(&'static str, &'static str, &'static str, Value, String); 18] {
    let commit = "a".repeat(40);
    let of = |kind: char| format!("{kind}-{ZEROS}");
    let service = || "none".to_owned();
    [
        ("GET", "/api/v1/services/", "", json!({}), service()),
        ("GET", "/api/v1/services/", "/settings", json!({}), service()),
        ("PUT", "/api/v1/services/", "/settings", json!({}), service()),
        ("POST", "/api/v1/services/", "/builds", json!({}), service()),
        ("GET", "/api/v1/services/", "/deployments", json!({}), service()),
        ("POST", "/api/v1/services/", "/deployments", json!({"build": of('b')}), service()),
        ("POST", "/api/v1/services/", "/rollback", json!({}), service()),
        ("POST", "/api/v1/deployments/", "/approve", json!({}), of('r')),
        ("POST", "/api/v1/deployments/", "/reject", json!({}), of('r')),
        ("GET", "/api/v1/builds/", "", json!({}), of('b')),
        ("GET", "/api/v1/builds/", "/log", json!({}), of('b')),
        ("GET", "/api/v1/builds/", "/provenance", json!({}), of('b')),
        ("GET", "/api/v1/builds/", "/checks/scan/report", json!({}), of('b')),
        ("POST", "/api/v1/builds/", "/cancel", json!({}), of('b')),
        ("GET", "/api/v1/deliveries/", "", json!({}), of('d')),
        ("POST", "/api/v1/deliveries/", "/explain", json!({}), of('d')),
        ("POST", "/api/v1/deliveries/", "/approve", json!({"commit": commit}), of('d')),
        ("POST", "/api/v1/webhook/", "", json!({}), "nobody".to_owned()),
    ]
}

#[test]
fn what_is_unknown_or_malformed_is_not_there_on_every_route() {
    let house = House::open();
    let long = "a".repeat(5000);
    let malformed = ["nonsense", "%FF", "..%2F..%2Fetc", "%00", "b-XYZ", "-", "%20", "r-", long.as_str()];
    for (method, before, after, body, unknown) in named() {
        for name in malformed.into_iter().chain([unknown.as_str()]) {
            let path = format!("{before}{name}{after}");
            let answer = house.call("root", method, &path, body.to_string().as_bytes());
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
            refused(&answer, 404, "");
        }
    }
    // An id of another kind is none.
    refused(&house.call("root", "GET", &format!("/api/v1/builds/d-{ZEROS}"), b""), 404, "build");
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/webhooks",
        "/api/v1/builds/",
        "/api/v2/builds",
        "/nowhere",
    ] {
        refused(&house.call("root", "GET", path, b""), 404, "");
    }
    for hook in ["short", "%FF", "x/y"] {
        refused(&house.call("", "POST", &format!("/api/v1/webhook/gitlab/{hook}"), b"{}"), 404, "");
    }
    assert_eq!(house.get("/api/v1/builds")["total"], 0);
}

#[test]
fn another_method_is_refused_as_a_problem_and_head_is_answered_like_get() {
    let house = House::open();
    let commit = house.push("ada", "something");
    let build = house.built(SITE, &commit);
    let build = format!("/api/v1/builds/{}", build["id"].as_str().unwrap());
    let delivery = house.get("/api/v1/deliveries")["items"][0]["id"].as_str().unwrap().to_owned();
    let reads = [
        "/api/v1/services".to_owned(),
        format!("/api/v1/services/{SITE}"),
        format!("/api/v1/services/{SITE}/settings"),
        format!("/api/v1/services/{SITE}/deployments"),
        "/api/v1/builds".to_owned(),
        format!("{build}/log"),
        build,
        "/api/v1/deliveries".to_owned(),
        format!("/api/v1/deliveries/{delivery}"),
        "/healthz".to_owned(),
        "/readyz".to_owned(),
    ];
    for path in &reads {
        let (get, head) = (house.call("root", "GET", path, b""), house.call("root", "HEAD", path, b""));
        assert_eq!((get.status, head.status), (200, 200), "{path}");
        assert!(!get.body.is_empty() && head.body.is_empty(), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        for method in ["DELETE", "PATCH"] {
            refused(&house.call("root", method, path, b"{}"), 405, method);
        }
    }
    for (method, before, after, body, unknown) in named() {
        let path = format!("{before}{unknown}{after}");
        if method == "POST" && !path.contains("/webhook/") && !path.ends_with("/deployments") {
            for other in ["GET", "PUT", "DELETE"] {
                refused(&house.call("root", other, &path, body.to_string().as_bytes()), 405, other);
            }
        }
    }
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        let answer = house.call("", method, "/api/v1/webhook/gitlab", b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    let odd = house.call("root", "PURGE", "/api/v1/builds", b"");
    refused(&odd, 405, "PURGE");
    assert!(odd.header("allow").is_some_and(|allow| allow.contains("GET")), "{}", odd.head);
}

#[test]
fn a_misled_browser_reaches_nothing_and_a_delivery_comes_in_from_anywhere() {
    let house = House::open();
    let member = ("x-member", "root");
    let builds = format!("/api/v1/services/{SITE}/builds");
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.evil:80"] {
        for (method, path) in [
            ("GET", "/api/v1/builds"),
            ("POST", builds.as_str()),
            ("GET", "/v2/"),
            ("GET", "/healthz"),
            ("GET", "/nowhere"),
        ] {
            let answer = call(&house.address, method, path, &[member, ("host", host)], b"{}");
            refused_with_remedy(&answer, 421, "does not answer for that host");
        }
    }
    let settings = house.get(&format!("/api/v1/services/{SITE}/settings")).to_string();
    let own = format!("http://{}", house.address);
    let another_port = format!("http://127.0.0.1:{}", 1);
    for origin in ["https://evil.example", "null", another_port.as_str(), "http://127.0.0.1.evil.example"] {
        let headers = [member, ("origin", origin)];
        refused(&call(&house.address, "POST", &builds, &headers, b"{}"), 403, "another origin");
        let put = call(
            &house.address,
            "PUT",
            &format!("/api/v1/services/{SITE}/settings"),
            &headers,
            settings.as_bytes(),
        );
        refused(&put, 403, "another origin");
        for method in ["GET", "HEAD"] {
            assert_eq!(call(&house.address, method, "/api/v1/builds", &headers, b"").status, 200, "{origin}");
        }
    }
    let site = [member, ("sec-fetch-site", "cross-site")];
    refused(&call(&house.address, "POST", &builds, &site, b"{}"), 403, "another origin");
    assert_eq!(house.get("/api/v1/builds")["total"], 0);
    assert_eq!(call(&house.address, "POST", &builds, &[member, ("origin", &own)], b"{}").status, 202);

    // A delivery proves itself: neither host nor origin matter.
    let before = house.clone.ok(&["rev-parse", "HEAD"]);
    let body = push_event("ada", &before, &house.clone.push_change("from elsewhere")).to_string();
    let now = jiff::Timestamp::now();
    let signature = kiops_core::webhook::scheme::sign(&secret(SITE), "msg_x", now, body.as_bytes()).unwrap();
    let headers = [
        ("host", "hooks.example.com"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("webhook-id", "msg_x"),
        ("webhook-timestamp", &now.as_second().to_string()),
        ("webhook-signature", &signature),
    ];
    let answer = call(&house.address, "POST", "/api/v1/webhook/gitlab", &headers, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn nobody_but_this_machine_owns_a_quickstart() {
    let owner = LocalOwner::new(MemberId::parse("owner").unwrap());
    for outside in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "192.168.1.2:8080", "[fe80::1]:80"] {
        let outside: SocketAddr = outside.parse().unwrap();
        let error = LocalOwner::check_address(outside).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert_eq!(error.remedy(), Some("listen on 127.0.0.1"));
        let (parts, ()) = Request::new(()).into_parts();
        let error = owner.subject(&parts, Some(outside)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(owner.subject(&parts, None).is_err(), "whoever cannot be told is nobody");
    }
    for own in ["127.0.0.1:0", "[::1]:80"] {
        LocalOwner::check_address(own.parse().unwrap()).unwrap();
    }
}
