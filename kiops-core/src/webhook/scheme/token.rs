//! Senders that sign nothing and repeat a shared secret instead, in a header or as part of the path.

use jiff::Timestamp;

use super::{Field, judge};
use crate::webhook::{Delivery, SecretSet, Verdict, Verification};

/// What a token header may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenForm {
    /// The secret itself. GitLab's `X-Gitlab-Token`.
    Verbatim,
    /// The secret itself, or `Bearer ` and the secret (E14). Harbor sends as `Authorization` what its form was given.
    OrBearer,
}

/// Whether `header` is one of the secrets, byte for byte. It says nothing of the body: whoever sees one delivery can send
/// any other, so a sender that also signs is held to its signature.
pub fn shared_token(
    delivery: &Delivery,
    header: &str,
    form: TokenForm,
    secrets: &SecretSet,
    now: Timestamp,
) -> Verification {
    let field = Field::of(delivery, header);
    let claim = match field {
        Field::Missing => Verdict::Missing,
        Field::Repeated => Verdict::Malformed,
        Field::One(_) => Verdict::Verified,
    };
    let whole = field.bytes();
    let bare = match whole.split_at_checked(7) {
        Some((scheme, token)) if form == TokenForm::OrBearer && scheme.eq_ignore_ascii_case(b"bearer ") => {
            token
        }
        _ => whole,
    };
    judge(secrets, now, claim, |secret| secret.matches(whole) | secret.matches(bare))
}

/// Whether the unguessable part of the delivery's path is one of the secrets: for senders that prove nothing at all
/// (Docker Hub, Alibaba ACR; E12, E13). What such a delivery claims is confirmed elsewhere before it is acted on.
pub fn hook_path(delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
    let hook = delivery.hook.as_ref();
    let claim = if hook.is_some() { Verdict::Verified } else { Verdict::Missing };
    let sent = hook.map_or(&b""[..], |hook| hook.as_str().as_bytes());
    judge(secrets, now, claim, |secret| secret.matches(sent))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, delivery, secrets};
    use super::*;
    use crate::name::HookId;

    fn token(form: TokenForm, values: &[&[u8]], known: &[&str]) -> Verdict {
        let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
        shared_token(&delivery(&headers, b"{}"), "Authorization", form, &secrets(known), at(0)).verdict
    }

    #[test]
    fn a_token_is_compared_whole_and_byte_for_byte() {
        let verbatim = |value: &[u8]| token(TokenForm::Verbatim, &[value], &["other", "s3cret-ä"]);
        assert_eq!(verbatim("s3cret-ä".as_bytes()), Verdict::Verified);
        for bad in ["", "s3cret-", "s3cret-ä ", "S3cret-ä", "Bearer s3cret-ä", "other,s3cret-ä"] {
            assert_eq!(verbatim(bad.as_bytes()), Verdict::Mismatch, "{bad:?}");
        }
        assert_eq!(token(TokenForm::Verbatim, &[b"a", b"a"], &["a"]), Verdict::Malformed);
        assert_eq!(token(TokenForm::Verbatim, &[], &["a"]), Verdict::Missing);
    }

    #[test]
    fn harbor_may_send_the_secret_raw_or_as_a_bearer_token() {
        for (value, known) in
            [("abc", "abc"), ("Bearer abc", "abc"), ("bearer abc", "abc"), ("Bearer abc", "Bearer abc")]
        {
            assert_eq!(
                token(TokenForm::OrBearer, &[value.as_bytes()], &[known]),
                Verdict::Verified,
                "{value}"
            );
        }
        for value in ["Bearer", "Bearer ", "Bearer  abc", "Basic abc", "abcBearer "] {
            assert_eq!(
                token(TokenForm::OrBearer, &[value.as_bytes()], &["abc"]),
                Verdict::Mismatch,
                "{value}"
            );
        }
    }

    #[test]
    fn an_unguessable_path_vouches_only_where_it_is_a_known_one() {
        let mut sent = delivery(&[], b"{}");
        let set = secrets(&["0123456789abcdefXYZ"]);
        assert_eq!(hook_path(&sent, &set, at(0)).verdict, Verdict::Missing);
        sent.hook = Some(HookId::parse("0123456789abcdefXYZ").unwrap());
        assert_eq!(hook_path(&sent, &set, at(0)).verdict, Verdict::Verified);
        sent.hook = Some(HookId::parse("0123456789abcdefXYz").unwrap());
        assert_eq!(hook_path(&sent, &set, at(0)).verdict, Verdict::Mismatch);
    }
}
