//! What Kaniko's log tells: stages, steps, what came from the cache, and text for people. Pure.

use kiops_core::name::Digest;
use kiops_core::run::{RunEvent, RunResult};
use kiops_core::stage::{Failure, FailureKind, Stage};
use serde::Deserialize;

use super::STEPS;
use super::failure::{Facts, failure};
use crate::build::{LastLines, first_line, instruction};
use crate::run::{Carrier, Reader, Reading};

/// A line of `--log-format=json`.
#[derive(Deserialize)]
struct Said {
    level: String,
    msg: String,
}

/// Reads one build's log.
#[derive(Debug, Default)]
pub(crate) struct KanikoReader {
    /// What the Job says of the build.
    dockerfile: String,
    commit: String,
    destination: Option<String>,
    steps: Option<u32>,
    /// What was read so far.
    stage: Option<Stage>,
    step: u32,
    /// The instruction that was last begun.
    instruction: String,
    cached: u32,
    last: LastLines,
}

impl KanikoReader {
    /// The reader of a Job that [`super::render`] made.
    pub(super) fn of(carrier: &Carrier) -> Self {
        let containers = carrier.job_containers();
        let args = containers.first().and_then(|one| one.args.as_deref()).unwrap_or_default();
        let flag = |name: &str| {
            let found =
                args.iter().find_map(|arg| arg.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='));
            found.map(|value| value.replace("$$", "$"))
        };
        Self {
            dockerfile: flag("dockerfile").unwrap_or_default(),
            commit: flag("context")
                .and_then(|text| Some(text.rsplit_once('#')?.1.to_owned()))
                .unwrap_or_default(),
            destination: flag("destination"),
            steps: steps_of(carrier),
            ..Self::default()
        }
    }

    /// The reader of what builds a source that is there, and pushes nothing before it is [told so](Self::pushes_to).
    pub(crate) fn without_clone(dockerfile: String, commit: String, steps: Option<u32>) -> Self {
        Self { dockerfile, commit, steps, ..Self::default() }
    }

    /// From now on the log is one of a push of this.
    pub(crate) fn pushes_to(&mut self, destination: Option<String>) {
        self.destination = destination;
    }

    /// What a build hands over that left this message.
    pub(crate) fn result_of(&self, message: &str, pushed: bool) -> Result<RunResult, Failure> {
        let digest = Digest::parse(message.trim()).ok();
        if digest.is_none() && pushed {
            let text = format!("Kaniko left no digest, but `{}`", first_line(message));
            return Err(Failure::new(Stage::Push, FailureKind::ExecutorUnavailable, text)
                .with_remedy("look whether the image in the executor's settings is Kaniko's"));
        }
        Ok(RunResult { digest, cached_layers: Some(self.cached), sarif: None })
    }

    /// Begins a stage that the log does not tell of.
    pub(crate) fn enter(&mut self, stage: Stage, reading: &mut Reading) {
        if self.stage() < stage {
            self.stage = Some(stage);
            reading.events.push(RunEvent::Stage(stage));
        }
    }

    /// A step began; what it is called in the log.
    fn step(&mut self, what: &str, reading: &mut Reading) -> String {
        self.step += 1;
        self.instruction = what.lines().next().unwrap_or_default().to_owned();
        match self.steps {
            Some(of) if self.step <= of && self.stage() == Stage::Build => {
                reading.events.push(RunEvent::Step { n: self.step, of });
                format!("Step {}/{of}: {what}", self.step)
            }
            _ => what.to_owned(),
        }
    }

    /// Whether Kaniko means the image and not a layer for the cache. It writes names in full, `index.docker.io/library/x`.
    fn is_destination(&self, name: &str) -> bool {
        self.destination.as_deref().is_some_and(|destination| {
            let path = destination.split_once('/').map_or(destination, |(_, path)| path);
            name == destination || name.ends_with(&format!("/{path}"))
        })
    }

    fn told(&mut self, said: Said) -> Reading {
        let mut reading = Reading::default();
        // Nothing is logged before the clone is done, but warnings about the settings.
        if self.stage() == Stage::Setup && said.level == "info" {
            let short: String = self.commit.chars().take(9).collect();
            reading.texts.push(format!("Checked out commit {short}"));
            self.enter(Stage::Build, &mut reading);
        }
        let msg = said.msg;
        let text = if let Some(rest) = msg.strip_prefix("Building stage '") {
            let base = rest.split('\'').next().unwrap_or_default();
            self.step(&format!("FROM {base}"), &mut reading)
        } else if instruction(&msg).is_some_and(|name| msg.starts_with(name) && name != "FROM") {
            self.step(&msg, &mut reading)
        } else if let Some(name) = msg.strip_prefix("Pushing image to ") {
            if self.is_destination(name) {
                self.enter(Stage::Push, &mut reading);
                format!("Pushing {name}")
            } else {
                msg
            }
        } else if let Some(name) = msg.strip_prefix("Pushed ") {
            if self.stage() == Stage::Push { format!("Successfully pushed image {name}") } else { msg }
        } else {
            self.cached += u32::from(msg.starts_with("Using caching version of cmd"));
            msg
        };
        reading.texts.push(match said.level.as_str() {
            "info" | "debug" | "trace" => text,
            level => format!("{level}: {text}"),
        });
        reading
    }
}

/// How many steps the Dockerfile of a run has, where that was looked at.
pub(crate) fn steps_of(carrier: &Carrier) -> Option<u32> {
    carrier.annotation(STEPS)?.parse().ok().filter(|steps| *steps > 0)
}

impl Reader for KanikoReader {
    fn stage(&self) -> Stage {
        self.stage.unwrap_or(Stage::Setup)
    }

    fn read(&mut self, line: &str) -> Reading {
        let reading = match serde_json::from_str::<Said>(line.trim()) {
            Ok(said) => self.told(said),
            Err(_) => Reading { events: Vec::new(), texts: vec![line.to_owned()] },
        };
        for text in &reading.texts {
            self.last.push(text);
        }
        reading
    }

    fn succeeded(&self, message: &str) -> Result<RunResult, Failure> {
        self.result_of(message, self.destination.is_some())
    }

    fn is_whole_without_log(&self) -> bool {
        true
    }

    fn failed(&self, exit: i32) -> Failure {
        failure(&Facts {
            exit,
            lines: &self.last.lines(),
            stage: self.stage(),
            dockerfile: &self.dockerfile,
            commit: &self.commit,
            step: &self.instruction,
        })
    }
}

#[cfg(test)]
mod tests {
    use kiops_core::stage::Progress;
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn reader() -> KanikoReader {
        KanikoReader {
            dockerfile: "Dockerfile".into(),
            commit: "abc123def0".repeat(4),
            destination: Some("ghcr.io/myorg/api:abc123d".into()),
            steps: Some(3),
            ..KanikoReader::default()
        }
    }

    fn json(msg: &str) -> String {
        serde_json::json!({ "level": "info", "msg": msg, "time": "2026-02-01T00:00:00Z" }).to_string()
    }

    #[test]
    fn a_build_is_told_in_stages_steps_and_plain_words() {
        let mut reader = reader();
        let log = [
            "Enumerating objects: 3, done.".to_owned(),
            json("Retrieving image manifest node:20"),
            json("Building stage 'node:20' [idx: '0', base-idx: '-1']"),
            json("Using caching version of cmd: COPY . /app"),
            json("COPY . /app"),
            json("Found cached layer, extracting to filesystem"),
            json("RUN npm run build"),
            "> vite build".to_owned(),
            json("Pushing layer ghcr.io/myorg/api/cache:x to cache now"),
            json("Pushing image to ghcr.io/myorg/api/cache:x"),
            json(&format!("Pushed ghcr.io/myorg/api/cache@{DIGEST}")),
            json("Pushing image to ghcr.io/myorg/api:abc123d"),
            json(&format!("Pushed ghcr.io/myorg/api@{DIGEST}")),
        ];
        let readings: Vec<Reading> = log.iter().map(|line| reader.read(line)).collect();
        let events: Vec<&RunEvent> = readings.iter().flat_map(|reading| &reading.events).collect();
        assert_eq!(
            events,
            [
                &RunEvent::Stage(Stage::Build),
                &RunEvent::Step { n: 1, of: 3 },
                &RunEvent::Step { n: 2, of: 3 },
                &RunEvent::Step { n: 3, of: 3 },
                &RunEvent::Stage(Stage::Push),
            ]
        );
        let texts: Vec<&str> =
            readings.iter().flat_map(|reading| &reading.texts).map(String::as_str).collect();
        insta::assert_snapshot!(texts.join("\n"), @r"
        Enumerating objects: 3, done.
        Checked out commit abc123def
        Retrieving image manifest node:20
        Step 1/3: FROM node:20
        Using caching version of cmd: COPY . /app
        Step 2/3: COPY . /app
        Found cached layer, extracting to filesystem
        Step 3/3: RUN npm run build
        > vite build
        Pushing layer ghcr.io/myorg/api/cache:x to cache now
        Pushing image to ghcr.io/myorg/api/cache:x
        Pushed ghcr.io/myorg/api/cache@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        Pushing ghcr.io/myorg/api:abc123d
        Successfully pushed image ghcr.io/myorg/api@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        ");
        let result = reader.succeeded(DIGEST).unwrap();
        assert_eq!((result.digest.unwrap().to_string().as_str(), result.cached_layers), (DIGEST, Some(1)));
    }

    #[test]
    fn an_image_without_a_digest_is_no_success() {
        assert_eq!(reader().succeeded("").unwrap_err().kind, FailureKind::ExecutorUnavailable);
        let thrown_away = KanikoReader { destination: None, ..reader() };
        assert_eq!(thrown_away.succeeded("").unwrap().digest, None);
    }

    #[test]
    fn an_image_of_docker_hub_is_known_by_its_full_name() {
        let hub = KanikoReader { destination: Some("docker.io/library/x:1".into()), ..reader() };
        assert!(hub.is_destination("index.docker.io/library/x:1"));
        assert!(!hub.is_destination("index.docker.io/other/x:1"));
    }

    proptest! {
        #[test]
        fn progress_never_falls_whatever_is_logged(
            lines in proptest::collection::vec(prop_oneof![
                Just("RUN x"), Just("Building stage 'a' [idx: '0']"), Just("Pushing image to ghcr.io/myorg/api:abc123d"),
                Just("COPY a b"), Just("from x"), Just("Pushed x"), Just("")
            ], 0..30),
            steps in proptest::option::of(1u32..9),
        ) {
            let mut reader = KanikoReader { steps, ..reader() };
            let (mut stage, mut last) = (Stage::Setup, Progress::START);
            for line in lines {
                for event in reader.read(&json(line)).events {
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
        fn no_line_panics(line in "\\PC{0,80}") {
            let mut reader = reader();
            reader.read(&line);
            reader.read(&json(&line));
            reader.failed(1);
        }
    }
}
