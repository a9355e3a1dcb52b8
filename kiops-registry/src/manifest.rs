//! Manifests and indexes as far as a registry reads them: which content they name.

use kiops_core::image::Manifest;
use kiops_core::name::Digest;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Every kind of manifest that we read, as `Accept`.
pub(crate) const ANY_MANIFEST: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The largest manifest that is taken or read: what the distribution specification asks registries to accept.
pub(crate) const MANIFEST_MAX: usize = 4 * 1024 * 1024;

/// Whether content of this media type names other content.
pub(crate) fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | OCI_MANIFEST | DOCKER_LIST | DOCKER_MANIFEST)
}

/// What a manifest or index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    /// An image, or an artifact that looks like one.
    Manifest(ImageManifest),
    /// A list of manifests, one a platform.
    Index(ImageIndex),
}

/// An image manifest, of OCI or of Docker's schema 2: the same fields under other media types.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageManifest {
    pub(crate) config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    /// What it is attached to.
    #[serde(default)]
    pub(crate) subject: Option<Descriptor>,
}

/// An image index or Docker manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ImageIndex {
    pub(crate) manifests: Vec<Descriptor>,
    /// What it is attached to.
    #[serde(default)]
    pub(crate) subject: Option<Descriptor>,
}

/// A reference to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

impl Descriptor {
    #[cfg(feature = "assemble")]
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None }
    }

    /// Whether the content may be elsewhere: what the specification calls non-distributable, and Docker foreign.
    pub(crate) fn is_foreign(&self) -> bool {
        self.media_type.contains("nondistributable") || self.media_type.contains(".foreign.")
    }
}

/// What an image of an index runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

#[cfg(feature = "assemble")]
impl Platform {
    /// Whether both mean the same: arm is arm/v7, arm64 is arm64/v8, and amd64 is amd64/v1, as containerd reads them.
    pub(crate) fn is(&self, other: &Self) -> bool {
        fn of(platform: &Platform) -> (&str, &str, Option<&str>) {
            let meant = match platform.architecture.as_str() {
                "arm" => Some("v7"),
                "arm64" => Some("v8"),
                "amd64" => Some("v1"),
                _ => None,
            };
            (&platform.os, &platform.architecture, platform.variant.as_deref().or(meant))
        }
        of(self) == of(other)
    }

    /// Whether something for `other` runs where this is asked for. Without a variant any one does.
    pub(crate) fn takes(&self, other: &Self) -> bool {
        let any =
            self.variant.is_none() && (&self.os, &self.architecture) == (&other.os, &other.architecture);
        any || self.is(other)
    }
}

#[cfg(feature = "assemble")]
impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// The media type that a manifest says of itself.
pub(crate) fn media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        media_type: Option<String>,
    }
    serde_json::from_slice::<Head>(bytes).ok()?.media_type
}

/// A manifest of nothing, which nobody else has: what a tag points at while it is removed. Its config is the blob `{}`.
pub(crate) fn stand_in(word: &str) -> Manifest {
    let config = serde_json::json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2,
    });
    let document = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [],
        "annotations": {"dev.kiops.removes": word},
    });
    Manifest { media_type: OCI_MANIFEST.into(), bytes: document.to_string().into() }
}

impl Document {
    /// Reads a manifest or index of this media type.
    pub(crate) fn parse(media_type: &str, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            media_type: Option<String>,
        }
        let refuse = |message: String| {
            Error::invalid("read manifest", message)
                .with_remedy("push an OCI image manifest or index, or Docker's schema 2")
        };
        if bytes.len() > MANIFEST_MAX {
            return Err(refuse(format!("{} bytes are more than the limit of {MANIFEST_MAX}", bytes.len())));
        }
        let json = |error: serde_json::Error| refuse(format!("it is not a valid {media_type}: {error}"));
        let head: Head = serde_json::from_slice(bytes).map_err(json)?;
        if let Some(inner) = head.media_type.filter(|inner| inner != media_type) {
            return Err(refuse(format!("it is declared as {media_type} and says of itself {inner}")));
        }
        match media_type {
            OCI_MANIFEST | DOCKER_MANIFEST => serde_json::from_slice(bytes).map(Self::Manifest).map_err(json),
            OCI_INDEX | DOCKER_LIST => serde_json::from_slice(bytes).map(Self::Index).map_err(json),
            other => Err(refuse(format!("{other:?} is no media type of a manifest"))),
        }
    }

    /// The content it names that has to be where it is.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, rest) = match self {
            Self::Manifest(manifest) => (Some(&manifest.config), &manifest.layers),
            Self::Index(index) => (None, &index.manifests),
        };
        config.into_iter().chain(rest).filter(|descriptor| !descriptor.is_foreign())
    }

    /// What it is attached to. That need not be there.
    pub(crate) const fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Manifest(manifest) => manifest.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    /// The manifests that an index names; none for an image.
    pub(crate) fn children(&self) -> &[Descriptor] {
        match self {
            Self::Manifest(_) => &[],
            Self::Index(index) => &index.manifests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_manifest_that_contradicts_its_media_type_is_refused() {
        let bytes = format!(r#"{{"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
        assert!(Document::parse(OCI_INDEX, bytes.as_bytes()).is_ok());
        assert!(Document::parse(OCI_MANIFEST, bytes.as_bytes()).is_err());
        assert!(Document::parse("text/html", b"{}").is_err());
    }

    #[cfg(feature = "assemble")]
    #[test]
    fn a_platform_without_a_variant_takes_any_and_is_the_usual_one() {
        let platform = |text: &str| {
            let mut words = text.split('/').map(str::to_owned);
            let (os, architecture) = (words.next().unwrap(), words.next().unwrap());
            Platform { os, architecture, variant: words.next() }
        };
        for (wanted, found, takes, is) in [
            ("linux/arm64", "linux/arm64/v8", true, true),
            ("linux/arm64/v8", "linux/arm64", true, true),
            ("linux/arm", "linux/arm/v7", true, true),
            ("linux/arm", "linux/arm/v6", true, false),
            ("linux/arm/v6", "linux/arm", false, false),
            ("linux/amd64", "linux/amd64/v3", true, false),
            ("linux/amd64", "windows/amd64", false, false),
            ("linux/amd64", "linux/arm64", false, false),
            ("linux/riscv64", "linux/riscv64", true, true),
        ] {
            let (wanted, found) = (platform(wanted), platform(found));
            assert_eq!((wanted.takes(&found), wanted.is(&found)), (takes, is), "{wanted} {found}");
        }
    }

    #[test]
    fn foreign_layers_need_not_be_there() {
        let d = Digest::of(b"x");
        let bytes = format!(
            r#"{{"config":{{"mediaType":"c","digest":"{d}","size":1}},"layers":[
            {{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"{d}","size":1}}]}}"#
        );
        let document = Document::parse(OCI_MANIFEST, bytes.as_bytes()).unwrap();
        assert_eq!(document.references().count(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\{.{0,80}\\}") {
            for media_type in [OCI_MANIFEST, OCI_INDEX, "x"] {
                let _ = Document::parse(media_type, &bytes);
                let _ = Document::parse(media_type, text.as_bytes());
            }
        }
    }
}
