//! Against `docker-registry`.

use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::image::{ImageAccess, Registry as _};
use kiops_core::name::Digest;
use kiops_core::testing::conformance::registry::RegistryBench;

use super::daemon::{ALICE, Auth, BOB, Daemon};
use super::promises;
use crate::fixtures::{image, push, tag};

async fn keeps_every_promise(auth: Auth) {
    let bench = |daemon: &Daemon| {
        let (host, client) = (daemon.host(), daemon.client(daemon.owner()));
        RegistryBench::new(Arc::new(client), move |word| image(&format!("{host}/conformance/{word}")))
    };
    promises::keeps_every_promise(auth, bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_registry_open_to_all_keeps_every_promise() {
    keeps_every_promise(Auth::Nobody).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_registry_with_passwords_keeps_every_promise() {
    keeps_every_promise(Auth::Htpasswd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_registry_with_tokens_keeps_every_promise() {
    keeps_every_promise(Auth::Token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_a_missing_right_and_a_host_that_is_away_are_told_apart() {
    for auth in [Auth::Htpasswd, Auth::Token] {
        let Some(daemon) = Daemon::start(auth) else { return };
        let app = image(&format!("{}/team/app", daemon.host()));
        daemon.client(Some(ALICE)).check(&app).await.unwrap();
        let wrong = daemon.client(Some((ALICE.0, "guess"))).check(&app).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Unauthorized, "{wrong}");
        assert!(wrong.remedy().unwrap().contains("password"), "{wrong:?}");
        let nobody = daemon.client(None).check(&app).await.unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::Unauthorized, "{nobody}");
        assert!(nobody.remedy().unwrap().contains("account"), "{nobody:?}");
        if auth == Auth::Token {
            let bob = daemon.client(Some(BOB)).check(&app).await.unwrap_err();
            assert_eq!(bob.kind(), ErrorKind::Forbidden, "{bob}");
            assert!(bob.remedy().unwrap().contains("right"), "{bob:?}");
        }
        let client = daemon.client(Some(ALICE));
        drop(daemon);
        let away = client.check(&app).await.unwrap_err();
        assert_eq!(away.kind(), ErrorKind::Unavailable, "{away}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_once_for_each_right_and_image() {
    let Some(daemon) = Daemon::start(Auth::Token) else { return };
    let (client, app) = (daemon.client(Some(ALICE)), image(&format!("{}/team/app", daemon.host())));
    push(&client, app.as_str(), &["v1"], "one").await;
    for _ in 0..3 {
        client.resolve(&app.tagged(tag("v1"))).await.unwrap().unwrap();
    }
    let mut asked = daemon.asked.lock().unwrap().clone();
    let total = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), total, "{asked:?}");
    assert!(asked.iter().all(|query| query.contains("service=registry.test")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_goes_up_in_pieces_and_comes_back_whole() {
    let Some(daemon) = Daemon::start(Auth::Htpasswd) else { return };
    let mut config = daemon.config();
    config.piece_bytes = 256 << 10;
    let (client, app) =
        (daemon.client_of(config, Some(ALICE)), image(&format!("{}/team/app", daemon.host())));
    let content: Vec<u8> = (0..3_000_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let digest = Digest::of(&content);
    let chunks: Vec<_> =
        content.chunks(70_001).map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk))).collect();
    let stream = Box::pin(futures_util::stream::iter(chunks));
    client.put_blob(&app, &digest, content.len() as u64, stream).await.unwrap();
    let read = kiops_core::stream::collect(client.blob(&app, &digest).await.unwrap(), 9 << 20).await.unwrap();
    assert!(read == content);
    assert_eq!(std::fs::read(daemon.blob(digest.hex())).unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_was_damaged_in_the_registry_is_refused() {
    let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
    let (client, app) = (daemon.client(None), image(&format!("{}/team/app", daemon.host())));
    let content = bytes::Bytes::from(vec![7; 100_000]);
    let digest = Digest::of(&content);
    client.put_blob(&app, &digest, 100_000, kiops_core::stream::once(content)).await.unwrap();
    std::fs::write(daemon.blob(digest.hex()), vec![8; 100_000]).unwrap();
    let read = kiops_core::stream::collect(client.blob(&app, &digest).await.unwrap(), 9 << 20).await;
    let error = read.unwrap_err();
    assert!(error.message().contains("another digest"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_the_registry_itself_where_it_has_nothing() {
    let (Some(mirror), Some(daemon)) = (Daemon::start(Auth::Nobody), Daemon::start(Auth::Htpasswd)) else {
        return;
    };
    let name = |daemon: &Daemon| image(&format!("{}/team/app", daemon.host()));
    let digest = push(&mirror.client(None), name(&mirror).as_str(), &["v1"], "both").await;
    push(&daemon.client(Some(ALICE)), name(&daemon).as_str(), &["v1"], "both").await;
    let own = push(&daemon.client(Some(ALICE)), name(&daemon).as_str(), &["v2"], "own").await;
    let mut config = daemon.config();
    config.mirrors = vec![format!("http://{}", mirror.host())];
    // Without an account the registry itself gives nothing: what comes is the mirror's.
    let client = daemon.client_of(config.clone(), None);
    client.manifest(&name(&daemon), &digest).await.unwrap();
    client.manifest(&name(&daemon), &own).await.unwrap_err();
    let client = daemon.client_of(config, Some(ALICE));
    client.manifest(&name(&daemon), &own).await.unwrap();
    assert_eq!(client.resolve(&name(&daemon).tagged(tag("v2"))).await.unwrap(), Some(own));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_handed_to_those_who_push_and_pull_elsewhere() {
    let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
    let app = image(&format!("{}/team/app", daemon.host()));
    let login = daemon.client(Some(BOB)).credential(&app, ImageAccess::Push).await.unwrap().unwrap();
    assert_eq!((login.host, login.username.as_str()), (daemon.host(), BOB.0));
    assert_eq!(daemon.client(None).credential(&app, ImageAccess::Pull).await.unwrap(), None);
}
