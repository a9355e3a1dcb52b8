//! Signed deliveries with one bit changed, a million and a half of them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::scheme::{self, HexForm};
use super::{Delivery, SecretSet, Verification};
use crate::name::ProviderName;
use crate::secret::Secret;

/// How many in each run; there are three runs.
const FLIPS: usize = 500_000;

/// Splitmix64: small, and the same run every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

/// Changes one bit of the body or of a header at a time. What HTTP itself would refuse as a header counts as refused.
fn none_verifies(
    seed: u64,
    headers: &[(&'static str, String)],
    body: &[u8],
    verify: impl Fn(&Delivery) -> Verification,
) {
    let mut parts: Vec<Vec<u8>> = headers.iter().map(|(_, value)| value.clone().into_bytes()).collect();
    parts.push(body.to_vec());
    let names: Vec<HeaderName> = headers.iter().map(|(name, _)| HeaderName::from_static(name)).collect();
    let provider = ProviderName::parse("any").unwrap();
    let delivery = |parts: &[Vec<u8>]| {
        let mut map = HeaderMap::with_capacity(names.len());
        for (name, value) in names.iter().zip(parts) {
            map.append(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(Delivery::new(provider.clone(), map, Bytes::copy_from_slice(&parts[names.len()])))
    };
    assert!(verify(&delivery(&parts).unwrap()).verdict.is_verified(), "unchanged, it verifies");
    let mut random = Random(seed);
    for round in 0..FLIPS {
        let part = random.below(parts.len());
        let (byte, bit) = (random.below(parts[part].len()), random.below(8));
        parts[part][byte] ^= 1 << bit;
        if let Some(changed) = delivery(&parts) {
            let found = verify(&changed);
            assert!(!found.verdict.is_verified(), "round {round} of seed {seed}: part {part} {byte}.{bit}");
            assert_eq!(found.macs, 1);
        }
        parts[part][byte] ^= 1 << bit;
    }
}

#[test]
fn of_half_a_million_bit_flips_in_standard_webhooks_deliveries_none_is_accepted() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let secret = scheme::signing_token(&[42; 32]).unwrap();
    let body = br#"{"repository":"a","pusher":"b","changes":[]}"#;
    let signature = scheme::sign(&secret, "msg_1", now, body).unwrap();
    let headers = [
        (scheme::ID_HEADER, "msg_1".to_owned()),
        (scheme::TIMESTAMP_HEADER, now.as_second().to_string()),
        (scheme::SIGNATURE_HEADER, signature),
    ];
    let set = SecretSet::new([secret]);
    none_verifies(1, &headers, body, |delivery| scheme::standard_webhooks(delivery, &set, now));
}

#[test]
fn of_a_million_bit_flips_in_hex_hmac_deliveries_none_is_accepted() {
    let set = SecretSet::new(Secret::new("It's a Secret to Everybody"));
    let digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    for (seed, form, value) in
        [(2, HexForm::Prefixed, format!("sha256={digest}")), (3, HexForm::Bare, digest.into())]
    {
        let now = Timestamp::UNIX_EPOCH;
        none_verifies(seed, &[("x-signature", value)], b"Hello, World!", |delivery| {
            scheme::hex_hmac_sha256(delivery, "x-signature", form, &set, now)
        });
    }
}
