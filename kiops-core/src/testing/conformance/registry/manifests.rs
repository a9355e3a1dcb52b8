//! Manifests and indexes: their bytes, what they name, and how they are found.

use super::RegistryBench;
use super::fixtures::{INDEX, Made, pushed, put, tag};
use crate::image::{ImageAccess, Manifest};
use crate::name::{Digest, ImageRef};
use crate::testing::conformance::Subject;

/// Its digest is over these bytes.
pub async fn a_manifest_comes_out_byte_for_byte(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let made = Made::new();
    let digest = made.push(registry, &image).await;
    assert_eq!(digest, made.manifest.digest());
    assert_eq!(registry.manifest(&image, &digest).await.unwrap(), made.manifest);
}

/// An image for several platforms.
pub async fn an_index_comes_out_byte_for_byte(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let made = Made::new();
    let (child, size) = (made.push(registry, &image).await, made.manifest.bytes.len());
    let text = format!(
        "{{\"schemaVersion\":2,  \"mediaType\":\"{INDEX}\",\n\"manifests\":[ {{\"mediaType\":\"{}\",\
         \"digest\":\"{child}\",\"size\":{size},\"platform\":{{\"architecture\":\"amd64\",\"os\":\"linux\"}}}} ]}}",
        made.manifest.media_type
    );
    let index = Manifest { media_type: INDEX.into(), bytes: text.into() };
    let digest = registry.put_manifest(&image, &index).await.unwrap();
    assert_eq!(digest, index.digest());
    assert_eq!(registry.manifest(&image, &digest).await.unwrap(), index);
    registry.tag(&image, &tag("all"), &digest).await.unwrap();
    assert_eq!(registry.resolve(&image.tagged(tag("all"))).await.unwrap(), Some(digest));
}

/// Who is unsure whether a push arrived pushes again.
pub async fn a_manifest_is_stored_again_without_harm(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let made = Made::new();
    let digest = made.push(registry, &image).await;
    registry.tag(&image, &tag("t"), &digest).await.unwrap();
    assert_eq!(registry.put_manifest(&image, &made.manifest).await.unwrap(), digest);
    registry.tag(&image, &tag("t"), &digest).await.expect("tagging again is no error");
    assert_eq!(registry.manifest(&image, &digest).await.unwrap(), made.manifest);
    assert_eq!(registry.resolve(&image.tagged(tag("t"))).await.unwrap(), Some(digest));
}

/// Nobody ever pulls an image with a hole.
pub async fn a_manifest_whose_blob_is_missing_is_refused_and_not_there(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    for missing in ["layer", "config", "both"] {
        let made = Made::new();
        let there = match missing {
            "layer" => vec![&made.config],
            "config" => vec![&made.layer],
            _ => Vec::new(),
        };
        for blob in there {
            put(registry, &image, blob).await.unwrap();
        }
        assert!(registry.put_manifest(&image, &made.manifest).await.is_err(), "without {missing}");
        let digest = made.manifest.digest();
        assert_eq!(registry.resolve(&image.at(digest.clone())).await.unwrap(), None, "without {missing}");
        assert!(registry.manifest(&image, &digest).await.is_err(), "without {missing}");
        assert_eq!(made.push(registry, &image).await, digest, "it is stored once its blobs are there");
    }
}

/// An error, whether or not the image is there.
pub async fn a_manifest_that_is_not_there_is_an_error(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let missing = Made::new().manifest.digest();
    assert!(registry.manifest(&image, &missing).await.is_err());
    pushed(registry, &image, &["t"]).await;
    assert!(registry.manifest(&image, &missing).await.is_err());
}

/// The digest is the truth and the tag is for people; what names nothing that is there is `None`.
pub async fn a_reference_resolves_by_its_digest_else_by_its_tag(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let missing: Digest = Made::new().manifest.digest();
    let reference = |name: Option<&str>, digest: Option<&Digest>| ImageRef {
        name: image.clone(),
        tag: name.map(tag),
        digest: digest.cloned(),
    };
    assert_eq!(registry.resolve(&reference(Some("one"), None)).await.unwrap(), None, "no image");
    let one = pushed(registry, &image, &["one"]).await;
    let two = pushed(registry, &image, &["two"]).await;
    let cases = [
        ("a tag", reference(Some("one"), None), Some(&one)),
        ("another tag", reference(Some("two"), None), Some(&two)),
        ("a tag that is not there", reference(Some("three"), None), None),
        ("a digest", reference(None, Some(&two)), Some(&two)),
        ("a digest that is not there", reference(None, Some(&missing)), None),
        ("a digest with its tag", reference(Some("one"), Some(&one)), Some(&one)),
        ("a digest with the tag of another", reference(Some("one"), Some(&two)), Some(&two)),
        ("a digest with a tag that is not there", reference(Some("three"), Some(&two)), Some(&two)),
        ("neither", reference(None, None), None),
    ];
    for (what, reference, expected) in cases {
        assert_eq!(registry.resolve(&reference).await.unwrap().as_ref(), expected, "{what}");
    }
}

/// It can be pushed to, and whoever else needs a credential gets one for its host.
pub async fn the_registry_says_that_it_works(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    registry.check(&image).await.expect("it takes pushes to this image");
    for access in [ImageAccess::Pull, ImageAccess::Push] {
        if let Some(credential) = registry.credential(&image, access).await.unwrap() {
            assert_eq!(credential.host, image.host(), "{access:?}");
        }
    }
}
