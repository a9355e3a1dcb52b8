//! The `registry` example at a Harbor: the one in a process that the library's own tests have.

#[path = "../../../../kiops-registry/tests/it/harbor/host.rs"]
#[allow(dead_code, reason = "the library's own tests need more of it")]
mod host;
#[path = "../../../../kiops-registry/tests/it/harbor/host_answers.rs"]
mod host_answers;

use std::process::Output;

use kiops_core::name::Digest;
use serde_json::{Value, json};

use self::host::{ADMIN, HOST, Host, PASSWORD, Who};
use crate::door::{Door, Origins};
use crate::registry::{assembled, printed, program, refused, registry, site};

const ORIGINS: Origins = &[("/", "https://harbor.example.com")];
const APP: &str = "harbor.example.com/team/app";
const HOOK: &str = "https://ci.example.com/api/v1/webhook/harbor/0f1e2d";

struct Site {
    host: Host,
    door: Door,
}

impl Site {
    fn open() -> Self {
        let host = Host::new();
        let door = Door::open(host.http(), ORIGINS);
        Self { host, door }
    }

    /// A call as somebody, with their password and a webhook's secret in the environment.
    fn call_as(&self, (name, password): (&str, &str), call: &[&str]) -> Output {
        let connection = ["--harbor", "--url", &self.door.url, "--username", name, "--password-env", "WORD"];
        let mut command = program("registry");
        command.args(connection).args(call).env("WORD", password).env("HOOK", "s3cret-of-the-hook");
        command.output().unwrap()
    }

    fn call(&self, call: &[&str]) -> Output {
        self.call_as((ADMIN, PASSWORD), call)
    }
}

#[test]
fn projects_and_what_is_in_them_are_made_listed_and_removed() {
    let site = Site::open();
    let names = |rest: &[&str]| {
        let listed = printed(&site.call(&[&["projects", HOST][..], rest].concat()));
        let all = listed["projects"].as_array().unwrap().iter().map(|project| project["name"].clone());
        (all.collect::<Vec<_>>(), listed["next"].clone())
    };
    let shop = printed(&site.call(&["create-project", HOST, "shop", "--storage-limit", "1000"]));
    assert_eq!((&shop["created"], &shop["project"]["quota"]["limit"]), (&json!(true), &json!(1000)));
    let again = printed(&site.call(&["create-project", HOST, "shop"]));
    assert_eq!((&again["created"], &again["project"]), (&json!(false), &shop["project"]));
    assert_eq!(printed(&site.call(&["project", HOST, "shop"])), shop["project"]);
    assert_eq!(names(&[]), (vec![json!("shop"), json!("team")], Value::Null));
    assert_eq!(names(&["--search", "tea"]).0, [json!("team")]);
    let (first, next) = names(&["--limit", "1"]);
    assert_eq!(first, [json!("shop")]);
    assert_eq!(names(&["--limit", "1", "--after", next.as_str().unwrap()]).0, [json!("team")]);

    let digest = Digest::of(b"app").to_string();
    site.host.artifact("app", &digest, &["1.0", "latest"]);
    let repositories = printed(&site.call(&["repositories", HOST, "team"]));
    assert_eq!(repositories["repositories"][0]["image"], APP);
    let artifacts =
        |text: &str| printed(&site.call(&["artifacts", APP, "--search", text]))["artifacts"].clone();
    assert_eq!((&artifacts("1.")[0]["digest"], artifacts("2.")), (&json!(digest), json!([])));
    printed(&site.call(&["delete", &format!("{APP}:1.0")]));
    assert_eq!(artifacts("")[0]["tags"].as_array().unwrap().len(), 1);
    let removed = || printed(&site.call(&["delete-repository", APP]))["deleted"].clone();
    assert_eq!((removed(), removed()), (json!(true), json!(false)));

    let error = refused(&site.call(&["create-project", HOST, "shop", "--public"]));
    assert!(error.contains("is there and is private, not public"), "{error}");
    let error = refused(&site.call(&["project", HOST, "none"]));
    assert!(error.contains("there is no project `none`"), "{error}");
}

#[test]
fn a_robot_is_made_and_its_password_printed_for_whoever_asked() {
    let site = Site::open();
    let ensure = ["ensure-robot", HOST, "team", "kiops", "--access", "push"];
    let robot = printed(&site.call(&ensure));
    assert_eq!((&robot["username"], &robot["created"]), (&json!("robot$team+kiops"), &json!(true)));
    assert_eq!((&robot["host"], &robot["expires_at"]), (&json!(HOST), &Value::Null));
    let password = robot["password"].as_str().unwrap();
    let rights = site.host.team(|team| team.robots[0]["permissions"][0]["access"].clone());
    let right = |right: &Value| {
        (right["resource"].as_str().unwrap().to_owned(), right["action"].as_str().unwrap().to_owned())
    };
    let rights = rights.as_array().unwrap().iter().map(right).collect();
    let account = (password.to_owned(), Who::Robot(7, rights));
    site.host.state().accounts.insert("robot$team+kiops".into(), account);

    // With what was printed one may push, and nothing else.
    let as_robot = |call: &[&str]| site.call_as(("robot$team+kiops", password), call);
    assert_eq!(printed(&as_robot(&["check", APP]))["ok"], true);
    let error = refused(&as_robot(&ensure));
    assert!(error.contains("set up robot account") && error.contains("the right"), "{error}");
    assert!(!error.contains(password), "{error}");
    let config = printed(&as_robot(&["docker-config", APP, "--access", "push"]));
    let auth = &config["auths"][HOST];
    assert_eq!((&auth["username"], &auth["password"]), (&robot["username"], &robot["password"]));

    let pull = ["ensure-robot", HOST, "team", "kiops", "--days", "30", "--docker-config"];
    let auth = printed(&site.call(&pull))["auths"][HOST].clone();
    assert_eq!(auth["username"], "robot$team+kiops");
    assert_ne!(auth["password"], password, "the one before is no longer good");
    let error = refused(&site.call_as((ADMIN, "wrong-password"), &["check", APP]));
    assert!(error.contains("log in to Harbor") && !error.contains("wrong-password"), "{error}");
}

#[test]
fn the_webhook_of_a_project_is_set_looked_at_and_removed() {
    let site = Site::open();
    let ensure = |rest: &[&str]| {
        site.call(&[&["hook", "ensure", HOST, "team", HOOK, "--secret-env", "HOOK"][..], rest].concat())
    };
    let output = ensure(&[]);
    let made = printed(&output);
    assert_eq!((&made["change"], &made["hook"]["format"]), (&json!("created"), &json!("cloud_events")));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"));
    let target = || site.host.team(|team| team.policies[0]["targets"][0].clone());
    assert_eq!(target()["auth_header"], "s3cret-of-the-hook");
    assert_eq!(printed(&ensure(&["--format", "native", "--insecure"]))["change"], "updated");
    assert_eq!(
        (&target()["payload_format"], &target()["skip_cert_verify"]),
        (&json!("Default"), &json!(true))
    );
    let state = printed(&site.call(&["hook", "state", HOST, "team", HOOK]));
    assert_eq!(
        (&state["hook"]["url"], &state["deliveries"][2]["outcome"]),
        (&json!(HOOK), &json!("delivered"))
    );
    let removed = || printed(&site.call(&["hook", "remove", HOST, "team", HOOK]))["removed"].clone();
    assert_eq!((removed(), removed()), (json!(true), json!(false)));
    assert_eq!(printed(&site.call(&["hook", "state", HOST, "team", HOOK])), Value::Null);
    let error = refused(&site.call(&["hook", "ensure", HOST, "team", HOOK, "--secret-env", "NOT_SET"]));
    assert!(error.contains("`NOT_SET` is not set"), "{error}");
}

#[test]
fn an_image_is_scanned_and_its_report_read() {
    let site = Site::open();
    let digest = Digest::of(b"app").to_string();
    site.host.artifact("app", &digest, &["1.0"]);
    let image = format!("{APP}:1.0");
    let state = |call: &str| printed(&site.call(&[call, &image]));
    assert_eq!(state("scan-report")["report"]["state"], "not_scanned");
    let asked = state("scan");
    assert_eq!((&asked["digest"], &asked["state"]), (&json!(digest), &json!("queued")));
    let overview = json!({
        "scan_status": "Success", "start_time": "2024-05-01T12:00:00Z", "end_time": "2024-05-01T12:01:00Z",
        "summary": {"total": 3, "fixable": 1, "summary": {"Critical": 1, "High": 2}},
    });
    site.host.team(|team| team.repositories.get_mut("app").unwrap()[0].overview = Some(overview));
    let report = state("scan-report")["report"].clone();
    assert_eq!((&report["state"], &report["found"]["critical"]), (&json!("done"), &json!(1)));
}

#[test]
fn what_only_harbor_or_docker_hub_has_is_refused_of_others_with_the_switch_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let layout = ["--layout", folder.path().to_str().unwrap()];
    let image = assembled(site().path(), "registry.example.com/team/app:1", &layout);
    let of_layout = |call: &[&str]| refused(&registry(&layout, call));
    let of_registry = |call: &[&str]| refused(&registry(&[], call));
    for (error, switch) in [
        (of_layout(&["scan", &image]), "`--harbor`"),
        (of_layout(&["scan-report", &image]), "`--harbor`"),
        (of_layout(&["images", "library"]), "`--dockerhub`"),
        (of_registry(&["projects", "registry.example.com"]), "`--harbor`"),
        (of_registry(&["ensure-robot", "registry.example.com", "team", "kiops"]), "`--harbor`"),
        (of_registry(&["hook", "state", "registry.example.com", "team", HOOK]), "`--harbor`"),
        (of_registry(&["limits"]), "`--dockerhub`"),
    ] {
        assert!(error.contains(switch), "{error}");
    }
    let both = registry(&["--harbor", "--dockerhub"], &["limits"]);
    assert_eq!(both.status.code(), Some(2));
}
