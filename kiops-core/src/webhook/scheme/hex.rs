//! HMAC-SHA256 of the body in hexadecimal: GitHub, Bitbucket, Gitea, Forgejo, Gogs.

use jiff::Timestamp;

use super::{Field, hmac_sha256, judge, same};
use crate::webhook::{Delivery, SecretSet, Verdict, Verification};

/// How the header writes the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HexForm {
    /// `sha256=` and the digits. GitHub's `X-Hub-Signature-256`; `X-Hub-Signature` of Bitbucket Cloud and Data Center.
    Prefixed,
    /// The digits alone. `X-Gitea-Signature`, `X-Forgejo-Signature`, `X-Gogs-Signature`.
    Bare,
}

/// Whether `header` is the HMAC-SHA256 of the raw body under one of the secrets.
///
/// Exactly 64 *lower-case* hexadecimal digits count. All five senders document and send lower case, and one spelling a
/// digest means that no changed bit of a header is ever the same header. `sha1=` is malformed where `sha256=` is asked
/// for: the weaker digest alone is never enough (E04).
pub fn hex_hmac_sha256(
    delivery: &Delivery,
    header: &str,
    form: HexForm,
    secrets: &SecretSet,
    now: Timestamp,
) -> Verification {
    let field = Field::of(delivery, header);
    let sent = match form {
        HexForm::Prefixed => field.bytes().strip_prefix(b"sha256="),
        HexForm::Bare => Some(field.bytes()),
    };
    let digest = sent.and_then(parse_digest);
    let claim = match (field, digest) {
        (Field::Missing, _) => Verdict::Missing,
        (_, None) => Verdict::Malformed,
        (_, Some(_)) => Verdict::Verified,
    };
    let digest = digest.unwrap_or_default();
    judge(secrets, now, claim, |secret| same(&hmac_sha256(secret.expose(), &[&delivery.body]), &digest))
}

fn parse_digest(text: &[u8]) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != 32 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(digest)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, delivery, secrets};
    use super::*;

    /// The example in GitHub's documentation on validating deliveries.
    const DIGEST: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn prefixed(values: &[&[u8]]) -> Verification {
        let headers: Vec<_> = values.iter().map(|value| ("X-Hub-Signature-256", *value)).collect();
        let sent = delivery(&headers, b"Hello, World!");
        let set = secrets(&["It's a Secret to Everybody"]);
        hex_hmac_sha256(&sent, "X-Hub-Signature-256", HexForm::Prefixed, &set, at(0))
    }

    #[test]
    fn githubs_documented_signature_verifies() {
        assert_eq!(prefixed(&[format!("sha256={DIGEST}").as_bytes()]).verdict, Verdict::Verified);
        let sent = delivery(&[("X-Gogs-Signature", DIGEST.as_bytes())], b"Hello, World!");
        let set = secrets(&["other", "It's a Secret to Everybody", "third"]);
        let bare = hex_hmac_sha256(&sent, "X-Gogs-Signature", HexForm::Bare, &set, at(0));
        assert_eq!(bare, Verification { verdict: Verdict::Verified, macs: 3 });
    }

    #[test]
    fn anything_but_sixty_four_lower_case_digits_after_the_prefix_is_malformed() {
        let good = format!("sha256={DIGEST}");
        let cases = [
            DIGEST.to_owned(),
            good.to_uppercase(),
            format!("sha256={}", DIGEST.to_uppercase()),
            format!("sha1={DIGEST}"),
            "sha1=cf93f9ba3c8d3a789e61f91e1e5c6a360d036e98".to_owned(),
            good[..good.len() - 1].to_owned(),
            format!("{good}0"),
            format!(" {good}"),
            format!("{good} "),
            format!("sha256= {DIGEST}"),
            format!("{good},{good}"),
            format!("{good} {good}"),
            good.replace('7', "g"),
            "sha256=".to_owned(),
            String::new(),
        ];
        for bad in cases {
            let found = prefixed(&[bad.as_bytes()]);
            assert_eq!(found, Verification { verdict: Verdict::Malformed, macs: 1 }, "{bad:?}");
        }
        let not_ascii = [b"sha256=".as_slice(), &[0xff; 64]].concat();
        assert_eq!(prefixed(&[&not_ascii]).verdict, Verdict::Malformed);
    }

    #[test]
    fn a_repeated_header_is_malformed_and_a_missing_one_is_missing() {
        let good = format!("sha256={DIGEST}");
        assert_eq!(prefixed(&[good.as_bytes(), good.as_bytes()]).verdict, Verdict::Malformed);
        assert_eq!(prefixed(&[]), Verification { verdict: Verdict::Missing, macs: 1 });
    }

    #[test]
    fn a_body_that_was_written_anew_does_not_verify() {
        let header = format!("sha256={DIGEST}");
        for body in [&b"Hello, World"[..], b"hello, World!", b"\xef\xbb\xbfHello, World!", b"Hello, World!\n"]
        {
            let sent = delivery(&[("x-hub-signature-256", header.as_bytes())], body);
            let set = secrets(&["It's a Secret to Everybody"]);
            let found = hex_hmac_sha256(&sent, "x-hub-signature-256", HexForm::Prefixed, &set, at(0));
            assert_eq!(found.verdict, Verdict::Mismatch);
        }
    }
}
