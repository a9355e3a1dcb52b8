//! The layout as a registry.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use kiops_core::image::{ImageAccess, Registry, TagPage};
use kiops_core::name::{Digest, ImageRef};
use kiops_core::{Error, ErrorKind};

use crate::fixtures::{blob_path, bytes, count, image, manifest_of, open, push, put, read, tag};

const SITE: &str = "quickstart.local/site";

fn reference(text: &str) -> ImageRef {
    ImageRef::parse(text).unwrap()
}

#[tokio::test]
async fn what_was_pushed_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let digest = push(&open(dir.path()), SITE, &["one", "two"], "hello").await;
    let layout = open(dir.path());
    assert_eq!(layout.resolve(&reference(&format!("{SITE}:one"))).await.unwrap(), Some(digest.clone()));
    let manifest = layout.manifest(&image(SITE), &digest).await.unwrap();
    assert_eq!(manifest.digest(), digest);
    assert_eq!(read(&layout, &image(SITE), &Digest::of(b"hello")).await.unwrap(), "hello");
    assert_eq!(layout.tags(&image(SITE), &TagPage::default()).await.unwrap(), [tag("one"), tag("two")]);
    layout.check(&image(SITE)).await.unwrap();
    assert_eq!(layout.credential(&image(SITE), ImageAccess::Push).await.unwrap(), None);
}

#[tokio::test]
async fn images_of_one_layout_keep_their_tags_and_manifests_apart() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    let one = push(&layout, "a.io/x", &["t"], "one").await;
    let two = push(&layout, "a.io/y", &["t"], "two").await;
    let resolve = async |text: String| layout.resolve(&reference(&text)).await.unwrap();
    assert_eq!(resolve("a.io/x:t".into()).await, Some(one.clone()));
    assert_eq!(resolve("a.io/y:t".into()).await, Some(two.clone()));
    assert_eq!(resolve(format!("a.io/y@{one}")).await, None);
    assert_eq!(
        resolve(format!("a.io/y:t@{one}")).await,
        None,
        "where there is a digest the tag decides nothing"
    );
    assert_eq!(resolve("b.io/x:t".into()).await, None);
    let error = layout.manifest(&image("a.io/y"), &one).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_tag_moves_and_its_old_manifest_stays_until_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    let old = push(&layout, SITE, &["latest"], "old").await;
    let new = push(&layout, SITE, &["latest"], "new").await;
    assert_eq!(layout.resolve(&reference(&format!("{SITE}:latest"))).await.unwrap(), Some(new.clone()));
    assert_eq!(layout.resolve(&reference(&format!("{SITE}@{old}"))).await.unwrap(), Some(old.clone()));
    layout.tag(&image(SITE), &tag("back"), &old).await.unwrap();

    layout.delete(&reference(&format!("{SITE}:latest"))).await.unwrap();
    assert_eq!(layout.resolve(&reference(&format!("{SITE}:latest"))).await.unwrap(), None);
    assert_eq!(layout.resolve(&reference(&format!("{SITE}@{new}"))).await.unwrap(), Some(new));
    layout.delete(&image(SITE).at(old.clone())).await.unwrap();
    layout.delete(&image(SITE).at(old.clone())).await.unwrap();
    assert_eq!(layout.resolve(&reference(&format!("{SITE}:back"))).await.unwrap(), None);
    assert!(layout.tag(&image(SITE), &tag("x"), &old).await.is_err());
    assert!(layout.delete(&reference(SITE)).await.is_err(), "a bare name names nothing");
}

#[tokio::test]
async fn tags_come_in_byte_order_and_pages() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    push(&layout, SITE, &["b", "a", "B", "a-1", "c"], "x").await;
    let page = async |after: Option<&str>, limit: usize, contains: Option<&str>| {
        let mut page = TagPage::default();
        page.after = after.map(tag);
        page.limit = limit;
        page.contains = contains.map(str::to_owned);
        let tags = layout.tags(&image(SITE), &page).await.unwrap();
        tags.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 0, None).await, ["B", "a", "a-1", "b", "c"]);
    assert_eq!(page(Some("a"), 2, None).await, ["a-1", "b"]);
    assert_eq!(page(None, 0, Some("a")).await, ["a", "a-1"]);
    assert_eq!(page(Some("zz"), 0, None).await, [""; 0]);
}

#[tokio::test]
async fn content_that_is_not_what_it_was_announced_as_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    let name = image(SITE);
    let digest = Digest::of(b"abc");
    for (size, content) in [(3, "abd"), (2, "abc"), (4, "abc"), (3, "abcd")] {
        let error = layout.put_blob(&name, &digest, size, bytes(content)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let broken = futures_stream([Ok("ab".into()), Err(Error::unavailable("read", "cut"))]);
    assert_eq!(layout.put_blob(&name, &digest, 3, broken).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((count(&layout, "blobs/sha256"), count(&layout, ".kiops/tmp")), (0, 0));
    assert_eq!(layout.blob_size(&name, &digest).await.unwrap(), None);
    layout.put_blob(&name, &digest, 3, bytes("abc")).await.unwrap();
    layout.put_blob(&name, &digest, 3, bytes("abc")).await.unwrap();
    assert_eq!(layout.blob_size(&name, &digest).await.unwrap(), Some(3));
    assert!(
        layout.put_blob(&name, &digest, 3, bytes("abd")).await.is_err(),
        "also where it is there already"
    );
    assert!(layout.mount_blob(&image("b.io/c"), &name, &digest).await.unwrap());
    assert!(!layout.mount_blob(&image("b.io/c"), &name, &Digest::of(b"no")).await.unwrap());
}

fn futures_stream(
    chunks: impl IntoIterator<Item = kiops_core::Result<Bytes>>,
) -> kiops_core::stream::ByteStream {
    struct Chunks(std::vec::IntoIter<kiops_core::Result<Bytes>>);
    impl futures_core::Stream for Chunks {
        type Item = kiops_core::Result<Bytes>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
    Box::pin(Chunks(chunks.into_iter().collect::<Vec<_>>().into_iter()))
}

#[tokio::test]
async fn a_manifest_needs_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    let name = image(SITE);
    let config = put(&layout, &name, "{}").await;
    let mut wrong_size = config.clone();
    wrong_size["size"] = 3.into();
    let missing = serde_json::json!({"mediaType": "x", "digest": Digest::of(b"nowhere"), "size": 1});
    for layer in [wrong_size, missing] {
        let error = layout.put_manifest(&name, &manifest_of(&config, &[layer])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.remedy().is_some());
    }
    assert_eq!(layout.tags(&name, &TagPage::default()).await.unwrap(), []);
    let whole = manifest_of(&config, &[]);
    let digest = layout.put_manifest(&name, &whole).await.unwrap();
    assert_eq!(layout.put_manifest(&name, &whole).await.unwrap(), digest);
}

#[tokio::test]
async fn a_damaged_blob_is_named_and_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    let text = "x".repeat(600_000);
    let digest = push(&layout, SITE, &["t"], &text).await;
    let blob = Digest::of(text.as_bytes());
    let mut torn = text.into_bytes();
    torn[599_999] = b'y';
    fs::write(blob_path(&layout, &blob), &torn).unwrap();
    let error = read(&layout, &image(SITE), &blob).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(blob.hex()) && error.remedy().is_some(), "{error}");

    fs::write(blob_path(&layout, &digest), "{").unwrap();
    for error in [
        layout.manifest(&image(SITE), &digest).await.unwrap_err(),
        layout.resolve(&reference(&format!("{SITE}:t"))).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn a_damaged_index_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    push(&layout, SITE, &["t"], "x").await;
    let index = dir.path().join("index.json");
    let whole = fs::read(&index).unwrap();
    fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    let config = kiops_registry::layout::LayoutConfig::new(dir.path());
    for error in [
        kiops_registry::layout::ImageLayout::open(config.clone()).unwrap_err(),
        layout.tag(&image(SITE), &tag("u"), &Digest::of(b"x")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.message().contains("index.json") && error.remedy().unwrap().contains("backup"),
            "{error}"
        );
    }
    fs::remove_file(&index).unwrap();
    assert!(kiops_registry::layout::ImageLayout::open(config).unwrap_err().message().contains("missing"));
    fs::write(&index, whole).unwrap();
    open(dir.path());
}

#[tokio::test]
async fn a_half_made_layout_is_completed_and_a_foreign_folder_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    fs::create_dir_all(dir.path().join(".kiops/tmp")).unwrap();
    fs::write(dir.path().join(".kiops/tmp/1-0"), "left by a crash").unwrap();
    let layout = open(dir.path());
    assert_eq!(count(&layout, ".kiops/tmp"), 0);
    assert!(dir.path().join("oci-layout").exists() && dir.path().join("index.json").exists());

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("thesis.tex"), "").unwrap();
    let config = kiops_registry::layout::LayoutConfig::new(other.path());
    let error = kiops_registry::layout::ImageLayout::open(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_lose_nothing_and_a_moving_tag_is_never_missing() {
    let dir = tempfile::tempdir().unwrap();
    // Two layouts on one directory, as two processes have them.
    let layouts = [Arc::new(open(dir.path())), Arc::new(open(dir.path()))];
    push(&*layouts[0], SITE, &["moving"], "first").await;
    let writers: Vec<_> = (0..24)
        .map(|n| {
            let layout = Arc::clone(&layouts[n % 2]);
            tokio::spawn(async move {
                push(&*layout, SITE, &[&format!("t{n}"), "moving"], &format!("content {n}")).await
            })
        })
        .collect();
    let reader = {
        let layout = Arc::clone(&layouts[1]);
        tokio::spawn(async move {
            for _ in 0..200 {
                assert!(layout.resolve(&reference(&format!("{SITE}:moving"))).await.unwrap().is_some());
            }
        })
    };
    let mut digests = Vec::new();
    for writer in writers {
        digests.push(writer.await.unwrap());
    }
    reader.await.unwrap();
    for (n, digest) in digests.into_iter().enumerate() {
        for layout in &layouts {
            let found = layout.resolve(&reference(&format!("{SITE}:t{n}"))).await.unwrap();
            assert_eq!(found.as_ref(), Some(&digest));
        }
    }
    assert_eq!(count(&layouts[0], ".kiops/tmp"), 0);
}

#[tokio::test]
async fn a_layout_that_is_removed_while_in_use_is_named_with_what_to_do_and_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("layout");
    let layout = open(&path);
    let digest = push(&layout, SITE, &["one"], "hello").await;
    // All of it, and all of it but what is hidden, as `rm -rf layout/*` leaves it.
    for hidden_stays in [false, true] {
        let away = dir.path().join("away");
        fs::rename(&path, &away).unwrap();
        if hidden_stays {
            fs::create_dir_all(path.join(".kiops").join("tmp")).unwrap();
        }
        let blob = Bytes::from_static(b"new");
        let (site, new) = (image(SITE), Digest::of(&blob));
        let pushed = layout.put_blob(&site, &new, 3, kiops_core::stream::once(blob));
        for error in [
            layout.check(&image(SITE)).await.unwrap_err(),
            layout.resolve(&reference(&format!("{SITE}@{digest}"))).await.unwrap_err(),
            layout.tag(&image(SITE), &tag("two"), &digest).await.unwrap_err(),
            pushed.await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.message().contains("/layout` is gone"), "{error}");
            assert!(error.remedy().unwrap().contains("start again"), "{error}");
        }
        assert!(!path.join("index.json").exists());
        let _ = fs::remove_dir_all(&path);
        fs::rename(&away, &path).unwrap();
        assert_eq!(layout.resolve(&reference(&format!("{SITE}:one"))).await.unwrap(), Some(digest.clone()));
    }
}
