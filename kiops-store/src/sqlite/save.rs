//! Saving what a step changed: all of it in one transaction, or nothing.

use jiff::Timestamp;
use kiops_core::build::{Build, BuildState};
use kiops_core::effect::Work;
use kiops_core::error::Result;
use kiops_core::name::{BuildId, CommitId, ServiceName, WorkId};
use kiops_core::policy::{RefKey, RefState};
use kiops_core::queue::Waiting;
use kiops_core::release::Lane;
use kiops_core::store::{Changes, Claim};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::Inner;
use super::row::{Doc, Fault, Outcome, conflict, is_taken, micros, signed, sum, unreadable};
use super::work;

const OPERATION: &str = "save changes";

/// What the queue must know of a queued build, besides its service's limit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct QueuedDoc {
    service: ServiceName,
    refused_by: Vec<String>,
    since: Timestamp,
    order: u64,
    not_before: Option<Timestamp>,
}

impl QueuedDoc {
    fn of(build: &Build) -> Self {
        Self {
            service: build.service().clone(),
            refused_by: build.refused_by.clone(),
            since: build.created_at,
            order: build.order,
            not_before: build.not_before,
        }
    }

    pub(super) fn waiting(self, build: BuildId, service_limit: u32) -> Waiting {
        let Self { service, refused_by, since, order, not_before } = self;
        Waiting { build, service, service_limit, refused_by, since, order, not_before }
    }
}

/// What a lane's checksum knows it by.
pub(super) fn lane_key(service: &ServiceName, lane: &Lane) -> String {
    format!("{service}/{}/{}", lane.environment, lane.component)
}

/// What a ref's checksum knows it by.
pub(super) fn ref_key(service: &ServiceName, name: &str) -> String {
    format!("{service} {name}")
}

/// Changes as rows: written out before the writer is held.
#[derive(Debug)]
struct Rows {
    service: String,
    expect: u64,
    place: u64,
    claim: Option<(WorkId, u64)>,
    builds: Vec<BuildRow>,
    releases: Vec<ReleaseRow>,
    refs: Vec<(String, Doc)>,
    lanes: Vec<(Lane, Doc)>,
    gone_lanes: Vec<Lane>,
    delivery: Option<(String, bool, Doc)>,
    free_slots: Vec<BuildId>,
    take_slots: Vec<SlotRow>,
    cancel_work: Vec<WorkId>,
    work: Vec<(Work, Doc)>,
}

#[derive(Debug)]
struct BuildRow {
    id: String,
    service: String,
    commit: String,
    over: bool,
    doc: Doc,
    queued: Option<Doc>,
}

#[derive(Debug)]
struct ReleaseRow {
    id: String,
    service: String,
    over: bool,
    doc: Doc,
}

#[derive(Debug)]
struct SlotRow {
    part: String,
    n: i64,
    build: String,
    sum: i64,
}

impl Rows {
    fn of(changes: &Changes, claim: Option<&Claim>) -> Result<Self> {
        let service = &changes.service;
        Ok(Self {
            service: service.to_string(),
            expect: changes.expect,
            place: changes.order,
            claim: claim.map(|claim| (claim.work.id.clone(), claim.fence)),
            builds: changes.builds.iter().map(BuildRow::of).collect::<Result<_>>()?,
            releases: changes
                .releases
                .iter()
                .map(|release| {
                    Ok(ReleaseRow {
                        id: release.id.to_string(),
                        service: release.service().to_string(),
                        over: release.is_over(),
                        doc: Doc::of("release", release.id.as_str(), release)?,
                    })
                })
                .collect::<Result<_>>()?,
            refs: changes
                .refs
                .iter()
                .map(|(key, state)| ref_row(service, key, state))
                .collect::<Result<_>>()?,
            lanes: changes
                .lanes
                .iter()
                .map(|state| {
                    Ok((state.lane.clone(), Doc::of("lane", &lane_key(service, &state.lane), state)?))
                })
                .collect::<Result<_>>()?,
            gone_lanes: changes.gone_lanes.clone(),
            delivery: changes
                .delivery
                .as_ref()
                .map(|record| {
                    let doc = Doc::of("delivery", record.id.as_str(), record)?;
                    Ok::<_, kiops_core::Error>((record.id.to_string(), !record.is_decided(), doc))
                })
                .transpose()?,
            free_slots: changes.free_slots.clone(),
            take_slots: changes
                .take_slots
                .iter()
                .map(|slot| {
                    let part = Doc::of("slot", "", &slot.limit)?.text;
                    let (n, build) = (i64::from(slot.n), slot.build.to_string());
                    let sum = sum("slot", &part, n, 0, &build);
                    Ok(SlotRow { part, n, build, sum })
                })
                .collect::<Result<_>>()?,
            cancel_work: changes.cancel_work.clone(),
            work: changes
                .work
                .iter()
                .map(|work| Ok((work.clone(), Doc::of("work", work.id.as_str(), work)?)))
                .collect::<Result<_>>()?,
        })
    }

    async fn save(&self, connection: &mut SqliteConnection) -> Outcome<()> {
        if let Some((id, fence)) = &self.claim
            && !work::done(connection, id, *fence).await?
        {
            return Err(conflict(OPERATION, format!("work `{id}` is held by somebody else")));
        }
        self.raise_ledger(connection).await?;
        for build in &self.builds {
            build.save(connection).await?;
        }
        for release in &self.releases {
            release.save(connection).await?;
        }
        for (name, doc) in &self.refs {
            put_ref(connection, &self.service, name, doc).await?;
        }
        for lane in &self.gone_lanes {
            sqlx::query("DELETE FROM lane WHERE service = ? AND environment = ? AND component = ?")
                .bind(&self.service)
                .bind(lane.environment.as_str())
                .bind(lane.component.as_str())
                .execute(&mut *connection)
                .await?;
        }
        for (lane, doc) in &self.lanes {
            let sql = "INSERT INTO lane (service, environment, component, doc, sum) VALUES (?, ?, ?, ?, ?) \
                       ON CONFLICT (service, environment, component) DO UPDATE SET doc = excluded.doc, sum = excluded.sum";
            let query = sqlx::query(sql)
                .bind(&self.service)
                .bind(lane.environment.as_str())
                .bind(lane.component.as_str());
            query.bind(&doc.text).bind(doc.sum).execute(&mut *connection).await?;
        }
        if let Some((id, undecided, doc)) = &self.delivery {
            let sql = "UPDATE delivery SET undecided = ?, doc = ?, sum = ? WHERE id = ?";
            let query = sqlx::query(sql).bind(undecided).bind(&doc.text).bind(doc.sum).bind(id);
            if query.execute(&mut *connection).await?.rows_affected() == 0 {
                return Err(conflict(OPERATION, format!("delivery `{id}` is not there")));
            }
        }
        for build in &self.free_slots {
            sqlx::query("DELETE FROM slot WHERE build = ?")
                .bind(build.as_str())
                .execute(&mut *connection)
                .await?;
        }
        for slot in &self.take_slots {
            slot.take(connection).await?;
        }
        for id in &self.cancel_work {
            sqlx::query("DELETE FROM work WHERE id = ?").bind(id.as_str()).execute(&mut *connection).await?;
        }
        for (work, doc) in &self.work {
            work::add(connection, work, doc).await?;
        }
        Ok(())
    }

    async fn raise_ledger(&self, connection: &mut SqliteConnection) -> Outcome<()> {
        let (version, place) = (signed(self.expect + 1), signed(self.place));
        let sum = sum("ledger", &self.service, version, place, "");
        let sql = if self.expect == 0 {
            "INSERT INTO ledger (version, place, sum, service) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        } else {
            "UPDATE ledger SET version = ?, place = ?, sum = ? WHERE service = ? AND version = ?"
        };
        let mut query = sqlx::query(sql).bind(version).bind(place).bind(sum).bind(&self.service);
        if self.expect > 0 {
            query = query.bind(signed(self.expect));
        }
        if query.execute(connection).await?.rows_affected() == 0 {
            let message = format!(
                "service `{}` was changed by somebody else since version {}",
                self.service, self.expect
            );
            return Err(conflict(OPERATION, message));
        }
        Ok(())
    }
}

impl BuildRow {
    fn of(build: &Build) -> Result<Self> {
        let id = build.id.to_string();
        let queued = build.state == BuildState::Queued;
        Ok(Self {
            service: build.service().to_string(),
            commit: build.commit().to_string(),
            over: build.is_at_rest(),
            doc: Doc::of("build", &id, build)?,
            queued: queued.then(|| Doc::of("queued", &id, &QueuedDoc::of(build))).transpose()?,
            id,
        })
    }

    async fn save(&self, connection: &mut SqliteConnection) -> Outcome<()> {
        let sql = "INSERT INTO build (id, service, commit_id, over, doc, sum) VALUES (?, ?, ?, ?, ?, ?) \
                   ON CONFLICT (id) DO UPDATE SET over = excluded.over, doc = excluded.doc, sum = excluded.sum";
        let query = sqlx::query(sql).bind(&self.id).bind(&self.service).bind(&self.commit);
        query.bind(self.over).bind(&self.doc.text).bind(self.doc.sum).execute(&mut *connection).await?;
        let query = match &self.queued {
            Some(doc) => {
                let sql = "INSERT INTO queued (build, doc, sum) VALUES (?, ?, ?) \
                           ON CONFLICT (build) DO UPDATE SET doc = excluded.doc, sum = excluded.sum";
                sqlx::query(sql).bind(&self.id).bind(&doc.text).bind(doc.sum)
            }
            None => sqlx::query("DELETE FROM queued WHERE build = ?").bind(&self.id),
        };
        query.execute(connection).await?;
        Ok(())
    }
}

impl ReleaseRow {
    async fn save(&self, connection: &mut SqliteConnection) -> Outcome<()> {
        let sql = "INSERT INTO release (id, service, over, doc, sum) VALUES (?, ?, ?, ?, ?) \
                   ON CONFLICT (id) DO UPDATE SET over = excluded.over, doc = excluded.doc, sum = excluded.sum";
        let query = sqlx::query(sql).bind(&self.id).bind(&self.service);
        query.bind(self.over).bind(&self.doc.text).bind(self.doc.sum).execute(connection).await?;
        Ok(())
    }
}

impl SlotRow {
    async fn take(&self, connection: &mut SqliteConnection) -> Outcome<()> {
        let sql = "INSERT INTO slot (part, n, build, sum) VALUES (?, ?, ?, ?)";
        let query = sqlx::query(sql).bind(&self.part).bind(self.n).bind(&self.build).bind(self.sum);
        match query.execute(connection).await {
            Err(error) if is_taken(&error) => {
                Err(conflict(OPERATION, format!("place {} of limit {} is taken", self.n, self.part)))
            }
            other => other.map(|_| ()).map_err(Fault::Sql),
        }
    }
}

fn ref_row(service: &ServiceName, key: &RefKey, state: &RefState) -> Result<(String, Doc)> {
    let name = key.to_string();
    let doc = Doc::of("ref", &ref_key(service, &name), state)?;
    Ok((name, doc))
}

async fn put_ref(connection: &mut SqliteConnection, service: &str, name: &str, doc: &Doc) -> Outcome<()> {
    let sql = "INSERT INTO ref (service, name, doc, sum) VALUES (?, ?, ?, ?) \
               ON CONFLICT (service, name) DO UPDATE SET doc = excluded.doc, sum = excluded.sum";
    sqlx::query(sql).bind(service).bind(name).bind(&doc.text).bind(doc.sum).execute(connection).await?;
    Ok(())
}

impl Inner {
    pub(super) async fn save(&self, changes: &Changes, claim: Option<&Claim>) -> Result<()> {
        let rows = Rows::of(changes, claim)?;
        let write = self
            .writer
            .write(OPERATION, move |connection| Box::pin(async move { rows.save(connection).await }));
        write.await
    }

    pub(super) async fn note_heads(&self, service: &ServiceName, heads: &[(RefKey, CommitId)]) -> Result<()> {
        let (service, heads) = (service.clone(), heads.to_vec());
        let write = self.writer.write("note heads", move |connection| {
            Box::pin(async move {
                for (key, head) in &heads {
                    let mut state = RefState::default();
                    state.note(head, false);
                    let (name, doc) = ref_row(&service, key, &state)?;
                    let sql = "INSERT INTO ref (service, name, doc, sum) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
                    let query = sqlx::query(sql).bind(service.as_str()).bind(name).bind(doc.text).bind(doc.sum);
                    query.execute(&mut *connection).await?;
                }
                Ok(())
            })
        });
        write.await
    }

    pub(super) async fn expire(&self, before: Timestamp) -> Result<()> {
        const OPERATION: &str = "expire";
        loop {
            let old: Vec<i64> = self
                .read(OPERATION, async {
                    let sql = "SELECT seq FROM delivery_body JOIN delivery ON seq = delivery WHERE received_at < ?1 \
                               UNION ALL SELECT seq FROM delivery_body JOIN inbox ON seq = delivery WHERE received_at < ?1 \
                               LIMIT 500";
                    let rows = sqlx::query(sql).bind(micros(before)).fetch_all(&self.readers).await?;
                    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
                })
                .await?;
            if old.is_empty() {
                return Ok(());
            }
            let seqs = serde_json::Value::from(old).to_string();
            let write = self.writer.write(OPERATION, move |connection| {
                Box::pin(async move {
                    let sql = "DELETE FROM delivery_body WHERE delivery IN (SELECT value FROM json_each($1)); \
                               UPDATE delivery SET replay = NULL, digest = NULL WHERE seq IN (SELECT value FROM json_each($1)); \
                               UPDATE inbox SET replay = NULL, digest = NULL WHERE seq IN (SELECT value FROM json_each($1))";
                    sqlx::query(sql).bind(&seqs).execute(connection).await?;
                    Ok(())
                })
            });
            write.await?;
        }
    }

    /// What was taken in has its place after this, where there is room for it.
    pub(super) async fn empty_inbox(&self, operation: &'static str) -> Result<()> {
        self.writer.write(operation, |_| Box::pin(async { Ok(()) })).await
    }

    pub(super) async fn check(&self) -> Result<()> {
        const OPERATION: &str = "check store";
        let write = self.writer.write(OPERATION, |connection| {
            Box::pin(async move {
                let sql = "UPDATE counter SET value = value + 1 WHERE name = 'check' RETURNING value";
                Ok(sqlx::query(sql).fetch_one(connection).await?.try_get::<i64, _>(0)?)
            })
        });
        let written = write.await?;
        let read = self.read(OPERATION, async {
            let row = sqlx::query("SELECT value FROM counter WHERE name = 'check'")
                .fetch_one(&self.readers)
                .await?;
            Ok(row.try_get::<i64, _>(0)?)
        });
        if read.await? < written {
            return Err(self.place.failed(OPERATION, unreadable("counter", "check")));
        }
        Ok(())
    }
}
