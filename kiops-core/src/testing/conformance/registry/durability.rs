//! After a kill. A registry that lives in memory has nothing to prove here.

use std::time::Duration;

use super::RegistryBench;
use super::fixtures::{Made, all_tags, content, cut_off, put, read, tag};
use crate::name::Digest;
use crate::testing::conformance::Subject;

/// Blobs, manifests and tags.
pub async fn what_was_pushed_is_there_after_a_kill(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (image, made) = (bench.image(), Made::new());
    let digest = made.push(bench.registry.as_ref(), &image).await;
    bench.registry.tag(&image, &tag("t"), &digest).await.unwrap();
    if bench.deletes {
        bench.registry.tag(&image, &tag("gone"), &digest).await.unwrap();
        bench.registry.delete(&image.tagged(tag("gone"))).await.unwrap();
    }
    drop(bench);
    let Some(bench) = subject.reopen().await else { return };
    let registry = bench.registry.as_ref();
    assert_eq!(registry.resolve(&image.tagged(tag("t"))).await.unwrap().as_ref(), Some(&digest));
    assert_eq!(all_tags(registry, &image).await, ["t"]);
    assert_eq!(registry.manifest(&image, &digest).await.unwrap(), made.manifest);
    for blob in [&made.config, &made.layer] {
        assert!(read(registry, &image, &Digest::of(blob)).await.unwrap() == *blob);
    }
}

/// There whole or not at all.
pub async fn a_push_that_a_kill_cut_off_leaves_nothing(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (image, content) = (bench.image(), content(300_000));
    let digest = Digest::of(&content);
    let put_blob = bench.registry.put_blob(&image, &digest, 300_000, cut_off(&content));
    tokio::time::timeout(Duration::from_millis(50), put_blob).await.expect_err("the content never ends");
    drop(bench);
    let Some(bench) = subject.reopen().await else { return };
    let registry = bench.registry.as_ref();
    assert_eq!(registry.blob_size(&image, &digest).await.unwrap(), None);
    put(registry, &image, &content).await.expect("it is stored in a second try");
    assert!(read(registry, &image, &digest).await.unwrap() == content);
}
