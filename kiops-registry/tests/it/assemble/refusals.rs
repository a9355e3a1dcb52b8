//! What is refused, and how it is told.

use kiops_core::build::BuildExecutor as _;
use kiops_core::stage::{Failure, FailureKind, Stage};
use proptest::prelude::*;
use tar::EntryType;

use super::support::{Bench, Files, is_clean, spec};

fn files() -> Files {
    Files::new().file("a", "a").file("b", "b").file("dir/c", "c").file("page.tgz", "x")
}

#[tokio::test]
async fn what_executes_or_unpacks_is_refused_before_and_after_the_start() {
    let bench = Bench::new();
    for (line, words) in [
        ("RUN make all", "line 3: `RUN` in `RUN make all`"),
        ("RUN [\"make\"]", "line 3: `RUN`"),
        ("RUN <<EOF\nmake\nEOF", "line 3: `RUN`"),
        ("ONBUILD COPY a b", "line 3: `ONBUILD`"),
        ("ADD page.tgz /", "line 3: ADD of the archive `page.tgz`"),
        ("ADD https://example.com/x /", "line 3: ADD of the address `https://example.com/x`"),
        ("ADD git@github.com:a/b.git /", "line 3: ADD of the address"),
        ("ADD https://github.com/a/b.git#main /", "line 3: ADD of the address"),
        ("COPY --parents a /", "line 3: `COPY --parents`"),
        ("ADD --checksum=sha256:12 a /", "line 3: `ADD --checksum`"),
    ] {
        let dockerfile = format!("FROM scratch\nUSER 1\n{line}\n");
        let failure = bench.assembler.accepts(&spec(), &dockerfile).unwrap_err();
        let (later, refused) = bench.fail(&spec(), files().file("Dockerfile", dockerfile)).await;
        assert!(refused, "{line}");
        assert_eq!(failure, later, "the answer is the same before the start and after it");
        assert_eq!((failure.kind, failure.stage), (FailureKind::UnsupportedInstruction, Stage::Build));
        assert!(failure.message.contains(words), "`{words}` is not in: {failure}");
        assert!(failure.remedy.contains("executor"), "{failure}");
    }
    for (line, words) in [
        ("ARG U=https://x/y\nADD $U /", "line 3: ADD of the address"),
        ("COPY --chmod=u+x a /", "--chmod=u+x"),
        ("ENV A=${B%x}", "the expansion `${B%...}`"),
        ("ADD zipped /", "ADD of the archive `zipped`"),
    ] {
        let files = files().file("zipped", b"\x1f\x8b\x08rest".to_vec());
        let (failure, refused) =
            bench.fail(&spec(), files.file("Dockerfile", format!("FROM scratch\n{line}\n"))).await;
        assert!(refused && failure.message.contains(words), "{failure}");
    }
    bench.build("FROM scratch\nADD a dir /x/\nCOPY page.tgz /\n", files()).await;
}

#[tokio::test]
async fn what_stands_for_a_byte_cannot_be_written_in_a_dockerfile() {
    let bench = Bench::new();
    for line in [
        "COPY a /caf\u{10ffc3}\u{10ffa9}",
        "WORKDIR /x\u{10ff80}",
        "ENV A=\u{10ffe9}\nCOPY a /$A",
        "COPY <<\u{10ffe9} /x/\nc\n\u{10ffe9}",
    ] {
        let dockerfile = format!("FROM scratch\n{line}\n");
        let (failure, _) = bench.fail(&spec(), files().file("Dockerfile", dockerfile)).await;
        assert!(failure.message.contains("U+10FF80 to U+10FFFF"), "{line}: {failure}");
    }
    let climbs = "/x/\u{10ff2e}\u{10ff2e}/\u{10ff2e}\u{10ff2e}\u{10ff2f}y";
    let image = bench.build(&format!("FROM scratch\nCOPY a {climbs}\n"), files()).await;
    assert_eq!(image.files(0), [(&climbs[1..], "a")], "what looks like the escape of ASCII is only itself");
}

#[tokio::test]
async fn frontends_other_than_dockers_own_are_refused() {
    let bench = Bench::new();
    let dockerfile = "# syntax=evil.example/frontend:1\nFROM scratch\n";
    let failure = bench.assembler.accepts(&spec(), dockerfile).unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnsupportedInstruction);
    assert!(failure.message.contains("line 1: # syntax=evil.example/frontend:1"), "{failure}");
}

#[tokio::test]
async fn a_wrong_dockerfile_is_told_with_its_line() {
    let bench = Bench::new();
    for (text, words) in [
        ("FROM scratch\nBOGUS x\n", "line 2: unknown instruction"),
        ("", "expected at least one FROM"),
        ("FROM scratch\n\nENV A\n", "line 3"),
        ("FROM scratch\nENV A=\"x\n", "line 2: a double quote is not closed"),
        ("FROM scratch\nENV A=${B:?needed}\n", "line 2: variable `B`: needed"),
        ("ARG X\nFROM $X\n", "line 2: the image `$X` after FROM is empty"),
        ("FROM UPPER\n", "line 1"),
        ("FROM scratch\nCOPY a b /x\n", "line 2: more than one source"),
        ("FROM scratch\nCOPY --from=later /a /\nFROM scratch AS later\n", "not before this one"),
        ("FROM scratch\nCOPY --from=$X /a /\n", "variables stand for nothing in --from"),
        ("FROM scratch\nCOPY --from=3 /a /\n", "no stage 3"),
        ("FROM scratch\nEXPOSE x\n", "line 2: `x` is no port"),
        ("FROM scratch\nCOPY a /x\nCOPY a /x/y\n", "line 3: `/x` is no folder"),
        ("FROM scratch\nCOPY dir /x\nCOPY a /\nCOPY dir /a\n", "line 4: `/a` is no folder"),
        ("FROM scratch\nCOPY [ab /\n", "line 2"),
        (
            "FROM scratch\nENV A=aaaaaaaaaaaaaaaa\nENV A=$A$A$A$A$A$A$A$A\nENV A=$A$A$A$A$A$A$A$A\nENV A=$A$A$A$A$A$A$A$A\nENV A=$A$A$A$A$A$A$A$A\nENV A=$A$A$A$A$A$A$A$A\n",
            "longer than 131072 bytes",
        ),
    ] {
        let text = if text.contains("later /a") {
            text.to_owned() + "COPY --from=0 /a /\n"
        } else {
            text.to_owned()
        };
        bench.fails(&text, files(), FailureKind::DockerfileInvalid, words).await;
    }
    let mut spec = spec();
    spec.target = Some("nope".into());
    let failure = bench.assembler.accepts(&spec, "FROM scratch AS one\n").unwrap_err();
    assert!(failure.message.contains("no stage `nope`") && failure.remedy.contains("one"), "{failure}");
}

#[tokio::test]
async fn missing_files_are_told_apart_from_those_that_are_left_out() {
    let bench = Bench::new();
    let missing = FailureKind::SourceFileNotFound;
    bench
        .fails(
            "FROM scratch\nCOPY a nope /x/\n",
            files(),
            missing,
            "line 2: `nope` is not in the build context",
        )
        .await;
    bench
        .fails(
            "FROM scratch\nCOPY nope* /x/\n",
            files(),
            missing,
            "line 2: `nope*` is not in the build context",
        )
        .await;
    let ignoring = || files().file(".dockerignore", "dir\n");
    bench
        .fails("FROM scratch\nCOPY dir/c /x\n", ignoring(), missing, "`dir/c` is left out by `.dockerignore`")
        .await;
    bench
        .fails("FROM scratch\nCOPY ./dir/ /x\n", ignoring(), missing, "is left out by `.dockerignore`")
        .await;
    bench
        .fails(
            "FROM scratch AS s\nFROM scratch\nCOPY --from=s /x /\n",
            files(),
            missing,
            "`/x` is not in `s`",
        )
        .await;

    let mut spec = spec();
    spec.dockerfile = "web/Dockerfile".into();
    let (failure, _) = bench.fail(&spec, files()).await;
    assert_eq!(failure, Failure::new(Stage::Setup, FailureKind::DockerfileNotFound, "web/Dockerfile"));
    assert_eq!(failure.message, "Dockerfile not found: web/Dockerfile");
}

#[tokio::test]
async fn paths_and_links_that_leave_the_context_are_refused() {
    let bench = Bench::new();
    let files = || {
        files()
            .link("out", "../secret")
            .link("abs", "/etc")
            .link("web/up", "../a")
            .link("escape", "web/../../x")
            .file("web/x", "x")
    };
    let refused = FailureKind::ContextRefused;
    for source in ["../x", "dir/../../x", "out", "abs/passwd", "escape", "../*"] {
        let words = "line 2: `";
        let failure = bench.fails(&format!("FROM scratch\nCOPY {source} /\n"), files(), refused, words).await;
        assert!(failure.message.contains("leaves the build context"), "{failure}");
    }
    for (context, dockerfile, words) in [
        ("out", "Dockerfile", "the context folder `out` leaves the repository"),
        ("../..", "Dockerfile", "leaves the repository"),
        ("nope", "Dockerfile", "there is no folder `nope`"),
        ("a", "Dockerfile", "there is no folder `a`"),
        ("", "../../etc/passwd", "the Dockerfile's path `../../etc/passwd` leaves the repository"),
        ("", "abs/passwd", "leaves the repository"),
    ] {
        let mut spec = spec();
        spec.context = context.into();
        spec.dockerfile = dockerfile.into();
        let (failure, _) = bench.fail(&spec, files().file("Dockerfile", "FROM scratch\n")).await;
        assert_eq!(failure.kind, refused, "{failure}");
        assert!(failure.message.contains(words), "`{words}` is not in: {failure}");
    }
    let mut web = spec();
    web.context = "web".into();
    web.dockerfile = "web/Dockerfile".into();
    let (failure, _) = bench.fail(&web, files().file("web/Dockerfile", "FROM scratch\nCOPY up /\n")).await;
    assert_eq!(failure.kind, refused, "a link within the repository still leaves the context: {failure}");
    // Copied as it is, a link is data: where it leads is decided in the container.
    let image = bench.build("FROM scratch\nCOPY . /srv/\n", files()).await;
    assert_eq!(image.entry("srv/abs").text, "/etc");
}

#[tokio::test]
async fn hostile_archives_are_refused() {
    let bench = Bench::new();
    let good = || Files::new().file("Dockerfile", "FROM scratch\nCOPY . /\n");
    for (files, words) in [
        (good().file("../x", "x"), "`../x` climbs"),
        (good().file("/etc/x", "x"), "`/etc/x` has an absolute path"),
        (good().file("a/../../x", "x"), "climbs"),
        (good().entry("h", EntryType::Link, "Dockerfile", "", 0o644), "`h` is a hard link"),
        (good().entry("n", EntryType::Char, "", "", 0o644), "`n` is a device"),
        (good().entry("p", EntryType::Fifo, "", "", 0o644), "`p` is a device or pipe"),
        (good().entry("s", EntryType::GNUSparse, "", "", 0o644), "`s` is a sparse file"),
        (good().link("l", "/tmp").file("l/x", "x"), "`l/x` lies below something that is no folder"),
        (good().file("Dockerfile", "FROM evil\n"), "`Dockerfile` stands twice"),
        (good().file("Dockerfile/x", "x"), "lies below"),
    ] {
        let (failure, _) = bench.fail(&spec(), files).await;
        assert_eq!((failure.kind, failure.stage), (FailureKind::ContextRefused, Stage::Setup), "{failure}");
        assert!(failure.message.contains(words), "`{words}` is not in: {failure}");
    }
    let whole = good().file("x", vec![1; 5000]).tar();
    for length in [0, 100, 512, 2048, whole.len() - 1024, whole.len() - 1] {
        let (outcome, _) = bench.run_tar(&spec(), whole.slice(..length)).await;
        let kiops_core::run::RunOutcome::Failed(failure) = outcome else { panic!("{length}: {outcome:?}") };
        assert_eq!(failure.kind, FailureKind::ContextRefused, "{failure}");
    }
    assert!(is_clean(&bench.dir.path().join("work")));
}

#[tokio::test]
async fn limits_are_told_with_their_numbers() {
    let many = || Files::new().file("Dockerfile", "FROM scratch\n").file("x", vec![0; 3000]).file("d/y", "y");
    for (change, words) in [
        (
            (|limits| limits.max_source_bytes = 1000) as fn(&mut kiops_registry::assemble::Limits),
            "larger than the limit of 1000 bytes",
        ),
        (|limits| limits.max_source_files = 2, "more than 2 files"),
        (|limits| limits.max_context_bytes = 3000, "3014 bytes; the limits are 100000 and 3000"),
        (|limits| limits.max_context_files = 3, "has 4 files and folders"),
    ] {
        let bench = Bench::with(tempfile::tempdir().unwrap(), |config| change(&mut config.limits));
        let (failure, _) = bench.fail(&spec(), many()).await;
        assert_eq!(failure.kind, FailureKind::ContextRefused, "{failure}");
        assert!(failure.message.contains(words), "`{words}` is not in: {failure}");
    }
    let long = format!("{}/x", ["d"; 60].join("/"));
    Bench::new().build("FROM scratch\nCOPY . /\n", Files::new().file(&long, "x")).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_archive_and_no_dockerfile_panics(
        lines in prop::collection::vec("(COPY|ADD|ENV|ARG|WORKDIR|EXPOSE|LABEL|VOLUME|USER|CMD|FROM)( --from=0| --chown=1:b| --chmod=7| AS b)? [-a-z=$\\{\\}*./\\[\\]\"'<:]{1,10} [-a-d=$./*]{1,10}\n", 0..6),
        ignore in "[a-d!*/\\[\\]\\\\\n#]{0,20}",
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let dockerfile = format!("FROM scratch\n{}", lines.concat());
            let mut tar = files().file("Dockerfile", dockerfile).file(".dockerignore", ignore).tar().to_vec();
            for (at, value) in flips {
                let at = at.index(tar.len());
                tar[at] = value;
            }
            let (outcome, _) = bench.run_tar(&spec(), tar.into()).await;
            if let kiops_core::run::RunOutcome::Failed(failure) = outcome {
                assert_ne!(failure.kind, FailureKind::Internal, "{failure}");
            }
        });
    }
}

#[tokio::test]
async fn a_refusal_shows_a_name_that_is_not_utf_8_with_its_bytes() {
    let bench = Bench::new();
    let files = Files::new().file("a", "a").link(b"\xe9", b"\xe9");
    bench
        .fails(
            "FROM scratch\nCOPY a /\nCOPY ? /\n",
            files,
            FailureKind::DockerfileInvalid,
            r"the links at `/\xE9`",
        )
        .await;
    let climbing = Files::new().file(b"\xe9/../../a", "a");
    bench.fails("FROM scratch\n", climbing, FailureKind::ContextRefused, r"`\xE9/../../a` climbs").await;
}
