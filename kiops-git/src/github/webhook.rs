//! GitHub's repository, organisation and App hooks as a [`WebhookSource`].

use std::borrow::Cow;

use jiff::Timestamp;
use kiops_core::Result;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{
    Delivery, SecretSet, Verdict, Verification, WebhookSource,
    scheme::{self, HexForm},
};

use super::decode;

const NAME: ProviderLiteral = ProviderLiteral::new("github");
const SIGNATURE: &str = "X-Hub-Signature-256";
const OLD_SIGNATURE: &str = "X-Hub-Signature";

/// GitHub's webhooks, named `github`: pushes, tags, pull requests, workflow runs and pings, as JSON or as a form with the field
/// `payload`. Anything else is ignored; `package` with a hint at the sender that takes images.
///
/// `X-GitHub-Event` says what a body is, since no field of the body does. No signature covers it: a body under another
/// event's name lacks that event's fields and is refused.
///
/// # Proof
/// `X-Hub-Signature-256`, over the bytes as sent, a form's too (E09). The SHA-1 signature beside it proves nothing; one that
/// comes alone is [`Verdict::Downgraded`] (E04).
///
/// # Replay
/// The signature covers the body and nothing else, so the body's digest is the key: `X-GitHub-Delivery` could be made up. GitHub
/// redelivers the same body, which is then a duplicate.
#[derive(Debug, Clone, Copy, Default)]
pub struct GitHubWebhook;

impl WebhookSource for GitHubWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let repository = decode::named_repository(&json(&delivery.body));
        (repository.id.is_some() || !repository.path.is_empty()).then_some(repository)
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        let found = scheme::hex_hmac_sha256(delivery, SIGNATURE, HexForm::Prefixed, secrets, now);
        if found.verdict == Verdict::Missing && delivery.has_header(OLD_SIGNATURE) {
            return Verification { verdict: Verdict::Downgraded, ..found };
        }
        found
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        let name = delivery.header("X-GitHub-Event");
        decode::decode(name, &json(&delivery.body)).map(|event| vec![event])
    }
}

/// The JSON of a body: of a form, its field `payload`. Forms are known by how they begin, which no JSON does.
fn json(body: &[u8]) -> Cow<'_, [u8]> {
    const FIELD: &[u8] = b"payload=";
    if !body.starts_with(FIELD) {
        return Cow::Borrowed(body);
    }
    let field = url::form_urlencoded::parse(body).next();
    field.map_or(Cow::Borrowed(body), |(_, value)| Cow::Owned(value.into_owned().into_bytes()))
}
