//! Named checks: scans, tests and gates of a service (G01, S03).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::name::{CheckName, ImageRef, SecretName};
use crate::stage::Stage;

/// One check: an image with a command whose end decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSpec {
    /// Its name.
    pub name: CheckName,
    /// When it runs.
    pub phase: CheckPhase,
    /// Which stage its log lines belong to: `scan` or `test`.
    #[serde(default = "default_stage")]
    pub stage: Stage,
    /// The image it runs in; `None`: the image that was built, by digest (G07).
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// The command with its arguments; never given to a shell. Empty: the image's own. In every word `{image}` stands for the image that
    /// was built, by digest, and `{commit}` for the full commit id: `["trivy", "image", "{image}"]`. In phase `deployed` `{environment}`
    /// stands for where it is live, and `{url}` for where it is reached there ([`Environment::url`](super::Environment::url)), without
    /// which a check that names it fails.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Secret environment variables, and where their values are kept.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretName>,
    /// Which team it belongs to (G01's boundaries).
    #[serde(default)]
    pub owner: Option<String>,
    /// What decides.
    #[serde(default)]
    pub gate: Gate,
}

const fn default_stage() -> Stage {
    Stage::Test
}

/// When a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckPhase {
    /// On the source, beside the build (SAST).
    Source,
    /// On the pushed image (SCA, tests).
    Image,
    /// On what is live (DAST), each time that a release of the build goes live, and no longer than until another release is applied
    /// there. It changes neither the build nor the release: it gates the build's way to any other environment.
    Deployed,
}

/// What decides whether a check passed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Gate {
    /// The exit code: 0 passes.
    #[default]
    ExitCode,
    /// The findings of the SARIF report that it makes; the exit code only says whether it could run.
    Severity(SeverityLimits),
    /// It reports, and never stops anything.
    Advisory,
}

impl Gate {
    /// Whether it goes by how many findings are new.
    pub const fn limits_new(&self) -> bool {
        matches!(self, Self::Severity(SeverityLimits { new: Some(_), .. }))
    }
}

/// How many findings are let through; `None`: any number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeverityLimits {
    /// Findings of level `error`.
    pub errors: Option<u32>,
    /// Findings of level `warning`.
    pub warnings: Option<u32>,
    /// Findings of level `note`.
    pub notes: Option<u32>,
    /// New findings, of any level: those that the report does not have that it is compared with, the newest earlier one that passed. A
    /// first report has nothing to be compared with, and none of its findings counts as new: this limit lets it through, the log says
    /// so, and later ones are compared with it. One that was stopped is compared with by none, so that what was new stays new however
    /// often it is built.
    pub new: Option<u32>,
}

impl CheckSpec {
    pub(super) fn validate(&self) -> Result<()> {
        if !matches!(self.stage, Stage::Scan | Stage::Test) {
            return Err(Error::invalid(
                "check settings",
                format!("checks.{}.stage: `{}` is neither scan nor test", self.name, self.stage),
            ));
        }
        if self.phase == CheckPhase::Source && self.image.is_none() {
            return Err(Error::invalid(
                "check settings",
                format!(
                    "checks.{}.image: a check of the source has no built image yet and must name one",
                    self.name
                ),
            ));
        }
        Ok(())
    }
}
