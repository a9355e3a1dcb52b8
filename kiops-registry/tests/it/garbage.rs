//! Garbage collection.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use kiops_core::ErrorKind;
use kiops_core::image::{Attachment, Registry, TagPage};
use kiops_core::name::{Digest, ImageRef};
use serde_json::json;

use crate::fixtures::{blob_path, count, image, manifest_of, open, open_impatient, push, put, read, tag};

const SITE: &str = "quickstart.local/site";

async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

#[tokio::test]
async fn what_no_manifest_names_goes_and_everything_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open_impatient(dir.path());
    let kept = push(&layout, SITE, &["t"], "kept").await;
    let untagged = push(&layout, SITE, &[], "untagged").await;
    let deleted = push(&layout, SITE, &["d"], "deleted").await;
    put(&layout, &image(SITE), "orphan").await;
    layout.delete(&image(SITE).at(deleted)).await.unwrap();
    a_moment().await;
    let collected = layout.gc().await.unwrap();
    // The orphan, and the deleted image's manifest, configuration and layer.
    assert_eq!((collected.removed, collected.kept), (4, 6));
    assert!(collected.freed_bytes > 0);
    for (digest, text) in [(kept, "kept"), (untagged, "untagged")] {
        layout.manifest(&image(SITE), &digest).await.unwrap();
        assert_eq!(read(&layout, &image(SITE), &Digest::of(text.as_bytes())).await.unwrap(), text);
    }
}

#[tokio::test]
async fn the_grace_period_counts_from_the_last_word_about_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    put(&layout, &image(SITE), "fresh").await;
    for old in ["old", "asked for"] {
        put(&layout, &image(SITE), old).await;
        let file = File::options().write(true).open(blob_path(&layout, &Digest::of(old.as_bytes()))).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(2 * 24 * 3600)).unwrap();
    }
    assert_eq!(layout.blob_size(&image(SITE), &Digest::of(b"asked for")).await.unwrap(), Some(9));
    assert_eq!(layout.gc().await.unwrap().removed, 1);
    assert_eq!(layout.blob_size(&image(SITE), &Digest::of(b"old")).await.unwrap(), None);
    assert_eq!(count(&layout, "blobs/sha256"), 2);
}

#[tokio::test]
async fn an_index_keeps_its_platforms_and_what_other_programs_added_stays() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open_impatient(dir.path());
    let child = push(&layout, "a.io/child", &[], "amd64").await;
    let size = layout.manifest(&image("a.io/child"), &child).await.unwrap().bytes.len();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let document = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [
        {"mediaType": crate::fixtures::MANIFEST, "digest": child, "size": size,
         "platform": {"os": "linux", "architecture": "amd64"}}]});
    let index =
        kiops_core::image::Manifest { media_type: media_type.into(), bytes: document.to_string().into() };
    let parent = layout.put_manifest(&image("a.io/multi"), &index).await.unwrap();
    layout.tag(&image("a.io/multi"), &tag("t"), &parent).await.unwrap();
    layout.delete(&image("a.io/child").at(child.clone())).await.unwrap();

    // As skopeo writes an entry: a name that is no full reference.
    let foreign = push(&layout, "a.io/foreign", &["t"], "foreign").await;
    let path = dir.path().join("index.json");
    let text = fs::read_to_string(&path).unwrap().replace("a.io/foreign:t", "latest");
    fs::write(&path, text).unwrap();
    a_moment().await;
    assert_eq!(layout.gc().await.unwrap().removed, 0);
    assert_eq!(layout.manifest(&image("a.io/multi"), &child).await.unwrap().digest(), child);
    assert!(blob_path(&layout, &foreign).exists());
    push(&layout, SITE, &["t"], "x").await;
    assert!(fs::read_to_string(&path).unwrap().contains("\"latest\""));
}

#[tokio::test]
async fn nothing_is_removed_while_a_manifest_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open_impatient(dir.path());
    let digest = push(&layout, SITE, &["t"], "x").await;
    put(&layout, &image(SITE), "orphan").await;
    fs::write(blob_path(&layout, &digest), "{}").unwrap();
    a_moment().await;
    let error = layout.gc().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(digest.hex()), "{error}");
    assert!(blob_path(&layout, &Digest::of(b"orphan")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_beside_pushes_never_breaks_an_image() {
    let dir = tempfile::tempdir().unwrap();
    // A day of grace protects pushes that are under way; what nobody names is made old by hand.
    let layout = Arc::new(open(dir.path()));
    let stop = Arc::new(AtomicBool::new(false));
    let collector = {
        let (other, stop) = (open(dir.path()), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut removed = 0;
            while !stop.load(Ordering::Relaxed) {
                removed += other.gc().await.unwrap().removed;
                tokio::task::yield_now().await;
            }
            removed
        })
    };
    let shared = "a layer that every image has".to_owned();
    for n in 0..30 {
        let name = image(SITE);
        // The shared layer is an old orphan each time a push begins: deleted with the image before, long untouched.
        put(&*layout, &name, shared.clone()).await;
        let path = blob_path(&layout, &Digest::of(shared.as_bytes()));
        if let Ok(file) = File::options().write(true).open(path) {
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        }
        let there = layout.blob_size(&name, &Digest::of(shared.as_bytes())).await.unwrap();
        if there.is_none() {
            put(&*layout, &name, shared.clone()).await;
        }
        let config = put(&*layout, &name, format!("{{\"n\":{n}}}")).await;
        let layer = json!({"mediaType": "l", "digest": Digest::of(shared.as_bytes()), "size": shared.len()});
        let digest = layout.put_manifest(&name, &manifest_of(&config, &[layer])).await.unwrap();
        assert_eq!(read(&*layout, &name, &Digest::of(shared.as_bytes())).await.unwrap(), shared);
        layout.delete(&ImageRef { name, tag: None, digest: Some(digest) }).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    collector.await.unwrap();
}

#[tokio::test]
async fn what_is_attached_stays_with_its_subject_and_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open_impatient(dir.path());
    let site = image(SITE);
    let (one, two) = (push(&layout, SITE, &["one"], "one").await, push(&layout, SITE, &["two"], "two").await);
    let attach = async |subject: &Digest, word: &str| {
        let attachment = Attachment::new("application/x", word.to_owned());
        layout.referrers().unwrap().attach(&site, subject, &attachment).await.unwrap()
    };
    let sbom = attach(&one, "sbom of one").await;
    let signature = attach(&sbom, "signature of that").await;
    let named = attach(&one, "named").await;
    layout.tag(&site, &tag("named"), &named).await.unwrap();
    let others = attach(&two, "sbom of two").await;
    a_moment().await;
    assert_eq!(layout.gc().await.unwrap().removed, 0);

    // Any reader of the directory finds it: an entry of the index whose manifest names the subject.
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["digest"] == sbom.as_str()));
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(blob_path(&layout, &sbom)).unwrap()).unwrap();
    assert_eq!(manifest["subject"]["digest"], one.as_str());

    layout.delete(&site.at(one)).await.unwrap();
    for (digest, stays) in [(&sbom, false), (&signature, false), (&named, true), (&others, true)] {
        assert_eq!(layout.manifest(&site, digest).await.is_ok(), stays, "{digest}");
    }
    a_moment().await;
    // Two attachments with a content each, and the image's manifest, configuration and layer.
    assert_eq!(layout.gc().await.unwrap().removed, 7);
    assert_eq!(layout.referrers().unwrap().list(&site, &two, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_attachment_stands_in_the_way_of_no_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open_impatient(dir.path());
    let digest = push(&layout, SITE, &["t"], "text").await;
    let attachment = Attachment::new("application/x", "x");
    let attached = layout.referrers().unwrap().attach(&image(SITE), &digest, &attachment).await.unwrap();
    let size = usize::try_from(fs::metadata(blob_path(&layout, &attached)).unwrap().len()).unwrap();
    fs::write(blob_path(&layout, &attached), " ".repeat(size)).unwrap();
    let layout = open_impatient(dir.path());
    layout.delete(&image(SITE).at(digest)).await.unwrap();
    assert_eq!(layout.tags(&image(SITE), &TagPage::default()).await.unwrap(), []);
}
