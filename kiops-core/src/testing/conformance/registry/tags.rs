//! Tags: their order and pages, and what they point at.

use super::RegistryBench;
use super::fixtures::{Made, all_tags, names, pushed, tag};
use crate::image::TagPage;
use crate::testing::conformance::Subject;

/// Nothing twice and nothing left out.
pub async fn tags_come_in_byte_order_page_by_page(subject: &dyn Subject<RegistryBench>) {
    const SORTED: [&str; 9] = ["0", "1.10", "1.9", "A", "Z-1", "_x", "a", "a.b", "latest"];
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    assert_eq!(all_tags(registry, &image).await, [""; 0], "an image that nobody pushed has no tags");
    let shuffled = ["latest", "Z-1", "1.9", "_x", "a", "0", "a.b", "A", "1.10"];
    pushed(registry, &image, &shuffled).await;
    assert_eq!(all_tags(registry, &image).await, SORTED);
    for limit in [1, 2, 4, 9, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = registry.tags(&image, &TagPage { after, limit, contains: None }).await.unwrap();
            assert!(page.len() <= limit, "at most {limit}");
            seen.extend(names(&page));
            let Some(last) = page.into_iter().next_back() else { break };
            after = Some(last);
        }
        assert_eq!(seen, SORTED, "{limit} at a time");
    }
    let page = TagPage { after: Some(tag("B")), limit: 2, contains: None };
    assert_eq!(
        names(&registry.tags(&image, &page).await.unwrap()),
        ["Z-1", "_x"],
        "after one that is not there"
    );
}

/// Wherever in the tag it stands, and as it is written.
pub async fn tags_are_found_by_a_text_in_them(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    pushed(registry, &image, &["main-1", "main-2", "MAIN-3", "v1-main", "v2", "x.y", "x-y"]).await;
    let find = async |contains: &str, after: Option<&str>, limit| {
        let page = TagPage { after: after.map(tag), limit, contains: Some(contains.into()) };
        names(&registry.tags(&image, &page).await.unwrap())
    };
    assert_eq!(find("main", None, 0).await, ["main-1", "main-2", "v1-main"]);
    assert_eq!(find("main", Some("main-1"), 1).await, ["main-2"]);
    assert_eq!(
        find("main", Some("main-2"), 1).await,
        ["v1-main"],
        "a page is filled with what was asked for"
    );
    assert_eq!(find("x.y", None, 0).await, ["x.y"], "a dot is a dot");
    assert_eq!(find("*", None, 0).await, [""; 0]);
    assert_eq!(find("", None, 0).await.len(), 7);
}

/// It moves without a layer, and the manifest that it leaves stays.
pub async fn a_tag_points_at_what_it_was_given_last(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let first = pushed(registry, &image, &["test", "latest"]).await;
    let second = pushed(registry, &image, &["test"]).await;
    let latest = image.tagged(tag("latest"));
    assert_eq!(registry.resolve(&latest).await.unwrap().as_ref(), Some(&first));
    for _ in 0..2 {
        registry.tag(&image, &tag("latest"), &second).await.unwrap();
        assert_eq!(registry.resolve(&latest).await.unwrap().as_ref(), Some(&second));
    }
    assert_eq!(registry.resolve(&image.at(first.clone())).await.unwrap(), Some(first));
    assert_eq!(all_tags(registry, &image).await, ["latest", "test"]);
}

/// An error, and the tag is what it was.
pub async fn a_tag_is_only_given_to_a_manifest_that_is_there(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, image) = (bench.registry.as_ref(), bench.image());
    let there = pushed(registry, &image, &["old"]).await;
    let missing = Made::new().manifest.digest();
    for name in ["old", "new"] {
        assert!(registry.tag(&image, &tag(name), &missing).await.is_err());
    }
    assert_eq!(registry.resolve(&image.tagged(tag("old"))).await.unwrap(), Some(there));
    assert_eq!(all_tags(registry, &image).await, ["old"]);
}

/// The same word in two images is two tags.
pub async fn tags_of_one_image_are_no_other_images(subject: &dyn Subject<RegistryBench>) {
    let bench = subject.open().await;
    let (registry, one, two) = (bench.registry.as_ref(), bench.image(), bench.image());
    let first = pushed(registry, &one, &["t", "only-one"]).await;
    let second = pushed(registry, &two, &["t"]).await;
    assert_eq!(registry.resolve(&one.tagged(tag("t"))).await.unwrap(), Some(first));
    assert_eq!(registry.resolve(&two.tagged(tag("t"))).await.unwrap(), Some(second));
    assert_eq!(registry.resolve(&two.tagged(tag("only-one"))).await.unwrap(), None);
    assert_eq!(all_tags(registry, &two).await, ["t"]);
}
