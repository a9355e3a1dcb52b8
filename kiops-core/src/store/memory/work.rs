//! Work that waits, who holds it, and what was set aside.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::effect::Work;
use crate::name::WorkId;
use crate::store::{Claim, ClaimRequest, Claims, Quarantined};

#[derive(Debug, Default)]
pub(super) struct WorkRows {
    rows: BTreeMap<WorkId, Row>,
    quarantined: Vec<Quarantined>,
    /// Counts what is stored: the order of work that is due together.
    stored: u64,
    /// The last fencing number. One count for all work, so that work which is done and made anew never sees a number again.
    fence: u64,
}

#[derive(Debug)]
struct Row {
    work: Work,
    place: u64,
    lease: Option<Lease>,
    claimed: u32,
    failures: u32,
}

#[derive(Debug)]
struct Lease {
    driver: String,
    fence: u64,
    until: Timestamp,
}

impl Row {
    fn is_free(&self, now: Timestamp) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.until <= now)
    }
}

impl WorkRows {
    /// Adds work. Of an id that is there, it takes its place: free, and with nothing behind it.
    pub(super) fn put(&mut self, work: Work) {
        self.stored += 1;
        let row = Row { work, place: self.stored, lease: None, claimed: 0, failures: 0 };
        self.rows.insert(row.work.id.clone(), row);
    }

    pub(super) fn cancel(&mut self, id: &WorkId) {
        self.rows.remove(id);
    }

    pub(super) fn let_go(&mut self, driver: &str) {
        for row in self.rows.values_mut() {
            row.lease = row.lease.take().filter(|lease| lease.driver != driver);
        }
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Claims {
        let free =
            self.rows.values_mut().filter(|row| row.work.due <= request.now && row.is_free(request.now));
        let mut free: Vec<&mut Row> = free.collect();
        free.sort_by_key(|row| (row.work.due, row.place));
        let mut claims = Vec::new();
        for row in free.into_iter().take(request.limit) {
            self.fence += 1;
            row.lease =
                Some(Lease { driver: request.driver.clone(), fence: self.fence, until: request.until });
            claims.push(Claim {
                work: row.work.clone(),
                fence: self.fence,
                claimed_before: row.claimed,
                failures: row.failures,
            });
            row.claimed += 1;
        }
        let next = self.rows.values().filter_map(|row| match &row.lease {
            Some(_) if row.is_free(request.now) => Some(row.work.due),
            Some(lease) if lease.driver == request.driver => None,
            Some(lease) => Some(row.work.due.max(lease.until)),
            None => Some(row.work.due),
        });
        Claims { claims, next_due: next.min() }
    }

    pub(super) fn holds(&self, claim: &Claim) -> bool {
        let lease = self.rows.get(&claim.work.id).and_then(|row| row.lease.as_ref());
        lease.is_some_and(|lease| lease.fence == claim.fence)
    }

    fn held(&mut self, claim: &Claim) -> Option<&mut Row> {
        let row = self.rows.get_mut(&claim.work.id)?;
        row.lease.as_ref().is_some_and(|lease| lease.fence == claim.fence).then_some(row)
    }

    pub(super) fn renew(&mut self, claim: &Claim, until: Timestamp) -> bool {
        let lease = self.held(claim).and_then(|row| row.lease.as_mut());
        lease.map(|lease| lease.until = until).is_some()
    }

    pub(super) fn give_back(&mut self, claim: &Claim, due: Timestamp, error: &str) {
        if let Some(row) = self.held(claim) {
            row.lease = None;
            row.work.due = due;
            row.failures += u32::from(!error.is_empty());
        }
    }

    pub(super) fn finish(&mut self, claim: &Claim) {
        if self.holds(claim) {
            self.rows.remove(&claim.work.id);
        }
    }

    /// Sets work aside. Says whether the claim was held.
    pub(super) fn quarantine(&mut self, claim: &Claim, reason: &str, at: Timestamp) -> bool {
        let held = self.holds(claim);
        if let Some(Row { work, .. }) = held.then(|| self.rows.remove(&claim.work.id)).flatten() {
            let Work { id, service, effect, .. } = work;
            self.quarantined.push(Quarantined { id, service, effect, reason: reason.to_owned(), at });
        }
        held
    }

    pub(super) fn quarantined(&self) -> impl Iterator<Item = &Quarantined> {
        self.quarantined.iter().rev()
    }
}
