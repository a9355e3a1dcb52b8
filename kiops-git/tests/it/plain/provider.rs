//! What the provider answers about a repository on disk.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::event::ChangedFiles;
use kiops_core::name::CommitId;
use kiops_core::provider::{GitProvider, Relation, Search, TreeEntryKind, TreeQuery};
use kiops_core::stream;
use kiops_git::plain::{Plain, PlainConfig};

use super::{Fixture, full_ref, id, missing, named};

const MIB: usize = 1024 * 1024;

fn everything(folder: &str) -> TreeQuery {
    TreeQuery { folder: folder.into(), recursive: true, limit: 1000 }
}

#[tokio::test]
async fn repositories_below_the_roots_are_listed_in_pages() {
    let fixture = Fixture::new();
    for name in ["b/two.git", "b/c/three.git", "Zwei mit Leerzeichen.git"] {
        fixture.git(fixture.path(), &["init", "-q", "--bare", "-b", "trunk", &format!("srv/{name}")]);
    }
    fixture.git(fixture.path(), &["init", "-q", "--bare", "outside.git"]);
    std::os::unix::fs::symlink(fixture.path().join("outside.git"), fixture.path().join("srv/link.git"))
        .unwrap();
    let plain = fixture.plain();
    let all = plain.repositories(&Search::all()).await.unwrap();
    let root = fixture.path().join("srv");
    let paths: Vec<_> = all
        .items
        .iter()
        .map(|info| info.repository.path.strip_prefix(root.to_str().unwrap()).unwrap())
        .collect();
    assert_eq!(paths, ["/Zwei mit Leerzeichen.git", "/b/c/three.git", "/b/two.git", "/site.git"]);
    assert_eq!(all.next, None);
    assert_eq!(all.items[3].default_branch.as_ref().unwrap().as_str(), "main");
    assert_eq!(all.items[0].default_branch.as_ref().unwrap().as_str(), "trunk");

    let first = plain.repositories(&Search::text("SRV/b/").limit(1)).await.unwrap();
    assert!(first.items[0].repository.path.ends_with("three.git"));
    let second =
        plain.repositories(&Search::text("SRV/b/").limit(1).after(first.next.unwrap())).await.unwrap();
    assert!(second.items[0].repository.path.ends_with("two.git"));
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn branches_are_found_by_text_and_come_in_pages_of_name_order() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")], "one");
    for branch in ["feature/a/b", "Feature-2", "größe/#1", "a%2Fb", "refs/heads/x"] {
        fixture.run(&["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]);
    }
    fixture.run(&["push", "-q", "origin", "HEAD:refs/tags/feature-tag"]);
    let plain = fixture.plain();
    let repository = fixture.repository();
    let mut names = Vec::new();
    let mut search = Search::all().limit(4);
    loop {
        let page = plain.branches(&repository, &search).await.unwrap();
        assert!(page.items.iter().all(|head| head.commit == commit));
        names.extend(page.items.iter().map(|head| head.git_ref.branch().unwrap().to_string()));
        let Some(next) = page.next else { break };
        search = Search::all().limit(4).after(next);
    }
    assert_eq!(names, ["Feature-2", "a%2Fb", "feature/a/b", "größe/#1", "main", "refs/heads/x"]);
    let found = plain.branches(&repository, &Search::text("FEATURE")).await.unwrap();
    assert_eq!(found.items.len(), 2);
}

#[tokio::test]
async fn heads_are_branches_and_tags_with_the_commit_behind_every_annotation() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")], "one");
    fixture.run(&["tag", "light"]);
    fixture.run(&["tag", "-a", "-m", "x", "annotated"]);
    fixture.run(&["tag", "-a", "-m", "x", "twice", "annotated"]);
    let blob = fixture.run(&["rev-parse", "HEAD:a"]);
    fixture.run(&["tag", "blob", &blob]);
    // A tag named like a branch stays a tag (E52), also one whose name looks like a full ref.
    fixture.run(&["tag", "main"]);
    fixture.run(&["tag", "refs/heads/ghost"]);
    fixture.run(&["push", "-q", "origin", "--tags"]);
    fixture.git(&fixture.bare(), &["update-ref", "refs/merge-requests/7/head", first.as_str()]);
    let plain = fixture.plain();
    let repository = fixture.repository();
    let second = fixture.commit(&[("a", "2")], "two");

    let heads = plain.heads(&repository).await.unwrap();
    let heads: BTreeMap<String, CommitId> =
        heads.into_iter().map(|head| (head.git_ref.to_string(), head.commit)).collect();
    let expected = [
        ("refs/heads/main", &second),
        ("refs/tags/annotated", &first),
        ("refs/tags/light", &first),
        ("refs/tags/main", &first),
        ("refs/tags/refs/heads/ghost", &first),
        ("refs/tags/twice", &first),
    ];
    assert_eq!(heads, expected.into_iter().map(|(name, commit)| (name.to_owned(), commit.clone())).collect());

    let head = async |name: &str| plain.head(&repository, &full_ref(name)).await.unwrap();
    assert_eq!(head("refs/heads/main").await, Some(second));
    assert_eq!(head("refs/tags/main").await, Some(first.clone()));
    assert_eq!(head("refs/tags/twice").await, Some(first.clone()));
    assert_eq!(head("refs/merge-requests/7/head").await, Some(first));
    for absent in
        ["refs/heads/ghost", "refs/heads/mai", "refs/heads/site", "refs/tags/blob", "refs/tags/refs/heads"]
    {
        assert_eq!(head(absent).await, None, "{absent}");
    }
}

#[tokio::test]
async fn an_empty_repository_has_no_heads_and_no_commits() {
    let fixture = Fixture::new();
    let (plain, repository) = (fixture.plain(), fixture.repository());
    assert!(plain.heads(&repository).await.unwrap().is_empty());
    assert!(plain.branches(&repository, &Search::all()).await.unwrap().items.is_empty());
    assert_eq!(plain.head(&repository, &full_ref("refs/heads/main")).await.unwrap(), None);
    assert_eq!(plain.commit(&repository, &missing()).await.unwrap(), None);
}

#[tokio::test]
async fn a_deleted_branch_is_gone_at_the_next_call() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")], "one");
    fixture.run(&["push", "-q", "origin", "HEAD:refs/heads/gone"]);
    let (plain, repository) = (fixture.plain(), fixture.repository());
    assert_eq!(plain.head(&repository, &full_ref("refs/heads/gone")).await.unwrap(), Some(commit));
    fixture.run(&["push", "-q", "origin", ":refs/heads/gone"]);
    assert_eq!(plain.head(&repository, &full_ref("refs/heads/gone")).await.unwrap(), None);
}

#[tokio::test]
async fn a_commit_is_read_by_its_id_and_by_its_tag_object() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")], "one");
    let second = fixture.commit(&[("a", "2")], "Größe\n\nBody");
    fixture.run(&["tag", "-a", "-m", "not this", "v1"]);
    fixture.run(&["push", "-q", "origin", "v1"]);
    let tag = id(&fixture.run(&["rev-parse", "v1"]));
    assert_ne!(tag, second);
    let (plain, repository) = (fixture.plain(), fixture.repository());
    let commit = plain.commit(&repository, &tag).await.unwrap().unwrap();
    assert_eq!(commit.id, second);
    assert_eq!(commit.message, "Größe\n\nBody\n");
    assert_eq!(commit.author, "COMMITTER of tests");
    assert_eq!(commit.timestamp, Timestamp::from_second(1_700_000_000).unwrap());
    assert_eq!(commit.parents, [first]);
    assert_eq!(plain.commit(&repository, &second).await.unwrap(), Some(commit));
    // A tree has an id too, and is no commit.
    let tree = id(&fixture.run(&["rev-parse", "HEAD^{tree}"]));
    assert_eq!(plain.commit(&repository, &tree).await.unwrap(), None);
}

#[tokio::test]
async fn a_replace_ref_that_somebody_pushed_changes_no_commit() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "good")], "one");
    let second = fixture.commit(&[("a", "evil")], "two");
    fixture.run(&["push", "-q", "origin", &format!("{second}:refs/replace/{first}")]);
    let (plain, repository) = (fixture.plain(), fixture.repository());
    assert_eq!(plain.commit(&repository, &first).await.unwrap().unwrap().message, "one\n");
    assert_eq!(plain.file(&repository, &first, "a", 10).await.unwrap().unwrap(), "good");
}

#[tokio::test]
async fn a_comparison_lists_the_net_difference_and_both_names_of_a_renamed_file() {
    let fixture = Fixture::new();
    let long = "a line that git would recognise again\n".repeat(20);
    let first =
        fixture.commit(&[("old name", &long), ("same", "1"), ("gone", "x"), ("dir/mode", "x")], "one");
    fixture.run(&["mv", "old name", "new\nname"]);
    fixture.run(&["rm", "-q", "gone"]);
    let second = fixture.commit(&[("same", "2"), ("日本/ü", "x")], "two");
    let third = fixture.commit(&[("same", "1")], "back again");
    let (plain, repository) = (fixture.plain(), fixture.repository());
    let comparison = plain.compare(&repository, &first, &third).await.unwrap();
    assert_eq!(comparison.relation, Relation::Ahead);
    let ChangedFiles::Complete(files) = comparison.files else { panic!("not complete") };
    assert_eq!(files.added.sorted(), ["new\nname", "日本/ü"]);
    assert_eq!(files.removed.sorted(), ["gone", "old name"]);
    // Changed and changed back: no difference between the two (E60).
    assert!(files.modified.is_empty());

    let back = plain.compare(&repository, &third, &second).await.unwrap();
    assert_eq!(back.relation, Relation::Behind);
    assert_eq!(back.files.list().unwrap().modified.sorted(), ["same"]);
    let same = plain.compare(&repository, &second, &second).await.unwrap();
    assert_eq!(same.relation, Relation::Same);
    assert!(same.files.is_complete() && same.files.list().unwrap().is_empty());
}

#[tokio::test]
async fn after_a_force_push_the_two_commits_diverge_and_still_compare() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")], "base");
    let lost = fixture.commit(&[("lost", "1")], "lost");
    fixture.run(&["reset", "-q", "--hard", "HEAD~1"]);
    let kept = fixture.commit(&[("kept", "1")], "kept");
    let (plain, repository) = (fixture.plain(), fixture.repository());
    let comparison = plain.compare(&repository, &lost, &kept).await.unwrap();
    assert_eq!(comparison.relation, Relation::Diverged);
    let files = comparison.files.list().unwrap();
    assert_eq!((files.added.sorted(), files.removed.sorted()), (vec!["kept"], vec!["lost"]));

    let error = plain.compare(&repository, &missing(), &kept).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.remedy().unwrap().contains("force push"), "{error}");
}

#[tokio::test]
async fn a_comparison_with_too_many_files_says_that_it_is_partial() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")], "one");
    let names: Vec<String> = (0..50).map(|n| format!("file-{n}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let second = fixture.commit(&files, "two");
    for config in [
        PlainConfig { max_changed_files: 10, ..fixture.config() },
        PlainConfig { max_list_bytes: 110, ..fixture.config() },
    ] {
        let plain = Plain::new(config).unwrap();
        let comparison = plain.compare(&fixture.repository(), &first, &second).await.unwrap();
        let ChangedFiles::Partial(files) = comparison.files else { panic!("not partial") };
        assert!((1..=11).contains(&files.added.len()), "{files:?}");
        assert_eq!(comparison.relation, Relation::Ahead);
    }
}

#[tokio::test]
async fn trees_list_a_folder_or_everything_below_it_in_name_order() {
    let fixture = Fixture::new();
    fixture.write("run.sh", "#!/bin/sh");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(fixture.work().join("run.sh"), executable).unwrap();
    fixture.run(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", missing())]);
    std::os::unix::fs::symlink("run.sh", fixture.work().join("link")).unwrap();
    for (path, content) in
        [("a/b/deep file", "123"), ("a.txt", "x"), ("a-b", "x"), ("neu\nzeile", "x"), ("#%/ü", "x")]
    {
        fixture.write(path, content);
    }
    fixture.run(&["add", "--ignore-removal", "."]);
    fixture.run(&["commit", "-q", "-m", "y"]);
    fixture.push();
    let commit = id(&fixture.run(&["rev-parse", "HEAD"]));
    let (plain, repository) = (fixture.plain(), fixture.repository());

    let root = TreeQuery { recursive: false, ..everything("") };
    let entries = plain.tree(&repository, &commit, &root).await.unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.kind, entry.size)).collect();
    assert_eq!(
        seen,
        [
            ("#%", TreeEntryKind::Folder, None),
            ("a", TreeEntryKind::Folder, None),
            ("a-b", TreeEntryKind::File, Some(1)),
            ("a.txt", TreeEntryKind::File, Some(1)),
            ("link", TreeEntryKind::Symlink, Some(6)),
            ("neu\nzeile", TreeEntryKind::File, Some(1)),
            ("run.sh", TreeEntryKind::Executable, Some(9)),
            ("sub", TreeEntryKind::Submodule, None),
        ]
    );
    let all = plain.tree(&repository, &commit, &everything("")).await.unwrap();
    let paths: Vec<_> = all.iter().map(|entry| entry.path.as_str()).collect();
    assert!(paths.contains(&"a/b/deep file") && paths.contains(&"a/b") && paths.contains(&"#%/ü"));
    let below = plain.tree(&repository, &commit, &everything("a")).await.unwrap();
    let below: Vec<_> = below.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(below, ["a/b", "a/b/deep file"]);
    let few = plain.tree(&repository, &commit, &TreeQuery { limit: 2, ..everything("") }).await.unwrap();
    assert_eq!(few, all[..2]);
    for (folder, kind) in
        [("none", ErrorKind::NotFound), ("a.txt", ErrorKind::NotFound), ("a/", ErrorKind::Invalid)]
    {
        let error = plain.tree(&repository, &commit, &everything(folder)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{folder}: {error}");
    }
    let error = plain.tree(&repository, &missing(), &everything("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn files_are_read_up_to_their_cap() {
    let fixture = Fixture::new();
    let big = "x".repeat(100_000);
    fixture.write("a/b", "1");
    std::os::unix::fs::symlink("a/b", fixture.work().join("link")).unwrap();
    let commit = fixture.commit(
        &[("Dockerfile", "FROM scratch\n"), ("neu\nzeile", "n"), ("big", &big), ("empty", "")],
        "one",
    );
    let (plain, repository) = (fixture.plain(), fixture.repository());
    let file = async |path: &str, cap: usize| plain.file(&repository, &commit, path, cap).await;
    assert_eq!(file("Dockerfile", 100).await.unwrap().unwrap(), "FROM scratch\n");
    assert_eq!(file("neu\nzeile", 1).await.unwrap().unwrap(), "n");
    assert_eq!(file("empty", 0).await.unwrap().unwrap(), "");
    assert_eq!(file("link", 100).await.unwrap().unwrap(), "a/b");
    assert_eq!(file("big", 100_000).await.unwrap().unwrap().len(), 100_000);
    assert_eq!(file("big", 99_999).await.unwrap_err().kind(), ErrorKind::TooLarge);
    for absent in ["none", "a", "a/none", "Dockerfile/x"] {
        assert_eq!(file(absent, 100).await.unwrap(), None, "{absent}");
    }
    assert_eq!(plain.file(&repository, &missing(), "a", 10).await.unwrap(), None);
}

#[tokio::test]
async fn sha256_repositories_work_throughout() {
    let fixture = Fixture::with_format("sha256");
    let first = fixture.commit(&[("a", "1")], "one");
    let second = fixture.commit(&[("b", "1")], "two");
    assert_eq!(second.as_str().len(), 64);
    fixture.run(&["tag", "-a", "-m", "x", "v1"]);
    fixture.run(&["push", "-q", "origin", "v1"]);
    let (plain, repository) = (fixture.plain(), fixture.repository());
    assert_eq!(plain.head(&repository, &full_ref("refs/tags/v1")).await.unwrap(), Some(second.clone()));
    assert_eq!(plain.heads(&repository).await.unwrap().len(), 2);
    assert_eq!(
        plain.commit(&repository, &second).await.unwrap().unwrap().parents,
        std::slice::from_ref(&first)
    );
    let comparison = plain.compare(&repository, &first, &second).await.unwrap();
    assert_eq!(comparison.relation, Relation::Ahead);
    assert_eq!(comparison.files.list().unwrap().added.sorted(), ["b"]);
    assert_eq!(plain.tree(&repository, &second, &everything("")).await.unwrap().len(), 2);
    assert_eq!(plain.file(&repository, &second, "a", 10).await.unwrap().unwrap(), "1");
    let archive = plain.archive(&repository, &second).await.unwrap();
    assert!(!stream::collect(archive, MIB).await.unwrap().is_empty());
    // The first 40 digits of a SHA-256 id are an abbreviation, not an id.
    let short = id(&second.as_str()[..40]);
    assert_eq!(plain.commit(&repository, &short).await.unwrap(), None);
}

#[tokio::test]
async fn a_program_outside_clones_from_the_address_given() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")], "one");
    let access = fixture.plain().clone_access(&fixture.repository(), &commit).await.unwrap();
    assert!(access.credential.is_none());
    fixture.git(fixture.path(), &["clone", "-q", &access.url, "copy"]);
    assert_eq!(fixture.git(&fixture.path().join("copy"), &["rev-parse", "HEAD"]), commit.as_str());
}

#[tokio::test]
async fn paths_with_spaces_and_signs_are_repositories_by_path_and_by_file_address() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")], "one");
    let odd = fixture.path().join("srv/größe #1 100%.git");
    std::fs::rename(fixture.bare(), &odd).unwrap();
    let plain = fixture.plain();
    let by_path = named(odd.to_str().unwrap());
    let access = plain.clone_access(&by_path, &commit).await.unwrap();
    for repository in [by_path, named(&access.url)] {
        assert_eq!(plain.heads(&repository).await.unwrap()[0].commit, commit, "{}", repository.path);
    }
}
