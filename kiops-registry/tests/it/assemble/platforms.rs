//! Images for several platforms.

use std::sync::Arc;

use kiops_core::build::{BuildExecutor as _, BuildOutput};
use kiops_core::image::Registry as _;
use kiops_core::run::RunOutcome;
use kiops_core::stage::FailureKind;
use kiops_registry::assemble::{Assembler, AssemblerConfig};
use serde_json::json;

use super::images::site;
use super::support::{Bench, Files, SITE, push_base, push_bases, shown_platform, spec};
use crate::fixtures::{count, image, open, tag};
use crate::skopeo::{copy, copy_out};

const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/arm/v7"];

/// The digest of the site's index. It changes only with what goes into images: the crate's own entries, or its compressor.
const GOLDEN: &str = "sha256:c4d17e8f8b9c41052a5c8171b6968f99182004afde7a12bd62d758f6c16d136e";

const BASE: &str = "quickstart.local/base:1";

#[tokio::test]
async fn several_platforms_make_an_index_in_their_order_over_one_layer() {
    let bench = Bench::on(&PLATFORMS);
    let index = bench.build_index("FROM scratch\nCOPY . /srv/\n", site()).await;
    assert_eq!(index.document["schemaVersion"], 2);
    assert_eq!(index.document["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(index.platforms(), PLATFORMS);
    assert_eq!(index.images.iter().map(|image| shown_platform(&image.config)).collect::<Vec<_>>(), PLATFORMS);
    let layers: Vec<_> = index.images.iter().map(|image| &image.manifest["layers"]).collect();
    assert!(layers[0] == layers[1] && layers[1] == layers[2], "{layers:?}");
    assert_eq!(
        count(&bench.layout, "blobs/sha256"),
        1 + 3 + 3 + 1,
        "layer, configurations, manifests, index"
    );
    let made = |word: &str| index.lines.iter().filter(|line| line.contains(word)).count();
    assert_eq!((made(" bytes)"), made("is made already")), (1, 2));

    // Each image is the one that a build for its platform alone makes.
    for (platform, built) in PLATFORMS.iter().zip(&index.images) {
        let alone = Bench::on(&[platform]).build("FROM scratch\nCOPY . /srv/\n", site()).await;
        assert_eq!(alone.digest, built.digest, "{platform}");
    }
}

#[tokio::test]
async fn the_same_commit_gives_the_same_index() {
    let first = Bench::on(&PLATFORMS).build_index("FROM scratch\nCOPY . /srv/\n", site()).await;
    assert_eq!(first.digest.as_str(), GOLDEN);
    let mut other_order = PLATFORMS;
    other_order.reverse();
    let other = Bench::on(&other_order).build_index("FROM scratch\nCOPY . /srv/\n", site()).await;
    assert_ne!(first.digest, other.digest, "the order is a part of the index");
    assert_eq!(other.platforms(), other_order);
}

#[tokio::test]
async fn steps_are_counted_over_all_platforms_and_say_theirs() {
    let mut spec = spec();
    spec.build_args = [("UNUSED".to_owned(), "x".to_owned()), ("ARM".to_owned(), "y".to_owned())].into();
    let dockerfile = "FROM scratch AS amd64\nUSER 1\nFROM scratch AS arm64\nARG ARM\nFROM $TARGETARCH\n";
    let bench = Bench::on(&["linux/amd64", "linux/arm64"]);
    let (outcome, reports) = bench.run(&spec, Files::new().file("Dockerfile", dockerfile)).await;
    assert!(matches!(outcome, RunOutcome::Succeeded(_)), "{outcome:?}");
    let lines = super::support::lines(&reports);
    let build: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("[build] ")).collect();
    assert_eq!(
        build,
        [
            "Step 1/6 (linux/amd64): FROM scratch AS amd64",
            "Step 2/6 (linux/amd64): USER 1",
            "Step 3/6 (linux/amd64): FROM $TARGETARCH",
            "Step 4/6 (linux/arm64): FROM scratch AS arm64",
            "Step 5/6 (linux/arm64): ARG ARM",
            "Step 6/6 (linux/arm64): FROM $TARGETARCH",
            "Build argument UNUSED is set, and no ARG takes it",
        ]
    );
}

#[tokio::test]
async fn every_platform_is_built_on_its_own_image_of_a_base() {
    let bench = Bench::on(&PLATFORMS);
    let shared = [Files::new().file("etc/motd", "hello")];
    push_bases(
        &bench.layout,
        BASE,
        &["linux/arm/v6", "linux/arm64/v8", "linux/amd64", "linux/arm/v7"],
        &shared,
    )
    .await;
    let index = bench
        .build_index(&format!("FROM {BASE}\nENV A=$CPU\nCOPY a /srv/\n"), Files::new().file("a", "a"))
        .await;
    assert_eq!(index.platforms(), ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"], "as the images say");
    for (image, platform) in index.images.iter().zip(index.platforms()) {
        assert_eq!(image.entry("cpu").text, platform);
        assert_eq!(image.config["config"]["Env"][1], format!("A={platform}"));
        assert_eq!(image.files(2), [("srv/a", "a")]);
        assert_eq!(image.manifest["layers"][0], index.images[0].manifest["layers"][0], "they share it");
        assert_eq!(image.manifest["layers"][2], index.images[0].manifest["layers"][2], "made once");
    }
}

#[tokio::test]
async fn a_platform_that_a_base_lacks_is_named_with_those_that_it_has() {
    let bench = Bench::on(&["linux/amd64", "linux/arm/v7"]);
    push_bases(&bench.layout, BASE, &["linux/amd64", "linux/arm64/v8"], &[]).await;
    let kind = FailureKind::BaseImageUnavailable;
    let words =
        format!("line 1: {BASE}: it has no image for linux/arm/v7, but for linux/amd64, linux/arm64/v8");
    for dockerfile in [format!("FROM {BASE}\n"), format!("FROM scratch\nCOPY --from={BASE} /cpu /\n")] {
        let words =
            if dockerfile.contains("scratch") { words.replace("line 1", "line 2") } else { words.clone() };
        let failure = bench.fails(&dockerfile, Files::new(), kind, &words).await;
        assert!(failure.remedy.contains("a base that has this platform"), "{failure}");
        assert!(!failure.message.contains("unknown"), "an attestation is no platform");
    }
    // An image that is for one platform cannot be another's; its files can.
    push_base(&bench.layout, "quickstart.local/one:1", &[Files::new().file("cpu", "one")], json!({})).await;
    let words = "line 1: quickstart.local/one is for linux/amd64, and the image for linux/arm/v7 would be built on it";
    bench.fails("FROM quickstart.local/one:1\n", Files::new(), kind, words).await;
    bench
        .fails(&format!("FROM --platform=linux/amd64 {BASE}\n"), Files::new(), kind, "would be built on it")
        .await;
    let index = bench
        .build_index(
            "FROM quickstart.local/one:1 AS tools\nFROM scratch\nCOPY --from=tools /cpu /\n",
            Files::new(),
        )
        .await;
    assert!(index.images.iter().all(|image| image.entry("cpu").text == "one"));
}

#[tokio::test]
async fn the_platform_arguments_tell_what_is_built_for_and_the_first_platform_builds() {
    let bench = Bench::on(&["linux/amd64", "linux/arm/v7"]);
    push_bases(&bench.layout, BASE, &["linux/arm/v7", "linux/amd64"], &[]).await;
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM {BASE} AS tools\nFROM --platform=$TARGETPLATFORM {BASE}\n\
         ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM\n\
         ENV T=$TARGETPLATFORM,$TARGETOS,$TARGETARCH,$TARGETVARIANT B=$BUILDPLATFORM UNASKED=$BUILDARCH\n\
         COPY shared /srv/shared\nCOPY bin/$TARGETARCH /bin/app\nCOPY --from=tools /cpu /built-on\n"
    );
    let files = Files::new().file("shared", "s").program("bin/amd64", "x86").program("bin/arm", "arm");
    let index = bench.build_index(&dockerfile, files).await;
    let [amd64, arm] = &index.images[..] else { panic!("{:?}", index.document) };
    let env = |image: &super::support::Image| {
        image.config["config"]["Env"].as_array().unwrap()[1..]
            .iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(env(amd64), ["T=linux/amd64,linux,amd64,", "B=linux/amd64", "UNASKED="]);
    assert_eq!(env(arm), ["T=linux/arm/v7,linux,arm,v7", "B=linux/amd64", "UNASKED="]);
    assert_eq!((amd64.entry("bin/app").text.as_str(), arm.entry("bin/app").text.as_str()), ("x86", "arm"));
    assert!(index.images.iter().all(|image| image.entry("built-on").text == "linux/amd64"));
    let made = |word: &str| index.lines.iter().filter(|line| line.contains(word)).count();
    assert_eq!((made(" bytes)"), made("is made already")), (4, 2), "{:?}", index.lines);
}

#[tokio::test]
async fn what_one_platform_cannot_have_fails_the_build_and_sets_no_tag() {
    let bench = Bench::on(&["linux/amd64", "linux/arm64"]);
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY bin/$TARGETARCH /app\n";
    let files = Files::new().file("bin/amd64", "x");
    bench.fails(dockerfile, files, FailureKind::SourceFileNotFound, "line 3: `bin/arm64` is not in").await;
    assert_eq!(count(&bench.layout, "blobs/sha256"), 0);
    let dockerfile = "FROM scratch AS amd64\nFROM scratch AS arm64\nRUN make\nFROM $TARGETARCH\n";
    let refused = bench.assembler.accepts(&spec(), dockerfile).unwrap_err();
    assert!(
        refused.message.contains("line 3: `RUN`"),
        "what only one of them needs is seen before the start"
    );
    assert!(Bench::on(&["linux/amd64"]).assembler.accepts(&spec(), dockerfile).is_ok());
}

#[tokio::test]
async fn an_index_that_is_discarded_has_its_digest_and_leaves_nothing() {
    let bench = Bench::on(&PLATFORMS);
    let mut discarded = spec();
    discarded.output = BuildOutput::Discard;
    let files = site().file("Dockerfile", "FROM scratch\nCOPY . /srv/\n");
    let (outcome, _) = bench.run(&discarded, files).await;
    let RunOutcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
    assert_eq!((result.digest.unwrap().as_str(), count(&bench.layout, "blobs/sha256")), (GOLDEN, 0));
}

#[tokio::test]
async fn skopeo_copies_each_platform_and_the_whole_index_out_of_a_layout() {
    let bench = Bench::on(&PLATFORMS);
    let index = bench.build_index("FROM scratch\nCOPY . /srv/\n", site()).await;
    let at = |name: &str| bench.dir.path().join(name);
    let source = format!("oci:{}:{SITE}:abc1234", bench.layout.path().display());
    let Some(all) = copy(&["--all"], &source, &at("all")) else { return };
    assert_eq!(all, index.digest.as_str());
    // Skopeo is asked for a platform by options that stand before the command.
    for (options, built) in [
        (&["--override-arch", "arm64"][..], &index.images[1]),
        (&["--override-arch", "arm", "--override-variant", "v7"][..], &index.images[2]),
    ] {
        let target = at(&options[1..].join("-").replace("--", ""));
        let folder = format!("dir:{}", target.display());
        let arguments: Vec<&str> = options.iter().copied().chain(["copy", &source, &folder]).collect();
        let output = crate::skopeo::skopeo(&arguments).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manifest = std::fs::read(target.join("manifest.json")).unwrap();
        assert_eq!(kiops_core::name::Digest::of(&manifest), built.digest);
    }
    let alone = Bench::new();
    let one = alone.build("FROM scratch\nCOPY . /srv/\n", site()).await;
    assert_eq!(one.digest, index.images[0].digest);
    let reference = format!("{SITE}:abc1234");
    assert_eq!(
        copy_out(alone.layout.path(), &reference, &alone.dir.path().join("out")).unwrap(),
        one.digest.as_str()
    );
}

#[tokio::test]
async fn a_site_is_built_on_an_index_of_ours() {
    let bench = Bench::on(&PLATFORMS);
    let base =
        bench.build_index("FROM scratch\nARG TARGETARCH\nENV A=$TARGETARCH\nCOPY . /srv/\n", site()).await;
    bench.layout.tag(&image(SITE), &tag("base"), &base.digest).await.unwrap();
    let files = Files::new().file("a", "a");
    let index = bench.build_index(&format!("FROM {SITE}:base\nCOPY a /srv/latest/\n"), files).await;
    assert_eq!(index.platforms(), PLATFORMS);
    for (image, below) in index.images.iter().zip(&base.images) {
        assert_eq!(image.manifest["layers"][0], below.manifest["layers"][0]);
        assert_eq!(image.config["config"]["Env"], below.config["config"]["Env"]);
        assert_eq!(image.files(1), [("srv/css/a", "a")]);
    }
}

#[test]
fn platforms_that_are_none_or_the_same_twice_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (platforms, words) in [
        (&[][..], "platforms: there is none"),
        (&["linux"][..], "platforms: `linux` is no platform"),
        (&["linux/amd64", "linux/arm64/v8/x"], "platforms: `linux/arm64/v8/x` is no platform"),
        (&["linux/amd64", "Linux/AMD64"], "platforms: `Linux/AMD64` is `linux/amd64` again"),
        (&["linux/arm64", "linux/arm64/v8"], "platforms: `linux/arm64/v8` is `linux/arm64` again"),
        (&["linux/arm/v7", "linux/arm"], "platforms: `linux/arm` is `linux/arm/v7` again"),
    ] {
        let mut config = AssemblerConfig::new(dir.path().join("work"));
        config.platforms = platforms.iter().map(ToString::to_string).collect();
        let error = Assembler::new(config, Arc::new(open(&dir.path().join("layout")))).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kiops_core::ErrorKind::Invalid, words));
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("linux/arm/v7")), "{error}");
    }
    let mut config = AssemblerConfig::new(dir.path().join("work"));
    config.platforms = vec!["linux/arm/v6".into(), "linux/arm/v7".into()];
    Assembler::new(config, Arc::new(open(&dir.path().join("layout")))).unwrap();
}
