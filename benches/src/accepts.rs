//! Deliveries made durable by the SQLite store, beside a file to which the same bytes are appended, each followed by
//! `fdatasync`.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::build::Trigger;
use kiops_core::name::{DeliveryId, ProviderName, ServiceName};
use kiops_core::secret::{SealingKey, StaticKey};
use kiops_core::store::{Accepted, DeliveryRecord, EventRecord, NewDelivery, Store as _};
use kiops_core::webhook::{Delivery, WebhookSource as _, scheme};
use kiops_git::gitlab::GitLabWebhook;
use kiops_store::{SqliteConfig, SqliteStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Outcome, push, scratch};

/// A store and a file, side by side on one disk.
#[derive(Debug)]
pub struct Accepts {
    runtime: Runtime,
    store: SqliteStore,
    file: File,
    bytes: usize,
    made: usize,
    body: Bytes,
    _folder: TempDir,
}

impl Accepts {
    /// For deliveries of this many bytes each.
    pub fn of(bytes: usize) -> Outcome<Self> {
        let folder = scratch()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let keys = Arc::new(StaticKey::new(SealingKey::new([1; 32])));
        let config = SqliteConfig::new(folder.path().join("kiops.db"));
        let store = runtime.block_on(SqliteStore::open(config, keys))?;
        let file = File::create(folder.path().join("raw"))?;
        let body = push::body(bytes, "77", "group/app", 0)?.into();
        Ok(Self { runtime, store, file, bytes, made: 0, body, _folder: folder })
    }

    /// The subject: `n` deliveries, each different from all before, accepted by as many callers at a time. Every caller hands in
    /// its next delivery when the one before is durable. Says the time for one delivery. Making the deliveries is not timed:
    /// verifying and decoding them is another figure.
    pub fn accept(&mut self, n: usize, callers: usize) -> Outcome<Duration> {
        self.timed(n, callers, false)
    }

    /// The same with what comes later: everything that was accepted is moved to where it is looked up, as the next write of any
    /// other kind does.
    pub fn accept_and_move(&mut self, n: usize, callers: usize) -> Outcome<Duration> {
        self.timed(n, callers, true)
    }

    fn timed(&mut self, n: usize, callers: usize, and_move: bool) -> Outcome<Duration> {
        let new = (0..n).map(|_| self.delivery()).collect::<Outcome<Vec<_>>>()?;
        let queues = deal(new, callers);
        let store = &self.store;
        self.runtime.block_on(async {
            let start = Instant::now();
            let callers: Vec<_> =
                queues.into_iter().map(|queue| tokio::spawn(hand_in(store.clone(), queue))).collect();
            let mut stored = 0;
            for caller in callers {
                stored += caller.await??;
            }
            if and_move {
                store.check().await?;
            }
            let elapsed = start.elapsed();
            if stored == n { per(elapsed, n) } else { Err(format!("{stored} of {n} were stored").into()) }
        })
    }

    /// The reference: the bodies of `n` deliveries appended to a file, each followed by `fdatasync`. Says the time for one.
    pub fn append(&mut self, n: usize) -> Outcome<Duration> {
        let start = Instant::now();
        for _ in 0..n {
            self.file.write_all(&self.body)?;
            self.file.sync_data()?;
        }
        per(start.elapsed(), n)
    }

    /// A delivery as the ingest hands it to a store.
    fn delivery(&mut self) -> Outcome<NewDelivery> {
        self.made += 1;
        let n = self.made;
        let (service, provider) = (ServiceName::parse("app")?, ProviderName::parse("gitlab")?);
        let body: Bytes = push::body(self.bytes, "77", "group/app", n)?.into();
        let now = Timestamp::from_second(1_800_000_000)?;
        let token = scheme::signing_token(&[7; 32])?;
        let headers = push::signed_headers(&token, &format!("delivery-{n}"), now, &body)?;
        let delivery = Delivery::new(provider.clone(), headers, body);
        let replay = GitLabWebhook.replay_key(&delivery);
        let record = DeliveryRecord {
            id: DeliveryId::derive([service.as_str(), replay.as_str()]),
            service,
            provider,
            trigger: Trigger::Webhook,
            received_at: now,
            signed: true,
            repeat: false,
            events: GitLabWebhook.decode(&delivery)?.into_iter().map(EventRecord::new).collect(),
            quarantined: None,
        };
        Ok(NewDelivery {
            record,
            replay,
            body_digest: format!("digest of {n}"),
            body: GitLabWebhook.redact(&delivery),
        })
    }
}

/// One caller: hands its deliveries in one after the other, and says how many were new.
async fn hand_in(store: SqliteStore, queue: Vec<NewDelivery>) -> kiops_core::Result<usize> {
    let mut stored = 0;
    for delivery in queue {
        let answers = store.accept(vec![delivery]).await?;
        stored += answers.iter().filter(|answer| matches!(answer, Accepted::New(_))).count();
    }
    Ok(stored)
}

/// Each caller's deliveries.
fn deal(new: Vec<NewDelivery>, callers: usize) -> Vec<Vec<NewDelivery>> {
    let mut queues = vec![Vec::new(); callers.max(1)];
    for (at, delivery) in new.into_iter().enumerate() {
        let queue = at % queues.len();
        queues[queue].push(delivery);
    }
    queues
}

fn per(elapsed: Duration, n: usize) -> Outcome<Duration> {
    elapsed.checked_div(u32::try_from(n)?).ok_or_else(|| "nothing was measured".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::store::Page;

    #[test]
    fn every_delivery_is_stored_once_with_all_its_bytes_and_the_file_has_as_many() {
        let mut accepts = Accepts::of(2048).unwrap();
        accepts.accept(5, 1).unwrap();
        accepts.accept_and_move(70, 64).unwrap();
        accepts.append(75).unwrap();
        assert_eq!(accepts.file.metadata().unwrap().len(), 75 * 2048);
        let all = accepts.runtime.block_on(accepts.store.deliveries(None, Page::first(100))).unwrap();
        assert_eq!(all.total, 75);
        for record in all.items {
            let body = accepts.runtime.block_on(accepts.store.delivery_body(&record.id)).unwrap().unwrap();
            assert_eq!(body.len(), 2048);
            assert!(!record.repeat && record.events.len() == 1);
        }
    }
}
