//! in-toto statements, and SLSA's provenance in one: what was built, from what, by whom.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use url::Url;

use crate::error::{Error, Result, without_text};
use crate::image::Attachment;
use crate::name::Digest;

/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The type of a statement before version 1, as BuildKit still writes it.
const OLD_STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v0.1";

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
        Ok(marked(self.to_json()?, PROVENANCE_TYPE))
    }
}

/// A statement with its predicate's type beside it.
fn marked(json: impl Into<Bytes>, predicate_type: &str) -> Attachment {
    let mut attachment = Attachment::new(IN_TOTO, json);
    let mark = ("in-toto.io/predicate-type".to_owned(), predicate_type.to_owned());
    for payload in &mut attachment.payloads {
        payload.annotations.extend([mark.clone()]);
    }
    attachment.annotations.extend([mark]);
    attachment
}

impl Attachment {
    /// What a file says that it is, to be attached to the manifest or index `about`: an in-toto statement, or a bill of materials.
    ///
    /// # Errors
    /// As [`Attachment::statement`] for what has a statement's `_type`, else as [`Attachment::sbom`].
    pub fn known(json: impl Into<Bytes>, about: &Digest) -> Result<Self> {
        let json = json.into();
        let is_statement = serde_json::from_slice(&json).is_ok_and(|json: Value| json.get("_type").is_some());
        if is_statement { Self::statement(json, about) } else { Self::sbom(json) }
    }

    /// An in-toto statement (version 1 or 0.1, any predicate) as somebody wrote it, to be attached to the manifest or index `about`. The
    /// bytes are attached as they are, marked as [`Statement::attachment`] marks them: a statement of ours becomes the same manifest by
    /// either way.
    ///
    /// # Errors
    /// `Invalid` for what is no statement, and for one of which `about` is no subject: who reads it would take it for another image's.
    pub fn statement(json: impl Into<Bytes>, about: &Digest) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            #[serde(rename = "_type")]
            statement_type: String,
            subject: Vec<Subject>,
            predicate_type: String,
        }
        #[derive(Deserialize)]
        struct Subject {
            #[serde(default)]
            digest: BTreeMap<String, String>,
        }
        let json = json.into();
        let refuse = |why: String| {
            Error::invalid("read statement", why).with_remedy(
                "give an in-toto statement of this image as JSON: what a build's `/provenance` answers",
            )
        };
        let head: Head =
            serde_json::from_slice(&json).map_err(|error| refuse(without_text(&error).to_string()))?;
        if ![STATEMENT_TYPE, OLD_STATEMENT_TYPE].contains(&head.statement_type.as_str()) {
            return Err(refuse(format!("its `_type` is neither `{STATEMENT_TYPE}` nor version 0.1's")));
        }
        if Url::parse(&head.predicate_type).is_err() {
            return Err(refuse("its `predicateType` is no URI".into()));
        }
        let is_about = |subject: &Subject| subject.digest.get("sha256").is_some_and(|hex| hex == about.hex());
        if !head.subject.iter().any(is_about) {
            return Err(refuse(format!("it is not about {about}")));
        }
        Ok(marked(json, &head.predicate_type))
    }
}

/// Whole seconds in UTC, which is how the specification writes them.
fn seconds<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(&at.strftime("%Y-%m-%dT%H:%M:%SZ")),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_statement_is_attached_to_what_it_is_about_and_to_nothing_else() {
        let about = Digest::of(b"image");
        let statement = |change: fn(&mut Value)| {
            let mut statement = json!({
                "_type": STATEMENT_TYPE, "predicateType": "https://example.com/tests/v1", "predicate": {},
                "subject": [{"name": "x", "digest": {"gitCommit": "0"}}, {"digest": {"sha256": about.hex()}}],
            });
            change(&mut statement);
            Attachment::statement(statement.to_string(), &about)
        };
        let attachment = statement(|_| ()).unwrap();
        assert_eq!(Attachment::known(attachment.payloads[0].bytes.clone(), &about).unwrap(), attachment);
        let sbom = Attachment::known(json!({"spdxVersion": "SPDX-2.3"}).to_string(), &about).unwrap();
        assert_eq!(sbom.artifact_type, "application/spdx+json");
        let other = Attachment::known(json!({"_type": "https://in-toto.io/Link/v1"}).to_string(), &about);
        assert!(other.unwrap_err().message().contains("subject"));
        assert_eq!(attachment.artifact_type, IN_TOTO);
        let mark =
            BTreeMap::from([("in-toto.io/predicate-type".into(), "https://example.com/tests/v1".into())]);
        assert_eq!((&attachment.annotations, &attachment.payloads[0].annotations), (&mark, &mark));
        statement(|text| text["_type"] = json!(OLD_STATEMENT_TYPE)).unwrap();
        for (change, says) in [
            (|text: &mut Value| text["_type"] = json!("https://in-toto.io/Link/v1")) as fn(&mut Value),
            |text| text["predicateType"] = json!("tests"),
            |text| text["subject"] = json!([{"digest": {"sha256": Digest::of(b"other").hex()}}]),
            |text| text["subject"] = json!([]),
            |text| *text = json!({}),
            |text| *text = json!("statement"),
        ]
        .into_iter()
        .zip(["`_type`", "`predicateType`", "it is not about", "it is not about", "_type", "string"])
        {
            let error = statement(change).unwrap_err();
            assert!(error.message().contains(says) && error.remedy().is_some(), "{error}: {says}");
        }
    }
}
