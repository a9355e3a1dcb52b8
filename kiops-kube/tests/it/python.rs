//! An independent reader of YAML agrees with us about every value.

use std::io::Write as _;
use std::process::{Command, Stdio};

use kiops_core::service::EnvValue;
use kiops_core::testing::skipped_but_on_ci;
use kiops_kube::render::PullSecret;
use kiops_kube::{RenderConfig, render};

use crate::common::*;

#[test]
fn pyyaml_reads_the_same_objects() {
    if !Command::new("python3")
        .args(["-c", "import yaml"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        skipped_but_on_ci("no python3 with PyYAML here");
        return;
    }
    let mut target = shop();
    let values = [
        "no",
        "NO",
        "y",
        "off",
        "null",
        "~",
        "",
        "1",
        "010",
        "0x1",
        "0o17",
        "0b1",
        "1e3",
        "1.0",
        ".inf",
        "1_000",
        "1:30",
        "12:30:45",
        "2001-01-01",
        "2001-12-14t21:59:43.10-05:00",
        "<<",
        "=",
        "!x",
        "&x",
        "*x",
        "- x",
        "x: y",
        "x #y",
        "'",
        "\"",
        "\\",
        "a\nb",
        "a\n\n",
        "\n",
        "\r\n",
        "\t",
        "---",
        "...",
        "%x",
        "@x",
        "`x",
        "{}",
        "[]",
        "\u{85}",
        "\u{2028}",
        "\u{feff}x",
        "\u{1b}[0m",
        "\u{7f}",
        "ü€😀",
        " x ",
        "$(HOME)",
        "|",
        ">",
        "?",
        "? x",
        ":",
        ",",
    ];
    let long = format!("{} {}", "word ".repeat(100), "x".repeat(500));
    for (n, value) in values.into_iter().chain([long.as_str()]).enumerate() {
        workload(&mut target).containers[0].env.insert(format!("V{n}"), EnvValue::Plain(value.into()));
    }
    workload(&mut target).containers[0].env.insert("no".into(), EnvValue::Plain("yes".into()));
    let mut request = request_of("one", &[("web", "nginx:1.27"), ("db", "mysql:8.0")]);
    request.requested_by = "O'Neil: \"no\"\n# x".into();
    let manifests = render(&target, &request, &RenderConfig::default(), PullSecret::Named).unwrap();

    let mut python = Command::new("python3")
        .args(["-c", "import sys, json, yaml; json.dump(list(yaml.safe_load_all(sys.stdin.buffer.read().decode())), sys.stdout)"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(manifests.to_yaml().unwrap().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let read: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let written = vec![
        serde_json::to_value(&manifests.claims[0]).unwrap(),
        serde_json::to_value(&manifests.deployment).unwrap(),
        serde_json::to_value(&manifests.service).unwrap(),
        serde_json::to_value(&manifests.ingress).unwrap(),
    ];
    assert_eq!(read, written);
}
