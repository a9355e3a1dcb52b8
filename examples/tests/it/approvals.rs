//! Protected environments: who deploys at once, who waits, and who says yes (T17, T18).

use serde_json::{Value, json};

use crate::house::{House, SITE, refused, refused_with_remedy};

fn asking(house: &House) {
    house.environment(json!({"name": "dev", "runtime": "manifests", "approval_required": true}));
}

fn answer_path(deployment: &Value, answer: &str) -> String {
    format!("/api/v1/deployments/{}/{answer}", deployment["id"].as_str().unwrap())
}

fn approve(house: &House, who: &str, deployment: &Value) -> crate::support::Answer {
    house.post(who, &answer_path(deployment, "approve"), &json!({}))
}

#[test]
fn a_protected_environment_waits_for_somebody_who_may_say_yes() {
    let house = House::open();
    asking(&house);
    let commit = house.push("ada", "to be approved");
    let build = house.built(SITE, &commit);
    assert_eq!(build["state"], "awaiting_approval", "{build:#}");
    assert_eq!(
        (&build["label"], &build["label_k"]),
        (&json!("Awaiting approval"), &json!("Awaiting approval"))
    );
    assert_eq!(build["stage"], "deploy");
    let waiting = house.newest_deployment();
    assert_eq!(waiting["state"], "awaiting_approval");
    assert_eq!((&waiting["requested_by"], &waiting["approved_by"]), (&json!("ada"), &Value::Null));
    assert_eq!(house.live(), "", "nothing is rolled out before the yes");

    // Whoever asked for it has no say, nor has anybody else below Admin.
    for (who, status) in [("ada", 403), ("bob", 403), ("eve", 403), ("stranger", 403), ("", 401)] {
        for answer in ["approve", "reject"] {
            assert_eq!(house.post(who, &answer_path(&waiting, answer), &json!({})).status, status, "{who}");
        }
    }
    refused_with_remedy(&approve(&house, "ada", &waiting), 403, "needs an Admin or Owner");
    refused(&approve(&house, "", &waiting), 401, "nobody knows you");
    assert_eq!(house.newest_deployment()["state"], "awaiting_approval");

    let yes = approve(&house, "boss", &waiting);
    assert_eq!(yes.status, 200, "{}", yes.text());
    let live = house.deployment_is(&waiting["id"], "live");
    assert_eq!((&live["approved_by"], &live["current"]), (&json!("boss"), &json!(true)));
    assert!(house.live().contains(build["digest"].as_str().unwrap()));
    assert_eq!(house.build_is(&build, "succeeded")["label"], "Succeeded");

    for answer in ["approve", "reject"] {
        let again = house.post("boss", &answer_path(&waiting, answer), &json!({}));
        refused_with_remedy(&again, 409, &format!("`{answer}` is not possible in state live"));
    }
    assert_eq!(house.deployment_is(&waiting["id"], "live")["approved_by"], "boss");
}

#[test]
fn a_no_ends_it_and_so_does_taking_it_back() {
    let house = House::open();
    asking(&house);
    let refused_build = house.built(SITE, &house.push("ada", "not this one"));
    let waiting = house.newest_deployment();
    let no = house.post("boss", &answer_path(&waiting, "reject"), &json!({}));
    assert_eq!((no.status, &no.json()["state"]), (200, &json!("rejected")), "{}", no.text());
    assert_eq!(house.build_is(&refused_build, "canceled")["label_k"], "Canceled");
    refused_with_remedy(
        &approve(&house, "boss", &waiting),
        409,
        "`approve` is not possible in state rejected",
    );

    let taken_back = house.built(SITE, &house.push("ada", "nor this one"));
    let waiting = house.newest_deployment();
    let cancel = format!("/api/v1/builds/{}/cancel", taken_back["id"].as_str().unwrap());
    assert_eq!(house.post("eve", &cancel, &json!({})).status, 403);
    let canceled = house.post("ada", &cancel, &json!({}));
    assert_eq!(
        (canceled.status, &canceled.json()["state"]),
        (200, &json!("canceled")),
        "{}",
        canceled.text()
    );
    house.deployment_is(&waiting["id"], "canceled");
    assert_eq!(house.live(), "");
}

#[test]
fn of_two_that_wait_only_the_newer_can_be_approved() {
    let house = House::open();
    asking(&house);
    house.built(SITE, &house.push("ada", "older"));
    let older = house.newest_deployment();
    let build = house.built(SITE, &house.push("ada", "newer"));
    let newer = house.newest_deployment();
    house.deployment_is(&older["id"], "superseded");
    refused_with_remedy(
        &approve(&house, "boss", &older),
        409,
        "`approve` is not possible in state superseded",
    );
    assert_eq!(approve(&house, "boss", &newer).status, 200);
    house.deployment_is(&newer["id"], "live");
    assert!(house.live().contains(build["digest"].as_str().unwrap()));
}

#[test]
fn what_nobody_answers_expires() {
    let house = House::open();
    asking(&house);
    house.change_settings(SITE, |settings| settings["timers"]["approval_seconds"] = json!(1));
    let build = house.built(SITE, &house.push("ada", "forgotten"));
    let waiting = house.newest_deployment();
    house.deployment_is(&waiting["id"], "expired");
    house.build_is(&build, "canceled");
    refused_with_remedy(
        &approve(&house, "boss", &waiting),
        409,
        "`approve` is not possible in state expired",
    );
    assert_eq!(house.live(), "");
}

#[test]
fn in_a_restricted_environment_admins_and_who_is_listed_deploy_at_once() {
    let house = House::open();
    house.environment(json!({"name": "dev", "runtime": "manifests",
                             "protection": {"level": "restricted", "allow": ["ada"]}}));
    let build = house.built(SITE, &house.push("ada", "listed"));
    assert_eq!(build["state"], "succeeded", "{build:#}");
    // The pusher's id at the host is mapped to a member; who is not mapped is none.
    for who in ["bob", "eve", "somebody"] {
        assert_eq!(house.built(SITE, &house.push(who, who))["state"], "awaiting_approval", "{who}");
    }
    let by_hand = |who: &str| {
        let path = format!("/api/v1/services/{SITE}/deployments");
        house.post(who, &path, &json!({"build": build["id"]}))
    };
    refused(&by_hand("eve"), 403, "deploying needs a member");
    let waits = by_hand("bob").json();
    assert_eq!((&waits["state"], &waits["requested_by"]), (&json!("awaiting_approval"), &json!("bob")));
    assert_eq!(approve(&house, "ada", &waits).status, 403, "who may deploy may not approve");
    let at_once = by_hand("boss");
    assert_eq!(at_once.status, 202, "{}", at_once.text());
    let at_once = house.deployment_is(&at_once.json()["id"], "live");
    assert_eq!((&at_once["requested_by"], &at_once["approved_by"]), (&json!("boss"), &Value::Null));
    house.deployment_is(&waits["id"], "superseded");
}

#[test]
fn in_a_locked_environment_only_the_owner_deploys_and_approves() {
    let house = House::open();
    house.environment(json!({"name": "dev", "runtime": "manifests", "protection": {"level": "locked"}}));
    let build = house.built(SITE, &house.push("boss", "by an admin"));
    assert_eq!(build["state"], "awaiting_approval", "{build:#}");
    let waiting = house.newest_deployment();
    for who in ["ada", "boss"] {
        refused_with_remedy(&approve(&house, who, &waiting), 403, "in a locked environment the Owner");
    }
    assert_eq!(approve(&house, "root", &waiting).status, 200);
    assert_eq!(house.deployment_is(&waiting["id"], "live")["approved_by"], "root");
    let build = house.built(SITE, &house.push("root", "by the owner"));
    assert_eq!(build["state"], "succeeded", "{build:#}");
    assert_eq!(house.newest_deployment()["approved_by"], Value::Null);

    // Going back is a deployment, too.
    let back = house.post("boss", &format!("/api/v1/services/{SITE}/rollback"), &json!({})).json();
    assert_eq!((&back["state"], &back["requested_by"]), (&json!("awaiting_approval"), &json!("boss")));
    assert!(house.live().contains(build["digest"].as_str().unwrap()), "nothing moved yet");
    assert_eq!(approve(&house, "root", &back).status, 200);
    house.deployment_is(&back["id"], "live");
    assert!(!house.live().contains(build["digest"].as_str().unwrap()));
}
