//! Scans, and what they find.

use kiops_core::ErrorKind;
use kiops_core::image::{Registry as _, ScanReport, ScanState, Vulnerabilities};
use kiops_core::name::Digest;
use kiops_registry::harbor::Harbor;
use serde_json::{Value, json};

use super::host::{ArtifactState, Host, PASSWORD, Role, Who};
use crate::fixtures::image;

fn digest() -> Digest {
    Digest::of(b"scanned")
}

fn host() -> Host {
    let host = Host::new();
    host.artifact("sub/app", digest().as_str(), &["v1"]);
    host
}

fn artifact(host: &Host, change: impl FnOnce(&mut ArtifactState)) {
    host.team(|team| change(&mut team.repositories.get_mut("sub/app").unwrap()[0]));
}

async fn report(harbor: &Harbor) -> kiops_core::Result<ScanReport> {
    harbor.scanner().unwrap().report(&image("harbor.example.com/team/sub/app"), &digest()).await
}

async fn scan(harbor: &Harbor) -> kiops_core::Result<ScanState> {
    harbor.scanner().unwrap().scan(&image("harbor.example.com/team/sub/app"), &digest()).await
}

#[tokio::test(start_paused = true)]
async fn a_scan_goes_from_not_scanned_over_queued_and_running_to_its_report() {
    let host = host();
    host.account("maintainer", Who::Member(7, Role::Maintainer));
    let harbor = host.client_as("maintainer", PASSWORD);
    assert_eq!(report(&harbor).await.unwrap().state, ScanState::NotScanned);
    assert_eq!(scan(&harbor).await.unwrap(), ScanState::Queued);
    assert_eq!(report(&harbor).await.unwrap().state, ScanState::Queued);
    let set = |overview: Value| artifact(&host, |one| one.overview = Some(overview));
    set(
        json!({"scan_status": "Running", "start_time": "2024-05-01T12:00:00Z", "end_time": "2024-05-01T12:00:01Z"}),
    );
    let running = report(&harbor).await.unwrap();
    assert_eq!((running.state, running.found, running.ended_at), (ScanState::Running, None, None));
    set(json!({
        "scan_status": "Success", "severity": "Critical",
        "start_time": "2024-05-01T12:00:00Z", "end_time": "2024-05-01T12:01:00Z",
        "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "v0.51.2\r\n\u{1b}"},
        "summary": {"total": 10, "fixable": 4, "summary": {"Critical": 1, "High": 2, "Medium": 3, "Low": 3, "Unknown": 1}},
    }));
    let done = report(&harbor).await.unwrap();
    let found = Vulnerabilities { critical: 1, high: 2, medium: 3, low: 3, unknown: 1, fixable: Some(4) };
    assert_eq!((done.state, done.found), (ScanState::Done, Some(found)));
    assert_eq!(done.scanner.as_deref(), Some("Trivy v0.51.2"));
    assert_eq!(done.ended_at.unwrap().as_second() - done.started_at.unwrap().as_second(), 60);
    assert_eq!(scan(&harbor).await.unwrap(), ScanState::Queued, "what was scanned is scanned again");
}

#[tokio::test(start_paused = true)]
async fn while_one_is_under_way_no_other_is_asked_for() {
    let host = host();
    let harbor = host.client();
    scan(&harbor).await.unwrap();
    scan(&harbor).await.unwrap();
    let posts = host.asked().iter().filter(|asked| asked.starts_with("POST")).count();
    assert_eq!(posts, 1);
    // Somebody else was faster, and Harbor says so.
    artifact(&host, |one| one.overview = None);
    let seen_before = std::sync::atomic::AtomicBool::new(false);
    host.fault(move |seen| {
        let scans = seen.method == "POST" && !seen_before.swap(true, std::sync::atomic::Ordering::Relaxed);
        scans.then(|| super::host::error(409, "CONFLICT", "a previous scan process is running"))
    });
    assert_eq!(scan(&harbor).await.unwrap(), ScanState::Queued);
}

#[tokio::test(start_paused = true)]
async fn what_failed_or_was_stopped_says_so_and_has_no_counts() {
    let host = host();
    for status in ["Error", "Stopped", "no route to host"] {
        let summary = json!({"total": 0, "summary": {}});
        artifact(&host, |one| one.overview = Some(json!({"scan_status": status, "summary": summary})));
        let failed = report(&host.client()).await.unwrap();
        assert_eq!((failed.state, failed.found), (ScanState::Failed, None), "{status}");
    }
    artifact(&host, |one| one.overview = Some(json!({"scan_status": "Success"})));
    let done = report(&host.client()).await.unwrap();
    assert_eq!((done.state, done.found), (ScanState::Done, None), "no counts are not none found");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_scanned_is_a_state_and_a_missing_scanner_an_error() {
    let host = host();
    artifact(&host, |one| one.scannable = false);
    assert_eq!(report(&host.client()).await.unwrap().state, ScanState::Unsupported);
    assert_eq!(scan(&host.client()).await.unwrap(), ScanState::Unsupported);
    host.team(|team| team.has_scanner = false);
    let error = scan(&host.client()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("no available scanner"), "{error}");
    assert!(error.remedy().unwrap().contains("Interrogation Services"), "{error}");
    for status in [400, 500] {
        // Versions that say so with other statuses.
        host.fault(move |seen| {
            (seen.method == "POST").then(|| super::host::error(status, "UNKNOWN", "internal server error"))
        });
        assert_eq!(scan(&host.client()).await.unwrap(), ScanState::Unsupported);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_there_and_a_missing_right_are_errors() {
    let host = host();
    let other = Digest::of(b"other");
    let app = image("harbor.example.com/team/sub/app");
    let harbor = host.client();
    let error = harbor.scanner().unwrap().report(&app, &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    host.account("dev", Who::Member(7, Role::Developer));
    let error = scan(&host.client_as("dev", PASSWORD)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.remedy().unwrap().contains("Create of Scan"), "{error}");
}
