//! How an assembly stops before its end, and which failure an error becomes.

use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::{Error, ErrorKind};

/// Why an assembly does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed.
    Failed(Failure),
    /// Another executor may be able to do it.
    Refused(Failure),
    /// Somebody asked for it.
    Canceled,
}

impl Stop {
    /// A failure of stage Build.
    pub(super) fn failed(kind: FailureKind, particulars: impl AsRef<str>) -> Self {
        Self::Failed(Failure::new(Stage::Build, kind, particulars))
    }

    /// The same with a better remedy.
    pub(super) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        match self {
            Self::Failed(failure) => Self::Failed(failure.with_remedy(remedy)),
            Self::Refused(failure) => Self::Refused(failure.with_remedy(remedy)),
            Self::Canceled => Self::Canceled,
        }
    }

    /// The same in another stage.
    pub(super) fn at(self, stage: Stage) -> Self {
        match self {
            Self::Failed(failure) => Self::Failed(Failure { stage, ..failure }),
            other => other,
        }
    }
}

/// The Dockerfile is wrong at this line.
pub(super) fn invalid(line: usize, what: impl AsRef<str>) -> Stop {
    Stop::failed(FailureKind::DockerfileInvalid, at_line(line, what))
}

/// The Dockerfile asks at this line for something that this executor does not do.
pub(super) fn unsupported(line: usize, what: impl AsRef<str>) -> Stop {
    Stop::Refused(Failure::new(Stage::Build, FailureKind::UnsupportedInstruction, at_line(line, what)))
}

/// `line 3: ...`, as every message about a Dockerfile has it.
pub(super) fn at_line(line: usize, what: impl AsRef<str>) -> String {
    format!("line {line}: {}", what.as_ref())
}

/// An error of the source.
pub(super) fn source_error(error: &Error) -> Stop {
    let kind = match error.kind() {
        ErrorKind::Canceled => return Stop::Canceled,
        ErrorKind::NotFound => FailureKind::CommitNotFound,
        ErrorKind::TooLarge => FailureKind::ContextRefused,
        ErrorKind::Full => FailureKind::DiskFull,
        ErrorKind::Internal => FailureKind::Internal,
        _ => FailureKind::GitCloneFailed,
    };
    Stop::Failed(Failure::from_error(Stage::Setup, kind, error))
}

/// An error of the registry while a base image is read.
pub(super) fn base_error(error: &Error) -> Stop {
    registry_error(Stage::Build, FailureKind::BaseImageUnavailable, error)
}

/// An error of the registry while the image is pushed.
pub(super) fn push_error(error: &Error) -> Stop {
    registry_error(Stage::Push, FailureKind::PushFailed, error)
}

fn registry_error(stage: Stage, otherwise: FailureKind, error: &Error) -> Stop {
    let kind = match error.kind() {
        ErrorKind::Canceled => return Stop::Canceled,
        ErrorKind::Unauthorized | ErrorKind::Forbidden => FailureKind::RegistryAuthenticationFailed,
        ErrorKind::Full => FailureKind::DiskFull,
        ErrorKind::Internal => FailureKind::Internal,
        _ => otherwise,
    };
    Stop::Failed(Failure::from_error(stage, kind, error))
}

/// An error of the working directory.
pub(super) fn disk_error(error: &Error) -> Stop {
    let kind = match error.kind() {
        ErrorKind::Full => FailureKind::DiskFull,
        _ => FailureKind::Internal,
    };
    Stop::Failed(Failure::from_error(Stage::Build, kind, error))
}
