use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::provider::{GitProvider as _, Search, TreeQuery};
use kiops_core::secret::Secret;
use kiops_core::testing::conformance::git_provider::{Entry, GitHost as _, NewCommit};
use kiops_git::bitbucket::Bitbucket;
use kiops_git::rest::HostConfig;

use super::{app, bitbucket, with};
use crate::hosts::{Clock, InProcess, TOKEN, first_commit, tokens_of};
use crate::plain::{full_ref, id};

#[tokio::test]
async fn a_clone_is_for_x_token_auth_and_the_token_is_not_in_its_address() {
    let (host, _, repository) = app().await;
    let access = bitbucket(&host).clone_access(&repository, &id(&"a".repeat(40))).await.unwrap();
    assert_eq!(access.url, "https://bitbucket.org/team/app.git");
    let credential = access.credential.unwrap();
    assert_eq!(credential.username, "x-token-auth");
    assert_eq!(credential.password.expose_str(), Some(TOKEN));
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn an_api_token_of_a_person_is_sent_as_basic_and_clones_without_the_address_before_it() {
    let (host, face, repository) = app().await;
    face.state().authorization = Some("Basic YWRhQGV4YW1wbGUuY29tOkFUQVRUM3g=".into());
    let tokens = tokens_of(Secret::new("ada@example.com:ATATT3x").unwrap());
    let service = std::sync::Arc::<InProcess>::clone(&host);
    let provider =
        Bitbucket::new(Bitbucket::cloud(), service, std::sync::Arc::new(Clock::Real), tokens).unwrap();
    provider.heads(&repository).await.unwrap();
    let credential =
        provider.clone_access(&repository, &id(&"a".repeat(40))).await.unwrap().credential.unwrap();
    assert_eq!(credential.username, "x-bitbucket-api-token-auth");
    assert_eq!(credential.password.expose_str(), Some("ATATT3x"));
}

#[tokio::test]
async fn a_repository_known_by_its_uuid_is_found_and_packed_after_it_was_renamed() {
    let (host, _, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    let provider = bitbucket(&host);
    for path in ["team/old-name", ""] {
        let renamed = Repository { path: path.into(), ..repository.clone() };
        provider.heads(&renamed).await.unwrap();
        let archive = provider.archive(&renamed, &commit).await.unwrap();
        kiops_core::stream::collect(archive, 1 << 20).await.unwrap();
    }
    let by_path = Repository { id: None, path: "team/old-name".into() };
    assert_eq!(provider.heads(&by_path).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_up_to_a_limit() {
    let (host, face, repository) = app().await;
    face.state().page = 2;
    let commit = first_commit(&host.host, &repository).await;
    for name in ["a", "b", "c", "d", "e"] {
        host.host.point(&repository, &full_ref(&format!("refs/heads/{name}")), Some(&commit)).await;
    }
    let page = bitbucket(&host).branches(&repository, &Search::all()).await.unwrap();
    assert_eq!(page.items.len(), 5);
    for (most, enough) in [(4, false), (5, true)] {
        let few = HostConfig { max_entries: most, ..Bitbucket::cloud() };
        let found = with(few, &host).branches(&repository, &Search::all()).await;
        match found {
            Ok(page) => assert!(enough && page.items.len() == 5),
            Err(error) => assert!(!enough && error.kind() == ErrorKind::TooLarge, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_host_that_still_lists_every_workspaces_repositories_is_asked_for_them() {
    let (host, face, _) = app().await;
    for old in [false, true] {
        face.state().old = old;
        let found = bitbucket(&host).repositories(&Search::text("APP")).await.unwrap();
        let paths: Vec<_> = found.items.iter().map(|one| one.repository.path.as_str()).collect();
        assert_eq!(paths, ["team/app"]);
        assert_eq!(found.items[0].web_url.as_deref(), Some("https://bitbucket.org/team/app"));
    }
}

#[tokio::test]
async fn a_tree_that_is_too_much_for_one_call_is_listed_level_by_level() {
    let (host, face, repository) = app().await;
    let deep = (0..14).map(|n| format!("d{n}")).collect::<Vec<_>>().join("/");
    let names = ["a/b/c/d".to_owned(), "top".to_owned(), format!("{deep}/file")];
    let entry = |name: &String| (name.clone(), Entry::File(Bytes::from_static(b"x")));
    let commit = NewCommit {
        parents: vec![],
        message: "Deep\n".into(),
        author: "Ada".into(),
        timestamp: Timestamp::UNIX_EPOCH,
        entries: names.iter().map(entry).collect(),
    };
    let commit = host.host.commit(&repository, &commit).await;
    let query = TreeQuery { folder: String::new(), recursive: true, limit: 1000 };
    let provider = bitbucket(&host);
    let whole = provider.tree(&repository, &commit, &query).await.unwrap();
    assert_eq!(whole.len(), names.len() + 3 + 14, "folders are entries too");
    face.state().shallow = true;
    assert_eq!(provider.tree(&repository, &commit, &query).await.unwrap(), whole);
}

#[tokio::test]
async fn a_file_that_looks_like_a_listing_is_a_file_and_a_folder_is_none() {
    let (host, _, repository) = app().await;
    let text = r#"{"values":[],"pagelen":10}"#;
    let entries = [("a/list.json".to_owned(), Entry::File(Bytes::from_static(text.as_bytes())))];
    let commit = NewCommit {
        parents: vec![],
        message: "List\n".into(),
        author: "Ada".into(),
        timestamp: Timestamp::UNIX_EPOCH,
        entries: entries.into(),
    };
    let commit = host.host.commit(&repository, &commit).await;
    let provider = bitbucket(&host);
    assert_eq!(provider.file(&repository, &commit, "a/list.json", 1000).await.unwrap().unwrap(), text);
    for cap in [0, 1000] {
        assert_eq!(provider.file(&repository, &commit, "a", cap).await.unwrap(), None);
    }
}

#[tokio::test]
async fn every_call_carries_the_token_in_one_header_and_no_address_does() {
    let (host, _, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    let provider = bitbucket(&host);
    provider.heads(&repository).await.unwrap();
    drop(provider.archive(&repository, &commit).await.unwrap());
    for asked in host.asked() {
        assert_eq!(asked.header("authorization"), format!("Bearer {TOKEN}"));
        assert!(!asked.url.contains(TOKEN));
    }
}

#[test]
fn the_interface_is_bitbuckets_own_unless_another_is_named() {
    let config = HostConfig::new("https://bitbucket.org/");
    let host = InProcess::new(super::face::Face::default());
    let shown = format!("{:?}", with(config, &host));
    assert!(shown.contains("https://api.bitbucket.org/2.0/"), "{shown}");
    let shown = format!("{:?}", with(HostConfig::new("https://bb.example.com/x"), &host));
    assert!(shown.contains("https://bb.example.com/x/2.0/"), "{shown}");
}
