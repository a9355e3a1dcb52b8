//! Who is let in, with what.

use std::time::Duration;

use kiops_core::ErrorKind;
use kiops_core::http::ScriptedHttp;
use kiops_core::image::{Catalog as _, Listing};

use super::host::{Hub, basic};
use super::{ME, client, login};
use crate::fixtures::image;

/// Where the account, or what was given for it, went.
fn shown(http: &ScriptedHttp) -> Vec<(String, String)> {
    let seen = http.seen().into_iter();
    seen.filter(|seen| !seen.header("authorization").is_empty() || !seen.body.is_empty())
        .map(|seen| (seen.url.clone(), seen.header("authorization").to_owned()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_access_token_goes_to_one_route_only_and_what_it_gives_goes_along() {
    let hub = Hub::new();
    let http = hub.http();
    let found = client(http.clone(), Some(login(ME))).images("me", &Listing::all()).await.unwrap();
    assert_eq!(found.items.len(), 2, "private ones, too");
    let [asked, read] = &shown(&http)[..] else { panic!("{:?}", http.seen()) };
    assert_eq!(*asked, ("https://hub.docker.com/v2/auth/token".to_owned(), String::new()));
    assert!(read.1.starts_with("Bearer e30."));
    for seen in http.seen().iter().skip(1) {
        assert!(!format!("{seen:?}").contains(ME.1), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_account_nothing_is_shown_and_public_things_are_found() {
    let http = Hub::new().http();
    let found = client(http.clone(), None).images("me", &Listing::all()).await.unwrap();
    assert_eq!(found.items.len(), 1);
    assert!(shown(&http).is_empty(), "{:?}", http.seen());
}

#[tokio::test(start_paused = true)]
async fn of_many_calls_at_once_one_fetches_the_token() {
    let hub = Hub::new();
    let client = client(hub.http(), Some(login(ME)));
    let all = Listing::all();
    let calls = (0..16).map(|_| client.images("me", &all));
    for call in futures_util::future::join_all(calls).await {
        call.unwrap();
    }
    assert_eq!(hub.given(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_shortly_before_its_end_and_once_where_it_is_refused() {
    let hub = Hub::new();
    let client = client(hub.http(), Some(login(ME)));
    let all = Listing::all();
    for (seconds, given) in [(0, 1), (500, 1), (80, 2), (1, 2)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        client.images("me", &all).await.unwrap();
        assert_eq!(hub.given(), given, "after {seconds} more seconds");
    }
    hub.withdraw();
    client.images("me", &all).await.unwrap();
    assert_eq!(hub.given(), 3);
    hub.withdraw();
    let calls = (0..8).map(|_| client.images("me", &all));
    for call in futures_util::future::join_all(calls).await {
        call.unwrap();
    }
    assert_eq!(hub.given(), 4, "all of them were refused, and one fetched another");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_access_token_is_said_in_docker_hubs_words_and_not_repeated() {
    let hub = Hub::new();
    let wrong = client(hub.http(), Some(login(("me", "dckr_pat_guess"))));
    let error = wrong.images("me", &Listing::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.message().contains("Incorrect authentication credentials"), "{error}");
    assert!(error.remedy().unwrap().contains("Personal access tokens"), "{error}");
    assert!(!format!("{error:?} {wrong:?}").contains("dckr_pat"), "{error:?}");
    // The next call asks again: it may have been mended there.
    wrong.images("me", &Listing::all()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn limits_are_told_as_figures_and_of_whom_they_count() {
    let hub = Hub::new();
    let http = hub.http();
    let (nobody, me) = (client(http.clone(), None), client(http.clone(), Some(login(ME))));
    assert_eq!(me.rate_limit(), None);
    me.available_tags(&image("docker.io/library/mysql"), &Listing::all()).await.unwrap();
    let limit = me.rate_limit().unwrap();
    assert_eq!((limit.limit, limit.remaining), (180, 179));
    assert_eq!(nobody.pull_limit().await.unwrap().unwrap().to_string(), "76 of 200 left in 6 hours");
    let pulls = me.pull_limit().await.unwrap().unwrap();
    assert_eq!((pulls.remaining, pulls.counted.as_deref()), (199, Some("192.0.2.1")));
    let accounts = http.seen().into_iter().filter(|seen| seen.header("authorization") == basic(ME));
    assert!(accounts.map(|seen| seen.url).all(|url| url.starts_with("https://auth.docker.io/token?")));
    assert!(
        http.seen().iter().all(|seen| seen.method != "GET" || !seen.url.contains("/manifests/")),
        "that would be a pull"
    );
}
