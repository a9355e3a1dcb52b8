//! What is attached to an image: provenance, a bill of materials, a signature. The trait [`Referrers`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::{Manifest, Registry};
use crate::name::{Digest, ImageName, Tag};
use crate::stream;

/// The media type of an OCI image manifest, which is what an attachment is.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of the configuration of what has none: the two bytes `{}`.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A registry that keeps what is attached to a manifest, and lists it: OCI 1.1's referrers.
///
/// # Guarantees
/// - `attach` is idempotent: the same attachment on the same subject is the same manifest, with the same digest, and listed once.
///   What a crash cut off is completed by attaching again; before that it may be there and not listed.
/// - No tag of the image moves, and the subject does not change.
/// - What several attach at once is all listed. Where the registry keeps no list itself, that holds for all who use one client;
///   processes that change the list in the same moment see that and try again, but no such protocol can promise it.
#[async_trait]
pub trait Referrers: Send + Sync {
    /// Attaches something to a manifest, and says the digest of the manifest that was made for it.
    ///
    /// Errors: `NotFound` where the subject is not there, `Invalid` for an attachment without payloads or with an impossible type,
    /// `Conflict` where somebody else changed the list all the time, or its tag is something else.
    async fn attach(&self, image: &ImageName, subject: &Digest, attachment: &Attachment) -> Result<Digest>;

    /// What is attached to a manifest, in the order of its digests: all of it, or what has this artifact type. Nothing where the
    /// subject is not there.
    async fn list(
        &self,
        image: &ImageName,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>>;
}

/// Something to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// What it is, as a media type: `application/vnd.in-toto+json`, `application/spdx+json`.
    pub artifact_type: String,
    /// Its contents, at least one.
    pub payloads: Vec<Payload>,
    /// Annotations of the whole. Anybody who can pull can read them.
    pub annotations: BTreeMap<String, String>,
}

/// A content of an attachment: a layer of its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Payload {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Something that is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Referrer {
    /// The media type of its manifest.
    pub media_type: String,
    /// The digest of its manifest, by which [`Registry::manifest`] reads it.
    pub digest: Digest,
    /// How many bytes its manifest has.
    pub size: u64,
    /// What it is; empty where nothing says so.
    #[serde(default)]
    pub artifact_type: String,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Attachment {
    /// Something of one content, which has the type of the whole.
    pub fn new(artifact_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let (artifact_type, annotations) = (artifact_type.into(), BTreeMap::new());
        let payload = Payload { media_type: artifact_type.clone(), bytes: bytes.into(), annotations };
        Self { artifact_type, payloads: vec![payload], annotations: BTreeMap::new() }
    }

    /// A bill of materials: SPDX (2 or 3) or CycloneDX, as JSON. The bytes are attached as they are.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn sbom(bytes: impl Into<Bytes>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            spdx_version: Option<String>,
            bom_format: Option<String>,
            #[serde(rename = "@context")]
            context: Option<serde_json::Value>,
        }
        let bytes = bytes.into();
        let refuse = |why: String| {
            Error::invalid("read bill of materials", why)
                .with_remedy("give SPDX or CycloneDX as JSON: `syft IMAGE -o spdx-json`")
        };
        let head: Head = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        let spdx3 = head.context.is_some_and(|context| context.to_string().contains("spdx.org/rdf/3"));
        let kind = match (head.spdx_version, head.bom_format.as_deref()) {
            (Some(_), None) => "application/spdx+json",
            (None, Some("CycloneDX")) => "application/vnd.cyclonedx+json",
            (None, None) if spdx3 => "application/spdx+json",
            _ => return Err(refuse("it has neither `spdxVersion` nor `bomFormat`: `CycloneDX`".into())),
        };
        Ok(Self::new(kind, bytes))
    }

    /// The manifest that this attachment to `subject` is. The same arguments give the same bytes.
    ///
    /// # Errors
    /// `Invalid` without a payload, or with a type that is no media type.
    pub fn manifest(&self, subject: &Manifest) -> Result<Manifest> {
        const OPERATION: &str = "attach to image";
        let types = self.payloads.iter().map(|payload| &payload.media_type);
        if let Some(bad) = types.chain([&self.artifact_type]).find(|name| !is_media_type(name)) {
            let message = format!("`{}` is no media type", bad.escape_debug());
            return Err(
                Error::invalid(OPERATION, message).with_remedy("write it like `application/spdx+json`")
            );
        }
        if self.payloads.is_empty() {
            return Err(Error::invalid(OPERATION, "there is nothing to attach"));
        }
        let none = BTreeMap::new();
        let layers = self.payloads.iter();
        let layers = layers.map(|one| Descriptor::of(&one.media_type, &one.bytes, &one.annotations));
        let document = Document {
            schema_version: 2,
            media_type: MANIFEST,
            artifact_type: &self.artifact_type,
            config: Descriptor::of(EMPTY, b"{}", &none),
            layers: layers.collect(),
            subject: Descriptor::of(&subject.media_type, &subject.bytes, &none),
            annotations: &self.annotations,
        };
        let bytes =
            serde_json::to_vec(&document).map_err(|error| Error::internal(OPERATION, error.to_string()))?;
        Ok(Manifest { media_type: MANIFEST.into(), bytes: bytes.into() })
    }

    /// Stores what [`Attachment::manifest`] names: the contents and the empty configuration. For implementations of [`Referrers`].
    ///
    /// # Errors
    /// Those of the registry.
    pub async fn push_payloads(&self, registry: &dyn Registry, image: &ImageName) -> Result<()> {
        let contents = self.payloads.iter().map(|payload| payload.bytes.clone());
        for content in contents.chain([Bytes::from_static(b"{}")]) {
            let (digest, size) = (Digest::of(&content), content.len() as u64);
            registry.put_blob(image, &digest, size, stream::once(content)).await?;
        }
        Ok(())
    }
}

impl Payload {
    /// A content without annotations.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { media_type: media_type.into(), bytes: bytes.into(), annotations: BTreeMap::new() }
    }
}

impl Referrer {
    /// What a manifest or index is attached to, and how a list describes it. `None`: it is attached to nothing.
    pub fn read(manifest: &Manifest) -> Option<(Digest, Self)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Read {
            subject: Option<Subject>,
            artifact_type: Option<String>,
            config: Option<Config>,
            #[serde(default)]
            annotations: Option<BTreeMap<String, String>>,
        }
        #[derive(Deserialize)]
        struct Subject {
            digest: Digest,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config {
            media_type: String,
        }
        let read: Read = serde_json::from_slice(&manifest.bytes).ok()?;
        // What says nothing of itself is what its configuration is, as the specification has it.
        let artifact_type = read.artifact_type.filter(|name| !name.is_empty());
        let referrer = Self {
            media_type: manifest.media_type.clone(),
            digest: manifest.digest(),
            size: manifest.bytes.len() as u64,
            artifact_type: artifact_type.or(read.config.map(|config| config.media_type)).unwrap_or_default(),
            annotations: read.annotations.unwrap_or_default(),
        };
        Some((read.subject?.digest, referrer))
    }
}

/// An OCI manifest, its fields in the specification's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    media_type: &'a str,
    artifact_type: &'a str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
    subject: Descriptor<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> Descriptor<'a> {
    fn of(media_type: &'a str, bytes: &[u8], annotations: &'a BTreeMap<String, String>) -> Self {
        Self { media_type, digest: Digest::of(bytes), size: bytes.len() as u64, annotations }
    }
}

/// RFC 6838's `type/subtype`.
fn is_media_type(text: &str) -> bool {
    let part = |part: &str| {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        (1..=127).contains(&part.len())
            && part.bytes().all(fine)
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    text.split_once('/').is_some_and(|(kind, rest)| part(kind) && part(rest))
}

/// The tag under which a registry without the referrers API keeps the list of what is attached to a digest: `sha256-<hex>`, as the
/// distribution specification's referrers tag schema has it. `None` only for a digest that no tag can hold.
pub fn referrers_tag(subject: &Digest) -> Option<Tag> {
    Tag::parse(format!("sha256-{}", subject.hex())).ok()
}

/// The digest that a tag of the form `sha256-<hex>` is about: a list of what is attached to it or, with an ending (`.sig`, `.att`,
/// `.sbom`), what cosign attaches. `None`: it is an ordinary tag.
pub fn referred_by(tag: &Tag) -> Option<Digest> {
    let rest = tag.as_str().strip_prefix("sha256-")?;
    let hex = rest.split_once('.').map_or(rest, |(hex, _)| hex);
    Digest::parse(format!("sha256:{hex}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Manifest {
        Manifest { media_type: MANIFEST.into(), bytes: Bytes::from_static(b"{\"layers\":[]}") }
    }

    #[test]
    fn an_attachment_is_a_manifest_as_the_specification_has_it() {
        let mut attachment = Attachment::new("application/spdx+json", "{}");
        attachment.annotations.insert("org.opencontainers.image.created".into(), "then".into());
        let manifest = attachment.manifest(&subject()).unwrap();
        let digest = Digest::of(b"{}");
        let expected = format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""artifactType":"application/spdx+json","#,
                r#""config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{digest}","size":2}},"#,
                r#""layers":[{{"mediaType":"application/spdx+json","digest":"{digest}","size":2}}],"#,
                r#""subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":13}},"#,
                r#""annotations":{{"org.opencontainers.image.created":"then"}}}}"#,
            ),
            digest = digest,
            subject = subject().digest(),
        );
        assert_eq!(manifest.bytes, expected);
        let (about, referrer) = Referrer::read(&manifest).unwrap();
        assert_eq!((about, &referrer.digest), (subject().digest(), &manifest.digest()));
        assert_eq!(
            (referrer.artifact_type.as_str(), &referrer.annotations),
            ("application/spdx+json", &attachment.annotations)
        );
        assert_eq!(Referrer::read(&subject()), None);
    }

    #[test]
    fn what_says_no_type_is_what_its_configuration_is() {
        let bytes = format!(
            r#"{{"config":{{"mediaType":"application/vnd.x"}},"subject":{{"digest":"{}"}},"annotations":null}}"#,
            Digest::of(b"x")
        );
        let manifest = Manifest { media_type: MANIFEST.into(), bytes: bytes.into() };
        assert_eq!(Referrer::read(&manifest).unwrap().1.artifact_type, "application/vnd.x");
    }

    #[test]
    fn an_attachment_without_content_or_with_an_impossible_type_is_refused() {
        let mut empty = Attachment::new("application/x", "x");
        empty.payloads.clear();
        assert!(empty.manifest(&subject()).is_err());
        for bad in ["", "sbom", "a/", "/b", "a/b/c", "a b/c", "a/b;c", "a/b\n"] {
            assert!(Attachment::new(bad, "x").manifest(&subject()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bill_of_materials_is_known_by_what_it_says() {
        let kind = |text: &str| Attachment::sbom(text.to_owned()).map(|sbom| sbom.artifact_type);
        assert_eq!(kind(r#"{"spdxVersion":"SPDX-2.3"}"#).unwrap(), "application/spdx+json");
        let three = r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}"#;
        assert_eq!(kind(three).unwrap(), "application/spdx+json");
        assert_eq!(
            kind(r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#).unwrap(),
            "application/vnd.cyclonedx+json"
        );
        for bad in ["", "[]", "{}", "<bom/>", r#"{"bomFormat":"other"}"#] {
            assert!(kind(bad).unwrap_err().remedy().is_some(), "{bad}");
        }
    }

    #[test]
    fn a_tag_of_a_digest_is_about_that_digest() {
        let digest = Digest::of(b"x");
        let tag = referrers_tag(&digest).unwrap();
        assert_eq!(tag.as_str(), format!("sha256-{}", digest.hex()));
        assert_eq!(referred_by(&tag), Some(digest.clone()));
        for end in [".sig", ".att", ".sbom"] {
            assert_eq!(referred_by(&Tag::parse(format!("{tag}{end}")).unwrap()), Some(digest.clone()));
        }
        for other in ["v1", "sha256", "sha256-abc", "sha512-abc", digest.hex()] {
            assert_eq!(referred_by(&Tag::parse(other).unwrap()), None, "{other}");
        }
    }
}
