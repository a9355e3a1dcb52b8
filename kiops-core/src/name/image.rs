//! Image names: `host/path:tag@sha256:...`.

use super::{NameError, name};
use serde::{Deserialize, Serialize};

name!(
    /// An image tag: 1 to 128 characters of `A-Z a-z 0-9 _ . -`, the first one a letter, digit or underscore.
    Tag,
    |v| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let first = v.bytes().next().is_some_and(word);
        if v.len() > 128 || !first || !v.bytes().all(|b| word(b) || b == b'.' || b == b'-') {
            return Err(NameError::new("image tag", v, "it must be 1 to 128 characters of A-Z a-z 0-9 _ . -, not starting with . or -"));
        }
        Ok(())
    }
);
name!(
    /// A content digest, `sha256:` and 64 lower-case hexadecimal digits.
    Digest,
    |v| {
        let hex = v.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(NameError::new("digest", v, "it must be `sha256:` and 64 lower-case hexadecimal digits"));
        }
        Ok(())
    }
);
name!(
    /// A repository of images with its registry host: `harbor.example.com/team/api`.
    ///
    /// The host is always there; `nginx` and `user/app` of Docker Hub are written out by [`ImageRef::parse_familiar`].
    ImageName,
    check_image_name
);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest as _, Sha256};
        Self::from_sha256(&Sha256::digest(bytes).into())
    }

    /// The digest that a finished SHA-256 gives.
    pub fn from_sha256(hash: &[u8; 32]) -> Self {
        Self(format!("sha256:{}", super::dns::hex(hash)).into())
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.as_str()["sha256:".len()..]
    }
}

impl ImageName {
    /// The registry host, with its port.
    pub fn host(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(host, _)| host)
    }

    /// What follows the host: `team/api`.
    pub fn path(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(_, path)| path)
    }

    /// This image with a tag.
    pub fn tagged(&self, tag: Tag) -> ImageRef {
        ImageRef { name: self.clone(), tag: Some(tag), digest: None }
    }

    /// This image at a digest.
    pub fn at(&self, digest: Digest) -> ImageRef {
        ImageRef { name: self.clone(), tag: None, digest: Some(digest) }
    }
}

fn check_image_name(value: &str) -> Result<(), NameError> {
    let refuse = |reason: &str| Err(NameError::new("image name", value, reason));
    if value.len() > 255 {
        return refuse("it has more than 255 characters");
    }
    let Some((host, path)) = value.split_once('/') else {
        return refuse("it has no registry host");
    };
    if !is_host(host) {
        return refuse(
            "what stands before the first slash is no registry host (a name with a dot or a port, or `localhost`)",
        );
    }
    if !path.split('/').all(is_path_part) {
        return refuse(
            "a part of the path is not lower-case letters and digits joined by `.`, `_`, `__` or hyphens",
        );
    }
    Ok(())
}

/// Whether a host is Docker Hub, which goes by three names.
pub(crate) fn is_docker_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// A registry host must be told apart from a path: it has a dot or a port, or is `localhost`.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    let v6 = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let name_ok = match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    name_ok && port_ok && (host.contains('.') || port.is_some() || name == "localhost" || v6.is_some())
}

/// The distribution specification's path-component: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_path_part(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().is_some_and(|b| alnum(*b)) && bytes.last().is_some_and(|b| alnum(*b));
    ends && part
        .split(|c: char| c.is_ascii() && alnum(c as u8))
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

/// An image as people write it: name, and a tag, a digest, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// Host and path.
    pub name: ImageName,
    /// The tag, for people.
    pub tag: Option<Tag>,
    /// The digest, for truth: where it is there, the tag decides nothing.
    pub digest: Option<Digest>,
}

impl ImageRef {
    /// Parses `host/path[:tag][@digest]`. The host must be there.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        let (rest, digest) = match value.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (value, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(Tag::parse(tag)?)),
            _ => (rest, None),
        };
        Ok(Self { name: ImageName::parse(name)?, tag, digest })
    }

    /// Parses what Docker's users write: `nginx` is `docker.io/library/nginx`, `user/app` is `docker.io/user/app`.
    pub fn parse_familiar(value: &str) -> Result<Self, NameError> {
        match value.split_once('/') {
            Some((host, path)) if is_docker_hub(host) => Self::of_docker_hub(path),
            Some((host, _)) if is_host(host) => Self::parse(value),
            _ => Self::of_docker_hub(value),
        }
    }

    /// Official images have no owner in front.
    fn of_docker_hub(path: &str) -> Result<Self, NameError> {
        let owner = if path.contains('/') { "" } else { "library/" };
        Self::parse(&format!("docker.io/{owner}{path}"))
    }

    /// Its tag; where it has none, `latest`, as everybody means it.
    pub fn tag_or_latest(&self) -> Tag {
        self.tag.clone().unwrap_or_else(|| Tag("latest".into()))
    }

    /// The pinned form, if there is a digest.
    pub fn pinned(&self) -> Option<PinnedImage> {
        let digest = self.digest.clone()?;
        Some(PinnedImage { name: self.name.clone(), tag: self.tag.clone(), digest })
    }
}

impl std::fmt::Display for ImageRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ImageRef {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, Self::Error> {
        Self::parse(&value)
    }
}

impl From<ImageRef> for String {
    fn from(value: ImageRef) -> Self {
        value.to_string()
    }
}

/// An image whose content is fixed: `name:tag@sha256:...`. The tag is for people, the digest for truth.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "ImageRef", into = "ImageRef")]
pub struct PinnedImage {
    /// Host and path.
    pub name: ImageName,
    /// The tag it was found or pushed under.
    pub tag: Option<Tag>,
    /// What is deployed.
    pub digest: Digest,
}

impl From<PinnedImage> for ImageRef {
    fn from(image: PinnedImage) -> Self {
        Self { name: image.name, tag: image.tag, digest: Some(image.digest) }
    }
}

impl TryFrom<ImageRef> for PinnedImage {
    type Error = NameError;
    fn try_from(image: ImageRef) -> Result<Self, Self::Error> {
        image.pinned().ok_or_else(|| NameError::new("pinned image", &image.to_string(), "it has no digest"))
    }
}

impl std::fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        ImageRef::from(self.clone()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_reference_round_trips() {
        let digest = Digest::of(b"x");
        for text in [
            "quickstart.local/site:1234567".to_owned(),
            format!("localhost:5000/a/b:latest@{digest}"),
            format!("harbor.example.com/a-b/c_d__e@{digest}"),
            "[::1]:5000/x:y".to_owned(),
        ] {
            assert_eq!(ImageRef::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn docker_hub_names_are_written_out() {
        assert_eq!(
            ImageRef::parse_familiar("nginx:alpine").unwrap().to_string(),
            "docker.io/library/nginx:alpine"
        );
        assert_eq!(ImageRef::parse_familiar("user/app").unwrap().to_string(), "docker.io/user/app");
        assert_eq!(ImageRef::parse_familiar("ghcr.io/a/b:1").unwrap().to_string(), "ghcr.io/a/b:1");
    }

    #[test]
    fn bad_references_are_refused() {
        for bad in [
            "",
            "nginx",
            "x/y",
            "host.io/",
            "host.io/A",
            "host.io/a:",
            "host.io/a:-x",
            "host.io/a@sha256:12",
            "host.io/a/../b",
            "-h.io/a",
            "host.io:0/a",
            "host.io:99999/a",
            "host.io/a:b c",
        ] {
            assert!(ImageRef::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pinned_image_needs_a_digest() {
        let image: ImageRef = ImageRef::parse("host.io/a:1").unwrap();
        assert!(PinnedImage::try_from(image).is_err());
    }
}
