use kiops_core::ErrorKind;
use kiops_core::provider::Admin as _;

use super::{app, bitbucket};
use crate::hosts::Fault;

#[tokio::test]
async fn a_tokens_scopes_are_held_against_what_is_needed() {
    let (host, face, _) = app().await;
    for (scopes, missing) in [
        ("account, pullrequest:write, repository:admin, webhook", &[][..]),
        ("account, repository:write, pullrequest, webhook", &["repository:admin", "pullrequest:write"]),
        (
            "repository",
            &[
                "repository:write",
                "repository:admin",
                "pullrequest",
                "pullrequest:write",
                "webhook",
                "account",
            ],
        ),
        (
            "read:repository:bitbucket, write:repository:bitbucket, read:pullrequest:bitbucket, write:pullrequest:bitbucket, read:user:bitbucket",
            &["admin:repository:bitbucket", "write:webhook:bitbucket"],
        ),
    ] {
        face.state().scopes = scopes;
        let told = bitbucket(&host).scopes().await.unwrap();
        let names: Vec<_> = told.missing.iter().map(|missing| missing.scope.as_str()).collect();
        assert_eq!(names, missing, "{scopes}");
        assert_eq!(told.held.unwrap().join(", "), scopes);
    }
}

#[tokio::test]
async fn the_scopes_of_a_token_that_may_not_ask_who_it_is_are_told_too() {
    let (host, face, _) = app().await;
    (face.state().nobody, face.state().scopes) = (true, "repository:write");
    let told = bitbucket(&host).scopes().await.unwrap();
    assert!(told.missing.iter().any(|missing| missing.needed_for == "webhooks"));
    face.state().scopes = "";
    face.state().nobody = false;
    let told = bitbucket(&host).scopes().await.unwrap();
    assert!(told.held.is_none() && told.missing.is_empty());
    host.fault(Fault::Status(401, vec![], String::new()));
    assert_eq!(bitbucket(&host).scopes().await.unwrap_err().kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn accounts_are_not_made_at_bitbucket() {
    let (host, _, _) = app().await;
    let error = bitbucket(&host).create_users(&[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
