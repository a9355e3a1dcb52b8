//! Where secrets and sealing keys come from.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;

/// Finds a secret by name: the environment, files, a Kubernetes Secret, a vault, or the host's own (G10).
#[async_trait]
pub trait SecretSource: Send + Sync + fmt::Debug {
    /// The secret, or `None` if this source has none of that name. An empty value counts as none.
    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>>;
}

/// Reads `PREFIX` + the name in upper case with every other character as `_` from the environment:
/// with the prefix `KIOPS_`, `registry/password` is `KIOPS_REGISTRY_PASSWORD`.
#[derive(Debug, Clone)]
pub struct EnvSecrets {
    /// What stands before every name.
    pub prefix: String,
}

#[async_trait]
impl SecretSource for EnvSecrets {
    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        let key: String = name
            .as_str()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let value = std::env::var_os(format!("{}{key}", self.prefix));
        Ok(value.and_then(|value| Secret::new(value.into_encoded_bytes())))
    }
}

/// Reads one file a secret from a folder, as mounted Secrets are laid out. One final line break is not part of the value.
#[derive(Debug, Clone)]
pub struct FileSecrets {
    /// The folder.
    pub folder: PathBuf,
}

#[async_trait]
impl SecretSource for FileSecrets {
    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        let operation = "read secret file";
        if name.as_str().split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::invalid(
                operation,
                format!("`{name}` does not stay below the secrets folder"),
            ));
        }
        match std::fs::read(self.folder.join(name.as_str())) {
            Ok(mut bytes) => {
                if bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                Ok(Secret::new(bytes))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Error::new(ErrorKind::Unavailable, operation, format!("`{name}` cannot be read"))
                    .with_source(error))
            }
        }
    }
}

/// Which sealing key a stored value was sealed with. Not a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

/// A 256-bit key for sealing what is stored.
#[derive(Clone)]
pub struct SealingKey {
    id: KeyId,
    bytes: Zeroizing<[u8; 32]>,
}

impl SealingKey {
    /// A key from its bytes. The id is derived from them (8 hexadecimal digits of a hash), so the same key has the same id everywhere.
    pub fn new(bytes: [u8; 32]) -> Self {
        use sha2::{Digest as _, Sha256};
        let mut hasher = Sha256::new();
        hasher.update(b"kiops sealing key id\0");
        hasher.update(bytes);
        let id = KeyId(crate::name::hex(&hasher.finalize()[..4]));
        Self { id, bytes: Zeroizing::new(bytes) }
    }

    /// The key's id.
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key itself, for the one call that needs it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Gives the keys that seal secrets and bodies at rest.
///
/// Rotation: a new key becomes `current`, the old one stays reachable through `key` until everything is re-sealed.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// The key that seals from now on.
    fn current(&self) -> Result<SealingKey>;

    /// The key of this id, or `None` if it is not to be had any more.
    fn key(&self, id: &KeyId) -> Result<Option<SealingKey>>;
}

/// One current key and any number of older ones.
#[derive(Debug, Clone)]
pub struct StaticKey {
    current: SealingKey,
    older: Vec<SealingKey>,
}

impl StaticKey {
    /// A provider of this key.
    pub const fn new(current: SealingKey) -> Self {
        Self { current, older: Vec::new() }
    }

    /// The same with an older key that still opens what it sealed.
    #[must_use]
    pub fn and_older(mut self, key: SealingKey) -> Self {
        self.older.push(key);
        self
    }
}

impl KeyProvider for StaticKey {
    fn current(&self) -> Result<SealingKey> {
        Ok(self.current.clone())
    }

    fn key(&self, id: &KeyId) -> Result<Option<SealingKey>> {
        Ok(std::iter::once(&self.current).chain(&self.older).find(|key| key.id() == id).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_key_provider_still_finds_the_old_key() {
        let (old, new) = (SealingKey::new([1; 32]), SealingKey::new([2; 32]));
        let keys = StaticKey::new(new.clone()).and_older(old.clone());
        assert_eq!(keys.current().unwrap().id(), new.id());
        assert_eq!(keys.key(old.id()).unwrap().unwrap().expose(), &[1; 32]);
        assert!(keys.key(&KeyId("none".into())).unwrap().is_none());
        assert!(!format!("{keys:?}").contains("[1, 1"));
    }
}
