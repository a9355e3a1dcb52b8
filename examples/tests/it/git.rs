//! The `git` example, run as a program: against repositories on disk, and against a host behind a real socket.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// The program, which Cargo builds beside this test.
fn program() -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join("examples/git");
    assert!(path.is_file(), "build it first: cargo build -p kiops-examples --example git");
    let mut command = Command::new(path);
    command.env("TOKEN", "t0ken");
    command
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn printed(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What was asked: method, path with query, and whose token it carried.
type Asked = Arc<Mutex<Vec<String>>>;

/// A host that answers by path; everything else is 404. Says where it is.
async fn host(answers: &'static [(&'static str, &'static str)]) -> (String, Asked) {
    let asked: Asked = Arc::default();
    let seen = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| {
        let seen = Arc::clone(&seen);
        async move {
            let target = request.uri().path_and_query().unwrap().to_string();
            seen.lock().unwrap().push(format!("{} {target}", request.method()));
            if request.headers().get(header::AUTHORIZATION).is_none_or(|token| token != "Bearer t0ken") {
                return (StatusCode::UNAUTHORIZED, r#"{"message":"401 Unauthorized"}"#).into_response();
            }
            let answer = answers.iter().find(|(path, _)| target.split('?').next() == Some(path));
            answer.map_or_else(
                || (StatusCode::NOT_FOUND, r#"{"message":"404 Not Found"}"#).into_response(),
                |(_, body)| -> Response {
                    ([(header::CONTENT_TYPE, "application/json")], *body).into_response()
                },
            )
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

async fn run_at(url: &str, provider: &str, args: &[&str]) -> Output {
    let mut all = vec!["--provider", provider, "--url", url, "--token-env", "TOKEN"];
    all.extend_from_slice(args);
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    tokio::task::spawn_blocking(move || program().args(all).output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repositories_of_a_host_are_listed_as_json() {
    let (url, asked) = host(&[(
        "/prefix/api/v4/projects",
        r#"[{"id":7,"path_with_namespace":"team/api","default_branch":"main","web_url":"https://x/team/api"}]"#,
    )])
    .await;
    let output = run_at(&format!("{url}/prefix/"), "gitlab", &["repositories", "--search", "api"]).await;
    let expected = json!({
        "items": [{ "id": "7", "path": "team/api", "default_branch": "main", "web_url": "https://x/team/api" }],
        "next": null,
    });
    assert_eq!(printed(&output), expected);
    assert!(asked.lock().unwrap()[0].contains("search=api"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_capability_reaches_the_host() {
    const HOOKS: &str = r#"[{"id":1,"url":"https://ci.example.com/","push_events":true}]"#;
    let (url, asked) = host(&[("/api/v4/projects/team%2Fapi/hooks", HOOKS)]).await;
    let args = ["hook", "state", "team/api", "https://other.example.com/"];
    assert_eq!(printed(&run_at(&url, "gitlab", &args).await), Value::Null);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_by_merge_request_says_where_people_are_asked() {
    const BRANCH: &str =
        r#"{"name":"main","commit":{"id":"1111111111111111111111111111111111111111"},"default":true}"#;
    const OPEN: &str = r#"[{"iid":3,"web_url":"https://x/3","state":"opened","source_project_id":1,
        "target_project_id":1}]"#;
    let (url, asked) = host(&[
        ("/api/v4/projects/team%2Fdeploy/repository/branches/main", BRANCH),
        ("/api/v4/projects/team%2Fdeploy/merge_requests", OPEN),
    ])
    .await;
    let image = format!("reg.example/shop:1@sha256:{}", "0".repeat(64));
    let deploy = ["deploy", "team/deploy", "main", "shop.yaml", "web", &image, "--service", "shop"];
    let by = ["--environment", "prod", "--by", "merge-request"];
    let output = run_at(&url, "gitlab", &[&deploy[..], &by].concat()).await;
    assert_eq!(printed(&output), json!({ "open": "merge request 3 (https://x/3)" }));
    let list = asked.lock().unwrap().pop().unwrap();
    assert!(list.contains("source_branch=kiops%2Fshop-main-prod%2F1-"), "{list}");
    let output = run_at(&url, "gitlab", &[&deploy[..], &["--environment", "prod"]].concat()).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("shop.yaml is not in main of team/deploy"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_said_and_the_code_is_one() {
    let (url, _) = host(&[]).await;
    for (provider, args, words) in [
        ("gitlab", &["heads", "team/api"][..], "404 Not Found"),
        ("github", &["heads", "team/api"][..], "Not Found"),
        ("gitlab", &["commit", "team/api", "1111111111111111111111111111111111111111"][..], ""),
    ] {
        let output = run_at(&url, provider, args).await;
        let said = String::from_utf8(output.stderr).unwrap();
        if words.is_empty() {
            assert_eq!(output.stdout, b"null\n");
        } else {
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.starts_with("error: ") && said.contains(words), "{said}");
        }
        assert!(!said.contains("t0ken"));
    }
    let unreachable = run_at("http://127.0.0.1:1", "gitlab", &["heads", "team/api"]).await;
    assert_eq!(unreachable.status.code(), Some(1));
}

#[test]
fn a_missing_token_and_a_wrong_argument_are_named() {
    let output = run(&["--provider", "gitlab", "--url", "https://x", "--token-env", "KIOPS_UNSET", "scopes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("KIOPS_UNSET"));
    let output = run(&["--provider", "gitlab", "--url", "https://x", "commit", "a/b", "main"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("main"));
}

#[test]
fn repositories_on_disk_are_read_and_what_they_lack_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("srv");
    let bare = root.join("app.git");
    let made = Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&bare).status().unwrap();
    assert!(made.success());
    let root = root.to_str().unwrap();
    let listed = printed(&run(&["--provider", "plain", "--url", root, "repositories"]));
    let path = listed["items"][0]["path"].as_str().unwrap();
    assert!(path.ends_with("app.git"), "{listed}");
    assert_eq!(printed(&run(&["--provider", "plain", "--url", root, "heads", path])), json!([]));
    let output = run(&["--provider", "plain", "--url", root, "scopes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`plain` has no accounts"));
}
