//! Several at once. A runtime of one thread proves less here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use super::GitBench;
use super::fixtures::{everything_below, full_ref, missing};
use crate::provider::Search;
use crate::stream;
use crate::testing::conformance::Subject;

/// Of several commits in several repositories, some of which are not there.
pub async fn many_questions_at_once_each_get_their_own_answer(subject: &dyn Subject<GitBench>) {
    const COMMITS: usize = 6;
    let bench = subject.open().await;
    let mut places = Vec::new();
    for _ in 0..2 {
        let repository = bench.repository().await;
        let mut parent = None;
        for n in 0..COMMITS {
            let (name, text) = (format!("file-{n}"), format!("{} {n}", repository.path));
            let parents: Vec<_> = parent.iter().collect();
            let commit = bench.commit(&repository, &parents, &[(&name, &text), ("same", "1")]).await;
            bench.point(&repository, &format!("refs/heads/n/{n}"), Some(&commit)).await;
            places.push((repository.clone(), commit.clone(), parent.replace(commit), name, text));
        }
    }
    let askers = (0..3).flat_map(|_| places.clone()).map(|(repository, commit, parent, name, text)| {
        let provider = Arc::clone(&bench.provider);
        tokio::spawn(async move {
            let branch = full_ref(&format!("refs/heads/n/{}", name.trim_start_matches("file-")));
            let (absent, all) = (missing(&commit), everything_below(""));
            let (head, read, nothing, file, tree, heads) = tokio::join!(
                provider.head(&repository, &branch),
                provider.commit(&repository, &commit),
                provider.commit(&repository, &absent),
                provider.file(&repository, &commit, &name, 1000),
                provider.tree(&repository, &commit, &all),
                provider.heads(&repository),
            );
            assert_eq!(head.unwrap().as_ref(), Some(&commit));
            let read = read.unwrap().expect("it is there");
            assert_eq!((&read.id, read.parents.first()), (&commit, parent.as_ref()));
            assert_eq!(nothing.unwrap(), None);
            assert_eq!(file.unwrap().expect("it is there"), text);
            assert_eq!(tree.unwrap().len(), 2);
            assert_eq!(heads.unwrap().len(), COMMITS);
            let branches = provider.branches(&repository, &Search::text("n/")).await.unwrap();
            assert_eq!(branches.items.len(), COMMITS);
            if let Some(parent) = parent {
                let comparison = provider.compare(&repository, &parent, &commit).await.unwrap();
                let files = comparison.files.list().expect("it knows the files").clone();
                assert_eq!(files.added.sorted(), [name.as_str()]);
            }
            let archive = provider.archive(&repository, &commit).await.unwrap();
            let archive = stream::collect(archive, 1 << 20).await.unwrap();
            let stands = archive.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(stands, "the archive of {commit} is another one's");
        })
    });
    let askers: Vec<_> = askers.collect();
    for asker in join_all(askers).await {
        asker.expect("every question got its answer");
    }
}

/// Never nothing, and never a third one.
pub async fn readers_of_a_branch_that_moves_see_it_before_or_after(subject: &dyn Subject<GitBench>) {
    const READERS: usize = 3;
    const MOVES: usize = 10;
    let bench = subject.open().await;
    let (repository, first) = bench.with(&[("a", "1")]).await;
    let second = bench.commit(&repository, &[&first], &[("a", "2")]).await;
    let over = Arc::new(AtomicBool::new(false));
    let readers = (0..READERS).map(|_| {
        let (provider, repository) = (Arc::clone(&bench.provider), repository.clone());
        let (over, known) = (Arc::clone(&over), [first.clone(), second.clone()]);
        tokio::spawn(async move {
            let main = full_ref("refs/heads/main");
            while !over.load(Ordering::Acquire) {
                let head =
                    provider.head(&repository, &main).await.unwrap().expect("a branch that moves is there");
                assert!(known.contains(&head), "{head} was never its head");
                let heads = provider.heads(&repository).await.unwrap();
                assert!(heads.iter().any(|head| head.git_ref == main), "{heads:?}");
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for commit in [&second, &first].into_iter().cycle().take(MOVES) {
        bench.point(&repository, "refs/heads/main", Some(commit)).await;
        let head = bench.provider.head(&repository, &full_ref("refs/heads/main")).await.unwrap();
        assert_eq!(head.as_ref(), Some(commit));
    }
    over.store(true, Ordering::Release);
    for reader in join_all(readers).await {
        reader.expect("every reader always found the branch");
    }
}
