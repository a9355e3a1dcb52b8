//! What executors and check runners share: what a run is given, what it reports, and what is found of it afterwards.

mod source;

pub use source::ProviderSource;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::image::RegistryCredential;
use crate::log::NewLine;
use crate::name::{CommitId, Digest, RunId};
use crate::provider::CloneAccess;
use crate::secret::Secret;
use crate::stage::{Failure, Stage};
use crate::stream::ByteStream;

/// What a run needs and no store may keep: resolved right before `start`, gone with it.
#[derive(Debug, Clone)]
pub struct RunInputs {
    /// The source at its commit.
    pub source: Arc<dyn SourceAccess>,
    /// Credentials for pulling base images.
    pub pull: Vec<RegistryCredential>,
    /// The credential for pushing; `None` where nothing is pushed or none is needed.
    pub push: Option<RegistryCredential>,
    /// Build secrets by the name under which the Dockerfile or the check asks for them. Empty for a fork's build, and for a check that looks at
    /// a preview unless the settings say otherwise.
    pub secrets: BTreeMap<String, Secret>,
}

/// The source of one commit.
#[async_trait]
pub trait SourceAccess: Send + Sync + std::fmt::Debug {
    /// Which commit.
    fn commit(&self) -> &CommitId;

    /// The whole tree as an uncompressed tar stream. May be asked for again.
    async fn archive(&self) -> Result<ByteStream>;

    /// Address and credential for a program that clones by itself.
    async fn clone_access(&self) -> Result<CloneAccess>;
}

/// One report of a run. Numbers rise within a run, with or without gaps, and every line has its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// Its number, above 0: of [`RunEvent::Lines`] its last line's, of [`RunEvent::Alive`] its own or that of the report before it.
    /// Who has seen `n` asks for what comes after `n`, and gets every line and every report that is numbered above it.
    pub n: u64,
    /// What it reports.
    pub event: RunEvent,
}

/// What a run reports while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// A stage began.
    Stage(Stage),
    /// Step `n` of `of` of the current stage began.
    Step {
        /// The step, from 1.
        n: u32,
        /// How many there are.
        of: u32,
    },
    /// Log lines, masked and clean. Another reading may bring the same lines in other portions.
    Lines(Vec<NewLine>),
    /// Nothing to report, but the container is alive and working: a sign of life for the stall timer (settled 3). It need not be kept.
    Alive,
    /// The run is over. Nothing comes after this.
    Finished(RunOutcome),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// It did what it was asked for.
    Succeeded(RunResult),
    /// It failed; whose fault that is lies in the kind.
    Failed(Failure),
    /// This executor cannot do it, another one may.
    Refused(Failure),
    /// It was canceled by request.
    Canceled,
    /// The executor has no trace of it, or lost it on the way (a drained node).
    Lost {
        /// What is known of why.
        reason: String,
    },
}

/// What a successful run hands over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// The digest of the image that was built. Nothing for a check.
    pub digest: Option<Digest>,
    /// How many layers came from a cache, where the executor tells (K38).
    pub cached_layers: Option<u32>,
    /// The SARIF report of a check that makes one.
    pub sarif: Option<String>,
}

/// The reports of a run as they come.
pub type RunReports = Pin<Box<dyn Stream<Item = Result<RunReport>> + Send>>;

/// What an executor finds of a run when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Which run.
    pub run: RunId,
    /// How it stands.
    pub state: ObservedState,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedState {
    /// It goes on.
    Running,
    /// It is over, and its outcome can be read from its reports.
    Finished,
}
