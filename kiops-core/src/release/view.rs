//! What people see of a build: one pure function of the build and the release that it made (settled 4).

use serde::{Deserialize, Serialize};

use super::record::Release;
use super::state::ReleaseState;
use crate::build::{Build, BuildState, Step};
use crate::stage::{Blame, Failure, Progress, Stage};

/// The state that people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisibleState {
    /// Waits for a slot.
    Queued,
    /// Waits for its run to come up.
    Starting,
    /// Runs, or is being rolled out.
    Running,
    /// Its release waits for somebody.
    AwaitingApproval,
    /// Built, and live where it was to be released.
    Succeeded,
    /// Failed, the user's to mend.
    Failed,
    /// Failed, the infrastructure's to mend.
    Error,
    /// Canceled, rejected or expired.
    Canceled,
    /// Something newer took its place.
    Superseded,
}

/// What people see of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildView {
    /// The state.
    pub state: VisibleState,
    /// The stage, while there is one.
    pub stage: Option<Stage>,
    /// How far it is.
    pub progress: Progress,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl VisibleState {
    /// Whether nothing will change by itself or by approval any more.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Starting | Self::Running | Self::AwaitingApproval)
    }

    /// T14's word. A service with a working webhook and no build yet is `Connected`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Queued | Self::Starting => "Started",
            Self::Running => "Running",
            Self::AwaitingApproval => "Awaiting approval",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Error => "Error",
            Self::Canceled => "Canceled",
            Self::Superseded => "Superseded",
        }
    }

    /// K's word (K36, K46).
    pub const fn label_k(self) -> &'static str {
        match self {
            Self::Queued | Self::Starting => "Pending",
            Self::Running => "Building",
            Self::AwaitingApproval => "Awaiting approval",
            Self::Succeeded => "Success",
            Self::Failed | Self::Error => "Failed",
            Self::Canceled => "Canceled",
            Self::Superseded => "Superseded",
        }
    }
}

impl BuildView {
    /// What people see of `build`, given the release that it made by itself, if it did. Later releases by hand do not change it.
    pub fn of(build: &Build, release: Option<&Release>) -> Self {
        let view = |state, stage, progress, failure| Self { state, stage, progress, failure };
        match (&build.state, release) {
            (BuildState::Queued, _) => view(VisibleState::Queued, None, build.progress, None),
            (BuildState::Starting, _) => {
                view(VisibleState::Starting, Some(Stage::Setup), build.progress, None)
            }
            (BuildState::Running(step), _) => {
                let stage = match step {
                    Step::Run(stage) => *stage,
                    Step::Check(_) => build.stage(),
                    Step::Promote => Stage::Promote,
                };
                view(VisibleState::Running, Some(stage), build.progress, None)
            }
            (BuildState::Succeeded, None) => view(VisibleState::Succeeded, None, Progress::DONE, None),
            (BuildState::Succeeded, Some(release)) => Self::of_release(build.progress, release),
            (BuildState::Failed(failure), _) => {
                view(VisibleState::Failed, Some(failure.stage), build.progress, Some(failure.clone()))
            }
            (BuildState::Error(failure), _) => {
                view(VisibleState::Error, Some(failure.stage), build.progress, Some(failure.clone()))
            }
            (BuildState::Canceled { .. }, _) => view(VisibleState::Canceled, None, build.progress, None),
            (BuildState::Superseded { .. }, _) => view(VisibleState::Superseded, None, build.progress, None),
        }
    }

    /// What people see of a build that succeeded, told by the release that it made by itself.
    pub fn through(release: &Release) -> Self {
        Self::of_release(Progress::at(Stage::Promote, 1, 1), release)
    }

    fn of_release(built: Progress, release: &Release) -> Self {
        let deploy = Some(Stage::Deploy);
        let at = |n| built.raised_to(Progress::at(Stage::Deploy, n, 4));
        let (state, stage, progress, failure) = match &release.state {
            ReleaseState::Pending | ReleaseState::Withdrawing(_) => {
                (VisibleState::Running, deploy, at(0), None)
            }
            ReleaseState::AwaitingApproval | ReleaseState::Proposed => {
                (VisibleState::AwaitingApproval, deploy, at(0), None)
            }
            ReleaseState::Deploying => (VisibleState::Running, deploy, at(1), None),
            ReleaseState::Verifying | ReleaseState::RollingBack(_) => {
                (VisibleState::Running, deploy, at(2), None)
            }
            ReleaseState::Live => (VisibleState::Succeeded, None, Progress::DONE, None),
            ReleaseState::Failed(failure) | ReleaseState::RolledBack(failure) => {
                let state = match failure.kind.blame() {
                    Blame::User => VisibleState::Failed,
                    Blame::Infrastructure => VisibleState::Error,
                };
                (state, deploy, at(2), Some(failure.clone()))
            }
            ReleaseState::Rejected { .. } | ReleaseState::Expired | ReleaseState::Canceled { .. } => {
                (VisibleState::Canceled, None, at(0), None)
            }
            ReleaseState::Superseded { .. } => (VisibleState::Superseded, None, at(0), None),
        };
        Self { state, stage, progress, failure }
    }
}
