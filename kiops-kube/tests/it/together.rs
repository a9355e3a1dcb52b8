//! Several writers of one target, in one process and in two.

use std::path::Path;
use std::process::{Command, Stdio};

use kiops_core::release::{Deployer as _, Revision, RolloutStatus};

use crate::common::*;

const DIR: &str = "KIOPS_KUBE_TEST_TOGETHER_DIR";

async fn check_whole(dir: &Path, releases: u64) {
    let deployer = open(dir).await;
    let history = deployer.history(&site()).await.unwrap();
    let numbers: Vec<_> = history.iter().map(|info| info.revision.0).collect();
    assert_eq!(numbers, (1..=releases).rev().collect::<Vec<_>>());
    let live = deployer.observed(&site()).await.unwrap().unwrap();
    assert_eq!((live.revision, &live.release), (Revision(releases), &history[0].release));
    assert_eq!(deployer.status(&site(), Revision(releases)).await.unwrap(), RolloutStatus::Complete);
    assert_eq!(files(&dir.join("deploy")), ["shop/site.yaml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_tasks_give_sixteen_revisions() {
    let dir = tempfile::tempdir().unwrap();
    let deployers = [open(dir.path()).await, open(dir.path()).await];
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let deployer = deployers[n % 2].clone();
            tokio::spawn(async move { deployer.apply(&site(), &request(&n.to_string())).await.unwrap() })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap().0);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=16).collect::<Vec<_>>());
    check_whole(dir.path(), 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_release_asked_for_sixteen_times_at_once_is_one_revision() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let deployer = deployer.clone();
            tokio::spawn(async move { deployer.apply(&site(), &request("one")).await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Revision(1));
    }
    check_whole(dir.path(), 1).await;
}

#[tokio::test]
#[ignore = "runs in a process of its own, started by the test below"]
async fn as_a_second_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let deployer = open(Path::new(&dir)).await;
    for n in 0..20 {
        deployer.apply(&site(), &request(&format!("child-{n}"))).await.unwrap();
    }
}

#[tokio::test]
async fn two_processes_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "together::as_a_second_process", "--ignored"])
        .env(DIR, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for n in 0..20 {
        deployer.apply(&site(), &request(&format!("parent-{n}"))).await.unwrap();
    }
    assert!(child.wait().unwrap().success());
    check_whole(dir.path(), 40).await;
}

#[test]
fn the_directory_works_without_any_runtime() {
    use std::future::Future as _;
    let dir = tempfile::tempdir().unwrap();
    let mut work = Box::pin(async { open(dir.path()).await.apply(&site(), &request("one")).await });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(revision) = work.as_mut().poll(&mut context) else {
        panic!("it waited for somebody")
    };
    assert_eq!(revision.unwrap(), Revision(1));
}
