use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::provider::{Admin as _, NewUser, TokenScopes};
use kiops_core::secret::Secret;

use super::face::Face;
use super::gitea;
use crate::hosts::{Fault, InProcess};

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
    let users = [user("ada", Some("long-enough")), user("bob", Some("sh0rt")), user("eve", None)];
    let results = gitea(&host).create_users(&users).await.unwrap();
    let made: Vec<_> = results.iter().map(|made| (made.login.as_str(), made.result.is_ok())).collect();
    assert_eq!(made, [("ada", true), ("bob", false), ("eve", true)]);
    // What the host repeats of a password is not repeated by us.
    let error = results[1].result.as_ref().unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && !error.to_string().contains("sh0rt"), "{error}");
    let state = face.state();
    let told =
        |at: usize| (state.users[at]["must_change_password"] == true, state.users[at]["send_notify"] == true);
    assert_eq!((told(0), told(1)), ((true, false), (false, true)));
    assert!(state.users[1]["password"].as_str().unwrap().len() > 40, "nobody knows it");
}

#[tokio::test]
async fn repeating_a_bulk_finds_what_it_made_and_refuses_what_is_somebody_elses() {
    let (host, _) = host();
    let provider = gitea(&host);
    let first = provider.create_users(&[user("ada", None)]).await.unwrap();
    let other = NewUser { email: "other@example.com".into(), ..user("ada", None) };
    let same_mail = NewUser { login: "zoe".into(), ..user("ada", None) };
    let again = provider.create_users(&[user("ada", None), other, same_mail]).await.unwrap();
    let (one, two) = (first[0].result.as_ref().unwrap(), again[0].result.as_ref().unwrap());
    assert!(one.created && !two.created && one.id == two.id);
    for refused in &again[1..] {
        assert_eq!(refused.result.as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    }
}

fn missing(scopes: &TokenScopes) -> Vec<&str> {
    scopes.missing.iter().map(|missing| missing.scope.as_str()).collect()
}

#[tokio::test]
async fn the_scopes_that_a_refusal_names_are_held_against_what_is_needed() {
    let (host, face) = host();
    face.state().tells_scopes = true;
    face.state().scopes = Some(vec!["write:repository", "write:issue", "read:user"]);
    let scopes = gitea(&host).scopes().await.unwrap();
    assert_eq!(scopes.held.as_ref().unwrap().len(), 3);
    assert_eq!(missing(&scopes), ["write:user", "write:organization", "write:admin"]);
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn what_a_token_may_not_even_read_is_missing_where_no_scope_is_told() {
    let (host, face) = host();
    face.state().scopes = Some(vec!["write:repository", "read:user"]);
    let scopes = gitea(&host).scopes().await.unwrap();
    assert_eq!(scopes.held, None);
    assert_eq!(missing(&scopes), ["write:issue", "write:organization", "write:admin"]);
    face.state().scopes = None;
    assert_eq!(missing(&gitea(&host).scopes().await.unwrap()), [""; 0]);
    assert!(host.asked().iter().all(|asked| asked.method == http::Method::GET));
    host.fault(Fault::Status(401, Vec::new(), String::new()));
    assert_eq!(gitea(&host).scopes().await.unwrap_err().kind(), ErrorKind::Unauthorized);
}
