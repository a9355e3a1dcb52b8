//! Building a planned Dockerfile: stage after stage, instruction after instruction.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use kiops_core::name::{Digest, ImageName, ImageRef};
use kiops_core::stage::FailureKind;

use super::base::BaseImage;
use super::compression::Compression;
use super::config::ImageConfig;
use super::context::Context;
use super::copy::{Look, Overlay};
use super::dockerfile::{Copy, Op, Source, Step, word_error};
use super::filename;
use super::layer::{self, Fingerprint, LayerFile};
use super::outcome::{Stop, at_line, invalid, unsupported};
use super::owner::parse_mode;
use super::place::{Placing, refused};
use super::plan::{Base, Plan, PlannedStage};
use super::registries::Registries;
use super::run::Run;
use super::tree::{Content, Edge, Tree};
use super::words::{self, Reading, WORD_MAX};
use crate::manifest::{Descriptor, Platform};

/// The most bytes of a here-document.
pub(super) const DOCUMENT_MAX: usize = 1024 * 1024;

/// Everything that a build works with.
pub(super) struct Builder {
    pub(super) registries: Registries,
    pub(super) run: Arc<Run>,
    /// The run's own directory.
    pub(super) dir: PathBuf,
    pub(super) context: Arc<Context>,
    /// The commit's time in seconds, and as images write it.
    pub(super) mtime: u64,
    pub(super) created: String,
    /// Whether the image is one of several.
    pub(super) several: bool,
    pub(super) compression: Compression,
    pub(super) max_base_bytes: u64,
    pub(super) build_args: BTreeMap<String, String>,
    /// Images that were found, by their name and platform.
    pub(super) images: HashMap<String, Arc<BaseImage>>,
    /// What names of images stood for when they were looked up: every platform has its image from there.
    pub(super) pinned: HashMap<ImageRef, Digest>,
    /// Layers of base images that were fetched.
    pub(super) fetched: HashMap<Digest, PathBuf>,
    /// Files that were copied out of them, by layer and path.
    pub(super) extracted: HashMap<(Digest, Arc<str>), Content>,
    /// Layers that were made.
    pub(super) made: HashMap<Fingerprint, LayerFile>,
}

/// What comes out: an image that is nowhere yet.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Layer>,
}

/// A layer of an image that is being built.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    /// One of a base image, where it is.
    Base { from: ImageName, descriptor: Descriptor },
    /// One that was made here.
    Own(LayerFile),
}

/// A stage as far as it is built.
#[derive(Debug, Clone)]
struct State {
    config: ImageConfig,
    layers: Vec<Layer>,
    files: Files,
    /// ARG values of this stage.
    args: BTreeMap<String, String>,
    cmd_is_own: bool,
}

/// The files of a stage: read only when an instruction needs them.
#[derive(Debug, Clone)]
pub(super) enum Files {
    Unread(Arc<BaseImage>),
    Read(Arc<Tree>),
}

impl Builder {
    /// Builds the plan's last stage. Its steps are counted on from `n`.
    pub(super) async fn build(&mut self, plan: Plan, mut n: u32, of: u32) -> Result<Image, Stop> {
        let mut states: Vec<State> = Vec::with_capacity(plan.stages.len());
        for stage in &plan.stages {
            n += 1;
            self.announce(n, of, &plan.platform, &stage.text)?;
            let mut state = self.begin(&plan, stage, &mut states).await?;
            for step in &stage.steps {
                n += 1;
                self.announce(n, of, &plan.platform, &step.text)?;
                self.step(&plan, stage, step, &mut state, &mut states).await?;
            }
            states.push(state);
        }
        let State { config, layers, .. } =
            states.pop().ok_or_else(|| Stop::failed(FailureKind::DockerfileInvalid, "it has no stage"))?;
        Ok(Image { config, layers })
    }

    fn announce(&self, n: u32, of: u32, platform: &Platform, text: &str) -> Result<(), Stop> {
        self.run.tick()?;
        self.run.step(n, of);
        let platform = if self.several { format!(" ({platform})") } else { String::new() };
        self.run.line(&format!("Step {n}/{of}{platform}: {text}"));
        Ok(())
    }

    async fn begin(
        &mut self,
        plan: &Plan,
        stage: &PlannedStage,
        states: &mut [State],
    ) -> Result<State, Stop> {
        match &stage.base {
            Base::Scratch => {
                let Platform { os, architecture, variant } = &plan.platform;
                Ok(State {
                    config: ImageConfig::scratch(os, architecture, variant.as_deref()),
                    layers: Vec::new(),
                    files: Files::Read(Arc::new(Tree::default())),
                    args: BTreeMap::new(),
                    cmd_is_own: false,
                })
            }
            Base::Stage(at) => {
                let base = states
                    .get(*at)
                    .ok_or_else(|| invalid(stage.line, "the stage it is built on is not there"))?;
                Ok(State { args: BTreeMap::new(), cmd_is_own: false, ..base.clone() })
            }
            Base::Image { .. } => {
                let image = self.image(&stage.base, stage.line).await?;
                if stage.in_image && self.several {
                    is_for(&image, &plan.platform, stage.line)?;
                }
                let layer = |descriptor: &Descriptor| Layer::Base {
                    from: image.name.clone(),
                    descriptor: Descriptor::new(
                        oci_layer(&descriptor.media_type),
                        descriptor.digest.clone(),
                        descriptor.size,
                    ),
                };
                Ok(State {
                    config: image.config.clone(),
                    layers: image.layers.iter().map(layer).collect(),
                    files: Files::Unread(image),
                    args: BTreeMap::new(),
                    cmd_is_own: false,
                })
            }
        }
    }

    async fn step(
        &mut self,
        plan: &Plan,
        stage: &PlannedStage,
        step: &Step,
        state: &mut State,
        states: &mut [State],
    ) -> Result<(), Stop> {
        let line = step.line;
        let mut layer = None;
        match &step.op {
            Op::Arg(args) => {
                for (name, default) in args {
                    let value = match (self.build_args.get(name), default, plan.globals.get(name)) {
                        (Some(given), ..) => Some(given.clone()),
                        (None, Some(word), _) => Some(expand(plan, state, line, word)?),
                        (None, None, global) => global.cloned(),
                    };
                    state.args.extend(value.map(|value| (name.clone(), value)));
                }
            }
            Op::Env(pairs) => {
                let pairs = expand_pairs(plan, state, line, pairs)?;
                pairs.iter().for_each(|(name, value)| state.config.config.set_env(name, value));
            }
            Op::Label(pairs) => {
                let pairs = expand_pairs(plan, state, line, pairs)?;
                pairs.iter().for_each(|(name, value)| state.config.config.set_label(name, value));
            }
            Op::Workdir(path) => {
                let path = expand(plan, state, line, path)?;
                let path = absolute(state.config.config.working_dir(), &path, line)?;
                state.config.config.set_working_dir(path.clone());
                let tree = self.tree(state).await?;
                let mut overlay = Overlay::new(&tree, self.look());
                let real = overlay.make_folder(&path).map_err(|refusal| refused(refusal, line))?;
                let new = (!tree.is_dir(&real)).then(|| overlay.finish());
                drop(tree);
                if let Some(new) = new {
                    layer = self.layer(stage, state, new).await?;
                }
            }
            Op::User(user) => {
                let user = expand(plan, state, line, user)?;
                state.config.config.set_user(user);
            }
            Op::Expose(ports) => {
                for word in ports {
                    let words = expand(plan, state, line, word)?;
                    for port in words.split_whitespace() {
                        state.config.config.expose(port).map_err(|what| invalid(line, what))?;
                    }
                }
            }
            Op::Volume(paths) => {
                for path in paths {
                    let path = expand(plan, state, line, path)?;
                    if path.is_empty() {
                        return Err(invalid(line, "a volume's path is empty"));
                    }
                    state.config.config.add_volume(path);
                }
            }
            Op::Entrypoint(command) => state.config.config.set_entrypoint(command, state.cmd_is_own),
            Op::Cmd(command) => {
                state.config.config.set_cmd(command);
                state.cmd_is_own = true;
            }
            Op::Shell(words) => state.config.config.set_shell(words.clone()),
            Op::Healthcheck(health) => state.config.config.set_healthcheck(health),
            Op::StopSignal(signal) => {
                let signal = expand(plan, state, line, signal)?;
                state.config.config.set_stop_signal(signal);
            }
            Op::Maintainer(name) => state.config.author = Some(name.clone()),
            Op::Copy(copy) => layer = self.copy(plan, stage, line, copy, state, states).await?,
            Op::Refused(what) => return Err(unsupported(line, what)),
        }
        state.config.record(&self.created, &step.text, layer.as_ref());
        Ok(())
    }

    async fn copy(
        &mut self,
        plan: &Plan,
        stage: &PlannedStage,
        line: usize,
        copy: &Copy,
        state: &mut State,
        states: &mut [State],
    ) -> Result<Option<Digest>, Stop> {
        let from = copy.from.as_ref().and_then(|from| stage.sources.get(from));
        let (from_tree, edge) = match from {
            None => (Arc::clone(&self.context.tree), Edge::Refuse),
            Some(Base::Scratch) => (Arc::default(), Edge::Clamp),
            Some(Base::Stage(at)) => match states.get_mut(*at) {
                Some(other) => (self.tree(other).await?, Edge::Clamp),
                None => return Err(invalid(line, "the stage it copies from is not there")),
            },
            Some(image @ Base::Image { .. }) => {
                let image = self.image(image, line).await?;
                (self.read(&image).await?, Edge::Clamp)
            }
        };
        let tree = self.tree(state).await?;
        let mut look = self.look();
        if let Some(chmod) = &copy.chmod {
            let mode = expand(plan, state, line, chmod)?;
            look.mode = Some(parse_mode(&mode).map_err(|what| unsupported(line, what))?);
        }
        if let Some(chown) = &copy.chown {
            let owner = expand(plan, state, line, chown)?;
            look.owner = Some(self.owner(&tree, &owner, line).await?);
        }
        let dest = expand(plan, state, line, &copy.dest)?;
        if dest.is_empty() {
            return Err(invalid(line, "the destination is empty"));
        }
        let mut placing = Placing {
            line,
            add: copy.add,
            from: copy.from.clone(),
            from_tree,
            edge,
            context: Arc::clone(&self.context),
            tree,
            look,
            into: dest.ends_with('/') || matches!(dest.rsplit('/').next(), Some("." | "..")),
            dest: absolute(state.config.config.working_dir(), &dest, line)?,
            paths: Vec::new(),
            documents: Vec::new(),
        };
        for source in &copy.sources {
            if matches!(source, Source::Inline { name, .. } if filename::has_bytes(name)) {
                return Err(invalid(line, RESERVED));
            }
            match source {
                Source::Inline { name, text, expand: false } => {
                    placing.documents.push((name.clone(), text.clone()));
                }
                Source::Inline { name, text, .. } => {
                    let lookup = |name: &str| value(state, name);
                    let reading = Reading { escape: '\\', lookup: &lookup, quotes: false, max: DOCUMENT_MAX };
                    let text = words::expand(text, reading).map_err(|error| word_error(line, error))?;
                    placing.documents.push((name.clone(), text));
                }
                Source::Path(path) => placing.paths.push(expand(plan, state, line, path)?),
            }
        }
        let new = work(move || placing.place()).await??;
        self.layer(stage, state, new).await
    }

    const fn look(&self) -> Look {
        Look { owner: None, mode: None, mtime: self.mtime }
    }

    /// Adds new entries to a stage, as a layer where the stage is a part of the image. Says the layer's uncompressed digest.
    async fn layer(
        &mut self,
        stage: &PlannedStage,
        state: &mut State,
        mut new: Tree,
    ) -> Result<Option<Digest>, Stop> {
        if new.len() == 0 {
            return Ok(None);
        }
        self.fill(&mut new).await?;
        let mut tree = self.tree(state).await?;
        let mut written = None;
        if stage.in_image {
            let layer;
            (new, layer) = self.make(new).await?;
            written = Some(layer.diff_id.clone());
            state.layers.push(Layer::Own(layer));
        }
        state.files = Files::Read(Arc::new(Tree::default()));
        Arc::make_mut(&mut tree).extend(new);
        state.files = Files::Read(tree);
        Ok(written)
    }

    /// Makes the layer of these entries, or takes the one that was made of the same, for another platform as a rule.
    async fn make(&mut self, entries: Tree) -> Result<(Tree, LayerFile), Stop> {
        let (entries, fingerprint) = work(move || {
            let fingerprint = Fingerprint::of(&entries);
            (entries, fingerprint)
        })
        .await?;
        if let Some(layer) = self.made.get(&fingerprint) {
            self.run.line(&format!("  layer {} is made already", layer.digest));
            return Ok((entries, layer.clone()));
        }
        let path = self.dir.join(format!("layer-{}", self.made.len()));
        let (compression, run) = (self.compression, Arc::clone(&self.run));
        let (entries, result) = work(move || {
            let result = layer::write(&path, &entries, compression, &run);
            (entries, result)
        })
        .await?;
        let layer = result?;
        self.run.line(&format!("  layer {} ({} bytes)", layer.digest, layer.size));
        self.made.insert(fingerprint, layer.clone());
        Ok((entries, layer))
    }

    async fn tree(&mut self, state: &mut State) -> Result<Arc<Tree>, Stop> {
        let tree = self.tree_of(state.files.clone()).await?;
        state.files = Files::Read(Arc::clone(&tree));
        Ok(tree)
    }
}

/// Of several images each is what the index says of it.
fn is_for(base: &BaseImage, wanted: &Platform, line: usize) -> Result<(), Stop> {
    let found = base.config.platform();
    let variant = found.variant.clone().or_else(|| wanted.variant.clone());
    if wanted.takes(&Platform { variant, ..found.clone() }) {
        return Ok(());
    }
    let what = format!("{} is for {found}, and the image for {wanted} would be built on it", base.name);
    Err(Stop::failed(FailureKind::BaseImageUnavailable, at_line(line, what)).with_remedy(
        "choose a base that has this platform, and leave --platform to it, or build for its platform alone",
    ))
}

/// Blocking work, off the runtime's own threads.
pub(super) async fn work<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Stop::failed(FailureKind::Internal, error.to_string()))
}

/// A variable: what ENV says, else what ARG says.
fn value(state: &State, name: &str) -> Option<String> {
    state.config.config.env(name).map(str::to_owned).or_else(|| state.args.get(name).cloned())
}

fn expand(plan: &Plan, state: &State, line: usize, word: &str) -> Result<String, Stop> {
    let lookup = |name: &str| value(state, name);
    let reading = Reading { escape: plan.escape, lookup: &lookup, quotes: true, max: WORD_MAX };
    words::expand(word, reading).map_err(|error| word_error(line, error))
}

/// Every value sees the variables as they were before the instruction.
fn expand_pairs(
    plan: &Plan,
    state: &State,
    line: usize,
    pairs: &[(String, String)],
) -> Result<Vec<(String, String)>, Stop> {
    pairs
        .iter()
        .map(|(name, word)| {
            let name = expand(plan, state, line, name)?;
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(invalid(line, format!("`{name}` is no name")));
            }
            Ok((name, expand(plan, state, line, word)?))
        })
        .collect()
}

const RESERVED: &str = "a path has characters of U+10FF80 to U+10FFFF, which no path of an image may have";

/// A path of the image, absolute and without `.` and `..`. A slash at its end is not kept.
fn absolute(folder: &str, path: &str, line: usize) -> Result<String, Stop> {
    if path.contains('\0') {
        return Err(invalid(line, "a path has a zero byte"));
    }
    if filename::has_bytes(path) || filename::has_bytes(folder) {
        return Err(invalid(line, RESERVED));
    }
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in super::tree::parts(&whole) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    if parts.iter().any(|part| part.len() > 255) || whole.len() > 4096 {
        return Err(invalid(line, "a path is longer than 4096 bytes, or a part of it longer than 255"));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// OCI's name of a layer's media type: the bytes are the same as under Docker's.
fn oci_layer(media_type: &str) -> &str {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => Compression::gzip().media_type(),
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => Compression::zstd().media_type(),
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        other => other,
    }
}
