//! Several at once. A runtime of one thread proves less here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use super::RegistryBench;
use super::fixtures::{all_tags, content, pushed, put, read, tag};
use crate::error::Retry;
use crate::name::Digest;
use crate::testing::conformance::Subject;

/// Readers see the digest before or the one after, in every moment.
pub async fn a_tag_that_moves_is_never_missing(subject: &dyn Subject<RegistryBench>) {
    const READERS: usize = 4;
    const MOVES: usize = 40;
    let bench = subject.open().await;
    let (registry, image) = (&bench.registry, bench.image());
    let first = pushed(registry.as_ref(), &image, &["live"]).await;
    let second = pushed(registry.as_ref(), &image, &[]).await;
    let over = Arc::new(AtomicBool::new(false));
    let readers = (0..READERS).map(|_| {
        let (registry, image, over) = (Arc::clone(registry), image.clone(), Arc::clone(&over));
        let known = [first.clone(), second.clone()];
        tokio::spawn(async move {
            let live = image.tagged(tag("live"));
            while !over.load(Ordering::Acquire) {
                let found = match registry.resolve(&live).await {
                    // One that fails in passing says nothing of the tag: distribution 2 answers 500 while it is written.
                    Err(error) if error.retry() != Retry::Never => continue,
                    found => found.unwrap().expect("a tag that moves is there"),
                };
                assert!(known.contains(&found), "{found} was never tagged");
                assert_eq!(all_tags(registry.as_ref(), &image).await, ["live"]);
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for digest in [&second, &first].into_iter().cycle().take(MOVES) {
        registry.tag(&image, &tag("live"), digest).await.unwrap();
        assert_eq!(registry.resolve(&image.tagged(tag("live"))).await.unwrap().as_ref(), Some(digest));
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::Release);
    for reader in join_all(readers).await {
        reader.expect("every reader always found the tag");
    }
}

/// Builds of one commit share their layers.
pub async fn one_blob_pushed_by_many_at_once_is_there_whole(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (image, content) = (bench.image(), content(200_000));
    let pushes = (0..8).map(|_| {
        let (registry, image, content) = (Arc::clone(&bench.registry), image.clone(), content.clone());
        tokio::spawn(async move { put(registry.as_ref(), &image, &content).await.unwrap() })
    });
    let digests: Vec<Digest> =
        join_all(pushes).await.into_iter().map(|push| push.expect("every push succeeds")).collect();
    assert!(read(bench.registry.as_ref(), &image, &digests[0]).await.unwrap() == content);
}

/// No push is lost to another one's.
pub async fn images_pushed_at_once_are_all_there(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let image = bench.image();
    let pushes = (0..8).map(|n| {
        let (registry, image) = (Arc::clone(&bench.registry), image.clone());
        tokio::spawn(async move { pushed(registry.as_ref(), &image, &[&format!("t{n}")]).await })
    });
    let pushes: Vec<_> = pushes.collect();
    for (n, push) in join_all(pushes).await.into_iter().enumerate() {
        let digest = push.expect("every push succeeds");
        let found = bench.registry.resolve(&image.tagged(tag(&format!("t{n}")))).await.unwrap();
        assert_eq!(found.as_ref(), Some(&digest));
        assert_eq!(bench.registry.manifest(&image, &digest).await.unwrap().digest(), digest);
    }
    assert_eq!(
        all_tags(bench.registry.as_ref(), &image).await,
        ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"]
    );
}
