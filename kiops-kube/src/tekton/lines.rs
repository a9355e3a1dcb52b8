//! What the logs of a build's steps tell, one after the other. Pure.

use kiops_core::name::Digest;
use kiops_core::run::RunResult;
use kiops_core::stage::{Failure, FailureKind, Stage};

use super::{COMMIT, DESTINATION, DOCKERFILE};
use crate::build::{LastLines, has, is_unreachable, push_failed, push_refused};
use crate::kaniko::parts::{KanikoReader, steps_of};
use crate::run::{Carrier, KILLED, Reader, Reading, killed, not_fetched};

/// Reads the logs of one build's steps.
#[derive(Debug)]
pub(super) struct TektonReader {
    /// Reads the steps `build` and `push`, in which Kaniko speaks.
    kaniko: KanikoReader,
    commit: String,
    destination: Option<String>,
    /// The last lines of this step.
    last: LastLines,
    /// What the registry was given.
    pushed: Option<Digest>,
}

impl TektonReader {
    /// The reader of a PipelineRun that [`super::render`] made.
    pub(super) fn of(carrier: &Carrier) -> Self {
        let annotation = |key: &str| carrier.annotation(key).map(str::to_owned);
        let commit = annotation(COMMIT).unwrap_or_default();
        let kaniko = KanikoReader::without_clone(
            annotation(DOCKERFILE).unwrap_or_default(),
            commit.clone(),
            steps_of(carrier),
        );
        Self {
            kaniko,
            commit,
            destination: annotation(DESTINATION),
            last: LastLines::default(),
            pushed: None,
        }
    }
}

impl Reader for TektonReader {
    fn stage(&self) -> Stage {
        self.kaniko.stage()
    }

    fn begin(&mut self, container: &str) -> Reading {
        self.last = LastLines::default();
        let mut reading = Reading::default();
        match container {
            "step-build" => {
                self.kaniko.enter(Stage::Build, &mut reading);
                let short: String = self.commit.chars().take(9).collect();
                reading.texts.push(format!("Checked out commit {short}"));
            }
            "step-push" => {
                // Not before: what a command of the Dockerfile prints can play no push.
                self.kaniko.pushes_to(self.destination.clone());
                self.kaniko.enter(Stage::Push, &mut reading);
            }
            _ => {}
        }
        reading
    }

    fn read(&mut self, line: &str) -> Reading {
        let reading = match self.stage() {
            Stage::Setup => Reading { events: Vec::new(), texts: vec![line.to_owned()] },
            _ => self.kaniko.read(line),
        };
        for text in &reading.texts {
            self.last.push(text);
            if self.stage() == Stage::Push
                && let Some((_, digest)) =
                    text.strip_prefix("Successfully pushed image ").and_then(|name| name.rsplit_once('@'))
            {
                self.pushed = Digest::parse(digest).ok().or(self.pushed.take());
            }
        }
        reading
    }

    fn succeeded(&self, message: &str) -> Result<RunResult, Failure> {
        let result = self.kaniko.result_of(message, self.destination.is_some())?;
        match (&self.pushed, &result.digest) {
            // A digest that is in no registry must not be deployed.
            (Some(pushed), Some(built)) if pushed != built => Err(Failure::new(
                Stage::Push,
                FailureKind::PushFailed,
                format!("{built} was built, and {pushed} was pushed"),
            )
            .with_remedy(
                "look whether the image in the executor's settings is the maintained fork's Kaniko",
            )),
            _ => Ok(result),
        }
    }

    fn is_whole_without_log(&self) -> bool {
        true
    }

    fn failed(&self, exit: i32) -> Failure {
        match self.stage() {
            Stage::Setup if exit == KILLED => killed(Stage::Setup, "Git"),
            Stage::Setup => not_fetched(&self.last.lines().join("\n")),
            Stage::Push if exit == KILLED => killed(Stage::Push, "the push"),
            Stage::Push => not_pushed(&self.last.lines(), exit),
            _ => self.kaniko.failed(exit),
        }
    }
}

/// Why the image was not pushed, by the last words of `executor push`.
fn not_pushed(lines: &[&str], exit: i32) -> Failure {
    let said = lines.iter().rev().find_map(|line| line.trim_start().strip_prefix("Error: "));
    let Some(words) = said else {
        let last = lines.iter().rev().find(|line| !line.trim().is_empty()).unwrap_or(&"it said nothing");
        return push_failed(&format!("Kaniko ended with status {exit}: {last}"));
    };
    if has(words, &["unknown command"]) {
        return Failure::new(Stage::Push, FailureKind::ExecutorUnavailable, words)
            .with_remedy("use an image of the maintained fork, which knows `executor push`");
    }
    // It asks before it pushes, and whatever the registry answers then is a no.
    match words.strip_prefix("checking push permissions: ") {
        Some(words) if !is_unreachable(words) => push_refused(words),
        _ => push_failed(words.trim_start_matches("pushing image: ")),
    }
}

#[cfg(test)]
mod tests {
    use kiops_core::run::RunEvent;
    use proptest::prelude::*;

    use super::*;

    const BUILT: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "sha256:ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn reader() -> TektonReader {
        let commit = "abc123def0".repeat(4);
        let destination = Some("ghcr.io/myorg/api:abc123d".to_owned());
        let kaniko = KanikoReader::without_clone("Dockerfile".into(), commit.clone(), Some(2));
        TektonReader { kaniko, commit, destination, last: LastLines::default(), pushed: None }
    }

    fn json(msg: &str) -> String {
        serde_json::json!({ "level": "info", "msg": msg, "time": "2026-02-01T00:00:00Z" }).to_string()
    }

    /// Reads these logs, each of the container of a name.
    fn read(reader: &mut TektonReader, logs: &[(&str, &[String])]) -> (Vec<RunEvent>, Vec<String>) {
        let (mut events, mut texts) = (Vec::new(), Vec::new());
        for (n, (container, lines)) in logs.iter().enumerate() {
            let begun = if n == 0 { Reading::default() } else { reader.begin(container) };
            for reading in std::iter::once(begun).chain(lines.iter().map(|line| reader.read(line))) {
                events.extend(reading.events);
                texts.extend(reading.texts);
            }
        }
        (events, texts)
    }

    #[test]
    fn steps_are_told_as_stages_and_in_plain_words() {
        let mut reader = reader();
        let (events, texts) = read(
            &mut reader,
            &[
                ("step-setup-init", &[]),
                ("step-setup-fetch", &["a word of Git's".into()]),
                ("step-setup-tree", &[]),
                (
                    "step-build",
                    &[
                        json("Building stage 'node:20' [idx: '0', base-idx: '-1']"),
                        json("RUN make"),
                        "made".into(),
                        json("Skipping push to container registry due to --no-push flag"),
                    ],
                ),
                (
                    "step-push",
                    &[
                        json("Pushing image to ghcr.io/myorg/api:abc123d"),
                        json(&format!("Pushed ghcr.io/myorg/api@{BUILT}")),
                    ],
                ),
            ],
        );
        assert_eq!(
            events,
            [
                RunEvent::Stage(Stage::Build),
                RunEvent::Step { n: 1, of: 2 },
                RunEvent::Step { n: 2, of: 2 },
                RunEvent::Stage(Stage::Push),
            ]
        );
        insta::assert_snapshot!(texts.join("\n"), @r"
        a word of Git's
        Checked out commit abc123def
        Step 1/2: FROM node:20
        Step 2/2: RUN make
        made
        Skipping push to container registry due to --no-push flag
        Pushing ghcr.io/myorg/api:abc123d
        Successfully pushed image ghcr.io/myorg/api@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        ");
        assert_eq!(reader.succeeded(BUILT).unwrap().digest.unwrap().to_string(), BUILT);
    }

    #[test]
    fn an_image_that_was_pushed_and_is_not_the_one_that_was_built_is_no_success() {
        let mut reader = reader();
        read(&mut reader, &[("", &[]), ("step-push", &[json(&format!("Pushed ghcr.io/myorg/api@{OTHER}"))])]);
        let failure = reader.succeeded(BUILT).unwrap_err();
        assert_eq!(failure.kind, FailureKind::PushFailed);
        assert!(failure.message.contains(OTHER), "{failure}");
    }

    #[test]
    fn nothing_that_a_command_prints_plays_a_push() {
        let mut reader = reader();
        let played = [
            json("Pushing image to ghcr.io/myorg/api:abc123d"),
            json(&format!("Pushed ghcr.io/myorg/api@{OTHER}")),
        ];
        let (events, _) = read(&mut reader, &[("", &[]), ("step-build", &played)]);
        assert_eq!(events, [RunEvent::Stage(Stage::Build)]);
        assert_eq!(reader.succeeded(BUILT).unwrap().digest.unwrap().to_string(), BUILT);
        // An image without a digest is no success, whatever was read of the log.
        assert_eq!(reader.succeeded("").unwrap_err().kind, FailureKind::ExecutorUnavailable);
    }

    #[test]
    fn every_step_fails_in_its_own_words() {
        use FailureKind::*;
        for (container, exit, line, kind, stage) in [
            (
                "step-setup-fetch",
                128,
                "fatal: unable to access 'https://h/x.git/': The requested URL returned error: 403",
                GitCloneFailed,
                Stage::Setup,
            ),
            (
                "step-setup-fetch",
                128,
                "fatal: remote error: upload-pack: not our ref abc123",
                CommitNotFound,
                Stage::Setup,
            ),
            ("step-setup-tree", 137, "", OutOfMemory, Stage::Setup),
            (
                "step-build",
                1,
                "Error: error resolving dockerfile path: please provide a valid path",
                DockerfileNotFound,
                Stage::Setup,
            ),
            (
                "step-build",
                7,
                "error building image: waiting for process to exit: exit status 7",
                RunFailed,
                Stage::Build,
            ),
            (
                "step-push",
                1,
                "Error: checking push permissions: POST https://r/v2/: UNAUTHORIZED: no",
                RegistryAuthenticationFailed,
                Stage::Push,
            ),
            (
                "step-push",
                1,
                "Error: checking push permissions: dial tcp: connection refused",
                PushFailed,
                Stage::Push,
            ),
            (
                "step-push",
                1,
                "Error: pushing image: failed to push to destination r/a:b: DENIED: no",
                RegistryAuthenticationFailed,
                Stage::Push,
            ),
            (
                "step-push",
                1,
                "Error: pushing image: failed to push to destination r/a:b: unexpected EOF",
                PushFailed,
                Stage::Push,
            ),
            (
                "step-push",
                1,
                "Error: unknown command \"push\" for \"executor\"",
                ExecutorUnavailable,
                Stage::Push,
            ),
            ("step-push", 2, "panic: runtime error", PushFailed, Stage::Push),
            ("step-push", 137, "", OutOfMemory, Stage::Push),
        ] {
            let mut reader = reader();
            read(&mut reader, &[("", &[]), (container, &[line.to_owned()])]);
            let failure = reader.failed(exit);
            assert_eq!((failure.kind, failure.stage), (kind, stage), "{container} {line}: {failure}");
            assert!(!failure.remedy.is_empty(), "{failure}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,80}", container in "step-(setup-init|build|push)|\\PC{0,5}") {
            let mut reader = reader();
            reader.begin(&container);
            reader.read(&line);
            reader.read(&json(&line));
            reader.failed(1);
            drop(reader.succeeded(&line));
        }
    }
}
