//! What the outside must do. Effects are stored with the change that asked for them and run again after a crash, so every
//! one of them is idempotent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::log::NewLine;
use crate::name::{BuildId, CheckName, DeliveryId, EnvironmentName, ReleaseId, RunId, ServiceName, WorkId};
use crate::release::Revision;

/// One effect, as it waits to be performed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Its id, derived from what it does: storing it again moves its due time, and makes nothing twice.
    pub id: WorkId,
    /// The service it belongs to.
    pub service: ServiceName,
    /// Not before this.
    pub due: Timestamp,
    /// What is to be done.
    pub effect: Effect,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
#[non_exhaustive]
pub enum Effect {
    /// Decide what a delivery means.
    Decide {
        /// Which.
        delivery: DeliveryId,
    },
    /// Start a build's run and follow it to its end.
    Run {
        /// Which build.
        build: BuildId,
        /// Which run.
        run: RunId,
        /// Where.
        executor: String,
    },
    /// Stop a run.
    CancelRun {
        /// Which.
        run: RunId,
        /// Where.
        executor: String,
    },
    /// Let an executor forget a run.
    ForgetRun {
        /// Which.
        run: RunId,
        /// Where.
        executor: String,
    },
    /// Start a check and follow it to its end.
    Check {
        /// Of which build.
        build: BuildId,
        /// Which check.
        check: CheckName,
        /// Which run.
        run: RunId,
    },
    /// Stop a check.
    CancelCheck {
        /// Which.
        run: RunId,
    },
    /// Move a build's tags to its digest.
    Promote {
        /// Which build.
        build: BuildId,
    },
    /// Propose a release to people, and look what they say.
    Propose {
        /// Which.
        release: ReleaseId,
    },
    /// Take a release's proposal back.
    Withdraw {
        /// Which.
        release: ReleaseId,
    },
    /// Tell the runtime of a release.
    Deploy {
        /// Which.
        release: ReleaseId,
    },
    /// Watch a rollout until it is complete or has failed.
    Verify {
        /// Which release.
        release: ReleaseId,
    },
    /// Bring back an older revision after a failed rollout.
    GoBack {
        /// Whose rollout failed.
        release: ReleaseId,
        /// Which revision.
        to: Revision,
    },
    /// Write lines to a build's log.
    Log {
        /// Which build.
        build: BuildId,
        /// The lines.
        lines: Vec<NewLine>,
        /// Whether nothing comes after them.
        close: bool,
    },
    /// Tell the Git host how a build stands.
    Report {
        /// Which.
        build: BuildId,
        /// The ledger's version before the change that is to be told.
        #[serde(default)]
        version: u64,
    },
    /// Tell the Git host why a delivery's commits were not built.
    ReportDecision {
        /// Which.
        delivery: DeliveryId,
        /// The ledger's version before the decision.
        #[serde(default)]
        version: u64,
    },
    /// Let a build look at the clock.
    WakeBuild {
        /// Which.
        build: BuildId,
    },
    /// Let a release look at the clock.
    WakeRelease {
        /// Which.
        release: ReleaseId,
    },
    /// Take a preview away.
    RemovePreview {
        /// Its environment.
        environment: EnvironmentName,
        /// Its merge request.
        number: u64,
    },
    /// Let a preview look at the clock.
    WakePreview {
        /// Its environment.
        environment: EnvironmentName,
        /// Its merge request.
        number: u64,
    },
}

impl Work {
    /// Work with the id that its effect has. Effects that repeat with the same content (log lines) take `salt` into it.
    pub fn new(service: &ServiceName, due: Timestamp, effect: Effect, salt: &str) -> Self {
        let id = WorkId::derive([effect.name(), effect.subject(), effect.part(), salt]);
        Self { id, service: service.clone(), due, effect }
    }
}

impl Effect {
    /// Its name, for spans and messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Decide { .. } => "decide",
            Self::Run { .. } => "run",
            Self::CancelRun { .. } => "cancel_run",
            Self::ForgetRun { .. } => "forget_run",
            Self::Check { .. } => "check",
            Self::CancelCheck { .. } => "cancel_check",
            Self::Promote { .. } => "promote",
            Self::Propose { .. } => "propose",
            Self::Withdraw { .. } => "withdraw",
            Self::Deploy { .. } => "deploy",
            Self::Verify { .. } => "verify",
            Self::GoBack { .. } => "go_back",
            Self::Log { .. } => "log",
            Self::Report { .. } => "report",
            Self::ReportDecision { .. } => "report_decision",
            Self::WakeBuild { .. } => "wake_build",
            Self::WakeRelease { .. } => "wake_release",
            Self::RemovePreview { .. } => "remove_preview",
            Self::WakePreview { .. } => "wake_preview",
        }
    }

    /// What it is about.
    pub fn subject(&self) -> &str {
        match self {
            Self::Decide { delivery } | Self::ReportDecision { delivery, .. } => delivery.as_str(),
            Self::Run { build, .. }
            | Self::Check { build, .. }
            | Self::Promote { build }
            | Self::Log { build, .. }
            | Self::Report { build, .. }
            | Self::WakeBuild { build } => build.as_str(),
            Self::CancelRun { run, .. } | Self::ForgetRun { run, .. } | Self::CancelCheck { run } => {
                run.as_str()
            }
            Self::Propose { release }
            | Self::Withdraw { release }
            | Self::Deploy { release }
            | Self::Verify { release }
            | Self::GoBack { release, .. }
            | Self::WakeRelease { release } => release.as_str(),
            Self::RemovePreview { environment, .. } | Self::WakePreview { environment, .. } => {
                environment.as_str()
            }
        }
    }

    /// Whether it looks at something until that is over, however long it takes.
    pub const fn follows(&self) -> bool {
        matches!(self, Self::Run { .. } | Self::Check { .. } | Self::Propose { .. } | Self::Verify { .. })
    }

    /// Whether it tells the Git host how a commit stands.
    pub const fn is_report(&self) -> bool {
        matches!(self, Self::Report { .. } | Self::ReportDecision { .. })
    }

    fn part(&self) -> &str {
        match self {
            Self::Run { run, .. } | Self::Check { run, .. } => run.as_str(),
            _ => "",
        }
    }
}
