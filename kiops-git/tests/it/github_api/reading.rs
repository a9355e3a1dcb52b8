use std::collections::BTreeMap;

use bytes::Bytes;
use kiops_core::ErrorKind;
use kiops_core::event::{ChangedFiles, Repository};
use kiops_core::name::CommitId;
use kiops_core::provider::{GitProvider as _, Relation, Search, TreeQuery};
use kiops_core::testing::conformance::git_provider::{Entry, GitHost as _, NewCommit};
use kiops_git::rest::HostConfig;

use super::face::WEB;
use super::{app, github, with};
use crate::hosts::{Backing, InProcess, TOKEN, first_commit};
use crate::plain::{full_ref, id};

async fn commit(
    host: &Backing,
    repository: &Repository,
    parents: &[&CommitId],
    paths: impl IntoIterator<Item = String>,
) -> CommitId {
    let entries: BTreeMap<String, Entry> =
        paths.into_iter().map(|path| (path, Entry::File(Bytes::from_static(b"x")))).collect();
    let commit = NewCommit {
        parents: parents.iter().map(|parent| (*parent).clone()).collect(),
        message: "More\n".into(),
        author: "Ada".into(),
        timestamp: jiff::Timestamp::UNIX_EPOCH,
        entries,
    };
    let commit = host.commit(repository, &commit).await;
    host.point(repository, &full_ref("refs/heads/main"), Some(&commit)).await;
    commit
}

fn asked_for(host: &InProcess, word: &str) -> usize {
    host.asked().iter().filter(|asked| asked.path.iter().any(|part| part == word)).count()
}

#[tokio::test]
async fn a_clone_is_for_x_access_token_and_the_token_is_not_in_its_address() {
    let (host, _, repository) = app().await;
    let access = github(&host).clone_access(&repository, &id(&"a".repeat(40))).await.unwrap();
    assert_eq!(access.url, format!("{WEB}/team/app.git"));
    let credential = access.credential.unwrap();
    assert_eq!(
        (credential.username.as_str(), credential.password.expose_str()),
        ("x-access-token", Some(TOKEN))
    );
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn what_is_no_owner_and_name_is_refused_before_anything_is_asked() {
    let (host, ..) = app().await;
    for path in
        ["app", "team/app/sub", "team/", "/app", "team/..", "../app", "te am/app", "team/app?x", "größe/app"]
    {
        let repository = Repository { id: None, path: path.into() };
        let error = github(&host).heads(&repository).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}");
        assert!(error.remedy().unwrap().contains("owner/name"));
    }
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn an_id_of_64_digits_is_not_at_github_and_not_asked_for() {
    let (host, _, repository) = app().await;
    let (provider, long) = (github(&host), id(&"a".repeat(64)));
    assert_eq!(provider.commit(&repository, &long).await.unwrap(), None);
    assert_eq!(provider.file(&repository, &long, "a", 10).await.unwrap(), None);
    let error = provider.compare(&repository, &long, &long).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn an_apps_token_lists_what_its_installation_was_given() {
    let (host, face, repository) = app().await;
    face.state().of_app = true;
    face.state().page = 1;
    let other = host.host.named("other");
    host.host.create(&other).await;
    let found = github(&host).repositories(&Search::text("o")).await.unwrap();
    assert_eq!(found.items.len(), 1, "{found:?}");
    assert_eq!(found.items[0].repository, other);
    let found = github(&host).repositories(&Search::all().limit(1)).await.unwrap();
    assert_eq!((&found.items[0].repository, found.next.as_deref()), (&repository, Some("2.0")));
    let rest = github(&host).repositories(&Search::all().after("2.0")).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
}

#[tokio::test]
async fn a_page_of_repositories_that_nobody_gave_is_refused() {
    let (host, ..) = app().await;
    for after in ["x", "1", "0.0", "1.x", "-1.0", "99999999999999999999.0"] {
        let error = github(&host).repositories(&Search::all().after(after)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{after}");
    }
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn many_annotated_tags_cost_few_calls_and_lead_to_their_commits() {
    let (host, _, repository) = app().await;
    let first = first_commit(&host.host, &repository).await;
    let mut objects = BTreeMap::new();
    for n in 0..25 {
        let tag = kiops_core::name::GitTag::parse(format!("v{n}")).unwrap();
        let object = host.host.annotate(&repository, &tag, &first).await;
        objects.insert(full_ref(&format!("refs/tags/{tag}")), object);
    }
    // A tag of a tag, and one of a file, which is no commit's.
    let object = objects.values().next().unwrap().clone();
    let bare = host.host.folder.bare(&repository);
    let text =
        format!("object {object}\ntype tag\ntag outer\ntagger Ada <ada@kiops.invalid> 1 +0000\n\nText\n");
    let outer = id(&host.host.folder.run(&bare, &["mktag"], text.as_bytes()));
    let file = id(&host.host.folder.run(&bare, &["hash-object", "-w", "--stdin"], b"text"));
    for (name, object) in [("outer", &outer), ("file", &file)] {
        host.host.point(&repository, &full_ref(&format!("refs/tags/{name}")), Some(object)).await;
    }
    objects.insert(full_ref("refs/tags/outer"), outer);
    let heads = github(&host).heads(&repository).await.unwrap();
    assert_eq!(heads.len(), objects.len());
    for head in heads {
        assert_eq!(
            (head.object.as_ref(), &head.commit),
            (objects.get(&head.git_ref), &first),
            "{}",
            head.git_ref
        );
    }
    assert!(host.asked().len() < 8, "{} calls", host.asked().len());
}

#[tokio::test]
async fn a_commit_that_is_ahead_is_compared_by_one_call() {
    let (host, _, repository) = app().await;
    let first = commit(&host.host, &repository, &[], ["a".to_owned()]).await;
    let second = commit(&host.host, &repository, &[&first], ["a", "b"].map(str::to_owned)).await;
    let compared = github(&host).compare(&repository, &first, &second).await.unwrap();
    assert_eq!(compared.relation, Relation::Ahead);
    assert_eq!(compared.files.list().unwrap().paths().collect::<Vec<_>>(), ["b"]);
    assert_eq!((host.asked().len(), asked_for(&host, "trees")), (1, 0));
}

#[tokio::test]
async fn more_files_than_github_lists_are_all_found_in_the_trees() {
    let (host, face, repository) = app().await;
    let many = |count: usize| (0..count).map(|n| format!("many/{n:04}"));
    let first = commit(&host.host, &repository, &[], ["a".to_owned()]).await;
    let second = commit(&host.host, &repository, &[&first], many(420)).await;
    let compared = github(&host).compare(&repository, &first, &second).await.unwrap();
    let ChangedFiles::Complete(list) = &compared.files else { panic!("{:?}", compared.relation) };
    assert_eq!((list.added.len(), list.removed.len()), (420, 1));
    // Where the trees are cut off, GitHub's list is a part of the truth.
    face.state().tree = 100;
    let compared = github(&host).compare(&repository, &first, &second).await.unwrap();
    let ChangedFiles::Partial(list) = &compared.files else { panic!("{:?}", compared.relation) };
    assert_eq!((list.added.len(), compared.relation), (300, Relation::Ahead));
    // Backwards it is none: it says what the common ancestor has not.
    let compared = github(&host).compare(&repository, &second, &first).await.unwrap();
    assert_eq!((compared.files, compared.relation), (ChangedFiles::Unknown, Relation::Behind));
}

#[tokio::test]
async fn a_tree_that_github_cuts_off_is_refused_and_one_level_of_it_is_not() {
    let (host, face, repository) = app().await;
    let paths = (0..20).map(|n| format!("folder/{n:02}")).chain(["z".to_owned()]);
    let commit = commit(&host.host, &repository, &[], paths).await;
    face.state().tree = 10;
    let query = |folder: &str, recursive| TreeQuery { folder: folder.into(), recursive, limit: 5 };
    let provider = github(&host);
    let error = provider.tree(&repository, &commit, &query("", true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.remedy().is_some());
    assert_eq!(provider.tree(&repository, &commit, &query("", false)).await.unwrap().len(), 2);
    // What is not among those listed may be there.
    let error = provider.file(&repository, &commit, "folder/19", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(provider.file(&repository, &commit, "folder/03", 10).await.unwrap().is_some());
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_up_to_a_limit() {
    let (host, face, repository) = app().await;
    face.state().page = 2;
    let commit = first_commit(&host.host, &repository).await;
    for n in 0..5 {
        host.host.point(&repository, &full_ref(&format!("refs/heads/b{n}")), Some(&commit)).await;
    }
    assert_eq!(github(&host).branches(&repository, &Search::all()).await.unwrap().items.len(), 5);
    assert_eq!(host.asked().len(), 3);
    let few = HostConfig { max_entries: 4, ..HostConfig::new(WEB) };
    for error in [
        with(few.clone(), &host).branches(&repository, &Search::all()).await.map(drop).unwrap_err(),
        with(few, &host).heads(&repository).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }
}
