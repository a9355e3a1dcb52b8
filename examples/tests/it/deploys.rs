//! Deployments by hand (settled 16), and rollbacks.

use serde_json::{Value, json};

use crate::house::{House, SITE, refused, refused_with_remedy, settings};
use crate::support::Answer;

const DEPLOYMENTS: &str = "/api/v1/services/site/deployments";

/// A house that releases nothing by itself.
fn house() -> House {
    let house = House::open();
    house.change_settings(SITE, |settings| settings["deploy"]["auto"] = json!(false));
    house
}

fn built(house: &House, content: &str) -> Value {
    let build = house.built(SITE, &house.push("ada", content));
    assert_eq!(build["state"], "succeeded", "{build:#}");
    build
}

fn pinned(build: &Value) -> String {
    format!("{}@{}", build["image"].as_str().unwrap(), build["digest"].as_str().unwrap())
}

fn deploy(house: &House, body: &Value) -> Answer {
    house.post("ada", DEPLOYMENTS, body)
}

/// Deploys, and waits until it is live.
fn goes_live(house: &House, body: &Value) -> Value {
    let answer = deploy(house, body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    house.deployment_is(&answer.json()["id"], "live")
}

#[test]
fn with_auto_deploy_off_a_build_or_images_are_deployed_by_hand() {
    let house = house();
    let builds = [built(&house, "one"), built(&house, "two"), built(&house, "three")];
    assert_eq!(house.get(DEPLOYMENTS)["total"], 0);
    assert_eq!(house.live(), "");

    let by_build = goes_live(&house, &json!({"build": builds[0]["id"]}));
    assert_eq!(by_build["build"], builds[0]["id"]);
    assert_eq!(by_build["images"], json!({"web": pinned(&builds[0])}));
    assert_eq!((&by_build["revision"], &by_build["requested_by"]), (&json!(1), &json!("ada")));
    assert!(house.live().contains(&pinned(&builds[0])));

    let by_images = goes_live(&house, &json!({"images": {"web": pinned(&builds[1])}, "environment": "dev"}));
    assert_eq!((&by_images["build"], &by_images["revision"]), (&Value::Null, &json!(2)));
    assert!(house.live().contains(&pinned(&builds[1])));

    let by_image = goes_live(&house, &json!({"image": pinned(&builds[2]), "component": "main"}));
    assert_eq!(by_image["images"], json!({"web": pinned(&builds[2])}));
    assert!(house.live().contains(&pinned(&builds[2])) && !house.live().contains(&pinned(&builds[1])));
    assert_eq!(house.deployment_is(&by_build["id"], "live")["current"], false, "it was, and is no more");

    // The same build once more is another deployment.
    let again = goes_live(&house, &json!({"build": builds[0]["id"]}));
    assert_ne!(again["id"], by_build["id"]);
    assert!(house.live().contains(&pinned(&builds[0])));
}

#[test]
fn a_deployment_by_hand_that_cannot_be_is_refused_with_the_reason() {
    let house = house();
    house.register("docs", settings("docs"));
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = format!("h.io/app:1@{digest}");
    for (unpinned, says) in [("h.io/app:1", "digest"), ("h.io/app", "digest")] {
        refused_with_remedy(&deploy(&house, &json!({"image": unpinned})), 400, says);
        refused_with_remedy(&deploy(&house, &json!({"images": {"web": unpinned}})), 400, says);
    }
    for (body, status, says) in [
        (json!({}), 400, "name one of `build`, `images` and `image`"),
        (json!({"image": image, "images": {"web": image}}), 400, "name one of"),
        (json!({"image": "h.io/app:1@sha256:abc"}), 400, "digest"),
        (json!({"image": "no host"}), 400, "image"),
        (json!({"images": {}}), 400, "container `web` has no image"),
        (json!({"images": {"db": image}}), 400, "there is no container `db`; there are web"),
        (json!({"images": {"web": image, "db": image}}), 400, "there is no container `db`; there are web"),
        (json!({"images": {"Not A Label": image}}), 400, "images"),
        (json!({"image": image, "environment": "unknown"}), 404, "`unknown` is not registered"),
        (json!({"image": image, "environment": "Not A Label"}), 400, "environment"),
        (json!({"image": image, "component": "api"}), 404, "component"),
        (json!({"images": {"web": image}, "component": "api"}), 404, "`api`"),
        (json!({"build": "b-000000000000000000000000"}), 404, "build"),
        (json!({"build": "nonsense"}), 404, "build"),
        (json!({"build": 7}), 400, "build"),
        (json!({"image": image, "typo": 1}), 400, "`typo`"),
    ] {
        refused(&deploy(&house, &body), status, says);
    }
    refused(&house.post("eve", DEPLOYMENTS, &json!({"image": image})), 403, "needs a member");

    let build = built(&house, "the site's");
    let elsewhere = house.post("ada", "/api/v1/services/docs/deployments", &json!({"build": build["id"]}));
    refused(&elsewhere, 404, "build");
    house.host.hold_builds();
    let commit = house.push("ada", "not yet");
    let builds = house.get("/api/v1/builds?limit=1");
    assert_eq!(builds["items"][0]["commit"], commit);
    refused_with_remedy(&deploy(&house, &json!({"build": builds["items"][0]["id"]})), 409, "build b-");
    house.host.let_builds_go();
    std::fs::remove_file(house.clone.folder.join("Dockerfile")).unwrap();
    let failed = house.built(SITE, &house.push("ada", "fails"));
    refused_with_remedy(&deploy(&house, &json!({"build": failed["id"]})), 409, "is failed");

    house.change_settings(SITE, |settings| settings["deploy"]["environment"] = Value::Null);
    refused_with_remedy(&deploy(&house, &json!({"build": build["id"]})), 400, "no environment is named");
    assert_eq!(house.get(DEPLOYMENTS)["total"], 0);
    assert_eq!(house.live(), "");
}

#[test]
fn of_several_containers_those_that_are_not_named_keep_what_is_live() {
    let house = house();
    house.change_settings(SITE, |settings| {
        let containers = &mut settings["components"][0]["runs"]["containers"];
        containers.as_array_mut().unwrap().push(json!({"name": "db", "image": {"ready": "h.io/db:1"}}));
    });
    let web = pinned(&built(&house, "with a database"));
    let db = format!("h.io/db:1@sha256:{}", "d".repeat(64));
    refused(&deploy(&house, &json!({"image": web})), 400, "several containers");
    refused_with_remedy(
        &deploy(&house, &json!({"images": {"web": web}})),
        400,
        "container `db` has no image",
    );

    let both = goes_live(&house, &json!({"images": {"web": web, "db": db}}));
    assert_eq!(both["images"], json!({"web": web, "db": db}));
    let newer = built(&house, "newer");
    let one = goes_live(&house, &json!({"images": {"web": pinned(&newer)}}));
    assert_eq!(one["images"], json!({"web": pinned(&newer), "db": db}));
    assert!(house.live().contains(&db));
    let by_build = goes_live(&house, &json!({"build": newer["id"]}));
    assert_eq!(by_build["images"], one["images"]);
}

#[test]
fn rollback_goes_back_to_the_one_before_or_to_the_revision_that_is_named() {
    let house = House::open();
    let back = |who: &str, body: &Value| house.post(who, "/api/v1/services/site/rollback", body);
    refused_with_remedy(&back("ada", &json!({})), 409, "nothing is live");
    let (first, second) = (built(&house, "first"), built(&house, "second"));
    // The first was replaced on the way or went live: either way it is deployed here before the second.
    for build in [&first, &second] {
        goes_live(&house, &json!({"build": build["id"]}));
    }
    for (body, status, says) in [
        (json!({"revision": 99}), 404, "there is no revision 99"),
        (json!({"revision": 0}), 404, "there is no revision 0"),
        (json!({"revision": -1}), 400, "revision"),
        (json!({"revision": "1"}), 400, "revision"),
        (json!({"environment": "unknown"}), 404, "`unknown` is not registered"),
        (json!({"component": "api"}), 404, "`api`"),
        (json!({"typo": 1}), 400, "`typo`"),
    ] {
        refused(&back("ada", &body), status, says);
    }
    refused(&back("eve", &json!({})), 403, "needs a member");
    assert!(house.live().contains(&pinned(&second)));

    let answer = back("ada", &json!({"environment": "dev"}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let gone_back = house.deployment_is(&answer.json()["id"], "live");
    assert_eq!(gone_back["images"], json!({"web": pinned(&first)}));
    assert_eq!((&gone_back["current"], &gone_back["requested_by"]), (&json!(true), &json!("ada")));
    assert!(house.live().contains(&pinned(&first)));

    let list = house.get(DEPLOYMENTS);
    let of_second =
        list["items"].as_array().unwrap().iter().find(|one| one["build"] == second["id"]).unwrap();
    let answer = back("root", &json!({"revision": of_second["revision"]}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    house.deployment_is(&answer.json()["id"], "live");
    assert!(house.live().contains(&pinned(&second)));
}

#[test]
fn where_there_is_nothing_to_go_back_to_it_says_so() {
    let house = House::open();
    let build = built(&house, "the only one");
    refused_with_remedy(
        &house.post("ada", "/api/v1/services/site/rollback", &json!({})),
        409,
        "no older revision",
    );
    // The same images once more are nothing to go back to either.
    goes_live(&house, &json!({"build": build["id"]}));
    refused_with_remedy(
        &house.post("ada", "/api/v1/services/site/rollback", &json!({})),
        409,
        "no older revision",
    );
}

#[test]
fn an_image_that_its_registry_does_not_have_is_not_deployed() {
    let house = house();
    let (first, second) = (built(&house, "first"), built(&house, "second"));
    let unknown = format!("quickstart.local/site:latest@sha256:{}", "a".repeat(64));
    for body in [json!({"image": unknown}), json!({"images": {"web": unknown}})] {
        let problem = refused(&deploy(&house, &body), 409, &format!("`{unknown}` is not in its registry"));
        assert!(problem["remedy"].as_str().unwrap().contains("push the image"), "{problem:#}");
    }
    refused(&house.post("eve", DEPLOYMENTS, &json!({"image": unknown})), 403, "needs a member");
    // Another image's digest is not this one's.
    let other = format!("quickstart.local/other:1@{}", first["digest"].as_str().unwrap());
    refused_with_remedy(&deploy(&house, &json!({"image": other})), 409, &other);
    assert_eq!(house.get(DEPLOYMENTS)["total"], 0);

    // The digest counts, whatever the tag points at by now, or whether it is there.
    for tag in ["latest", "never-pushed"] {
        let pinned = format!("quickstart.local/site:{tag}@{}", first["digest"].as_str().unwrap());
        let live = goes_live(&house, &json!({"image": pinned}));
        assert_eq!(live["images"], json!({"web": pinned}));
    }
    // Of a registry that nobody registered it is taken at its word.
    let foreign = format!("h.io/app:1@sha256:{}", "a".repeat(64));
    goes_live(&house, &json!({"image": foreign}));

    house.remove_image(&pinned(&second));
    let gone = deploy(&house, &json!({"build": second["id"]}));
    let problem = refused(&gone, 409, &format!("`{}` is not in its registry", pinned(&second)));
    assert!(problem["remedy"].as_str().unwrap().contains("build the commit again"), "{problem:#}");
    goes_live(&house, &json!({"build": first["id"]}));
}

#[test]
fn rollback_refuses_an_image_that_was_removed() {
    let house = house();
    let (first, second) = (built(&house, "first"), built(&house, "second"));
    for build in [&first, &second] {
        goes_live(&house, &json!({"build": build["id"]}));
    }
    house.remove_image(&pinned(&first));
    let answer = house.post("ada", "/api/v1/services/site/rollback", &json!({}));
    refused_with_remedy(&answer, 409, &format!("`{}` is not in its registry", pinned(&first)));
    assert!(house.live().contains(&pinned(&second)));
}

#[test]
fn a_registry_that_is_gone_is_named_and_only_a_rollback_goes_on_without_it() {
    let house = house();
    let (first, second) = (built(&house, "first"), built(&house, "second"));
    for build in [&first, &second] {
        goes_live(&house, &json!({"build": build["id"]}));
    }
    let away = house.layout().with_extension("away");
    std::fs::rename(house.layout(), &away).unwrap();

    let refused_now = deploy(&house, &json!({"build": first["id"]}));
    refused_with_remedy(&refused_now, 503, &format!("whether `{}` is there cannot be told", pinned(&first)));
    refused_with_remedy(&deploy(&house, &json!({"image": pinned(&first)})), 503, "is gone");
    assert!(!house.layout().exists(), "nothing makes it anew under a running process");

    let build = house.built(SITE, &house.push("ada", "no place to push to"));
    let failure = &build["failure"];
    assert!(failure["message"].as_str().unwrap().contains("/layout` is gone"), "{failure:#}");
    assert!(failure["remedy"].as_str().unwrap().contains("put it back"), "{failure:#}");

    let answer = house.post("ada", "/api/v1/services/site/rollback", &json!({}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    house.deployment_is(&answer.json()["id"], "live");
    assert!(house.live().contains(&pinned(&first)));

    std::fs::rename(&away, house.layout()).unwrap();
    goes_live(&house, &json!({"build": built(&house, "it is back")["id"]}));
}

/// In this house nobody runs checks, so that one of what is live fails as soon as it begins.
#[test]
fn a_check_of_what_is_live_is_shown_with_its_build_and_keeps_it_from_other_environments() {
    let house = house();
    house.environment(json!({"name": "prod", "runtime": "manifests", "namespace": {"fixed": "prod"}}));
    house.change_settings(SITE, |settings| {
        settings["checks"] = json!([{"name": "zap", "phase": "deployed", "stage": "scan", "owner": "sec", "image": "h.io/zap:1"}]);
    });
    let build = built(&house, "one");
    let mut check = json!({
        "name": "zap", "phase": "deployed", "stage": "scan", "owner": "sec", "state": "waiting",
        "failure": null, "findings": null, "report": null, "environment": null, "deployment": null,
    });
    assert_eq!(build["checks"], json!([check]));

    let live = goes_live(&house, &json!({"build": build["id"]}));
    let path = format!("/api/v1/builds/{}", build["id"].as_str().unwrap());
    let build = house.until(&path, |build| (build["checks"][0]["state"] == "failed").then(|| build.clone()));
    assert_eq!(build["state"], "succeeded", "the build is what it is");
    let failure = build["checks"][0]["failure"].clone();
    assert!(failure["message"].as_str().unwrap().contains("no check runner is registered"), "{failure}");
    for (field, value) in [
        ("state", json!("failed")),
        ("failure", failure),
        ("environment", json!("dev")),
        ("deployment", live["id"].clone()),
    ] {
        check[field] = value;
    }
    assert_eq!(build["checks"], json!([check]));

    let elsewhere = deploy(&house, &json!({"build": build["id"], "environment": "prod"}));
    refused_with_remedy(&elsewhere, 409, "did not pass check `zap`");
    goes_live(&house, &json!({"build": build["id"], "environment": "dev"}));
}
