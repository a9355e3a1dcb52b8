//! The documents say what is so: the code that they show, the routes, the tests and the files that they name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    assert!(path.exists(), "{} is missing", path.display());
    std::fs::read_to_string(path).unwrap()
}

/// Every file below the repository's root that ends so, besides what is built and what Git keeps.
fn files(ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && !name.starts_with("target") && name != "kiops-quickstart" {
                    walk(&path, ending, found);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), ending, &mut found);
    found
}

#[test]
fn the_readme_shows_the_embedding_example_as_it_is() {
    let source = read("examples/embed_minimal.rs");
    let (_, code) = source.split_once("\n\n").unwrap();
    assert!(
        read("README.md").contains(&format!("```rust\n{code}```")),
        "README.md and examples/embed_minimal.rs differ"
    );
}

#[test]
fn the_routes_of_the_document_are_those_of_the_router() {
    let router = read("examples/src/http/mod.rs");
    let mut served = BTreeSet::new();
    for piece in router.split(".route(\"").skip(1) {
        let path = piece.split('"').next().unwrap();
        let below = if ["/v2", "/healthz", "/readyz", "/api"].iter().any(|start| path.starts_with(start)) {
            ""
        } else {
            "/api/v1"
        };
        served.insert(format!("{below}{path}"));
    }
    let document = read("docs/HTTP-API.md");
    let words = document.split(|c: char| c.is_whitespace() || matches!(c, '`' | '|' | '?' | ','));
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with('/')).collect();
    let missing: Vec<&String> = served.iter().filter(|path| !named.contains(path.as_str())).collect();
    assert!(missing.is_empty(), "docs/HTTP-API.md does not tell of {missing:?}");
    let gone: Vec<&&str> =
        named.iter().filter(|path| path.starts_with("/api/v1/") && !served.contains(**path)).collect();
    assert!(gone.is_empty(), "docs/HTTP-API.md tells of {gone:?}, which nothing serves");
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let mut functions = BTreeSet::new();
    for file in files(".rs") {
        let text = std::fs::read_to_string(file).unwrap();
        for piece in text.split("fn ").skip(1) {
            functions.insert(
                piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap().to_owned(),
            );
        }
    }
    let mut missing = Vec::new();
    for document in ["docs/COVERAGE.md", "docs/SECURITY.md"] {
        let text = read(document);
        // What stands in code marks and reads as a sentence is a test's name.
        for name in text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3) {
            let is_name =
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if is_name && !functions.contains(name) {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "tests that are not there:\n{}", missing.join("\n"));
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for file in files(".md") {
        let text = std::fs::read_to_string(&file).unwrap();
        for piece in text.split("](").skip(1) {
            let link = piece.split(')').next().unwrap().split('#').next().unwrap();
            if link.is_empty() || link.contains("://") {
                continue;
            }
            if !file.parent().unwrap().join(link).exists() {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}
