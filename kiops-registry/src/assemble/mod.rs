//! [`Assembler`]: builds Dockerfiles that execute nothing, in this process, into any registry.
//!
//! It is the fast path for static sites and prebuilt binaries, not a sandbox: files are read from the source's archive and from
//! layers as data, and written into layers; nothing is unpacked to a path that a name chooses, and nothing is run.
//!
//! What it reads: FROM (scratch, an image of a registry that it was given, a stage), COPY and ADD of files with `--from`, `--chown`, `--chmod`
//! and here-documents, ENV, ARG, LABEL, WORKDIR, USER, EXPOSE, VOLUME, ENTRYPOINT, CMD, SHELL, HEALTHCHECK, STOPSIGNAL,
//! MAINTAINER, `.dockerignore`, variables, a target stage. What it refuses, so that a router can ask another executor: RUN,
//! ONBUILD, ADD of archives and addresses, the flags that only BuildKit has, other frontends.
//!
//! With several platforms it makes an image index, with an image for each.
//!
//! The same commit gives the same digest on every machine with the same version of this crate and its compressor: times are the
//! commit's, owners 0:0, modes 0755 and 0644, entries sorted.

mod archive;
mod base;
mod build;
mod compression;
mod config;
mod context;
mod copy;
mod dockerfile;
mod filename;
mod files;
mod glob;
mod gzip;
mod health;
mod ignore;
mod layer;
mod outcome;
mod owner;
mod place;
mod plan;
mod push;
mod registries;
mod run;
mod spool;
mod tree;
mod words;
mod workdir;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream as streams;
use jiff::Timestamp;
use kiops_core::build::{BuildExecutor, BuildOutput, BuildSpec};
use kiops_core::image::Registry;
use kiops_core::log::Masker;
use kiops_core::name::RunId;
use kiops_core::run::{
    Observed, ObservedState, RunEvent, RunInputs, RunOutcome, RunReport, RunReports, RunResult,
};
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::{Error, ErrorKind, Result, stream};
use serde::{Deserialize, Serialize};

use crate::manifest::Platform;
use build::Builder;
pub use compression::Compression;
use context::Source;
use outcome::{Stop, disk_error, source_error};
use plan::{On, Plan};
use registries::Registries;
use run::Run;
use spool::Spool;
use workdir::{RunDir, WorkDir};

/// How an [`Assembler`] works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AssemblerConfig {
    /// Where sources and layers lie while they are worked on. Each process makes a folder of its own in it.
    pub work_dir: PathBuf,
    /// How the layers that are made are compressed. `gzip:6` by default. Another compression or level gives other digests.
    #[serde(default)]
    pub compression: Compression,
    /// The platforms that are built for: of images from scratch, and what is taken of a base that has several. `linux/amd64` alone by
    /// default. More than one make an image index, with an image for each in this order; `BUILDPLATFORM` is the first one.
    #[serde(default = "default_platforms")]
    pub platforms: Vec<String>,
    /// What a build may be made of.
    #[serde(default)]
    pub limits: Limits,
}

/// What a build may be made of; more is refused with [`FailureKind::ContextRefused`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// The bytes of a commit's archive. 4 GiB by default.
    pub max_source_bytes: u64,
    /// The files and folders of a commit. 500,000 by default.
    pub max_source_files: usize,
    /// The bytes of the build context, after `.dockerignore`. 2 GiB by default.
    pub max_context_bytes: u64,
    /// The files and folders of the build context. 100,000 by default.
    pub max_context_files: usize,
    /// The bytes of one unpacked layer of a base image, where COPY makes it necessary to read it. 16 GiB by default.
    pub max_base_bytes: u64,
}

fn default_platforms() -> Vec<String> {
    vec!["linux/amd64".to_owned()]
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_source_bytes: 4 << 30,
            max_source_files: 500_000,
            max_context_bytes: 2 << 30,
            max_context_files: 100_000,
            max_base_bytes: 16 << 30,
        }
    }
}

impl AssemblerConfig {
    /// Working in this directory, everything else by default.
    pub fn new(work_dir: impl Into<PathBuf>) -> Self {
        Self {
            work_dir: work_dir.into(),
            compression: Compression::default(),
            platforms: default_platforms(),
            limits: Limits::default(),
        }
    }
}

/// Builds images in this process. It reads base images from where their names say, and pushes to where the image's name says.
///
/// Runs live in memory: after a restart none of them is known, and `reports` says so. How many run at once is the queue's to say.
/// `cancel` waits for the calls to the registry that are under way, four at most; build secrets are not used, since nothing runs
/// that could read them.
#[derive(Debug, Clone)]
pub struct Assembler {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: AssemblerConfig,
    /// At least one.
    platforms: Vec<Platform>,
    registries: Registries,
    work_dir: WorkDir,
    runs: Mutex<HashMap<RunId, Arc<Run>>>,
}

impl Assembler {
    /// An assembler for whose images `registry` is the place, whatever host their names have. Makes its working directory, and removes what a
    /// crash left there.
    ///
    /// # Errors
    /// `Invalid` for a compression level out of its range, and for platforms that are none, the same twice, or missing; `Full` and `Forbidden` as the disk says.
    pub fn new(config: AssemblerConfig, registry: Arc<dyn Registry>) -> Result<Self> {
        Self::with_registries(config, registry, BTreeMap::new())
    }

    /// The same with further registries by the host of an image's name (`docker.io`, `harbor.example.com:8443`): base images are read there, and
    /// what is named so is pushed there. `registry` is the place of every other host.
    ///
    /// # Errors
    /// As [`Assembler::new`].
    pub fn with_registries(
        config: AssemblerConfig,
        registry: Arc<dyn Registry>,
        by_host: BTreeMap<String, Arc<dyn Registry>>,
    ) -> Result<Self> {
        const OPERATION: &str = "set up assembler";
        config.compression.check().map_err(|error| {
            let remedy = error.remedy().unwrap_or_default().to_owned();
            Error::invalid(OPERATION, format!("compression: {}", error.message())).with_remedy(remedy)
        })?;
        let platforms = parse_platforms(&config.platforms).map_err(|what| {
            Error::invalid(OPERATION, format!("platforms: {what}"))
                .with_remedy("name each platform once, as in linux/amd64 and linux/arm/v7")
        })?;
        let work_dir = WorkDir::open(&config.work_dir)?;
        let runs = Mutex::new(HashMap::new());
        let registries = Registries::new(registry, by_host);
        Ok(Self { shared: Arc::new(Shared { config, platforms, registries, work_dir, runs }) })
    }
}

fn parse_platforms(names: &[String]) -> Result<Vec<Platform>, String> {
    let mut platforms: Vec<Platform> = Vec::with_capacity(names.len());
    for name in names {
        let platform = plan::parse_platform(name).ok_or_else(|| format!("`{name}` is no platform"))?;
        if let Some(other) = platforms.iter().find(|other| other.is(&platform)) {
            return Err(format!("`{name}` is `{other}` again"));
        }
        platforms.push(platform);
    }
    if platforms.is_empty() { Err("there is none".to_owned()) } else { Ok(platforms) }
}

impl Shared {
    /// What there is to do for each platform.
    fn plans(&self, spec: &BuildSpec, dockerfile: &str) -> Result<Vec<Plan>, Stop> {
        let Some(build) = self.platforms.first() else { return Ok(Vec::new()) };
        self.platforms.iter().map(|target| Plan::new(spec, dockerfile, On { target, build })).collect()
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, run: &RunId) -> Option<Arc<Run>> {
        self.runs().get(run).map(Arc::clone)
    }
}

#[async_trait]
impl BuildExecutor for Assembler {
    fn name(&self) -> &str {
        "assembler"
    }

    fn accepts(&self, spec: &BuildSpec, dockerfile: &str) -> Result<(), Failure> {
        match self.shared.plans(spec, dockerfile) {
            Ok(_) | Err(Stop::Canceled) => Ok(()),
            Err(Stop::Failed(failure) | Stop::Refused(failure)) => Err(failure),
        }
    }

    async fn start(&self, id: &RunId, spec: &BuildSpec, inputs: RunInputs) -> Result<()> {
        let credentials = inputs.pull.iter().chain(&inputs.push).map(|credential| &credential.password);
        let masker = Masker::new(inputs.secrets.values().chain(credentials))?;
        let run = {
            let mut runs = self.shared.runs();
            if runs.contains_key(id) {
                return Ok(());
            }
            let run = Arc::new(Run::new(masker));
            runs.insert(id.clone(), Arc::clone(&run));
            run
        };
        let dir = match self.shared.work_dir.run(id) {
            Ok(dir) => dir,
            Err(error) => {
                self.shared.runs().remove(id);
                return Err(error);
            }
        };
        let job =
            Job { shared: Arc::clone(&self.shared), run: Arc::clone(&run), spec: spec.clone(), inputs, dir };
        tokio::spawn(async move {
            // A task of its own, so that even a defect of ours ends the run.
            let outcome = match tokio::spawn(job.run()).await {
                Ok(Ok(result)) => RunOutcome::Succeeded(result),
                // A registry may have its own words for a content that ended because we stopped sending it.
                Ok(Err(_)) if run.tick().is_err() => RunOutcome::Canceled,
                Ok(Err(Stop::Failed(failure))) => RunOutcome::Failed(failure),
                Ok(Err(Stop::Refused(failure))) => RunOutcome::Refused(failure),
                Ok(Err(Stop::Canceled)) => RunOutcome::Canceled,
                Err(error) => {
                    RunOutcome::Failed(Failure::new(Stage::Build, FailureKind::Internal, error.to_string()))
                }
            };
            run.finish(outcome);
        });
        Ok(())
    }

    async fn reports(&self, id: &RunId, after: u64) -> Result<RunReports> {
        if let Some(run) = self.shared.run(id) {
            return Ok(run.reports(after));
        }
        let reason = format!("the assembler knows no run {id}: its process was started again meanwhile");
        let lost =
            RunReport { n: after.saturating_add(1), event: RunEvent::Finished(RunOutcome::Lost { reason }) };
        Ok(Box::pin(streams::iter([Ok(lost)])))
    }

    async fn cancel(&self, id: &RunId) -> Result<()> {
        if let Some(run) = self.shared.run(id) {
            run.cancel();
            run.finished().await;
        }
        Ok(())
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        let state =
            |run: &Run| if run.is_finished() { ObservedState::Finished } else { ObservedState::Running };
        Ok(self
            .shared
            .runs()
            .iter()
            .map(|(id, run)| Observed { run: id.clone(), state: state(run) })
            .collect())
    }

    async fn forget(&self, id: &RunId) -> Result<()> {
        let mut runs = self.shared.runs();
        if runs.get(id).is_some_and(|run| !run.is_finished()) {
            return Err(Error::new(ErrorKind::Conflict, "forget run", format!("{id} is not over"))
                .with_remedy("cancel it first"));
        }
        runs.remove(id);
        Ok(())
    }
}

/// One run from its start to its outcome.
struct Job {
    shared: Arc<Shared>,
    run: Arc<Run>,
    spec: BuildSpec,
    inputs: RunInputs,
    dir: RunDir,
}

impl Job {
    async fn run(self) -> Result<RunResult, Stop> {
        let run = &self.run;
        run.stage(Stage::Setup);
        let mtime = commit_time(&self.spec);
        let (dockerfile, context) = self.setup(mtime).await?;
        let plans = self.shared.plans(&self.spec, &dockerfile).map_err(|stop| stop.at(Stage::Build))?;

        run.stage(Stage::Build);
        let config = &self.shared.config;
        let mut builder = Builder {
            registries: self.shared.registries.clone(),
            run: Arc::clone(run),
            dir: self.dir.path().to_owned(),
            context: Arc::new(context),
            mtime,
            created: created(mtime),
            several: plans.len() > 1,
            compression: config.compression,
            max_base_bytes: config.limits.max_base_bytes,
            build_args: self.spec.build_args.clone(),
            images: HashMap::new(),
            pinned: HashMap::new(),
            fetched: HashMap::new(),
            extracted: HashMap::new(),
            made: HashMap::new(),
        };
        let unused = unused_args(&plans);
        let of = plans.iter().map(Plan::steps).fold(0, u32::saturating_add);
        let (mut images, mut n) = (Vec::with_capacity(plans.len()), 0);
        for plan in plans {
            let (platform, steps) = (plan.platform.clone(), plan.steps());
            let mut image = builder.build(plan, n, of).await?;
            n += steps;
            image.config.created = Some(builder.created.clone());
            for (name, value) in &self.spec.labels {
                image.config.config.set_label(name, value);
            }
            images.push((platform, image));
        }
        for name in &unused {
            run.line(&format!("Build argument {name} is set, and no ARG takes it"));
        }
        let sealed = push::seal(images)?;
        let digest = sealed.digest.clone();
        if let BuildOutput::Push { image, tag } = &self.spec.output {
            run.stage(Stage::Push);
            run.line(&format!("Pushing {image}:{tag}"));
            builder.push(&sealed, image, tag).await?;
            run.line(&format!("Successfully pushed {image}:{tag}@{digest}"));
        } else {
            run.line(&format!("Built {digest}; it is not pushed"));
        }
        Ok(RunResult { digest: Some(digest), ..RunResult::default() })
    }

    /// Spools the source, and cuts the context out of it.
    async fn setup(&self, mtime: u64) -> Result<(String, context::Context), Stop> {
        let archive = Arc::new(self.dir.path().join("source.tar"));
        tokio::select! {
            spooled = self.spool(&archive) => spooled?,
            () = self.run.canceled() => return Err(Stop::Canceled),
        }
        self.run.line(&format!("Checked out commit {}", self.spec.commit.short()));
        let (run, limits, spec) =
            (Arc::clone(&self.run), self.shared.config.limits.clone(), self.spec.clone());
        build::work(move || {
            let source = Source::open(&archive, mtime, &limits, &run)?;
            let dockerfile = source.dockerfile(&spec.dockerfile)?;
            let context = source.context(&spec.context, &spec.dockerfile, &limits)?;
            Ok((dockerfile, context))
        })
        .await?
    }

    async fn spool(&self, archive: &std::path::Path) -> Result<(), Stop> {
        let limit = self.shared.config.limits.max_source_bytes;
        let io = |error| {
            disk_error(&crate::disk::io_error("write source archive", archive, error)).at(Stage::Setup)
        };
        let mut content = self.inputs.source.archive().await.map_err(|error| source_error(&error))?;
        let mut spool = Spool::create(archive.to_owned()).map_err(io)?;
        while let Some(chunk) = stream::next(&mut content).await {
            self.run.tick()?;
            spool
                .write(&chunk.map_err(|error| source_error(&error))?)
                .await
                .map_err(|stop| stop.at(Stage::Setup))?;
            if spool.written() > limit {
                return Err(Stop::Failed(Failure::new(
                    Stage::Setup,
                    FailureKind::ContextRefused,
                    format!("the commit's archive is larger than the limit of {limit} bytes"),
                )));
            }
        }
        spool.finish().await.map_err(|stop| stop.at(Stage::Setup))?;
        Ok(())
    }
}

/// Build arguments that no platform's plan takes.
fn unused_args(plans: &[Plan]) -> Vec<String> {
    let Some((first, others)) = plans.split_first() else { return Vec::new() };
    let unused = |name: &&String| others.iter().all(|plan| plan.unused_args.contains(name));
    first.unused_args.iter().filter(unused).cloned().collect()
}

/// The commit's time in seconds since 1970; 0 where it is not known or earlier.
fn commit_time(spec: &BuildSpec) -> u64 {
    let time: Option<Timestamp> = spec.metadata.git_commit_timestamp.parse().ok();
    time.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(0)
}

/// A time as image configurations write it.
fn created(mtime: u64) -> String {
    i64::try_from(mtime)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}
