//! Builds by hand (T12), canceling (T15), and build arguments.

use kiops_core::name::ServiceName;
use kiops_core::service::{Service, Settings, Source};
use serde_json::{Value, json};

use crate::house::{House, SITE, refused, refused_with_remedy};

const BUILDS: &str = "/api/v1/services/site/builds";

/// Builds by hand, and gives the build as it was answered.
fn by_hand(house: &House) -> Value {
    let answer = house.post("ada", BUILDS, &json!({}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let list = answer.json();
    assert_eq!(list["total"], 1, "{list:#}");
    list["items"][0].clone()
}

fn cancel(house: &House, who: &str, build: &Value) -> crate::support::Answer {
    house.post(who, &format!("/api/v1/builds/{}/cancel", build["id"].as_str().unwrap()), &json!({}))
}

#[test]
fn a_build_by_hand_takes_the_newest_commit_whatever_the_filters_say() {
    let house = House::open();
    house.change_settings(SITE, |settings| {
        settings["auto_ci"]["enabled"] = json!(false);
        settings["components"][0]["watch_path"] = json!(["src/"]);
    });
    let head = house.clone.push_change("[skip ci] docs only");
    let build = by_hand(&house);
    assert_eq!((&build["commit"], &build["trigger"]), (&json!(head), &json!("manual")));
    assert_eq!((&build["branch"], &build["message"]), (&json!("main"), &json!("[skip ci] docs only\n")));
    let build = house.build_is(&build, "succeeded");
    let log = house.call("eve", "GET", &format!("/api/v1/builds/{}/log", build["id"].as_str().unwrap()), b"");
    assert_eq!(log.text().lines().next(), Some("[setup] Triggered by Manual Build"), "{}", log.text());
    // It is asked for anew, so it is built anew.
    assert_ne!(by_hand(&house)["id"], build["id"]);
    assert_eq!(house.get("/api/v1/deliveries")["total"], 0);
}

#[test]
fn a_build_by_hand_that_cannot_be_is_refused_with_the_reason() {
    let house = House::open();
    for (who, status) in [("", 401), ("stranger", 403), ("eve", 403)] {
        assert_eq!(house.post(who, BUILDS, &json!({})).status, status, "{who}");
    }
    for (body, status, says) in [
        (json!({"component": "api"}), 404, "`api`"),
        (json!({"component": 7}), 400, "component"),
        (json!({"commit": "main"}), 400, "`commit`"),
    ] {
        refused(&house.post("ada", BUILDS, &body), status, says);
    }
    let images = Service {
        name: ServiceName::parse("images").unwrap(),
        source: Source::Image,
        settings: Settings::default(),
    };
    house.put_service(&images);
    let of_images = house.post("ada", "/api/v1/services/images/builds", &json!({}));
    refused_with_remedy(&of_images, 400, "image service");
    house.change_settings(SITE, |settings| settings["image"] = Value::Null);
    refused_with_remedy(&house.post("ada", BUILDS, &json!({})), 400, "no registry settings");
    house.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/other"]);
    std::fs::write(house.clone.folder.join("../repo.git/HEAD"), "ref: refs/heads/other\n").unwrap();
    house.clone.ok(&["push", "--quiet", "origin", ":refs/heads/main"]);
    refused_with_remedy(&house.post("ada", BUILDS, &json!({})), 409, "branch `main` does not exist");
    assert_eq!(house.get("/api/v1/builds")["total"], 0);
}

#[test]
fn what_is_queued_or_building_can_be_canceled_and_what_is_over_cannot() {
    let house = House::open();
    house.change_settings(SITE, |settings| settings["builds_at_once"] = json!(1));
    house.host.hold_builds();
    let running = house.build_is(&by_hand(&house), "running");
    let queued = by_hand(&house);
    assert_ne!(queued["id"], running["id"], "one that runs stands in no other's way");
    assert_eq!((&queued["state"], &queued["queue_position"]), (&json!("queued"), &json!(1)), "{queued:#}");
    let third = by_hand(&house);
    assert_eq!(third["queue_position"], 2);

    for (who, status) in [("", 401), ("stranger", 403), ("eve", 403)] {
        assert_eq!(cancel(&house, who, &running).status, status, "{who}");
    }
    for build in [&queued, &running] {
        let answer = cancel(&house, "bob", build);
        assert_eq!((answer.status, &answer.json()["state"]), (200, &json!("canceled")), "{}", answer.text());
        assert_eq!(answer.json()["label"], "Canceled");
        refused_with_remedy(&cancel(&house, "bob", build), 409, "is over: canceled");
    }
    // The place that it had is free again.
    house.build_is(&third, "running");
    house.host.let_builds_go();
    let third = house.build_is(&third, "succeeded");
    refused_with_remedy(&cancel(&house, "bob", &third), 409, "is over: succeeded");
    let log =
        house.call("eve", "GET", &format!("/api/v1/builds/{}/log", running["id"].as_str().unwrap()), b"");
    assert!(log.text().contains("Canceled by bob"), "{}", log.text());
    assert_eq!(house.build_is(&running, "canceled")["digest"], Value::Null);
}

#[test]
fn while_it_is_rolled_out_a_build_cannot_be_canceled_and_the_remedy_is_rollback() {
    let house = House::open();
    house.runtime.hold(true);
    let commit = house.push("ada", "on its way");
    let build = house.until("/api/v1/builds", |list| {
        let build = &list["items"][0];
        (build["commit"] == commit && build["stage"] == "deploy").then(|| build.clone())
    });
    house.deployment_is(&house.newest_deployment()["id"], "verifying");
    assert_eq!((&build["state"], &build["label"]), (&json!("running"), &json!("Running")));
    let refusal = refused(&cancel(&house, "root", &build), 409, "is being deployed");
    assert!(refusal["remedy"].as_str().unwrap().contains("roll back"), "{refusal:#}");
    house.runtime.hold(false);
    house.build_is(&build, "succeeded");
    refused_with_remedy(&cancel(&house, "root", &build), 409, "is over: succeeded");
}

#[test]
fn build_arguments_reach_the_dockerfile() {
    let house = House::open();
    house.clone.write("a.html", "a");
    house.clone.write("Dockerfile", "FROM scratch\nARG PAGE=missing.html\nCOPY ${PAGE} /site/\n");
    house.clone.push_change("with an argument");
    let with = |arguments: Value| {
        house.change_settings(SITE, |settings| settings["components"][0]["build_args"] = arguments);
        let build = by_hand(&house);
        house.until(&format!("/api/v1/builds/{}", build["id"].as_str().unwrap()), |build| {
            crate::support::is_over(build).then(|| build.clone())
        })
    };
    let failed = with(json!({}));
    assert_eq!(failed["failure"]["kind"], "source_file_not_found", "{failed:#}");
    assert!(failed["failure"]["message"].as_str().unwrap().contains("missing.html"));
    let a = with(json!({"PAGE": "a.html"}));
    let index = with(json!({"PAGE": "index.html"}));
    assert_eq!((&a["state"], &index["state"]), (&json!("succeeded"), &json!("succeeded")), "{a:#}");
    assert_ne!(a["digest"], index["digest"]);
}

#[test]
fn a_queued_build_always_has_its_place_in_the_queue_and_no_other_has_one() {
    let house = House::open();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| (0..20).map(|_| by_hand(&house)).collect::<Vec<_>>());
        let mut whole = false;
        while !whole {
            whole = asking.is_finished();
            for build in house.get("/api/v1/builds?limit=200")["items"].as_array().unwrap() {
                let queued = build["state"] == "queued";
                assert_eq!(build["queue_position"].is_u64(), queued, "{build:#}");
                assert_eq!(build["waiting_for"].is_string(), queued, "{build:#}");
            }
        }
    });
}
