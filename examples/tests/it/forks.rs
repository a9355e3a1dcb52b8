//! Merge requests from forks: held until somebody approves that very commit.

use serde_json::{Value, json};

use crate::house::{House, ID, PATH, SITE, refused, refused_with_remedy};
use crate::support::Answer;

/// A house whose site builds merge requests.
fn house() -> House {
    let house = House::open();
    house.change_settings(SITE, |settings| settings["auto_ci"]["merge_request"]["enabled"] = json!(true));
    house
}

/// Commits something on a branch of its own, which the repository has only as the head of merge request `number`.
fn commit_of_request(house: &House, number: u64, content: &str) -> String {
    house.clone.write("fork.html", content);
    let commit = house.clone.commit(content);
    house.clone.ok(&[
        "push",
        "--quiet",
        "--force",
        "origin",
        &format!("HEAD:refs/merge-requests/{number}/head"),
    ]);
    commit
}

fn request(number: u64, source_project: u64, head: &str, before: Option<&str>) -> Value {
    let action = if before.is_some() { "update" } else { "open" };
    json!({
        "object_kind": "merge_request", "user": {"id": 99, "username": "outside"},
        "project": {"id": ID, "path_with_namespace": PATH},
        "object_attributes": {
            "iid": number, "action": action, "state": "opened", "title": "A change",
            "source_branch": "main", "target_branch": "main", "oldrev": before,
            "source_project_id": source_project, "target_project_id": ID, "draft": false,
            "last_commit": {"id": head, "message": "a change"},
        },
    })
}

const FORK: u64 = 1234;

fn approve(house: &House, who: &str, delivery: &Value, commit: &str) -> Answer {
    let path = format!("/api/v1/deliveries/{}/approve", delivery["id"].as_str().unwrap());
    house.post(who, &path, &json!({"commit": commit}))
}

/// The status of pulling what a build made.
fn pulled(house: &House, build: &Value) -> u16 {
    let path = format!("/v2/{SITE}/manifests/{}", build["digest"].as_str().unwrap());
    house.call("eve", "GET", &path, b"").status
}

#[test]
fn a_forks_commit_is_held_until_somebody_approves_that_very_commit() {
    let house = house();
    let commit = commit_of_request(&house, 3, "from outside");
    let held = house.decided(&request(3, FORK, &commit, None));
    assert_eq!((&held["outcome"], &held["builds"]), (&json!("held"), &json!([])), "{held:#}");
    let waits = format!("merge request 3 comes from a fork: commit {commit} waits for approval");
    assert_eq!(held["reason"], waits.as_str());
    assert_eq!(house.builds_of(&commit), 0);

    let main = house.clone.ok(&["rev-parse", "origin/main"]);
    for (who, status) in [("ada", 403), ("eve", 403), ("stranger", 403), ("", 401)] {
        assert_eq!(approve(&house, who, &held, &commit).status, status, "{who}");
    }
    refused_with_remedy(&approve(&house, "boss", &held, &main), 409, "this delivery holds commit");
    refused(&approve(&house, "boss", &held, &commit[..7]), 400, "commit");
    let nothing = house.post(
        "boss",
        &format!("/api/v1/deliveries/{}/approve", held["id"].as_str().unwrap()),
        &json!({}),
    );
    refused(&nothing, 400, "commit");
    assert_eq!(house.builds_of(&commit), 0, "none of these was a yes");

    let yes = approve(&house, "boss", &held, &commit);
    assert_eq!(yes.status, 200, "{}", yes.text());
    let yes = yes.json();
    assert_eq!(yes["outcome"], "built", "{yes:#}");
    let build = house.built(SITE, &commit);
    assert_eq!(yes["builds"], json!([build["id"]]));
    assert_eq!(build["state"], "succeeded", "{build:#}");
    // It is built without push: there is no image, and nothing of it can go live.
    assert_eq!(build["image"], Value::Null);
    assert_eq!(pulled(&house, &build), 404);
    assert_eq!(house.get(&format!("/api/v1/services/{SITE}/deployments"))["total"], 0);
    let deploy =
        house.post("root", &format!("/api/v1/services/{SITE}/deployments"), &json!({"build": build["id"]}));
    refused_with_remedy(&deploy, 409, "made no image");
    refused_with_remedy(&approve(&house, "boss", &held, &commit), 409, "holds nothing");
}

#[test]
fn each_new_commit_of_a_fork_is_held_anew() {
    let house = house();
    let first = commit_of_request(&house, 3, "looks harmless");
    let held = house.decided(&request(3, FORK, &first, None));
    assert_eq!(approve(&house, "boss", &held, &first).status, 200);
    assert_eq!(house.built(SITE, &first)["state"], "succeeded");

    let second = commit_of_request(&house, 3, "is not");
    let held_again = house.decided(&request(3, FORK, &second, Some(&first)));
    assert_eq!(held_again["outcome"], "held", "{held_again:#}");
    let third = commit_of_request(&house, 3, "still is not");
    let newest = house.decided(&request(3, FORK, &third, Some(&second)));
    assert_eq!(newest["outcome"], "held", "{newest:#}");
    // What somebody looked at is not the newest any more.
    refused_with_remedy(&approve(&house, "boss", &held_again, &second), 409, "has a newer commit");
    assert_eq!(house.builds_of(&second), 0);
    assert_eq!(approve(&house, "root", &newest, &third).status, 200);
    assert_eq!(house.built(SITE, &third)["state"], "succeeded");
}

#[test]
fn a_merge_request_of_the_project_itself_is_not_held_and_forks_can_be_switched_off() {
    let house = house();
    let own = commit_of_request(&house, 4, "our own");
    let delivery = house.decided(&request(4, ID, &own, None));
    assert_eq!(delivery["outcome"], "built", "{delivery:#}");
    assert_eq!(pulled(&house, &house.built(SITE, &own)), 200);
    refused_with_remedy(&approve(&house, "boss", &delivery, &own), 409, "holds nothing");

    house.change_settings(SITE, |settings| settings["auto_ci"]["merge_request"]["forks"] = json!("never"));
    let outside = commit_of_request(&house, 5, "from outside");
    let delivery = house.decided(&request(5, FORK, &outside, None));
    assert_eq!(delivery["outcome"], "skipped", "{delivery:#}");
    assert_eq!(delivery["reason"], "merge requests from forks are never built");
    refused_with_remedy(&approve(&house, "boss", &delivery, &outside), 409, "holds nothing");
    assert_eq!(house.builds_of(&outside), 0);
}
