//! A full disk, in a process of its own: the limit on file sizes holds for a whole process.

use std::path::Path;
use std::process::Command;

use kiops_core::ErrorKind;
use kiops_core::image::Registry as _;
use kiops_core::name::Digest;

use crate::fixtures::{bytes, count, image, open, push};

const DIR: &str = "KIOPS_TEST_LIMITED_DIR";

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

/// The directory, in the limited process.
pub(crate) fn limited_dir() -> Option<std::path::PathBuf> {
    std::env::var_os(DIR).map(Into::into)
}

#[test]
fn a_full_disk_is_told_as_such_and_keeps_nothing_half_written() {
    if limited_dir().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    run_limited("child::within_the_limit", dir.path());
    let layout = open(dir.path());
    assert_eq!((count(&layout, "blobs/sha256"), count(&layout, ".kiops/tmp")), (3, 0));
}

#[tokio::test]
async fn within_the_limit() {
    let Some(dir) = limited_dir() else { return };
    let layout = open(&dir);
    push(&layout, "h.local/site", &["t"], "small").await;
    let large = vec![b'x'; 300_000];
    let digest = Digest::of(&large);
    let error =
        layout.put_blob(&image("h.local/site"), &digest, large.len() as u64, bytes(large)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("free disk space")), "{error}");
    assert_eq!(layout.blob_size(&image("h.local/site"), &digest).await.unwrap(), None);
    assert_eq!(count(&layout, ".kiops/tmp"), 0);
    push(&layout, "h.local/site", &["t"], "small").await;
}
