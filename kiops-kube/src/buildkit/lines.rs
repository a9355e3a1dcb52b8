//! What BuildKit's log tells: stages, steps, what came from the cache, the digest, and text for people. Pure.
//!
//! It is read as `--progress=rawjson` writes it. There what a command printed stands apart, in base64, from what BuildKit says, so that no Dockerfile can
//! play a step, a failure or a digest; in the plain form both are text.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiops_core::name::{Digest, ImageRef};
use kiops_core::run::{RunEvent, RunResult};
use kiops_core::stage::{Failure, FailureKind, Stage};

use super::failure::{Facts, failure};
use super::status::{LogSaid, Status, StatusSaid, VertexSaid};
use super::{COMMIT, DESTINATION, DOCKERFILE};
use crate::build::LastLines;
use crate::run::{Carrier, Reader, Reading};

/// So many vertices of a build are known. What comes beyond them is no step.
const VERTICES_MAX: usize = 10_000;
/// Bytes of a line that has no end yet. Above the largest Secret, so that no cut can show a part of one.
const OPEN_MAX: usize = 1_300_000;

/// One thing that BuildKit does.
#[derive(Debug, Default)]
struct Vertex {
    name: String,
    started: bool,
    completed: bool,
    cached: bool,
    /// What it printed of a line that has not ended.
    open: Vec<u8>,
}

impl Vertex {
    /// The instruction of the Dockerfile that it is, with its stage: of `[linux/arm64 build 2/5] RUN make` it is `linux/arm64 build` and `RUN make`.
    fn step(&self) -> Option<(&str, &str)> {
        let (place, instruction) = self.name.strip_prefix('[')?.split_once(']')?;
        let (stage, number) = place.rsplit_once(' ').unwrap_or(("", place));
        let (n, of) = number.split_once('/')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(n) && digits(of)).then(|| (stage, instruction.trim()))
    }

    /// What people are told that it is.
    fn title(&self) -> String {
        match self.step() {
            // A stage without a name.
            Some((stage, instruction)) if stage.is_empty() || stage.starts_with("stage-") => {
                instruction.to_owned()
            }
            Some((stage, instruction)) => format!("[{stage}] {instruction}"),
            None => self.name.strip_prefix("[internal] ").unwrap_or(&self.name).to_owned(),
        }
    }

    fn runs(&self) -> bool {
        self.started && !self.completed
    }
}

/// Reads one build's log.
#[derive(Debug, Default)]
pub(super) struct BuildKitReader {
    /// What the Job says of the build.
    dockerfile: String,
    commit: String,
    destination: Option<ImageRef>,
    /// What was read so far.
    begun: bool,
    stage: Option<Stage>,
    vertices: BTreeMap<String, Vertex>,
    /// How many steps are known, how many have begun, and which of them was told last.
    steps: u32,
    step: u32,
    told: Option<(u32, u32)>,
    /// Whose lines are shown.
    shown: String,
    cached: u32,
    failing: String,
    pushed: Pushed,
    /// The last of BuildKit's own.
    last: LastLines,
}

/// What is known of the image.
#[derive(Debug, Default)]
struct Pushed {
    /// The registry has it.
    done: bool,
    digest: Option<Digest>,
    /// What was made, before it was pushed: one manifest, or several with a list of them.
    manifests: u32,
    manifest: Option<Digest>,
    list: Option<Digest>,
}

impl BuildKitReader {
    /// The reader of a Job that [`super::render`] made.
    pub(super) fn of(carrier: &Carrier) -> Self {
        let annotation = |key: &str| carrier.annotation(key).map(str::to_owned);
        Self {
            dockerfile: annotation(DOCKERFILE).unwrap_or_default(),
            commit: annotation(COMMIT).unwrap_or_default(),
            destination: annotation(DESTINATION).and_then(|text| ImageRef::parse(&text).ok()),
            ..Self::default()
        }
    }

    fn enter(&mut self, stage: Stage, reading: &mut Reading) {
        if self.stage() < stage {
            self.stage = Some(stage);
            reading.events.push(RunEvent::Stage(stage));
        }
    }

    fn told(&mut self, status: Status) -> Reading {
        let mut reading = Reading::default();
        // All that are new first: they are announced before the first of them begins, and are what progress is a part of.
        for said in &status.vertexes {
            self.know(said);
        }
        for said in &status.vertexes {
            self.vertex(said, &mut reading);
        }
        for said in &status.statuses {
            self.status(said, &mut reading);
        }
        for said in &status.logs {
            self.log(said, &mut reading);
        }
        for said in status.warnings {
            let text = STANDARD.decode(said.short).unwrap_or_default();
            reading.texts.push(format!("warning: {}", String::from_utf8_lossy(&text)));
        }
        reading
    }

    fn know(&mut self, said: &VertexSaid) {
        if self.vertices.len() >= VERTICES_MAX && !self.vertices.contains_key(&said.digest) {
            return;
        }
        let vertex = self.vertices.entry(said.digest.clone()).or_default();
        // One that printed before it was announced, as where the beginning of the log is gone, has none yet.
        if vertex.name.is_empty() && !said.name.is_empty() {
            vertex.name.clone_from(&said.name);
            self.steps += u32::from(vertex.step().is_some());
        }
    }

    fn vertex(&mut self, said: &VertexSaid, reading: &mut Reading) {
        let Some(vertex) = self.vertices.get_mut(&said.digest) else { return };
        let title = vertex.title();
        let is_step = vertex.step().is_some();
        if said.started.is_some() && !vertex.started {
            vertex.started = true;
            // The Dockerfile has been read when anything else is begun.
            if is_step || !vertex.name.starts_with("[internal] load build definition") {
                self.enter(Stage::Build, reading);
            }
            self.shown.clone_from(&said.digest);
            let text = if is_step { self.begin(&title, &mut reading.events) } else { title.clone() };
            reading.texts.push(text);
        }
        let Some(vertex) = self.vertices.get_mut(&said.digest) else { return };
        if said.completed.is_none() {
            // It may begin again, after what it takes to look into the cache.
            vertex.completed = false;
            return;
        }
        if vertex.completed {
            return;
        }
        vertex.completed = true;
        let open = std::mem::take(&mut vertex.open);
        if !open.is_empty() {
            reading.texts.push(line(&open));
        }
        let is_layer = vertex.step().is_some_and(|(_, instruction)| !instruction.starts_with("FROM "));
        if said.cached && is_layer && !vertex.cached {
            vertex.cached = true;
            self.cached = self.cached.saturating_add(1);
            reading.texts.push(format!("Using the cached layer of {title}"));
        }
        if !said.error.is_empty() && !said.error.ends_with("context canceled") {
            if is_step || self.failing.is_empty() {
                let instruction = vertex.step().map_or(title.as_str(), |(_, instruction)| instruction);
                self.failing = instruction.lines().next().unwrap_or_default().to_owned();
            }
            reading.texts.push(format!("Failed: {title}"));
        }
    }

    /// A step began; what it is called in the log.
    fn begin(&mut self, title: &str, events: &mut Vec<RunEvent>) -> String {
        self.step = self.step.saturating_add(1);
        let (n, of) = (self.step, self.steps);
        // More of them may become known on the way; progress waits for them, and does not fall.
        let (last_n, last_of) = self.told.unwrap_or((0, 1));
        let rises = u64::from(n) * u64::from(last_of) > u64::from(last_n) * u64::from(of);
        if rises && n <= of && self.stage() == Stage::Build {
            self.told = Some((n, of));
            events.push(RunEvent::Step { n, of });
        }
        format!("Step {n}/{of}: {title}")
    }

    fn status(&mut self, said: &StatusSaid, reading: &mut Reading) {
        let exports = self
            .vertices
            .get(&said.vertex)
            .is_some_and(|vertex| vertex.name.starts_with("exporting to image"));
        let Some(destination) = self.destination.clone().filter(|_| exports) else { return };
        let id = said.id.as_str();
        let digest = |text: &str| Digest::parse(text).ok();
        if let Some(list) = id.strip_prefix("exporting manifest list ").and_then(digest) {
            self.pushed.list = Some(list);
        } else if let Some(manifest) = id.strip_prefix("exporting manifest ").and_then(digest) {
            if self.pushed.manifest.as_ref() != Some(&manifest) {
                self.pushed.manifests += 1;
                self.pushed.manifest = Some(manifest);
            }
        } else if id == "pushing layers" && self.stage() < Stage::Push {
            self.enter(Stage::Push, reading);
            reading.texts.push(format!("Pushing {destination}"));
        } else if let Some(name) = id.strip_prefix("pushing manifest for ")
            && said.completed.is_some()
            && !self.pushed.done
            && let Ok(image) = ImageRef::parse_familiar(name)
            && (&image.name, &image.tag) == (&destination.name, &destination.tag)
        {
            self.enter(Stage::Push, reading);
            self.pushed.done = true;
            self.pushed.digest = image.digest;
            reading.texts.push(format!("Successfully pushed image {name}"));
        }
    }

    fn log(&mut self, said: &LogSaid, reading: &mut Reading) {
        let Ok(data) = STANDARD.decode(&said.data) else { return };
        self.know(&VertexSaid { digest: said.vertex.clone(), ..VertexSaid::default() });
        let several = self.vertices.values().filter(|vertex| vertex.runs()).count() > 1;
        let Some(vertex) = self.vertices.get_mut(&said.vertex) else { return };
        let mut pieces = data.split(|byte| *byte == b'\n').peekable();
        let mut texts = Vec::new();
        while let Some(piece) = pieces.next() {
            let room = OPEN_MAX.saturating_sub(vertex.open.len());
            vertex.open.extend_from_slice(&piece[..piece.len().min(room)]);
            if pieces.peek().is_some() {
                texts.push(line(&std::mem::take(&mut vertex.open)));
            }
        }
        // Of steps that run at the same time it is said whose line it is.
        if several && !texts.is_empty() && self.shown != said.vertex {
            reading.texts.push(format!("-> {}", vertex.title()));
            self.shown.clone_from(&said.vertex);
        }
        reading.texts.extend(texts);
    }
}

/// A line as it was printed.
fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned()
}

impl Reader for BuildKitReader {
    fn stage(&self) -> Stage {
        self.stage.unwrap_or(Stage::Setup)
    }

    fn read(&mut self, line: &str) -> Reading {
        let mut before = Vec::new();
        if !self.begun {
            // The containers with Git came before, or there would be no line.
            self.begun = true;
            before.push(format!("Checked out commit {}", self.commit.chars().take(9).collect::<String>()));
        }
        let mut reading = match Status::parse(line) {
            Some(status) => self.told(status),
            None => {
                self.last.push(line);
                Reading { events: Vec::new(), texts: vec![line.to_owned()] }
            }
        };
        reading.texts.splice(0..0, before);
        reading
    }

    fn rest(&mut self) -> Vec<String> {
        let open = self.vertices.values_mut().map(|vertex| std::mem::take(&mut vertex.open));
        open.filter(|open| !open.is_empty()).map(|open| line(&open)).collect()
    }

    fn succeeded(&self, _: &str) -> Result<RunResult, Failure> {
        let Pushed { done, digest, manifests, manifest, list } = &self.pushed;
        let made = list.as_ref().or_else(|| manifest.as_ref().filter(|_| *manifests == 1));
        let digest = digest.as_ref().or(made).filter(|_| *done).cloned();
        if digest.is_none() && self.destination.is_some() {
            let text = "BuildKit ended well, and its log does not tell the digest of what it pushed";
            return Err(Failure::new(Stage::Push, FailureKind::ExecutorUnavailable, text)
                .with_remedy("look whether the image in the executor's settings is BuildKit's"));
        }
        Ok(RunResult { digest, cached_layers: Some(self.cached), sarif: None })
    }

    fn failed(&self, exit: i32) -> Failure {
        failure(&Facts {
            exit,
            lines: &self.last.lines(),
            stage: self.stage(),
            dockerfile: &self.dockerfile,
            step: &self.failing,
        })
    }
}

#[cfg(test)]
mod tests;
