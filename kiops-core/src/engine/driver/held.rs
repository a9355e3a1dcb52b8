//! The claims that this driver holds: renewed while they are performed, let go of when they are lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Shared, later};
use crate::name::WorkId;
use crate::store::Claim;

#[derive(Debug, Default)]
pub(super) struct Held(Mutex<BTreeMap<WorkId, (Claim, watch::Sender<bool>)>>);

impl Held {
    pub(super) fn hold(&self, claim: &Claim) {
        let (lost, _) = watch::channel(false);
        self.map().insert(claim.work.id.clone(), (claim.clone(), lost));
    }

    pub(super) fn release(&self, claim: &Claim) {
        let mut held = self.map();
        if held.get(&claim.work.id).is_some_and(|(other, _)| other.fence == claim.fence) {
            held.remove(&claim.work.id);
        }
    }

    /// Whoever performs this work is told to stop.
    pub(super) fn let_go(&self, id: &WorkId) {
        if let Some((_, lost)) = self.map().get(id) {
            lost.send_replace(true);
        }
    }

    /// Whoever follows something is told to stop; what is being stored goes on.
    pub(super) fn let_go_of_runs(&self) {
        for (claim, lost) in self.map().values() {
            if claim.work.effect.follows() {
                lost.send_replace(true);
            }
        }
    }

    /// Resolves when the claim is lost.
    pub(super) async fn lost(&self, claim: &Claim) {
        let receiver = self.map().get(&claim.work.id).map(|(_, lost)| lost.subscribe());
        let Some(mut receiver) = receiver else { return };
        // A sender that is gone means that the work is over.
        let _ = receiver.wait_for(|lost| *lost).await;
    }

    fn claims(&self) -> Vec<Claim> {
        self.map().values().map(|(claim, _)| claim.clone()).collect()
    }

    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<WorkId, (Claim, watch::Sender<bool>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews every held claim three times in a lease. A store that cannot be reached costs nothing until the lease is over:
/// then somebody else may have the work, and saving fails.
pub(super) async fn renew(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.config.lease / 3).await;
        let claims = shared.held.claims();
        if claims.is_empty() {
            continue;
        }
        let until = later(shared.clock.now(), shared.config.lease);
        match shared.store.renew(&claims, until).await {
            Ok(still) => {
                for (claim, _) in claims.iter().zip(still).filter(|(_, still)| !still) {
                    shared.held.let_go(&claim.work.id);
                }
            }
            Err(error) => tracing::error!(%error, "leases could not be renewed"),
        }
    }
}
