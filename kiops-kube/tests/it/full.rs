//! A full disk, played by a limit on the size of files in a process of its own.

use std::path::Path;
use std::process::Command;

use kiops_core::ErrorKind;
use kiops_core::release::{DeployTarget, Deployer as _, Revision};
use kiops_core::service::EnvValue;
use kiops_kube::render::PullSecret;
use kiops_kube::{RenderConfig, render};

use crate::common::*;

const DIR: &str = "KIOPS_KUBE_TEST_FULL_DIR";

/// The site with so many variables that its manifest is large, and larger than its record.
fn large() -> DeployTarget {
    let mut target = site();
    let env = &mut workload(&mut target).containers[0].env;
    env.extend((0..2000).map(|n| (format!("V{n}"), EnvValue::Plain("x".into()))));
    target
}

fn run_child(dir: &Path, blocks: u64) {
    // A shell, since ignoring the signal that comes with the limit would take unsafe code here.
    let output = Command::new("sh")
        .args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --exact full::as_a_child_with_a_full_disk --nocapture --ignored")])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "runs in a process of its own, started by the test below"]
async fn as_a_child_with_a_full_disk() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let deployer = open(Path::new(&dir)).await;
    let error = deployer.apply(&large(), &request("two")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.remedy().unwrap().contains("free space"), "{error}");
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().revision, Revision(1));
}

#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_leaves_what_ran_before_and_the_same_call_completes_later() {
    let manifest = render(&large(), &request("two"), &RenderConfig::default(), PullSecret::Absent).unwrap();
    let (yaml, json) =
        (manifest.to_yaml().unwrap().len() as u64, serde_json::to_vec(&manifest).unwrap().len() as u64);
    assert!(
        json + 4096 < yaml,
        "the second limit must lie between the record and the manifest: {json} {yaml}"
    );
    // Too small for the record; then large enough for it and too small for the manifest.
    for limit in [json / 2, yaml - 1024] {
        let dir = tempfile::tempdir().unwrap();
        let deployer = open(dir.path()).await;
        deployer.apply(&site(), &request("one")).await.unwrap();
        let before = std::fs::read(deployer.manifest_path(&site())).unwrap();
        let listed = files(dir.path());
        run_child(dir.path(), limit / 512);
        assert_eq!(std::fs::read(deployer.manifest_path(&site())).unwrap(), before);
        assert_eq!(files(dir.path()), listed);
        // Not even a restart brings the failed release in.
        let deployer = open(dir.path()).await;
        assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("one"));
        assert_eq!(deployer.apply(&large(), &request("two")).await.unwrap(), Revision(2));
        assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("two"));
    }
}
