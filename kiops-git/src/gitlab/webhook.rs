//! GitLab's project, group and system hooks as a [`WebhookSource`].

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::Result;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{
    Delivery, ReplayKey, SecretSet, Verdict, Verification, WebhookSource,
    scheme::{self, TokenForm},
};

use super::{decode, redact};

const NAME: ProviderLiteral = ProviderLiteral::new("gitlab");
const TOKEN_HEADER: &str = "X-Gitlab-Token";

/// GitLab's webhooks, named `gitlab`: pushes, tags, merge requests and pipelines, from project, group and system hooks.
/// Anything else is ignored.
///
/// What kind of event a delivery is, is read from its body alone: no signature covers `X-Gitlab-Event`. A system hook's
/// deliveries are therefore the same events as a project hook's (E32).
///
/// # Proof
/// A delivery that carries `webhook-signature` must pass Standard Webhooks under a signing token (`whsec_...`) of the set,
/// whatever else it carries; `webhook-id` and `webhook-timestamp` alone say nothing, since GitLab always sends them. One
/// without a signature may show `X-Gitlab-Token`, but not while the set holds a signing token: that is
/// [`Verdict::Downgraded`] (E02). So after changing a hook from a secret token to a signing token, deliveries with the old token
/// are refused at once, and the other way round the token counts only once the signing token has run out.
///
/// # Replay
/// A signed delivery is known by its signed `webhook-id`, which GitLab keeps over retries and *Resend* (E03). The secret
/// token covers nothing, so whoever could replay could as well invent: there the key only tells retries from new deliveries. It is the body
/// together with `Idempotency-Key`, or `X-Gitlab-Event-UUID` before GitLab 17.4, or alone where there is neither.
#[derive(Debug, Clone, Copy, Default)]
pub struct GitLabWebhook;

impl WebhookSource for GitLabWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let repository = decode::named_repository(&delivery.body);
        (repository.id.is_some() || !repository.path.is_empty()).then_some(repository)
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        if delivery.has_header(scheme::SIGNATURE_HEADER) {
            return scheme::standard_webhooks(delivery, secrets, now);
        }
        let found = scheme::shared_token(delivery, TOKEN_HEADER, TokenForm::Verbatim, secrets, now);
        let signing = secrets.valid(now).any(scheme::is_signing_token);
        if signing && delivery.has_header(TOKEN_HEADER) {
            return Verification { verdict: Verdict::Downgraded, ..found };
        }
        found
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        decode::decode(&delivery.body).map(|event| vec![event])
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        if delivery.has_header(scheme::SIGNATURE_HEADER)
            && let Some(id) = delivery.header(scheme::ID_HEADER)
        {
            return ReplayKey::of_signed_id(id);
        }
        match ["Idempotency-Key", "X-Gitlab-Event-UUID"].iter().find_map(|name| delivery.header(name)) {
            Some(id) => ReplayKey::of_body_and(delivery, id),
            None => ReplayKey::of_body(delivery),
        }
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        redact::redact(&delivery.body)
    }
}
