//! Archives, and what a program outside needs to clone.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::tar::{self, Found};
use super::{Entry, Feature, GitBench};
use crate::error::ErrorKind;
use crate::event::Repository;
use crate::name::CommitId;
use crate::provider::GitProvider;
use crate::stream;
use crate::testing::conformance::Subject;

/// The same files with the same content, nothing beside them, and no folder of the host's own around them.
pub async fn an_archive_is_the_whole_tree_of_its_commit(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let long = format!("{}{}", "a-folder/".repeat(15), "n".repeat(90));
    let big = "0123456789".repeat(50_000);
    let files: [(&str, &str); 7] = [
        ("Dockerfile", "FROM scratch\n"),
        ("web/index.html", "<p>größe\r\n"),
        ("web/empty", ""),
        (".dockerignore", "*\n"),
        ("größe/日本 #1", "x"),
        ("big", &big),
        (&long, "y"),
    ];
    let (repository, first) = bench.with(&files).await;
    let second = bench.commit(&repository, &[&first], &[("Dockerfile", "FROM other\n")]).await;
    bench.point(&repository, "refs/heads/main", Some(&second)).await;
    // The older one twice: a full id gives the same answer always.
    for (commit, files) in
        [(&first, &files[..]), (&second, &[("Dockerfile", "FROM other\n")]), (&first, &files)]
    {
        let found = archive(bench.provider.as_ref(), &repository, commit).await;
        assert_files(&found, files);
    }
}

/// Proved where the host has them.
pub async fn links_and_modes_are_in_an_archive_as_they_were_committed(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let repository = bench.repository().await;
    let text = || Bytes::from_static(b"#!/bin/sh\n");
    let mut entries = BTreeMap::from([("plain".to_owned(), Entry::File(text()))]);
    if bench.host.has(Feature::Executables) {
        entries.insert("bin/run".into(), Entry::Executable(text()));
    }
    if bench.host.has(Feature::Symlinks) {
        // A link that leads out is one all the same: whoever unpacks it decides.
        for (path, to) in [("link", "plain"), ("up", "../../etc/passwd"), ("broken", "größe")] {
            entries.insert(path.into(), Entry::Symlink(to.into()));
        }
    }
    let commit = bench.commit_entries(&repository, &[], entries.clone()).await;
    bench.point(&repository, "refs/heads/main", Some(&commit)).await;
    let found = archive(bench.provider.as_ref(), &repository, &commit).await;
    for (path, entry) in entries {
        let expected = match entry {
            Entry::File(content) => Found::File { content: content.into(), executable: false },
            Entry::Executable(content) => Found::File { content: content.into(), executable: true },
            Entry::Symlink(to) => Found::Symlink(to),
        };
        assert_eq!(found.get(&path), Some(&expected), "{path}");
    }
}

/// What is built is what was committed: `export-ignore`, `export-subst` and `eol` change nothing.
pub async fn attributes_leave_nothing_out_of_an_archive(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    if !bench.host.has(Feature::ExactArchives) {
        return;
    }
    let files = [
        (".gitattributes", "hidden export-ignore\nsubst export-subst\n*.txt text eol=crlf\n"),
        ("hidden", "x"),
        ("subst", "$Format:%H$"),
        ("a.txt", "one\ntwo\n"),
    ];
    let (repository, commit) = bench.with(&files).await;
    assert_files(&archive(bench.provider.as_ref(), &repository, &commit).await, &files);
}

/// Whoever stops reading stops nobody else.
pub async fn an_archive_that_is_let_go_of_harms_nothing(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, big) = (bench.provider.as_ref(), "0123456789".repeat(300_000));
    let files = [("big", big.as_str()), ("small", "x")];
    let (repository, commit) = bench.with(&files).await;
    for _ in 0..5 {
        let mut archive = provider.archive(&repository, &commit).await.unwrap();
        stream::next(&mut archive).await.expect("it starts").unwrap();
        drop(archive);
        drop(provider.archive(&repository, &commit).await.unwrap());
    }
    let (one, two) =
        tokio::join!(archive(provider, &repository, &commit), archive(provider, &repository, &commit));
    assert_files(&one, &files);
    assert!(one == two, "two readers at once see the same");
}

/// Never an archive that only looks whole. Proved where the bench has a provider with a limit.
pub async fn an_archive_over_its_limit_ends_with_an_error(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let Some(narrow) = &bench.narrow else { return };
    let big = "x".repeat(narrow.archive_bytes);
    let (repository, large) = bench.with(&[("big", &big)]).await;
    let small = bench.commit(&repository, &[&large], &[("small", "x")]).await;
    bench.point(&repository, "refs/heads/main", Some(&small)).await;
    let collected = async |commit: &CommitId| {
        stream::collect(
            narrow.provider.archive(&repository, commit).await?,
            2 * narrow.archive_bytes + (1 << 20),
        )
        .await
    };
    let error = collected(&large).await.expect_err("it is over the limit");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(error.remedy().is_some(), "{error}");
    collected(&small).await.expect("a small one is read");
    collected(&large).await.expect_err("it is over the limit every time");
}

/// Not in the address, not where anything is printed. A credential that ends has not ended yet. Where nothing can be cloned, it
/// says so.
pub async fn what_a_clone_needs_shows_no_secret(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (repository, commit) = bench.with(&[("a", "1")]).await;
    if !bench.host.has(Feature::Cloning) {
        let error =
            bench.provider.clone_access(&repository, &commit).await.expect_err("nothing can be cloned");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        return;
    }
    let access = bench.provider.clone_access(&repository, &commit).await.unwrap();
    assert!(!access.url.trim().is_empty() && !access.url.contains(char::is_control), "{:?}", access.url);
    assert!(!access.url.starts_with('-'), "{} reads as an option", access.url);
    if let Ok(url) = url::Url::parse(&access.url) {
        assert_eq!(url.password(), None, "the address has a password in it");
        let user = if url.scheme() == "ssh" { "" } else { url.username() };
        assert_eq!(user, "", "the address has a credential in it");
        assert_eq!(url.query(), None, "an address to clone from has no query, where tokens like to stand");
    }
    if let Some(credential) = &access.credential {
        let secret = credential.password.expose_str().expect("passwords and tokens are text");
        assert!(!credential.username.is_empty(), "a credential has a user name");
        for (what, shown) in [
            ("the address", access.url.clone()),
            ("what is needed to clone", format!("{access:?}")),
            ("the provider", format!("{:?}", bench.provider)),
        ] {
            assert!(!shown.contains(secret), "{what} shows the password");
        }
    }
    assert!(access.expires_at.is_none_or(|end| end > Timestamp::now()), "it ended before it was given");
}

async fn archive(
    provider: &dyn GitProvider,
    repository: &Repository,
    commit: &CommitId,
) -> BTreeMap<String, Found> {
    let stream = provider.archive(repository, commit).await.expect("an archive is given");
    tar::read(&stream::collect(stream, 64 << 20).await.expect("an archive is read to its end"))
}

fn assert_files(found: &BTreeMap<String, Found>, expected: &[(&str, &str)]) {
    let files = found.iter().filter(|(_, entry)| **entry != Found::Folder);
    let paths: Vec<&str> = files.map(|(path, _)| path.as_str()).collect();
    let mut expected_paths: Vec<&str> = expected.iter().map(|(path, _)| *path).collect();
    expected_paths.sort_unstable();
    assert_eq!(paths, expected_paths);
    for (path, text) in expected {
        let file = Found::File { content: text.as_bytes().to_vec(), executable: false };
        assert!(found.get(*path) == Some(&file), "{path} is not what was committed");
    }
    let folders = found.iter().filter(|(_, entry)| **entry == Found::Folder);
    for (folder, _) in folders {
        let below = format!("{folder}/");
        assert!(expected_paths.iter().any(|path| path.starts_with(&below)), "there is no folder {folder}");
    }
}
