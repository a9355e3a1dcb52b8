//! Secrets from edge to edge: redacted when printed, compared in constant time, zeroed when dropped.

mod source;

pub use source::{EnvSecrets, FileSecrets, KeyId, KeyProvider, SealingKey, SecretSource, StaticKey};

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret value. It has no `Display` and no `Serialize`, its `Debug` prints `Secret(...)`, and its memory is zeroed on drop.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a value over. An empty one is refused: an empty secret must never verify or authenticate anything (E06).
    pub fn new(value: impl Into<Vec<u8>>) -> Option<Self> {
        let value = Zeroizing::new(value.into());
        (!value.is_empty()).then_some(Self(value))
    }

    /// A secret from bytes whose number, known when compiling, is not zero.
    pub(crate) fn filled<const N: usize>(value: [u8; N]) -> Self {
        const { assert!(N > 0) };
        Self(Zeroizing::new(value.to_vec()))
    }

    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, if it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether `other` is the same value, in a time that depends on neither value: both are hashed, the hashes compared (E07).
    pub fn matches(&self, other: &[u8]) -> bool {
        let ours = Sha256::digest(&*self.0);
        let theirs = Sha256::digest(other);
        ours.as_slice().ct_eq(theirs.as_slice()).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_empty_and_never_printed() {
        assert!(Secret::new("").is_none());
        let secret = Secret::new("hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(...)");
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter"));
        assert!(!secret.matches(b""));
    }
}
