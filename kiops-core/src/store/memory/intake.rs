//! Deliveries, and what was seen before.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::rows::Rows;
use super::work::WorkRows;
use crate::effect::{Effect, Work};
use crate::name::{DeliveryId, ProviderName, ServiceName};
use crate::store::{Accepted, DeliveryRecord, NewDelivery};
use crate::webhook::ReplayKey;

/// How long a replay key counts.
const WINDOW: SignedDuration = SignedDuration::from_hours(30 * 24);

#[derive(Debug, Default)]
pub(super) struct Intake {
    rows: Rows<DeliveryId, Row>,
    undecided: BTreeMap<ServiceName, BTreeSet<DeliveryId>>,
    seen: BTreeMap<SeenKey, Seen>,
    /// The keys in `seen` under which a service saw a body.
    bodies: BTreeMap<(ServiceName, String), BTreeSet<SeenKey>>,
}

/// What makes a delivery a duplicate: its service, its sender, its replay key.
type SeenKey = (ServiceName, ProviderName, ReplayKey);

#[derive(Debug)]
struct Row {
    record: DeliveryRecord,
    body: Option<Bytes>,
}

#[derive(Debug)]
struct Seen {
    delivery: DeliveryId,
    at: Timestamp,
    body_digest: String,
}

impl Intake {
    pub(super) fn accept(&mut self, delivery: NewDelivery, work: &mut WorkRows) -> Accepted {
        let NewDelivery { mut record, replay, body_digest, body } = delivery;
        let (service, at) = (record.service.clone(), record.received_at);
        let key = (service.clone(), record.provider.clone(), replay);
        if let Some(seen) = self.seen.get(&key).filter(|seen| at.duration_since(seen.at) < WINDOW) {
            return Accepted::Duplicate(seen.delivery.clone());
        }
        let id = record.id.clone();
        if self.rows.get(&id).is_some() {
            return Accepted::Duplicate(id);
        }
        self.forget(&key);
        let same_body = self.bodies.entry((service.clone(), body_digest.clone())).or_default();
        record.repeat = !same_body.is_empty();
        same_body.insert(key.clone());
        self.seen.insert(key, Seen { delivery: id.clone(), at, body_digest });
        self.put(record, Some(body));
        work.put(Work::new(&service, at, Effect::Decide { delivery: id.clone() }, ""));
        Accepted::New(id)
    }

    pub(super) fn record(&self, id: &DeliveryId) -> Option<&DeliveryRecord> {
        self.rows.get(id).map(|row| &row.record)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &DeliveryRecord> {
        self.rows.newest_first().map(|row| &row.record)
    }

    pub(super) fn body(&self, id: &DeliveryId) -> Option<Bytes> {
        self.rows.get(id)?.body.clone()
    }

    pub(super) fn has_undecided(&self, service: &ServiceName) -> bool {
        self.undecided.get(service).is_some_and(|ids| !ids.is_empty())
    }

    /// Replaces a record and leaves its body alone.
    pub(super) fn replace(&mut self, record: &DeliveryRecord) {
        let body = self.body(&record.id);
        self.put(record.clone(), body);
    }

    pub(super) fn quarantine(&mut self, id: &DeliveryId, reason: &str) {
        if let Some(record) = self.record(id) {
            self.replace(&DeliveryRecord { quarantined: Some(reason.to_owned()), ..record.clone() });
        }
    }

    pub(super) fn expire(&mut self, before: Timestamp) {
        let old = self.seen.iter().filter(|(_, seen)| seen.at < before).map(|(key, _)| key.clone());
        for key in old.collect::<Vec<_>>() {
            self.forget(&key);
        }
        for row in self.rows.each_mut().filter(|row| row.record.received_at < before) {
            row.body = None;
        }
    }

    fn put(&mut self, record: DeliveryRecord, body: Option<Bytes>) {
        let id = record.id.clone();
        let undecided = self.undecided.entry(record.service.clone()).or_default();
        if record.is_decided() {
            undecided.remove(&id)
        } else {
            undecided.insert(id.clone())
        };
        self.rows.put(id, Row { record, body });
    }

    fn forget(&mut self, key: &SeenKey) {
        let Some(seen) = self.seen.remove(key) else { return };
        let body = (key.0.clone(), seen.body_digest);
        if let Some(keys) = self.bodies.get_mut(&body) {
            keys.remove(key);
            if keys.is_empty() {
                self.bodies.remove(&body);
            }
        }
    }
}
