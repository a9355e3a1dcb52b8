//! Settings over HTTP: given back as they were put, refused by the field, and counted from the next decision on.

use serde_json::{Value, json};

use crate::house::{House, push_event, refused};
use crate::support::Answer;

const PATH: &str = "/api/v1/services/site/settings";

fn put(house: &House, who: &str, settings: &Value) -> Answer {
    house.call(who, "PUT", PATH, settings.to_string().as_bytes())
}

#[test]
fn settings_are_given_back_as_they_were_put() {
    let house = House::open();
    let first = house.get(PATH);
    let same = put(&house, "boss", &first);
    assert_eq!((same.status, same.json()), (200, first.clone()));

    let mut changed = first.clone();
    changed["auto_ci"]["push"]["branches"] = json!(["main", "feature/*", "!feature/old/**"]);
    changed["auto_ci"]["tag"] = json!({"enabled": true, "patterns": ["v*"]});
    changed["auto_ci"]["keyword"] = json!("deploy");
    changed["auto_ci"]["schedule"] = json!([{"cron": "30 2 * * mon-FRI", "time_zone": "Europe/Berlin"}]);
    changed["auto_ci"]["base_image"] =
        json!({"enabled": true, "every": 15, "images": ["docker.io/library/*"]});
    changed["components"][0]["watch_path"] = json!(["src/**", "!src/**/*.md"]);
    changed["components"][0]["build_args"] = json!({"VERSION": "ünïcode \" \\ \u{1f680}"});
    changed["image"]["tags"] = json!(["latest", "{branch}"]);
    changed["timers"]["stall_by_stage"] = json!({"build": 30});
    let answer = put(&house, "root", &changed);
    assert_eq!((answer.status, answer.json()), (200, changed.clone()));
    assert_eq!(house.get(PATH), changed);
    assert_eq!(house.get("/api/v1/services/site")["settings"], changed);

    // What is left out has its default.
    let answer = put(&house, "root", &json!({"builds_at_once": 7}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let settings = house.get(PATH);
    assert_eq!((&settings["builds_at_once"], &settings["image"]), (&json!(7), &Value::Null));
    assert_eq!(settings["auto_ci"]["push"]["branches"], json!([]));

    // And so has everything, where nothing is said; the answer shows it all.
    let defaults = serde_json::to_value(kiops_core::service::Settings::default()).unwrap();
    let answer = put(&house, "root", &json!({}));
    assert_eq!((answer.status, answer.json()), (200, defaults.clone()));
    assert_eq!(house.get(PATH), defaults);
}

/// Settings whose only container is `web` with these fields.
fn runs(mut web: Value) -> Value {
    web["name"] = json!("web");
    json!({"components": [{"runs": {"type": "workload", "containers": [web]}}]})
}

#[test]
fn a_mistake_in_settings_is_refused_by_its_field() {
    let house = House::open();
    let before = house.get(PATH);
    let long = "a".repeat(1025);
    let many = vec!["main"; 101];
    let nightly = &json!({"cron": "0 2 * * *"});
    for (settings, says) in [
        (json!({"typo": 1}), "`typo`"),
        (json!({"auto_ci": {"push": {"branch": ["main"]}}}), "auto_ci.push"),
        (json!({"auto_ci": {"push": {"enabled": "yes"}}}), "auto_ci.push.enabled"),
        (json!({"auto_ci": {"push": {"branches": ["["]}}}), "auto_ci.push.branches"),
        (json!({"auto_ci": {"push": {"branches": ["a", 7]}}}), "auto_ci.push.branches"),
        (json!({"auto_ci": {"push": {"branches": [long]}}}), "auto_ci.push.branches"),
        (json!({"auto_ci": {"tag": {"patterns": many}}}), "auto_ci.tag.patterns"),
        (json!({"auto_ci": {"supersede": "always"}}), "auto_ci.supersede"),
        (json!({"auto_ci": {"schedule": [nightly, {"cron": "0 24 * * *"}]}}), "auto_ci.schedule[1]"),
        (
            json!({"auto_ci": {"schedule": [{"cron": "0 24 * * *"}]}}),
            "hour `24`: `24` is none (write hours from 0 to 23",
        ),
        (json!({"auto_ci": {"schedule": [{"cron": "0 0 30 2 *"}]}}), "no day is ever `30 2 *`"),
        (
            json!({"auto_ci": {"schedule": [{"cron": "0 0 * * *", "time_zone": "Mars"}]}}),
            "there is no `Mars`",
        ),
        (json!({"auto_ci": {"schedule": [{"time_zone": "UTC"}]}}), "auto_ci.schedule[0]"),
        (json!({"auto_ci": {"schedule": vec![nightly; 11]}}), "auto_ci.schedule: 11 are more than 10"),
        (
            json!({"auto_ci": {"base_image": {"every": 4}}}),
            "auto_ci.base_image.every: 4 minutes are not within 5 to 10080",
        ),
        (json!({"auto_ci": {"base_image": {"every": 10081}}}), "auto_ci.base_image.every"),
        (json!({"auto_ci": {"base_image": {"images": ["["]}}}), "auto_ci.base_image.images"),
        (json!({"auto_ci": {"base_image": {"often": 5}}}), "`often`"),
        (json!({"components": [{"watch_path": ["src/{a"]}]}), "components[0].watch_path"),
        (json!({"components": [{"path": "../elsewhere"}]}), "components.main.path"),
        (json!({"components": [{"dockerfile": "a/../../b"}]}), "components.main.dockerfile"),
        (json!({"components": [{"path": "a".repeat(1025)}]}), "components.main.path"),
        (json!({"components": [{"name": "Not A Label"}]}), "components[0].name"),
        (
            json!({"components": [{"build_args": {"--pull": "x"}}]}),
            "`--pull` is no name for a build argument",
        ),
        (json!({"components": [{"build_args": {"N": 1}}]}), "components[0].build_args.N"),
        (json!({"components": [{}, {}]}), "components: `main` stands twice"),
        (json!({"components": []}), "components: at least one"),
        (json!({"image": {"name": "no-host"}}), "image.name"),
        (json!({"image": {"name": "h.io/app", "tags": ["{nothing}"]}}), "image.tags[0]"),
        (json!({"deploy": {"environment": "Not A Label"}}), "deploy.environment"),
        (json!({"deploy": {"auto": true}}), "deploy: auto is on"),
        (json!({"timers": {"stall_seconds": -5}}), "timers.stall_seconds"),
        (json!({"timers": {"stall_by_stage": {"lunch": 1}}}), "timers.stall_by_stage"),
        (json!({"builds_at_once": 0}), "builds_at_once"),
        (json!({"builds_at_once": 101}), "builds_at_once"),
        (json!({"builds_at_once": 1.5}), "builds_at_once"),
        (
            runs(json!({"ingress_path": "/a%2fb", "port": 80})),
            "web.ingress_path: `/a%2fb` has an encoded slash",
        ),
        (runs(json!({"ingress_path": "/a//b", "port": 80})), "web.ingress_path: `/a//b`"),
        (runs(json!({"volumes": [{"path": "/data", "size": "10 GB"}]})), "size `10 GB` is no quantity"),
        (runs(json!({"volumes": [{"path": "/data", "size": "0"}]})), "size `0` is zero"),
        (
            runs(json!({"volumes": [{"path": "/", "size": "1Gi"}]})),
            "web.volumes: `/` is the whole file system",
        ),
        (
            runs(json!({"volumes": [{"path": "/a", "size": "1Gi"}, {"path": "/./a/", "size": "1Gi"}]})),
            "web.volumes: `/./a/` stands twice",
        ),
        (runs(json!({"env": {"..X": "x"}})), "web.env: `..X` is no name for a variable"),
        (runs(json!({"env": {"X": "a\u{0}"}})), "web.env.X: a value cannot hold a NUL"),
        (json!([]), "no JSON object"),
        (json!("settings"), "no JSON object"),
    ] {
        refused(&put(&house, "root", &settings), 400, says);
    }
    for text in ["{", "{} {}", "nonsense", "{\"builds_at_once\":2,\"builds_at_once\":3}", "\u{feff}{}"] {
        refused(&house.call("root", "PUT", PATH, text.as_bytes()), 400, "the body is not what is expected");
    }
    refused(&house.call("root", "PUT", PATH, b"{\"auto_ci\":{\"keyword\":\"\xff\"}}"), 400, "");
    assert_eq!(house.get(PATH), before, "nothing of it was taken");
}

#[test]
fn only_admins_change_settings_and_only_members_see_them() {
    let house = House::open();
    let settings = house.get(PATH);
    for (who, may_read, may_change) in [
        ("", 401, 401),
        ("stranger", 403, 403),
        ("eve", 200, 403),
        ("ada", 200, 403),
        ("boss", 200, 200),
        ("root", 200, 200),
    ] {
        assert_eq!(house.call(who, "GET", PATH, b"").status, may_read, "{who}");
        assert_eq!(put(&house, who, &settings).status, may_change, "{who}");
    }
    refused(&put(&house, "ada", &json!({})), 403, "stronger role");
}

#[test]
fn a_change_counts_from_the_next_decision_and_explaining_changes_nothing() {
    let house = House::open();
    let push = |content: &str| {
        let before = house.clone.ok(&["rev-parse", "HEAD"]);
        let after = house.clone.push_change(content);
        house.decided(&push_event("ada", &before, &after))
    };
    let off = |settings: &mut Value| settings["auto_ci"]["enabled"] = json!(false);
    house.change_settings("site", off);
    let skipped = push("while it is off");
    assert_eq!(skipped["outcome"], "skipped", "{skipped:#}");
    let mut on = house.get(PATH);
    on["auto_ci"]["enabled"] = json!(true);

    let path = format!("/api/v1/deliveries/{}/explain", skipped["id"].as_str().unwrap());
    let total = house.get("/api/v1/builds")["total"].clone();
    for who in ["eve", "root"] {
        let explained = house.post(who, &path, &json!({"settings": on}));
        assert_eq!(explained.json()["outcome"], "built", "{}", explained.text());
        assert_eq!(house.post(who, &path, &json!({})).json()["outcome"], "skipped");
    }
    refused(&house.post("root", &path, &json!({"settings": {"builds_at_once": 0}})), 400, "builds_at_once");
    refused(&house.post("root", &path, &json!({"settings": {"typo": 0}})), 400, "settings");
    refused(&house.post("root", &path, &json!({"setting": {}})), 400, "`setting`");
    refused(&house.post("stranger", &path, &json!({})), 403, "");
    let mut now = house.get(PATH);
    assert_eq!(now["auto_ci"]["enabled"], false);
    assert_eq!(house.get(&format!("/api/v1/deliveries/{}", skipped["id"].as_str().unwrap())), skipped);
    assert_eq!(house.get("/api/v1/builds")["total"], total);

    now["auto_ci"]["enabled"] = json!(true);
    assert_eq!(put(&house, "boss", &now).status, 200);
    assert_eq!(push("while it is on")["outcome"], "built");
}
