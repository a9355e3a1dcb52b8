//! Gitee: a password, or a MAC over a timestamp; never over the body.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use percent_encoding::percent_decode;

use super::{Field, digits, hmac_sha256, judge, same};
use crate::webhook::{Delivery, SecretSet, Verdict, Verification};

/// How far `X-Gitee-Timestamp` may be from now, either way.
const TOLERANCE_MS: u64 = 60 * 60 * 1000;

/// Whether `X-Gitee-Token` is one of the secrets, or the HMAC-SHA256 in base64 of `"{timestamp}\n{secret}"` under it,
/// where the timestamp is `X-Gitee-Timestamp`, in milliseconds and within an hour of now (E11). The timestamp is asked
/// for with a password too, since Gitee sends it with both. The MAC may be URL-encoded.
///
/// The body is not covered: for that hour the pair of headers vouches for any body. So the replay key must not rest on
/// them, and the commit is fetched again before it is built.
pub fn gitee(delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
    let token = Field::of(delivery, "X-Gitee-Token");
    let stamp = Field::of(delivery, "X-Gitee-Timestamp");
    let sent_at = digits(stamp.bytes());
    let claim = match (token, sent_at) {
        (Field::Missing, _) => Verdict::Missing,
        (Field::Repeated, _) | (_, None) => Verdict::Malformed,
        (Field::One(_), Some(sent)) if now.as_millisecond().abs_diff(sent) > TOLERANCE_MS => Verdict::Stale,
        (Field::One(_), Some(_)) => Verdict::Verified,
    };
    let decoded: Cow<'_, [u8]> = percent_decode(token.bytes()).into();
    let mac: Option<[u8; 32]> = STANDARD.decode(&decoded).ok().and_then(|mac| mac.try_into().ok());
    judge(secrets, now, claim, |secret| {
        let ours = hmac_sha256(secret.expose(), &[stamp.bytes(), b"\n", secret.expose()]);
        let signed = same(&ours, &mac.unwrap_or_default()) & mac.is_some();
        signed | secret.matches(token.bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, delivery, secrets};
    use super::*;

    /// A pair that drone/go-scm's tests publish; the timestamp is 2021-10-08T07:44:43.918Z.
    const SECRET: &str = "bBg5lrt03VixkX85CNqYIcecC0SIGASE";
    const STAMP: &str = "1633679083918";
    const TOKEN: &str = "Xvh4YPVe6l31XpDRL9J2yeaEXabsckIoUUschpXiVck=";
    const SENT: i64 = 1_633_679_084;

    fn verify(token: &str, stamp: Option<&str>, now: i64) -> Verdict {
        let mut headers = vec![("X-Gitee-Token", token.as_bytes())];
        headers.extend(stamp.map(|stamp| ("X-Gitee-Timestamp", stamp.as_bytes())));
        let found = gitee(&delivery(&headers, b"{}"), &secrets(&["other", SECRET]), at(now));
        assert_eq!(found.macs, 2);
        found.verdict
    }

    #[test]
    fn a_signature_verifies_also_url_encoded() {
        assert_eq!(verify(TOKEN, Some(STAMP), SENT), Verdict::Verified);
        assert_eq!(verify(&TOKEN.replace('=', "%3D"), Some(STAMP), SENT), Verdict::Verified);
        assert_eq!(verify(TOKEN, Some("1633679083917"), SENT), Verdict::Mismatch);
        assert_eq!(verify(&TOKEN[1..], Some(STAMP), SENT), Verdict::Mismatch);
    }

    #[test]
    fn a_plain_password_verifies_with_a_timestamp() {
        assert_eq!(verify(SECRET, Some(STAMP), SENT), Verdict::Verified);
        assert_eq!(verify(&SECRET[1..], Some(STAMP), SENT), Verdict::Mismatch);
    }

    #[test]
    fn the_timestamp_is_required_in_milliseconds_and_within_an_hour() {
        for token in [TOKEN, SECRET] {
            assert_eq!(verify(token, None, SENT), Verdict::Malformed);
            assert_eq!(verify(token, Some(""), SENT), Verdict::Malformed);
            assert_eq!(verify(token, Some("-1633679083918"), SENT), Verdict::Malformed);
            assert_eq!(verify(token, Some(STAMP), SENT + 3599), Verdict::Verified);
            assert_eq!(verify(token, Some(STAMP), SENT + 3601), Verdict::Stale);
            assert_eq!(verify(token, Some(STAMP), SENT - 3599), Verdict::Verified);
            assert_eq!(verify(token, Some(STAMP), SENT - 3602), Verdict::Stale);
        }
    }
}
