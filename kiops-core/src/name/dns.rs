//! Names that become Kubernetes names: DNS-1123 labels of at most 63 characters.

use super::{NameError, name};
use sha2::{Digest as _, Sha256};

const LABEL_MAX: usize = 63;

name!(
    /// The name of a registered service: a DNS-1123 label (lower-case letters, digits and hyphens, 63 at most, S12).
    ServiceName,
    |v| check_label("service name", v)
);
name!(
    /// One buildable part of a service's repository. A service with one part has the component `main`.
    ComponentName,
    |v| check_label("component name", v)
);
name!(
    /// A container of a workload (`web`, `db`; S19).
    ContainerName,
    |v| check_label("container name", v)
);
name!(
    /// A place that releases go to (`dev`, `production`).
    EnvironmentName,
    |v| check_label("environment name", v)
);
name!(
    /// Any DNS-1123 label: what [`dns_label`] makes.
    DnsLabel,
    |v| check_label("DNS label", v)
);

impl EnvironmentName {
    /// What stands between the environment that previews are made after and the number of the merge request.
    const PREVIEW: &str = "-mr-";

    /// The environment of a merge request's preview that is made after this one: `review` gives `review-mr-7`. `None`: it is longer than
    /// a name may be.
    pub fn preview_of(&self, number: u64) -> Option<Self> {
        Self::parse(format!("{self}{}{number}", Self::PREVIEW)).ok()
    }

    /// Of a name as [`preview_of`](Self::preview_of) makes it: the environment that it is made after, and the number.
    pub fn preview(&self) -> Option<(Self, u64)> {
        let (pattern, digits) = self.as_str().rsplit_once(Self::PREVIEW)?;
        let number: u64 = digits.parse().ok().filter(|number: &u64| number.to_string() == digits)?;
        Some((Self::parse(pattern).ok()?, number))
    }
}

impl Default for ComponentName {
    fn default() -> Self {
        Self("main".into())
    }
}

/// A service that says nothing of containers has one, named like its component.
impl From<&ComponentName> for ContainerName {
    fn from(component: &ComponentName) -> Self {
        Self(std::sync::Arc::clone(&component.0))
    }
}

fn check_label(what: &'static str, value: &str) -> Result<(), NameError> {
    let refuse = |reason: &str| Err(NameError::new(what, value, reason));
    if value.is_empty() {
        return refuse("it is empty");
    }
    if value.len() > LABEL_MAX {
        return refuse("it has more than 63 characters");
    }
    if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return refuse("only lower-case letters, digits and hyphens are allowed");
    }
    if value.starts_with('-') || value.ends_with('-') {
        return refuse("it starts or ends with a hyphen");
    }
    Ok(())
}

/// Joins `parts` into one DNS-1123 label of at most 63 characters that no other list of parts gives.
///
/// A lone label stays as it is; several are joined by hyphens where none of them holds a hyphen itself. Otherwise the
/// readable start is kept and ten hexadecimal digits of a SHA-256 over the length-prefixed parts follow. A name that
/// already ends like such a hash is hashed too, so that no input can imitate a shortened name.
pub fn dns_label<'a>(parts: impl IntoIterator<Item = &'a str>) -> DnsLabel {
    let parts: Vec<&str> = parts.into_iter().collect();
    let plain = parts.len() == 1 || parts.iter().all(|part| !part.contains('-'));
    let joined = parts.join("-");
    let clean = plain && parts.iter().all(|part| check_label("", part).is_ok()) && !looks_hashed(&joined);
    if clean && joined.len() <= LABEL_MAX {
        return DnsLabel(joined.into());
    }
    DnsLabel(hashed(&joined, &parts, LABEL_MAX).into())
}

/// `{base}-{suffix}` for an object named after one thing (`web-registry-cred`), at most `max` characters (63 for a label,
/// 253 for a subdomain). Only the base is shortened, as in [`dns_label`]; with a fixed suffix no two bases meet.
pub fn dns_name(base: &str, suffix: &str, max: usize) -> String {
    let room = max.saturating_sub(suffix.len() + 1);
    let base = if check_label("", base).is_ok() && base.len() <= room && !looks_hashed(base) {
        base.to_owned()
    } else {
        hashed(base, &[base], room.min(LABEL_MAX))
    };
    format!("{base}-{suffix}")
}

fn hashed(readable: &str, parts: &[&str], max: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let hash = hex(&hasher.finalize()[..5]);
    let start: String = readable
        .chars()
        .take(max.saturating_sub(hash.len() + 1))
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let start = start.trim_matches('-');
    format!("{}-{hash}", if start.is_empty() { "x" } else { start })
}

fn looks_hashed(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, end)| {
        end.len() == 10 && end.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_service_name_is_a_dns_label() {
        for good in ["a", "web-api", "0x", &"a".repeat(63)] {
            assert!(ServiceName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ü", &"a".repeat(64)] {
            assert!(ServiceName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn short_clean_parts_are_joined_as_they_are() {
        assert_eq!(dns_label(["web"]).as_str(), "web");
        assert_eq!(dns_label(["web", "registry"]).as_str(), "web-registry");
        assert_eq!(dns_label(["my-web"]).as_str(), "my-web");
        assert_eq!(dns_name("my-web", "registry-cred", 253), "my-web-registry-cred");
    }

    #[test]
    fn parts_that_would_meet_are_told_apart() {
        assert_ne!(dns_label(["a-b", "c"]), dns_label(["a", "b-c"]));
        assert_ne!(dns_label(["Web"]), dns_label(["web"]));
        assert_ne!(dns_label(["a/b"]), dns_label(["a-b"]));
    }

    proptest! {
        #[test]
        fn any_parts_give_a_valid_label(parts in prop::collection::vec(".{0,90}", 1..4)) {
            let label = dns_label(parts.iter().map(String::as_str));
            prop_assert!(check_label("", label.as_str()).is_ok(), "{label}");
            let name = dns_name(&parts[0], "registry-cred", 63);
            prop_assert!(check_label("", &name).is_ok(), "{name}");
        }

        #[test]
        fn different_parts_give_different_labels(a in "[a-c-]{1,4}", b in "[a-c-]{1,4}", c in "[a-c-]{1,4}", d in "[a-c-]{1,4}") {
            if (&a, &b) != (&c, &d) {
                prop_assert_ne!(dns_label([a.as_str(), b.as_str()]), dns_label([c.as_str(), d.as_str()]));
            }
        }
    }
}
