//! What goes wrong at a Harbor, and what a host does that only says it is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiops_core::error::Retry;
use kiops_core::http::{Reply, ScriptedHttp, SystemTimer};
use kiops_core::image::{
    ImageAccess, Listing, NewProject, NewRobot, Registry as _, RegistryCredential, WantedPushHook,
};
use kiops_core::name::{Digest, ImageName};
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind};
use kiops_registry::harbor::{Harbor, HarborConfig};
use proptest::prelude::*;

use super::host::{ADMIN, HOST, Host, PASSWORD, error};
use crate::fixtures::{image, tag};

fn harbor(http: &ScriptedHttp) -> Harbor {
    let password = Secret::new(PASSWORD).unwrap();
    let login = RegistryCredential { host: HOST.into(), username: ADMIN.into(), password };
    Harbor::new(HarborConfig::new(HOST), Some(login), Arc::new(http.clone()), Arc::new(SystemTimer)).unwrap()
}

fn app() -> ImageName {
    image("harbor.example.com/team/sub/app")
}

fn hook() -> WantedPushHook {
    let (url, secret) = ("https://ci.example.com/hook".into(), Secret::new("hook-secret").unwrap());
    WantedPushHook { url, secret, format: None, verify_tls: true }
}

/// Makes every call that there is, and gives what went wrong.
async fn every_call(harbor: &Harbor) -> Vec<Error> {
    let (projects, scanner, hooks) =
        (harbor.projects().unwrap(), harbor.scanner().unwrap(), harbor.hooks().unwrap());
    let all = Listing::all();
    let new = NewProject { name: "team".into(), public: false, storage_limit: None };
    let robot = NewRobot { name: "kiops".into(), access: ImageAccess::Push, days: None };
    let digest = Digest::of(b"x");
    let results = [
        harbor.check(&app()).await.err(),
        harbor.delete(&app().tagged(tag("v1"))).await.err(),
        harbor.delete(&app().at(digest.clone())).await.err(),
        projects.list(&all).await.err(),
        projects.find("team").await.err(),
        projects.create(&new).await.err(),
        projects.ensure_robot("team", &robot).await.err(),
        projects.repositories("team", &all).await.err(),
        projects.artifacts(&app(), &all).await.err(),
        projects.delete_repository(&app()).await.err(),
        scanner.scan(&app(), &digest).await.err(),
        scanner.report(&app(), &digest).await.err(),
        hooks.ensure("team", &hook()).await.err(),
        hooks.state("team", "https://ci.example.com/hook").await.err(),
        hooks.remove("team", "https://ci.example.com/hook").await.err(),
    ];
    results.into_iter().flatten().collect()
}

#[tokio::test(start_paused = true)]
async fn every_status_is_told_by_its_kind_in_harbors_words_with_what_to_do() {
    for (status, kind) in [
        (401, ErrorKind::Unauthorized),
        (403, ErrorKind::Forbidden),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (301, ErrorKind::Invalid),
    ] {
        let http = ScriptedHttp::answering(move |_| {
            let reply = error(status, "SOMETHING", "in its own words");
            if status == 429 || status == 503 { reply.header("retry-after", "90") } else { reply }
        });
        let errors = every_call(&harbor(&http)).await;
        assert_eq!(errors.len(), 15, "{status}");
        for error in &errors[1..] {
            // A project that is there and may not be seen is a conflict for whoever wants to make it; here it cannot even be tried.
            assert_eq!(error.kind(), kind, "{status}: {error}");
            assert!(error.message().contains("SOMETHING: in its own words"), "{status}: {error}");
            assert!(error.remedy().is_some() || kind == ErrorKind::Unavailable, "{status}: {error:?}");
            assert_eq!(error.retry() == Retry::After(90), matches!(status, 429 | 503), "{error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_an_error_only_where_it_has_to_be_there() {
    let http = ScriptedHttp::answering(|_| error(404, "NOT_FOUND", "it is not here"));
    let errors = every_call(&harbor(&http)).await;
    // Deleting is done, and a project that is not there is `None`.
    assert_eq!(errors.len(), 11);
    assert!(errors[1..].iter().all(|error| error.kind() == ErrorKind::NotFound), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn a_harbor_that_is_busy_for_a_moment_is_asked_again() {
    let host = Host::new();
    let asked = AtomicUsize::new(0);
    host.fault(move |_| {
        let busy = asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        busy.then(|| Reply::status(429).header("retry-after", "1"))
    });
    let new = NewProject { name: "shop".into(), public: false, storage_limit: None };
    let harbor = host.client();
    assert!(harbor.projects().unwrap().create(&new).await.unwrap().created);
    harbor.hooks().unwrap().ensure("team", &hook()).await.unwrap();
    harbor.check(&app()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_account_goes_nowhere_else_whatever_harbor_answers() {
    for place in
        ["https://evil.example.com/x", "http://harbor.example.com/x", "https://harbor.example.com/other"]
    {
        let http = ScriptedHttp::answering(move |_| Reply::redirect(302, place));
        let errors = every_call(&harbor(&http)).await;
        assert_eq!(errors.len(), 15);
        let all = http.seen();
        assert!(
            all.iter().all(|seen| seen.url.starts_with("https://harbor.example.com/api/v2.0/")),
            "{place}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_to_another_host_is_not_followed() {
    let http = ScriptedHttp::answering(|_| {
        let items = r#"[{"name":"team/a"},{"name":"team/b"}]"#;
        Reply::json(items)
            .header("x-total-count", "5")
            .header("link", "<https://evil.example.com/next?page=2>; rel=\"next\"")
    });
    let harbor = harbor(&http);
    let page = harbor.projects().unwrap().repositories("team", &Listing::all().limit(2)).await.unwrap();
    assert_eq!(page.next.as_deref(), Some("2/2"));
    harbor.projects().unwrap().repositories("team", &Listing::all().after("2/2")).await.unwrap();
    assert!(http.seen().iter().all(|seen| seen.url.starts_with("https://harbor.example.com/")));
}

#[tokio::test(start_paused = true)]
async fn lists_that_never_end_do_not_go_on_forever() {
    // The same page again and again, and one that is always new.
    let same = ScriptedHttp::answering(|_| {
        Reply::json(r#"[{"id":1,"name":"x"}]"#).header("x-total-count", "18446744073709551615")
    });
    let error =
        harbor(&same).hooks().unwrap().remove("team", "https://ci.example.com/hook").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(same.seen().len(), 2);
    let count = AtomicUsize::new(0);
    let new = ScriptedHttp::answering(move |_| {
        let at = count.fetch_add(1, Ordering::Relaxed);
        let page: Vec<String> = (0..100).map(|one| format!(r#"{{"id":{}}}"#, at * 100 + one)).collect();
        Reply::json(format!("[{}]", page.join(",")))
    });
    let error =
        harbor(&new).hooks().unwrap().remove("team", "https://ci.example.com/hook").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.remedy().unwrap().contains("max_entries"), "{error}");
    assert_eq!(new.seen().len(), 101);
}

#[tokio::test(start_paused = true)]
async fn numbers_beyond_all_measure_are_harmless() {
    let huge = [
        r#"{"project_id":18446744073709551615,"name":"team","repo_count":18446744073709551615,"registry_id":-9223372036854775808}"#,
        r#"{"project_id":1e400,"name":"team"}"#,
        r#"{"project_id":-1,"name":"team"}"#,
        r#"{"digest":"sha256:0","size":-9223372036854775808,"push_time":"9999-99-99"}"#,
        r#"{"id":1,"name":"robot$team+kiops","expires_at":9223372036854775807,"creation_time":"0001-01-01T00:00:00Z","secret":"s"}"#,
        r#"{"id":1,"name":"robot$team+kiops","expires_at":-9223372036854775808,"creation_time":"9999-12-30T00:00:00Z","secret":"s"}"#,
        r#"{"scan_overview":{"x":{"scan_status":"Success","summary":{"total":18446744073709551615,"summary":{"Low":18446744073709551615,"None":1}}}}}"#,
    ];
    for body in huge {
        for list in [false, true] {
            let http = ScriptedHttp::answering(move |_| {
                let body = if list { format!("[{body}]") } else { body.to_owned() };
                Reply::json(body).header("x-total-count", "99999999999999999999999")
            });
            drop(every_call(&harbor(&http)).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_large_or_nested_is_an_error() {
    let large = ScriptedHttp::answering(|_| Reply::json(" ".repeat(9 << 20)));
    let errors = every_call(&harbor(&large)).await;
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::TooLarge), "{errors:?}");
    let nested = ScriptedHttp::answering(|_| Reply::json(format!("{}1", "[".repeat(100_000))));
    for error in every_call(&harbor(&nested)).await {
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Invalid), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_error_repeats_a_secret_in_any_form() {
    let basic = "YWRtaW46SGFyYm9yMTIzNDU=";
    for status in [400, 401, 403, 404, 409, 412, 422, 429, 500] {
        let http = ScriptedHttp::answering(move |seen| {
            let sent = format!("{} {}", seen.header("authorization"), String::from_utf8_lossy(&seen.body));
            error(status, "ECHO", &format!("{PASSWORD} hook-secret {sent}"))
        });
        let harbor = harbor(&http);
        let shown = format!("{:?} {:?}", every_call(&harbor).await, harbor);
        for secret in [PASSWORD, "hook-secret", basic] {
            assert!(!shown.contains(secret), "{status}: {shown}");
        }
    }
    // Nor an answer that is not what it should be.
    let http = ScriptedHttp::answering(|seen| match seen.method.as_str() {
        "POST" => Reply::status(201)
            .body(r#"{"id":1,"name":"x","secret":["RobotSecret1"],"expires_at":"RobotSecret1"}"#),
        _ if seen.path().ends_with("/robots") => Reply::json("[]"),
        _ => Reply::json(r#"{"project_id":7,"name":"team"}"#),
    });
    let harbor = harbor(&http);
    let robot = NewRobot { name: "kiops".into(), access: ImageAccess::Push, days: None };
    let error = harbor.projects().unwrap().ensure_robot("team", &robot).await.unwrap_err();
    assert!(!format!("{error:?}").contains("RobotSecret1"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_robot_without_a_secret_is_no_robot() {
    let http = ScriptedHttp::answering(|seen| match (seen.method.as_str(), seen.path()) {
        ("POST", _) => Reply::status(201).body(r#"{"id":1,"name":"robot$team+kiops"}"#),
        (_, path) if path.ends_with("/robots") => Reply::json("[]"),
        _ => Reply::json(r#"{"project_id":7,"name":"team"}"#),
    });
    let harbor = harbor(&http);
    let robot = NewRobot { name: "kiops".into(), access: ImageAccess::Push, days: None };
    let error = harbor.projects().unwrap().ensure_robot("team", &robot).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_robot_of_another_project_is_never_taken_for_ours() {
    let http = ScriptedHttp::answering(|seen| match (seen.method.as_str(), seen.path()) {
        ("POST", _) => Reply::status(201).body(r#"{"id":2,"name":"robot$team+kiops","secret":"s"}"#),
        (_, path) if path.ends_with("/robots") => Reply::json(r#"[{"id":1,"name":"robot$shop+kiops"}]"#),
        _ => Reply::json(r#"{"project_id":7,"name":"team"}"#),
    });
    let harbor = harbor(&http);
    let robot = NewRobot { name: "kiops".into(), access: ImageAccess::Push, days: None };
    assert!(harbor.projects().unwrap().ensure_robot("team", &robot).await.unwrap().created);
    assert!(http.seen().iter().all(|seen| seen.method != "PUT"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_answer_is_an_answer_or_an_error(status in 200_u16..600, body in "\\PC{0,60}", total in "\\PC{0,20}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let http = ScriptedHttp::answering(move |_| {
                Reply::status(status).body(body.clone()).header("x-total-count", &total)
            });
            drop(every_call(&harbor(&http)).await);
        });
    }
}
