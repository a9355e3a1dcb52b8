//! Sealing: what is secret is stored only encrypted, and bound to the place where it is stored.

use std::sync::Arc;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use kiops_core::secret::{KeyId, KeyProvider, SealingKey};
use kiops_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;

/// Seals and opens values with the keys of a [`KeyProvider`].
///
/// A sealed value is: the byte 1 (the format), the length of the key's id and the id, a random nonce of 24 bytes, and the
/// XChaCha20-Poly1305 ciphertext with its tag. Format, key id and [`Place`] are authenticated, so a value that was changed,
/// or moved to another row, does not open.
#[derive(Debug, Clone)]
pub struct Sealer {
    keys: Arc<dyn KeyProvider>,
}

/// Where a sealed value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The table.
    pub table: &'a str,
    /// The row's key.
    pub row: &'a str,
    /// The column.
    pub column: &'a str,
}

impl Sealer {
    /// A sealer over these keys.
    pub fn new(keys: Arc<dyn KeyProvider>) -> Self {
        Self { keys }
    }

    /// Seals a value for a place, with the current key. Fails where there is no key or no randomness.
    pub fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>> {
        let key = self.keys.current()?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| {
            Error::unavailable("seal", "the system gives no random bytes").with_source(error.to_string())
        })?;
        let mut sealed = header(key.id())?;
        let data = place.associated_data(&sealed);
        sealed.reserve_exact(NONCE + value.len() + TAG);
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(value);
        let tag = cipher(&key)
            .encrypt_inout_detached(&XNonce::from(nonce), &data, (&mut sealed[start..]).into())
            .map_err(|_| Error::new(ErrorKind::TooLarge, "seal", "the value is too long to be sealed"))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what was sealed for this place, whichever key it was sealed with.
    ///
    /// `Unauthorized`: its key is not at hand. `Corrupt`: it was changed, or belongs somewhere else.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let parts = Parts::split(sealed).ok_or_else(|| place.corrupt("it is no sealed value"))?;
        let id = KeyId(parts.key.to_owned());
        let key = self.keys.key(&id)?.ok_or_else(|| missing_key(&id, place))?;
        let mut value = Zeroizing::new(parts.text.to_vec());
        cipher(&key)
            .decrypt_inout_detached(
                &XNonce::from(parts.nonce),
                &place.associated_data(parts.header),
                value.as_mut_slice().into(),
                &parts.tag.into(),
            )
            .map_err(|_| place.corrupt("it was changed after it was sealed"))?;
        Ok(value)
    }

    /// Whether a sealed value was sealed with the current key.
    pub fn is_current(&self, sealed: &[u8]) -> Result<bool> {
        let current = self.keys.current()?;
        Ok(Parts::split(sealed).is_some_and(|parts| parts.key == current.id().0))
    }
}

fn missing_key(id: &KeyId, place: Place<'_>) -> Error {
    let message =
        format!("{} `{}` was sealed with key `{}`, which is not at hand", place.table, place.row, id.0);
    Error::new(ErrorKind::Unauthorized, "open sealed value", message)
        .with_remedy("start with the key that the data was sealed with, or give it as an older key")
}

impl Place<'_> {
    fn associated_data(&self, header: &[u8]) -> Vec<u8> {
        let mut data = b"kiops sealed value\0".to_vec();
        for part in [header, self.table.as_bytes(), self.row.as_bytes(), self.column.as_bytes()] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part);
        }
        data
    }

    fn corrupt(&self, why: &str) -> Error {
        let message = format!("{} of {} `{}` does not open: {why}", self.column, self.table, self.row);
        Error::corrupt("open sealed value", message)
            .with_remedy("restore the data from a backup, or set the value anew")
    }
}

fn header(id: &KeyId) -> Result<Vec<u8>> {
    let length = u8::try_from(id.0.len())
        .map_err(|_| Error::invalid("seal", "the id of a sealing key may have 255 bytes at most"))?;
    let mut header = vec![VERSION, length];
    header.extend_from_slice(id.0.as_bytes());
    Ok(header)
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.expose().into())
}

struct Parts<'a> {
    header: &'a [u8],
    key: &'a str,
    nonce: [u8; NONCE],
    text: &'a [u8],
    tag: [u8; TAG],
}

impl<'a> Parts<'a> {
    fn split(sealed: &'a [u8]) -> Option<Self> {
        let (&[version, length], _) = sealed.split_first_chunk()?;
        if version != VERSION {
            return None;
        }
        let (header, rest) = sealed.split_at_checked(2 + usize::from(length))?;
        let key = std::str::from_utf8(header.get(2..)?).ok()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (text, tag) = rest.split_last_chunk()?;
        Some(Self { header, key, nonce: *nonce, text, tag: *tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::secret::StaticKey;
    use proptest::prelude::*;

    const PLACE: Place<'static> = Place { table: "secret", row: "registry/password", column: "value" };

    fn sealer(key: u8) -> Sealer {
        Sealer::new(Arc::new(StaticKey::new(SealingKey::new([key; 32]))))
    }

    #[test]
    fn what_was_sealed_opens_at_its_place_only() {
        let sealer = sealer(1);
        let sealed = sealer.seal(PLACE, b"hunter2").unwrap();
        assert_eq!(*sealer.open(PLACE, &sealed).unwrap(), b"hunter2");
        for other in [
            Place { table: "hook", ..PLACE },
            Place { row: "registry/passwor", ..PLACE },
            Place { column: "valu", ..PLACE },
            Place { row: "registry/passwordv", column: "alue", ..PLACE },
        ] {
            assert_eq!(sealer.open(other, &sealed).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn the_same_value_never_seals_to_the_same_bytes() {
        let sealer = sealer(1);
        assert_ne!(sealer.seal(PLACE, b"x").unwrap(), sealer.seal(PLACE, b"x").unwrap());
    }

    #[test]
    fn an_older_key_still_opens_and_a_wrong_one_says_which_is_missing() {
        let (old, new) = (SealingKey::new([1; 32]), SealingKey::new([2; 32]));
        let sealed = sealer(1).seal(PLACE, b"x").unwrap();
        let both = Sealer::new(Arc::new(StaticKey::new(new).and_older(old.clone())));
        assert_eq!(*both.open(PLACE, &sealed).unwrap(), b"x");
        assert!(!both.is_current(&sealed).unwrap());
        assert!(both.is_current(&both.seal(PLACE, b"x").unwrap()).unwrap());
        let error = sealer(2).open(PLACE, &sealed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(error.to_string().contains(&old.id().0), "{error}");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let sealer = sealer(1);
        let sealed = sealer.seal(PLACE, b"hunter2").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.open(PLACE, &changed).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_open_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(sealer(1).open(PLACE, &bytes).is_err());
        }

        #[test]
        fn bytes_behind_a_right_header_never_open(rest in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = header(SealingKey::new([1; 32]).id()).unwrap();
            bytes.extend(rest);
            prop_assert!(sealer(1).open(PLACE, &bytes).is_err());
        }

        #[test]
        fn any_value_opens_as_it_was(value in prop::collection::vec(any::<u8>(), 0..300)) {
            let sealed = sealer(7).seal(PLACE, &value).unwrap();
            prop_assert_eq!(&*sealer(7).open(PLACE, &sealed).unwrap(), &value);
        }
    }
}
