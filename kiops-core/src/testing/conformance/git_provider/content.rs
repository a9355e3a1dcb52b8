//! Trees and files.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::fixtures::{everything_below, folder};
use super::{Entry, Feature, GitBench};
use crate::error::ErrorKind;
use crate::event::Repository;
use crate::name::CommitId;
use crate::provider::{TreeEntry, TreeEntryKind, TreeQuery};
use crate::testing::conformance::Subject;

/// A tree in which names sort otherwise as folders than as text.
fn site(bench: &GitBench) -> BTreeMap<String, Entry> {
    let file = |text: &'static str| Entry::File(Bytes::from_static(text.as_bytes()));
    let mut entries = BTreeMap::from([
        ("a/b/deep file".to_owned(), file("123")),
        ("a/z".to_owned(), file("")),
        ("a-b".to_owned(), file("x")),
        ("a.txt".to_owned(), file("12345")),
        ("#%/größe".to_owned(), file("x")),
        ("日本".to_owned(), file("xy")),
    ]);
    if bench.host.has(Feature::Executables) {
        entries.insert("run.sh".into(), Entry::Executable(Bytes::from_static(b"#!/bin/sh")));
    }
    if bench.host.has(Feature::Symlinks) {
        entries.insert("link".into(), Entry::Symlink("a/z".into()));
    }
    entries
}

async fn with_site(bench: &GitBench) -> (Repository, CommitId) {
    let repository = bench.repository().await;
    let commit = bench.commit_entries(&repository, &[], site(bench)).await;
    bench.point(&repository, "refs/heads/main", Some(&commit)).await;
    (repository, commit)
}

/// Its own level alone. What starts like it is not in it.
pub async fn a_folder_is_listed_in_name_order_with_kinds_and_sizes(subject: &dyn Subject<GitBench>) {
    use TreeEntryKind::{Executable, File, Folder, Symlink};
    let bench = subject.open().await;
    let (repository, commit) = with_site(&bench).await;
    let mut root = vec![
        ("#%", Folder, None),
        ("a", Folder, None),
        ("a-b", File, Some(1)),
        ("a.txt", File, Some(5)),
        ("link", Symlink, Some(3)),
        ("run.sh", Executable, Some(9)),
        ("日本", File, Some(2)),
    ];
    root.retain(|(_, kind, _)| match kind {
        Executable => bench.host.has(Feature::Executables),
        Symlink => bench.host.has(Feature::Symlinks),
        _ => true,
    });
    let cases = [
        ("", root),
        ("a", vec![("a/b", Folder, None), ("a/z", File, Some(0))]),
        ("a/b", vec![("a/b/deep file", File, Some(3))]),
        ("#%", vec![("#%/größe", File, Some(1))]),
    ];
    for (path, expected) in cases {
        let found = bench.provider.tree(&repository, &commit, &folder(path)).await.unwrap();
        assert_entries(&found, &expected, path);
    }
}

/// Folders too, in the order of their paths.
pub async fn everything_below_a_folder_is_listed_where_it_is_asked_for(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (repository, commit) = with_site(&bench).await;
    let below = bench.provider.tree(&repository, &commit, &everything_below("a")).await.unwrap();
    let expected = [
        ("a/b", TreeEntryKind::Folder, None),
        ("a/b/deep file", TreeEntryKind::File, Some(3)),
        ("a/z", TreeEntryKind::File, Some(0)),
    ];
    assert_entries(&below, &expected, "a");
    let all = bench.provider.tree(&repository, &commit, &everything_below("")).await.unwrap();
    let paths: Vec<&str> = all.iter().map(|entry| entry.path.as_str()).collect();
    let site = site(&bench);
    let mut expected: Vec<&str> = site.keys().map(String::as_str).chain(["#%", "a", "a/b"]).collect();
    expected.sort_unstable();
    assert_eq!(paths, expected);
}

/// The first ones.
pub async fn a_list_has_as_many_entries_as_asked_for_at_most(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (repository, commit) = with_site(&bench).await;
    for query in [folder(""), everything_below(""), everything_below("a")] {
        let whole = bench.provider.tree(&repository, &commit, &query).await.unwrap();
        for limit in [0, 1, 2, 3, whole.len(), whole.len() + 1] {
            let query = TreeQuery { limit, ..query.clone() };
            let found = bench.provider.tree(&repository, &commit, &query).await.unwrap();
            assert_eq!(found, whole[..limit.min(whole.len())], "{query:?}");
        }
    }
}

/// Text, no text, nothing at all, and much of it.
pub async fn a_file_comes_out_byte_for_byte(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let repository = bench.repository().await;
    let bytes: Vec<u8> = (0..=255).collect();
    let files = [
        ("empty", Bytes::new()),
        ("text", Bytes::from_static("größe\r\nno line break at the end".as_bytes())),
        ("binary", Bytes::from(bytes.repeat(20))),
        ("big", Bytes::from(bytes.repeat(2000))),
        ("looks/like/a/pointer", Bytes::from_static(b"version https://git-lfs.github.com/spec/v1\n")),
    ];
    let entries = files.iter().map(|(path, content)| ((*path).to_owned(), Entry::File(content.clone())));
    let commit = bench.commit_entries(&repository, &[], entries.collect()).await;
    bench.point(&repository, "refs/heads/main", Some(&commit)).await;
    for (path, content) in &files {
        let found = bench.provider.file(&repository, &commit, path, 1 << 20).await.unwrap();
        assert!(found.as_ref() == Some(content), "{path}: {} bytes", found.map_or(0, |found| found.len()));
    }
}

/// One byte too many is an error, not a shorter file.
pub async fn a_file_is_read_up_to_its_cap_and_never_in_part(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let big = "x".repeat(100_000);
    let (repository, commit) = bench.with(&[("small", "123"), ("empty", ""), ("big", &big)]).await;
    for (path, size) in [("small", 3), ("empty", 0), ("big", 100_000)] {
        for cap in [0, 1, 2, 3, 4, 99_999, 100_000, 100_001] {
            match bench.provider.file(&repository, &commit, path, cap).await {
                Ok(Some(found)) => {
                    assert!(
                        size <= cap && found.len() == size,
                        "{path} of {size}, cap {cap}: {}",
                        found.len()
                    );
                }
                Ok(None) => panic!("{path} is there, cap {cap}"),
                Err(error) => {
                    assert!(size > cap, "{path} of {size}, cap {cap}: {error}");
                    assert_eq!(error.kind(), ErrorKind::TooLarge, "{path} of {size}, cap {cap}: {error}");
                }
            }
        }
    }
}

/// What looks like an option, a pattern or an address is a name like any other.
pub async fn a_file_is_read_by_whatever_name_it_has(subject: &dyn Subject<GitBench>) {
    const NAMES: [&str; 13] = [
        "-x",
        "--help",
        ":(glob)**",
        "*",
        "a b/c#d?e&f=g",
        "%2e%2e/%41",
        "...",
        "Dockerfile",
        "Dockerfile..main",
        "HEAD:x",
        "größe/日本語",
        "'\"$(id)`id`",
        "refs/heads/main",
    ];
    let bench = subject.open().await;
    let files: Vec<(&str, &str)> = NAMES.iter().map(|name| (*name, *name)).collect();
    let (repository, commit) = bench.with(&files).await;
    for name in NAMES {
        let found = bench.provider.file(&repository, &commit, name, 1000).await.unwrap();
        assert_eq!(found.as_deref(), Some(name.as_bytes()), "{name}");
        if let Some((parent, _)) = name.rsplit_once('/') {
            let tree = bench.provider.tree(&repository, &commit, &folder(parent)).await.unwrap();
            assert!(tree.iter().any(|entry| entry.path == name), "{name} in `{parent}`: {tree:?}");
        }
    }
}

/// A size may be left out, but not be wrong.
fn assert_entries(found: &[TreeEntry], expected: &[(&str, TreeEntryKind, Option<u64>)], folder: &str) {
    let kinds: Vec<_> = found.iter().map(|entry| (entry.path.as_str(), entry.kind)).collect();
    let expected_kinds: Vec<_> = expected.iter().map(|(path, kind, _)| (*path, *kind)).collect();
    assert_eq!(kinds, expected_kinds, "in `{folder}`");
    for (entry, (path, _, size)) in found.iter().zip(expected) {
        let fits = entry.size.is_none() || size.is_none() || entry.size == *size;
        assert!(fits, "{path} has {size:?} bytes, not {:?}", entry.size);
    }
}
