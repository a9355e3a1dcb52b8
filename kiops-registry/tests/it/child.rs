//! What only processes of their own can show: a full disk, a kill, two at once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kiops_core::ErrorKind;
use kiops_core::image::{Registry as _, TagPage};
use kiops_core::name::Digest;

use crate::fixtures::{bytes, count, image, open, push, read};

/// The directory that a child works in; not set in the parent.
const DIR: &str = "KIOPS_TEST_CHILD_DIR";
/// What the child's tags begin with.
const NAME: &str = "KIOPS_TEST_CHILD_NAME";

/// Runs one test of this binary again, with files limited to 64 KiB. The signal that goes with the limit is ignored, as a
/// server has to ignore it too, so that the limit is an error.
pub(crate) fn run_limited(test: &str, dir: &Path) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(program)
        .arg(test)
        .env(DIR, dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

/// The directory, in a child.
pub(crate) fn child_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(Into::into)
}

#[test]
fn a_full_disk_is_told_as_such_and_keeps_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    run_limited("child::within_the_limit", dir.path());
    let layout = open(dir.path());
    assert_eq!((count(&layout, "blobs/sha256"), count(&layout, ".kiops/tmp")), (3, 0));
}

/// The child of the test above; in the parent it has nothing to do.
#[tokio::test]
async fn within_the_limit() {
    let Some(dir) = child_dir() else { return };
    let layout = open(&dir);
    push(&layout, "h.local/site", &["t"], "small").await;
    let large = vec![b'x'; 300_000];
    let digest = Digest::of(&large);
    let name = image("h.local/site");
    let error = layout.put_blob(&name, &digest, large.len() as u64, bytes(large)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("free disk space")), "{error}");
    assert_eq!(layout.blob_size(&name, &digest).await.unwrap(), None);
    assert_eq!(count(&layout, ".kiops/tmp"), 0);
    push(&layout, "h.local/site", &["t"], "small").await;
}

fn spawn_pusher(dir: &Path, name: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::pushing_without_end"])
        .env(DIR, dir)
        .env(NAME, name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A child that pushes until it is killed; in the parent it has nothing to do.
#[tokio::test]
async fn pushing_without_end() {
    let (Some(dir), Ok(name)) = (child_dir(), std::env::var(NAME)) else { return };
    let layout = open(&dir);
    for n in 0_u32.. {
        let text = format!("{name} {n} {}", "x".repeat(100_000));
        push(&layout, "h.local/site", &[&format!("{name}-{n}"), "latest"], &text).await;
    }
}

#[tokio::test]
async fn two_processes_that_are_killed_at_any_moment_leave_only_whole_images() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    push(&layout, "h.local/site", &["latest"], "first").await;
    let name = image("h.local/site");
    let mut seen = 0;
    for round in 0..8_u64 {
        let mut children = ["a", "b"].map(|side| spawn_pusher(dir.path(), &format!("{side}{round}")));
        tokio::time::sleep(Duration::from_millis(120 + round * 17)).await;
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let layout = open(dir.path());
        assert_eq!(count(&layout, ".kiops/tmp"), 0, "what the killed left is gone");
        let mut page = TagPage::default();
        page.limit = 100_000;
        let tags = layout.tags(&name, &page).await.unwrap();
        assert!(tags.len() > seen, "tags of earlier rounds are there, and new ones: {}", tags.len());
        seen = tags.len() - 1;
        for tag in tags {
            let digest = layout.resolve(&name.tagged(tag)).await.unwrap().unwrap();
            let manifest = layout.manifest(&name, &digest).await.unwrap();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
            let layer = Digest::parse(manifest["layers"][0]["digest"].as_str().unwrap()).unwrap();
            read(&layout, &name, &layer).await.unwrap();
        }
    }
    assert!(seen > 8, "the children were at work: {seen}");
}
