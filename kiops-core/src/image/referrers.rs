//! What is attached to an image by a tag of its own.

use crate::name::{Digest, Tag};

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
