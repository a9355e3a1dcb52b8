//! The real senders, with a count of the MACs that they compute.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::Result;
use kiops_core::event::{Event, Repository};
use kiops_core::name::ProviderName;
use kiops_core::webhook::{Delivery, ReplayKey, SecretSet, Verification, WebhookSource};

/// Every sender of the quickstart, counting into `macs`.
pub(super) fn counted(macs: &Arc<AtomicUsize>) -> Vec<Arc<dyn WebhookSource>> {
    let count = |source| Arc::new(Counted { source, macs: Arc::clone(macs) }) as Arc<dyn WebhookSource>;
    kiops_examples::http::senders().into_iter().map(count).collect()
}

#[derive(Debug)]
struct Counted {
    source: Arc<dyn WebhookSource>,
    macs: Arc<AtomicUsize>,
}

impl WebhookSource for Counted {
    fn name(&self) -> ProviderName {
        self.source.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        self.source.repository(delivery)
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        let verification = self.source.verify(delivery, secrets, now);
        self.macs.fetch_add(verification.macs, Ordering::Relaxed);
        verification
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        self.source.decode(delivery)
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        self.source.replay_key(delivery)
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        self.source.redact(delivery)
    }

    fn signs(&self) -> bool {
        self.source.signs()
    }

    fn covers_body(&self) -> bool {
        self.source.covers_body()
    }

    fn spans_repositories(&self) -> bool {
        self.source.spans_repositories()
    }
}
