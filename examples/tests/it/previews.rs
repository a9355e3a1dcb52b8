//! Previews of merge requests, from the host's news to the runtime and back.

use serde_json::{Value, json};

use crate::house::{House, ID, PATH, SITE, refused, refused_with_remedy};

/// A house whose site has previews: two at once.
fn house() -> House {
    let house = House::open();
    house.environment(json!({
        "name": "review", "runtime": "manifests", "url": "https://{environment}.example.com/{service}",
    }));
    house.change_settings(SITE, |settings| {
        settings["auto_ci"]["merge_request"]["enabled"] = json!(true);
        settings["deploy"]["previews"] = json!({"environment": "review", "at_once": 2});
    });
    house
}

/// Commits something that the repository has only as the head of a merge request from its own branch.
fn commit_of(house: &House, number: u64, content: &str) -> String {
    house.clone.write("index.html", content);
    let commit = house.clone.commit(content);
    let head = format!("HEAD:refs/merge-requests/{number}/head");
    house.clone.ok(&["push", "--quiet", "--force", "origin", &head]);
    commit
}

/// What the host tells of a merge request: `open`, `update`, `close`, `merge`, `reopen`.
fn news(number: u64, action: &str, head: &str) -> Value {
    let state = match action {
        "close" => "closed",
        "merge" => "merged",
        _ => "opened",
    };
    // GitLab tells new commits from other changes by the head before.
    let before = (action == "update").then(|| "1".repeat(40));
    json!({
        "object_kind": "merge_request", "user": {"id": 1, "username": "ada"},
        "project": {"id": ID, "path_with_namespace": PATH},
        "object_attributes": {
            "iid": number, "action": action, "state": state, "title": "A change", "oldrev": before,
            "source_branch": format!("topic-{number}"), "target_branch": "main",
            "source_project_id": ID, "target_project_id": ID, "draft": false,
            "last_commit": {"id": head, "message": "a change"},
        },
    })
}

/// Opens a merge request and waits until its preview is live. Says what was built.
fn opened(house: &House, number: u64, content: &str) -> Value {
    let commit = commit_of(house, number, content);
    house.decided(&news(number, "open", &commit));
    let build = house.built(SITE, &commit);
    assert_eq!(build["state"], "succeeded", "{build:#}");
    build
}

fn previews(house: &House) -> Value {
    house.get(&format!("/api/v1/services/{SITE}/previews"))
}

fn none_left(house: &House) {
    let path = format!("/api/v1/services/{SITE}/previews");
    house.until(&path, |previews| (previews["total"] == 0).then_some(()));
}

#[test]
fn a_merge_request_has_a_preview_until_it_is_merged() {
    let house = house();
    let build = opened(&house, 7, "something new");
    let listed = previews(&house);
    let [preview] = listed["items"].as_array().unwrap().as_slice() else { panic!("{listed:#}") };
    assert_eq!((&preview["number"], &preview["environment"]), (&json!(7), &json!("review-mr-7")));
    assert_eq!((&preview["state"], &preview["reason"]), (&json!("open"), &Value::Null));
    let component = &preview["components"][0];
    assert_eq!(component["url"], "https://review-mr-7.example.com/site", "{preview:#}");
    let (text, namespace) = (house.live(), preview["namespace"].as_str().unwrap());
    assert!(text.contains(build["digest"].as_str().unwrap()), "{text}");
    assert!(text.contains("kind: Namespace") && text.contains(&format!("namespace: {namespace}")), "{text}");
    let deployment = house.newest_deployment();
    assert_eq!((&deployment["environment"], &deployment["current"]), (&json!("review-mr-7"), &json!(true)));
    assert_eq!(component["deployment"], deployment["id"]);

    let head = build["commit"].as_str().unwrap();
    let decided = house.decided(&news(7, "merge", head));
    assert_eq!(decided["outcome"], "skipped", "it is the push that builds what is merged: {decided:#}");
    none_left(&house);
    assert_eq!(house.live(), "");
}

#[test]
fn the_next_commit_goes_to_the_same_preview_and_a_reopened_request_gets_it_back() {
    let house = house();
    opened(&house, 7, "one");
    let second = commit_of(&house, 7, "two");
    house.decided(&news(7, "update", &second));
    assert_eq!(house.built(SITE, &second)["state"], "succeeded");
    assert_eq!(
        (&previews(&house)["total"], house.live().matches("kind: Deployment").count()),
        (&json!(1), 1)
    );
    house.decided(&news(7, "close", &second));
    none_left(&house);
    house.decided(&news(7, "reopen", &second));
    house.until(&format!("/api/v1/services/{SITE}/previews"), |previews| {
        previews["items"][0]["components"][0]["deployment"].as_str().map(str::to_owned)
    });
    assert_eq!(house.builds_of(&second), 1, "it is not built again");
}

#[test]
fn a_service_has_so_many_previews_and_a_member_makes_room() {
    let house = house();
    for number in [7, 8] {
        opened(&house, number, &format!("of {number}"));
    }
    let third = opened(&house, 9, "of 9");
    let log = house
        .call("eve", "GET", &format!("/api/v1/builds/{}/log", third["id"].as_str().unwrap()), b"")
        .text();
    assert!(log.contains("Not released: ") && log.contains("2 previews at once"), "{log}");
    assert_eq!(previews(&house)["total"], 2);
    let path = |number: &str| format!("/api/v1/services/{SITE}/previews/{number}");
    for (who, number, status) in [
        ("", "8", 401),
        ("eve", "8", 403),
        ("stranger", "8", 403),
        ("ada", "9", 404),
        ("ada", "x", 404),
        ("ada", "-8", 404),
    ] {
        refused(&house.call(who, "DELETE", &path(number), b""), status, "");
    }
    let answer = house.call("ada", "DELETE", &path("8"), b"");
    assert!(answer.status == 202 || answer.status == 204, "{}", answer.head);
    house.until(&format!("/api/v1/services/{SITE}/previews"), |previews| {
        (previews["total"] == 1).then_some(())
    });
    let deploy = |number: u64| {
        let body = json!({"build": third["id"], "environment": format!("review-mr-{number}")});
        house.post("ada", &format!("/api/v1/services/{SITE}/deployments"), &body)
    };
    refused_with_remedy(&deploy(77), 409, "nothing is known of merge request 77");
    assert_eq!(deploy(9).status, 202);
    house.until(&format!("/api/v1/services/{SITE}/previews"), |previews| {
        (previews["items"][0]["number"] == 9).then_some(())
    });
}
