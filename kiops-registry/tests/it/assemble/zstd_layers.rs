//! Layers that are compressed with zstd.

use std::sync::Arc;

use kiops_core::image::Registry as _;
use kiops_core::name::ImageRef;
use kiops_core::stage::FailureKind;
use kiops_registry::assemble::{Assembler, AssemblerConfig, Compression};
use serde_json::json;

use super::images::site;
use super::support::{Bench, Files, SITE, push_base};
use crate::fixtures::{open, put};
use crate::skopeo::{copy_out, unpack};

/// The digests of the site by level. They change only with what goes into images: the crate's own entries, or its compressor.
const GOLDEN: [(u32, &str); 3] = [
    (1, "sha256:01f332e18551557aa7aaea7cde082d95b3a8e7969a23d9457a3f2b95c2c99cf6"),
    (3, "sha256:4c63ab04c6cceed7a99ee3a181a89e3c17099c9c8f94a7ffd65e71fa5bef91db"),
    (19, "sha256:adaf46151d6452360b193dc0c90a6ee53fc5e295184e6217e49622fe8630db3b"),
];

const DOCKERFILE: &str = "FROM scratch\nCOPY . /srv/\n";

#[tokio::test]
async fn the_same_commit_gives_the_same_digest_with_zstd() {
    for (level, digest) in GOLDEN {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::with(dir, |config| config.compression = Compression::Zstd { level });
        assert_eq!(bench.build(DOCKERFILE, site()).await.digest.as_str(), digest, "level {level}");
    }
}

#[tokio::test]
async fn an_image_with_zstd_layers_is_the_gzip_one_but_for_its_manifest() {
    let (bench, gzip) = (Bench::zstd(), Bench::new());
    let image = bench.build(DOCKERFILE, site()).await;
    let other = gzip.build(DOCKERFILE, site()).await;
    assert_eq!(image.layer_types(), ["application/vnd.oci.image.layer.v1.tar+zstd"]);
    assert_eq!(image.manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!((&image.layers, &image.manifest["config"]), (&other.layers, &other.manifest["config"]));
    assert_ne!(image.digest, other.digest);
}

#[tokio::test]
async fn skopeo_copies_and_unpacks_what_is_compressed_with_zstd() {
    let bench = Bench::zstd();
    let image = bench.build(DOCKERFILE, site()).await;
    let reference = format!("{SITE}:abc1234");
    let at = |name: &str| bench.dir.path().join(name);
    let Some(found) = copy_out(bench.layout.path(), &reference, &at("out")) else { return };
    assert_eq!(found, image.digest.as_str());
    let source = format!("oci:{}:{reference}", bench.layout.path().display());
    assert_eq!(unpack(&[], &source, &at("unpacked")).unwrap(), image.diff_ids());
}

#[tokio::test]
async fn a_bases_layers_stay_as_they_are_under_zstd_ones_and_the_manifest_is_ocis() {
    let bench = Bench::zstd();
    let layers = [Files::new().file("etc/motd", "hello")];
    push_base(&bench.layout, "quickstart.local/base:1", &layers, json!({})).await;
    let image =
        bench.build("FROM quickstart.local/base:1\nCOPY a /srv/\n", Files::new().file("a", "a")).await;
    assert_eq!(image.manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(image.manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    assert_eq!(
        image.layer_types(),
        ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"]
    );
    assert_eq!((image.entry("etc/motd").text.as_str(), image.entry("srv/a").text.as_str()), ("hello", "a"));
}

#[tokio::test]
async fn files_come_out_of_a_base_whose_layers_are_compressed_with_zstd() {
    let bench = Bench::zstd();
    let base = bench.build(DOCKERFILE, site()).await;
    let name = ImageRef::parse(&format!("{SITE}:abc1234")).unwrap().name;
    bench.layout.tag(&name, &crate::fixtures::tag("base"), &base.digest).await.unwrap();
    let dockerfile =
        format!("FROM {SITE}:base\nCOPY a /srv/latest/\nCOPY --from={SITE}:base /srv/bin /bin\n");
    let image = bench.build(&dockerfile, Files::new().file("a", "a")).await;
    assert_eq!(image.manifest["layers"][0], base.manifest["layers"][0], "the base's own layer");
    assert_eq!(image.files(1), [("srv/css/a", "a")], "where the base's link leads");
    assert_eq!(image.files(2), [("bin/serve", "#!/bin/true")]);
}

#[tokio::test]
async fn several_frames_and_frames_to_skip_are_one_layer_and_a_cut_one_is_refused() {
    let bench = Bench::new();
    let etc = Files::new().entry("etc/", tar::EntryType::Directory, "", "", 0o755);
    let tar = etc.file("etc/motd", "hello").file("etc/big", "0123456789".repeat(1000)).tar();
    let (first, second) = tar.split_at(700);
    let frame = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
    let skipped = b"\x50\x2a\x4d\x18\x04\0\0\0note".to_vec();
    let whole = [skipped.clone(), frame(first), skipped, frame(second)].concat();
    let cut = whole[..whole.len() - 20].to_vec();
    let name = crate::fixtures::image("quickstart.local/base");
    for (word, layer) in [("whole", whole), ("cut", cut)] {
        let mut layer = put(&bench.layout, &name, layer).await;
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.zstd".into();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "history": [{"created_by": "base"}],
            "rootfs": {"type": "layers", "diff_ids": [kiops_core::name::Digest::of(&tar)]}});
        let config = put(&bench.layout, &name, config.to_string()).await;
        let manifest = crate::fixtures::manifest_of(&config, &[layer]);
        let digest = bench.layout.put_manifest(&name, &manifest).await.unwrap();
        bench.layout.tag(&name, &crate::fixtures::tag(word), &digest).await.unwrap();
    }
    let image = bench
        .build(
            "FROM quickstart.local/base:whole\nCOPY --from=quickstart.local/base:whole /etc /e\n",
            Files::new(),
        )
        .await;
    assert_eq!(
        image.layer_types()[0],
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "Docker's name for it in OCI's words"
    );
    assert_eq!((image.entry("e/motd").text.as_str(), image.entry("e/big").text.len()), ("hello", 10_000));
    let dockerfile = "FROM scratch\nCOPY --from=quickstart.local/base:cut /etc /e\n";
    bench.fails(dockerfile, Files::new(), FailureKind::BaseImageUnavailable, "cannot be read").await;
}

#[test]
fn a_level_that_is_out_of_its_range_is_named_with_it() {
    let dir = tempfile::tempdir().unwrap();
    for (compression, words) in [
        (Compression::Gzip { level: 10 }, "compression: level 10 of gzip is not within 0 to 9"),
        (Compression::Zstd { level: 0 }, "compression: level 0 of zstd is not within 1 to 19"),
        (Compression::Zstd { level: 22 }, "compression: level 22 of zstd is not within 1 to 19"),
    ] {
        let mut config = AssemblerConfig::new(dir.path().join("work"));
        config.compression = compression;
        let error = Assembler::new(config, Arc::new(open(&dir.path().join("layout")))).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kiops_core::ErrorKind::Invalid, words));
        assert!(error.remedy().is_some());
    }
    let settings = json!({"work_dir": "/w", "compression": "zstd:40"});
    let error = serde_json::from_value::<AssemblerConfig>(settings).unwrap_err().to_string();
    assert!(error.contains("level 40 of zstd is not within 1 to 19"), "{error}");
}
