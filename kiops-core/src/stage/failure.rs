//! Failures as people see them: one kind, one sentence, one remedy.

use serde::{Deserialize, Serialize};

use super::Stage;

/// Why a build or release failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where it failed.
    pub stage: Stage,
    /// What failed.
    pub kind: FailureKind,
    /// What happened, with the particulars: `Dockerfile not found: web/Dockerfile`. Masked.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Whose a failure is to mend: the user's (state failed) or the infrastructure's (state error).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// Their code, Dockerfile or settings: the same input fails again.
    User,
    /// Ours or the platform's: the same input may succeed later.
    Infrastructure,
}

/// What failed. The words of K45 are the titles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The Dockerfile is not in the commit.
    DockerfileNotFound,
    /// The Dockerfile cannot be read.
    DockerfileInvalid,
    /// It needs something that this executor does not do.
    UnsupportedInstruction,
    /// COPY or ADD names a file that is not there.
    SourceFileNotFound,
    /// A RUN ended with an error.
    RunFailed,
    /// The base image does not exist or cannot be reached.
    BaseImageUnavailable,
    /// The build context breaks a limit or leaves its folder.
    ContextRefused,
    /// The source could not be fetched.
    GitCloneFailed,
    /// The commit is not in the repository any more.
    CommitNotFound,
    /// The registry refused the credential.
    RegistryAuthenticationFailed,
    /// The registry refused or lost the push.
    PushFailed,
    /// No sign of life for the stall time.
    Stalled,
    /// Longer than the total time.
    TimedOut,
    /// A check said no.
    CheckFailed,
    /// Out of memory.
    OutOfMemory,
    /// The disk or a quota is full.
    DiskFull,
    /// The executor lost the run, repeatedly.
    RunLost,
    /// The executor could not be reached or refused.
    ExecutorUnavailable,
    /// The settings are incomplete or contradict each other.
    SettingsInvalid,
    /// The rollout did not become healthy.
    RolloutFailed,
    /// The runtime could not be reached or refused.
    RuntimeUnavailable,
    /// The record could not be handled and was set aside.
    Quarantined,
    /// A defect of ours.
    Internal,
}

impl FailureKind {
    /// The title, with the words of K45 where they fit.
    pub const fn title(self) -> &'static str {
        match self {
            Self::DockerfileNotFound => "Dockerfile not found",
            Self::DockerfileInvalid => "Dockerfile not understood",
            Self::UnsupportedInstruction => "Instruction not supported by this executor",
            Self::SourceFileNotFound => "File to copy not found",
            Self::RunFailed => "RUN failed",
            Self::BaseImageUnavailable => "Base image not available",
            Self::ContextRefused => "Build context refused",
            Self::GitCloneFailed => "Git clone failed",
            Self::CommitNotFound => "Commit not found",
            Self::RegistryAuthenticationFailed => "Registry authentication failed",
            Self::PushFailed => "Push failed",
            Self::Stalled | Self::TimedOut => "Build timeout",
            Self::CheckFailed => "Check failed",
            Self::OutOfMemory => "Out of memory",
            Self::DiskFull => "Disk full",
            Self::RunLost => "Run lost",
            Self::ExecutorUnavailable => "Executor not available",
            Self::SettingsInvalid => "Settings not usable",
            Self::RolloutFailed => "Rollout failed",
            Self::RuntimeUnavailable => "Runtime not available",
            Self::Quarantined => "Set aside",
            Self::Internal => "Internal error",
        }
    }

    /// Whose it is to mend.
    pub const fn blame(self) -> Blame {
        match self {
            Self::DockerfileNotFound
            | Self::DockerfileInvalid
            | Self::UnsupportedInstruction
            | Self::SourceFileNotFound
            | Self::RunFailed
            | Self::ContextRefused
            | Self::CommitNotFound
            | Self::Stalled
            | Self::TimedOut
            | Self::CheckFailed
            | Self::OutOfMemory
            | Self::SettingsInvalid
            | Self::RolloutFailed
            | Self::BaseImageUnavailable
            | Self::RegistryAuthenticationFailed
            | Self::GitCloneFailed => Blame::User,
            Self::PushFailed
            | Self::DiskFull
            | Self::RunLost
            | Self::ExecutorUnavailable
            | Self::RuntimeUnavailable
            | Self::Quarantined
            | Self::Internal => Blame::Infrastructure,
        }
    }

    /// What to do about it when the place of failure has nothing better to say.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::DockerfileNotFound => {
                "add the file to the commit, or set the service's path and dockerfile"
            }
            Self::DockerfileInvalid => "correct the Dockerfile at the line named",
            Self::UnsupportedInstruction => {
                "use an executor that runs commands (Kaniko, BuildKit, Docker), or remove the instruction"
            }
            Self::SourceFileNotFound => "commit the file, or look whether .dockerignore leaves it out",
            Self::RunFailed => "read the build log from the failing step",
            Self::BaseImageUnavailable => "check the name and tag after FROM, and the pull credential",
            Self::ContextRefused => "reduce the build context, or remove the path named",
            Self::GitCloneFailed => "check that the repository exists and that the token has read_repository",
            Self::CommitNotFound => "push again: the commit was removed by a force push",
            Self::RegistryAuthenticationFailed => {
                "check the registry user name and password in the service's registry settings"
            }
            Self::PushFailed => "check that the registry is reachable and has space, then retry",
            Self::Stalled => {
                "look at the last log line; raise the stall timer if the step is silent for long"
            }
            Self::TimedOut => "make the build faster, or raise the total timer",
            Self::CheckFailed => "read the check's log",
            Self::OutOfMemory => "raise the memory limit, or make the build use less",
            Self::DiskFull => "free disk space, then retry",
            Self::RunLost => "look at the executor's health, then retry",
            Self::ExecutorUnavailable => "look at the executor's health, then retry",
            Self::SettingsInvalid => "correct the setting named",
            Self::RolloutFailed => "read the deployment's events; the previous revision is one rollback away",
            Self::RuntimeUnavailable => "check the runtime's connection and rights, then deploy again",
            Self::Quarantined => "report it with the record's id; the record is kept",
            Self::Internal => "report it with the log; retry is safe",
        }
    }
}

impl Failure {
    /// A failure with its kind's title before the particulars and its kind's remedy.
    pub fn new(stage: Stage, kind: FailureKind, particulars: impl AsRef<str>) -> Self {
        let particulars = particulars.as_ref();
        let message = if particulars.is_empty() {
            kind.title().to_owned()
        } else {
            format!("{}: {particulars}", kind.title())
        };
        Self { stage, kind, message, remedy: kind.remedy().to_owned() }
    }

    /// The same with a better remedy.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// A failure made of an error: the kind is the caller's judgement, message and remedy are the error's.
    pub fn from_error(stage: Stage, kind: FailureKind, error: &crate::Error) -> Self {
        let failure = Self::new(stage, kind, format!("{}: {}", error.operation(), error.message()));
        match error.remedy() {
            Some(remedy) => failure.with_remedy(remedy),
            None => failure,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.remedy)
    }
}
