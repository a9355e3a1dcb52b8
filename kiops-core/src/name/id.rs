//! Ids of our own records. They are derived, not drawn: the same facts give the same id on every machine, so that doing
//! a thing twice meets itself.

use super::dns::hex;
use super::{NameError, name};
use sha2::{Digest as _, Sha256};

name!(
    /// A build: `b-` and 24 hexadecimal digits.
    BuildId,
    |v| check_id("build id", "b-", v)
);
name!(
    /// A release (over HTTP: a deployment): `r-` and 24 hexadecimal digits.
    ReleaseId,
    |v| check_id("release id", "r-", v)
);
name!(
    /// A delivery as one service sees it: `d-` and 24 hexadecimal digits.
    DeliveryId,
    |v| check_id("delivery id", "d-", v)
);
name!(
    /// One piece of work that the engine asked for: `w-` and 24 hexadecimal digits.
    WorkId,
    |v| check_id("work id", "w-", v)
);
name!(
    /// One run of a build or a check at an executor: a build id, an attempt, and for a check its name. A DNS-1123 label.
    RunId,
    |v| super::DnsLabel::parse(v).map(|_| ())
);
name!(
    /// The unguessable part of a hook's path: 16 to 128 characters of `A-Z a-z 0-9 _ -`.
    HookId,
    |v| {
        if !(16..=128).contains(&v.len()) || !v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(NameError::new("hook id", v, "it must be 16 to 128 characters of A-Z a-z 0-9 _ -"));
        }
        Ok(())
    }
);
name!(
    /// A kind of sender or provider: the name that routes and `decode` take (`gitlab`, `plain`).
    ProviderName,
    |v| super::DnsLabel::parse(v).map(|_| ()).map_err(|e| NameError::new("provider name", v, e.reason))
);
/// A [`ProviderName`] that stands in code: in a `const` it is checked when it is compiled.
///
/// ```
/// use kiops_core::name::ProviderLiteral;
/// const NAME: ProviderLiteral = ProviderLiteral::new("gitlab");
/// assert_eq!(NAME.name().as_str(), "gitlab");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderLiteral(&'static str);

impl ProviderLiteral {
    /// # Panics
    /// If it is no provider name: 1 to 63 lower-case letters, digits and inner hyphens.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 63, "a provider name has 1 to 63 characters");
        assert!(bytes[0] != b'-' && bytes[bytes.len() - 1] != b'-', "a hyphen stands within a provider name");
        let mut rest = bytes;
        while let [byte, after @ ..] = rest {
            assert!(
                matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'),
                "a provider name is lower-case letters, digits and hyphens"
            );
            rest = after;
        }
        Self(name)
    }

    /// The name.
    pub fn name(self) -> ProviderName {
        ProviderName(self.0.into())
    }
}
name!(
    /// A named check of a service (`unit-tests`, `trivy`).
    CheckName,
    |v| super::DnsLabel::parse(v).map(|_| ()).map_err(|e| NameError::new("check name", v, e.reason))
);
name!(
    /// Where a secret is kept: 1 to 200 characters of `A-Z a-z 0-9 _ - . / :`. The name is no secret.
    SecretName,
    |v| {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/' | b':');
        if v.is_empty() || v.len() > 200 || !v.bytes().all(fine) {
            return Err(NameError::unseen("secret name", "it must be 1 to 200 characters of A-Z a-z 0-9 _ - . / :"));
        }
        Ok(())
    }
);
name!(
    /// A connection to a Git host by OAuth (`git-abc123`, T07's `gitProviderId`): 1 to 100 characters of `A-Z a-z 0-9 _ -`.
    ConnectionId,
    |v| {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if v.is_empty() || v.len() > 100 || !v.bytes().all(fine) {
            return Err(NameError::new("connection id", v, "it must be 1 to 100 characters of A-Z a-z 0-9 _ -"));
        }
        Ok(())
    }
);
name!(
    /// A member of the platform, as the host's accounts name them: 1 to 200 characters, none of them a control character.
    MemberId,
    |v| {
        if v.is_empty() || v.len() > 200 || v.chars().any(char::is_control) {
            return Err(NameError::new("member id", v, "it must be 1 to 200 characters without control characters"));
        }
        Ok(())
    }
);

macro_rules! derived {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// The id that these facts have, whoever derives it. Facts are length-prefixed before hashing, so no two lists meet.
            pub fn derive<'a>(facts: impl IntoIterator<Item = &'a str>) -> Self {
                Self(format!(concat!($prefix, "{}"), digest24(facts)).into())
            }
        }
    };
}
derived!(BuildId, "b-");
derived!(ReleaseId, "r-");
derived!(DeliveryId, "d-");
derived!(WorkId, "w-");

impl ReleaseId {
    /// Its 24 hexadecimal digits, without what stands before them.
    pub(super) fn digits(&self) -> &str {
        self.as_str().strip_prefix("r-").unwrap_or(self.as_str())
    }
}

impl RunId {
    /// The run of a build: the same build and attempt always have the same id.
    pub fn of_build(build: &BuildId, attempt: u32) -> Self {
        Self(format!("{build}-{attempt}").into())
    }

    /// The run of a check of a build. The check's name is shortened where it is long.
    pub fn of_check(build: &BuildId, check: &CheckName, attempt: u32) -> Self {
        let end = format!("{}-{attempt}", digest24([check.as_str()]).get(..8).unwrap_or_default());
        let room = 63 - build.as_str().len() - end.len() - 2;
        let start: String = check.as_str().chars().take(room).collect();
        Self(format!("{build}-{}-{end}", start.trim_end_matches('-')).into())
    }
}

fn digest24<'a>(facts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for fact in facts {
        hasher.update((fact.len() as u64).to_be_bytes());
        hasher.update(fact.as_bytes());
    }
    hex(&hasher.finalize()[..12])
}

fn check_id(what: &'static str, prefix: &str, value: &str) -> Result<(), NameError> {
    let digits = value.strip_prefix(prefix).unwrap_or_default();
    if digits.len() != 24 || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(NameError::new(what, value, format!("it must be `{prefix}` and 24 hexadecimal digits")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_facts_give_the_same_id_and_others_another() {
        let id = BuildId::derive(["a", "bc"]);
        assert_eq!(id, BuildId::derive(["a", "bc"]));
        assert_ne!(id, BuildId::derive(["ab", "c"]));
        assert_eq!(BuildId::parse(id.as_str()).unwrap(), id);
        assert!(BuildId::parse("b-xyz").is_err());
        assert!(BuildId::parse(ReleaseId::derive(["a"]).as_str()).is_err());
    }

    #[test]
    fn a_literal_is_a_provider_name_that_parses() {
        let long = "a".repeat(63);
        for good in ["gitlab", "bitbucket-dc", "3a", long.leak()] {
            assert_eq!(ProviderLiteral::new(good).name(), ProviderName::parse(good).unwrap());
        }
    }

    #[test]
    fn a_secret_in_the_place_of_its_name_is_not_repeated() {
        let error = SecretName::parse("hunter2 $").unwrap_err().to_string();
        assert!(error.starts_with("what was given is not a secret name: it must be 1 to 200"), "{error}");
        assert!(CheckName::parse("A b").unwrap_err().to_string().starts_with("`A b` is not a check name"));
    }

    #[test]
    fn run_ids_are_dns_labels_however_long_the_check() {
        let build = BuildId::derive(["x"]);
        let check = CheckName::parse("a".repeat(63)).unwrap();
        for run in [RunId::of_build(&build, u32::MAX), RunId::of_check(&build, &check, u32::MAX)] {
            assert!(super::super::DnsLabel::parse(run.as_str()).is_ok(), "{run}");
        }
    }
}
