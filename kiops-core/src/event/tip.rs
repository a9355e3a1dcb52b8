//! What a ref points at, as hooks say it.

use serde::{Deserialize, Serialize};

use crate::name::{CommitId, NameError};

/// What a ref pointed at, as the sender wrote it. Rules ask only for [`Tip::commit`]; the two ways of saying "no object"
/// are kept apart so that an event can be shown as it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Option<String>", into = "Option<String>")]
pub enum Tip {
    /// An object.
    At(CommitId),
    /// No object, written as zeros: the ref did not exist, or was deleted.
    Zeros,
    /// No object, and nothing written in its place.
    #[default]
    Absent,
}

impl Tip {
    /// Parses a hook's `before` or `after`; zeros may have any number.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        match CommitId::parse_optional(value)? {
            Some(commit) => Ok(Self::At(commit)),
            None if value.is_empty() => Ok(Self::Absent),
            None => Ok(Self::Zeros),
        }
    }

    /// The object, if there is one.
    pub const fn commit(&self) -> Option<&CommitId> {
        match self {
            Self::At(commit) => Some(commit),
            Self::Zeros | Self::Absent => None,
        }
    }
}

impl From<CommitId> for Tip {
    fn from(commit: CommitId) -> Self {
        Self::At(commit)
    }
}

impl From<Option<CommitId>> for Tip {
    /// `None` becomes zeros, as hooks write it.
    fn from(commit: Option<CommitId>) -> Self {
        commit.map_or(Self::Zeros, Self::At)
    }
}

impl TryFrom<Option<String>> for Tip {
    type Error = NameError;
    fn try_from(value: Option<String>) -> Result<Self, Self::Error> {
        value.map_or(Ok(Self::Absent), |value| Self::parse(&value))
    }
}

impl From<Tip> for Option<String> {
    fn from(tip: Tip) -> Self {
        match tip {
            Tip::At(commit) => Some(commit.into()),
            Tip::Zeros => Some("0".repeat(40)),
            Tip::Absent => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tip_reads_back_as_it_was_written() {
        for tip in [Tip::At(CommitId::parse("a".repeat(64)).unwrap()), Tip::Zeros, Tip::Absent] {
            let text = serde_json::to_string(&tip).unwrap();
            assert_eq!(serde_json::from_str::<Tip>(&text).unwrap(), tip, "{text}");
        }
        assert_eq!(Tip::parse(&"0".repeat(64)).unwrap(), Tip::Zeros);
        assert!(Tip::parse("main").is_err());
    }
}
