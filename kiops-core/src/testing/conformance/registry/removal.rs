//! Deleting: a tag alone, or a manifest with its tags.

use super::RegistryBench;
use super::fixtures::{Made, all_tags, pushed, tag};
use crate::error::ErrorKind;
use crate::image::Registry;
use crate::name::ImageRef;
use crate::testing::conformance::Subject;

/// It says that it deletes nothing, and what to do.
async fn refuses(registry: &dyn Registry, reference: &ImageRef) {
    let error = registry.delete(reference).await.expect_err("it deletes nothing");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.remedy().is_some(), "{error}");
}

/// What others are on stays.
pub async fn a_tag_that_is_deleted_leaves_the_manifest_and_its_other_tags(
    subject: &dyn Subject<RegistryBench>,
) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let digest = pushed(registry, &image, &["a", "b"]).await;
    if !bench.deletes {
        refuses(registry, &image.tagged(tag("a"))).await;
        assert_eq!(registry.resolve(&image.tagged(tag("a"))).await.unwrap().as_ref(), Some(&digest));
        return;
    }
    for name in ["a", "a", "b"] {
        registry.delete(&image.tagged(tag(name))).await.expect("a tag is deleted, also twice");
        assert_eq!(registry.resolve(&image.tagged(tag(name))).await.unwrap(), None);
        assert!(!all_tags(registry, &image).await.contains(&name.to_owned()));
        if name == "a" {
            assert_eq!(registry.resolve(&image.tagged(tag("b"))).await.unwrap().as_ref(), Some(&digest));
        }
    }
    assert_eq!(registry.resolve(&image.at(digest.clone())).await.unwrap().as_ref(), Some(&digest));
    registry.tag(&image, &tag("c"), &digest).await.expect("it is tagged again");
    assert_eq!(all_tags(registry, &image).await, ["c"]);
}

/// No tag is left that points at nothing. A tag beside the digest decides nothing.
pub async fn a_manifest_that_is_deleted_takes_all_its_tags_along(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    for with_tag in [None, Some(tag("a"))] {
        let digest = pushed(registry, &image, &["a", "b"]).await;
        let other = pushed(registry, &image, &["c"]).await;
        let reference = ImageRef { name: image.clone(), tag: with_tag, digest: Some(digest.clone()) };
        if !bench.deletes {
            refuses(registry, &reference).await;
            assert_eq!(all_tags(registry, &image).await, ["a", "b", "c"]);
            continue;
        }
        registry.delete(&reference).await.unwrap();
        for gone in [image.at(digest.clone()), image.tagged(tag("a")), image.tagged(tag("b"))] {
            assert_eq!(registry.resolve(&gone).await.unwrap(), None, "{gone}");
        }
        assert!(registry.manifest(&image, &digest).await.is_err());
        assert_eq!(all_tags(registry, &image).await, ["c"]);
        assert_eq!(registry.resolve(&image.tagged(tag("c"))).await.unwrap(), Some(other));
    }
}

/// Who is unsure deletes again.
pub async fn what_is_not_there_is_deleted_without_an_error(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let missing = Made::new().manifest.digest();
    let absent = [image.tagged(tag("x")), image.at(missing)];
    if !bench.deletes {
        for reference in &absent {
            refuses(registry, reference).await;
        }
        return;
    }
    for reference in &absent {
        registry.delete(reference).await.expect("of an image that is not there");
    }
    let digest = pushed(registry, &image, &["t"]).await;
    for reference in &absent {
        registry.delete(reference).await.expect("of one that is");
    }
    assert_eq!(registry.resolve(&image.tagged(tag("t"))).await.unwrap().as_ref(), Some(&digest));
    for _ in 0..2 {
        registry.delete(&image.at(digest.clone())).await.expect("twice");
    }
    assert_eq!(all_tags(registry, &image).await, [""; 0]);
}
