use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::provider::{Admin as _, NewUser};
use kiops_core::secret::Secret;

use super::face::Face;
use super::gitlab;
use crate::hosts::InProcess;

fn user(login: &str, password: Option<&str>) -> NewUser {
    NewUser {
        login: login.into(),
        name: login.to_uppercase(),
        email: format!("{login}@example.com"),
        password: password.and_then(Secret::new),
    }
}

fn host() -> (Arc<InProcess>, Face) {
    let face = Face::default();
    (InProcess::new(face.clone()), face)
}

#[tokio::test]
async fn accounts_are_made_in_bulk_and_one_that_fails_stops_no_other() {
    let (host, face) = host();
    let provider = gitlab(&host);
    let users = [user("ada", Some("long-enough")), user("bob", Some("sh0rt")), user("eve", None)];
    let results = provider.create_users(&users).await.unwrap();
    let made: Vec<_> = results.iter().map(|made| (made.login.as_str(), made.result.is_ok())).collect();
    assert_eq!(made, [("ada", true), ("bob", false), ("eve", true)]);
    // What GitLab repeats of a password is not repeated by us.
    let error = results[1].result.as_ref().unwrap_err();
    assert!(!error.to_string().contains("sh0rt"), "{error}");
    assert_eq!(face.state().users[1]["reset_password"], true);
}

#[tokio::test]
async fn repeating_a_bulk_finds_what_it_made_and_refuses_what_is_somebody_elses() {
    let (host, _) = host();
    let provider = gitlab(&host);
    let first = provider.create_users(&[user("ada", None)]).await.unwrap();
    let other = NewUser { email: "other@example.com".into(), ..user("ada", None) };
    let again = provider.create_users(&[user("ada", None), other]).await.unwrap();
    let (one, two) = (first[0].result.as_ref().unwrap(), again[0].result.as_ref().unwrap());
    assert!(one.created && !two.created && one.id == two.id);
    assert_eq!(again[1].result.as_ref().unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_tokens_scopes_are_held_against_what_is_needed() {
    let (host, face) = host();
    face.state().scopes = vec!["api", "read_repository"];
    let scopes = gitlab(&host).scopes().await.unwrap();
    assert!(scopes.missing.is_empty());
    assert_eq!(scopes.expires_at.unwrap().to_string(), "2027-01-31T00:00:00Z");
    face.state().scopes = vec!["read_api"];
    let scopes = gitlab(&host).scopes().await.unwrap();
    let missing: Vec<_> = scopes.missing.iter().map(|missing| missing.scope.as_str()).collect();
    assert_eq!(missing, ["api", "read_repository"]);
    assert!(scopes.missing[0].needed_for.contains("commit statuses"));
}
