//! Who may depend on whom: crates by what cargo says, rooms of kiops-core by what their files name. The floors and the crates are
//! read out of docs/ARCHITECTURE.md, so that the document and the code cannot come apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What would make the domain more than a domain. No part of a crate's name: whole names.
const NETWORK: [&str; 21] = [
    "async-std",
    "axum",
    "curl",
    "h2",
    "hyper",
    "hyper-util",
    "isahc",
    "k8s-openapi",
    "kube",
    "mio",
    "native-tls",
    "openssl",
    "openssl-sys",
    "quinn",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "sqlx",
    "tonic",
    "ureq",
];

/// Everything that kiops-core pulls in when no feature is on, besides what its own dependencies need.
const CORE_DIRECTLY: [&str; 21] = [
    "aho-corasick",
    "async-trait",
    "base64",
    "bytes",
    "futures-core",
    "globset",
    "hmac",
    "http",
    "jiff",
    "memchr",
    "percent-encoding",
    "regex",
    "semver",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "tracing",
    "url",
    "zeroize",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(arguments)
        .args(["--locked", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of all packages that `package` is built from, itself included.
fn tree(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    let fixed =
        ["tree", "--package", package, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let text = cargo(&[&fixed[..], arguments].concat());
    let names = text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(BTreeSet::contains(&names, package), "cargo tree says nothing of {package}");
    names
}

/// The packages of the workspace, as their manifests say, whatever the platform.
fn packages() -> Vec<Value> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// What a package's manifest names of the workspace, for any use: normal, for tests, for building.
fn ours<'a>(package: &'a Value, all: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let dependencies = package["dependencies"].as_array().unwrap().iter().map(name);
    dependencies.filter(|dependency| all.contains(dependency) && *dependency != name(package)).collect()
}

fn architecture() -> String {
    std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap()
}

/// The rows of the table below `heading`, cell by cell, code marks taken off.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, below) = document.split_once(&format!("\n{heading}\n")).unwrap();
    let rows =
        below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    rows.skip(2).map(cells).collect()
}

fn words(cell: &str) -> BTreeSet<String> {
    cell.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_core_without_features_has_neither_tokio_nor_a_network() {
    let names = tree("kiops-core", &["--no-default-features"]);
    let wrong: Vec<&String> =
        names.iter().filter(|name| *name == "tokio" || NETWORK.contains(&name.as_str())).collect();
    assert!(wrong.is_empty(), "kiops-core without features pulls in {wrong:?}");
    assert!(!names.contains("futures-util") && !names.contains("getrandom"), "{names:?}");
}

#[test]
fn the_driver_brings_tokio_and_still_no_network() {
    let names = tree("kiops-core", &[]);
    assert!(names.contains("tokio"));
    let wrong: Vec<&String> = names.iter().filter(|name| NETWORK.contains(&name.as_str())).collect();
    assert!(wrong.is_empty(), "kiops-core with its default features pulls in {wrong:?}");
}

#[test]
fn the_core_depends_on_what_was_agreed_and_nothing_else() {
    let packages = packages();
    let core = packages.iter().find(|package| name(package) == "kiops-core").unwrap();
    let always = core["dependencies"].as_array().unwrap().iter();
    let always: BTreeSet<&str> =
        always.filter(|one| one["kind"].is_null() && one["optional"] == false).map(name).collect();
    assert_eq!(
        always,
        BTreeSet::from(CORE_DIRECTLY),
        "a new dependency of the core is a decision: note it here"
    );
}

#[test]
fn no_adapter_depends_on_another_and_the_core_on_none() {
    let packages = packages();
    let all: BTreeSet<&str> = packages.iter().map(name).collect();
    let rows = table(&architecture(), "## The crates");
    let documented: BTreeMap<&str, BTreeSet<String>> =
        rows.iter().map(|row| (row[0].as_str(), words(&row[2]))).collect();
    assert_eq!(
        documented.keys().copied().collect::<BTreeSet<_>>(),
        all,
        "docs/ARCHITECTURE.md and the workspace differ"
    );
    for package in &packages {
        let may: BTreeSet<&str> = match documented[name(package)].first().map(String::as_str) {
            Some("all") => all.clone(),
            Some("nothing") | None => BTreeSet::new(),
            Some(_) => documented[name(package)].iter().map(String::as_str).collect(),
        };
        let extra: Vec<&str> = ours(package, &all).difference(&may).copied().collect();
        assert!(extra.is_empty(), "{} may not depend on {extra:?}", name(package));
    }
    for (adapter, may) in &documented {
        let is_adapter = adapter.starts_with("kiops-")
            && !["kiops-core", "kiops-examples", "kiops-benches"].contains(adapter);
        assert!(
            !is_adapter || *may == BTreeSet::from(["kiops-core".to_owned()]),
            "adapter {adapter} may use {may:?}"
        );
    }
    assert!(documented["kiops-core"].iter().all(|may| may == "nothing"));
}

#[test]
fn every_package_takes_what_the_workspace_says() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, rust) = manifest.split_once("rust-version = \"").unwrap();
    let rust = rust.split('"').next().unwrap();
    for package in packages() {
        assert_eq!(package["rust_version"], rust, "{}", name(&package));
        let text = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        for line in [
            "version.workspace = true",
            "edition.workspace = true",
            "rust-version.workspace = true",
            "[lints]\nworkspace = true",
        ] {
            assert!(text.contains(line), "{}: no `{}`", name(&package), line.escape_debug());
        }
    }
}

/// A file of a room, and how deep its module lies: 1 for the room's own.
struct Source {
    room: String,
    path: PathBuf,
    depth: usize,
    text: String,
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                walk(&entry, found);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                found.push(entry);
            }
        }
    }
    let source = root().join("kiops-core/src");
    let mut paths = Vec::new();
    walk(&source, &mut paths);
    let file = |path: PathBuf| {
        let place = path.strip_prefix(&source).unwrap().with_extension("");
        let mut modules: Vec<String> = place.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if modules.last().is_some_and(|last| last == "mod") {
            modules.pop();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        Source { room: modules[0].clone(), depth: modules.len(), text, path: place }
    };
    paths.into_iter().map(file).filter(|source| source.room != "lib").collect()
}

/// The lines that the compiler reads, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = |line: &str| line.split_once("//").map_or(line.len(), |(before, _)| before.len());
    text.lines().enumerate().map(move |(at, line)| (at + 1, &line[..code(line)]))
}

/// What follows each `crate::` of a line: the rooms that it names, also within `crate::{...}`.
fn named(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, mark) in line.match_indices("crate::") {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &line[at + mark.len()..];
        let list = rest.strip_prefix('{').map_or(rest, |list| list);
        let parts: Vec<&str> = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for part in parts {
            let word: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.extend((!word.is_empty()).then_some(word));
        }
    }
    found
}

/// The floor of each room: 0 is the ground; the roof lies above all.
fn floors() -> BTreeMap<String, usize> {
    let rows = table(&architecture(), "## The floors of kiops-core");
    let count = rows.len();
    let mut floors = BTreeMap::new();
    for (from_top, row) in rows.iter().enumerate() {
        for room in words(&row[1]) {
            assert!(
                floors.insert(room.clone(), count - 1 - from_top).is_none(),
                "`{room}` stands on two floors"
            );
        }
    }
    floors
}

#[test]
fn every_room_stands_on_one_floor_of_the_document() {
    let rooms: BTreeSet<String> = sources().into_iter().map(|source| source.room).collect();
    assert_eq!(
        floors().into_keys().collect::<BTreeSet<_>>(),
        rooms,
        "docs/ARCHITECTURE.md and kiops-core/src differ"
    );
}

#[test]
fn a_room_uses_only_rooms_on_lower_floors() {
    let floors = floors();
    let ground = 0;
    let library = std::fs::read_to_string(root().join("kiops-core/src/lib.rs")).unwrap();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for source in sources() {
        for (line, text) in code(&source.text) {
            for used in named(text) {
                // `crate::Error` and what else lib.rs names again is the room `error`.
                let used = if floors.contains_key(&used) {
                    used
                } else {
                    assert!(
                        library.contains("pub use error::{"),
                        "lib.rs names something else again: tell this test"
                    );
                    "error".to_owned()
                };
                if used == source.room {
                    continue;
                }
                edges.entry(source.room.clone()).or_default().insert(used.clone());
                let (own, other) = (floors[&source.room], floors[&used]);
                // Rooms on the ground may use one another; the search for circles below still holds them to one direction.
                if other >= own && !(own == ground && other == ground) {
                    wrong.push(format!(
                        "{}.rs:{line}: `{}` uses `{used}`",
                        source.path.display(),
                        source.room
                    ));
                }
            }
        }
    }
    assert!(!edges.is_empty(), "no use of any room was found: the test looks at the wrong place");
    assert!(wrong.is_empty(), "against the floors of docs/ARCHITECTURE.md:\n{}", wrong.join("\n"));
    let mut left = edges;
    loop {
        let before = left.len();
        let still: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|_, uses| uses.iter().any(|used| still.contains(used)));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "these rooms go round in a circle: {left:?}");
}

#[test]
fn no_file_leaves_its_room_by_super() {
    let mut wrong = Vec::new();
    for source in sources() {
        // A module within the file (`mod tests`) lies one deeper; rustfmt leaves it at the end.
        let mut depth = source.depth;
        for (line, text) in code(&source.text) {
            let inner = text.trim_start();
            if (inner.starts_with("mod ") || inner.contains(" mod ")) && inner.ends_with('{') {
                depth = source.depth + 1;
            }
            let mut rest = text;
            while let Some(at) = rest.find("super::") {
                let chain = &rest[at..];
                let steps = chain.split("::").take_while(|part| *part == "super").count();
                if steps >= depth && !chain.starts_with("super::*") {
                    wrong.push(format!("{}.rs:{line}: {}", source.path.display(), text.trim()));
                }
                rest = &chain[steps * "super::".len()..];
            }
        }
    }
    assert!(wrong.is_empty(), "written as `super::`, what lies outside the room:\n{}", wrong.join("\n"));
}
