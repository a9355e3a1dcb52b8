//! What a push does, through HTTP and git, on what the quickstart runs.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use kiops_core::secret::Secret;
use kiops_core::webhook::scheme;
use serde_json::{Value, json};

use crate::support::{Server, Stage, call};

impl Stage {
    fn secret(&self) -> Secret {
        Secret::new(std::fs::read(self.state().join("hook-secret")).unwrap()).unwrap()
    }

    /// The delivery of one change, as the hook writes it.
    fn body(&self, git_ref: &str, before: &str, after: &str) -> Value {
        json!({"repository": self.server.value("repo").unwrap(), "pusher": "ada",
               "changes": [{"ref": git_ref, "before": before, "after": after}]})
    }

    /// Sends a delivery that is signed by `secret`, and gives the answer's status and body.
    fn deliver(&self, id: &str, body: &Value, secret: &Secret) -> (u16, String) {
        let body = body.to_string();
        let now = Timestamp::now();
        let signature = scheme::sign(secret, id, now, body.as_bytes()).unwrap();
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", &now.as_second().to_string()),
            ("webhook-signature", &signature),
        ];
        let answer = self.server.call("POST", "/api/v1/webhook/plain", &headers, body.as_bytes());
        (answer.status, answer.text())
    }

    fn manifest(&self) -> String {
        only_file(&self.state().join("deploy"))
    }
}

fn only_file(folder: &Path) -> String {
    let mut entries = std::fs::read_dir(folder).unwrap().flatten();
    let path = entries.next().expect("a manifest").path();
    assert!(entries.next().is_none(), "more than one entry in {}", folder.display());
    if path.is_dir() { only_file(&path) } else { std::fs::read_to_string(path).unwrap() }
}

const NOTHING: &str = "0000000000000000000000000000000000000000";

#[test]
fn a_push_becomes_a_pinned_image_and_a_rollout() {
    let stage = Stage::new();
    let commit = stage.clone.push_change("second");
    let build = stage.server.built(&commit);
    assert_eq!(build["state"], "succeeded", "{build:#}");
    assert_eq!(build["trigger"], "webhook");
    assert_eq!(build["label"], "Succeeded");
    assert_eq!(build["progress"], 100);
    assert_eq!(build["message"].as_str().unwrap().trim(), "second");
    assert_eq!(build["metadata"]["GIT_REVISION"], commit);
    assert_eq!(build["metadata"]["GIT_BRANCH"], "main");
    assert_eq!(build["metadata"]["GIT_COMMITTER_USERNAME"], "Ada");
    assert!(build["metadata"]["GIT_COMMIT_TIMESTAMP"].as_str().unwrap().ends_with('Z'));
    assert_eq!(build["image"], format!("quickstart.local/site:{}", &commit[..7]));
    let pinned = format!("quickstart.local/site:{}@{}", &commit[..7], build["digest"].as_str().unwrap());
    assert!(stage.manifest().contains(&pinned), "{}", stage.manifest());

    let id = build["id"].as_str().unwrap();
    let log = whole_log(&stage, id);
    assert_eq!(log.lines().next(), Some("[setup] Triggered by Webhook"), "{log}");
    for moment in [
        "Checked out commit",
        "Step 1/",
        "[push] Pushing",
        "[push] Successfully pushed",
        "[deploy] Updating container",
        "rollout complete",
    ] {
        assert!(log.contains(moment), "no `{moment}` in\n{log}");
    }
    let deployments = stage.server.get("/api/v1/services/site/deployments");
    assert_eq!(deployments["items"][0]["state"], "live");
    assert_eq!(deployments["items"][0]["build"], build["id"]);
}

/// The log of a build that is over, once its last line is written: following it to its end waits for that.
fn whole_log(stage: &Stage, id: &str) -> String {
    let path = format!("/api/v1/builds/{id}/log");
    stage.server.call("GET", &path, &[("accept", "text/event-stream")], b"");
    stage.server.call("GET", &path, &[], b"").text()
}

#[test]
fn a_push_outside_the_filter_is_skipped_with_the_reason() {
    let stage = Stage::new();
    let commit = stage.clone.commit("elsewhere");
    stage.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/other"]);
    let delivery = stage.server.decided(&commit);
    assert_eq!(delivery["outcome"], "skipped");
    assert_eq!(delivery["reason"], "branch `other` matches none of `main`");
    assert_eq!(stage.builds_of(&commit), 0);

    stage
        .server
        .change_settings(|settings| settings["auto_ci"]["push"]["branches"] = json!(["main", "feature/*"]));
    let id = delivery["id"].as_str().unwrap();
    let explained = stage.server.send("POST", &format!("/api/v1/deliveries/{id}/explain"), &json!({}));
    assert_eq!(explained.json()["outcome"], "skipped");
    let commit = stage.clone.commit("a feature");
    stage.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/feature/a/b"]);
    let delivery = stage.server.decided(&commit);
    assert_eq!(delivery["outcome"], "built", "{delivery:#}");
    let texts: Vec<&str> = delivery["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["text"].as_str().unwrap())
        .collect();
    assert!(texts.iter().any(|text| text.contains("branch `feature/a/b` matches `feature/*`")), "{texts:?}");
}

#[test]
fn explain_answers_with_other_settings_and_changes_nothing() {
    let stage = Stage::new();
    let commit = stage.clone.commit("elsewhere");
    stage.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/other"]);
    let delivery = stage.server.decided(&commit);
    let mut settings = stage.server.get("/api/v1/services/site/settings");
    settings["auto_ci"]["push"]["branches"] = json!(["*"]);
    let path = format!("/api/v1/deliveries/{}/explain", delivery["id"].as_str().unwrap());
    let explained = stage.server.send("POST", &path, &json!({"settings": settings})).json();
    assert_eq!(explained["outcome"], "built", "{explained:#}");
    assert_eq!(stage.server.decided(&commit)["outcome"], "skipped");
    assert_eq!(stage.builds_of(&commit), 0);
}

#[test]
fn explain_finds_out_what_only_the_other_settings_ask() {
    let stage = Stage::new();
    stage.clone.write("docs/a.md", "a");
    let commit = stage.clone.push_change("no path is watched");
    let delivery = stage.server.decided(&commit);
    let path = format!("/api/v1/deliveries/{}/explain", delivery["id"].as_str().unwrap());
    let mut settings = stage.server.get("/api/v1/services/site/settings");
    for (watched, outcome) in [("docs/", "built"), ("src/", "skipped")] {
        settings["components"][0]["watch_path"] = json!([watched]);
        let explained = stage.server.send("POST", &path, &json!({"settings": settings})).json();
        assert_eq!(explained["outcome"], outcome, "{explained:#}");
    }
}

#[test]
fn a_watch_path_skips_what_it_does_not_watch() {
    let stage = Stage::new();
    stage.server.change_settings(|settings| settings["components"][0]["watch_path"] = json!(["src/"]));
    stage.clone.write("docs/a.md", "a");
    let untouched = stage.clone.commit("docs");
    stage.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let delivery = stage.server.decided(&untouched);
    assert_eq!(delivery["outcome"], "skipped", "{delivery:#}");
    stage.clone.write("src/b.js", "b");
    let touched = stage.clone.commit("source");
    stage.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    assert_eq!(stage.server.decided(&touched)["outcome"], "built");
    assert_eq!(stage.server.built(&touched)["state"], "succeeded");
}

#[test]
fn a_tag_builds_only_where_tags_are_on_and_is_deployed_by_hand() {
    let stage = Stage::new();
    let first = stage.clone.push_change("tagged");
    stage.server.built(&first);
    stage.clone.ok(&["tag", "v1.0.0"]);
    stage.clone.ok(&["push", "--quiet", "origin", "refs/tags/v1.0.0"]);
    let skipped = stage.server.until("/api/v1/deliveries", |list| {
        let newest = &list["items"][0];
        (newest["ref"] == "refs/tags/v1.0.0" && !newest["outcome"].is_null()).then(|| newest.clone())
    });
    assert_eq!(skipped["outcome"], "skipped");

    stage.server.change_settings(|settings| {
        settings["auto_ci"]["tag"]["enabled"] = json!(true);
        settings["deploy"]["auto"] = json!(false);
    });
    let before = stage.manifest();
    stage.clone.write("index.html", "released");
    let commit = stage.clone.commit("release");
    stage.clone.ok(&["tag", "-a", "-m", "two", "v2.0.0"]);
    stage.clone.ok(&["push", "--quiet", "origin", "refs/tags/v2.0.0"]);
    let build = stage.server.built(&commit);
    assert_eq!((&build["state"], &build["tag"]), (&json!("succeeded"), &json!("v2.0.0")), "{build:#}");
    assert_eq!(stage.manifest(), before, "auto deploy is off");
    let answer =
        stage.server.send("POST", "/api/v1/services/site/deployments", &json!({"build": build["id"]}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    live(&stage, &answer.json()["id"]);
    assert!(stage.manifest().contains(build["digest"].as_str().unwrap()));
}

fn live(stage: &Stage, id: &Value) {
    stage.server.until("/api/v1/services/site/deployments", |list| {
        let found = list["items"].as_array()?.iter().find(|deployment| deployment["id"] == *id)?;
        (found["state"] == "live").then_some(())
    });
}

#[test]
fn deleting_a_branch_builds_nothing() {
    let stage = Stage::new();
    stage.server.change_settings(|settings| settings["auto_ci"]["push"]["branches"] = json!(["*"]));
    let commit = stage.clone.commit("short-lived");
    stage.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/short"]);
    stage.server.built(&commit);
    let total = stage.server.get("/api/v1/builds")["total"].clone();
    stage.clone.ok(&["push", "--quiet", "origin", ":refs/heads/short"]);
    let deleted = stage.server.until("/api/v1/deliveries", |list| {
        let newest = &list["items"][0];
        (newest["commit"].is_null() && !newest["outcome"].is_null()).then(|| newest.clone())
    });
    assert_eq!(deleted["outcome"], "skipped");
    assert_eq!(stage.server.get("/api/v1/builds")["total"], total);
}

#[test]
fn a_wrong_signature_and_an_unknown_repository_get_the_same_answer() {
    let stage = Stage::new();
    let wrong = Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
    let body = stage.body("refs/heads/main", NOTHING, &"a".repeat(40));
    let mut unknown = body.clone();
    unknown["repository"] = json!("/nowhere.git");
    let first = stage.deliver("msg_1", &body, &wrong);
    assert_eq!(first.0, 401);
    assert_eq!(first, stage.deliver("msg_2", &unknown, &wrong));
    assert_eq!(first, stage.deliver("msg_3", &unknown, &stage.secret()));
}

#[test]
fn the_same_delivery_twice_is_built_once_and_answered_2xx_both_times() {
    let stage = Stage::new();
    let head = stage.clone.ok(&["rev-parse", "HEAD"]);
    let builds = stage.builds_of(&head);
    let body = stage.body("refs/heads/main", NOTHING, &head);
    let (status, first) = stage.deliver("msg_same", &body, &stage.secret());
    assert_eq!(status, 200, "{first}");
    let (status, second) = stage.deliver("msg_same", &body, &stage.secret());
    assert_eq!(status, 200);
    assert!(first.contains("accepted") && second.contains("duplicate"), "{first} {second}");
    stage.server.built(&head);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stage.builds_of(&head), builds, "a head that is built is not built again");
    let list = stage.server.get("/api/v1/deliveries?limit=200");
    let count =
        list["items"].as_array().unwrap().iter().filter(|delivery| delivery["commit"] == head).count();
    assert_eq!(count, 2, "the push's own and this one");
}

#[test]
fn a_skip_marker_skips_and_listing_heads_leaves_it_skipped() {
    let mut stage = Stage::new();
    let commit = stage.clone.push_change("docs [skip ci]");
    let delivery = stage.server.decided(&commit);
    assert_eq!(delivery["outcome"], "skipped");
    stage.server.kill();
    stage.server = Server::start(&stage.state());
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(stage.builds_of(&commit), 0);
    let list = stage.server.get("/api/v1/deliveries?limit=200");
    assert_eq!(list["items"].as_array().unwrap().iter().filter(|one| one["commit"] == commit).count(), 1);
}

#[test]
fn a_late_older_push_never_supersedes_a_newer_build() {
    let stage = Stage::new();
    let base = stage.clone.ok(&["rev-parse", "HEAD"]);
    let hook = stage.state().join("repo.git/hooks/post-receive");
    let script = std::fs::read(&hook).unwrap();
    std::fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
    let older = stage.clone.push_change("older");
    let newer = stage.clone.push_change("newer");
    std::fs::write(&hook, script).unwrap();
    assert_eq!(
        stage.deliver("msg_new", &stage.body("refs/heads/main", &older, &newer), &stage.secret()).0,
        200
    );
    let build = stage.server.built(&newer);
    assert_eq!(build["state"], "succeeded");
    assert_eq!(
        stage.deliver("msg_old", &stage.body("refs/heads/main", &base, &older), &stage.secret()).0,
        200
    );
    let delivery = stage.server.decided(&older);
    assert_eq!(delivery["outcome"], "skipped", "{delivery:#}");
    assert_eq!(stage.server.built(&newer)["state"], "succeeded");
    assert!(stage.manifest().contains(build["digest"].as_str().unwrap()));
}

#[test]
fn two_quick_pushes_leave_the_newer_one_live() {
    let stage = Stage::new();
    let _older = stage.clone.push_change("one");
    let newer = stage.clone.push_change("two");
    let build = stage.server.built(&newer);
    assert_eq!(build["state"], "succeeded", "{build:#}");
    let digest = build["digest"].as_str().unwrap().to_owned();
    stage.server.until("/api/v1/services/site/deployments", |list| {
        (list["items"][0]["state"] == "live").then_some(())
    });
    assert!(stage.manifest().contains(&digest));
}

#[test]
fn rollback_goes_back_and_the_next_push_goes_forward() {
    let stage = Stage::new();
    let first = stage.clone.push_change("good");
    let good = stage.server.built(&first)["digest"].clone();
    let second = stage.clone.push_change("bad");
    let bad = stage.server.built(&second)["digest"].clone();
    assert!(stage.manifest().contains(bad.as_str().unwrap()));
    let answer = stage.server.send("POST", "/api/v1/services/site/rollback", &json!({"environment": "dev"}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    live(&stage, &answer.json()["id"]);
    assert!(stage.manifest().contains(good.as_str().unwrap()));
    let third = stage.clone.push_change("better");
    let better = stage.server.built(&third)["digest"].clone();
    assert!(stage.manifest().contains(better.as_str().unwrap()));
}

#[test]
fn a_build_by_hand_takes_the_newest_commit() {
    let stage = Stage::new();
    let head = stage.clone.ok(&["rev-parse", "HEAD"]);
    let answer = stage.server.send("POST", "/api/v1/services/site/builds", &json!({}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let build = &answer.json()["items"][0];
    assert_eq!((&build["commit"], &build["trigger"]), (&json!(head), &json!("manual")));
    let path = format!("/api/v1/builds/{}", build["id"].as_str().unwrap());
    let over = stage.server.until(&path, |build| crate::support::is_over(build).then(|| build.clone()));
    assert_eq!(over["state"], "succeeded", "{over:#}");
}

#[test]
fn what_cannot_be_built_says_why_and_what_to_do() {
    let stage = Stage::new();
    let cases = [
        ("FROM scratch\nRUN make\n", "unsupported_instruction", "RUN"),
        ("FROM scratch\nCOPY missing /x\n", "source_file_not_found", "missing"),
        (
            "FROM registry.example.invalid/base:1\nCOPY . /x\n",
            "base_image_unavailable",
            "registry.example.invalid/base:1",
        ),
    ];
    for (dockerfile, kind, named) in cases {
        stage.clone.write("Dockerfile", dockerfile);
        let commit = stage.clone.commit(kind);
        stage.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
        failed_with(&stage, &commit, kind, named);
    }
    std::fs::remove_file(stage.clone.folder.join("Dockerfile")).unwrap();
    let commit = stage.clone.commit("none");
    stage.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    failed_with(&stage, &commit, "dockerfile_not_found", "Dockerfile not found: Dockerfile");
}

fn failed_with(stage: &Stage, commit: &str, kind: &str, named: &str) {
    let build = stage.server.built(commit);
    assert_eq!(build["state"], "failed", "{build:#}");
    let failure = &build["failure"];
    assert_eq!(failure["kind"], kind, "{failure:#}");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains(named), "{message}");
    assert!(!failure["remedy"].as_str().unwrap().is_empty());
    let log = whole_log(stage, build["id"].as_str().unwrap());
    assert!(log.contains(message), "the log does not say it:\n{log}");
}

#[test]
fn bodies_over_the_cap_bombs_and_deep_nesting_are_harmless() {
    let stage = Stage::new();
    let address = stage.server.address();
    let length = ("content-length-declared", "x");
    let huge = vec![b'a'; 27 << 20];
    assert_eq!(call(&address, "POST", "/api/v1/webhook/plain", &[length], &huge).status, 413);
    let encoded =
        call(&address, "POST", "/api/v1/webhook/plain", &[("content-encoding", "gzip")], b"\x1f\x8b");
    assert_eq!(encoded.status, 415);
    let deep = format!("{{\"x\":{}", "[".repeat(200_000));
    assert_eq!(call(&address, "POST", "/api/v1/webhook/plain", &[], deep.as_bytes()).status, 401);
    assert_eq!(stage.server.get("/api/v1/services/site")["name"], "site");
}

#[test]
fn errors_are_problem_documents() {
    let stage = Stage::new();
    for (method, path, status) in [
        ("GET", "/api/v1/builds?limit=0", 400),
        ("GET", "/api/v1/builds?limit=201", 400),
        ("GET", "/api/v1/builds?offset=-1", 400),
        ("GET", "/api/v1/builds/nonsense", 404),
        ("GET", "/api/v1/builds/b-000000000000000000000000", 404),
        ("GET", "/api/v1/services/none", 404),
        ("GET", "/api/v1/builds?service=none", 404),
        ("POST", "/api/v1/webhook/nobody", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/api/v1/builds", 405),
    ] {
        let answer = stage.server.call(method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        assert_eq!(answer.json()["status"], status);
    }
    assert_eq!(
        stage.server.get("/api/v1/builds?service=")["total"],
        stage.server.get("/api/v1/builds")["total"]
    );
}

#[test]
fn foreign_hosts_and_origins_are_refused_but_deliveries_are_not() {
    let stage = Stage::new();
    let address = stage.server.address();
    assert_eq!(call(&address, "GET", "/api/v1/builds", &[("host", "evil.example")], b"").status, 421);
    let origin = [("origin", "https://evil.example")];
    assert_eq!(call(&address, "POST", "/api/v1/services/site/builds", &origin, b"{}").status, 403);
    assert_eq!(
        call(&address, "POST", "/api/v1/webhook/plain", &[("host", "evil.example"), origin[0]], b"{}").status,
        401
    );
    let own = [("origin", format!("http://{address}"))];
    assert_eq!(
        call(&address, "POST", "/api/v1/services/site/builds", &[(own[0].0, &own[0].1)], b"{}").status,
        202
    );
}

#[test]
fn a_log_is_followed_and_resumed_where_it_broke_off() {
    let stage = Stage::new();
    let commit = stage.clone.push_change("logged");
    let build = stage.server.built(&commit);
    let path = format!("/api/v1/builds/{}/log", build["id"].as_str().unwrap());
    let text = whole_log(&stage, build["id"].as_str().unwrap());
    let lines: Vec<&str> = text.lines().collect();
    let events = stage.server.call("GET", &path, &[("accept", "text/event-stream")], b"").text();
    let data = |events: &str| -> Vec<String> {
        events.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    };
    assert_eq!(data(&events), lines);
    assert!(events.ends_with("event: end\ndata:\n\n"), "{events}");
    let rest = stage
        .server
        .call("GET", &path, &[("accept", "text/event-stream"), ("last-event-id", "3")], b"")
        .text();
    assert_eq!(data(&rest), lines[3..]);
}

#[test]
fn a_second_instance_on_one_folder_is_refused() {
    let stage = Stage::new();
    let mut second = Server::spawn(&stage.state(), &[]);
    assert!(!second.wait());
    assert!(second.output().contains("another instance"), "{}", second.output());
}

#[test]
fn pushes_made_while_the_server_is_down_are_found_at_the_next_start() {
    let mut stage = Stage::new();
    stage.server.kill();
    let commit = stage.clone.push_change("while down");
    stage.server = Server::start(&stage.state());
    let build = stage.server.built(&commit);
    assert_eq!((&build["state"], &build["trigger"]), (&json!("succeeded"), &json!("reconcile")));
    assert!(stage.manifest().contains(build["digest"].as_str().unwrap()));
}
