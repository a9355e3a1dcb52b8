//! The API trigger: another program's call that builds (R04-R10).

use std::process::Command;

use serde_json::{Value, json};

use crate::house::{House, SITE, refused, refused_with_remedy};
use crate::support::{Answer, call};

const TRIGGER: &str = "/api/v1/trigger/site";

fn switch_on(house: &House) -> String {
    house.change_settings(SITE, |settings| settings["auto_ci"]["api"]["enabled"] = json!(true));
    new_key(house, json!({}))
}

fn new_key(house: &House, body: Value) -> String {
    let path = format!("/api/v1/services/{SITE}/trigger/key");
    let answer = house.call("root", "PUT", &path, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["key"].as_str().unwrap().to_owned()
}

fn trigger(house: &House, body: &Value) -> Answer {
    let headers = [("Content-type", "application/json")];
    call(&house.address, "POST", TRIGGER, &headers, body.to_string().as_bytes())
}

fn builds(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let builds = answer.json()["builds"].clone();
    serde_json::from_value(builds).unwrap()
}

#[test]
fn a_call_with_the_key_builds_the_newest_commit_and_its_log_says_so() {
    let house = House::open();
    let commit = house.clone.ok(&["rev-parse", "HEAD"]);
    let key = switch_on(&house);
    let built = builds(&trigger(&house, &json!({"secret_key": key})));
    let build = house.built(SITE, &commit);
    assert_eq!((&build["id"], &build["trigger"]), (&json!(built[0]), &json!("api")));
    assert_eq!(build["state"], "succeeded", "{build:#}");
    let log = house.call("root", "GET", &format!("/api/v1/builds/{}/log", built[0]), b"");
    assert!(log.text().starts_with("[setup] Triggered by API"), "{}", log.text());
}

#[test]
fn a_call_that_is_repeated_with_its_idempotency_key_gives_the_same_builds() {
    let house = House::open();
    let key = switch_on(&house);
    let call = |run: &str| builds(&trigger(&house, &json!({"secret_key": key, "idempotency_key": run})));
    let first = call("run-1");
    assert_eq!(call("run-1"), first);
    house.built(SITE, &house.clone.ok(&["rev-parse", "HEAD"]));
    assert_eq!(call("run-1"), first, "also once it is over");
}

#[test]
fn a_branch_a_tag_or_a_commit_of_them_is_built_and_no_other_commit() {
    let house = House::open();
    let key = switch_on(&house);
    let first = house.clone.ok(&["rev-parse", "HEAD"]);
    house.clone.ok(&["tag", "v1"]);
    house.clone.ok(&["push", "-q", "origin", "v1"]);
    let second = house.clone.push_change("second");
    house.clone.ok(&["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
    house.clone.ok(&["push", "-q", "origin", "HEAD:refs/heads/other"]);
    let elsewhere = house.clone.ok(&["rev-parse", "HEAD"]);
    let call = |what: Value| {
        let mut body = json!({"secret_key": key});
        body.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        trigger(&house, &body)
    };
    for (what, commit) in [
        (json!({"tag": "v1"}), &first),
        (json!({"branch": "main"}), &second),
        (json!({"branch": "other"}), &elsewhere),
        (json!({"branch": "main", "commit": first}), &first),
    ] {
        let build = builds(&call(what.clone())).remove(0);
        assert_eq!(house.get(&format!("/api/v1/builds/{build}"))["commit"], json!(commit), "{what}");
    }
    refused_with_remedy(&call(json!({"commit": elsewhere})), 409, "is not on `refs/heads/main`");
    refused(&call(json!({"branch": "none"})), 404, "refs/heads/none");
    refused_with_remedy(&call(json!({"commit": "ab".repeat(20)})), 409, "is not on");
}

#[test]
fn what_is_switched_off_or_lacks_the_keyword_is_answered_2xx_with_the_reason() {
    let house = House::open();
    let key = new_key(&house, json!({}));
    let skipped = |says: &str| {
        let answer = trigger(&house, &json!({"secret_key": key}));
        assert_eq!((answer.status, &answer.json()["outcome"]), (200, &json!("skipped")), "{}", answer.text());
        assert!(answer.json()["reason"].as_str().unwrap().contains(says), "{}", answer.text());
    };
    skipped("the API trigger is off");
    house.change_settings(SITE, |settings| {
        settings["auto_ci"]["api"]["enabled"] = json!(true);
        settings["auto_ci"]["keyword"] = json!("@deploy");
    });
    skipped("lacks `@deploy`");
    house.change_settings(SITE, |settings| settings["auto_ci"]["enabled"] = json!(false));
    skipped("Auto CI is off");
    // Whoever has no key learns nothing of it.
    refused_with_remedy(&trigger(&house, &json!({"secret_key": "guess"})), 401, "not this service's");
}

#[test]
fn a_new_key_leaves_the_old_one_its_time_and_members_set_none() {
    let house = House::open();
    let first = switch_on(&house);
    let second = new_key(&house, json!({"key": "0123456789abcdefghijklmnop"}));
    assert_eq!(second, "0123456789abcdefghijklmnop");
    for key in [&first, &second] {
        builds(&trigger(&house, &json!({"secret_key": key})));
    }
    let shown = house.get("/api/v1/services/site/trigger");
    assert_eq!((&shown["keys"], &shown["enabled"]), (&json!(2), &json!(true)));
    assert!(shown["previous_until"].is_string() && !shown.to_string().contains(&second), "{shown:#}");
    let third = new_key(&house, json!({"overlap_hours": 0}));
    for key in [&first, &second] {
        refused(&trigger(&house, &json!({"secret_key": key})), 401, "not this service's");
    }
    builds(&trigger(&house, &json!({"secret_key": third})));
    let path = "/api/v1/services/site/trigger/key";
    refused_with_remedy(&house.call("root", "PUT", path, br#"{"key":"easy"}"#), 400, "too easy to guess");
    for (who, status) in [("ada", 403), ("eve", 403), ("", 401)] {
        assert_eq!(house.call(who, "PUT", path, b"{}").status, status, "{who}");
        assert_eq!(house.call(who, "DELETE", path, b"").status, status, "{who}");
    }
    assert_eq!(house.call("boss", "DELETE", path, b"").status, 204);
    refused(&trigger(&house, &json!({"secret_key": third})), 401, "not this service's");
}

#[test]
fn calls_that_cannot_be_read_are_refused_with_the_form() {
    let house = House::open();
    let key = switch_on(&house);
    let body = json!({"secret_key": key}).to_string();
    let text = [("content-type", "text/plain")];
    refused_with_remedy(&call(&house.address, "POST", TRIGGER, &text, body.as_bytes()), 415, "JSON");
    refused_with_remedy(&call(&house.address, "GET", TRIGGER, &[], b""), 405, "POST");
    let large = vec![b' '; 20_000];
    let json = [("content-type", "application/json")];
    refused(&call(&house.address, "POST", TRIGGER, &json, &large), 413, "16 KiB");
    refused_with_remedy(&call(&house.address, "POST", TRIGGER, &json, b"{"), 400, "cannot be read");
}

/// The snippet as it is pasted, run by a shell; the other three run the same line.
#[test]
fn the_snippets_build_as_they_are_pasted() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "curl is needed on CI");
        eprintln!("skipped: no curl on the PATH");
        return;
    }
    let house = House::open();
    let key = switch_on(&house);
    let shown = house.get("/api/v1/services/site/trigger");
    let snippets = &shown["snippets"];
    let curl = snippets["curl"].as_str().unwrap();
    let run = |script: &str, key: &str| {
        Command::new("sh").args(["-c", script]).env("KIOPS_KEY", key).output().unwrap()
    };
    let output = run(curl, &key);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["outcome"], "built", "{answer}");
    let refused = run(curl, "guess");
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stdout).contains("remedy"),
        "{refused:?}"
    );
    for (name, words) in [
        ("jenkins", ["stage('Deploy by kiops')", "withCredentials"]),
        ("gitlab_ci", ["stage: deploy", "script:"]),
        ("github_actions", ["runs-on: ubuntu-latest", "secrets.KIOPS_KEY"]),
    ] {
        let text = snippets[name].as_str().unwrap();
        assert!(text.contains(curl) && words.iter().all(|word| text.contains(word)), "{text}");
        assert!(!text.contains(&key), "no snippet has the key in it");
    }
}
