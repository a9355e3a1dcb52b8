//! What comes out: configurations, layers, digests.

use kiops_core::build::BuildOutput;
use kiops_core::image::Registry as _;
use serde_json::json;

use super::support::{Bench, Files, SITE, lines, push_base, spec};
use crate::fixtures::{count, image, tag};
use crate::skopeo::copy_out;

/// The digest of the site below. It changes only with what goes into images: the crate's own entries, or its compressor.
const GOLDEN: &str = "sha256:63c4a4c3193715a6716ea59bdd64903abab5f5645113fbc522cbac808b672de9";

pub(super) fn site() -> Files {
    Files::new()
        .file("index.html", "<h1>hello</h1>")
        .file("css/site.css", "h1{}".repeat(5000))
        .program("bin/serve", "#!/bin/true")
        .link("latest", "css")
        .file(".dockerignore", "Dockerfile\n.dockerignore\n")
}

#[tokio::test]
async fn a_static_site_becomes_an_image_that_skopeo_copies_out() {
    let bench = Bench::new();
    let image = bench.build("FROM scratch\nCOPY . /srv/\n", site()).await;
    let looks: Vec<_> =
        image.layers[0].iter().map(|e| (e.path.as_str(), e.mode.as_str(), e.owner, e.mtime)).collect();
    let time = 1_767_323_045;
    assert_eq!(
        looks,
        [
            ("srv/", "d755", (0, 0), time),
            ("srv/bin/", "d755", (0, 0), time),
            ("srv/bin/serve", "-755", (0, 0), time),
            ("srv/css/", "d755", (0, 0), time),
            ("srv/css/site.css", "-644", (0, 0), time),
            ("srv/index.html", "-644", (0, 0), time),
            ("srv/latest", "l777", (0, 0), time),
        ]
    );
    assert_eq!(image.entry("srv/index.html").text, "<h1>hello</h1>");
    assert_eq!(image.config["created"], "2026-01-02T03:04:05Z");
    assert_eq!((&image.config["os"], &image.config["architecture"]), (&json!("linux"), &json!("amd64")));
    assert_eq!(image.manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let reference = format!("{SITE}:abc1234");
    let Some(found) = copy_out(bench.layout.path(), &reference, &bench.dir.path().join("out")) else {
        return;
    };
    assert_eq!(found, image.digest.as_str());
}

#[tokio::test]
async fn the_same_commit_gives_the_same_digest_whatever_host_packed_it() {
    let first = Bench::new().build("FROM scratch\nCOPY . /srv/\n", site()).await;
    let other_order = Files::new()
        .file(".dockerignore", "Dockerfile\n.dockerignore\n")
        .link("./latest", "css")
        .entry("css/", tar::EntryType::Directory, "", "", 0o700)
        .entry("css/site.css", tar::EntryType::Regular, "", "h1{}".repeat(5000), 0o600)
        .entry("bin/serve", tar::EntryType::Regular, "", "#!/bin/true", 0o700)
        .file("index.html", "<h1>hello</h1>");
    let second = Bench::new().build("FROM scratch\nCOPY . /srv/\n", other_order).await;
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.digest.as_str(), GOLDEN);
}

#[tokio::test]
async fn every_instruction_shows_in_the_configuration() {
    let bench = Bench::new();
    let mut spec = spec();
    spec.labels = [
        ("org.opencontainers.image.revision".to_owned(), "abc".to_owned()),
        ("both".to_owned(), "platform".to_owned()),
    ]
    .into();
    spec.build_args = [("VERSION".to_owned(), "2".to_owned())].into();
    let dockerfile = r#"# syntax=docker/dockerfile:1
ARG BASE=scratch
ARG VERSION=1
FROM ${BASE}
ARG VERSION
ARG NAME="a site" TARGETARCH
ENV VERSION_ENV=$VERSION NAME="$NAME v${VERSION:-none}" ARCH=$TARGETARCH ESCAPED=\$NAME SINGLE='$NAME'
ENV NAME=shadow SEEN=$NAME
LABEL both=dockerfile "with space"="x y" version="$VERSION"
MAINTAINER Somebody <some@example.com>
WORKDIR /srv
WORKDIR $VERSION_ENV/../www
USER 1000:1000
EXPOSE 80 443/tcp 8000-8001/udp
VOLUME /data [/logs]
VOLUME ["/a b", "/$VERSION"]
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=1m30s --retries=3 CMD wget -q localhost || exit 1
SHELL ["/bin/ash", "-c"]
ENTRYPOINT ["/serve", "--name", "$NAME"]
CMD echo $NAME
"#;
    let image = bench.build_spec(&spec, dockerfile, Files::new()).await;
    let config = &image.config["config"];
    assert_eq!(
        config["Env"],
        json!([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "VERSION_ENV=2",
            "NAME=shadow",
            "ARCH=amd64",
            "ESCAPED=$NAME",
            "SINGLE=$NAME",
            "SEEN=a site v2",
        ])
    );
    assert_eq!(
        config["Labels"],
        json!({
            "both": "platform", "with space": "x y", "version": "2", "org.opencontainers.image.revision": "abc",
        })
    );
    assert_eq!(image.config["author"], "Somebody <some@example.com>");
    assert_eq!((&config["WorkingDir"], &config["User"]), (&json!("/srv/www"), &json!("1000:1000")));
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}, "443/tcp": {}, "8000/udp": {}, "8001/udp": {}}));
    assert_eq!(config["Volumes"], json!({"/data": {}, "[/logs]": {}, "/a b": {}, "/2": {}}));
    assert_eq!(config["StopSignal"], "SIGQUIT");
    assert_eq!(
        config["Healthcheck"],
        json!({
            "Test": ["CMD-SHELL", "wget -q localhost || exit 1"], "Interval": 90_000_000_000_i64, "Retries": 3,
        })
    );
    assert_eq!(config["Shell"], json!(["/bin/ash", "-c"]));
    assert_eq!(config["Entrypoint"], json!(["/serve", "--name", "$NAME"]));
    assert_eq!(config["Cmd"], json!(["/bin/ash", "-c", "echo $NAME"]));
    assert_eq!(
        image.layers.concat().iter().map(|e| e.path.as_str()).collect::<Vec<_>>(),
        ["srv/", "srv/", "srv/www/"]
    );
}

#[tokio::test]
async fn stages_share_files_and_only_the_target_is_in_the_image() {
    let bench = Bench::new();
    let dockerfile = "FROM scratch AS assets\nCOPY src /all\n\
        FROM scratch AS unused\nRUN make\n\
        FROM scratch AS Base\nENV A=1\nCOPY --chown=7:8 a.txt /base/\n\
        FROM base\nCOPY --from=assets /all/*.css /all/sub /css/\nCOPY --from=0 --chmod=600 /all/one.css /one\nENV B=$A\n\
        FROM scratch AS after\nRUN x\n";
    let files = Files::new()
        .file("a.txt", "a")
        .file("src/one.css", "1")
        .file("src/two.css", "2")
        .file("src/x.js", "x")
        .file("src/sub/three.css", "3");
    let mut spec = spec();
    spec.target = Some("3".into());
    let image = bench.build_spec(&spec, dockerfile, files).await;
    assert_eq!(image.files(0), [("base/a.txt", "a")]);
    assert_eq!(image.files(1), [("css/one.css", "1"), ("css/three.css", "3"), ("css/two.css", "2")]);
    assert_eq!(image.entry("base/a.txt").owner, (7, 8));
    assert_eq!(image.entry("base/").owner, (7, 8));
    assert_eq!(image.entry("one").mode, "-600");
    assert_eq!(image.config["config"]["Env"][2], "B=1");
    assert_eq!(image.config["history"].as_array().unwrap().len(), 5);
    assert_eq!(image.config["history"][1]["created_by"], "COPY --chown=7:8 a.txt /base/");
}

#[tokio::test]
async fn here_documents_are_files() {
    let bench = Bench::new();
    let dockerfile = "FROM scratch\nARG V=1\nCOPY <<site.conf <<\"raw.txt\" /etc/\nversion=$V \"q\" \\$V\nsite.conf\n$V\nraw.txt\nCOPY <<-X /x\n\ttab\nX\n";
    let image = bench.build(dockerfile, Files::new()).await;
    assert_eq!(image.files(0), [("etc/raw.txt", "$V\n"), ("etc/site.conf", "version=1 \"q\" $V\n")]);
    assert_eq!(image.files(1), [("x", "tab\n")]);
    assert_eq!(image.entry("etc/raw.txt").mode, "-644");
}

#[tokio::test]
async fn dockerignore_decides_what_copy_sees_and_the_dockerfiles_own_wins() {
    let bench = Bench::new();
    let files = || {
        Files::new()
            .file("web/.dockerignore", "*\n!keep\nkeep/*.tmp\n!keep/a.tmp\n")
            .file("web/keep/a.txt", "a")
            .file("web/keep/a.tmp", "t")
            .file("web/keep/b.tmp", "t")
            .file("web/other.txt", "o")
            .file("outside.txt", "not in the context")
    };
    let mut spec = spec();
    spec.context = "web".into();
    spec.dockerfile = "web/Dockerfile".into();
    let image = bench.build_spec(&spec, "FROM scratch\nCOPY . /\n", files()).await;
    assert_eq!(image.files(0), [("keep/a.tmp", "t"), ("keep/a.txt", "a")]);
    let own = files().file("web/Dockerfile.dockerignore", "keep\n**/*ockerfile*\n");
    let image = bench.build_spec(&spec, "FROM scratch\nCOPY . /\n", own).await;
    assert_eq!(
        image.files(0),
        [(".dockerignore", "*\n!keep\nkeep/*.tmp\n!keep/a.tmp\n"), ("other.txt", "o")]
    );
}

#[tokio::test]
async fn the_log_tells_the_steps_and_the_push() {
    let bench = Bench::new();
    let mut spec = spec();
    spec.build_args = [("UNUSED".to_owned(), "secret-ish".to_owned())].into();
    let files = Files::new().file("Dockerfile", "FROM scratch\nCOPY a \\\n  /srv/\nUSER 1\n").file("a", "x");
    let (outcome, reports) = bench.run(&spec, files).await;
    let kiops_core::run::RunOutcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
    let digest = result.digest.unwrap();
    let lines = lines(&reports);
    let told: Vec<&str> =
        lines.iter().map(String::as_str).filter(|line| !line.contains("  layer ")).collect();
    assert_eq!(
        told,
        [
            "[setup] Checked out commit abc1234",
            "[build] Step 1/3: FROM scratch",
            "[build] Step 2/3: COPY a   /srv/",
            "[build] Step 3/3: USER 1",
            "[build] Build argument UNUSED is set, and no ARG takes it",
            &format!("[push] Pushing {SITE}:abc1234"),
            &format!("[push] Successfully pushed {SITE}:abc1234@{digest}"),
        ]
    );
    let numbers: Vec<u64> = reports.iter().map(|report| report.n).collect();
    assert_eq!(numbers, (1..=reports.len() as u64).collect::<Vec<_>>());
    let resolved = bench.layout.resolve(&image(SITE).tagged(tag("abc1234"))).await.unwrap();
    assert_eq!(resolved, Some(digest));
}

#[tokio::test]
async fn a_discarded_build_leaves_nothing_in_the_registry() {
    let bench = Bench::new();
    let mut discarded = spec();
    discarded.output = BuildOutput::Discard;
    let files = site().file("Dockerfile", "FROM scratch\nCOPY . /srv/\n");
    let (outcome, _) = bench.run(&discarded, files.clone()).await;
    let kiops_core::run::RunOutcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
    assert_eq!(count(&bench.layout, "blobs/sha256"), 0);
    let (pushed, _) = bench.run(&spec(), files).await;
    assert_eq!(
        pushed,
        kiops_core::run::RunOutcome::Succeeded(result),
        "the digest is the one it would have been pushed with"
    );
}

#[tokio::test]
async fn names_that_are_not_utf_8_keep_their_bytes() {
    let bench = Bench::new();
    let files = || {
        Files::new()
            .file("index.html", "<h1>hello</h1>")
            .file(b"caf\xe9/men\xfc.txt", "soup")
            .file([b"caf\xe9/".as_slice(), &[b'\xfe'; 94]].concat(), "long")
            .link("today", b"caf\xe9/men\xfc.txt")
            .file("\u{10ffe9}", "a private-use character")
    };
    // What no COPY reaches stands in nobody's way.
    let image = bench.build("FROM scratch\nCOPY index.html /srv/\n", files()).await;
    assert_eq!(image.files(0), [("srv/index.html", "<h1>hello</h1>")]);

    let image = bench.build("FROM scratch\nCOPY . /srv/\n", files()).await;
    let long = format!("srv/caf\\xe9/{}", "\\xfe".repeat(94));
    assert_eq!(image.entry("srv/caf\\xe9/").mode, "d755");
    assert_eq!(image.entry("srv/caf\\xe9/men\\xfc.txt").text, "soup");
    assert_eq!(image.entry(&long).text, "long");
    assert_eq!(image.entry("srv/today").text, "caf\\xe9/men\\xfc.txt");
    assert_eq!(image.entry("srv/\u{10ffe9}").text, "a private-use character");

    // Patterns and links reach them, from another stage too; `.dockerignore` leaves them out.
    let two = "FROM scratch AS one\nCOPY caf* /x/\nFROM scratch\nCOPY --from=one /x/ /y/\nCOPY today /z\n";
    let image = bench.build(two, files()).await;
    assert_eq!(image.entry("y/men\\xfc.txt").text, "soup");
    assert_eq!(image.entry("z").text, "soup");
    let image =
        bench.build("FROM scratch\nCOPY . /\n", files().file(".dockerignore", "caf*/m*\nDockerfile\n")).await;
    let left = image.files(0);
    assert!(
        !left.iter().any(|(path, _)| path.contains("men")) && left.iter().any(|(_, text)| *text == "long")
    );
}

#[tokio::test]
async fn names_of_a_base_that_are_not_utf_8_are_copied_out_of_it() {
    let bench = Bench::new();
    let etc = Files::new().entry("etc/", tar::EntryType::Directory, "", "", 0o755);
    let layers = [
        etc.file(b"etc/caf\xe9", "base").file(b"etc/gone\xe9", "x"),
        Files::new().file(b"etc/.wh.gone\xe9", ""),
    ];
    push_base(&bench.layout, "quickstart.local/base:1", &layers, json!({})).await;
    let dockerfile = "FROM scratch\nCOPY --from=quickstart.local/base:1 /etc /e\n";
    assert_eq!(bench.build(dockerfile, Files::new()).await.files(0), [("e/caf\\xe9", "base")]);
}
