//! Starting queued builds as slots come free.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Shared, backoff};
use crate::engine::step::Input;
use crate::error::{ErrorKind, Result};
use crate::queue::pick;

pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        if let Err(error) = shared.start_builds().await {
            tracing::error!(%error, "the queue could not be looked at");
        }
        // Slots that another process frees are found by the sweep.
        let _ = tokio::time::timeout(shared.config.sweep, shared.queue.notified()).await;
    }
}

impl Shared {
    async fn start_builds(&self) -> Result<()> {
        loop {
            let (waiting, slots) = self.store.queue().await?;
            let slots: BTreeSet<_> = slots.into_iter().collect();
            let executors = self.adapters.executor_names();
            let picks = pick(&waiting, &slots, &executors, &self.config.limits, self.clock.now());
            if picks.is_empty() {
                return Ok(());
            }
            for pick in picks {
                let service = pick.service.clone();
                match self.step(&service, Input::Start(pick), None).await {
                    Ok(_) => {}
                    // It was canceled, or its slot was taken meanwhile: the picture is old.
                    Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                        tracing::debug!(%error, "a build did not start");
                        tokio::time::sleep(backoff(0)).await;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
