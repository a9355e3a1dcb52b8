//! What the provider answers about a repository on disk.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::event::ChangedFiles;
use kiops_core::name::CommitId;
use kiops_core::provider::{GitProvider, Relation, Search, TreeEntryKind, TreeQuery};
use kiops_core::run::{ProviderSource, SourceAccess as _};
use kiops_core::stream;
use kiops_git::plain::{Plain, PlainConfig};

use super::{Fixture, fake_git, full_ref, id, named};

const MIB: usize = 1024 * 1024;

fn missing() -> CommitId {
    id(&"1".repeat(40))
}

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

    let first = plain.repositories(&Search::text("B/").limit(1)).await.unwrap();
    assert!(first.items[0].repository.path.ends_with("three.git"));
    let second = plain.repositories(&Search::text("B/").limit(1).after(first.next.unwrap())).await.unwrap();
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
    assert_eq!(commit.author, "AUTHOR of tests");
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
        assert_eq!(files.added.len(), 10);
        assert_eq!(comparison.relation, Relation::Ahead);
    }
}

#[tokio::test]
async fn trees_list_a_folder_or_everything_below_it_in_name_order() {
    let fixture = Fixture::new();
    fixture.write("run.sh", "#!/bin/sh");
    fixture.run(&["add", "-A"]);
    fixture.run(&["update-index", "--chmod=+x", "run.sh"]);
    fixture.run(&["commit", "-q", "-m", "x"]);
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
async fn an_archive_is_the_tree_as_committed_whatever_its_attributes_say() {
    let fixture = Fixture::new();
    fixture.write("run.sh", "#!/bin/sh");
    fixture.run(&["add", "-A"]);
    fixture.run(&["update-index", "--chmod=+x", "run.sh"]);
    fixture.run(&["commit", "-q", "-m", "x"]);
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
