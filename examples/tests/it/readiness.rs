//! What a service still needs (K07), and the words for how it stands (T14, K36).

use kiops_core::name::ServiceName;
use kiops_core::service::readiness::{CredentialOwner, ReadinessFacts};
use kiops_core::service::{Service, Settings, Source};
use serde_json::{Value, json};

use crate::house::{House, SITE, push_event, secret, settings};

/// An item of readiness, and what takes away what it asks for.
type Change<'a> = (&'a str, &'a dyn Fn(&mut ReadinessFacts));

/// What `GET /api/v1/services/{name}` says of a service's readiness.
struct Readiness(Value);

impl Readiness {
    fn of(house: &House, service: &str) -> Self {
        Self(house.get(&format!("/api/v1/services/{service}"))["readiness"].clone())
    }

    fn judged_by(house: &House, facts: ReadinessFacts) -> Self {
        *house.facts.lock().unwrap() = Some(facts);
        Self::of(house, SITE)
    }

    fn is_ready(&self) -> bool {
        self.0["ready"].as_bool().unwrap()
    }

    fn items(&self) -> impl Iterator<Item = &Value> {
        self.0["items"].as_array().unwrap().iter()
    }

    fn names(&self, is: impl Fn(&Value) -> bool) -> Vec<&str> {
        self.items().filter(|item| is(item)).map(|item| item["name"].as_str().unwrap()).collect()
    }

    /// What is missing and needed.
    fn needed(&self) -> Vec<&str> {
        self.names(|item| item["met"] == false && item["required"] == true)
    }

    /// What is missing and only advised.
    fn advised(&self) -> Vec<&str> {
        self.names(|item| item["met"] == false && item["required"] == false)
    }

    fn message(&self, name: &str) -> &str {
        let found = self.items().find(|item| item["name"] == name).expect(name);
        found["message"].as_str().unwrap()
    }
}

#[test]
fn readiness_names_what_is_missing_and_what_to_do() {
    let house = House::open();
    let whole =
        || ReadinessFacts::local().with_runtime(Some(true)).with_dockerfile(Some(true)).with_delivered(true);
    let all = Readiness::judged_by(&house, whole());
    assert!(all.is_ready());
    assert_eq!(
        all.names(|item| item["met"] == true),
        ["service", "git_credential", "registry", "registry_credential", "runtime", "webhook", "dockerfile"]
    );
    assert_eq!(all.message("registry"), "images go to quickstart.local/site");

    let nothing = Readiness::judged_by(&house, ReadinessFacts::default());
    assert!(!nothing.is_ready());
    assert_eq!(nothing.needed(), ["git_credential", "registry_credential", "runtime"]);
    assert_eq!(nothing.advised(), ["webhook"]);
    for (item, remedy) in [
        ("git_credential", "give the service a token"),
        ("registry_credential", "give the service a credential"),
        ("runtime", "register the runtime"),
        ("webhook", "create the webhook with its secret"),
    ] {
        assert!(nothing.message(item).contains(remedy), "{}", nothing.message(item));
    }

    // One at a time: what is needed stands in the way, what is advised does not.
    let without = |change: &dyn Fn(&mut ReadinessFacts)| {
        let mut facts = whole();
        change(&mut facts);
        Readiness::judged_by(&house, facts)
    };
    let needed: [Change<'_>; 4] = [
        ("git_credential", &|facts| facts.git_credential = None),
        ("registry_credential", &|facts| facts.registry_credential = None),
        ("runtime", &|facts| facts.runtime = None),
        ("runtime", &|facts| facts.runtime = Some(false)),
    ];
    for (item, change) in needed {
        let readiness = without(change);
        assert_eq!((readiness.is_ready(), readiness.needed()), (false, vec![item]));
    }
    let advised: [Change<'_>; 2] = [
        ("webhook", &|facts| facts.webhook = false),
        ("dockerfile", &|facts| facts.dockerfile = Some(false)),
    ];
    for (item, change) in advised {
        let readiness = without(change);
        assert_eq!((readiness.is_ready(), readiness.advised()), (true, vec![item]));
    }

    for (owner, says) in [
        (CredentialOwner::Service, "the service's own is used"),
        (CredentialOwner::Organisation, "the organisation's is used"),
        (CredentialOwner::NotNeeded, "none is needed"),
    ] {
        let readiness = without(&|facts| facts.git_credential = Some(owner));
        assert_eq!(readiness.message("git_credential"), says);
    }
}

#[test]
fn readiness_asks_for_what_the_settings_need() {
    let house = House::open();
    house.change_settings(SITE, |settings| settings["image"] = Value::Null);
    let readiness = Readiness::of(&house, SITE);
    assert_eq!((readiness.is_ready(), readiness.needed()), (false, vec!["registry"]));
    assert_eq!(readiness.message("registry"), "complete the registry settings of the service");

    house.change_settings(SITE, |changed| {
        *changed = serde_json::to_value(settings(SITE)).unwrap();
        changed["components"][0]["dockerfile"] = json!("docker/Dockerfile");
    });
    let readiness = Readiness::of(&house, SITE);
    assert_eq!((readiness.is_ready(), readiness.advised()), (true, vec!["dockerfile"]));

    house.environment(json!({"name": "far", "runtime": "nowhere"}));
    for environment in ["far", "unknown"] {
        house.change_settings(SITE, |settings| settings["deploy"]["environment"] = json!(environment));
        assert_eq!(Readiness::of(&house, SITE).needed(), ["runtime"], "{environment}");
    }
    house.change_settings(SITE, |settings| settings["deploy"]["auto"] = json!(false));
    let readiness = Readiness::of(&house, SITE);
    assert!(readiness.is_ready(), "a runtime is needed for auto deploy only");
    assert!(readiness.names(|_| true).iter().all(|name| *name != "runtime"));

    let images = Service {
        name: ServiceName::parse("images").unwrap(),
        source: Source::Image,
        settings: Settings::default(),
    };
    house.put_service(&images);
    let readiness = Readiness::of(&house, "images");
    assert_eq!((readiness.is_ready(), readiness.names(|_| true)), (true, vec!["service", "webhook"]));

    // A service is shown also while its Git host is away.
    house.host.vanish();
    let readiness = Readiness::of(&house, SITE);
    assert!(readiness.names(|_| true).iter().all(|name| *name != "dockerfile"), "it is not known");
}

#[test]
fn a_service_is_connected_once_a_delivery_of_its_webhook_verified() {
    let house = House::open();
    house.register("fresh", settings("fresh"));
    let label = || {
        let one = house.get("/api/v1/services/fresh")["label"].clone();
        let list = house.get("/api/v1/services");
        let listed = list["items"].as_array().unwrap().iter().find(|service| service["name"] == "fresh");
        assert_eq!(listed.unwrap()["label"], one, "the list says the same");
        one
    };
    assert_eq!((label(), Readiness::of(&house, "fresh").advised()), (Value::Null, vec!["webhook"]));

    house.hook("fresh", [secret("fresh")]);
    let readiness = Readiness::of(&house, "fresh");
    assert_eq!((label(), readiness.advised()), (Value::Null, vec![]));
    assert_eq!(readiness.message("webhook"), "a secret is set; no delivery has come in yet");

    let before = house.clone.ok(&["rev-parse", "HEAD"]);
    let mut elsewhere = push_event("ada", &before, &house.clone.commit("elsewhere"));
    elsewhere["ref"] = json!("refs/heads/elsewhere");
    let elsewhere = elsewhere.to_string();
    assert_eq!(house.deliver_signed(elsewhere.as_bytes(), &secret("wrong")).status, 401);
    assert_eq!(label(), Value::Null, "what does not verify proves nothing");
    assert_eq!(house.deliver_signed(elsewhere.as_bytes(), &secret("fresh")).status, 200);
    assert_eq!(label(), "Connected");
    let readiness = Readiness::of(&house, "fresh");
    assert_eq!(readiness.message("webhook"), "a secret is set, and deliveries come in");
    assert_eq!(house.get(&format!("/api/v1/services/{SITE}"))["label"], Value::Null, "it was not the site's");

    house.hook("fresh", []);
    assert_eq!(
        Readiness::of(&house, "fresh").advised(),
        ["webhook"],
        "a hook without a secret takes nothing"
    );
}

#[test]
fn a_builds_labels_are_the_words_of_both_documents() {
    let house = House::open();
    house.change_settings(SITE, |settings| settings["builds_at_once"] = json!(1));
    let labels = |build: &Value, state: &str| {
        let build = house.build_is(build, state);
        let label = house.get(&format!("/api/v1/services/{SITE}"))["label"].clone();
        (build["label"].as_str().unwrap().to_owned(), build["label_k"].as_str().unwrap().to_owned(), label)
    };
    let words =
        |label: &str, label_k: &str, service: &str| (label.to_owned(), label_k.to_owned(), json!(service));
    let build_of = |commit: &str| {
        house.until("/api/v1/builds", |list| {
            list["items"].as_array()?.iter().find(|build| build["commit"] == commit).cloned()
        })
    };

    house.host.hold_builds();
    let running = build_of(&house.push("ada", "runs"));
    assert_eq!(labels(&running, "running"), words("Running", "Building", "Running"));
    let queued = build_of(&house.push("ada", "waits"));
    assert_eq!(labels(&queued, "queued"), words("Started", "Pending", "Started"));
    let queued = house.build_is(&queued, "queued");
    assert_eq!(queued["queue_position"], 1);
    assert!(queued["waiting_for"].as_str().is_some_and(|text| !text.is_empty()), "{queued:#}");
    assert_eq!(house.build_is(&running, "running")["queue_position"], Value::Null);
    let newest = build_of(&house.push("ada", "comes last"));
    assert_eq!(labels(&queued, "superseded"), words("Superseded", "Superseded", "Started"));
    assert_eq!(house.build_is(&queued, "superseded")["superseded_by"], newest["id"]);
    house.host.let_builds_go();
    assert_eq!(labels(&newest, "succeeded"), words("Succeeded", "Success", "Succeeded"));

    house.environment(json!({"name": "dev", "runtime": "nowhere"}));
    let lost = build_of(&house.push("ada", "has nowhere to go"));
    assert_eq!(labels(&lost, "error"), words("Error", "Failed", "Error"));
    let failure = house.build_is(&lost, "error")["failure"].clone();
    assert!(failure["message"].as_str().unwrap().contains("nowhere"), "{failure:#}");
    assert!(!failure["remedy"].as_str().unwrap().is_empty());

    std::fs::remove_file(house.clone.folder.join("Dockerfile")).unwrap();
    let failed = build_of(&house.push("ada", "has no Dockerfile"));
    assert_eq!(labels(&failed, "failed"), words("Failed", "Failed", "Failed"));
}
