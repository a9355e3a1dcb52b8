//! Standard Webhooks (standardwebhooks.com): GitLab's signing tokens, and our own plain provider.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Field, digits, hmac_sha256, judge, same};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::webhook::{Delivery, SecretSet, Verdict, Verification};

/// The header of the delivery's id.
pub const ID_HEADER: &str = "webhook-id";
/// The header of the time of sending, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header of the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// What a signing token starts with.
const PREFIX: &[u8] = b"whsec_";
/// How far the timestamp may be from now, either way.
const TOLERANCE_MS: u64 = 5 * 60 * 1000;
/// More signatures than any rotation needs; what comes after them is not looked at.
const MAX_SIGNATURES: usize = 16;
const MAX_ID: usize = 256;

/// Tokens are typed and pasted by people: padding may be missing.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Whether one of the `v1` signatures in `webhook-signature` is the HMAC-SHA256 of `"{id}.{timestamp}.{body}"` under one
/// of the secrets, and the timestamp is within five minutes of now.
///
/// The header is a list with spaces between (`v1,BASE64 v1,BASE64`), for rotation; `v1a` and versions to come are
/// skipped. A secret is `whsec_` and the base64 of 24 to 64 bytes ([`signing_token`]); any other secret of the set is
/// tried like one and never fits. The id may hold 1 to 256 visible ASCII characters but no dot, since dots delimit what is signed.
pub fn standard_webhooks(delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
    let signatures = Field::of(delivery, SIGNATURE_HEADER);
    let id = Field::of(delivery, ID_HEADER).bytes();
    let stamp = Field::of(delivery, TIMESTAMP_HEADER).bytes();
    let sent: Vec<[u8; 32]> =
        signatures.bytes().split(|b| *b == b' ').filter_map(parse_signature).take(MAX_SIGNATURES).collect();
    let claim = match (signatures, digits(stamp)) {
        (Field::Missing, _) => Verdict::Missing,
        (Field::Repeated, _) | (_, None) => Verdict::Malformed,
        _ if sent.is_empty() || !is_id(id) => Verdict::Malformed,
        (Field::One(_), Some(second)) if is_stale(second, now) => Verdict::Stale,
        (Field::One(_), Some(_)) => Verdict::Verified,
    };
    judge(secrets, now, claim, |secret| {
        let key = parse_key(secret);
        let bytes = key.as_ref().map_or_else(|| secret.expose(), |key| key.as_slice());
        let mac = hmac_sha256(bytes, &[id, b".", stamp, b".", &delivery.body]);
        sent.iter().fold(false, |any, signature| any | same(signature, &mac)) & key.is_some()
    })
}

/// The value of `webhook-signature` for a delivery that we send: `v1,` and the MAC in base64.
///
/// Fails with [`crate::ErrorKind::Invalid`] if the secret is no signing token, or the id is one that
/// [`standard_webhooks`] would refuse. The caller sends `id` and the timestamp's whole seconds in their headers.
pub fn sign(secret: &Secret, id: &str, timestamp: Timestamp, body: &[u8]) -> Result<String> {
    let operation = "sign delivery";
    let key = parse_key(secret).ok_or_else(|| {
        Error::invalid(operation, "the secret is no signing token")
            .with_remedy("a signing token is `whsec_` and the base64 of 24 to 64 random bytes")
    })?;
    if !is_id(id.as_bytes()) {
        return Err(Error::invalid(
            operation,
            "the delivery id is not 1 to 256 visible characters without a dot",
        ));
    }
    let stamp = timestamp.as_second().to_string();
    let mac = hmac_sha256(&key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", body]);
    Ok(format!("v1,{}", STANDARD.encode(mac)))
}

/// The signing token of a key: `whsec_` and its base64. The key must have 24 to 64 bytes (else
/// [`crate::ErrorKind::Invalid`]), and should be random.
pub fn signing_token(key: &[u8]) -> Result<Secret> {
    let mut token = Zeroizing::new(String::from("whsec_"));
    STANDARD.encode_string(key, &mut token);
    Secret::new(token.as_bytes())
        .filter(|secret| parse_key(secret).is_some())
        .ok_or_else(|| Error::invalid("make signing token", "the key does not have 24 to 64 bytes"))
}

/// Whether a secret is meant to sign (`whsec_...`) rather than to be sent along.
pub fn is_signing_token(secret: &Secret) -> bool {
    secret.expose().starts_with(PREFIX)
}

fn parse_key(secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let key = Zeroizing::new(LENIENT.decode(secret.expose().strip_prefix(PREFIX)?).ok()?);
    (24..=64).contains(&key.len()).then_some(key)
}

/// The strict decoder takes one spelling only: a changed character is never the same signature.
fn parse_signature(item: &[u8]) -> Option<[u8; 32]> {
    let text = item.strip_prefix(b"v1,")?;
    if text.len() != 44 {
        return None;
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn is_id(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= MAX_ID && id.iter().all(|b| b.is_ascii_graphic() && *b != b'.')
}

fn is_stale(second: i64, now: Timestamp) -> bool {
    second.checked_mul(1000).is_none_or(|sent| now.as_millisecond().abs_diff(sent) > TOLERANCE_MS)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, delivery, secrets};
    use super::*;

    /// The vector in the reference libraries' own tests.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const SENT: i64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const GOOD: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
    const OTHER: &str = "v1,tFtCZ5RDCPxzWQRWXWPgrCgE2frDBe9gjpbWQxnVfsQ=";

    fn verify(signature: &str) -> Verdict {
        verify_with(ID, &SENT.to_string(), signature, &[SECRET], SENT)
    }

    fn verify_with(id: &str, stamp: &str, signature: &str, known: &[&str], now: i64) -> Verdict {
        let headers = [
            (ID_HEADER, id.as_bytes()),
            (TIMESTAMP_HEADER, stamp.as_bytes()),
            (SIGNATURE_HEADER, signature.as_bytes()),
        ];
        let found = standard_webhooks(&delivery(&headers, BODY), &secrets(known), at(now));
        assert_eq!(found.macs, known.len());
        found.verdict
    }

    #[test]
    fn one_right_signature_in_the_list_is_enough() {
        assert_eq!(verify(GOOD), Verdict::Verified);
        assert_eq!(verify(&format!("{OTHER} {GOOD}")), Verdict::Verified);
        assert_eq!(verify(&format!("v1a,xyz v2,abc {GOOD}")), Verdict::Verified);
        assert_eq!(verify(OTHER), Verdict::Mismatch);
        let crowd = vec![OTHER; 16].join(" ");
        assert_eq!(verify(&format!("{crowd} {GOOD}")), Verdict::Mismatch);
    }

    #[test]
    fn other_versions_and_broken_signatures_are_malformed() {
        let digest = &GOOD[3..];
        for bad in [
            format!("v2,{digest}"),
            format!("v1a,{digest}"),
            format!("v1 {digest}"),
            format!("V1,{digest}"),
            format!("v1,{digest},v1,{digest}"),
            format!("v1, {digest}"),
            "v1,".to_owned(),
            "v1,tZ1I4/hDygAJgO5TY".to_owned(),
            GOOD[..GOOD.len() - 1].to_owned(),
            GOOD.replace("w=", "x="),
            GOOD.replace('/', "_"),
            String::new(),
        ] {
            assert_eq!(verify(&bad), Verdict::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn id_and_timestamp_are_signed_and_required() {
        let stamp = SENT.to_string();
        let with = |id: &str, stamp: &str| verify_with(id, stamp, GOOD, &[SECRET], SENT);
        assert_eq!(with("msg_other", &stamp), Verdict::Mismatch);
        assert_eq!(with(ID, &(SENT + 1).to_string()), Verdict::Mismatch);
        for bad in ["", "msg.1", "msg 1", "mäg"] {
            assert_eq!(with(bad, &stamp), Verdict::Malformed, "{bad:?}");
        }
        for bad in ["", "+1649367553", "-1", "1649367553.0", "0x62", "99999999999999999"] {
            assert_eq!(with(ID, bad), Verdict::Malformed, "{bad:?}");
        }
        let headers = [(SIGNATURE_HEADER, GOOD.as_bytes())];
        let found = standard_webhooks(&delivery(&headers, BODY), &secrets(&[SECRET]), at(SENT));
        assert_eq!(found, Verification { verdict: Verdict::Malformed, macs: 1 });
    }

    #[test]
    fn a_right_signature_counts_for_five_minutes_either_way() {
        let stamp = SENT.to_string();
        let at_second = |now| verify_with(ID, &stamp, GOOD, &[SECRET], now);
        assert_eq!(at_second(SENT + 300), Verdict::Verified);
        assert_eq!(at_second(SENT - 300), Verdict::Verified);
        assert_eq!(at_second(SENT + 301), Verdict::Stale);
        assert_eq!(at_second(SENT - 301), Verdict::Stale);
        assert_eq!(verify_with(ID, &stamp, OTHER, &[SECRET], SENT + 301), Verdict::Mismatch);
    }

    #[test]
    fn only_a_signing_token_of_twenty_four_to_sixty_four_bytes_is_a_key() {
        let stamp = SENT.to_string();
        for key in [&[7; 24][..], &[7; 32], &[7; 64]] {
            let token = signing_token(key).unwrap();
            let signature = sign(&token, ID, at(SENT), BODY).unwrap();
            let text = token.expose_str().unwrap();
            assert_eq!(verify_with(ID, &stamp, &signature, &["x", text], SENT), Verdict::Verified);
            let unpadded = text.trim_end_matches('=');
            assert_eq!(verify_with(ID, &stamp, &signature, &[unpadded], SENT), Verdict::Verified);
        }
        for key in [&[7; 23][..], &[7; 65], &[]] {
            assert!(signing_token(key).is_err());
            let weak = format!("whsec_{}", STANDARD.encode(key));
            let mac = hmac_sha256(key, &[ID.as_bytes(), b".", stamp.as_bytes(), b".", BODY]);
            let signature = format!("v1,{}", STANDARD.encode(mac));
            assert_eq!(verify_with(ID, &stamp, &signature, &[&weak], SENT), Verdict::Mismatch);
        }
        let plain = "a plain token";
        let mac = hmac_sha256(plain.as_bytes(), &[ID.as_bytes(), b".", stamp.as_bytes(), b".", BODY]);
        let signature = format!("v1,{}", STANDARD.encode(mac));
        assert_eq!(verify_with(ID, &stamp, &signature, &[plain], SENT), Verdict::Mismatch);
        assert!(sign(&Secret::new(plain).unwrap(), ID, at(SENT), BODY).is_err());
        assert!(sign(&Secret::new(SECRET).unwrap(), "a.b", at(SENT), BODY).is_err());
    }

    #[test]
    fn signing_gives_the_reference_vector() {
        assert_eq!(sign(&Secret::new(SECRET).unwrap(), ID, at(SENT), BODY).unwrap(), GOOD);
    }
}
