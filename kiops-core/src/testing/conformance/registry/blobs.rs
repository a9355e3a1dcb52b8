//! Blobs: what goes in comes out, and what does not match stays out.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::RegistryBench;
use super::fixtures::{Made, chunks, content, cut_off, put, read};
use crate::error::Error;
use crate::name::Digest;
use crate::stream::ByteStream;
use crate::testing::conformance::Subject;

/// Whatever its size, and however it came.
pub async fn a_blob_comes_out_as_it_went_in(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    for size in [0, 1, 512, 300_000] {
        let content = content(size);
        let digest = put(registry, &image, &content).await.unwrap();
        assert_eq!(registry.blob_size(&image, &digest).await.unwrap(), Some(size as u64));
        assert!(read(registry, &image, &digest).await.unwrap() == content, "{size} bytes come out as others");
    }
}

/// Who is unsure whether a push arrived pushes again.
pub async fn a_blob_is_stored_again_without_harm(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let content = content(5000);
    let digest = put(registry, &image, &content).await.unwrap();
    put(registry, &image, &content).await.expect("storing again is no error");
    // A registry that has the digest may answer without reading; what it has stays what it is.
    let other = super::fixtures::content(5000);
    let _ = registry.put_blob(&image, &digest, 5000, chunks(&other)).await;
    assert!(read(registry, &image, &digest).await.unwrap() == content, "the blob is what its digest says");
}

/// Neither under the digest that was announced nor under its own.
pub async fn content_with_another_digest_or_size_is_refused_and_leaves_nothing(
    subject: &dyn Subject<RegistryBench>,
) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let whole = content(4000);
    let broken: ByteStream = Box::pin(
        chunks(&whole.slice(..2000))
            .chain(stream::iter([Err(Error::unavailable("read layer", "the other side hung up"))])),
    );
    let digest = Digest::of(&whole);
    let cases = [
        ("the content of another digest", Digest::of(&content(4000)), 4000, chunks(&whole)),
        ("less than was announced", digest.clone(), 4001, chunks(&whole)),
        ("more than was announced", digest.clone(), 3999, chunks(&whole)),
        ("a part of it", digest.clone(), 4000, chunks(&whole.slice(..3999))),
        ("nothing", digest.clone(), 4000, chunks(&whole.slice(..0))),
        ("a stream that fails", digest.clone(), 4000, broken),
    ];
    for (what, announced, size, stream) in cases {
        let put = registry.put_blob(&image, &announced, size, stream).await;
        assert!(put.is_err(), "{what} is refused");
        for digest in [&announced, &digest] {
            assert_eq!(
                registry.blob_size(&image, digest).await.unwrap(),
                None,
                "{what} leaves nothing behind"
            );
            assert!(read(registry, &image, digest).await.is_err(), "{what} leaves nothing behind");
        }
    }
    put(registry, &image, &whole).await.expect("the whole is stored after all that");
    assert!(read(registry, &image, &digest).await.unwrap() == whole);
}

/// A build that is canceled stops in the middle of a blob.
pub async fn a_push_that_is_let_go_of_leaves_nothing(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let content = content(300_000);
    let digest = Digest::of(&content);
    let put_blob = registry.put_blob(&image, &digest, 300_000, cut_off(&content));
    tokio::time::timeout(Duration::from_millis(50), put_blob).await.expect_err("the content never ends");
    assert_eq!(registry.blob_size(&image, &digest).await.unwrap(), None);
    assert!(read(registry, &image, &digest).await.is_err());
    put(registry, &image, &content).await.expect("it is stored in a second try");
    assert!(read(registry, &image, &digest).await.unwrap() == content);
}

/// No size, and an error instead of an empty content.
pub async fn a_blob_that_is_not_there_has_no_size_and_no_content(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let digest = Digest::of(&content(100));
    assert_eq!(registry.blob_size(&image, &digest).await.unwrap(), None, "of an image that is not there");
    Made::new().push(registry, &image).await;
    assert_eq!(registry.blob_size(&image, &digest).await.unwrap(), None, "of one that is");
    assert!(read(registry, &image, &digest).await.is_err());
}

/// Either it is there afterwards, or the registry says to push it.
pub async fn a_blob_is_mounted_whole_or_to_be_pushed(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, from, to) = (bench.registry.as_ref(), bench.image(), bench.image());
    let content = content(3000);
    let digest = put(registry, &from, &content).await.unwrap();
    if !registry.mount_blob(&to, &from, &digest).await.unwrap() {
        put(registry, &to, &content).await.unwrap();
    }
    assert_eq!(registry.blob_size(&to, &digest).await.unwrap(), Some(3000));
    assert!(read(registry, &to, &digest).await.unwrap() == content);
    assert!(read(registry, &from, &digest).await.unwrap() == content, "nothing is taken from where it was");
    let missing = Digest::of(&super::fixtures::content(3000));
    let mounted = registry.mount_blob(&to, &from, &missing).await;
    assert!(!matches!(mounted, Ok(true)), "what is not there is not mounted");
    assert_eq!(registry.blob_size(&to, &missing).await.unwrap(), None);
}

/// A disk that forgets, a proxy that changes: an error, not other bytes. Proved where the bench can do damage.
pub async fn damaged_content_is_never_handed_out(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let Some(damage) = &bench.damage else { return };
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let made = Made::new();
    let manifest = made.push(registry, &image).await;
    let layer = Digest::of(&made.layer);
    damage(&layer);
    let read_back = read(registry, &image, &layer).await;
    assert!(read_back.is_err(), "a blob that has changed ends in an error");
    assert!(registry.manifest(&image, &manifest).await.is_ok(), "what is whole is handed out");
    damage(&manifest);
    assert!(registry.manifest(&image, &manifest).await.is_err(), "a manifest that has changed is an error");
}
