//! Taking deliveries in: callers that wait at the same time share one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use jiff::SignedDuration;
use kiops_core::effect::{Effect, Work};
use kiops_core::error::Result;
use kiops_core::name::DeliveryId;
use kiops_core::store::{Accepted, DeliveryRecord, NewDelivery};
use kiops_core::{Error, ErrorKind};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::inbox::{Inbox, MOVE};
use super::row::{Doc, Outcome, Place, hash16, list, micros, micros_up, time, unreadable};
use super::writer::{Held, Writer};
use crate::seal::{self, Sealer};

const OPERATION: &str = "accept delivery";

/// How long a replay key makes duplicates.
const REPLAYS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What goes into one transaction at most.
const ROWS: usize = 128;
const BYTES: usize = 16 << 20;

/// Sealing more than this keeps a thread too busy for one that serves others.
const LARGE: usize = 256 << 10;

/// A delivery, ready to be stored: everything that takes time is done before it is queued.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) record: DeliveryRecord,
    pub(super) replay: [u8; 16],
    pub(super) digest: [u8; 16],
    pub(super) doc: Doc,
    pub(super) body: Bytes,
    pub(super) work: Work,
    pub(super) work_doc: Doc,
}

#[derive(Debug)]
struct Job {
    entries: Vec<Entry>,
    answer: oneshot::Sender<Result<Vec<Accepted>>>,
}

/// Queues deliveries for the writer.
#[derive(Debug)]
pub(super) struct Intake {
    jobs: mpsc::Sender<Job>,
    sealer: Sealer,
}

pub(super) fn body_place(id: &str) -> seal::Place<'_> {
    seal::Place { table: "delivery", row: id, column: "body" }
}

impl Intake {
    /// Starts the task that stores; it ends when this is dropped.
    pub(super) fn start(writer: Writer, place: Arc<Place>, sealer: Sealer) -> Self {
        let (jobs, queue) = mpsc::channel(1024);
        tokio::spawn(serve(queue, writer, place));
        Self { jobs, sealer }
    }

    pub(super) async fn accept(&self, deliveries: Vec<NewDelivery>) -> Result<Vec<Accepted>> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let entries = if deliveries.iter().map(|delivery| delivery.body.len()).sum::<usize>() > LARGE {
            let sealer = self.sealer.clone();
            let task = tokio::task::spawn_blocking(move || entries(&sealer, deliveries));
            task.await
                .map_err(|error| Error::internal(OPERATION, "it was not sealed").with_source(error))??
        } else {
            entries(&self.sealer, deliveries)?
        };
        let (answer, answered) = oneshot::channel();
        let closed = || Error::unavailable(OPERATION, "the store is closed");
        self.jobs.send(Job { entries, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

fn entries(sealer: &Sealer, deliveries: Vec<NewDelivery>) -> Result<Vec<Entry>> {
    deliveries
        .into_iter()
        .map(|NewDelivery { record, replay, body_digest, body }| {
            let (id, service) = (record.id.as_str(), record.service.as_str());
            let work = Work::new(
                &record.service,
                record.received_at,
                Effect::Decide { delivery: record.id.clone() },
                "",
            );
            Ok(Entry {
                replay: hash16(&[service, record.provider.as_str(), replay.as_str()]),
                digest: hash16(&[service, &body_digest]),
                doc: Doc::of("delivery", id, &record)?,
                body: sealer.seal(body_place(id), &body)?.into(),
                work_doc: Doc::of("work", work.id.as_str(), &work)?,
                work,
                record,
            })
        })
        .collect()
}

async fn serve(mut queue: mpsc::Receiver<Job>, writer: Writer, place: Arc<Place>) {
    let mut inbox = Inbox::new(writer.clone());
    let mut together = 0;
    while let Some(first) = queue.recv().await {
        // Whoever was answered a moment ago gets to queue its next delivery: one commit serves all that are there.
        if together > 1 && queue.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut held = writer.hold().await;
        let mut jobs = vec![first];
        let size =
            |job: &Job| (job.entries.len(), job.entries.iter().map(|entry| entry.body.len()).sum::<usize>());
        let (mut rows, mut bytes) = size(&jobs[0]);
        while rows < ROWS && bytes < BYTES {
            let Ok(job) = queue.try_recv() else { break };
            let (more, larger) = size(&job);
            (rows, bytes) = (rows + more, bytes + larger);
            jobs.push(job);
        }
        let (answers, entries): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.answer, job.entries)).unzip();
        let entries = Arc::new(entries);
        together = answers.len();
        let outcome = match inbox.put(&mut held, &entries).await {
            Ok(None) => store_some(&mut held, &entries, 0..entries.len()).await,
            put => put.map(Option::unwrap_or_default),
        };
        match outcome.map_err(|fault| place.failed(OPERATION, fault)) {
            // By a task of its own: each answer wakes somebody, and those that wait need not wait for that.
            Ok(accepted) => drop(tokio::spawn(async move {
                for (answer, accepted) in answers.into_iter().zip(accepted) {
                    // Whoever asked may have gone.
                    let _ = answer.send(Ok(accepted));
                }
            })),
            // What is wrong with one must not fail the others; a file that is locked fails them all.
            Err(error) if answers.len() > 1 && error.kind() != ErrorKind::Unavailable => {
                for (at, answer) in answers.into_iter().enumerate() {
                    let alone = store_some(&mut held, &entries, at..at + 1).await;
                    let alone = alone.map(|mut accepted| accepted.pop().unwrap_or_default());
                    let _ = answer.send(alone.map_err(|fault| place.failed(OPERATION, fault)));
                }
            }
            Err(error) => {
                let (kind, message) = (error.kind(), error.message().to_owned());
                let remedy = error.remedy().map(str::to_owned);
                for answer in answers {
                    let mut error = Error::new(kind, OPERATION, message.clone());
                    if let Some(remedy) = &remedy {
                        error = error.with_remedy(remedy.clone());
                    }
                    let _ = answer.send(Err(error));
                }
            }
        }
    }
}

async fn store_some(
    held: &mut Held,
    entries: &Arc<Vec<Vec<Entry>>>,
    range: Range<usize>,
) -> Outcome<Vec<Vec<Accepted>>> {
    let entries = Arc::clone(entries);
    held.carry_out(|connection| {
        Box::pin(async move { store_many(connection, entries.get(range).unwrap_or_default()).await })
    })
    .await
}

/// What went in: its row, and whether the same body was there before.
type New = BTreeMap<DeliveryId, Row>;

#[derive(Debug, Clone, Copy)]
struct Row {
    seq: i64,
    repeat: bool,
}

/// The record of a delivery whose body came before under another key.
fn repeated(entry: &Entry) -> Result<Doc> {
    let record = DeliveryRecord { repeat: true, ..entry.record.clone() };
    Doc::of("delivery", record.id.as_str(), &record)
}

/// The long way: stores any number of deliveries in one transaction, whatever is in their way. Two trips to the database where nothing
/// is a duplicate: the records, of which the unique indexes let new ones in; then bodies and work of those that went in.
async fn store_many(
    connection: &mut SqliteConnection,
    callers: &[Vec<Entry>],
) -> Outcome<Vec<Vec<Accepted>>> {
    let entries: Vec<&Entry> = callers.iter().flatten().collect();
    let mut new = New::new();
    for (at, some) in entries.chunks(ROWS).enumerate() {
        new.extend(insert(connection, some, at == 0).await?);
    }
    let mut accepted = Vec::with_capacity(entries.len());
    let mut stored: Vec<(Row, &Entry)> = Vec::with_capacity(new.len());
    let mut taken = BTreeSet::new();
    for entry in entries {
        let id = &entry.record.id;
        if !new.contains_key(id) && !give_way(connection, entry).await? {
            new.extend(insert(connection, &[entry], false).await?);
        }
        match new.get(id) {
            // The same one twice among these is a duplicate of itself.
            Some(row) if taken.insert(id) => {
                stored.push((*row, entry));
                accepted.push(Accepted::New(id.clone()));
            }
            _ => accepted.push(Accepted::Duplicate(first_of(connection, entry).await?)),
        }
    }
    complete(connection, &stored).await?;
    let mut accepted = accepted.into_iter();
    Ok(callers.iter().map(|caller| accepted.by_ref().take(caller.len()).collect()).collect())
}

/// Lets in what is new; `begin`: as the first thing of a transaction.
async fn insert(connection: &mut SqliteConnection, entries: &[&Entry], begin: bool) -> Outcome<New> {
    let begin = if begin { format!("BEGIN IMMEDIATE; {MOVE}; ") } else { String::new() };
    let rows = tuples("(?,?,?,?,?,?,?,?)", entries.len());
    // What went in, then those of it whose body came before under another key.
    let sql = format!(
        "{begin}INSERT INTO delivery (id, service, received_at, replay, digest, undecided, doc, sum) VALUES {rows} \
         ON CONFLICT DO NOTHING RETURNING id, seq, 0; \
         SELECT a.id, a.seq, 1 FROM delivery AS a WHERE a.id IN (SELECT value FROM json_each(?)) AND EXISTS \
         (SELECT 1 FROM delivery AS b WHERE b.digest = a.digest AND b.seq < a.seq)"
    );
    // Every number of rows is another statement: not worth keeping.
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(false);
    for entry in entries {
        query = query
            .bind(entry.record.id.as_str())
            .bind(entry.record.service.as_str())
            .bind(micros(entry.record.received_at))
            .bind(entry.replay.as_slice())
            .bind(entry.digest.as_slice())
            .bind(!entry.record.is_decided())
            .bind(entry.doc.text.as_str())
            .bind(entry.doc.sum);
    }
    let rows =
        query.bind(list(entries.iter().map(|entry| entry.record.id.as_str()))).fetch_all(connection).await?;
    let mut new = New::new();
    for row in &rows {
        let id: &str = row.try_get(0)?;
        let id = DeliveryId::parse(id).map_err(|_| unreadable("delivery", id))?;
        if row.try_get::<i64, _>(2)? == 0 {
            new.insert(id, Row { seq: row.try_get(1)?, repeat: false });
        } else if let Some(known) = new.get_mut(&id) {
            known.repeat = true;
        }
    }
    Ok(new)
}

/// Whether what is in this delivery's way makes it a duplicate. A replay key that has run out gives way.
async fn give_way(connection: &mut SqliteConnection, entry: &Entry) -> Outcome<bool> {
    let sql = "SELECT seq, received_at, id = ?2 FROM delivery WHERE replay = ?1 OR id = ?2";
    let id = entry.record.id.as_str();
    let rows = sqlx::query(sql).bind(entry.replay.as_slice()).bind(id).fetch_all(&mut *connection).await?;
    for row in &rows {
        let (received_at, same): (i64, bool) = (row.try_get(1)?, row.try_get(2)?);
        if same || entry.record.received_at.duration_since(time(received_at)) < REPLAYS {
            return Ok(true);
        }
    }
    for row in &rows {
        let sql = "UPDATE delivery SET replay = NULL, digest = NULL WHERE seq = ?";
        sqlx::query(sql).bind(row.try_get::<i64, _>(0)?).execute(&mut *connection).await?;
    }
    Ok(false)
}

/// The delivery that this one is a duplicate of.
async fn first_of(connection: &mut SqliteConnection, entry: &Entry) -> Outcome<DeliveryId> {
    let sql = "SELECT id FROM delivery WHERE replay = ?1 OR id = ?2 ORDER BY replay = ?1 DESC LIMIT 1";
    let id = entry.record.id.as_str();
    let row = sqlx::query(sql).bind(entry.replay.as_slice()).bind(id).fetch_one(connection).await?;
    let id: &str = row.try_get(0)?;
    DeliveryId::parse(id).map_err(|_| unreadable("delivery", id))
}

/// Bodies and work of what went in; and the commit.
async fn complete(connection: &mut SqliteConnection, stored: &[(Row, &Entry)]) -> Outcome<()> {
    for (row, entry) in stored.iter().filter(|(row, _)| row.repeat) {
        let doc = repeated(entry)?;
        let sql = "UPDATE delivery SET doc = ?, sum = ? WHERE seq = ?";
        sqlx::query(sql).bind(doc.text).bind(doc.sum).bind(row.seq).execute(&mut *connection).await?;
    }
    for (at, some) in stored.chunks(ROWS).enumerate() {
        put_bodies_and_work(connection, some, (at + 1) * ROWS >= stored.len()).await?;
    }
    if stored.is_empty() {
        sqlx::query("COMMIT").execute(connection).await?;
    }
    Ok(())
}

async fn put_bodies_and_work(
    connection: &mut SqliteConnection,
    stored: &[(Row, &Entry)],
    commit: bool,
) -> Outcome<()> {
    let (bodies, work) = (tuples("(?,?)", stored.len()), tuples("(?,?,?,?)", stored.len()));
    let sql = format!(
        "INSERT INTO delivery_body (delivery, sealed) VALUES {bodies}; \
         INSERT OR REPLACE INTO work (id, due, doc, sum) VALUES {work}; {}",
        if commit { "COMMIT" } else { "" }
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(false);
    for (row, entry) in stored {
        query = query.bind(row.seq).bind(&*entry.body);
    }
    for (_, Entry { work, work_doc, .. }) in stored {
        query =
            query.bind(work.id.as_str()).bind(micros_up(work.due)).bind(&work_doc.text).bind(work_doc.sum);
    }
    query.execute(connection).await?;
    Ok(())
}

pub(super) fn tuples(tuple: &str, n: usize) -> String {
    let mut all = String::with_capacity(n * (tuple.len() + 1));
    for at in 0..n {
        if at > 0 {
            all.push(',');
        }
        all.push_str(tuple);
    }
    all
}
