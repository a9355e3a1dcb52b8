//! Commits: what stands in them, and that an id always means the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::fixtures::{everything_below, full_ref};
use super::{Entry, Feature, GitBench, NewCommit};
use crate::testing::conformance::Subject;

/// In letters of any script. Who it is for only has to show it: the author's name stands in what is said of them.
pub async fn a_commit_says_its_whole_message_author_and_time(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, repository) = (bench.provider.as_ref(), bench.repository().await);
    let long = format!("Subject\n\n{}\n", "a long body line\n".repeat(200).trim_end());
    let messages =
        ["One line\n", "Größe: 日本語\n\nBody with `$(id)`, \"quotes\"\n\n  and a second part\n", &long];
    for (at, message) in messages.into_iter().enumerate() {
        let commit = NewCommit {
            parents: Vec::new(),
            message: message.to_owned(),
            author: "Ada Größe".into(),
            timestamp: Timestamp::from_second(1_600_000_000 + i64::try_from(at).expect("few"))
                .expect("a time"),
            entries: BTreeMap::from([("a".to_owned(), Entry::File(Bytes::from_static(b"1")))]),
        };
        let id = bench.host.commit(&repository, &commit).await;
        bench.point(&repository, "refs/heads/main", Some(&id)).await;
        let found = provider.commit(&repository, &id).await.unwrap().expect("it is there");
        assert_eq!(found.id, id);
        assert_eq!(found.message.trim_end(), message.trim_end());
        assert!(found.author.contains("Ada Größe"), "{}", found.author);
        assert_eq!(found.timestamp, commit.timestamp);
        assert_eq!(found.parents, []);
    }
}

/// None, one, or, where the host has merges, several.
pub async fn a_commit_names_its_parents_in_order(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, root)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let left = bench.commit(&repository, &[&root], &[("a", "2")]).await;
    let right = bench.commit(&repository, &[&root], &[("a", "1"), ("b", "1")]).await;
    let mut cases = vec![(root.clone(), vec![]), (left.clone(), vec![&root]), (right.clone(), vec![&root])];
    bench.point(&repository, "refs/heads/main", Some(&left)).await;
    bench.point(&repository, "refs/heads/right", Some(&right)).await;
    if bench.host.has(Feature::Merges) {
        let merge = bench.commit(&repository, &[&right, &left], &[("a", "2"), ("b", "1")]).await;
        bench.point(&repository, "refs/heads/main", Some(&merge)).await;
        cases.push((merge, vec![&right, &left]));
    }
    for (commit, parents) in cases {
        let found = provider.commit(&repository, &commit).await.unwrap().expect("it is there");
        assert_eq!(found.parents.iter().collect::<Vec<_>>(), parents);
    }
}

/// Also when a branch of another name, or of the id's own digits, points somewhere else.
pub async fn a_full_id_gives_the_same_answer_wherever_the_branches_go(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, first)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let commit = provider.commit(&repository, &first).await.unwrap().expect("it is there");
    let second = bench.commit(&repository, &[&first], &[("a", "2"), ("b", "2")]).await;
    for (name, to) in [("main", &second), (first.as_str(), &second), (first.short(), &second)] {
        bench.point(&repository, &format!("refs/heads/{name}"), Some(to)).await;
        bench.point(&repository, &format!("refs/tags/{name}"), Some(to)).await;
        assert_eq!(provider.commit(&repository, &first).await.unwrap().as_ref(), Some(&commit), "{name}");
        assert_eq!(provider.file(&repository, &first, "a", 10).await.unwrap().unwrap(), "1", "{name}");
        let tree = provider.tree(&repository, &first, &everything_below("")).await.unwrap();
        assert_eq!(tree.len(), 1, "{name}: {tree:?}");
        let comparison = provider.compare(&repository, &first, &first).await.unwrap();
        assert!(comparison.files.list().is_some_and(|files| files.is_empty()), "{name}: {comparison:?}");
    }
}

/// What lives in memory only has nothing to prove here.
pub async fn what_was_read_is_read_again_after_a_restart(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (repository, commit) = bench.with(&[("a", "1")]).await;
    let before = bench.provider.commit(&repository, &commit).await.unwrap();
    drop(bench);
    let Some(bench) = subject.reopen().await else { return };
    assert_eq!(bench.provider.commit(&repository, &commit).await.unwrap(), before);
    assert_eq!(bench.provider.file(&repository, &commit, "a", 10).await.unwrap().unwrap(), "1");
    let head = bench.provider.head(&repository, &full_ref("refs/heads/main")).await.unwrap();
    assert_eq!(head, Some(commit));
}
