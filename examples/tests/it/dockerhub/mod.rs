//! The `registry` example at Docker Hub: the one in a process that the library's own tests have, and a real registry in its place.

#[path = "../../../../kiops-registry/tests/it/dockerhub/host.rs"]
#[allow(dead_code, reason = "the library's own tests need more of it")]
mod host;

use std::process::Output;

use serde_json::{Value, json};

use self::host::Hub;
use crate::door::{Door, Origins};
use crate::registry::{assembled, daemon, printed, program, refused, registry, site};

/// User name and access token.
const ME: (&str, &str) = ("me", "dckr_pat_wonderland");

const ORIGINS: Origins = &[
    ("/v2/auth/token", "https://hub.docker.com"),
    ("/v2/namespaces/", "https://hub.docker.com"),
    ("/token", "https://auth.docker.io"),
    ("/v2/", "https://registry-1.docker.io"),
];

/// A call with an account or without one.
fn call(door: &Door, login: Option<(&str, &str)>, call: &[&str]) -> Output {
    let mut command = program("registry");
    command.args(["--dockerhub", "--url", &door.url, "--hub-url", &door.url]);
    if let Some((name, token)) = login {
        command.args(["--username", name, "--password-env", "TOKEN"]).env("TOKEN", token);
    }
    command.args(call).output().unwrap()
}

fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn images_and_their_tags_are_chosen_page_by_page() {
    let door = Door::open(Hub::new().http(), ORIGINS);
    let images = |login, rest: &[&str]| {
        names(&printed(&call(&door, login, &[&["images"][..], rest].concat()))["images"], "image")
    };
    assert_eq!(images(None, &["library", "--search", "sql"]), ["docker.io/library/mysql"]);
    assert_eq!(images(None, &["me"]), ["docker.io/me/site"]);
    assert_eq!(images(Some(ME), &["me"]), ["docker.io/me/secret", "docker.io/me/site"]);
    let tags = |rest: &[&str]| {
        printed(&call(&door, None, &[&["available-tags", "docker.io/library/nginx"][..], rest].concat()))
    };
    let first = tags(&["--search", "alpine", "--limit", "2"]);
    assert_eq!(names(&first["tags"], "tag"), ["alpine", "1.229-alpine"]);
    assert_eq!(first["tags"][0]["platforms"], json!(["linux/amd64", "linux/arm/v7"]));
    let second = tags(&["--search", "alpine", "--limit", "2", "--after", first["next"].as_str().unwrap()]);
    assert_eq!(names(&second["tags"], "tag"), ["1.228-alpine", "1.227-alpine"]);
    let error = refused(&call(&door, None, &["available-tags", "docker.io/me/secret"]));
    assert!(error.contains("private"), "{error}");
    let error = refused(&call(&door, Some(("me", "wrong-token")), &["images", "me"]));
    assert!(error.contains("access token") && !error.contains("wrong-token"), "{error}");
}

#[test]
fn the_limits_of_pulls_and_of_calls_are_shown() {
    let door = Door::open(Hub::new().http(), ORIGINS);
    let limits = |login| printed(&call(&door, login, &["limits"]));
    let nobodys = limits(None);
    let pulls = json!({
        "limit": 200, "remaining": 76, "resets_at": null, "window_seconds": 21600, "counted": "192.0.2.1",
    });
    assert_eq!(nobodys["pulls"], pulls);
    assert_eq!((&nobodys["calls"]["limit"], &nobodys["calls"]["remaining"]), (&json!(180), &json!(179)));
    assert_eq!(limits(Some(ME))["pulls"]["remaining"], 199);
}

#[test]
fn an_image_of_docker_hub_is_checked_tagged_and_removed_with_its_own_words() {
    let Some(daemon) = daemon() else { return };
    let url = format!("http://{}", daemon.2);
    let connection = ["--dockerhub", "--url", url.as_str()];
    let image = assembled(site().path(), "docker.io/me/site:1.0", &connection);
    let call = |call: &[&str]| registry(&connection, call);
    assert_eq!(printed(&call(&["check", "docker.io/me/site"]))["ok"], true);
    printed(&call(&["retag", "me/site:1.0", "latest"]));
    assert_eq!(printed(&call(&["tags", "docker.io/me/site"]))["tags"], json!(["1.0", "latest"]));
    printed(&call(&["delete", &image]));
    assert_eq!(printed(&call(&["tags", "docker.io/me/site"]))["tags"], json!([]));
    let error = refused(&call(&["tags", "ghcr.io/me/site"]));
    assert!(error.contains("is not Docker Hub") && error.contains("`--dockerhub`"), "{error}");
    let config = ["--username", "me", "--password-env", "PASSWORD", "docker-config", "docker.io/me/site"];
    let config = printed(&call(&config));
    assert_eq!(config["auths"]["https://index.docker.io/v1/"]["password"], "guess");
    let error = refused(&call(&["docker-config", "docker.io/me/site"]));
    assert!(error.contains("no account is given") && error.contains("--password-env"), "{error}");
}
