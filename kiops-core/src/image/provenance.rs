//! in-toto statements, and SLSA's provenance in one: what was built, from what, by whom.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::image::Attachment;

/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The type of a predicate that is SLSA provenance, version 1.
pub const PROVENANCE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// The media type of a statement that nobody signed.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An [in-toto statement](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) whose predicate is
/// [SLSA provenance](https://slsa.dev/spec/v1.0/provenance). It is not signed: whoever can push to the registry can write one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: &'static str,
    /// What it is about.
    pub subject: Vec<Resource>,
    /// [`PROVENANCE_TYPE`].
    pub predicate_type: &'static str,
    /// What it says.
    pub predicate: Provenance,
}

/// SLSA's provenance.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was to be done.
    pub build_definition: BuildDefinition,
    /// What was done.
    pub run_details: RunDetails,
}

/// Everything that went in.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// How the parameters are to be read.
    pub build_type: String,
    /// What the user chose.
    pub external_parameters: BTreeMap<&'static str, Value>,
    /// What the builder chose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub internal_parameters: BTreeMap<&'static str, Value>,
    /// What was fetched, as far as it is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolved_dependencies: Vec<Resource>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// Who built.
    pub builder: Builder,
    /// When, and which run it was.
    pub metadata: ProvenanceMetadata,
}

/// Who built.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Builder {
    /// A URI that stands for the whole platform which is to be trusted.
    pub id: String,
    /// Versions of its parts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

/// When it was built, and which run it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvenanceMetadata {
    /// The run's name at the builder.
    pub invocation_id: String,
    /// When it began.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub started_on: Option<Timestamp>,
    /// When it ended.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<Timestamp>,
}

/// Something that can be found by a digest: in-toto's ResourceDescriptor, as far as it is used here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digests by algorithm: `sha256`, `gitCommit`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<&'static str, String>,
}

impl Statement {
    /// A statement about these subjects.
    pub const fn new(subject: Vec<Resource>, predicate: Provenance) -> Self {
        Self { statement_type: STATEMENT_TYPE, subject, predicate_type: PROVENANCE_TYPE, predicate }
    }

    /// The statement as JSON: the same one is always the same bytes.
    ///
    /// # Errors
    /// `Internal` for what cannot happen.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::internal("write provenance", error.to_string()))
    }

    /// The statement as something to attach, marked as what BuildKit and others look for.
    ///
    /// # Errors
    /// As [`Statement::to_json`].
    pub fn attachment(&self) -> Result<Attachment> {
        let mut attachment = Attachment::new(IN_TOTO, self.to_json()?);
        let mark = ("in-toto.io/predicate-type".to_owned(), PROVENANCE_TYPE.to_owned());
        for payload in &mut attachment.payloads {
            payload.annotations.extend([mark.clone()]);
        }
        attachment.annotations.extend([mark]);
        Ok(attachment)
    }
}

/// Whole seconds in UTC, which is how the specification writes them.
fn seconds<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(&at.strftime("%Y-%m-%dT%H:%M:%SZ")),
        None => serializer.serialize_none(),
    }
}
