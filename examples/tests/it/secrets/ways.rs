//! The ways out: the API, `Debug`, and files.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiops_core::image::docker_config_json;
use kiops_core::name::{ProviderName, SecretName};
use kiops_core::secret::SecretSource as _;
use kiops_core::store::Page;
use kiops_core::webhook::Delivery;
use kiops_git::plain::Plain;
use kiops_kube::ManifestDirectory;
use kiops_store::StoreSecrets;
use serde_json::{Value, json};

use super::place::{plain_config, pull_credentials, written_config};
use super::words::{Search, Word};
use super::{Out, REPOSITORIES, Spread, TELLING};
use crate::house::{House, SITE, push_event, secret};
use crate::support::call;

/// Deliveries with secrets in their bodies, headers and paths.
pub(super) fn deliver(house: &House, spread: &Spread, out: &mut Out) {
    let head = house.clone.ok(&["rev-parse", "HEAD"]);
    let texts: Vec<String> = spread.bodies.iter().map(Word::told_at_once).collect();
    let mut push = push_event("ada", &"0".repeat(40), &head);
    push["padding"] = json!(texts);
    let decided = house.decided(&push);
    out.push("a delivery", decided.to_string());
    let plain: Vec<&str> = spread.bodies.iter().filter_map(Word::text).collect();
    let variables: Vec<Value> = plain.iter().map(|text| json!({"key": "K", "value": text})).collect();
    let pipeline = json!({
        "object_kind": "pipeline", "project": push["project"], "user": {"id": 1, "username": "ada"},
        "object_attributes": {"id": 31, "ref": "main", "tag": false, "sha": head, "before_sha": head,
            "source": "push", "status": "success", "variables": variables},
        "commit": push["commits"][0], "builds": [],
    });
    out.push("a pipeline", house.decided(&pipeline).to_string());

    for (at, text) in plain.iter().enumerate() {
        // Text in the place of a number or a list, or no JSON at all. Names and ids are shown: nobody keeps a secret there.
        let mut wrong = push.clone();
        wrong[["user_id", "commits", "project_id"][at % 3]] = json!(text);
        let secret = secret(SITE);
        out.answer("a malformed push", &house.deliver_signed(wrong.to_string().as_bytes(), &secret));
        out.answer("no JSON", &house.deliver_signed(format!("{{\"project\":{text}").as_bytes(), &secret));
        out.answer(
            "an unknown repository",
            &house.deliver_signed(json!({"project": {"id": text}}).to_string().as_bytes(), &secret),
        );
    }
    for word in spread.hooks.iter().chain(&spread.requests) {
        let Some(token) = word.visible() else { continue };
        let headers = [("x-gitlab-token", token), ("webhook-signature", token), ("authorization", token)];
        let answer =
            call(&house.address, "POST", "/api/v1/webhook/gitlab", &headers, b"{\"project\":{\"id\":8}}");
        assert_eq!(answer.status, 401, "{}", answer.text());
        out.answer("a delivery with a token", &answer);
        let path = ["gitlab/", "", "nobody/"][word.n % 3];
        let path = format!("/api/v1/webhook/{path}{}?token={}", word.percent(), word.percent());
        out.answer(
            "a hook's path",
            &call(&house.address, "POST", &path, &[], pipeline.to_string().as_bytes()),
        );
    }
}

/// Requests that hold a secret where none belongs.
pub(super) fn ask_with_secrets(house: &House, spread: &Spread, out: &mut Out) {
    for word in &spread.requests {
        let in_path = word.percent();
        for path in [
            format!("/api/v1/services/{in_path}"),
            format!("/api/v1/builds/{in_path}/log"),
            format!("/api/v1/builds/{in_path}/checks/{in_path}/report"),
            format!("/api/v1/builds?service={in_path}"),
            format!("/api/v1/builds?limit={in_path}"),
            format!("/api/v1/deliveries?offset={in_path}&{in_path}=1"),
            format!("/api/v1/services/{SITE}/deployments?limit=1&token={in_path}"),
            format!("/v2/site/manifests/{in_path}"),
            format!("/v2/{in_path}/manifests/latest"),
            format!("/healthz?{in_path}"),
            format!("/{in_path}"),
        ] {
            let method = ["GET", "GET", "DELETE"][word.n % 3];
            out.answer(format!("a {method} with a secret"), &house.call("root", method, &path, b""));
        }
        if let Some(text) = word.visible() {
            for header in
                ["authorization", "cookie", "x-member", "origin", "last-event-id", "content-encoding", "host"]
            {
                let headers = [(header, text), ("accept", text)];
                let route =
                    [("GET", "/api/v1/builds"), ("POST", "/api/v1/services/site/builds"), ("GET", "/v2/")];
                let (method, path) = route[word.n % 3];
                out.answer(format!("a header {header}"), &call(&house.address, method, path, &headers, b"{"));
            }
        }
        let Some(text) = word.text() else { continue };
        // A token of letters and digits in the place of a secret's name is one: nobody can tell.
        let at_name = if SecretName::parse(text).is_ok() { "" } else { text };
        for body in [
            json!({"components": [{"build_secrets": {"npm": at_name}}]}),
            json!({"checks": [{"name": "lint", "phase": "source", "secrets": {"A": at_name}}]}),
            json!({"components": [{"runs": {"workload": {"containers": [{"name": "web", "env": {"A": {"secret": at_name}}}]}}}]}),
            json!({"deploy": {"auto": text}}),
            json!({"builds_at_once": text}),
            json!(text),
        ] {
            let answer =
                house.call("root", "PUT", "/api/v1/services/site/settings", body.to_string().as_bytes());
            assert_eq!(answer.status, 400, "{}", answer.text());
            out.answer("wrong settings", &answer);
        }
        for path in ["services/site/builds", "services/site/deployments", "services/site/rollback"] {
            out.answer(path, &house.call("root", "POST", &format!("/api/v1/{path}"), text.as_bytes()));
            let answer = house.post(
                "root",
                &format!("/api/v1/{path}"),
                &json!({"component": [text], "image": {"a": text}}),
            );
            out.answer(path, &answer);
        }
    }
}

/// Every route that can be read, of everything that there is.
pub(super) fn read_everything(house: &House, out: &mut Out) {
    let mut paths: Vec<String> =
        ["/api/v1/services?limit=200", "/api/v1/builds?limit=200", "/api/v1/deliveries?limit=200"]
            .map(str::to_owned)
            .into();
    paths.extend(["/healthz".into(), "/readyz".into(), "/v2/".into()]);
    let ids = |path: &str, field: &str| -> Vec<String> {
        let list = house.get(path);
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item[field].as_str().unwrap().to_owned())
            .collect()
    };
    for name in ids("/api/v1/services?limit=200", "name") {
        for rest in ["", "/settings", "/deployments?limit=200"] {
            paths.push(format!("/api/v1/services/{name}{rest}"));
        }
        paths.push(format!("/api/v1/builds?service={name}"));
    }
    for id in ids("/api/v1/builds?limit=200", "id") {
        paths.push(format!("/api/v1/builds/{id}"));
        paths.push(format!("/api/v1/builds/{id}/log"));
        paths.push(format!("/api/v1/builds/{id}/provenance"));
        paths.push(format!("/api/v1/builds/{id}/checks/scan/report"));
    }
    for id in ids("/api/v1/deliveries?limit=200", "id") {
        paths.push(format!("/api/v1/deliveries/{id}"));
        out.answer(
            "an explanation",
            &house.post("root", &format!("/api/v1/deliveries/{id}/explain"), &json!({})),
        );
    }
    assert!(paths.len() > 3 * (TELLING + REPOSITORIES), "{paths:?}");
    for path in paths {
        out.answer(path.clone(), &house.call("root", "GET", &path, b""));
    }
}

// Debug.

/// Everything that holds a secret, printed.
pub(super) fn print_everything(house: &House, spread: &Spread, git: &str, out: &mut Out) {
    let store = house.driver.store();
    out.debug("Driver", &house.driver);
    out.debug("Adapters", house.driver.adapters());
    let source = StoreSecrets::new(store.clone());
    out.debug("StoreSecrets", &source);
    for word in &spread.told {
        let name = SecretName::parse(format!("build/{}", word.n)).unwrap();
        let secret = house.wait(source.secret(&name)).unwrap().unwrap();
        assert!(secret.matches(&word.value), "it went through the store unchanged");
        out.debug("Secret", &secret);
    }
    for credential in pull_credentials(spread) {
        out.debug("RegistryCredential", &credential);
    }
    out.debug("a config.json", &docker_config_json(&pull_credentials(spread)));
    out.debug("PlainConfig", &plain_config(house.folder(), git));
    let plain = Plain::new(plain_config(house.folder(), git)).unwrap().with_secrets(Arc::new(source));
    let written = house.wait(ManifestDirectory::open(written_config(house.folder()))).unwrap();
    out.debug("ManifestDirectory", &written.with_credentials(pull_credentials(spread)));
    for service in house.wait(store.services(Page::first(200))).unwrap().items {
        out.debug("a stored Service", &service);
        let git = service.value.source.git().unwrap();
        if git.provider.as_str() == "plain" {
            use kiops_core::provider::GitProvider as _;
            let any = "1".repeat(40).parse().unwrap();
            match house.wait(plain.clone_access(&git.repository, &any)) {
                Ok(access) => out.debug("CloneAccess", &access),
                Err(error) => out.debug("Error", &error),
            }
            let error = house.wait(plain.heads(&git.repository)).unwrap_err();
            assert!(error.to_string().contains("***"), "{error}");
            out.push("Error", error.to_string());
            out.debug("Error", &error);
        }
    }
    for build in house.wait(store.builds(None, Page::first(200))).unwrap().items {
        out.debug("Build", &build);
    }
    for record in house.wait(store.deliveries(None, Page::first(200))).unwrap().items {
        out.debug("DeliveryRecord", &record);
    }
    let keys = kiops_store::keys_from_env_or_file(house.folder().join("secret-key")).unwrap();
    out.debug("keys", &keys);
    out.debug("SealingKey", &keys.current().unwrap());
    for word in spread.bodies.iter().chain(&spread.hooks) {
        let mut headers = http::HeaderMap::new();
        if let Some(text) = word.visible() {
            headers.insert("x-gitlab-token", text.parse().unwrap());
        }
        out.debug(
            "Delivery",
            &Delivery::new(ProviderName::parse("gitlab").unwrap(), headers, word.value.clone().into()),
        );
    }
}

// Files.

/// Every file of the house. Secrets lie in clear in what is asked to have them, and nowhere else.
pub(super) fn files(house: &House, spread: &Spread, search: &mut Search) {
    let mut files = Vec::new();
    below(house.folder(), &mut files);
    let key = std::fs::read_to_string(house.folder().join("secret-key")).unwrap();
    let mut seen = BTreeMap::new();
    for path in &files {
        let name = path.strip_prefix(house.folder()).unwrap().display().to_string();
        let content = std::fs::read(path).unwrap();
        let folder = name.split('/').next().unwrap().to_owned();
        *seen.entry(folder).or_insert(0) += content.len();
        // The key that seals the others has to lie somewhere (OPERATIONS).
        let is_key = name == "secret-key";
        // Manifests for `kubectl apply`, asked for by `write_secrets`.
        let is_written = name.starts_with("written/") && name.ends_with(".secrets.yaml");
        if is_key || is_written {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name} has the mode {mode:o}");
        }
        if is_written {
            written_secrets(&content, spread);
        } else {
            search.look(&name, &content);
        }
        assert!(is_key || !String::from_utf8_lossy(&content).contains(key.trim()), "the key is in {name}");
    }
    for folder in
        ["kiops.db", "kiops.db-wal", "logs", "layout", "deploy", "written", "written-revisions", "secret-key"]
    {
        assert!(seen.get(folder).is_some_and(|bytes| *bytes > 0), "{folder} is empty or missing: {seen:?}");
    }
    assert_eq!(files.iter().filter(|path| path.to_string_lossy().ends_with(".secrets.yaml")).count(), 1);
    // The logs are stored as they were read, and the database has what is no secret.
    let logs: Vec<u8> = files
        .iter()
        .filter(|path| path.starts_with(house.folder().join("logs")))
        .flat_map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(String::from_utf8_lossy(&logs).matches("***").count() > spread.told.len() * 10);
}

/// The manifest that has to have them has the values of the environment and the passwords for pulls: the search is not blind.
fn written_secrets(content: &[u8], spread: &Spread) {
    let text = String::from_utf8_lossy(content);
    let found = Search::of(&spread.env).found(content);
    for word in &spread.env {
        assert!(found.contains(&(word.n, "base64")), "the value of E{} is not written", word.n);
    }
    let config = text.lines().find_map(|line| line.trim().strip_prefix(".dockerconfigjson: ")).unwrap();
    let config = STANDARD.decode(config.trim_matches(['"', '\''])).unwrap();
    let found = Search::of(&spread.pulls).found(&config);
    for word in &spread.pulls {
        assert!(found.contains(&(word.n, "base64")), "the pull password {} is not written", word.n);
    }
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => below(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}
