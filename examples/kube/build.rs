//! Builds with Kaniko, BuildKit or Tekton.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use futures_util::StreamExt as _;
use kiops_core::build::{BuildExecutor, BuildOutput, BuildSpec};
use kiops_core::image::RegistryCredential;
use kiops_core::name::{CommitId, DnsLabel, RunId};
use kiops_core::provider::{CloneAccess, CloneCredential};
use kiops_core::run::{ObservedState, RunEvent, RunInputs, RunOutcome, SourceAccess};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use kiops_kube::doctor::{Examination, RUN_RIGHTS, TEKTON_RIGHTS};
use kiops_kube::{
    BuildKitConfig, BuildKitExecutor, KanikoConfig, KanikoExecutor, Runs, RunsConfig, TektonConfig,
    TektonExecutor, yaml,
};
use serde::de::DeserializeOwned;

use super::connect::{Connection, secret_of};
use super::write;

/// Without `--follow`, a log that says nothing for so long is shown. What a run waits for is told after two seconds of waiting.
const QUIET: Duration = Duration::from_secs(3);

/// Where builds are.
#[derive(Debug, Args)]
pub(crate) struct Builds {
    /// The namespace of all builds.
    #[arg(long, global = true, default_value = "kiops-builds")]
    builds: DnsLabel,
    /// Which kiops they belong to.
    #[arg(long, global = true, default_value = "kiops")]
    instance: DnsLabel,
    /// What builds.
    #[arg(long, global = true, value_enum, default_value_t = Kind::Kaniko)]
    executor: Kind,
    /// A JSON file with its settings: {"cache_repository": "harbor.example.com/cache/kaniko"}.
    #[arg(long, global = true)]
    settings: Option<PathBuf>,
    /// A JSON file with what builds may reach: "open", or {"restricted": {"ports": [22, 80, 443, 8443]}}. By default 22, 80 and 443.
    #[arg(long, global = true)]
    network: Option<PathBuf>,
}

/// What builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Kaniko,
    #[value(name = "buildkit")]
    BuildKit,
    Tekton,
}

/// What builds, set up.
enum Executor {
    Kaniko(KanikoExecutor),
    BuildKit(BuildKitExecutor),
    Tekton(TektonExecutor),
}

impl Executor {
    fn any(&self) -> &dyn BuildExecutor {
        match self {
            Self::Kaniko(executor) => executor,
            Self::BuildKit(executor) => executor,
            Self::Tekton(executor) => executor,
        }
    }
}

/// What is built, and from where.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// A JSON file with the build's specification, as a stored build has it.
    spec: PathBuf,
    /// The address to clone from.
    #[arg(long)]
    clone: String,
    /// The Dockerfile, to be looked at before: what the executor cannot do is refused, and progress knows its steps.
    #[arg(long)]
    dockerfile: Option<PathBuf>,
    /// The user name to clone with.
    #[arg(long, requires = "git_password_env")]
    git_username: Option<String>,
    /// The environment variable with the password to clone with.
    #[arg(long, requires = "git_username")]
    git_password_env: Option<String>,
    /// The user name to push with.
    #[arg(long, requires = "registry_password_env")]
    registry_username: Option<String>,
    /// The environment variable with the password to push with.
    #[arg(long, requires = "registry_username")]
    registry_password_env: Option<String>,
}

impl Builds {
    /// What is to be looked at where these builds are.
    pub(crate) fn examination(&self) -> Examination {
        let builds = [self.builds.clone()];
        match self.executor {
            Kind::Kaniko | Kind::BuildKit => Examination::of(builds, RUN_RIGHTS.iter().copied()),
            Kind::Tekton => Examination::of(builds, TEKTON_RIGHTS.iter().copied()).with_tekton(),
        }
    }

    async fn runs(&self, connection: &Connection) -> Result<Runs> {
        let mut config = RunsConfig::new(self.builds.as_str(), self.instance.as_str());
        if let Some(file) = &self.network {
            config.network = read(file)?;
        }
        Runs::new(connection.open().await?, config)
    }

    async fn executor(&self, connection: &Connection) -> Result<Executor> {
        let runs = self.runs(connection).await?;
        let settings = self.settings.as_deref();
        Ok(match self.executor {
            Kind::Kaniko => {
                let config: KanikoConfig = settings.map(read).transpose()?.unwrap_or_default();
                Executor::Kaniko(KanikoExecutor::new(config, &runs)?)
            }
            Kind::BuildKit => {
                let config: BuildKitConfig = settings.map(read).transpose()?.unwrap_or_default();
                Executor::BuildKit(BuildKitExecutor::new(config, &runs)?)
            }
            Kind::Tekton => {
                let config: TektonConfig = settings.map(read).transpose()?.unwrap_or_default();
                Executor::Tekton(TektonExecutor::new(config, &runs)?)
            }
        })
    }

    pub(crate) async fn render(&self, connection: &Connection, source: Source) -> Result<()> {
        let executor = self.executor(connection).await?;
        let (run, spec, inputs) = source.build(executor.any())?;
        let access = inputs.source.clone_access().await?;
        let mut text = String::new();
        match &executor {
            Executor::Kaniko(executor) => {
                yaml::push_document(&mut text, &executor.job(&run, &spec, &access, &inputs)?)?;
            }
            Executor::BuildKit(executor) => {
                yaml::push_document(&mut text, &executor.job(&run, &spec, &access, &inputs)?)?;
            }
            Executor::Tekton(executor) => {
                yaml::push_document(&mut text, &executor.pipeline_run(&run, &spec, &access, &inputs)?)?;
            }
        }
        write(&text)
    }

    pub(crate) async fn render_network(&self, connection: &Connection) -> Result<()> {
        let Some(policy) = self.runs(connection).await?.network_policy().await? else {
            return write("# no policy: the network is open\n");
        };
        let mut text = String::new();
        yaml::push_document(&mut text, &policy)?;
        write(&text)
    }

    pub(crate) async fn start(&self, connection: &Connection, source: Source, follow: bool) -> Result<()> {
        let executor = self.executor(connection).await?;
        let (run, spec, inputs) = source.build(executor.any())?;
        executor.any().start(&run, &spec, inputs).await?;
        write(&format!("{run}\n"))?;
        if follow { show(executor.any(), &run, true).await } else { Ok(()) }
    }

    pub(crate) async fn logs(&self, connection: &Connection, run: &RunId, follow: bool) -> Result<()> {
        show(self.knowing(connection, run).await?.any(), run, follow).await
    }

    pub(crate) async fn cancel(&self, connection: &Connection, run: &RunId) -> Result<()> {
        self.knowing(connection, run).await?.any().cancel(run).await
    }

    pub(crate) async fn forget(&self, connection: &Connection, run: &RunId) -> Result<()> {
        self.knowing(connection, run).await?.any().forget(run).await
    }

    /// An executor that has this run. To the executor one that is gone is as good as canceled and forgotten; a person may have mistyped it.
    async fn knowing(&self, connection: &Connection, run: &RunId) -> Result<Executor> {
        let executor = self.executor(connection).await?;
        if executor.any().observed().await?.iter().any(|observed| observed.run == *run) {
            return Ok(executor);
        }
        let (namespace, instance) = (&self.builds, &self.instance);
        Err(Error::not_found("find run", format!("{run} is no run of `{instance}` in namespace {namespace}"))
            .with_remedy("`runs` lists those that are there; --builds and --instance say where"))
    }

    pub(crate) async fn list(&self, connection: &Connection) -> Result<()> {
        for observed in self.executor(connection).await?.any().observed().await? {
            let state = match observed.state {
                ObservedState::Running => "running",
                ObservedState::Finished => "finished",
            };
            write(&format!("{} {state}\n", observed.run))?;
        }
        Ok(())
    }
}

impl Source {
    fn build(self, executor: &dyn BuildExecutor) -> Result<(RunId, BuildSpec, RunInputs)> {
        let spec: BuildSpec = read(&self.spec)?;
        if let Some(path) = &self.dockerfile {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::invalid("read Dockerfile", format!("{}: {error}", path.display())))?;
            executor.accepts(&spec, &text).map_err(|failure| {
                Error::unsupported("build image", failure.message).with_remedy(failure.remedy)
            })?;
        }
        let credential = match (self.git_username, &self.git_password_env) {
            (Some(username), Some(variable)) => {
                Some(CloneCredential { username, password: secret_of(variable)? })
            }
            _ => None,
        };
        let push = match (&spec.output, self.registry_username, &self.registry_password_env) {
            (BuildOutput::Push { image, .. }, Some(username), Some(variable)) => {
                let host = image.host().to_owned();
                Some(RegistryCredential { host, username, password: secret_of(variable)? })
            }
            _ => None,
        };
        let access = CloneAccess { url: self.clone, credential, expires_at: None };
        let source = Arc::new(Given { commit: spec.commit.clone(), access });
        let inputs = RunInputs { source, pull: Vec::new(), push, secrets: Default::default() };
        Ok((RunId::of_build(&spec.build, 1), spec, inputs))
    }
}

/// A source as the arguments name it.
#[derive(Debug)]
struct Given {
    commit: CommitId,
    access: CloneAccess,
}

#[async_trait]
impl SourceAccess for Given {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    async fn archive(&self) -> Result<ByteStream> {
        Err(Error::unsupported("archive source", "executors clone by themselves"))
    }

    async fn clone_access(&self) -> Result<CloneAccess> {
        Ok(self.access.clone())
    }
}

async fn show(executor: &dyn BuildExecutor, run: &RunId, follow: bool) -> Result<()> {
    let mut reports = executor.reports(run, 0).await?;
    loop {
        let next = match follow {
            true => reports.next().await,
            false => tokio::time::timeout(QUIET, reports.next()).await.ok().flatten(),
        };
        let Some(report) = next else { return Ok(()) };
        match report?.event {
            RunEvent::Lines(lines) => {
                for line in lines {
                    write(&format!("[{}] {}\n", line.stage, line.text))?;
                }
            }
            RunEvent::Finished(outcome) => return ended(outcome),
            RunEvent::Stage(_) | RunEvent::Step { .. } | RunEvent::Alive => {}
        }
    }
}

fn ended(outcome: RunOutcome) -> Result<()> {
    let failed = |message: String| Error::new(ErrorKind::Unavailable, "build image", message);
    match outcome {
        RunOutcome::Succeeded(result) => {
            let digest = result.digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            let cached = match result.cached_layers {
                None | Some(0) => String::new(),
                Some(n) => format!(", {n} layers from the cache"),
            };
            write(&format!("succeeded: digest {digest}{cached}\n"))
        }
        RunOutcome::Failed(failure) | RunOutcome::Refused(failure) => {
            Err(failed(failure.message).with_remedy(failure.remedy))
        }
        RunOutcome::Canceled => Err(Error::new(ErrorKind::Canceled, "build image", "it was canceled")),
        RunOutcome::Lost { reason } => Err(failed(format!("the run was lost: {reason}"))),
    }
}

/// A JSON file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let invalid = |error: String| Error::invalid("read file", format!("{}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| invalid(error.to_string()))?;
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(&text))
        .map_err(|error| invalid(error.to_string()))
}
