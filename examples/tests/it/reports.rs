//! Reports of checks: what a build says of them, and downloading them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiops_core::checks::CheckJob;
use kiops_core::engine::IngestLimits;
use kiops_core::run::{RunOutcome, RunResult};
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::{FakeRunner, RunScript, Runs};
use kiops_examples::http::RequestLimits;
use serde_json::{Value, json};

use crate::house::{House, SITE, refused};

/// The report of the `n`th run: `n` errors, and enough beside them that it is sent in pieces.
fn report(n: usize) -> String {
    let result = |at| json!({"ruleId": format!("rule-{at}"), "level": "error"});
    let results: Vec<Value> = (0..n).map(result).collect();
    let run = json!({"results": results, "properties": {"padding": "ä".repeat(400_000)}});
    json!({"version": "2.1.0", "runs": [run]}).to_string()
}

/// A house with a runner whose check `scan` reports, and another one, `unit`, which does not.
fn house() -> House {
    let runs = Arc::new(AtomicUsize::new(0));
    let script = move |job: &CheckJob| {
        let sarif =
            (job.check.name.as_str() == "scan").then(|| report(runs.fetch_add(1, Ordering::Relaxed) + 1));
        let end = RunOutcome::Succeeded(RunResult { sarif, ..RunResult::default() });
        RunScript { step: Duration::ZERO, steps: 1, end: Some(end) }
    };
    let more = async |_: &_, _, adapters: kiops_core::engine::AdaptersBuilder| {
        adapters.runner(Arc::new(FakeRunner::new(Runs::default(), Chaos::none(), script)))
    };
    let house = House::with(RequestLimits::default(), IngestLimits::default(), more);
    house.change_settings(SITE, |settings| {
        settings["checks"] = json!([
            {"name": "scan", "phase": "image", "stage": "scan", "gate": {"by": "severity", "errors": 2, "new": 1}},
            {"name": "unit", "phase": "image"},
        ]);
    });
    house
}

fn built(house: &House, content: &str) -> Value {
    let commit = house.push("ada", content);
    house.built(SITE, &commit)
}

#[test]
fn a_build_says_what_its_check_found_and_the_report_can_be_downloaded() {
    let house = house();
    let first = built(&house, "one");
    let [scan, unit] = first["checks"].as_array().unwrap().as_slice() else { panic!("{first:#}") };
    assert_eq!((&first["state"], &scan["state"]), (&json!("succeeded"), &json!("passed")), "{first:#}");
    assert_eq!(scan["findings"], json!({"errors": 1, "warnings": 0, "notes": 0, "new": null}));
    assert_eq!((&unit["findings"], &unit["report"]), (&Value::Null, &Value::Null));
    let id = first["id"].as_str().unwrap();
    let path = scan["report"].as_str().unwrap();
    assert_eq!(path, format!("/api/v1/builds/{id}/checks/scan/report"));
    let answer = house.call("eve", "GET", path, b"");
    assert!(answer.status == 200 && answer.text() == report(1), "{}", answer.head);
    for (header, value) in [
        ("content-type", "application/sarif+json".to_owned()),
        ("content-disposition", format!("attachment; filename=\"{id}-scan.sarif\"")),
        ("x-content-type-options", "nosniff".to_owned()),
        ("cache-control", "no-store".to_owned()),
    ] {
        assert_eq!(answer.header(header), Some(value.as_str()), "{}", answer.head);
    }
    let log = house.call("eve", "GET", &format!("/api/v1/builds/{id}/log"), b"").text();
    let said = "[scan] Check scan: 1 errors, 0 warnings, 0 notes; none counts as new: there is no earlier report to compare with\n";
    assert!(log.contains(said), "{log}");

    let second = built(&house, "two");
    assert_eq!(second["checks"][0]["findings"]["new"], 1, "{second:#}");
    // What stops a build can be looked at too.
    let third = built(&house, "three");
    assert_eq!((&third["state"], &third["checks"][0]["findings"]["new"]), (&json!("failed"), &json!(1)));
    let answer = house.call("eve", "GET", third["checks"][0]["report"].as_str().unwrap(), b"");
    assert!(answer.text() == report(3), "{}", answer.head);
}

#[test]
fn a_report_is_for_those_who_may_read_the_log_and_there_is_none_where_none_was_made_or_it_is_gone() {
    let house = house();
    let build = built(&house, "one");
    let id = build["id"].as_str().unwrap();
    let of = |check: &str| format!("/api/v1/builds/{id}/checks/{check}/report");
    let log = format!("/api/v1/builds/{id}/log");
    for who in ["", "stranger", "eve", "ada", "root"] {
        let statuses = [of("scan"), log.clone()].map(|path| house.call(who, "GET", &path, b"").status);
        assert_eq!(statuses[0], statuses[1], "{who}");
    }
    refused(&house.call("", "GET", &of("scan"), b""), 401, "");
    refused(&house.call("eve", "GET", &of("unit"), b""), 404, "check `unit` has no report");
    for check in ["none", "%FF", "..%2F..%2Fsecret-key", "Scan", "%00"] {
        refused(&house.call("eve", "GET", &of(check), b""), 404, "");
    }
    refused(&house.call("root", "POST", &of("scan"), b"{}"), 405, "POST");
    let head = house.call("eve", "HEAD", &of("scan"), b"");
    assert!(head.status == 200 && head.body.is_empty());
    house.wait(house.driver.logs().remove(&id.parse().unwrap())).unwrap();
    refused(&house.call("eve", "GET", &of("scan"), b""), 404, "gone with the build's log");
}
