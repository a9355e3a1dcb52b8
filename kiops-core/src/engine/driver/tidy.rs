//! Removing what was kept long enough.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Shared;

const EVERY: Duration = Duration::from_secs(3600);

/// At the start and once an hour. What fails is tried again an hour later: nobody waits for it.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.tidy().await;
        tokio::time::sleep(EVERY).await;
    }
}

impl Shared {
    async fn tidy(&self) {
        let (now, keep) = (self.clock.now(), self.config.keep);
        if let Some(before) = keep.bodies.and_then(|kept| before(now, kept))
            && let Err(error) = self.store.expire(before).await
        {
            tracing::warn!(%error, "old bodies of deliveries could not be removed");
        }
        if let Some(before) = keep.logs.and_then(|kept| before(now, kept)) {
            match self.logs.expire(before).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "old logs were removed"),
                Err(error) => tracing::warn!(%error, "old logs could not be removed"),
            }
        }
    }
}

/// `None`: longer than there is time.
fn before(now: Timestamp, kept: Duration) -> Option<Timestamp> {
    now.checked_sub(SignedDuration::try_from(kept).ok()?).ok()
}
