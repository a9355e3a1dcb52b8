//! The API trigger: another program's call that builds (R04-R10).

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use kiops_core::engine::TriggerSnippets;
use kiops_core::testing::has_program;
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

/// How each system runs the script that it takes out of its snippet.
const SHELLS: [(&str, &[&str]); 4] = [
    ("curl", &["sh"]),
    // `sh` of the durable-task plugin, the runner's shell executor, and a `run` that names no shell.
    ("jenkins", &["sh", "-xe"]),
    ("gitlab_ci", &["sh", "-e"]),
    ("github_actions", &["bash", "-e"]),
];

#[test]
fn the_snippets_build_as_they_are_pasted() {
    if !["curl", "bash"].into_iter().all(has_program) {
        return;
    }
    let house = House::open();
    let commit = house.clone.ok(&["rev-parse", "HEAD"]);
    let key = switch_on(&house);
    let snippets = house.get("/api/v1/services/site/trigger")["snippets"].clone();
    assert!(!snippets.to_string().contains(&key), "no snippet has the key in it");
    // A curl in front of the real one says what everybody may see of it.
    let folder = tempfile::tempdir().unwrap();
    let (front, seen) = (folder.path().join("curl"), folder.path().join("seen"));
    let path = std::env::var("PATH").unwrap();
    let text = format!("#!/bin/sh\necho \"$@\" >>'{}'\nPATH='{path}' exec curl \"$@\"\n", seen.display());
    std::fs::write(&front, text).unwrap();
    std::fs::set_permissions(&front, Permissions::from_mode(0o755)).unwrap();
    let run = |script: &str, shell: &[&str], key: &str| {
        let file = folder.path().join("script.sh");
        std::fs::write(&file, script).unwrap();
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(file).env("KIOPS_KEY", key);
        command.env("PATH", format!("{}:{path}", folder.path().display())).output().unwrap()
    };
    for (name, shell) in SHELLS {
        let script = script(name, snippets[name].as_str().unwrap());
        let output = run(&script, shell, &key);
        let logged = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !logged.contains(&key), "{name}: {logged}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["outcome"], "built", "{name}: {answer}");
        let build = house.get(&format!("/api/v1/builds/{}", answer["builds"][0].as_str().unwrap()));
        assert_eq!((&build["trigger"], &build["commit"]), (&json!("api"), &json!(commit)), "{name}");
        let refused = run(&script, shell, "guess");
        let said = String::from_utf8_lossy(&refused.stdout);
        assert!(!refused.status.success() && said.contains("remedy"), "{name}: {refused:?}");
    }
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.lines().count() == 8 && !seen.contains(&key) && !seen.contains("guess"), "{seen}");
}

#[test]
fn the_document_shows_the_snippets_that_the_server_gives() {
    let document = include_str!("../../../docs/HTTP-API.md");
    let snippets = TriggerSnippets::of("https://ci.example.com/api/v1/trigger/SERVICE");
    for (language, text) in [
        ("sh", format!("{}\n", snippets.curl)),
        ("groovy", snippets.jenkins),
        ("yaml", snippets.gitlab_ci),
        ("yaml", snippets.github_actions),
    ] {
        assert!(document.contains(&format!("```{language}\n{text}```")), "docs/HTTP-API.md lacks\n{text}");
    }
}

/// The script that a system takes out of its snippet.
fn script(name: &str, snippet: &str) -> String {
    let yaml = || serde_saphyr::from_str::<Value>(snippet).unwrap_or_else(|error| panic!("{name}: {error}"));
    match name {
        "curl" => snippet.to_owned(),
        "jenkins" => groovy_script(snippet),
        "gitlab_ci" => {
            let job = &yaml()["kiops"];
            let [script] = job["script"].as_array().unwrap().as_slice() else { panic!("{job}") };
            assert_eq!(job["stage"], "deploy");
            script.as_str().unwrap().to_owned()
        }
        _ => {
            let job = &yaml()["jobs"]["kiops"];
            assert_eq!((&job["runs-on"], &job["permissions"]), (&json!("ubuntu-latest"), &json!({})));
            let [step] = job["steps"].as_array().unwrap().as_slice() else { panic!("{job}") };
            assert_eq!(step["env"], json!({"KIOPS_KEY": "${{ secrets.KIOPS_KEY }}"}));
            // An expression in it would be put in as text, whatever it holds.
            let script = step["run"].as_str().unwrap();
            assert!(!script.contains("${{"), "{script}");
            script.to_owned()
        }
    }
}

/// What `sh` gets: the snippet's only string between three quotes. Read by Groovy's rules: such a string ends at the first three quotes,
/// and backslashes escape; every other string ends on its line, and braces, brackets and parentheses close in turn.
fn groovy_script(snippet: &str) -> String {
    let (mut scripts, mut open, mut rest) = (Vec::new(), Vec::new(), snippet);
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("'''") {
            let (inside, after) = after.split_once("'''").expect("the string has an end");
            assert!(!inside.contains('\\'), "a backslash would be an escape: {inside}");
            scripts.push(inside.to_owned());
            rest = after;
            continue;
        }
        rest = &rest[first.len_utf8()..];
        match first {
            '\'' => {
                let (inside, after) = rest.split_once('\'').expect("the string has an end");
                assert!(!inside.contains(['\n', '\\']), "{inside}");
                rest = after;
            }
            '{' | '(' | '[' => open.push(first),
            '}' => assert_eq!(open.pop(), Some('{'), "before {rest}"),
            ')' => assert_eq!(open.pop(), Some('('), "before {rest}"),
            ']' => assert_eq!(open.pop(), Some('['), "before {rest}"),
            other => assert!(other.is_alphanumeric() || " \n:,".contains(other), "{other} before {rest}"),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    let [script] = scripts.try_into().expect("one script");
    script
}
