//! What is read of a log.

use kiops_core::stage::Progress;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "sha256:ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NOW: &str = "2026-02-01T00:00:00.5Z";

fn reader() -> BuildKitReader {
    BuildKitReader {
        dockerfile: "Dockerfile".into(),
        commit: "abc123def0".repeat(4),
        destination: ImageRef::parse("ghcr.io/myorg/api:abc123d").ok(),
        ..BuildKitReader::default()
    }
}

/// The digest that a vertex of this name has.
fn id(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()
}

fn announced(names: &[&str]) -> String {
    let all: Vec<Value> = names.iter().map(|name| json!({ "digest": id(name), "name": name })).collect();
    json!({ "vertexes": all }).to_string()
}

fn started(name: &str) -> String {
    json!({ "vertexes": [{ "digest": id(name), "name": name, "started": NOW }] }).to_string()
}

fn completed(name: &str, cached: bool, error: &str) -> String {
    let mut vertex = json!({ "digest": id(name), "name": name, "started": NOW, "completed": NOW });
    if cached {
        vertex["cached"] = json!(true);
    }
    if !error.is_empty() {
        vertex["error"] = json!(error);
    }
    json!({ "vertexes": [vertex] }).to_string()
}

fn printed(name: &str, text: &str) -> String {
    json!({ "logs": [{ "vertex": id(name), "stream": 1, "data": STANDARD.encode(text), "timestamp": NOW }] })
        .to_string()
}

fn status(name: &str, what: &str, done: bool) -> String {
    let mut status =
        json!({ "id": what, "vertex": id(name), "current": 0, "timestamp": NOW, "started": NOW });
    if done {
        status["completed"] = json!(NOW);
    }
    json!({ "statuses": [status] }).to_string()
}

fn read(reader: &mut BuildKitReader, log: &[String]) -> (Vec<RunEvent>, String) {
    let readings: Vec<Reading> = log.iter().map(|line| reader.read(line)).collect();
    let texts: Vec<String> =
        readings.iter().flat_map(|reading| reading.texts.clone()).chain(reader.rest()).collect();
    (readings.into_iter().flat_map(|reading| reading.events).collect(), texts.join("\n"))
}

const DEFINITION: &str = "[internal] load build definition from Dockerfile";
const METADATA: &str = "[internal] load metadata for docker.io/library/node:20";
const FROM: &str = "[build 1/3] FROM docker.io/library/node:20@sha256:aa";
const COPY: &str = "[build 2/3] COPY . /app";
const RUN: &str = "[build 3/3] RUN npm run build";
const EXPORT: &str = "exporting to image";

#[test]
fn a_build_is_told_in_stages_steps_and_plain_words() {
    let pushed = format!("pushing manifest for ghcr.io/myorg/api:abc123d@{DIGEST}");
    let log = [
        started(DEFINITION),
        completed(DEFINITION, false, ""),
        started(METADATA),
        announced(&[FROM, COPY, RUN]),
        completed(FROM, false, ""),
        completed(COPY, true, ""),
        started(RUN),
        printed(RUN, "> vite bu"),
        printed(RUN, "ild\r\n\nin one piece"),
        completed(RUN, false, ""),
        started(EXPORT),
        status(EXPORT, "exporting layers", true),
        status(EXPORT, &format!("exporting manifest {DIGEST}"), true),
        status(EXPORT, "pushing layers", false),
        status(EXPORT, &pushed, false),
        status(EXPORT, &pushed, true),
        json!({ "warnings": [{ "short": STANDARD.encode("JSONArgsRecommended") }] }).to_string(),
    ];
    let mut reader = reader();
    let (events, texts) = read(&mut reader, &log);
    assert_eq!(
        events,
        [
            RunEvent::Stage(Stage::Build),
            RunEvent::Step { n: 1, of: 3 },
            RunEvent::Step { n: 2, of: 3 },
            RunEvent::Step { n: 3, of: 3 },
            RunEvent::Stage(Stage::Push),
        ]
    );
    insta::assert_snapshot!(texts, @r"
    Checked out commit abc123def
    load build definition from Dockerfile
    load metadata for docker.io/library/node:20
    Step 1/3: [build] FROM docker.io/library/node:20@sha256:aa
    Step 2/3: [build] COPY . /app
    Using the cached layer of [build] COPY . /app
    Step 3/3: [build] RUN npm run build
    > vite build

    in one piece
    exporting to image
    Pushing ghcr.io/myorg/api:abc123d
    Successfully pushed image ghcr.io/myorg/api:abc123d@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    warning: JSONArgsRecommended
    ");
    let result = reader.succeeded("").unwrap();
    assert_eq!((result.digest.unwrap().to_string().as_str(), result.cached_layers), (DIGEST, Some(1)));
}

#[test]
fn lines_of_steps_that_run_at_once_say_whose_they_are() {
    let (one, two) = ("[web 2/2] RUN one", "[api 2/2] RUN two");
    let log = [started(one), started(two), printed(one, "1\n"), printed(one, "2\n"), printed(two, "3\n")];
    let (_, texts) = read(&mut reader(), &log);
    assert!(texts.ends_with("-> [web] RUN one\n1\n2\n-> [api] RUN two\n3"), "{texts}");
}

#[test]
fn the_digest_is_that_of_the_list_where_several_platforms_are_built() {
    let manifest = |digest: &str| status(EXPORT, &format!("exporting manifest {digest}"), true);
    let list = status(EXPORT, &format!("exporting manifest list {DIGEST}"), true);
    // As older versions say it: without the digest.
    let pushed = status(EXPORT, "pushing manifest for ghcr.io/myorg/api:abc123d", true);
    let digest = |log: &[String]| {
        let mut reader = reader();
        read(&mut reader, log);
        reader.succeeded("").ok().and_then(|result| result.digest).map(|digest| digest.to_string())
    };
    let start = || started(EXPORT);
    assert_eq!(digest(&[start(), manifest(OTHER), list, pushed.clone()]).as_deref(), Some(DIGEST));
    assert_eq!(digest(&[start(), manifest(DIGEST), pushed.clone()]).as_deref(), Some(DIGEST));
    assert_eq!(digest(&[start(), manifest(OTHER), manifest(DIGEST), pushed]), None);
    assert_eq!(digest(&[start(), manifest(DIGEST)]), None);
}

#[test]
fn nothing_that_a_dockerfile_does_can_play_a_push() {
    let pushed = format!("pushing manifest for ghcr.io/myorg/api:abc123d@{DIGEST}");
    let elsewhere = format!("pushing manifest for ghcr.io/myorg/other:abc123d@{DIGEST}");
    for log in [
        vec![started(RUN), printed(RUN, &format!("{}\n", status(EXPORT, &pushed, true)))],
        vec![started(RUN), status(RUN, &pushed, true)],
        vec![status(EXPORT, &pushed, true)],
        vec![started(EXPORT), status(EXPORT, &pushed, false)],
        vec![started(EXPORT), status(EXPORT, &elsewhere, true)],
    ] {
        let mut reader = reader();
        read(&mut reader, &log);
        assert_eq!(reader.succeeded("").unwrap_err().kind, FailureKind::ExecutorUnavailable, "{log:?}");
    }
    let thrown_away = BuildKitReader { destination: None, ..reader() };
    assert_eq!(thrown_away.succeeded("").unwrap().digest, None);
}

#[test]
fn what_a_command_prints_is_no_reason_of_ours() {
    let error = "process \"/bin/sh -c npm run build\" did not complete successfully: exit code: 7";
    let log = [
        // It ends and begins again when it was looked for in the cache.
        completed(RUN, false, ""),
        started(RUN),
        printed(RUN, "error: failed to solve: failed to push x: 401 Unauthorized\n"),
        completed(RUN, false, error),
        format!("error: failed to solve: {error}"),
    ];
    let mut reader = reader();
    read(&mut reader, &log);
    assert_eq!(reader.failed(1).message, "RUN failed: `RUN npm run build` ended with status 7");
}

proptest! {
    #[test]
    fn progress_never_falls_whatever_is_logged(
        lines in proptest::collection::vec((0usize..5, 0usize..7), 0..40),
    ) {
        let names = [DEFINITION, FROM, COPY, RUN, EXPORT, "[linux/arm64 2/9] RUN x", "[auth] x"];
        let mut reader = reader();
        let (mut stage, mut last) = (Stage::Setup, Progress::START);
        for (what, which) in lines {
            let name = names[which];
            let line = match what {
                0 => announced(&[name]),
                1 => started(name),
                2 => completed(name, which % 2 == 0, ""),
                3 => status(name, "pushing layers", false),
                _ => printed(name, "x\n"),
            };
            for event in reader.read(&line).events {
                let now = match event {
                    RunEvent::Stage(next) => { prop_assert!(next > stage); stage = next; Progress::at(stage, 0, 0) }
                    RunEvent::Step { n, of } => { prop_assert!(n >= 1 && n <= of); Progress::at(stage, n, of) }
                    _ => last,
                };
                prop_assert!(now >= last);
                last = now;
            }
        }
    }

    #[test]
    fn no_line_panics(line in "\\PC{0,80}", name in "(\\PC|[\\[\\]/ 0-9]){0,30}", data in "\\PC{0,20}") {
        let mut reader = reader();
        reader.read(&line);
        for line in [announced(&[&name]), started(&name), printed(&name, &data), completed(&name, true, &data)] {
            reader.read(&line);
            reader.read(&line[..line.floor_char_boundary(line.len() / 2)]);
        }
        reader.read(&json!({ "logs": [{ "vertex": id(&name), "data": data }], "statuses": [{ "id": line, "vertex": id(&name) }] }).to_string());
        reader.rest();
        reader.failed(1);
    }

    #[test]
    fn how_what_is_printed_is_cut_changes_nothing(text in "[a-zäö\\n]{0,40}", cut in 0usize..60) {
        let (one, other) = text.as_bytes().split_at(cut.min(text.len()));
        let line = |bytes: &[u8]| {
            json!({ "logs": [{ "vertex": id(RUN), "data": STANDARD.encode(bytes) }] }).to_string()
        };
        let whole = read(&mut reader(), &[started(RUN), line(text.as_bytes()), completed(RUN, false, "")]);
        let parted = read(&mut reader(), &[started(RUN), line(one), line(other), completed(RUN, false, "")]);
        prop_assert_eq!(whole, parted);
    }
}
