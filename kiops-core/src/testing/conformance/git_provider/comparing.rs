//! Comparing commits: the files that differ, and which is newer.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::fixtures::everything_below;
use super::{Entry, Feature, GitBench};
use crate::event::{ChangedFiles, FileList};
use crate::provider::{Comparison, Relation};
use crate::testing::conformance::Subject;

/// Each in its list, in folders too, and whichever way round it is asked.
pub async fn a_comparison_lists_what_was_added_modified_and_removed(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, repository) = (bench.provider.as_ref(), bench.repository().await);
    let before = [("a", "1"), ("same", "1"), ("sub/gone", "1"), ("sub/kept", "1"), ("größe ü", "1")];
    let after = [("a", "2"), ("same", "1"), ("sub/kept", "1"), ("größe ü", "2"), ("neu/日本/x y", "1")];
    let from = bench.commit(&repository, &[], &before).await;
    let to = bench.commit(&repository, &[&from], &after).await;
    bench.point(&repository, "refs/heads/main", Some(&to)).await;
    let there = provider.compare(&repository, &from, &to).await.unwrap();
    assert_changes(&there, &["neu/日本/x y"], &["a", "größe ü"], &["sub/gone"]);
    let back = provider.compare(&repository, &to, &from).await.unwrap();
    assert_changes(&back, &["sub/gone"], &["a", "größe ü"], &["neu/日本/x y"]);
    let same = provider.compare(&repository, &to, &to).await.unwrap();
    assert_changes(&same, &[], &[], &[]);
}

/// A watch path on either side sees it (E62).
pub async fn a_renamed_file_counts_by_both_names(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, repository) = (bench.provider.as_ref(), bench.repository().await);
    let text = "a line that is recognized again\n".repeat(50);
    let from = bench.commit(&repository, &[], &[("old/name", &text), ("x", "1")]).await;
    let to = bench.commit(&repository, &[&from], &[("new/name", &text), ("x", "1")]).await;
    bench.point(&repository, "refs/heads/main", Some(&to)).await;
    let comparison = provider.compare(&repository, &from, &to).await.unwrap();
    assert!(comparison.files.is_complete(), "two files are a short list: {comparison:?}");
    let listed: Vec<&str> = list(&comparison).paths().collect();
    assert_eq!(listed, ["new/name", "old/name"]);
}

/// Two dots: how it came about does not count (E58, E60).
pub async fn what_was_changed_and_changed_back_is_no_difference(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, from)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let changed = bench.commit(&repository, &[&from], &[("a", "2"), ("b", "1")]).await;
    let to = bench.commit(&repository, &[&changed], &[("a", "1"), ("c", "1")]).await;
    bench.point(&repository, "refs/heads/main", Some(&to)).await;
    let comparison = provider.compare(&repository, &from, &to).await.unwrap();
    assert_changes(&comparison, &["c"], &[], &[]);
    assert_relation(&comparison, Relation::Ahead);
    // The other branch's own change counts as well: it is not there in the second.
    let other = bench.commit(&repository, &[&from], &[("a", "1"), ("d", "1")]).await;
    bench.point(&repository, "refs/heads/other", Some(&other)).await;
    let comparison = provider.compare(&repository, &to, &other).await.unwrap();
    assert_changes(&comparison, &["d"], &[], &["c"]);
    assert_relation(&comparison, Relation::Diverged);
}

/// Same, ahead, behind or diverged; or it says that it does not know. Never a wrong one: what is older must not be built again.
pub async fn a_comparison_says_how_the_second_commit_is_related(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, root)) = (bench.provider.as_ref(), bench.with(&[("a", "0")]).await);
    let mut line = vec![root.clone()];
    for n in 1..6 {
        let next = bench.commit(&repository, &[&line[n - 1]], &[("a", &n.to_string())]).await;
        line.push(next);
    }
    let side = bench.commit(&repository, &[&line[2]], &[("a", "2"), ("side", "1")]).await;
    bench.point(&repository, "refs/heads/main", Some(&line[5])).await;
    bench.point(&repository, "refs/heads/side", Some(&side)).await;
    let mut cases = vec![
        (&line[3], &line[3], Relation::Same),
        (&line[4], &line[5], Relation::Ahead),
        (&root, &line[5], Relation::Ahead),
        (&line[5], &line[4], Relation::Behind),
        (&line[5], &root, Relation::Behind),
        (&line[5], &side, Relation::Diverged),
        (&side, &line[3], Relation::Diverged),
        (&line[2], &side, Relation::Ahead),
        (&side, &line[1], Relation::Behind),
    ];
    let merge;
    if bench.host.has(Feature::Merges) {
        merge = bench.commit(&repository, &[&line[5], &side], &[("a", "5"), ("side", "1")]).await;
        bench.point(&repository, "refs/heads/main", Some(&merge)).await;
        cases.extend([(&side, &merge, Relation::Ahead), (&merge, &side, Relation::Behind)]);
    }
    for (from, to, expected) in cases {
        assert_relation(&provider.compare(&repository, from, to).await.unwrap(), expected);
    }
}

/// After a force push nothing may be in common (E59); the trees differ all the same.
pub async fn commits_without_a_common_ancestor_compare(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, one)) =
        (bench.provider.as_ref(), bench.with(&[("a", "1"), ("b", "1")]).await);
    let other = bench.commit(&repository, &[], &[("a", "2"), ("c", "1")]).await;
    bench.point(&repository, "refs/heads/other", Some(&other)).await;
    let comparison = provider.compare(&repository, &one, &other).await.unwrap();
    assert_changes(&comparison, &["c"], &["a"], &["b"]);
    assert_relation(&comparison, Relation::Diverged);
}

/// The content is the same, what is built of it is not. Proved where the host has them.
pub async fn a_mode_or_a_link_is_a_difference(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, repository) = (bench.provider.as_ref(), bench.repository().await);
    let text = || Bytes::from_static(b"target");
    let cases = [
        (Feature::Executables, Entry::Executable(text())),
        (Feature::Symlinks, Entry::Symlink("target".into())),
    ];
    for (feature, changed) in cases {
        if !bench.host.has(feature) {
            continue;
        }
        let entries = |entry: Entry| BTreeMap::from([("entry".to_owned(), entry)]);
        let from = bench.commit_entries(&repository, &[], entries(Entry::File(text()))).await;
        let to = bench.commit_entries(&repository, &[&from], entries(changed)).await;
        bench.point(&repository, "refs/heads/main", Some(&to)).await;
        let comparison = provider.compare(&repository, &from, &to).await.unwrap();
        assert!(list(&comparison).iter().any(|path| path == "entry"), "{feature:?}: {comparison:?}");
    }
}

/// A list that was cut is never told as the whole truth, and names nothing that did not change.
pub async fn a_list_of_changes_that_is_not_whole_says_so(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let limit = bench.narrow.as_ref().map_or(0, |narrow| narrow.changed_files);
    let count = (2 * limit + 1).max(250);
    let paths: Vec<String> = (0..count).map(|n| format!("many/{n:05}")).collect();
    let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "x")).collect();
    let (repository, from) = bench.with(&[("a", "1")]).await;
    let to = bench.commit(&repository, &[&from], &[&[("a", "1")], &files[..]].concat()).await;
    bench.point(&repository, "refs/heads/main", Some(&to)).await;
    let providers = [(&bench.provider, None)]
        .into_iter()
        .chain(bench.narrow.as_ref().map(|narrow| (&narrow.provider, Some(narrow.changed_files))));
    for (provider, limit) in providers {
        let comparison = provider.compare(&repository, &from, &to).await.unwrap();
        let tree = provider.tree(&repository, &to, &everything_below("many")).await.unwrap();
        assert_eq!(tree.len(), count.min(1000), "what is there is listed whole");
        let listed = list(&comparison);
        assert_eq!((listed.modified.len(), listed.removed.len()), (0, 0), "{comparison:?}");
        let added = listed.added.sorted();
        assert!(added.iter().all(|path| paths.iter().any(|made| made == path)), "{added:?}");
        assert_eq!(comparison.files.is_complete(), added.len() == count, "{} of {count}", added.len());
        if let Some(limit) = limit {
            assert!(!added.is_empty() && added.len() <= limit, "{} where {limit} are allowed", added.len());
        }
    }
}

fn list(comparison: &Comparison) -> &FileList {
    match &comparison.files {
        ChangedFiles::Complete(files) | ChangedFiles::Partial(files) => files,
        ChangedFiles::Unknown => panic!("a comparison knows something of the files"),
    }
}

fn assert_changes(comparison: &Comparison, added: &[&str], modified: &[&str], removed: &[&str]) {
    assert!(comparison.files.is_complete(), "so few files are a whole list: {comparison:?}");
    let files = list(comparison);
    let found = (files.added.sorted(), files.modified.sorted(), files.removed.sorted());
    assert_eq!(found, (added.to_vec(), modified.to_vec(), removed.to_vec()), "added, modified, removed");
}

fn assert_relation(comparison: &Comparison, expected: Relation) {
    let found = comparison.relation;
    assert!(found == expected || found == Relation::Unknown, "{found:?}, but it is {expected:?}");
}
