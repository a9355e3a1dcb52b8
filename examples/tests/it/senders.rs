//! What senders deliver: whose secret counts, what guessing costs, and file lists that are not whole.

use std::collections::BTreeSet;

use kiops_core::secret::Secret;
use serde_json::{Value, json};

use crate::house::{House, PATH, SITE, push_event, refused, secret, settings};
use crate::support::call;

/// Which services have a delivery of this commit.
fn services_told(house: &House, commit: &str) -> Vec<String> {
    let list = house.get("/api/v1/deliveries?limit=200");
    let of_commit = list["items"].as_array().unwrap().iter().filter(|one| one["commit"] == commit);
    let mut services: Vec<_> = of_commit.map(|one| one["service"].as_str().unwrap().to_owned()).collect();
    services.sort();
    services
}

#[test]
fn two_services_on_one_repository_each_need_their_own_secret() {
    let house = House::open();
    house.register("docs", settings("docs"));
    house.hook("docs", [secret("docs")]);
    let before = house.clone.ok(&["rev-parse", "HEAD"]);
    let first = house.clone.push_change("for the site");
    let body = push_event("ada", &before, &first).to_string();

    let answer = house.deliver_signed(body.as_bytes(), &secret(SITE));
    assert_eq!((answer.status, answer.json()["deliveries"].as_array().unwrap().len()), (200, 1));
    assert_eq!(house.built(SITE, &first)["state"], "succeeded");
    assert_eq!(services_told(&house, &first), [SITE], "the other service was not told with its own secret");
    assert_eq!(house.builds_of(&first), 1);

    // The other hook's delivery of the same push is the other service's alone.
    assert_eq!(house.deliver_signed(body.as_bytes(), &secret("docs")).status, 200);
    assert_eq!(house.built("docs", &first)["state"], "succeeded");
    assert_eq!(services_told(&house, &first), ["docs", SITE]);
    assert_eq!(house.get("/api/v1/deliveries?service=docs")["total"], 1);
    refused(&house.deliver_signed(body.as_bytes(), &secret("nobody")), 401, "signed by no secret");

    // With one secret for both, one delivery is listed once for each that it verified for.
    house.hook("docs", [secret(SITE)]);
    let second = house.clone.push_change("for both");
    let body = push_event("ada", &first, &second);
    let answer = house.deliver(&body);
    assert_eq!((answer.status, answer.json()["deliveries"].as_array().unwrap().len()), (200, 2));
    for service in [SITE, "docs"] {
        assert_eq!(house.built(service, &second)["state"], "succeeded");
    }
    assert_eq!(services_told(&house, &second), ["docs", SITE]);
}

#[test]
fn guessing_costs_the_same_whatever_is_guessed() {
    let house = House::open();
    house.register("docs", settings("docs"));
    house.hook("docs", [secret("docs"), secret("docs before")]);
    let zeros = "0".repeat(40);
    let known = push_event("ada", &zeros, &"a".repeat(40));
    let mut renamed = known.clone();
    renamed["project"] = json!({"id": 8, "path_with_namespace": PATH});
    renamed["project_id"] = json!(8);
    let mut unknown = known.clone();
    unknown["project"] = json!({"id": 9, "path_with_namespace": "team/none"});
    unknown["project_id"] = json!(9);
    let nameless = json!({"object_kind": "push"});

    house.macs();
    let mut answers = BTreeSet::new();
    let guess = |what: &str, body: &[u8], secret: &Secret, answers: &mut BTreeSet<_>| {
        let answer = house.deliver_signed(body, secret);
        answers.insert((answer.status, answer.header("content-type").map(str::to_owned), answer.text()));
        // The site's secret, and both of the other service's on the same repository.
        assert_eq!(house.macs(), 3, "{what}");
    };
    for (what, body) in [
        ("a wrong secret", &known),
        ("an unknown repository", &unknown),
        ("a path that is known, under an id that is not", &renamed),
        ("no repository", &nameless),
    ] {
        guess(what, body.to_string().as_bytes(), &secret("wrong"), &mut answers);
    }
    guess(
        "an unknown repository with a known secret",
        unknown.to_string().as_bytes(),
        &secret(SITE),
        &mut answers,
    );
    guess("no JSON", b"\xff{", &secret("wrong"), &mut answers);
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert_eq!(answers.first().unwrap().0, 401);
    assert_eq!(house.get("/api/v1/deliveries")["total"], 0);
}

/// A push of whose commits GitLab lists only some.
fn cut(before: &str, after: &str) -> Value {
    let mut event = push_event("ada", before, after);
    event["total_commits_count"] = json!(21);
    event
}

fn push(house: &House, file: &str) -> (String, String) {
    let before = house.clone.ok(&["rev-parse", "HEAD"]);
    house.clone.write(file, &format!("{before} {file}"));
    let after = house.clone.commit(file);
    house.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    (before, after)
}

#[test]
fn where_the_file_list_is_not_whole_the_provider_is_asked() {
    let house = House::open();
    house.change_settings(SITE, |settings| settings["components"][0]["watch_path"] = json!(["src/"]));
    // Of all the files that the push changed, the part that is listed has nothing of `src/`.
    let (before, after) = push(&house, "src/a.js");
    let delivery = house.decided(&cut(&before, &after));
    assert_eq!(delivery["outcome"], "built", "{delivery:#}");
    assert!(findings(&delivery).contains("`src/a.js`"), "{delivery:#}");
    assert_eq!(house.host.compared(), 1);
    assert_eq!(house.built(SITE, &after)["state"], "succeeded");

    let (before, after) = push(&house, "docs/a.md");
    let delivery = house.decided(&cut(&before, &after));
    assert_eq!(delivery["outcome"], "skipped", "{delivery:#}");
    assert_eq!(delivery["reason"], "no watched path changed");
    assert_eq!((house.host.compared(), house.builds_of(&after)), (2, 0));

    // A whole list needs no question.
    let (before, after) = push(&house, "docs/b.md");
    assert_eq!(house.decided(&push_event("ada", &before, &after))["outcome"], "skipped");
    assert_eq!(house.host.compared(), 2);

    // Better a build too many than one too few.
    house.host.fail_to_compare();
    let (before, after) = push(&house, "docs/c.md");
    let delivery = house.decided(&cut(&before, &after));
    assert_eq!(delivery["outcome"], "built", "{delivery:#}");
    assert_eq!(house.host.compared(), 3);
    assert_eq!(house.built(SITE, &after)["state"], "succeeded");
}

fn findings(delivery: &Value) -> String {
    let texts =
        delivery["findings"].as_array().unwrap().iter().map(|finding| finding["text"].as_str().unwrap());
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_verifies_and_cannot_be_used_is_told_apart_from_what_does_not_verify() {
    let house = House::open();
    let deep = format!(
        r#"{{"object_kind":"push","project":{{"path_with_namespace":"{PATH}","id":7}},"x":{}"#,
        "[".repeat(100_000)
    );
    assert_eq!(house.deliver_signed(deep.as_bytes(), &secret("wrong")).status, 401);
    refused(&house.deliver_signed(deep.as_bytes(), &secret(SITE)), 400, "");
    let event = json!({"object_kind": "wiki_page", "project": {"id": 7, "path_with_namespace": PATH}});
    let delivery = house.decided(&event);
    assert_eq!(
        (&delivery["outcome"], &delivery["event"]),
        (&json!("ignored"), &json!("other")),
        "{delivery:#}"
    );
    let unsigned = call(&house.address, "POST", "/api/v1/webhook/gitlab", &[], event.to_string().as_bytes());
    refused(&unsigned, 401, "signed by no secret");
    assert_eq!(house.get("/api/v1/deliveries")["total"], 1);
}
