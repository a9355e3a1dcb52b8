//! Work: claimed under a lease with a fencing number, renewed, given back, done, set aside.

use jiff::Timestamp;
use kiops_core::effect::{Effect, Work};
use kiops_core::error::Result;
use kiops_core::name::{DeliveryId, ServiceName, WorkId};
use kiops_core::store::{Claim, ClaimRequest, Claims, DeliveryRecord, Listed, Page, Quarantined};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::Inner;
use super::read::listed;
use super::row::{Doc, Fault, Outcome, Raw, micros, micros_up, signed, time, unsigned};

/// What is kept of work that was set aside.
#[derive(Serialize, Deserialize)]
struct QuarantineDoc {
    service: ServiceName,
    effect: Effect,
    reason: String,
    at: Timestamp,
}

/// Adds work; what has the same id is replaced, and whoever held it has lost it.
pub(super) async fn add(connection: &mut SqliteConnection, work: &Work, doc: &Doc) -> Outcome<()> {
    let sql = "INSERT OR REPLACE INTO work (id, due, doc, sum) VALUES (?, ?, ?, ?)";
    let query = sqlx::query(sql).bind(work.id.as_str()).bind(micros_up(work.due));
    query.bind(&doc.text).bind(doc.sum).execute(connection).await?;
    Ok(())
}

/// Removes the work of a claim; `false`: it is held no more.
pub(super) async fn done(connection: &mut SqliteConnection, id: &WorkId, fence: u64) -> Outcome<bool> {
    let sql = "DELETE FROM work WHERE id = ? AND state = 1 AND fence = ?";
    let removed = sqlx::query(sql).bind(id.as_str()).bind(signed(fence)).execute(connection).await?;
    Ok(removed.rows_affected() > 0)
}

/// Work that can be claimed: what waits and is due, and what was held for too long.
const CLAIMABLE: &str = "\
    SELECT seq, due FROM (SELECT seq, due FROM work WHERE state = 0 AND due <= ?1 ORDER BY due, seq LIMIT ?2) \
    UNION ALL SELECT seq, due FROM work WHERE state = 1 AND until <= ?1 \
    ORDER BY due, seq LIMIT ?2";

/// When something can be claimed next: what waits, what another driver holds, and what is free and was over the limit.
const NEXT: &str = "\
    SELECT min(at) FROM (SELECT min(due) AS at FROM work WHERE state = 0 \
    UNION ALL SELECT min(until) FROM work WHERE state = 1 AND until > ?1 AND holder <> ?2 \
    UNION ALL SELECT min(due) FROM work WHERE state = 1 AND until <= ?1 \
    UNION ALL SELECT min(due) FROM inbox)";

impl Inner {
    pub(super) async fn let_go(&self, driver: &str) -> Result<()> {
        let driver = driver.to_owned();
        let write = self.writer.write("let go of an earlier life's work", move |connection| {
            Box::pin(async move {
                let sql =
                    "UPDATE work SET state = 0, holder = NULL, until = NULL WHERE state = 1 AND holder = ?";
                sqlx::query(sql).bind(driver).execute(connection).await?;
                Ok(())
            })
        });
        write.await
    }

    pub(super) async fn claim(&self, request: &ClaimRequest) -> Result<Claims> {
        const OPERATION: &str = "claim work";
        let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
        // Looking costs no write: most of the time there is nothing.
        let due = self.read(OPERATION, async {
            let rows = claimable(request, limit).fetch_all(&self.readers).await?;
            let sql = "SELECT EXISTS (SELECT 1 FROM inbox WHERE due <= ?)";
            let waits = sqlx::query(sql).bind(micros(request.now)).fetch_one(&self.readers);
            Ok(!rows.is_empty() || waits.await?.try_get(0)?)
        });
        let mut claims = Vec::new();
        if due.await? {
            let request = request.clone();
            let write = self.writer.write(OPERATION, move |connection| {
                Box::pin(async move {
                    let rows = claimable(&request, limit).fetch_all(&mut *connection).await?;
                    let mut claims = Vec::with_capacity(rows.len());
                    for row in &rows {
                        claims.extend(take(connection, row.try_get(0)?, &request).await?);
                    }
                    Ok(claims)
                })
            });
            claims = write.await?;
        }
        let next_due = self.read(OPERATION, async {
            let row = sqlx::query(NEXT)
                .bind(micros(request.now))
                .bind(request.driver.as_str())
                .fetch_one(&self.readers)
                .await?;
            Ok(row.try_get::<Option<i64>, _>(0)?.map(time))
        });
        Ok(Claims { claims, next_due: next_due.await? })
    }

    pub(super) async fn renew(&self, claims: &[Claim], until: Timestamp) -> Result<Vec<bool>> {
        let claims: Vec<_> = claims.iter().map(|claim| (claim.work.id.clone(), claim.fence)).collect();
        let write = self.writer.write("renew claims", move |connection| {
            Box::pin(async move {
                let mut held = Vec::with_capacity(claims.len());
                for (id, fence) in claims {
                    let sql = "UPDATE work SET until = ? WHERE id = ? AND state = 1 AND fence = ?";
                    let query = sqlx::query(sql).bind(micros_up(until)).bind(id.as_str()).bind(signed(fence));
                    held.push(query.execute(&mut *connection).await?.rows_affected() > 0);
                }
                Ok(held)
            })
        });
        write.await
    }

    pub(super) async fn give_back(&self, claim: &Claim, due: Timestamp, error: &str) -> Result<()> {
        let work = Work { due, ..claim.work.clone() };
        let doc = Doc::of("work", work.id.as_str(), &work)?;
        let (fence, error) = (claim.fence, error.to_owned());
        let write = self.writer.write("give work back", move |connection| {
            Box::pin(async move {
                let sql = "UPDATE work SET state = 0, holder = NULL, until = NULL, failures = failures + ?, due = ?, \
                           error = ?, doc = ?, sum = ? WHERE id = ? AND state = 1 AND fence = ?";
                let query = sqlx::query(sql).bind(!error.is_empty()).bind(micros_up(due)).bind(error).bind(doc.text).bind(doc.sum);
                query.bind(work.id.as_str()).bind(signed(fence)).execute(connection).await?;
                Ok(())
            })
        });
        write.await
    }

    pub(super) async fn finish(&self, claim: &Claim) -> Result<()> {
        let (id, fence) = (claim.work.id.clone(), claim.fence);
        let write = self.writer.write("finish work", move |connection| {
            Box::pin(async move { done(connection, &id, fence).await.map(|_| ()) })
        });
        write.await
    }

    pub(super) async fn quarantine(&self, claim: &Claim, reason: &str, now: Timestamp) -> Result<()> {
        let Work { id, service, effect, .. } = claim.work.clone();
        let (fence, reason) = (claim.fence, reason.to_owned());
        let write = self.writer.write("set work aside", move |connection| {
            Box::pin(async move {
                if !done(connection, &id, fence).await? {
                    return Ok(());
                }
                if let Effect::Decide { delivery } = &effect {
                    mark_delivery(connection, delivery.as_str(), &reason).await?;
                }
                let doc =
                    Doc::of("quarantine", id.as_str(), &QuarantineDoc { service, effect, reason, at: now })?;
                let sql = "INSERT INTO quarantine (id, doc, sum) VALUES (?, ?, ?)";
                sqlx::query(sql).bind(id.as_str()).bind(doc.text).bind(doc.sum).execute(connection).await?;
                Ok(())
            })
        });
        write.await
    }

    pub(super) async fn quarantined(&self, page: Page) -> Result<Listed<Quarantined>> {
        self.read("list what was set aside", async {
            let sql = "SELECT '' AS id, count(*), 0, '', 0 FROM quarantine UNION ALL \
                       SELECT * FROM (SELECT id, 0, 0, doc, sum FROM quarantine ORDER BY seq DESC LIMIT ? OFFSET ?)";
            let query = sqlx::query(sql).bind(i64::from(page.limit)).bind(signed(page.offset));
            listed(&query.fetch_all(&self.readers).await?, |raw| {
                let QuarantineDoc { service, effect, reason, at } = raw.open("quarantine")?;
                let id = WorkId::parse(raw.key).map_err(|_| super::row::unreadable("quarantine", raw.key))?;
                Ok(Quarantined { id, service, effect, reason, at })
            })
        })
        .await
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn claimable(request: &ClaimRequest, limit: i64) -> Query<'static> {
    sqlx::query(CLAIMABLE).bind(micros(request.now)).bind(limit)
}

/// Takes one piece of work. `None`: it cannot be read, is marked so, and stands in no other's way; what decides a delivery is
/// made anew, since nothing else would.
async fn take(connection: &mut SqliteConnection, seq: i64, request: &ClaimRequest) -> Outcome<Option<Claim>> {
    let sql = "UPDATE counter SET value = value + 1 WHERE name = 'fence'; \
               UPDATE work SET state = 1, holder = ?, until = ?, claims = claims + 1, \
               fence = (SELECT value FROM counter WHERE name = 'fence') WHERE seq = ? \
               RETURNING id, 0, 0, doc, sum, fence, claims - 1, failures";
    let query = sqlx::query(sql).bind(request.driver.as_str()).bind(micros_up(request.until)).bind(seq);
    let row = query.fetch_one(&mut *connection).await?;
    match read(&row) {
        Err(Fault::Unreadable(record)) => {
            tracing::error!(record, "work cannot be read and was passed over");
            sqlx::query("UPDATE work SET state = 2 WHERE seq = ?")
                .bind(seq)
                .execute(&mut *connection)
                .await?;
            decide_again(connection, row.try_get(0)?).await?;
            Ok(None)
        }
        claim => claim.map(Some),
    }
}

/// Replaces the work of this id, if it is what decides a delivery: all of it follows from the delivery.
async fn decide_again(connection: &mut SqliteConnection, id: &str) -> Outcome<()> {
    let sql = "SELECT id, service, received_at FROM delivery WHERE undecided = 1";
    for row in sqlx::query(sql).fetch_all(&mut *connection).await? {
        let (Ok(delivery), Ok(service)) =
            (DeliveryId::parse(row.try_get::<&str, _>(0)?), ServiceName::parse(row.try_get::<&str, _>(1)?))
        else {
            continue;
        };
        let work = Work::new(&service, time(row.try_get(2)?), Effect::Decide { delivery }, "");
        if work.id.as_str() == id {
            let doc = Doc::of("work", id, &work)?;
            return add(connection, &work, &doc).await;
        }
    }
    Ok(())
}

fn read(row: &SqliteRow) -> Outcome<Claim> {
    let work = Raw::get(row, 0)?.open("work")?;
    let count = |n: i64| u32::try_from(n).unwrap_or_default();
    let (claimed_before, failures) = (count(row.try_get(6)?), count(row.try_get(7)?));
    Ok(Claim { work, fence: unsigned(row.try_get(5)?), claimed_before, failures })
}

/// A delivery whose decision was set aside will not be decided any more, and says why.
async fn mark_delivery(connection: &mut SqliteConnection, id: &str, reason: &str) -> Outcome<()> {
    let sql = "SELECT id, 0, 0, doc, sum FROM delivery WHERE id = ?";
    let row = sqlx::query(sql).bind(id).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(()) };
    let sql = "UPDATE delivery SET undecided = 0, doc = ?, sum = ? WHERE id = ?";
    match Raw::get(&row, 0)?.open::<DeliveryRecord>("delivery") {
        Ok(mut record) => {
            record.quarantined = Some(reason.to_owned());
            let doc = Doc::of("delivery", id, &record)?;
            sqlx::query(sql).bind(doc.text).bind(doc.sum).bind(id).execute(connection).await?;
        }
        // It stays as it is, for whoever looks into it; but nobody waits for it.
        Err(_) => {
            sqlx::query("UPDATE delivery SET undecided = 0 WHERE id = ?")
                .bind(id)
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}
