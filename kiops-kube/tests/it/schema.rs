//! Newer clusters than the tests' own take what we write, by their published schemas: fields that Kubernetes 1.20 does not know, too.

use kiops_core::testing::skipped_but_on_ci;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiops_kube::render::{AccessMode, PullSecret};
use kiops_kube::{RenderConfig, render};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::common::*;
use crate::render::{any_container, shop_request};

/// Reads documents of YAML, and prints a line for each that one of the versions refuses, unknown fields included.
const VALIDATE: &str = r#"
import sys, yaml, kubernetes_validate
for document in yaml.load_all(sys.stdin.buffer.read().decode(), Loader=yaml.CSafeLoader):
    for version in ("1.33", "1.35", kubernetes_validate.latest_version()):
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except Exception as error:
            print(version, document.get("kind"), type(error).__name__, " ".join(str(error).split())[:400])
"#;

/// What the schemas of these versions refuse; `None`, with a line that says so, where nothing here knows them.
fn refused(documents: &str) -> Option<String> {
    let mut import = Command::new("python3");
    import.args(["-c", "import yaml, kubernetes_validate"]).stderr(Stdio::null());
    if !import.status().is_ok_and(|status| status.success()) {
        skipped_but_on_ci("no python3 with kubernetes-validate here (see CONTRIBUTING.md)");
        return None;
    }
    let mut python = Command::new("python3")
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(documents.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Every snapshot of what we make below a folder, and every file of YAML.
fn documents(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            _ if path.is_dir() => documents(&path, found),
            Some("snap") => {
                let text = std::fs::read_to_string(&path).unwrap();
                // Before it is what made it.
                let (_, document) = text.split_once("\n---\n").unwrap();
                // Tekton's objects are none of Kubernetes' own.
                if !document.contains("apiVersion: tekton.dev/") {
                    found.push((path, document.to_owned()));
                }
            }
            Some("yaml") => found.push((path.clone(), std::fs::read_to_string(&path).unwrap())),
            _ => {}
        }
    }
}

#[test]
fn newer_clusters_take_every_job_workload_policy_and_role_that_the_tests_know() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests", "../docs/adapters"] {
        documents(&crate_folder.join(folder), &mut found);
    }
    for kind in ["Job", "Deployment", "NetworkPolicy", "Secret", "Ingress", "Role"] {
        let has = |(_, text): &(PathBuf, String)| text.lines().any(|line| line == format!("kind: {kind}"));
        assert!(found.iter().any(has), "no {kind} is among them");
    }
    for (path, text) in found {
        let Some(refused) = refused(&text) else { return };
        assert_eq!(refused, "", "{}", path.display());
    }
}

#[test]
fn newer_clusters_take_any_workload() {
    let (cases, seed) = (100, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let any = ("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", any_container("web"), any_container("db"), 0_u32..4);
    let mut config = RenderConfig::default();
    config.access_mode = AccessMode::ReadWriteMany;
    let (mut all, mut taken) = (String::new(), 0);
    while taken < cases {
        let (service, web, db, replicas) = any.new_tree(&mut runner).unwrap().current();
        let mut target = target_of(&service, "main", vec![web, db]);
        workload(&mut target).replicas = replicas;
        if let Ok(manifests) = render(&target, &shop_request(), &config, PullSecret::Named) {
            all.push_str(&manifests.to_yaml().unwrap());
            taken += 1;
        }
    }
    let Some(refused) = refused(&all) else { return };
    assert_eq!(refused, "");
}

#[test]
fn the_schemas_refuse_what_is_none_of_their_fields() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: {template: {spec: {containers: [{name: a, imagee: b}]}}}\n";
    let Some(refused) = refused(job) else { return };
    assert!(refused.lines().count() == 3 && refused.contains("imagee"), "{refused}");
}
