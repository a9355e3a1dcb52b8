//! A hook's secrets as bytes, before they are sealed. The buffers are zeroed, and never grow, so that no copy stays behind.

use jiff::Timestamp;
use kiops_core::secret::Secret;
use kiops_core::webhook::{SecretEntry, SecretSet};
use zeroize::Zeroizing;

/// Bytes of an entry besides its secret: whether it runs out, when (seconds and nanoseconds), the secret's length.
const HEAD: usize = 1 + 8 + 4 + 4;

pub(super) fn encode(secrets: &SecretSet) -> Zeroizing<Vec<u8>> {
    let entries = secrets.entries();
    let size = entries.iter().map(|entry| HEAD + entry.secret.expose().len()).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    for entry in entries {
        let until = entry.until.unwrap_or_default();
        let secret = entry.secret.expose();
        bytes.push(u8::from(entry.until.is_some()));
        bytes.extend_from_slice(&until.as_second().to_be_bytes());
        bytes.extend_from_slice(&until.subsec_nanosecond().to_be_bytes());
        // A secret of 4 GB is cut here, and does not verify anything any more.
        let length = u32::try_from(secret.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend(secret.iter().take(length as usize));
    }
    bytes
}

/// `None`: these bytes are no secrets.
pub(super) fn decode(mut bytes: &[u8]) -> Option<SecretSet> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let expires = match take::<1>(&mut bytes)? {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let until =
            Timestamp::new(i64::from_be_bytes(take(&mut bytes)?), i32::from_be_bytes(take(&mut bytes)?))
                .ok()?;
        let length = usize::try_from(u32::from_be_bytes(take(&mut bytes)?)).ok()?;
        let (secret, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        entries.push(SecretEntry { secret: Secret::new(secret)?, until: expires.then_some(until) });
    }
    Some(SecretSet::of(entries))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_secrets_read_back_in_order(all in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), prop::option::of(-9_000_000_000_i64..9_000_000_000)), 0..4)) {
            let entries = all.iter().map(|(secret, until)| SecretEntry {
                secret: Secret::new(secret.clone()).unwrap(),
                until: until.map(|until| Timestamp::new(until, 7 * until.signum() as i32).unwrap()),
            });
            let set = SecretSet::of(entries.collect());
            let back = decode(&encode(&set)).unwrap();
            prop_assert_eq!(back.len(), set.len());
            for (a, b) in back.entries().iter().zip(set.entries()) {
                prop_assert!(a.secret == b.secret && a.until == b.until);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
