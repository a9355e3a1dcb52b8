//! Against `docker-registry`, with our own client beside it.

use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::image::{ImageAccess, Manifest, Registry, TagPage};
use kiops_core::name::Digest;
use kiops_core::testing::conformance::registry::RegistryBench;
use serde_json::json;

use super::client_of;
use crate::fixtures::{bytes, image, push, put, read, tag};
use crate::oci::daemon::{ALICE, Auth, BOB, Daemon};
use crate::oci::promises;

async fn keeps_every_promise(auth: Auth) {
    let bench = |daemon: &Daemon| {
        let (host, blobs) = (daemon.host(), daemon.blobs());
        let client = client_of(daemon.config(), daemon.owner());
        let bench =
            RegistryBench::new(Arc::new(client), move |word| image(&format!("{host}/conformance/{word}")));
        bench.without_delete().with_damage(move |digest| {
            let blob = blobs.join(&digest.hex()[..2]).join(digest.hex()).join("data");
            let mut content = std::fs::read(&blob).unwrap();
            *content.last_mut().unwrap() ^= 1;
            std::fs::write(&blob, content).unwrap();
        })
    };
    promises::keeps_every_promise(auth, bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_crate_keeps_every_promise_but_deleting_at_a_registry_open_to_all() {
    keeps_every_promise(Auth::Nobody).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_crate_keeps_every_promise_but_deleting_at_a_registry_with_passwords() {
    keeps_every_promise(Auth::Htpasswd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_crate_keeps_every_promise_but_deleting_at_a_registry_with_tokens() {
    keeps_every_promise(Auth::Token).await;
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Everything that one client pushed is what the other one finds.
async fn one_pushes_and_the_other_reads(writer: &dyn Registry, reader: &dyn Registry, name: &str) {
    let image = image(name);
    let digest = push(writer, name, &["v1", "latest", "0"], "shared").await;
    let manifest = reader.manifest(&image, &digest).await.unwrap();
    assert_eq!(manifest, writer.manifest(&image, &digest).await.unwrap());
    assert_eq!(manifest.digest(), digest);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{
        "mediaType": manifest.media_type, "digest": digest, "size": manifest.bytes.len(),
        "platform": {"architecture": "amd64", "os": "linux"},
    }]});
    let index = Manifest { media_type: INDEX.into(), bytes: index.to_string().into() };
    let listed = writer.put_manifest(&image, &index).await.unwrap();
    writer.tag(&image, &tag("all"), &listed).await.unwrap();
    assert_eq!(reader.manifest(&image, &listed).await.unwrap(), index);
    for (word, expected) in [("v1", &digest), ("latest", &digest), ("all", &listed)] {
        let found = reader.resolve(&image.tagged(tag(word))).await.unwrap();
        assert_eq!(found.as_ref(), Some(expected), "{word}");
    }
    let every = TagPage::default();
    assert_eq!(reader.tags(&image, &every).await.unwrap(), writer.tags(&image, &every).await.unwrap());
    // Larger than a piece of either, and nothing at all.
    let large: Vec<u8> = (0..9_000_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for content in [large, Vec::new()] {
        let digest = Digest::of(&content);
        let chunks: Vec<_> =
            content.chunks(70_001).map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk))).collect();
        let stream = Box::pin(futures_util::stream::iter(chunks));
        writer.put_blob(&image, &digest, content.len() as u64, stream).await.unwrap();
        assert_eq!(reader.blob_size(&image, &digest).await.unwrap(), Some(content.len() as u64));
        assert!(read(reader, &image, &digest).await.unwrap() == content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_client_pushed_the_other_one_pulls_with_the_same_digests() {
    for auth in [Auth::Nobody, Auth::Token] {
        let Some(daemon) = Daemon::start(auth) else { return };
        let (ours, theirs) = (daemon.client(daemon.owner()), client_of(daemon.config(), daemon.owner()));
        one_pushes_and_the_other_reads(&ours, &theirs, &format!("{}/team/ours", daemon.host())).await;
        one_pushes_and_the_other_reads(&theirs, &ours, &format!("{}/team/theirs", daemon.host())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_tells_a_wrong_password_from_a_missing_right_and_from_a_host_that_is_away() {
    for auth in [Auth::Htpasswd, Auth::Token] {
        let Some(daemon) = Daemon::start(auth) else { return };
        let app = image(&format!("{}/team/app", daemon.host()));
        let check = async |login| client_of(daemon.config(), login).check(&app).await.unwrap_err();
        let wrong = check(Some((ALICE.0, "guess"))).await;
        assert_eq!(wrong.kind(), ErrorKind::Unauthorized, "{auth:?}: {wrong}");
        let nobody = check(None).await;
        assert_eq!(nobody.kind(), ErrorKind::Unauthorized, "{auth:?}: {nobody}");
        assert!(wrong.remedy().is_some() && nobody.remedy().is_some());
        if auth == Auth::Token {
            let denied = check(Some(BOB)).await;
            assert_eq!(denied.kind(), ErrorKind::Forbidden, "{denied}");
        }
        client_of(daemon.config(), Some(ALICE)).check(&app).await.unwrap();
    }
    let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
    let (config, app) = (daemon.config(), image(&format!("{}/team/app", daemon.host())));
    drop(daemon);
    let away = client_of(config, None).check(&app).await.unwrap_err();
    assert_eq!(away.kind(), ErrorKind::Unavailable, "{away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_never_mixes_two_accounts_at_one_host() {
    let Some(daemon) = Daemon::start(Auth::Token) else { return };
    let name = format!("{}/team/app", daemon.host());
    let (alice, bob) = (client_of(daemon.config(), Some(ALICE)), client_of(daemon.config(), Some(BOB)));
    let digest = push(&alice, &name, &["v1"], "text").await;
    for _ in 0..3 {
        assert_eq!(bob.resolve(&image(&name).tagged(tag("v1"))).await.unwrap().as_ref(), Some(&digest));
        let content = bytes::Bytes::from_static(b"another");
        let refused = bob.put_blob(&image(&name), &Digest::of(&content), 7, bytes(content)).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Forbidden);
        put(&alice, &image(&name), "more").await;
    }
    let login = bob.credential(&image(&name), ImageAccess::Push).await.unwrap().unwrap();
    assert_eq!((login.host, login.username.as_str()), (daemon.host(), BOB.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_mounts_a_blob_of_another_image() {
    let Some(daemon) = Daemon::start(Auth::Token) else { return };
    let client = client_of(daemon.config(), Some(ALICE));
    let (from, to) = (image(&format!("{}/a/one", daemon.host())), image(&format!("{}/b/two", daemon.host())));
    let content = bytes::Bytes::from_static(b"layer");
    let digest = Digest::of(&content);
    assert!(!client.mount_blob(&to, &from, &digest).await.unwrap(), "it is nowhere");
    client.put_blob(&from, &digest, 5, bytes(content)).await.unwrap();
    assert!(client.mount_blob(&to, &from, &digest).await.unwrap());
    assert_eq!(client.blob_size(&to, &digest).await.unwrap(), Some(5));
    assert!(!client.mount_blob(&to, &image("elsewhere.example.com/a/one"), &digest).await.unwrap());
}
