//! What is attached to images. A registry without [`Referrers`] has nothing to prove here.

use std::sync::Arc;

use futures_util::future::join_all;

use super::RegistryBench;
use super::fixtures::{Made, all_tags, pushed, read};
use crate::error::ErrorKind;
use crate::image::{Attachment, Payload, Referrer, Referrers, Registry, referred_by};
use crate::name::{Digest, ImageName};
use crate::testing::conformance::Subject;
use crate::testing::conformance::fresh::word;

const SBOM: &str = "application/spdx+json";
const PROVENANCE: &str = "application/vnd.in-toto+json";

/// Something that nobody attached before.
fn fresh(artifact_type: &str) -> Attachment {
    Attachment::new(artifact_type, format!("{{\"word\":\"{}\"}}", word()))
}

async fn listed(referrers: &dyn Referrers, image: &ImageName, subject: &Digest) -> Vec<Referrer> {
    referrers.list(image, subject, None).await.expect("what is attached is listed")
}

fn digests(listed: &[Referrer]) -> Vec<&Digest> {
    listed.iter().map(|one| &one.digest).collect()
}

/// With its type, its annotations and its size; its manifest and contents byte for byte.
pub async fn what_is_attached_is_listed_and_reads_back(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let Some(referrers) = registry.referrers() else { return };
    let made = Made::new();
    let digest = made.push(registry, &image).await;
    assert_eq!(listed(referrers, &image, &digest).await, []);
    let mut attachment = fresh(SBOM);
    attachment.annotations.insert("org.example.word".into(), word());
    let mut second = Payload::new("application/octet-stream", word());
    second.annotations.insert("org.opencontainers.image.title".into(), "words.txt".into());
    attachment.payloads.push(second);
    let attached = referrers.attach(&image, &digest, &attachment).await.expect("it is attached");
    let manifest = registry.manifest(&image, &attached).await.expect("its manifest is there");
    assert_eq!(manifest, attachment.manifest(&made.manifest).unwrap());
    let found = listed(referrers, &image, &digest).await;
    assert_eq!(digests(&found), [&attached]);
    assert_eq!((found[0].artifact_type.as_str(), found[0].size), (SBOM, manifest.bytes.len() as u64));
    assert_eq!(
        (&found[0].annotations, &found[0].media_type),
        (&attachment.annotations, &manifest.media_type)
    );
    for payload in &attachment.payloads {
        let content = read(registry, &image, &Digest::of(&payload.bytes)).await.unwrap();
        assert!(content == payload.bytes);
    }
    assert_eq!(listed(referrers, &image, &Digest::of(b"another")).await, []);
}

/// Whoever is unsure attaches again.
pub async fn attaching_again_is_the_same_and_listed_once(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let Some(referrers) = registry.referrers() else { return };
    let digest = pushed(registry, &image, &["a"]).await;
    let attachment = fresh(PROVENANCE);
    let first = referrers.attach(&image, &digest, &attachment).await.unwrap();
    assert_eq!(referrers.attach(&image, &digest, &attachment).await.unwrap(), first);
    assert_eq!(digests(&listed(referrers, &image, &digest).await), [&first]);
}

/// All of them, or those of one type, in the order of their digests.
pub async fn what_is_attached_is_found_by_its_type(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let Some(referrers) = registry.referrers() else { return };
    let digest = pushed(registry, &image, &[]).await;
    let mut all = Vec::new();
    for kind in [SBOM, PROVENANCE, SBOM] {
        all.push((kind, referrers.attach(&image, &digest, &fresh(kind)).await.unwrap()));
    }
    all.sort_by(|a, b| a.1.cmp(&b.1));
    for wanted in [None, Some(SBOM), Some(PROVENANCE), Some("application/x")] {
        let expected: Vec<&Digest> = all
            .iter()
            .filter(|(kind, _)| wanted.is_none_or(|wanted| wanted == *kind))
            .map(|(_, digest)| digest)
            .collect();
        let found = referrers.list(&image, &digest, wanted).await.unwrap();
        assert_eq!(digests(&found), expected, "{wanted:?}");
    }
}

/// An attachment to nothing would never be found.
pub async fn nothing_is_attached_to_what_is_not_there(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let Some(referrers) = registry.referrers() else { return };
    pushed(registry, &image, &["a"]).await;
    let missing = Made::new().manifest.digest();
    let refused = referrers.attach(&image, &missing, &fresh(SBOM)).await.expect_err("there is no subject");
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    assert_eq!(listed(referrers, &image, &missing).await, []);
}

/// Besides the tag by which some registries keep the list.
pub async fn attaching_moves_no_tag_and_leaves_the_subject_alone(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let Some(referrers) = registry.referrers() else { return };
    let made = Made::new();
    let digest = made.push(registry, &image).await;
    registry.tag(&image, &super::fixtures::tag("a"), &digest).await.unwrap();
    referrers.attach(&image, &digest, &fresh(SBOM)).await.unwrap();
    let tags = all_tags(registry, &image).await;
    let is_list = |name: &str| referred_by(&super::fixtures::tag(name)) == Some(digest.clone());
    let own: Vec<&String> = tags.iter().filter(|name| !is_list(name)).collect();
    assert_eq!(own, ["a"]);
    let now = registry.resolve(&image.tagged(super::fixtures::tag("a"))).await.unwrap();
    assert_eq!(now.as_ref(), Some(&digest));
    assert_eq!(registry.manifest(&image, &digest).await.unwrap(), made.manifest);
}

/// No attachment is lost to another one's.
pub async fn what_is_attached_at_once_is_all_listed(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let image = bench.image();
    if bench.registry.referrers().is_none() {
        return;
    }
    let digest = pushed(bench.registry.as_ref(), &image, &[]).await;
    let attach = (0..8).map(|_| {
        let (registry, image, digest) = (Arc::clone(&bench.registry), image.clone(), digest.clone());
        tokio::spawn(async move {
            let referrers = registry.referrers().expect("it had one before");
            referrers.attach(&image, &digest, &fresh(SBOM)).await.unwrap()
        })
    });
    let attach: Vec<_> = attach.collect();
    let mut attached: Vec<Digest> =
        join_all(attach).await.into_iter().map(|one| one.expect("every one is attached")).collect();
    attached.sort();
    let registry: &dyn Registry = bench.registry.as_ref();
    let found = listed(registry.referrers().expect("it had one before"), &image, &digest).await;
    assert_eq!(digests(&found), attached.iter().collect::<Vec<_>>());
}

/// A signature of a bill of materials.
pub async fn what_is_attached_can_have_something_attached(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let Some(referrers) = registry.referrers() else { return };
    let digest = pushed(registry, &image, &[]).await;
    let sbom = referrers.attach(&image, &digest, &fresh(SBOM)).await.unwrap();
    let signature = referrers.attach(&image, &sbom, &fresh("application/x-signature")).await.unwrap();
    assert_eq!(digests(&listed(referrers, &image, &digest).await), [&sbom]);
    assert_eq!(digests(&listed(referrers, &image, &sbom).await), [&signature]);
}

/// List and contents.
pub async fn what_was_attached_is_listed_after_a_kill(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let image = bench.image();
    let Some(referrers) = bench.registry.referrers() else { return };
    let digest = pushed(bench.registry.as_ref(), &image, &["t"]).await;
    let attachment = fresh(PROVENANCE);
    let attached = referrers.attach(&image, &digest, &attachment).await.unwrap();
    drop(bench);
    let Some(bench) = subject.reopen().await else { return };
    let registry = bench.registry.as_ref();
    let referrers = registry.referrers().expect("it had one before");
    assert_eq!(digests(&listed(referrers, &image, &digest).await), [&attached]);
    let content = &attachment.payloads[0].bytes;
    assert!(read(registry, &image, &Digest::of(content)).await.unwrap() == *content);
}
