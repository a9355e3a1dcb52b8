//! Reading: one consistent picture of a service, single records, pages of lists.

use std::collections::BTreeMap;

use bytes::Bytes;
use kiops_core::build::Build;
use kiops_core::error::{ErrorKind, Result};
use kiops_core::name::{BuildId, CommitId, DeliveryId, ReleaseId, ServiceName};
use kiops_core::policy::{RefKey, RefState};
use kiops_core::queue::{LimitName, Slot, Waiting};
use kiops_core::release::{Lane, LaneState, Release};
use kiops_core::service::Settings;
use kiops_core::store::{DeliveryRecord, HeadStanding, Ledger, Listed, Page, View, Wants};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Inner;
use super::accept::body_place;
use super::registry::stored_service;
use super::row::{Fault, Outcome, Raw, list, signed, unreadable, unsigned};
use super::save::{QueuedDoc, lane_key, ref_key};

/// Everything in one statement: SQLite answers a statement from one state of the database.
///
/// 1: service, 2 to 6: JSON lists of builds, commits, releases, refs, and the delivery.
const VIEW: &str = "\
    SELECT 0, service, version, place, '', sum FROM ledger WHERE service = ?1 \
    UNION ALL SELECT 1, name, version, builds_at_once, doc, sum FROM service WHERE name = ?1 \
    UNION ALL SELECT 2, name, 0, 0, doc, sum FROM environment \
    UNION ALL SELECT 3, id, 0, 0, doc, sum FROM build WHERE service = ?1 AND over = 0 \
    UNION ALL SELECT 3, id, 0, 0, doc, sum FROM build WHERE service = ?1 AND over <> 0 AND id IN (SELECT value FROM json_each(?2)) \
    UNION ALL SELECT 3, id, 0, 0, doc, sum FROM build WHERE service = ?1 AND commit_id IN (SELECT value FROM json_each(?3)) AND over <> 0 \
    UNION ALL SELECT 4, id, 0, 0, doc, sum FROM release WHERE service = ?1 AND over = 0 \
    UNION ALL SELECT 4, id, 0, 0, doc, sum FROM release WHERE service = ?1 AND over <> 0 AND id IN (SELECT value FROM json_each(?4)) \
    UNION ALL SELECT 5, environment || '/' || component, 0, 0, doc, sum FROM lane WHERE service = ?1 \
    UNION ALL SELECT 6, name, 0, 0, doc, sum FROM ref WHERE service = ?1 AND name IN (SELECT value FROM json_each(?5)) \
    UNION ALL SELECT 7, id, 0, 0, doc, sum FROM delivery WHERE id = ?6 AND service = ?1 \
    UNION ALL SELECT 7, id, 0, 0, doc, sum FROM inbox WHERE id = ?6 AND service = ?1";

/// A list's length, then a part of it, newest first.
macro_rules! page {
    ($table:literal) => {
        page!(@ $table, "")
    };
    ($table:literal of service) => {
        page!(@ $table, " WHERE service = ?1")
    };
    (@ $table:literal, $of:literal) => {
        concat!(
            "SELECT '' AS id, count(*), 0, '', 0 FROM ", $table, $of,
            " UNION ALL SELECT * FROM (SELECT id, 0, 0, doc, sum FROM ", $table, $of,
            " ORDER BY seq DESC LIMIT ?2 OFFSET ?3)"
        )
    };
}

/// The same for deliveries, of which the newest may be in the inbox.
macro_rules! deliveries {
    ($of:literal) => {
        concat!(
            "SELECT '' AS id, (SELECT count(*) FROM delivery",
            $of,
            ") + (SELECT count(*) FROM inbox",
            $of,
            "), 0, '', 0",
            " UNION ALL SELECT id, 0, 0, doc, sum FROM (SELECT seq, id, doc, sum FROM delivery",
            $of,
            " UNION ALL SELECT seq, id, doc, sum FROM inbox",
            $of,
            " ORDER BY seq DESC LIMIT ?2 OFFSET ?3)"
        )
    };
}

impl Inner {
    pub(super) async fn view(&self, wants: &Wants) -> Result<View> {
        self.read("load service's state", async {
            let refs: BTreeMap<String, &RefKey> =
                wants.refs.iter().map(|key| (key.to_string(), key)).collect();
            let rows = sqlx::query(VIEW)
                .bind(wants.service.as_str())
                .bind(list(wants.builds.iter().map(BuildId::as_str)))
                .bind(list(wants.commits.iter().map(CommitId::as_str)))
                .bind(list(wants.releases.iter().map(ReleaseId::as_str)))
                .bind(list(refs.keys().map(String::as_str)))
                .bind(wants.delivery.as_ref().map(DeliveryId::as_str))
                .fetch_all(&self.readers)
                .await?;
            let mut view = View::default();
            for row in &rows {
                put(&mut view, wants, &refs, row.try_get(0)?, &Raw::get(row, 1)?)?;
            }
            Ok(view)
        })
        .await
    }

    pub(super) async fn queue(&self) -> Result<(Vec<Waiting>, Vec<Slot>)> {
        self.read("look at the queue", async {
            let sql = "SELECT 0, queued.build, 0, 0, queued.doc, queued.sum, service.builds_at_once FROM queued \
                       LEFT JOIN build ON build.id = queued.build LEFT JOIN service ON service.name = build.service \
                       UNION ALL SELECT 1, part, n, 0, build, sum, 0 FROM slot";
            let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
            let unregistered = Settings::default().builds_at_once;
            let (mut waiting, mut slots) = (Vec::new(), Vec::new());
            for row in &rows {
                let raw = Raw::get(row, 1)?;
                if row.try_get::<i64, _>(0)? == 1 {
                    // A place that cannot be read may not be given away: this is an error.
                    slots.push(slot(&raw)?);
                    continue;
                }
                let doc = raw.open::<QueuedDoc>("queued").and_then(|doc| {
                    let limit = row.try_get::<Option<i64>, _>(6)?.and_then(|limit| u32::try_from(limit).ok());
                    let build = BuildId::parse(raw.key).map_err(|_| unreadable("queued", raw.key))?;
                    Ok(doc.waiting(build, limit.unwrap_or(unregistered)))
                });
                waiting.extend(skip_unreadable(doc).transpose()?);
            }
            Ok((waiting, slots))
        })
        .await
    }

    pub(super) async fn build(&self, id: &BuildId) -> Result<Option<Build>> {
        self.one("load build", "SELECT id, 0, 0, doc, sum FROM build WHERE id = ?", "build", id.as_str())
            .await
    }

    pub(super) async fn release(&self, id: &ReleaseId) -> Result<Option<Release>> {
        self.one(
            "load release",
            "SELECT id, 0, 0, doc, sum FROM release WHERE id = ?",
            "release",
            id.as_str(),
        )
        .await
    }

    pub(super) async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryRecord>> {
        self.one(
            "load delivery",
            "SELECT id, 0, 0, doc, sum FROM delivery WHERE id = ?1 \
             UNION ALL SELECT id, 0, 0, doc, sum FROM inbox WHERE id = ?1",
            "delivery",
            id.as_str(),
        )
        .await
    }

    async fn one<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        sql: &'static str,
        table: &'static str,
        key: &str,
    ) -> Result<Option<T>> {
        self.read(operation, async {
            let row = sqlx::query(sql).bind(key).fetch_optional(&self.readers).await?;
            row.as_ref().map(|row| Raw::get(row, 0)?.open_as(table, key)).transpose()
        })
        .await
    }

    pub(super) async fn builds(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<Build>> {
        let sql = if service.is_some() { page!("build" of service) } else { page!("build") };
        self.page("list builds", sql, "build", service, page).await
    }

    pub(super) async fn releases(
        &self,
        service: Option<&ServiceName>,
        page: Page,
    ) -> Result<Listed<Release>> {
        let sql = if service.is_some() { page!("release" of service) } else { page!("release") };
        self.page("list releases", sql, "release", service, page).await
    }

    pub(super) async fn deliveries(
        &self,
        service: Option<&ServiceName>,
        page: Page,
    ) -> Result<Listed<DeliveryRecord>> {
        let sql = if service.is_some() { deliveries!(" WHERE service = ?1") } else { deliveries!("") };
        self.page("list deliveries", sql, "delivery", service, page).await
    }

    async fn page<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        sql: &'static str,
        table: &'static str,
        service: Option<&ServiceName>,
        page: Page,
    ) -> Result<Listed<T>> {
        self.read(operation, async {
            let query = sqlx::query(sql).bind(service.map(ServiceName::as_str));
            let rows =
                query.bind(i64::from(page.limit)).bind(signed(page.offset)).fetch_all(&self.readers).await?;
            listed(&rows, |raw| raw.open(table))
        })
        .await
    }

    pub(super) async fn lane(&self, service: &ServiceName, lane: &Lane) -> Result<Option<LaneState>> {
        self.read("load lane", async {
            let sql = "SELECT service, 0, 0, doc, sum FROM lane WHERE service = ? AND environment = ? AND component = ?";
            let query = sqlx::query(sql).bind(service.as_str()).bind(lane.environment.as_str()).bind(lane.component.as_str());
            let row = query.fetch_optional(&self.readers).await?;
            row.as_ref().map(|row| Raw::get(row, 0)?.open_as("lane", &lane_key(service, lane))).transpose()
        })
        .await
    }

    pub(super) async fn delivery_body(&self, id: &DeliveryId) -> Result<Option<Bytes>> {
        self.read("load delivery's body", async {
            let sql = "SELECT sealed FROM delivery_body WHERE delivery = \
                       (SELECT seq FROM delivery WHERE id = ?1 UNION ALL SELECT seq FROM inbox WHERE id = ?1)";
            let Some(row) = sqlx::query(sql).bind(id.as_str()).fetch_optional(&self.readers).await? else { return Ok(None) };
            let body = self.sealer.open(body_place(id.as_str()), row.try_get(0)?)?;
            Ok(Some(Bytes::copy_from_slice(&body)))
        })
        .await
    }

    pub(super) async fn has_undecided(&self, service: &ServiceName) -> Result<bool> {
        self.read("look for undecided deliveries", async {
            let sql = "SELECT EXISTS (SELECT 1 FROM delivery WHERE service = ?1 AND undecided = 1) \
                       OR EXISTS (SELECT 1 FROM inbox WHERE service = ?1 AND undecided = 1)";
            Ok(sqlx::query(sql).bind(service.as_str()).fetch_one(&self.readers).await?.try_get(0)?)
        })
        .await
    }

    pub(super) async fn decided(
        &self,
        service: &ServiceName,
        heads: &[(RefKey, CommitId)],
    ) -> Result<Vec<HeadStanding>> {
        self.read("look heads up", async {
            let names: Vec<String> = heads.iter().map(|(key, _)| key.to_string()).collect();
            let sql = "SELECT name, 0, 0, doc, sum FROM ref WHERE service = ? AND name IN (SELECT value FROM json_each(?))";
            let query = sqlx::query(sql).bind(service.as_str()).bind(list(names.iter().map(String::as_str)));
            let rows = query.fetch_all(&self.readers).await?;
            let mut known: BTreeMap<String, RefState> = BTreeMap::new();
            for row in &rows {
                let raw = Raw::get(row, 0)?;
                known.insert(raw.key.to_owned(), raw.open_as("ref", &ref_key(service, raw.key))?);
            }
            let standings = heads
                .iter()
                .zip(&names)
                .map(|((key, head), name)| HeadStanding::of(key, head, known.get(name)));
            Ok(standings.collect())
        })
        .await
    }
}

fn put(
    view: &mut View,
    wants: &Wants,
    refs: &BTreeMap<String, &RefKey>,
    kind: i64,
    raw: &Raw<'_>,
) -> Outcome<()> {
    match kind {
        0 => {
            raw.check("ledger", raw.key)?;
            view.ledger = Ledger { version: unsigned(raw.a), order: unsigned(raw.b) };
        }
        1 => view.service = Some(stored_service(raw)?.value),
        2 => view.environments.push(raw.open("environment")?),
        3 => {
            let build: Build = raw.open("build")?;
            view.builds.insert(build.id.clone(), build);
        }
        4 => {
            let release: Release = raw.open("release")?;
            view.releases.insert(release.id.clone(), release);
        }
        5 => view.lanes.push(raw.open_as("lane", &format!("{}/{}", wants.service, raw.key))?),
        6 => {
            if let Some(key) = refs.get(raw.key) {
                view.refs.insert((*key).clone(), raw.open_as("ref", &ref_key(&wants.service, raw.key))?);
            }
        }
        _ => view.delivery = Some(raw.open("delivery")?),
    }
    Ok(())
}

fn slot(raw: &Raw<'_>) -> Outcome<Slot> {
    raw.check("slot", raw.key)?;
    let limit: LimitName = serde_json::from_str(raw.key).map_err(|_| unreadable("slot", raw.key))?;
    let n = u32::try_from(raw.a).map_err(|_| unreadable("slot", raw.key))?;
    let build = BuildId::parse(raw.doc).map_err(|_| unreadable("slot", raw.key))?;
    Ok(Slot { limit, n, build })
}

/// A part of a list from its rows, of which the first holds how long the whole is.
pub(super) fn listed<T>(rows: &[SqliteRow], open: impl Fn(Raw<'_>) -> Outcome<T>) -> Outcome<Listed<T>> {
    let Some((first, rows)) = rows.split_first() else { return Ok(Listed { items: Vec::new(), total: 0 }) };
    let total = unsigned(Raw::get(first, 0)?.a);
    let items = rows.iter().map(|row| Raw::get(row, 0).and_then(&open)).filter_map(skip_unreadable);
    Ok(Listed { items: items.collect::<Outcome<_>>()?, total })
}

/// A record that cannot be read stands in the way of no other: in a list it is left out, and said in the log.
pub(super) fn skip_unreadable<T>(outcome: Outcome<T>) -> Option<Outcome<T>> {
    match outcome {
        Err(Fault::Unreadable(record)) => {
            tracing::error!(record, "a record does not read back as it was written and is left out");
            None
        }
        Err(Fault::Ours(error)) if error.kind() == ErrorKind::Corrupt => {
            tracing::error!(%error, "a record does not read back as it was written and is left out");
            None
        }
        other => Some(other),
    }
}
