//! The credentials that a runtime pulls images with.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::deployer::DeployTarget;
use crate::error::Result;
use crate::image::RegistryCredential;

/// A runtime that keeps a service's registry credential beside its workload: on Kubernetes the Secret `{service}-registry-cred` in the
/// namespace of the target (K20-K24).
///
/// What is asked for and what is there are told apart by the typed results, whose `Display` has the words that people know. Errors name the
/// cause: `Forbidden` the right that is missing, `NotFound` the namespace, `Unavailable` and `Timeout` a cluster that is not connected.
///
/// # Guarantees
/// - No value is ever read back, shown or logged.
/// - `create` never changes a Secret that is there.
/// - A `rotate` changes the Secret in one step: whoever pulls finds the old one or the new one, and never none (settled 7).
#[async_trait]
pub trait PullSecrets: Send + Sync {
    /// Whether the target's pull Secret is there (K20).
    async fn check(&self, target: &DeployTarget) -> Result<PullSecretState>;

    /// Makes it of these credentials, unless there is one (K21).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) without any credential.
    async fn create(
        &self,
        target: &DeployTarget,
        credentials: &[RegistryCredential],
    ) -> Result<PullSecretCreation>;

    /// Puts these credentials in it, after a password change (K23); makes it where it is not there.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) without any credential; then nothing is changed.
    async fn rotate(
        &self,
        target: &DeployTarget,
        credentials: &[RegistryCredential],
    ) -> Result<PullSecretCreation>;
}

/// Whether a pull Secret is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullSecretState {
    /// It is.
    Exists,
    /// It is not.
    NotFound,
}

/// What became of making a pull Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullSecretCreation {
    /// It was made.
    Created,
    /// There was one already, which stays as it is.
    AlreadyExists,
    /// There was one, which has the new credentials now.
    Rotated,
}

const EXISTS: &str = "Secret already exists";

/// The words of K20.
impl fmt::Display for PullSecretState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => EXISTS,
            Self::NotFound => "Secret not found",
        })
    }
}

/// The words of K21 and K44, and for a rotation alike.
impl fmt::Display for PullSecretCreation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "Secret created successfully",
            Self::AlreadyExists => EXISTS,
            Self::Rotated => "Secret rotated successfully",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_words_that_people_know() {
        assert_eq!(PullSecretState::Exists.to_string(), "Secret already exists");
        assert_eq!(PullSecretState::NotFound.to_string(), "Secret not found");
        assert_eq!(PullSecretCreation::Created.to_string(), "Secret created successfully");
        assert_eq!(PullSecretCreation::AlreadyExists.to_string(), "Secret already exists");
    }
}
