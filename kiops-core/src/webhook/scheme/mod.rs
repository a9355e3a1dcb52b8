//! Signature schemes, as pure functions over raw bytes. A sender picks the one that its documentation names.
//!
//! They all keep the same promises. Every secret that counts at `now` is tried, also after one fitted and also when the
//! header is missing or malformed, so [`Verification::macs`] is the number of those secrets whatever was sent: neither
//! the time taken nor the count tells how close a guess came. Comparisons are constant-time over values of one length
//! (E07). A header that is repeated is malformed, because which value counts would depend on who reads it. An empty set
//! is [`Verdict::NoSecret`], never "nothing to check" (E06). Nothing panics on any input.

mod gitee;
mod hex;
mod standard;
mod token;

pub use gitee::gitee;
pub use hex::{HexForm, hex_hmac_sha256};
pub use standard::{
    ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, is_signing_token, sign, signing_token, standard_webhooks,
};
pub use token::{TokenForm, hook_path, shared_token};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Delivery, SecretSet, Verdict, Verification};
use crate::secret::Secret;

/// A header that must come once.
#[derive(Clone, Copy)]
enum Field<'a> {
    Missing,
    Repeated,
    One(&'a [u8]),
}

impl<'a> Field<'a> {
    fn of(delivery: &'a Delivery, name: &str) -> Self {
        let mut values = delivery.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => Self::One(value.as_bytes()),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }

    /// The bytes, or nothing at all in their place, so that the work done stays the same.
    const fn bytes(self) -> &'a [u8] {
        match self {
            Self::One(value) => value,
            Self::Missing | Self::Repeated => b"",
        }
    }
}

/// Tries every secret that counts at `now`. `claim` is what the headers alone say: a verdict other than
/// [`Verdict::Verified`] stands, whatever the secrets say, except that a stale claim must be a right one.
fn judge(
    secrets: &SecretSet,
    now: Timestamp,
    claim: Verdict,
    mut fits: impl FnMut(&Secret) -> bool,
) -> Verification {
    let (mut macs, mut any) = (0, false);
    for secret in secrets.valid(now) {
        macs += 1;
        any |= fits(secret);
    }
    let verdict = match claim {
        _ if macs == 0 => Verdict::NoSecret,
        Verdict::Verified | Verdict::Stale if !any => Verdict::Mismatch,
        claim => claim,
    };
    Verification { verdict, macs }
}

/// HMAC-SHA256 over the parts, end to end.
fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads a key to the hash's block with zeros and hashes a longer one; with that done here, no length can fail.
    let mut block = Zeroizing::new([0; 64]);
    match block.get_mut(..key.len()) {
        Some(start) => start.copy_from_slice(key),
        None => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.ct_eq(right).into()
}

/// A decimal number without sign, at most 16 digits.
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 16 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use crate::name::ProviderName;

    /// A delivery of these headers and this body.
    pub(super) fn delivery(headers: &[(&str, &[u8])], body: &[u8]) -> Delivery {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        Delivery::new(ProviderName::parse("any").unwrap(), map, Bytes::copy_from_slice(body))
    }

    pub(super) fn secrets(texts: &[&str]) -> SecretSet {
        SecretSet::new(texts.iter().map(|text| Secret::new(*text).unwrap()))
    }

    pub(super) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    type Scheme = fn(&Delivery, &SecretSet, Timestamp) -> Verification;

    const SCHEMES: [(Scheme, &str); 7] = [
        (|d, s, n| hex_hmac_sha256(d, "x-hub-signature-256", HexForm::Prefixed, s, n), "x-hub-signature-256"),
        (|d, s, n| hex_hmac_sha256(d, "x-gitea-signature", HexForm::Bare, s, n), "x-gitea-signature"),
        (|d, s, n| shared_token(d, "x-gitlab-token", TokenForm::Verbatim, s, n), "x-gitlab-token"),
        (|d, s, n| shared_token(d, "authorization", TokenForm::OrBearer, s, n), "authorization"),
        (standard_webhooks, "webhook-signature"),
        (gitee, "x-gitee-token"),
        (hook_path, "x-unused"),
    ];

    #[test]
    fn every_scheme_tries_every_valid_secret_whatever_was_sent() {
        let good = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let set = secrets(&["one", good, "three"]);
        for (scheme, header) in SCHEMES {
            for value in [&b""[..], b"x", b"one", b"sha256=", b"v1,", b"v1,%%", b"\xff\xfe", b"a, b"] {
                for sent in [vec![], vec![(header, value)], vec![(header, value), (header, value)]] {
                    let found = scheme(&delivery(&sent, b"{}"), &set, at(0));
                    assert_eq!(found.macs, 3, "{header} {value:?}");
                }
            }
            let nothing = scheme(&delivery(&[(header, b"")], b""), &SecretSet::default(), at(0));
            assert_eq!(nothing, Verification { verdict: Verdict::NoSecret, macs: 0 });
        }
    }

    #[test]
    fn a_secret_that_has_run_out_is_not_tried() {
        let set = secrets(&["old"]).rotated(
            Secret::new("new").unwrap(),
            at(0),
            jiff::SignedDuration::from_hours(1),
        );
        let sent = delivery(&[("x-gitlab-token", b"old")], b"{}");
        let verify = |second| shared_token(&sent, "x-gitlab-token", TokenForm::Verbatim, &set, at(second));
        assert_eq!(verify(3599), Verification { verdict: Verdict::Verified, macs: 2 });
        assert_eq!(verify(3600), Verification { verdict: Verdict::Mismatch, macs: 1 });
    }

    #[test]
    fn hmac_agrees_with_rfc_4231_for_short_and_long_keys() {
        let hex = |bytes: &[u8]| crate::name::hex(bytes);
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac_sha256(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(
            hex(&hmac_sha256(&[0x0b; 20], &[b"Hi There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    proptest! {
        #[test]
        fn no_scheme_panics_or_verifies_nonsense(
            value in prop::collection::vec(prop_oneof![9 => 0x20u8..0x7f, 1 => 0x80u8..=0xff], 0..100),
            stamp in "[0-9+-]{0,20}",
            body in prop::collection::vec(any::<u8>(), 0..64),
            twice in any::<bool>(),
            second in -100_000_000_000i64..100_000_000_000,
        ) {
            let set = secrets(&["secret-that-nobody-guesses", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]);
            for (scheme, header) in SCHEMES {
                let mut sent = vec![
                    (header, value.as_slice()),
                    ("webhook-id", b"msg_1"),
                    ("webhook-timestamp", stamp.as_bytes()),
                    ("x-gitee-timestamp", stamp.as_bytes()),
                ];
                if twice {
                    sent.push((header, b"x"));
                }
                let found = scheme(&delivery(&sent, &body), &set, at(second));
                prop_assert!(!found.verdict.is_verified());
                prop_assert_eq!(found.macs, 2);
            }
        }
    }
}
