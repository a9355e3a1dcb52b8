//! The `registry` and `assemble` examples, run as programs: against a real registry, and against a layout on disk.

use kiops_core::testing::has_program;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A program, which Cargo builds beside this test.
pub(crate) fn program(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.is_file(), "build it first: cargo build -p kiops-examples --example {name}");
    Command::new(path)
}

pub(crate) fn registry(connection: &[&str], call: &[&str]) -> Output {
    program("registry").args(connection).args(call).env("PASSWORD", "guess").output().unwrap()
}

pub(crate) fn printed(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn site() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("css")).unwrap();
    std::fs::write(folder.path().join("css/site.css"), "a {}").unwrap();
    std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\nARG A\nLABEL a=$A\nCOPY . /srv\n")
        .unwrap();
    folder
}

/// Builds the folder, and says the image with its digest that is printed last.
pub(crate) fn assembled(folder: &Path, image: &str, connection: &[&str]) -> String {
    let mut command = program("assemble");
    let output = command.arg(folder).args([image, "--build-arg", "A=1"]).args(connection).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("[build] Step 4/4: COPY . /srv"), "{text}");
    text.lines().last().unwrap().to_owned()
}

/// `docker-registry` on loopback; `None` without it.
pub(crate) struct Daemon(
    Child,
    #[allow(dead_code, reason = "it is removed at the end")] TempDir,
    pub(crate) String,
);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn daemon() -> Option<Daemon> {
    if !has_program("docker-registry") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let config = json!({
        "version": "0.1", "log": {"accesslog": {"disabled": true}}, "http": {"addr": host},
        "storage": {"filesystem": {"rootdirectory": folder.path()}, "delete": {"enabled": true}},
    });
    let path = folder.path().join("config.yml");
    std::fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    while TcpStream::connect(&host).is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "the registry ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(Daemon(child, folder, host))
}

#[test]
fn a_folder_becomes_an_image_in_a_registry_that_is_tagged_and_removed() {
    let Some(daemon) = daemon() else { return };
    let (site, host) = (site(), daemon.2.as_str());
    let (name, url) = (format!("{host}/team/site"), format!("http://{host}"));
    let connection = ["--url", url.as_str()];
    let image = assembled(site.path(), &format!("{name}:1.0"), &connection);
    let digest = image.rsplit_once('@').unwrap().1.to_owned();
    let call = |call: &[&str]| registry(&connection, call);
    assert_eq!(printed(&call(&["check", &name]))["ok"], true);
    printed(&call(&["retag", &format!("{name}:1.0"), "latest"]));
    assert_eq!(printed(&call(&["tags", &name]))["tags"], json!(["1.0", "latest"]));
    assert_eq!(printed(&call(&["tags", &name, "--contains", "1."]))["tags"], json!(["1.0"]));
    assert_eq!(printed(&call(&["resolve", &name]))["digest"], digest.as_str());
    let manifest = printed(&call(&["manifest", &format!("{name}:1.0")]));
    let layer = manifest["layers"][0].clone();
    let blob = printed(&call(&["blob", &name, layer["digest"].as_str().unwrap()]));
    assert_eq!(blob["size"], layer["size"]);
    printed(&call(&["delete", &format!("{name}:latest")]));
    assert_eq!(printed(&call(&["tags", &name]))["tags"], json!(["1.0"]));
    let gone = refused(&call(&["resolve", &format!("{name}:latest")]));
    assert!(gone.contains("there is no") && gone.contains("look at its tags"), "{gone}");
}

/// Builds a site that says this word, and says its digest.
fn version(host: &str, tag: &str, connection: &[&str]) -> String {
    let site = site();
    std::fs::write(site.path().join("word"), tag).unwrap();
    let image = assembled(site.path(), &format!("{host}/team/site:{tag}"), connection);
    image.rsplit_once('@').unwrap().1.to_owned()
}

#[test]
fn old_tags_go_by_version_or_by_the_time_of_their_build_and_what_is_in_use_stays() {
    let Some(daemon) = daemon() else { return };
    let (host, url) = (daemon.2.as_str(), format!("http://{}", daemon.2));
    let (name, connection) = (format!("{host}/team/site"), ["--url", url.as_str()]);
    let call = |rest: &[&str]| registry(&connection, &[&["retention", &name][..], rest].concat());
    let tags = || printed(&registry(&connection, &["tags", &name]))["tags"].clone();
    let digests = ["1.2.0", "1.9.0", "1.10.0", "main-1"].map(|tag| version(host, tag, &connection));
    printed(&registry(&connection, &["retag", &format!("{name}:1.10.0"), "latest"]));

    // Nothing says what goes.
    assert_eq!(printed(&call(&[]))["delete"], json!([]));
    let plan = printed(&call(&["--keep", "1", "--in-use", &digests[0], "--dry-run"]));
    assert_eq!(plan["delete"], json!([{"image": {"digest": digests[1], "tags": ["1.9.0"]}}]));
    assert_eq!(tags(), json!(["1.10.0", "1.2.0", "1.9.0", "latest", "main-1"]), "it was only asked");
    let done = printed(&call(&["--keep", "1", "--in-use", &digests[0]]));
    assert_eq!((&done["delete"][0]["outcome"], &done["unsupported"]), (&json!("deleted"), &Value::Null));
    assert_eq!(tags(), json!(["1.10.0", "1.2.0", "latest", "main-1"]));

    let file = daemon.1.path().join("built.json");
    let now = jiff::Timestamp::now();
    let built =
        json!({&digests[0]: "2020-01-01T00:00:00Z", &digests[2]: "2020-01-02T00:00:00Z", &digests[3]: now});
    std::fs::write(&file, built.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let rules = ["--built", file, "--younger-than", "30", "--keep-tags", "latest"];
    let done = printed(&call(&rules));
    let gone: Vec<&Value> = done["delete"].as_array().unwrap().iter().map(|one| &one["deletion"]).collect();
    let expected = [
        json!({"tag": {"tag": "1.10.0", "digest": digests[2]}}),
        json!({"image": {"digest": digests[0], "tags": ["1.2.0"]}}),
    ];
    assert_eq!(gone, expected.iter().collect::<Vec<_>>());
    assert_eq!(tags(), json!(["latest", "main-1"]));
    assert_eq!(printed(&call(&rules))["delete"], json!([]), "again there is nothing to do");
    assert_eq!(registry(&connection, &["retention", &name, "--younger-than", "3"]).status.code(), Some(2));
}

#[test]
fn a_bill_of_materials_is_attached_to_an_image_of_a_registry_and_of_a_layout() {
    let Some(daemon) = daemon() else { return };
    let (site, folder) = (site(), tempfile::tempdir().unwrap());
    let (url, layout) = (format!("http://{}", daemon.2), folder.path().join("images"));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let sbom = file("sbom.json", r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#);
    let other = file("provenance.json", "{}");
    for (name, connection) in [
        (format!("{}/team/site", daemon.2), ["--url", url.as_str()]),
        ("registry.local/site".to_owned(), ["--layout", layout.to_str().unwrap()]),
    ] {
        let image = assembled(site.path(), &format!("{name}:1"), &connection);
        let pinned = format!("{name}@{}", image.rsplit_once('@').unwrap().1);
        let call = |call: &[&str]| registry(&connection, call);
        let attached = printed(&call(&["attach", &pinned, &sbom]));
        assert_eq!(attached["image"], pinned.as_str());
        assert_eq!(printed(&call(&["attach", &pinned, &sbom])), attached, "again is the same");
        printed(&call(&["attach", &format!("{name}:1"), "--type", "application/vnd.in-toto+json", &other]));
        let listed = |rest: &[&str]| {
            printed(&call(&[&["referrers", &pinned][..], rest].concat()))["referrers"].clone()
        };
        assert_eq!(listed(&[]).as_array().unwrap().len(), 2);
        let boms = listed(&["--type", "application/vnd.cyclonedx+json"]);
        let [bom] = boms.as_array().unwrap().as_slice() else { panic!("{boms}") };
        assert_eq!(bom["digest"], attached["digest"]);
        let manifest = printed(&call(&["manifest", &format!("{name}@{}", bom["digest"].as_str().unwrap())]));
        assert_eq!(manifest["subject"]["digest"], image.rsplit_once('@').unwrap().1);
        let refused = refused(&call(&["attach", &pinned, &other]));
        assert!(refused.contains("CycloneDX"), "{refused}");
    }
}

#[test]
fn the_same_folder_is_the_same_image_in_a_layout() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let images = [&one, &other].map(|folder| {
        let layout = folder.path().join("images");
        let connection = ["--layout", layout.to_str().unwrap()];
        let image = assembled(site().path(), "registry.local/site:1", &connection);
        assert_eq!(printed(&registry(&connection, &["tags", "registry.local/site"]))["tags"], json!(["1"]));
        image
    });
    assert_eq!(images[0], images[1]);
}

#[test]
fn a_folder_is_compressed_as_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("images");
    let connection = ["--layout", layout.to_str().unwrap()];
    let site = site();
    for (compression, kind) in [("gzip", "tar+gzip"), ("zstd", "tar+zstd"), ("zstd:19", "tar+zstd")] {
        let options = [&connection[..], &["--compression", compression]].concat();
        let image = assembled(site.path(), "registry.local/site:1", &options);
        let manifest = printed(&registry(&connection, &["manifest", &image]));
        assert!(manifest["layers"][0]["mediaType"].as_str().unwrap().ends_with(kind), "{manifest}");
    }
    let mut command = program("assemble");
    command.arg(site.path()).args(["registry.local/site:1", "--compression", "zstd:20"]).args(connection);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("level 20 of zstd is not within 1 to 19"), "{error}");
}

#[test]
fn a_folder_becomes_an_index_where_several_platforms_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("images");
    let connection = ["--layout", layout.to_str().unwrap()];
    let platforms = ["--platform", "linux/arm64", "--platform", "linux/amd64"];
    let site = site();
    let mut command = program("assemble");
    let output =
        command.arg(site.path()).arg("registry.local/site:1").args(connection).args(platforms).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let index = printed(&registry(&connection, &["manifest", &image]));
    let of = |at: usize| index["manifests"][at]["platform"]["architecture"].as_str();
    assert_eq!((of(0), of(1), of(2)), (Some("arm64"), Some("amd64"), None), "{index}");
    let mut command = program("assemble");
    command.arg(site.path()).args(["registry.local/site:1", "--platform", "arm64"]).args(connection);
    let error = refused(&command.output().unwrap());
    assert!(error.contains("`arm64` is no platform"), "{error}");
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do() {
    let Some(daemon) = daemon() else { return };
    let name = format!("{}/team/site", daemon.2);
    // It speaks http, and nobody said so.
    let error = refused(&registry(&[], &["check", &name]));
    assert!(error.contains("http://"), "{error}");
    let error = refused(&registry(&["--username", "a", "--password-env", "NOT_SET"], &["check", &name]));
    assert!(error.contains("NOT_SET"), "{error}");
    let run = site();
    std::fs::write(run.path().join("Dockerfile"), "FROM scratch\nRUN make\n").unwrap();
    let mut command = program("assemble");
    let layout = run.path().join("images");
    let output =
        command.arg(run.path()).args(["registry.local/site:1", "--layout"]).arg(layout).output().unwrap();
    assert!(refused(&output).contains("RUN"), "{output:?}");
    assert_eq!(registry(&[], &["check", "no host"]).status.code(), Some(2));
}
