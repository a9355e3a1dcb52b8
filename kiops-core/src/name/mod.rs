//! Every parsed identifier. A value of one of these types cannot hold a bad name: parse once at the edge,
//! then pass the type.

mod dns;
mod git;
mod id;
mod image;

pub(crate) use dns::hex;
pub use dns::{ComponentName, ContainerName, DnsLabel, EnvironmentName, ServiceName, dns_label, dns_name};
pub use git::{BranchName, CommitId, GitRef, GitTag, RepoId};
pub use id::{
    BuildId, CheckName, ConnectionId, DeliveryId, HookId, MemberId, ProviderLiteral, ProviderName, ReleaseId,
    RunId, SecretName, WorkId,
};
pub(crate) use image::is_docker_hub;
pub use image::{Digest, ImageName, ImageRef, PinnedImage, Tag};

use std::fmt;

/// Why a name was refused: what it should be, and what was wrong with the value given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not {} {what}: {reason}", value.as_ref().map_or_else(|| "what was given".to_owned(), |value| format!("`{value}`")), article(what))]
pub struct NameError {
    what: &'static str,
    /// `None`: it is not repeated.
    value: Option<String>,
    reason: String,
}

impl NameError {
    /// A refusal of `value` as a `what`. The value is cut to 80 characters and its control characters are escaped,
    /// so that it can be printed.
    pub fn new(what: &'static str, value: &str, reason: impl fmt::Display) -> Self {
        let value = value.chars().take(80).flat_map(char::escape_debug).collect();
        Self { what, value: Some(value), reason: reason.to_string() }
    }

    /// A refusal that does not repeat the value, which may be a secret in the place of its name.
    pub fn unseen(what: &'static str, reason: impl fmt::Display) -> Self {
        Self { what, value: None, reason: reason.to_string() }
    }
}

fn article(what: &str) -> &'static str {
    if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

impl From<NameError> for crate::Error {
    fn from(error: NameError) -> Self {
        Self::invalid("parse name", error.to_string())
    }
}

/// Gives a string newtype its parsing, printing, ordering and serde, all through one `fn check(&str) -> Result<(), NameError>`.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Parses a value, or says why it is none.
            pub fn parse(value: impl AsRef<str>) -> Result<Self, $crate::name::NameError> {
                let value = value.as_ref();
                let check: fn(&str) -> Result<(), $crate::name::NameError> = $check;
                check(value)?;
                Ok(Self(value.into()))
            }

            /// The text, exactly as parsed.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::name::NameError;
            fn from_str(value: &str) -> Result<Self, Self::Err> {
                Self::parse(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::name::NameError;
            fn try_from(value: String) -> Result<Self, Self::Error> {
                Self::parse(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                (*value.0).to_owned()
            }
        }
    };
}
pub(crate) use name;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        let said = |refused: NameError| refused.to_string();
        assert!(said(Tag::parse("-x").unwrap_err()).starts_with("`-x` is not an image tag: "));
        assert!(said(ImageName::parse("A b").unwrap_err()).starts_with("`A b` is not an image name: "));
        assert!(said(CommitId::parse("x").unwrap_err()).starts_with("`x` is not a commit id: "));
    }
}
