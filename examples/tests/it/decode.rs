//! The `decode` example, run over JSON lines.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const PLAIN: &str = r#"{"repository":"/srv/site.git","pusher":"ada","changes":[
    {"ref":"refs/heads/main","before":"1111111111111111111111111111111111111111","after":"2222222222222222222222222222222222222222"},
    {"ref":"refs/tags/v1","before":"0000000000000000000000000000000000000000","after":"2222222222222222222222222222222222222222"}]}"#;

/// The program, which Cargo builds beside this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/decode");
    assert!(path.is_file(), "build it first: cargo build -p kiops-examples --example decode");
    path
}

/// What the program writes for these lines, run in `folder`.
fn decode_in(folder: &Path, lines: &[u8]) -> Vec<Value> {
    let mut child = Command::new(program())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = lines.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&lines));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn decode(lines: &[Value]) -> Vec<Value> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    decode_in(Path::new("."), text.as_bytes())
}

#[test]
fn each_line_in_gives_one_line_out_with_every_column_of_every_event() {
    let found = decode(&[json!({"provider": "plain", "body": PLAIN})]);
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["verified"], &found[0]["error"]), (&Value::Null, &Value::Null));
    let events = found[0]["events"].as_array().unwrap();
    assert_eq!(events.len(), 2);
    for column in [
        "kind",
        "repo",
        "ref",
        "branch",
        "tag",
        "before",
        "head",
        "action",
        "number",
        "source_branch",
        "target_branch",
        "is_fork",
        "deleted",
        "files_complete",
        "author",
        "added",
        "modified",
        "removed",
        "message",
        "image",
        "image_tag",
        "digest",
        "change",
    ] {
        assert!(events.iter().all(|event| event.get(column).is_some()), "{column}");
    }
    assert_eq!((&events[0]["kind"], &events[0]["branch"]), (&json!("push"), &json!("main")));
    assert_eq!((&events[1]["kind"], &events[1]["tag"]), (&json!("tag"), &json!("v1")));
}

#[test]
fn verified_is_null_without_secrets_and_false_for_none_that_count() {
    let line = |secrets: Value| json!({"provider": "gitlab", "headers": {"x-gitlab-token": "new"}, "body": "{\"object_kind\":\"note\"}", "secrets": secrets});
    let found = decode(&[
        line(Value::Null),
        line(json!([])),
        line(json!([""])),
        line(json!(["old"])),
        line(json!(["new", "old"])),
        line(json!(["old", "new"])),
    ]);
    let verified: Vec<&Value> = found.iter().map(|line| &line["verified"]).collect();
    assert_eq!(
        verified,
        [&Value::Null, &Value::Null, &json!(false), &json!(false), &json!(true), &json!(true)]
    );
    assert!(found.iter().all(|line| line["events"][0]["kind"] == "other"), "decoded in any case");
}

#[test]
fn a_signature_is_judged_at_the_time_given() {
    let at = |now: &str| {
        json!({
            "provider": "plain",
            "headers": {
                "Webhook-Id": "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                "WEBHOOK-TIMESTAMP": "1649367553",
                "webhook-signature": "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            },
            "secrets": ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
            "now": now,
            "body": r#"{"email":"test@example.com","username":"test_user"}"#,
        })
    };
    let found = decode(&[at("2022-04-07T21:39:13Z"), at("2022-04-07T21:50:00Z")]);
    assert_eq!((&found[0]["verified"], &found[1]["verified"]), (&json!(true), &json!(false)));
    assert!(
        found[0]["error"].as_str().unwrap().contains("repository"),
        "verified, and still no delivery of ours"
    );
}

#[test]
fn images_that_registries_push_are_rows_as_well() {
    const PATH: &str = "3fQ9vJ0bK2mX7tZ1-unguessable";
    let hub = json!({"push_data": {"tag": "v1", "pushed_at": 1}, "repository": {"repo_name": "team/shop"}});
    let harbor = json!({
        "type": "PUSH_ARTIFACT", "occur_at": 1, "operator": "ada",
        "event_data": {"resources": [{"tag": "v1"}, {"tag": "v2"}], "repository": {"repo_full_name": "team/shop"}},
    });
    let found = decode(&[
        json!({"provider": "dockerhub", "body": hub.to_string(), "secrets": [PATH], "hook": PATH}),
        json!({"provider": "dockerhub", "body": hub.to_string(), "secrets": [PATH]}),
        json!({"provider": "harbor", "body": harbor.to_string(), "secrets": ["s"], "headers": {"Authorization": "Bearer s"}}),
        json!({"provider": "dockerhub", "body": hub.to_string(), "hook": "short"}),
    ]);
    let verified: Vec<&Value> = found.iter().map(|line| &line["verified"]).collect();
    assert_eq!(verified, [&json!(true), &json!(false), &json!(true), &Value::Null]);
    assert_eq!(found[0]["events"][0]["kind"], "image_push");
    assert_eq!(
        (&found[0]["events"][0]["image"], &found[0]["events"][0]["repo"]),
        (&json!("team/shop"), &Value::Null)
    );
    let tags: Vec<&Value> =
        found[2]["events"].as_array().unwrap().iter().map(|row| &row["image_tag"]).collect();
    assert_eq!(tags, ["v1", "v2"]);
    assert!(found[3]["error"].as_str().unwrap().contains("hook id"), "{}", found[3]);
}

#[test]
fn a_header_given_twice_is_sent_twice() {
    let twice = json!({
        "provider": "gitlab", "headers": {"X-Gitlab-Token": ["a", "a"]}, "body": "{}", "secrets": ["a"],
    });
    assert_eq!(decode(&[twice])[0]["verified"], json!(false));
}

#[test]
fn a_bad_line_gives_a_line_with_its_error_and_the_next_ones_go_on() {
    let mut input = b"not JSON\n\xff\xfe\n\n{}\n".to_vec();
    for line in [
        json!({"provider": "cvs", "body": "{}"}),
        json!({"provider": "Not A Name", "body": "{}", "secrets": ["a"]}),
        json!({"provider": "plain"}),
        json!({"provider": "plain", "body": "{}", "body_file": "x"}),
        json!({"provider": "plain", "body_file": "no-such-file.json"}),
        json!({"provider": "plain", "headers": {"a b": "c"}, "body": PLAIN}),
        json!({"provider": "plain", "headers": {"a": "c\nd"}, "body": PLAIN}),
        json!({"provider": "plain", "body": "{", "now": "2026-01-01T00:00:00Z"}),
        json!({"provider": "plain", "body": PLAIN, "now": "yesterday"}),
    ] {
        input.extend_from_slice(line.to_string().as_bytes());
        input.push(b'\n');
    }
    input.extend_from_slice(json!({"provider": "plain", "body": PLAIN}).to_string().as_bytes());
    let found = decode_in(Path::new("."), &input);
    assert_eq!(found.len(), 13, "the empty line has no answer");
    let (last, bad) = found.split_last().unwrap();
    for line in bad {
        assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
        assert_eq!(line["events"], json!([]));
    }
    assert!(bad[3]["error"].as_str().unwrap().contains("unknown provider"));
    assert_eq!(last["error"], Value::Null, "a last line needs no line break");
}

#[test]
fn a_body_file_is_looked_for_in_the_current_folder_and_may_be_absolute() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.json");
    std::fs::write(&path, PLAIN).unwrap();
    for name in ["p.json", path.to_str().unwrap()] {
        let line = json!({"provider": "plain", "body_file": name}).to_string();
        let found = decode_in(folder.path(), line.as_bytes());
        assert_eq!(found[0]["events"][0]["repo"], "/srv/site.git");
    }
}
