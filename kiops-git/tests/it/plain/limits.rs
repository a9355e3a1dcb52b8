//! Archives, and what happens to a git that hangs, talks too much, or is not there.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiops_core::ErrorKind;
use kiops_core::provider::{GitProvider, Relation};
use kiops_core::run::{ProviderSource, SourceAccess as _};
use kiops_core::stream;
use kiops_git::plain::{Plain, PlainConfig};

use super::{Fixture, fake_git, missing};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn an_archive_is_the_tree_as_committed_whatever_its_attributes_say() {
    let fixture = Fixture::new();
    fixture.write("run.sh", "#!/bin/sh");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(fixture.work().join("run.sh"), executable).unwrap();
    let attributes = "secret export-ignore\n* text eol=crlf\nsubst export-subst\n";
    let commit = fixture.commit(
        &[
            (".gitattributes", attributes),
            ("secret", "kept\n"),
            ("subst", "$Format:%H$\n"),
            ("sub/.gitattributes", "x export-ignore\n"),
            ("sub/x", "kept\n"),
        ],
        "one",
    );
    let (plain, repository) = (fixture.plain(), fixture.repository());
    let plain: Arc<dyn GitProvider> = Arc::new(plain);
    let source = ProviderSource::new(plain, repository, commit.clone());
    assert_eq!(source.commit(), &commit);
    let once = stream::collect(source.archive().await.unwrap(), MIB).await.unwrap();
    let again = stream::collect(source.archive().await.unwrap(), MIB).await.unwrap();
    assert_eq!(once, again);
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(once.as_ref()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        if header.entry_type().is_pax_global_extensions() {
            continue;
        }
        assert_eq!(
            (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()),
            (1_700_000_000, 0, 0)
        );
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        found.insert(entry.path().unwrap().to_string_lossy().into_owned(), (header.mode().unwrap(), content));
    }
    let file = |content: &str| (0o644, content.to_owned());
    assert_eq!(found["secret"], file("kept\n"));
    assert_eq!(found["sub/x"], file("kept\n"));
    assert_eq!(found["subst"], file("$Format:%H$\n"));
    assert_eq!(found["run.sh"].0, 0o755);
    assert_eq!(found["sub/"].0, 0o755);
    assert_eq!(found.len(), 7);
}

#[tokio::test]
async fn an_archive_is_streamed_and_ends_with_an_error_over_its_limit() {
    let fixture = Fixture::new();
    let noise: String = (0..300_000).map(|n| format!("{n}\n")).collect();
    let commit = fixture.commit(&[("big", &noise)], "one");
    let plain = Plain::new(PlainConfig { max_archive_bytes: 1_000_000, ..fixture.config() }).unwrap();
    let mut archive = plain.archive(&fixture.repository(), &commit).await.unwrap();
    let mut got = 0;
    let error = loop {
        match stream::next(&mut archive).await.expect("the stream ended well") {
            Ok(chunk) => got += chunk.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(got > 0 && got <= 1_000_000);
    assert!(stream::next(&mut archive).await.is_none());
    let error = fixture.plain().archive(&fixture.repository(), &missing()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_damaged_repository_ends_an_archive_with_an_error() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "first"), ("z", "last")], "one");
    let blob = fixture.run(&["rev-parse", "HEAD:z"]);
    let object = fixture.bare().join("objects").join(&blob[..2]).join(&blob[2..]);
    std::fs::remove_file(object).unwrap();
    let archive = fixture.plain().archive(&fixture.repository(), &commit).await.unwrap();
    let error = stream::collect(archive, MIB).await.unwrap_err();
    assert_eq!(error.operation(), "archive commit");
}

#[tokio::test]
async fn a_dropped_archive_kills_its_git() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "x")], "one");
    let pid_file = fixture.path().join("pid");
    let body = format!(
        "case \"$1\" in archive) echo $$ > '{}'; echo some bytes; exec sleep 600;; esac; exec git \"$@\"",
        pid_file.display()
    );
    let program = fake_git(fixture.path(), &body);
    let plain = Plain::new(PlainConfig { program, ..fixture.config() }).unwrap();
    let mut archive = plain.archive(&fixture.repository(), &commit).await.unwrap();
    assert!(stream::next(&mut archive).await.unwrap().is_ok());
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    drop(archive);
    assert_ends(pid.trim()).await;
}

async fn assert_ends(pid: &str) {
    let until = Instant::now() + Duration::from_secs(5);
    let stat = format!("/proc/{pid}/stat");
    // A zombie has ended; its parent reaps it when it gets to it.
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < until, "process {pid} still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_git_that_hangs_is_killed_with_its_children_at_the_deadline() {
    let fixture = Fixture::new();
    let pid_file = fixture.path().join("pid");
    let program = fake_git(fixture.path(), &format!("sleep 600 & echo $! > '{}'; wait", pid_file.display()));
    let plain = Plain::new(PlainConfig { program, command_seconds: 1, ..fixture.config() }).unwrap();
    let start = Instant::now();
    let error = plain.heads(&fixture.repository()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_ends(std::fs::read_to_string(pid_file).unwrap().trim()).await;
}

#[tokio::test]
async fn a_git_that_never_stops_talking_is_cut_off() {
    let fixture = Fixture::new();
    let program = fake_git(fixture.path(), "exec yes");
    let config = PlainConfig { program, max_list_bytes: 100_000, ..fixture.config() };
    let error = Plain::new(config).unwrap().heads(&fixture.repository()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_missing_git_says_what_to_install() {
    let fixture = Fixture::new();
    let plain = Plain::new(PlainConfig { program: "/nonexistent/git".into(), ..fixture.config() }).unwrap();
    let error = plain.heads(&fixture.repository()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.remedy().unwrap().contains("install git"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_a_time_all_get_their_answer() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")], "one");
    let second = fixture.commit(&[("a", "2")], "two");
    let plain = Arc::new(Plain::new(PlainConfig { processes: 3, ..fixture.config() }).unwrap());
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let (plain, repository, first, second) =
                (Arc::clone(&plain), fixture.repository(), first.clone(), second.clone());
            tokio::spawn(async move {
                match n % 3 {
                    0 => plain.heads(&repository).await.unwrap().len() == 1,
                    1 => {
                        plain.compare(&repository, &first, &second).await.unwrap().relation == Relation::Ahead
                    }
                    _ => {
                        let archive = plain.archive(&repository, &second).await.unwrap();
                        stream::collect(archive, MIB).await.unwrap().len() > 1024
                    }
                }
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
}
