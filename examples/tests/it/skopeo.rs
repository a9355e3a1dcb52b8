//! An independent client takes the image that a push made: from the layout and from the server.

use std::path::Path;
use std::process::{Command, Output};

use kiops_core::name::Digest;
use kiops_core::testing::has_program;
use serde_json::Value;

use crate::support::{Answer, Clone, Server, manifests};

/// What skopeo says; `None` without it.
fn skopeo(arguments: &[&str]) -> Option<Output> {
    let mut skopeo = Command::new("skopeo");
    skopeo.arg("--insecure-policy").args(arguments);
    has_program("skopeo").then(|| skopeo.output().unwrap())
}

fn said(arguments: &[&str]) -> Option<String> {
    let output = skopeo(arguments)?;
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Copies an image into a folder and says the digest of the manifest that arrived.
fn copied(options: &[&str], source: &str, folder: &Path) -> Option<Digest> {
    let target = format!("dir:{}", folder.display());
    said(&[&["copy", "--quiet", "--preserve-digests"], options, &[source, &target]].concat())?;
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let read: Value = serde_json::from_slice(&manifest).unwrap();
    for layer in read["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        let layer = std::fs::read(folder.join(digest.strip_prefix("sha256:").unwrap())).unwrap();
        assert_eq!(Digest::of(&layer).as_str(), digest);
    }
    Some(Digest::of(&manifest))
}

/// The one image that the manifests under `deploy:` pin: `name:tag@digest`.
fn deployed(server: &Server) -> String {
    let all = manifests(Path::new(&server.value("deploy").unwrap())).concat();
    let mut pins =
        all.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "));
    let pin = pins.next().expect("an image").trim_matches(['"', '\'']).to_owned();
    assert_eq!(pins.next(), None, "{all}");
    pin
}

#[test]
fn skopeo_finds_the_digest_that_the_manifest_pins_in_the_layout_and_on_the_server() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("state"));
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let first = deployed(&server);
    assert_eq!(server.value("image").unwrap(), first);
    let commit = clone.push_change("second");
    let build = server.built(&commit);
    let second = deployed(&server);
    assert_eq!(second, format!("{}@{}", build["image"].as_str().unwrap(), build["digest"].as_str().unwrap()));

    let (layout, address) = (server.value("layout").unwrap(), server.address());
    for (n, pinned) in [first, second].iter().enumerate() {
        let (tagged, digest) = pinned.split_once('@').unwrap();
        let (_, path) = tagged.split_once('/').unwrap();
        let (name, _) = path.split_once(':').unwrap();
        let on_disk = format!("oci:{layout}:{tagged}");
        let served = format!("docker://{address}/{path}");
        let by_digest = format!("docker://{address}/{name}@{digest}");
        for (at, (source, copy, inspect)) in [
            (&on_disk, "", ""),
            (&served, "--src-tls-verify=false", "--tls-verify=false"),
            (&by_digest, "--src-tls-verify=false", "--tls-verify=false"),
        ]
        .into_iter()
        .enumerate()
        {
            let folder = place.path().join(format!("out-{n}-{at}"));
            let option = |option: &'static str| if option.is_empty() { vec![] } else { vec![option] };
            let Some(found) = copied(&option(copy), source, &folder) else { return };
            assert_eq!(found.as_str(), digest, "{source}");
            let inspect = [&["inspect"], &option(inspect)[..], &["--format", "{{.Digest}}", source]].concat();
            assert_eq!(said(&inspect).unwrap(), digest, "{source}");
        }
    }
    // `latest` is moved to what was built last.
    let Some(tags) = said(&["list-tags", "--tls-verify=false", &format!("docker://{address}/site")]) else {
        return;
    };
    let tags: Value = serde_json::from_str(&tags).unwrap();
    let tags: Vec<&str> = tags["Tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
    assert!(tags.contains(&"latest") && tags.contains(&&commit[..7]) && tags.len() == 3, "{tags:?}");
    let latest = format!("docker://{address}/site:latest");
    let found = said(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &latest]).unwrap();
    assert_eq!(build["digest"], found);
}

#[test]
fn images_are_served_as_the_distribution_specification_says() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("state"));
    let pinned = server.value("image").unwrap();
    let (tagged, digest) = pinned.split_once('@').unwrap();
    let tag = tagged.rsplit_once(':').unwrap().1;
    let get = |path: &str| server.call("GET", path, &[], b"");

    let ping = get("/v2/");
    assert_eq!(ping.status, 200);
    assert_eq!(ping.header("docker-distribution-api-version"), Some("registry/2.0"));
    for reference in [tag, "latest", digest] {
        let path = format!("/v2/site/manifests/{reference}");
        let manifest = get(&path);
        assert_eq!(manifest.status, 200);
        assert_eq!(Digest::of(&manifest.body).as_str(), digest, "{reference}");
        assert_eq!(manifest.header("docker-content-digest"), Some(digest));
        assert_eq!(manifest.header("content-type"), Some("application/vnd.oci.image.manifest.v1+json"));
        let head = server.call("HEAD", &path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
        for name in ["docker-content-digest", "content-type", "content-length"] {
            assert_eq!(head.header(name), manifest.header(name), "{name}");
        }
        assert_eq!(head.header("content-length").unwrap(), manifest.body.len().to_string());
    }

    let manifest = get(&format!("/v2/site/manifests/{digest}")).json();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let path = format!("/v2/site/blobs/{layer}");
    let blob = get(&path);
    assert_eq!((blob.status, Digest::of(&blob.body).as_str()), (200, layer));
    assert_eq!(blob.header("accept-ranges"), Some("bytes"));
    let size = blob.body.len();
    let head = server.call("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length").unwrap()), (200, &*size.to_string()));
    for (range, from, to) in [
        ("bytes=0-9".to_owned(), 0, 9),
        (format!("bytes={}-", size - 5), size - 5, size - 1),
        ("bytes=-5".to_owned(), size - 5, size - 1),
        ("bytes=3-99999999".to_owned(), 3, size - 1),
    ] {
        let part = server.call("GET", &path, &[("range", &range)], b"");
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range").unwrap(), format!("bytes {from}-{to}/{size}"));
        assert_eq!(part.body, blob.body[from..=to], "{range}");
    }
    let beyond = server.call("GET", &path, &[("range", &format!("bytes={size}-"))], b"");
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range").unwrap(), format!("bytes */{size}"));

    let tags = get("/v2/site/tags/list").json();
    assert_eq!(tags["name"], "site");
    assert_eq!(tags["tags"].as_array().unwrap().len(), 2, "{tags}");
    let page = get("/v2/site/tags/list?n=1");
    assert_eq!(page.json()["tags"].as_array().unwrap().len(), 1);
    assert!(page.header("link").unwrap().contains("rel=\"next\""));

    let unknown = format!("sha256:{}", "0".repeat(64));
    for (path, status, code) in [
        (format!("/v2/site/blobs/{unknown}"), 404, "BLOB_UNKNOWN"),
        ("/v2/site/blobs/sha256:short".to_owned(), 400, "DIGEST_INVALID"),
        (format!("/v2/site/manifests/{unknown}"), 404, "MANIFEST_UNKNOWN"),
        ("/v2/site/manifests/none".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("/v2/nobody/manifests/latest".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/nobody/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
    ] {
        refused(&get(&path), status, code, &path);
    }
    for (method, path) in [
        ("POST", "/v2/site/blobs/uploads/".to_owned()),
        ("PUT", "/v2/site/manifests/latest".to_owned()),
        ("PATCH", path.clone()),
        ("DELETE", format!("/v2/site/manifests/{digest}")),
        ("DELETE", path),
    ] {
        let answer = server.call(method, &path, &[], b"{}");
        refused(&answer, 405, "UNSUPPORTED", &format!("{method} {path}"));
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
    }
    assert_eq!(get(&format!("/v2/site/manifests/{digest}")).status, 200, "nothing was deleted");
}

fn refused(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    let error = &answer.json()["errors"][0];
    assert_eq!(error["code"], code, "{what}");
    assert!(!error["message"].as_str().unwrap().is_empty(), "{what}");
}
