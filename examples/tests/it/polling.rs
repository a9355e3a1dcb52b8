//! A service that is polled: nobody sends anything, and pushes are built all the same.

use kiops_examples::local::SERVICE;
use serde_json::{Value, json};

use crate::house::{House, SITE, refused_with_remedy};
use crate::inside::Inside;
use crate::support::Clone;

/// A service's item of readiness, and whether it is ready.
fn readiness(service: &Value, name: &str) -> Option<(bool, Value)> {
    let readiness = &service["readiness"];
    let item = readiness["items"].as_array().unwrap().iter().find(|item| item["name"] == name)?;
    Some((readiness["ready"].as_bool().unwrap(), item.clone()))
}

#[test]
fn a_polled_repository_without_a_hook_is_deployed_from() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    let inside = Inside::start(&state, async |_, _| {});
    let server = &inside.server;
    server.change_settings(|settings| settings["auto_ci"]["deliveries"] = json!("polling"));
    std::fs::remove_file(state.join("repo.git/hooks/post-receive")).unwrap();
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    for content in ["first", "second"] {
        let commit = clone.push_change(content);
        let build = server.built(&commit);
        assert_eq!((&build["state"], &build["trigger"]), (&json!("succeeded"), &json!("reconcile")));
    }
    let service = server.get(&format!("/api/v1/services/{SERVICE}"));
    let (ready, polling) = readiness(&service, "polling").unwrap();
    assert!(ready && polling["met"] == true && polling["required"] == true, "{service:#}");
    assert!(polling["message"].as_str().unwrap().starts_with("heads are listed every 0.5 s"), "{polling}");
    assert_eq!(readiness(&service, "webhook"), None);
}

#[test]
fn polling_asks_for_no_webhook_and_is_not_ready_where_nobody_lists_heads() {
    let house = House::open();
    house.hook(SITE, []);
    house.change_settings(SITE, |settings| settings["auto_ci"]["deliveries"] = json!("polling"));
    let service = house.get(&format!("/api/v1/services/{SITE}"));
    let (ready, polling) = readiness(&service, "polling").unwrap();
    assert!(!ready && polling["message"].as_str().unwrap().starts_with("heads are not listed"), "{polling}");
    assert_eq!(readiness(&service, "webhook"), None);

    let path = format!("/api/v1/services/{SITE}/settings");
    let mut settings = house.get(&path);
    settings["auto_ci"]["merge_request"]["enabled"] = json!(true);
    let answer = house.call("root", "PUT", &path, settings.to_string().as_bytes());
    refused_with_remedy(&answer, 400, "come by webhook only");
    settings["auto_ci"]["deliveries"] = json!("webhook");
    let answer = house.call("root", "PUT", &path, settings.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}
