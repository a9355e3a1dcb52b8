use kiops_core::event::{ChangedFiles, Repository};
use kiops_core::provider::{GitProvider as _, Relation, Search, TreeQuery};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_core::{ErrorKind, Retry};
use kiops_git::rest::HostConfig;

use super::face::WEB;
use super::{app, data_center, with};
use crate::hosts::{Fault, TOKEN, first_commit};
use crate::plain::{full_ref, id};

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(status, Vec::new(), body.into())
}

#[tokio::test]
async fn a_clone_is_below_scm_with_the_key_in_small_letters() {
    let (host, _, _) = app().await;
    let repository = Repository { id: None, path: "TEAM/app".into() };
    let access = data_center(&host).clone_access(&repository, &id(&"a".repeat(40))).await.unwrap();
    assert_eq!(access.url, "https://git.example.com/prefix/scm/team/app.git");
    let credential = access.credential.unwrap();
    assert_eq!(credential.username, "x-token-auth");
    assert_eq!(credential.password.expose_str(), Some(TOKEN));
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_up_to_a_limit() {
    let (host, face, repository) = app().await;
    face.state().page = 2;
    let commit = first_commit(&host.host, &repository).await;
    for name in ["a", "b", "c", "d", "e"] {
        host.host.point(&repository, &full_ref(&format!("refs/heads/{name}")), Some(&commit)).await;
    }
    let page = data_center(&host).branches(&repository, &Search::all()).await.unwrap();
    assert_eq!(page.items.len(), 5);
    let few = HostConfig { max_entries: 4, ..HostConfig::new(WEB) };
    let error = with(few, &host).branches(&repository, &Search::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_move_counts_by_both_paths_and_a_copy_by_its_own() {
    let (host, _, repository) = app().await;
    let path = |name: &str| serde_json::json!({ "components": [name] });
    let body = serde_json::json!({ "isLastPage": true, "values": [
        { "type": "MOVE", "path": path("new"), "srcPath": path("old") },
        { "type": "COPY", "path": path("copy"), "srcPath": path("old") },
        { "type": "UNKNOWN", "path": path("odd") },
    ] });
    host.fault(status(200, &body.to_string()));
    let commit = first_commit(&host.host, &repository).await;
    let compared = data_center(&host).compare(&repository, &commit, &commit).await.unwrap();
    let ChangedFiles::Complete(list) = &compared.files else { panic!("{compared:?}") };
    assert_eq!(list.added.sorted(), ["copy", "new"]);
    assert_eq!((list.removed.sorted(), list.modified.sorted()), (vec!["old"], vec!["odd"]));
    assert_eq!(compared.relation, Relation::Same);
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let said = |text: &str| format!(r#"{{"errors":[{{"context":null,"message":"{text}"}}]}}"#);
    for (fault, kind, words) in [
        (status(401, &said("Authentication failed")), ErrorKind::Unauthorized, "make a new one"),
        (status(401, &said("You do not have permission")), ErrorKind::Unauthorized, "Repository admin"),
        (status(403, &said("No")), ErrorKind::Forbidden, "its owner's role"),
        (status(404, &said("Project does not exist")), ErrorKind::NotFound, "Project does not exist"),
        (status(409, &said("Conflict")), ErrorKind::Conflict, "Conflict"),
        (status(200, "<html>Log in</html>"), ErrorKind::Unavailable, "no proxy answers in its place"),
    ] {
        let (host, _, repository) = app().await;
        host.fault(fault.clone());
        let error = data_center(&host).heads(&repository).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(host.asked().len(), 1, "{fault:?} is not tried again");
    }
}

#[tokio::test]
async fn a_long_rate_limit_is_told() {
    let (host, _, repository) = app().await;
    host.fault(Fault::Status(429, vec![("retry-after", "3600".into())], String::new()));
    let error = data_center(&host).heads(&repository).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::After(3600)));
}

#[tokio::test]
async fn a_next_page_that_starts_no_later_is_an_error_and_no_short_list() {
    let (host, _, repository) = app().await;
    host.fault(status(200, r#"{"values":[],"isLastPage":false,"nextPageStart":0}"#));
    let error = data_center(&host).heads(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn pages_without_an_end_are_read_up_to_the_limit() {
    let (host, _, repository) = app().await;
    let commit = first_commit(&host.host, &repository).await;
    let few = HostConfig { max_entries: 20, ..HostConfig::new(WEB) };
    let provider = with(few, &host);
    for wrap in [false, true] {
        for n in 1..=30 {
            let page = format!(r#"{{"values":[],"isLastPage":false,"nextPageStart":{n}}}"#);
            host.fault(status(200, &if wrap { format!(r#"{{"children":{page}}}"#) } else { page }));
        }
        let before = host.asked().len();
        let error = if wrap {
            let query = TreeQuery { folder: String::new(), recursive: false, limit: 10 };
            provider.tree(&repository, &commit, &query).await.unwrap_err()
        } else {
            provider.heads(&repository).await.unwrap_err()
        };
        assert_eq!((error.kind(), host.asked().len() - before), (ErrorKind::TooLarge, 21));
        // The faults that are left.
        for _ in 0..9 {
            provider.head(&repository, &full_ref("refs/heads/main")).await.ok();
        }
    }
}

#[tokio::test]
async fn a_host_that_repeats_the_token_is_not_quoted() {
    let (host, _, repository) = app().await;
    host.fault(status(403, &format!(r#"{{"errors":[{{"message":"token {TOKEN}"}}]}}"#)));
    let error = data_center(&host).heads(&repository).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
}
