//! From what any registry says of a push to an event, and which pushes start nothing.

use kiops_core::event::{About, Actor, Event, EventKind, ImagePush, Other, Repository};
use kiops_core::name::{Digest, Tag};

use super::WebhookConfig;
use super::body::{TEXT_MAX, short};

/// What a sender says of one image. Texts are as sent, of any length and content.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said<'a> {
    /// What the event is called, for people.
    pub name: &'a str,
    /// The sender's own word, where it has one.
    pub action: Option<&'a str>,
    /// The path: see [`image_path`].
    pub image: Option<&'a str>,
    pub host: Option<&'a str>,
    /// A tag, or the digest in its place (E64).
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub actor_id: Option<&'a str>,
    /// The program that pushed.
    pub agent: Option<&'a str>,
}

impl Said<'_> {
    /// The push as an event, or what it is ignored for.
    pub(super) fn pushed(&self, config: &WebhookConfig) -> Event {
        match self.refused(config) {
            Some(note) => self.ignored(Some(note)),
            None => {
                let push = ImagePush { action: self.action.map(word), ..self.image() };
                Event { kind: EventKind::ImagePush(push), ..self.ignored(None) }
            }
        }
    }

    /// An event that nothing is done with, and why, where that is not plain from its name.
    pub(super) fn ignored(&self, note: Option<String>) -> Event {
        let image = self.image();
        let about = (image != ImagePush::default()).then(|| Box::new(About::Image(image)));
        let other = Other { name: word(self.name), action: self.action.map(word), note, about };
        let actor = self.actor.filter(|name| !name.is_empty());
        Event {
            repository: Repository { id: None, path: self.image.unwrap_or_default().to_owned() },
            actor: actor.map(|name| Actor { id: self.actor_id.map(short), name: short(name) }),
            kind: EventKind::Other(other),
        }
    }

    fn image(&self) -> ImagePush {
        let (tag, digest) = self.reference();
        let pinned = digest.and_then(|digest| Digest::parse(digest).ok());
        ImagePush {
            action: None,
            image: self.image.unwrap_or_default().to_owned(),
            host: self.host.filter(|host| is_host(host)).map(str::to_owned),
            tag: tag.and_then(|tag| Tag::parse(tag).ok()),
            stated_digest: digest.filter(|_| pinned.is_none()).map(short),
            digest: pinned,
        }
    }

    /// Tag and digest; what stands in the tag's place may be the digest.
    fn reference(&self) -> (Option<&str>, Option<&str>) {
        let digest = self.digest.filter(|digest| !digest.is_empty());
        match self.tag.filter(|tag| !tag.is_empty()) {
            Some(tag) if tag.contains(':') => (None, digest.or(Some(tag))),
            tag => (tag, digest),
        }
    }

    /// Why a push starts nothing; `None`: it may.
    fn refused(&self, config: &WebhookConfig) -> Option<String> {
        let Some(image) = self.image else { return Some("names no image".into()) };
        let (tag, digest) = self.reference();
        let tag = match tag.map(Tag::parse).transpose() {
            Ok(tag) => tag,
            Err(error) => return Some(format!("names no tag that can be used: {error}")),
        };
        if tag.is_none() && digest.is_none() {
            return Some("names neither a tag nor a digest".into());
        }
        if let Some(tag) = tag.as_ref().filter(|tag| is_companion(tag.as_str())) {
            return Some(format!(
                "is no image: the tag `{tag}` is a signature's, an attestation's or another referrer's"
            ));
        }
        if config.is_cache(image, tag.as_ref().map(AsRef::as_ref)) {
            return Some("is a layer in a build cache, not an image".into());
        }
        let names = [self.actor, self.actor_id].into_iter().flatten();
        if let Some(name) = names.into_iter().find(|name| config.is_own_account(name)) {
            return Some(format!("is our own push: it was made by `{}`", name.escape_debug()));
        }
        if self.agent.is_some_and(|agent| config.is_own_agent(agent)) {
            return Some("is our own push: its user agent is ours".into());
        }
        None
    }
}

/// A sender's word for an event, of a length that can be shown.
fn word(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The path of an image, where a text is one: parts of letters, digits and `. _ -`, joined by slashes, 255 characters in all.
///
/// Registries want lower case, and Alibaba's own example has a capital letter: what is written is what is compared.
pub(super) fn image_path(text: &str) -> Option<&str> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(fine);
    ((1..=TEXT_MAX).contains(&text.len()) && text.split('/').all(part)).then_some(text)
}

/// The path of an image of which only the parts are given.
pub(super) fn joined(namespace: &str, name: &str) -> Option<String> {
    let path = format!("{namespace}/{name}");
    image_path(&path).is_some().then_some(path)
}

/// The host of an address of the image (`host/path:tag`, with a scheme or without), where it is an address of that image.
pub(super) fn host_of<'a>(address: &'a str, image: &str) -> Option<&'a str> {
    let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (host, rest) = bare.split_once('/')?;
    let rest = rest
        .get(..image.len())
        .filter(|start| start.eq_ignore_ascii_case(image))
        .and(rest.get(image.len()..))?;
    (rest.is_empty() || rest.starts_with([':', '@'])).then_some(host)
}

fn is_host(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    (1..=TEXT_MAX).contains(&text.len()) && text.bytes().all(fine)
}

/// Whether a tag is made of another manifest's digest (`sha256-<64 digits>`, and `.sig`, `.att`, `.sbom` or nothing behind it): what cosign
/// writes, and the distribution specification's fallback for referrers (E67).
fn is_companion(tag: &str) -> bool {
    let Some((algorithm, rest)) = tag.split_once('-') else { return false };
    let digits = rest.split_once('.').map_or(rest, |(digits, _)| digits);
    matches!(algorithm, "sha256" | "sha512") && is_hex(digits)
}

/// 64 lower-case hexadecimal digits: all that is left of a digest in a tag, and what Kaniko names cached layers by.
pub(super) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What a manifest of this kind, or with a part of this kind, is; `None`: it may be an image's.
pub(super) fn no_image(media_type: &str) -> Option<&'static str> {
    const KINDS: &[(&str, &str)] = &[
        ("application/vnd.dev.cosign.", "a signature"),
        ("application/vnd.dev.sigstore.", "a signature"),
        ("application/vnd.cncf.notary.", "a signature"),
        ("application/vnd.in-toto", "an attestation"),
        ("application/vnd.dsse.", "an attestation"),
        ("application/spdx", "a bill of materials"),
        ("text/spdx", "a bill of materials"),
        ("application/vnd.cyclonedx", "a bill of materials"),
        ("application/vnd.syft", "a bill of materials"),
        ("application/vnd.goharbor.harbor.sbom", "a bill of materials"),
        ("application/vnd.buildkit.cacheconfig.", "a build cache"),
        ("application/vnd.cncf.helm.", "a Helm chart"),
        ("application/vnd.oci.artifact.manifest.", "an artifact"),
        ("application/vnd.oci.empty.", "an artifact"),
    ];
    KINDS.iter().find(|(start, _)| media_type.starts_with(start)).map(|(_, what)| *what)
}

/// Whether this is the media type of a manifest or an index, not of a layer or another blob.
pub(super) fn is_manifest(media_type: &str) -> bool {
    [
        "application/vnd.docker.distribution.manifest.",
        "application/vnd.oci.image.manifest.",
        "application/vnd.oci.image.index.",
    ]
    .iter()
    .any(|start| media_type.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "1f0c9a5fbd0f6b2f5c5b3ee1f6f7a0a8d6c1b3d2e4f5a6b7c8d9e0f1a2b3c4d5";

    fn push<'a>() -> Said<'a> {
        Said { name: "push", image: Some("team/app"), tag: Some("v1"), ..Said::default() }
    }

    fn note(said: &Said<'_>, config: &WebhookConfig) -> Option<String> {
        match said.pushed(config).kind {
            EventKind::ImagePush(_) => None,
            EventKind::Other(other) => Some(other.note.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn signatures_attestations_and_referrers_start_nothing() {
        for tag in
            ["sha256-H.sig", "sha256-H.att", "sha256-H.sbom", "sha256-H", "sha512-H", "sha256-H.other.x"]
        {
            let tag = tag.replace('H', HEX);
            let note = note(&Said { tag: Some(&tag), ..push() }, &WebhookConfig::default()).unwrap();
            assert!(note.contains("signature"), "{note}");
        }
        for tag in ["sha256-abc", "sha256", "v1.sig", HEX, "md5-H", "sha256-HH", "sha256H"] {
            let tag = tag.replace('H', HEX);
            if tag.len() <= 128 {
                assert_eq!(
                    note(&Said { tag: Some(&tag), ..push() }, &WebhookConfig::default()),
                    None,
                    "{tag}"
                );
            }
        }
    }

    #[test]
    fn layers_of_a_build_cache_start_nothing() {
        let config = WebhookConfig { cache_images: vec!["team/layers".into()], ..WebhookConfig::default() };
        let cached = |image, tag| {
            note(&Said { image: Some(image), tag: Some(tag), ..push() }, &config)
                .is_some_and(|note| note.contains("cache"))
        };
        assert!(cached("team/app/cache", HEX) && cached("cache", HEX));
        assert!(cached("team/layers", "v1") && cached("team/layers", HEX));
        assert!(!cached("team/app/cache", "v1"), "an image may be called that");
        assert!(!cached("team/app", HEX) && !cached("team/app-cache", HEX) && !cached("team/layers/x", "v1"));
    }

    #[test]
    fn our_own_pushes_start_nothing() {
        let config =
            WebhookConfig { own_accounts: vec!["robot$team+kiops".into()], ..WebhookConfig::default() };
        let own = |said: Said<'_>| note(&said, &config).is_some_and(|note| note.contains("our own push"));
        assert!(own(Said { actor: Some("robot$team+kiops"), ..push() }));
        assert!(own(Said { actor_id: Some("robot$team+kiops"), ..push() }));
        assert!(
            !own(Said { actor: Some("Robot$team+kiops"), ..push() })
                && !own(Said { actor: Some("ada"), ..push() })
        );
        assert!(own(Said { agent: Some("kiops/0.1.0"), ..push() }));
        assert!(!own(Said { agent: Some("docker/27 kiops/0.1.0"), ..push() }) && !own(push()));
    }

    #[test]
    fn a_digest_in_the_tags_place_is_no_tag() {
        let digest = format!("sha256:{HEX}");
        for said in [
            Said { tag: Some(&digest), ..push() },
            Said { tag: Some(&digest), digest: Some(&digest), ..push() },
            Said { tag: None, digest: Some(&digest), ..push() },
            Said { tag: Some(""), digest: Some(&digest), ..push() },
        ] {
            let EventKind::ImagePush(push) = said.pushed(&WebhookConfig::default()).kind else { panic!() };
            assert_eq!((push.tag, push.digest.unwrap().as_str()), (None, digest.as_str()));
        }
    }

    #[test]
    fn what_cannot_be_pinned_is_shown_and_not_taken_for_a_digest() {
        for bad in ["sha256:abc123", "sha512:00", "x"] {
            let said = Said { digest: Some(bad), ..push() };
            let EventKind::ImagePush(push) = said.pushed(&WebhookConfig::default()).kind else { panic!() };
            assert_eq!((push.digest, push.stated_digest.as_deref()), (None, Some(bad)));
        }
    }

    #[test]
    fn names_that_are_none_are_told_and_not_taken() {
        let config = WebhookConfig::default();
        let none = Said { image: None, ..push() };
        assert_eq!(note(&none, &config).unwrap(), "names no image");
        assert_eq!(none.pushed(&config).repository, Repository::default());
        assert_eq!(note(&Said { tag: None, ..push() }, &config).unwrap(), "names neither a tag nor a digest");
        for tag in ["-x", "a b", "--upload-pack=x", "a/b", &"v".repeat(129)] {
            assert!(
                note(&Said { tag: Some(tag), ..push() }, &config).unwrap().starts_with("names no tag"),
                "{tag}"
            );
        }
        for (bad, good) in
            [("a//b", "a/b"), ("../x", "x"), ("a/./b", "a.b"), ("a b", "a-b"), ("", "A/b_c"), ("a:1", "1")]
        {
            assert_eq!((image_path(bad), image_path(good)), (None, Some(good)));
        }
        assert_eq!(image_path(&"a".repeat(256)), None);
        let long = "n".repeat(1000);
        let event = Said { actor: Some(&long), actor_id: Some(&long), name: &long, ..push() }.ignored(None);
        assert!(serde_json::to_string(&event).unwrap().len() < 1000);
    }

    #[test]
    fn a_host_is_read_of_an_address_of_that_image_only() {
        for (address, host) in [
            ("hub.example.com/team/app:latest", Some("hub.example.com")),
            ("https://hub.example.com:8443/team/app@sha256:00", Some("hub.example.com:8443")),
            ("ghcr.io/Team/App", Some("ghcr.io")),
            ("hub.example.com/team/apple:latest", None),
            ("hub.example.com/x/team/app", None),
            ("team/app", None),
            ("", None),
        ] {
            assert_eq!(host_of(address, "team/app"), host, "{address}");
        }
        let said = Said { host: Some("a b"), ..push() };
        assert!(
            matches!(said.pushed(&WebhookConfig::default()).kind, EventKind::ImagePush(push) if push.host.is_none())
        );
    }
}
