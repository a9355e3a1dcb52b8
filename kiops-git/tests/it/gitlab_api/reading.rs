use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::provider::{GitProvider as _, Search};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_git::rest::HostConfig;

use super::face::{Face, WEB};
use super::{gitlab, with};
use crate::hosts::{InProcess, TOKEN};
use crate::plain::{full_ref, id};

#[tokio::test]
async fn a_clone_is_for_oauth2_and_the_token_is_not_in_its_address() {
    let host = InProcess::new(Face::default());
    let repository = host.host.named("app");
    let access = gitlab(&host).clone_access(&repository, &id(&"a".repeat(40))).await.unwrap();
    assert_eq!(access.url, "https://git.example.com/prefix/team/app.git");
    let credential = access.credential.unwrap();
    assert_eq!((credential.username.as_str(), credential.password.expose_str()), ("oauth2", Some(TOKEN)));
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn a_repository_known_by_its_number_is_found_after_it_was_renamed() {
    let host = InProcess::new(Face::default());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    let renamed = Repository { path: "team/old-name".into(), ..repository };
    gitlab(&host).heads(&renamed).await.unwrap();
    let by_path = Repository { id: None, path: "team/old-name".into() };
    assert_eq!(gitlab(&host).heads(&by_path).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_up_to_a_limit() {
    let face = Face::default();
    face.state().page = 2;
    let host = InProcess::new(face);
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    let commit = crate::hosts::first_commit(&host.host, &repository).await;
    for name in ["a", "b", "c", "d", "e"] {
        host.host.point(&repository, &full_ref(&format!("refs/heads/{name}")), Some(&commit)).await;
    }
    let page = gitlab(&host).branches(&repository, &Search::all()).await.unwrap();
    assert_eq!(page.items.len(), 5);
    let few = HostConfig { max_entries: 4, ..HostConfig::new(WEB) };
    let error = with(few, &host).branches(&repository, &Search::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn every_call_carries_the_token_in_one_header_and_no_address_does() {
    let host = InProcess::new(Face::default());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    gitlab(&host).heads(&repository).await.unwrap();
    for asked in host.asked() {
        assert_eq!(asked.header("authorization"), format!("Bearer {TOKEN}"));
        assert!(!asked.url.contains(TOKEN) && !asked.headers.contains_key("private-token"));
    }
}
