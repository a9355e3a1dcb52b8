//! The way to the host and back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kiops_core::ErrorKind;
use kiops_core::name::{ConnectionId, SecretName};
use kiops_core::provider::{MemoryTokenStore, TokenSource as _, TokenStore};
use kiops_git::oauth::{Callback, OAuthHost};
use proptest::prelude::*;

use super::host::{Host, Mishap, SECRET};
use super::{complete, config, connect, cookies, id, replica, replica_of, timer, token};

fn store() -> Arc<dyn TokenStore> {
    Arc::new(MemoryTokenStore::new())
}

#[tokio::test(start_paused = true)]
async fn somebody_connects_and_the_host_is_reached_with_the_token() {
    for kind in [OAuthHost::GitHub, OAuthHost::GitLab, OAuthHost::Bitbucket] {
        let (host, store, timer) = (Host::new(), store(), timer());
        let oauth = replica_of(config(kind), &host, &store, &timer);
        let connection = connect(&oauth, &host).await;
        assert!(host.lets_in(token(&connection).await.secret.expose()));
        let seen = &host.seen()[0];
        assert_eq!(seen.header("accept"), "application/json");
        assert_eq!(seen.header("authorization").starts_with("Basic "), kind == OAuthHost::Bitbucket);
        let sends_it_in_the_form = seen.body.windows(6).any(|part| part == b"secret");
        assert_eq!(sends_it_in_the_form, kind != OAuthHost::Bitbucket);
    }
}

#[tokio::test]
async fn the_browser_is_sent_with_everything_that_binds_its_answer() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let oauth = replica_of(config(OAuthHost::GitHub), &host, &store, &timer);
    let begun = oauth.authorize(&id(), "ann").await.unwrap();
    let query: HashMap<_, _> = begun.url.query_pairs().into_owned().collect();
    assert!(begun.url.as_str().starts_with("https://github.com/login/oauth/authorize?"));
    assert_eq!(query["state"], begun.state);
    assert_eq!((query["state"].len(), query["code_challenge"].len()), (43, 43));
    assert_eq!(query["redirect_uri"], "https://kiops.example.com/oauth/callback");
    assert_eq!(query["scope"], "repo read:org");
    assert!(begun.cookie.starts_with("__Host-kiops-oauth-"), "{}", begun.cookie);
    assert!(begun.cookie.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"));
    assert!(!begun.cookie.contains(&begun.state) && !begun.cookie.contains(&query["code_challenge"]));
    let other = oauth.authorize(&id(), "ann").await.unwrap();
    assert!(other.state != begun.state && cookies(&other) != cookies(&begun));
    for text in [format!("{begun:?}"), format!("{oauth:?}")] {
        assert!(!text.contains(&begun.state) && !text.contains(SECRET), "{text}");
    }
    let bitbucket = replica_of(config(OAuthHost::Bitbucket), &host, &store, &timer);
    let begun = bitbucket.authorize(&id(), "ann").await.unwrap();
    assert!(!begun.url.query().unwrap().contains("scope"), "Bitbucket's scopes are the consumer's");
}

#[tokio::test(start_paused = true)]
async fn another_browser_another_session_and_another_application_are_refused() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let oauth = replica(&host, &store, &timer);
    let begun = oauth.authorize(&id(), "ann").await.unwrap();
    let query = host.agrees(&begun.url);
    let own = cookies(&begun);
    let stranger = oauth.authorize(&id(), "ann").await.unwrap();
    let (name, value) = own.split_once('=').unwrap();
    let (other_name, other_value) =
        cookies(&stranger).split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let mut elsewhere = config(OAuthHost::GitLab);
    elsewhere.client_id = "another".into();
    let elsewhere = replica_of(elsewhere, &host, &store, &timer);
    for (what, query, cookies, session) in [
        ("no cookie", query.clone(), String::new(), "ann"),
        ("another flow's cookie", query.clone(), format!("{other_name}={other_value}"), "ann"),
        ("another flow's value", query.clone(), format!("{name}={other_value}"), "ann"),
        ("the value under another name", query.clone(), format!("{other_name}={value}"), "ann"),
        ("another state", query.replace(&begun.state, &stranger.state), own.clone(), "ann"),
        ("another session", query.clone(), own.clone(), "bob"),
        ("no state", query.split('&').next().unwrap().into(), own.clone(), "ann"),
        ("two states", format!("{query}&state={}", begun.state), own.clone(), "ann"),
        ("two codes", format!("{query}&code=x"), own.clone(), "ann"),
    ] {
        let callback = Callback { query: &query, cookies: &cookies, session };
        let error = oauth.complete(&callback).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{what}: {error}");
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("again")), "{what}: {error}");
    }
    assert!(complete(&elsewhere, &query, &own).await.is_err(), "another application's answer");
    assert_eq!(host.calls(), 0, "the host is asked about none of them");
    let among_others = format!("theme=dark; {name}=planted; {own}; x=y");
    complete(&oauth, &query, &among_others).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_changed_character_of_the_cookie_is_refused() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let oauth = replica(&host, &store, &timer);
    let begun = oauth.authorize(&id(), "ann").await.unwrap();
    let (query, own) = (host.agrees(&begun.url), cookies(&begun));
    let from = own.find('=').unwrap() + 1;
    for at in from..own.len() {
        for with in ["A", "b", "0", "."] {
            let mut changed = own.clone();
            changed.replace_range(at..=at, with);
            if changed != own {
                assert!(complete(&oauth, &query, &changed).await.is_err(), "{at} {with}");
            }
        }
        assert!(complete(&oauth, &query, &own[..at]).await.is_err(), "cut at {at}");
    }
    assert_eq!(host.calls(), 0);
    complete(&oauth, &query, &own).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flow_ends_after_ten_minutes_and_comes_back_once() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let oauth = replica(&host, &store, &timer);
    let (first, second) =
        (oauth.authorize(&id(), "ann").await.unwrap(), oauth.authorize(&id(), "ann").await.unwrap());
    tokio::time::sleep(Duration::from_secs(599)).await;
    let query = host.agrees(&first.url);
    complete(&oauth, &query, &cookies(&first)).await.unwrap();
    let error = complete(&oauth, &query, &cookies(&first)).await.unwrap_err();
    assert_eq!((error.kind(), host.calls()), (ErrorKind::Forbidden, 1), "a replay does not reach the host");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let error = complete(&oauth, &host.agrees(&second.url), &cookies(&second)).await.unwrap_err();
    assert_eq!((error.kind(), host.calls()), (ErrorKind::Forbidden, 1));
    let gone = oauth.clear_cookie(&query).unwrap();
    assert!(gone.starts_with(&format!("{}=;", cookies(&first).split('=').next().unwrap())), "{gone}");
    assert!(gone.contains("Max-Age=0"));
    assert_eq!(oauth.clear_cookie("state=x"), None);
}

#[tokio::test(start_paused = true)]
async fn another_replica_finishes_what_one_has_begun_and_the_host_refuses_its_replay() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let (one, two) = (replica(&host, &store, &timer), replica(&host, &store, &timer));
    let begun = one.authorize(&id(), "ann").await.unwrap();
    let query = host.agrees(&begun.url);
    complete(&two, &query, &cookies(&begun)).await.unwrap();
    let error = complete(&one, &query, &cookies(&begun)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("again")), "{error}");
    assert!(host.lets_in(token(&one.connection(&id())).await.secret.expose()), "the connection stands");
}

#[tokio::test(start_paused = true)]
async fn what_the_host_says_instead_of_a_code_becomes_what_to_do() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let oauth = replica(&host, &store, &timer);
    for (said, kind, word) in [
        ("error=access_denied&error_description=hunter2", ErrorKind::Forbidden, "not granted"),
        ("error=redirect_uri_mismatch", ErrorKind::Invalid, "https://kiops.example.com/oauth/callback"),
        ("error=application_suspended", ErrorKind::Forbidden, "application"),
        ("error=temporarily_unavailable", ErrorKind::Unavailable, "later"),
        ("error=something_new", ErrorKind::Invalid, "`something_new`"),
        ("error=%3Cscript%3Ehunter2", ErrorKind::Invalid, "again"),
        ("error=access_denied&code=code-1", ErrorKind::Forbidden, "not granted"),
        ("code=", ErrorKind::Invalid, "without a code"),
        ("code=a%0d%0ab", ErrorKind::Invalid, "without a code"),
        ("x=y", ErrorKind::Invalid, "without a code"),
        ("code=wrong", ErrorKind::Unauthorized, "again"),
    ] {
        let begun = oauth.authorize(&id(), "ann").await.unwrap();
        let query = format!("{said}&state={}", begun.state);
        let error = complete(&oauth, &query, &cookies(&begun)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{said}: {error}");
        assert!(error.to_string().contains(word) && error.remedy().is_some(), "{said}: {error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_secret_or_its_host_nobody_connects_and_the_error_says_why() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let mut nameless = config(OAuthHost::GitLab);
    nameless.client_secret = SecretName::parse("oauth/other").unwrap();
    let error = replica_of(nameless, &host, &store, &timer).authorize(&id(), "ann").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(
        error.to_string().contains("oauth/other") && error.to_string().contains("administrator"),
        "{error}"
    );

    let oauth = replica(&host, &store, &timer);
    for mishap in [Mishap::Away, Mishap::Busy] {
        host.next(&[mishap]);
        let begun = oauth.authorize(&id(), "ann").await.unwrap();
        let error = complete(&oauth, &host.agrees(&begun.url), &cookies(&begun)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(store.load(&id()).await.unwrap(), None);
    }
    assert_eq!(host.calls(), 2, "a code is sent once");
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_leaves_does_not_lose_what_the_host_has_given() {
    let slow = Duration::from_secs(2);
    let host = Host::with_delays(move |_| (slow, slow));
    let (store, timer) = (store(), timer());
    let oauth = replica(&host, &store, &timer);
    let begun = oauth.authorize(&id(), "ann").await.unwrap();
    let (query, own) = (host.agrees(&begun.url), cookies(&begun));
    let left = tokio::time::timeout(Duration::from_secs(1), complete(&oauth, &query, &own));
    assert!(left.await.is_err());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(host.lets_in(token(&oauth.connection(&id())).await.secret.expose()));
}

#[tokio::test(start_paused = true)]
async fn connecting_anew_replaces_and_disconnecting_removes() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let oauth = replica(&host, &store, &timer);
    let connection = connect(&oauth, &host).await;
    let first = token(&connection).await;
    connect(&oauth, &host).await;
    assert_ne!(token(&connection).await, first);
    oauth.disconnect(&id()).await.unwrap();
    oauth.disconnect(&id()).await.unwrap();
    let error = connection.token(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("connect")), "{error}");
    let unknown = oauth.connection(&ConnectionId::parse("git-other").unwrap());
    assert!(unknown.token(None).await.is_err());
}

/// One runtime for every case: none of them needs time.
fn hostile(query: &str, cookies: &str) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (host, store, timer) = (Host::new(), store(), timer());
        let oauth = replica(&host, &store, &timer);
        let begun = oauth.authorize(&id(), "ann").await.unwrap();
        let fill = |text: &str| {
            text.replace("STATE", &begun.state).replace("COOKIE", super::cookies(&begun).as_str())
        };
        let (query, cookies) = (fill(query), fill(cookies));
        // The host never gave a code, so that nothing here can be right.
        let error = complete(&oauth, &query, &cookies).await.unwrap_err();
        assert!(error.remedy().is_some(), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        drop(oauth.clear_cookie(&query));
        assert_eq!(store.load(&id()).await.unwrap(), None);
    });
}

proptest! {
    #[test]
    fn hostile_parameters_never_connect_anything(
        parts in prop::collection::vec(prop::sample::select(vec![
            "state=STATE", "code=hunter2", "error=access_denied", "error=hunter2%00", "state=", "code=", "&", "=", "%", "%zz",
            "state[]=STATE", "STATE", "code=%ff%fe", "error_description=hunter2", "state=STATE%00", "state=%53TATE", ";",
        ]), 0..6),
        noise in "\\PC{0,30}",
        cookies in prop::collection::vec(prop::sample::select(vec![
            "COOKIE", "COOKIE.x", "COOKIE=", "__Host-kiops-oauth-=", "=", ";;", "a=b", "COOKIE; COOKIE",
        ]), 0..4),
        odd in "\\PC{0,30}",
    ) {
        let query = parts.join("&");
        hostile(&query, &cookies.join("; "));
        hostile(&format!("{query}&{noise}"), &format!("{odd}; {}", cookies.join(";")));
    }
}
