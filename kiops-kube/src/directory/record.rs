//! What is kept of a revision: one file, whose name alone says revision and release.

use jiff::Timestamp;
use kiops_core::name::ReleaseId;
use kiops_core::release::{DeployRequest, Revision, RevisionInfo};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::render::Manifests;
use crate::revisions::Owner;

/// The format that this version writes. A reader refuses a newer one.
const FORMAT: u32 = 1;

/// A revision as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    #[serde(flatten)]
    pub(super) info: RevisionInfo,
    pub(super) owner: Owner,
    pub(super) manifests: Manifests,
}

impl Record {
    pub(super) fn new(
        revision: Revision,
        owner: Owner,
        request: DeployRequest,
        manifests: Manifests,
    ) -> Self {
        Self { format: FORMAT, info: request.revision(revision, Timestamp::now()), owner, manifests }
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| {
            Error::internal("write revision", "the revision cannot be written as JSON").with_source(error)
        })
    }

    /// Reads a record and checks that it is the one its file's name announces. The error says what is wrong with the content.
    pub(super) fn from_json(content: &[u8], name: &RecordName) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        if format > FORMAT {
            return Err(format!("its format is {format}, and this version knows {FORMAT} at most"));
        }
        let record: Self = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let RevisionInfo { revision, release, .. } = &record.info;
        if (*revision, release) != (name.revision, &name.release) {
            return Err(format!("it holds revision {revision} of release {release}"));
        }
        Ok(record)
    }

    pub(super) fn name(&self) -> RecordName {
        RecordName { revision: self.info.revision, release: self.info.release.clone() }
    }
}

/// A record's file name, `{revision}-{release}.json`: enough to find a release again without opening a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordName {
    pub(super) revision: Revision,
    pub(super) release: ReleaseId,
}

impl RecordName {
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (number, release) = file.strip_suffix(".json")?.split_once('-')?;
        let revision = Revision(number.parse().ok().filter(|number| *number > 0)?);
        let name = Self { revision, release: ReleaseId::parse(release).ok()? };
        (name.file() == file).then_some(name)
    }

    /// Ten digits, so that files sort as revisions do.
    pub(super) fn file(&self) -> String {
        format!("{:010}-{}.json", self.revision.0, self.release)
    }
}

/// The first line of a current manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Header {
    /// It holds this revision.
    Revision(Revision, ReleaseId),
    /// It holds the volumes of a workload that was removed.
    Volumes,
}

const WRITTEN: &str = "# Written by kiops, which overwrites changes made here: ";
const VOLUMES: &str = "volumes of a removed workload";

impl Header {
    /// The line with its break.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Revision(revision, release) => format!("{WRITTEN}revision {revision}, release {release}\n"),
            Self::Volumes => format!("{WRITTEN}{VOLUMES}\n"),
        }
    }

    /// The header of a file's content; `None`: kiops did not write the file.
    pub(super) fn of(content: &[u8]) -> Option<Self> {
        let line = content.split(|byte| *byte == b'\n').next()?;
        let rest = std::str::from_utf8(line).ok()?.strip_prefix(WRITTEN)?;
        if rest == VOLUMES {
            return Some(Self::Volumes);
        }
        let (revision, release) = rest.strip_prefix("revision ")?.split_once(", release ")?;
        Some(Self::Revision(Revision(revision.parse().ok()?), ReleaseId::parse(release).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn release() -> ReleaseId {
        ReleaseId::derive(["x"])
    }

    #[test]
    fn a_file_name_says_revision_and_release() {
        let name = RecordName { revision: Revision(7), release: release() };
        assert_eq!(RecordName::parse(&name.file()), Some(name.clone()));
        assert!(name.file().starts_with("0000000007-r-"));
        for other in ["lock", "removed.json", "7-x.json", "0000000000-r-x.json", ".0000000007.json.tmp"] {
            assert_eq!(RecordName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_is_read_back() {
        for header in [Header::Revision(Revision(3), release()), Header::Volumes] {
            let file = format!("{}apiVersion: v1\n", header.line());
            assert_eq!(Header::of(file.as_bytes()), Some(header));
        }
        assert_eq!(Header::of(b"apiVersion: v1\n"), None);
    }

    proptest! {
        #[test]
        fn nothing_that_stands_in_a_file_makes_reading_panic(content in prop::collection::vec(any::<u8>(), 0..200), name in ".{0,60}") {
            let _ = Header::of(&content);
            let _ = RecordName::parse(&name);
            let expected = RecordName { revision: Revision(1), release: release() };
            prop_assert!(Record::from_json(&content, &expected).is_err());
        }
    }
}
