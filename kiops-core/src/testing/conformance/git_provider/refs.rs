//! Repositories, branches and tags: which there are, and what they point at.

use std::collections::BTreeMap;

use super::fixtures::{branches, everything_below, full_ref, names, repositories};
use super::{Feature, GitBench};
use crate::name::{CommitId, GitTag};
use crate::provider::Search;
use crate::stream;
use crate::testing::conformance::Subject;
use crate::testing::conformance::fresh::word;

/// Names that Git allows, in byte order.
const BRANCHES: [&str; 11] = [
    "$(id)",
    "%2e%2e%2fx",
    "Feature-2",
    "a&b=c;d|e",
    "feature",
    "feature-1/a/b/c",
    "fix/#12",
    "größe/日本語",
    "main",
    "refs/heads/main",
    "v1.0",
];

/// Always the same one: webhooks and services name it.
pub async fn the_provider_has_a_name(subject: &dyn Subject<GitBench>) {
    let (one, two) = (subject.open().await, subject.open().await);
    assert_eq!(one.provider.name(), two.provider.name());
}

/// Wherever in the path it stands, whatever its case, each once. Proved where repositories can be listed.
pub async fn repositories_are_found_by_a_text_in_their_path_page_by_page(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    if !bench.host.has(Feature::Listing) {
        return;
    }
    let provider = bench.provider.as_ref();
    let word = word();
    assert_eq!(repositories(provider, &word, 0).await, [""; 0]);
    let mut made = Vec::new();
    for name in [format!("one{word}"), format!("two{word}"), format!("{word}three"), word.clone()] {
        let repository = bench.host.named(&name);
        bench.host.create(&repository).await;
        made.push(repository.path);
    }
    let found = repositories(provider, &word, 0).await;
    let mut sorted = found.clone();
    sorted.sort();
    made.sort();
    assert_eq!(sorted, made);
    for limit in [1, 2, 3, 4, 100] {
        assert_eq!(repositories(provider, &word, limit).await, found, "{limit} at a time");
    }
    assert_eq!(repositories(provider, &format!("TWO{}", word.to_uppercase()), 0).await.len(), 1);
}

/// Nothing twice and nothing left out, however long a page is. Tags are no branches.
pub async fn every_branch_comes_once_in_name_order_page_by_page(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, first)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let second = bench.commit(&repository, &[&first], &[("a", "2")]).await;
    for (at, name) in BRANCHES.iter().enumerate() {
        let commit = if at % 2 == 0 { &first } else { &second };
        bench.point(&repository, &format!("refs/heads/{name}"), Some(commit)).await;
    }
    bench.point(&repository, "refs/tags/b-tag", Some(&second)).await;
    for limit in [0, 1, 2, 3, 5, 100] {
        let found = branches(provider, &repository, "", limit).await;
        assert_eq!(names(&found), BRANCHES, "{limit} at a time");
    }
    for head in branches(provider, &repository, "", 0).await {
        let at = BRANCHES.iter().position(|name| head.git_ref == full_ref(&format!("refs/heads/{name}")));
        let expected = if at.expect("it was made") % 2 == 0 { &first } else { &second };
        assert_eq!(head.commit, *expected, "{}", head.git_ref);
    }
}

/// Wherever in the name it stands. A page is filled with what was asked for.
pub async fn branches_are_found_by_a_text_whatever_its_case(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, commit)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    for name in ["Feature-2", "a/feature/b", "feature-1", "x.y", "x-y"] {
        bench.point(&repository, &format!("refs/heads/{name}"), Some(&commit)).await;
    }
    bench.point(&repository, "refs/tags/feature", Some(&commit)).await;
    for limit in [0, 1, 2] {
        for text in ["feature", "FEATURE"] {
            let found = branches(provider, &repository, text, limit).await;
            assert_eq!(
                names(&found),
                ["Feature-2", "a/feature/b", "feature-1"],
                "`{text}`, {limit} at a time"
            );
        }
    }
    assert_eq!(names(&branches(provider, &repository, "X.Y", 0).await), ["x.y"], "a dot is a dot");
    assert_eq!(names(&branches(provider, &repository, "nothing", 0).await), [""; 0]);
    let page = provider.branches(&repository, &Search::text("feature").limit(1)).await.unwrap();
    assert_eq!((names(&page.items), page.next.is_some()), (vec!["Feature-2"], true));
}

/// Slashes, signs, letters of any script, and what looks like something else: none is a pattern, a path or a part of another.
pub async fn names_of_refs_are_taken_as_they_are(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, repository) = (bench.provider.as_ref(), bench.repository().await);
    let mut made: Vec<(&str, CommitId)> = Vec::new();
    for name in BRANCHES {
        let commit = bench.commit(&repository, &[], &[("name", name)]).await;
        bench.point(&repository, &format!("refs/heads/{name}"), Some(&commit)).await;
        made.push((name, commit));
    }
    for (name, commit) in &made {
        let found = provider.head(&repository, &full_ref(&format!("refs/heads/{name}"))).await.unwrap();
        assert_eq!(found.as_ref(), Some(commit), "{name}");
    }
    for absent in ["feature-1", "feature-1/a/b", "b/c", "mai", "main/x", "MAIN", "../x", "id", "refs/heads"] {
        let Ok(git_ref) = crate::name::GitRef::parse(&format!("refs/heads/{absent}")) else { continue };
        assert_eq!(provider.head(&repository, &git_ref).await.unwrap(), None, "{absent}");
    }
}

/// Also where the tag's name looks like a whole ref (E51, E52).
pub async fn a_branch_and_a_tag_of_one_name_are_told_apart(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, branch)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let tag = bench.commit(&repository, &[&branch], &[("a", "2")]).await;
    for name in ["refs/tags/main", "refs/tags/refs/heads/ghost", "refs/tags/only"] {
        bench.point(&repository, name, Some(&tag)).await;
    }
    let cases = [
        ("refs/heads/main", Some(&branch)),
        ("refs/tags/main", Some(&tag)),
        ("refs/tags/refs/heads/ghost", Some(&tag)),
        ("refs/heads/ghost", None),
        ("refs/heads/only", None),
        ("refs/tags/only", Some(&tag)),
    ];
    for (name, expected) in cases {
        assert_eq!(provider.head(&repository, &full_ref(name)).await.unwrap().as_ref(), expected, "{name}");
    }
}

/// Forward, back, gone, and back again: no answer is an old one.
pub async fn a_ref_that_moves_shows_its_newest_commit_at_the_next_call(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, first)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let second = bench.commit(&repository, &[&first], &[("a", "2")]).await;
    for name in ["refs/heads/feature/a", "refs/tags/moved"] {
        for commit in [Some(&first), Some(&second), Some(&first), None, Some(&second)] {
            bench.point(&repository, name, commit).await;
            let head = provider.head(&repository, &full_ref(name)).await.unwrap();
            assert_eq!(head.as_ref(), commit, "{name}");
            let heads = provider.heads(&repository).await.unwrap();
            let listed = heads.iter().find(|head| head.git_ref == full_ref(name)).map(|head| &head.commit);
            assert_eq!(listed, commit, "{name} among the heads");
        }
    }
    assert_eq!(names(&branches(provider, &repository, "feature", 0).await), ["feature/a"]);
}

/// However many there are: what is left out here is a lost push.
pub async fn every_branch_and_tag_is_a_head_once(subject: &dyn Subject<GitBench>) {
    const MANY: usize = 120;
    let bench = subject.open().await;
    let (provider, (repository, commit)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let newer = bench.commit(&repository, &[&commit], &[("a", "2")]).await;
    let mut expected = BTreeMap::from([(full_ref("refs/heads/main"), commit.clone())]);
    for n in 0..MANY {
        let (kind, commit) = if n % 3 == 0 { ("tags", &newer) } else { ("heads", &commit) };
        let name = full_ref(&format!("refs/{kind}/n/{n}"));
        bench.host.point(&repository, &name, Some(commit)).await;
        expected.insert(name, commit.clone());
    }
    let found = provider.heads(&repository).await.unwrap();
    assert_eq!(found.len(), expected.len(), "each once");
    let found: BTreeMap<_, _> = found.into_iter().map(|head| (head.git_ref, head.commit)).collect();
    assert_eq!(found, expected);
}

/// As head, among the heads, and as a commit by the id of its object. Proved where the host has such tags.
pub async fn an_annotated_tag_is_the_commit_behind_it(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    if !bench.host.has(Feature::AnnotatedTags) {
        return;
    }
    let (provider, (repository, commit)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let tag = GitTag::parse("v1.0/größe").expect("a tag");
    let object = bench.host.annotate(&repository, &tag, &commit).await;
    assert_ne!(object, commit, "the tag is an object of its own");
    let git_ref = full_ref(&format!("refs/tags/{tag}"));
    assert_eq!(provider.head(&repository, &git_ref).await.unwrap().as_ref(), Some(&commit));
    let heads = provider.heads(&repository).await.unwrap();
    let listed: Vec<_> = heads.iter().filter(|head| head.git_ref == git_ref).collect();
    assert_eq!(listed.len(), 1, "{heads:?}");
    assert_eq!(listed[0].commit, commit);
    let read =
        provider.commit(&repository, &object).await.unwrap().expect("a tag's object leads to its commit");
    assert_eq!(read.id, commit);
    assert_eq!(provider.commit(&repository, &commit).await.unwrap(), Some(read));
}

/// It is there, and no error.
pub async fn an_empty_repository_has_no_refs(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, repository) = (bench.provider.as_ref(), bench.repository().await);
    assert_eq!(provider.heads(&repository).await.unwrap(), []);
    assert_eq!(names(&branches(provider, &repository, "", 0).await), [""; 0]);
    assert_eq!(provider.head(&repository, &full_ref("refs/heads/main")).await.unwrap(), None);
}

/// Every call only reads.
pub async fn no_call_changes_anything(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, first)) = (bench.provider.as_ref(), bench.with(&[("a/b", "1")]).await);
    let second = bench.commit(&repository, &[&first], &[("a/b", "2")]).await;
    bench.point(&repository, "refs/heads/main", Some(&second)).await;
    let before = provider.heads(&repository).await.unwrap();
    for _ in 0..2 {
        provider.repositories(&Search::all()).await.unwrap();
        provider.branches(&repository, &Search::all()).await.unwrap();
        provider.head(&repository, &full_ref("refs/heads/main")).await.unwrap();
        provider.commit(&repository, &first).await.unwrap().expect("it is there");
        provider.compare(&repository, &first, &second).await.unwrap();
        provider.tree(&repository, &first, &everything_below("")).await.unwrap();
        provider.file(&repository, &first, "a/b", 100).await.unwrap().expect("it is there");
        stream::collect(provider.archive(&repository, &first).await.unwrap(), 1 << 20).await.unwrap();
        if bench.host.has(Feature::Cloning) {
            provider.clone_access(&repository, &first).await.unwrap();
        }
        assert_eq!(provider.heads(&repository).await.unwrap(), before);
    }
}
