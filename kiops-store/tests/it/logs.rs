//! Log files: torn, damaged, many, old.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use kiops_core::log::{Cursor, LogStore, NewLine};
use kiops_core::name::{BuildId, RunId};
use kiops_core::stage::Stage;
use kiops_store::{LogFiles, LogFilesConfig};
use tempfile::TempDir;

use crate::fixtures::at;

fn logs(folder: &Path) -> LogFiles {
    LogFiles::open(LogFilesConfig::new(folder)).unwrap()
}

fn lines(first: u64, texts: impl IntoIterator<Item = impl ToString>) -> Vec<NewLine> {
    (first..)
        .zip(texts)
        .map(|(n, text)| NewLine { n, at: at(0), stage: Stage::Build, text: text.to_string() })
        .collect()
}

async fn texts(logs: &LogFiles, build: &BuildId) -> Vec<String> {
    let page = logs.read(build, Cursor(0), usize::MAX).await.unwrap();
    assert!(page.lines.iter().zip(1..).all(|(line, n)| line.n == n));
    page.lines.into_iter().map(|line| line.text).collect()
}

/// The one file below the folder.
fn file_in(folder: &Path) -> PathBuf {
    let mut path = folder.to_owned();
    while path.is_dir() {
        path = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    }
    path
}

#[tokio::test]
async fn a_log_torn_at_any_byte_keeps_its_whole_lines_and_goes_on() {
    let folder = TempDir::new().unwrap();
    let build = BuildId::derive(["torn"]);
    let written: Vec<String> = (1..=5).map(|n| format!("line {n} ä \"{}\"", "x".repeat(n * 3))).collect();
    logs(folder.path()).append(&build, "run", lines(1, &written)).await.unwrap();
    logs(folder.path()).close(&build).await.unwrap();
    let path = file_in(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    let mut ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').map(|at| at + 1).collect();
    assert_eq!(ends.len(), 6, "five lines and the mark that it is closed");
    ends.insert(0, 0);
    for cut in 0..=bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let whole = (ends.iter().filter(|end| **end <= cut).count() - 1).min(5);
        let logs = logs(folder.path());
        assert_eq!(texts(&logs, &build).await, written[..whole], "cut at {cut}");
        assert_eq!(logs.read(&build, Cursor(5), 1).await.unwrap().ended, cut == bytes.len(), "cut at {cut}");
        // The writer is unsure and repeats everything: what was torn off comes again, once.
        logs.append(&build, "run", lines(1, &written)).await.unwrap();
        assert_eq!(texts(&logs, &build).await, written, "cut at {cut}");
        assert_eq!(texts(&self::logs(folder.path()), &build).await, written, "cut at {cut}, opened again");
    }
}

#[tokio::test]
async fn garbage_at_the_end_is_dropped_and_in_the_middle_is_said() {
    let folder = TempDir::new().unwrap();
    let build = BuildId::derive(["garbage"]);
    logs(folder.path()).append(&build, "run", lines(1, 1..=3)).await.unwrap();
    let path = file_in(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    for garbage in [&[0; 700][..], b"\0\0\n\0\n", b"{}\n", b"\xff\xfe\n", b"{\"at\":\"x\"", b"[[[[[[\n"] {
        std::fs::write(&path, [&bytes, garbage].concat()).unwrap();
        let logs = logs(folder.path());
        assert_eq!(texts(&logs, &build).await, ["1", "2", "3"], "{garbage:?}");
        logs.append(&build, "run", lines(4, [4])).await.unwrap();
        assert_eq!(texts(&self::logs(folder.path()), &build).await, ["1", "2", "3", "4"], "{garbage:?}");
    }
    let mut damaged = bytes.clone();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    damaged[second] = b'x';
    std::fs::write(&path, damaged).unwrap();
    let read = texts(&logs(folder.path()), &build).await;
    assert_eq!((read[0].as_str(), read[2].as_str()), ("1", "3"));
    assert!(read[1].contains("cannot be read"), "{}", read[1]);
}

#[tokio::test]
async fn a_long_log_is_read_from_any_cursor() {
    let folder = TempDir::new().unwrap();
    let build = BuildId::derive(["long"]);
    let writer = logs(folder.path());
    for first in (1..=3000_u64).step_by(100) {
        writer.append(&build, "run", lines(first, first..first + 100)).await.unwrap();
    }
    for logs in [writer, logs(folder.path())] {
        for cursor in [0, 1, 62, 63, 64, 65, 127, 128, 1999, 2998, 2999, 3000, 4000] {
            let page = logs.read(&build, Cursor(cursor), 3).await.unwrap();
            let expected: Vec<u64> = (cursor + 1..=3000).take(3).collect();
            assert_eq!(page.lines.iter().map(|line| line.n).collect::<Vec<_>>(), expected, "after {cursor}");
            assert!(page.lines.iter().all(|line| line.text == line.n.to_string()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_logs_than_are_kept_in_memory_lose_no_line_and_no_follower() {
    let folder = TempDir::new().unwrap();
    let mut config = LogFilesConfig::new(folder.path());
    config.indexes = 4;
    let logs = LogFiles::open(config).unwrap();
    let builds: Vec<BuildId> = (0..40).map(|n| BuildId::derive([n.to_string().as_str()])).collect();
    let follower = tokio::spawn({
        let (logs, build) = (logs.clone(), builds[0].clone());
        async move { logs.changed(&build, Cursor(5), SignedDuration::from_secs(60)).await }
    });
    for n in 1..=5 {
        for build in &builds {
            logs.append(build, "run", lines(n, [n])).await.unwrap();
            logs.append(build, "run", lines(n, [n])).await.unwrap();
        }
    }
    assert!(!follower.is_finished() || logs.read(&builds[0], Cursor(5), 1).await.unwrap().lines.is_empty());
    for build in &builds {
        assert_eq!(texts(&logs, build).await, ["1", "2", "3", "4", "5"]);
    }
    let begun = std::time::Instant::now();
    logs.append(&builds[0], "run", lines(6, [6])).await.unwrap();
    follower.await.unwrap().unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "the follower was woken");
}

#[tokio::test]
async fn old_logs_expire_and_others_stay() {
    let folder = TempDir::new().unwrap();
    let logs = logs(folder.path());
    let (old, new) = (BuildId::derive(["old"]), BuildId::derive(["new"]));
    logs.append(&old, "run", lines(1, [1])).await.unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::options()
        .append(true)
        .open(file_in(folder.path()))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    logs.append(&new, "run", lines(1, [1])).await.unwrap();
    std::fs::write(folder.path().join("a note"), "not ours").unwrap();
    assert_eq!(logs.expire(Timestamp::now() - SignedDuration::from_mins(30)).await.unwrap(), 1);
    assert_eq!(texts(&logs, &old).await, [""; 0]);
    assert_eq!(texts(&logs, &new).await, ["1"]);
    assert!(folder.path().join("a note").exists());
}

#[tokio::test]
async fn what_a_kill_left_of_a_report_is_none_and_goes_when_the_log_goes() {
    let folder = TempDir::new().unwrap();
    let logs = logs(folder.path());
    let build = BuildId::derive(["cut"]);
    let (kept, cut) = (RunId::of_build(&build, 1), RunId::of_build(&build, 2));
    logs.append(&build, "run", lines(1, [1])).await.unwrap();
    logs.keep_report(&build, &kept, "whole".into()).await.unwrap();
    let shard = folder.path().join(&build.as_str()[2..4]);
    let reports = shard.join(format!("{build}.reports"));
    std::fs::write(reports.join(format!("{cut}.part")), "hal").unwrap();
    assert_eq!(logs.report(&build, &cut, 0, 10).await.unwrap(), None);
    logs.keep_report(&build, &cut, "whole, too".into()).await.unwrap();
    assert_eq!(logs.report(&build, &cut, 0, 10).await.unwrap().as_deref(), Some(&b"whole, too"[..]));
    assert_eq!(std::fs::read_dir(&reports).unwrap().count(), 2, "its place was taken");

    std::fs::write(reports.join(format!("{cut}.part")), "hal").unwrap();
    assert_eq!(logs.expire(Timestamp::now() - SignedDuration::from_mins(30)).await.unwrap(), 0);
    // A kill in the middle of removing leaves one of them without the other.
    std::fs::remove_file(shard.join(format!("{build}.jsonl"))).unwrap();
    assert_eq!(logs.expire(Timestamp::now() + SignedDuration::from_mins(30)).await.unwrap(), 1);
    assert_eq!(std::fs::read_dir(&shard).unwrap().count(), 0);
}
