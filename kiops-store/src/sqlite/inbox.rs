//! The quick way in. Deliveries are appended to the inbox, a table without an index: one statement, few pages, one sync. Whatever
//! writes next moves them to where they belong, many together.

use std::collections::HashSet;
use std::sync::Arc;

use kiops_core::name::DeliveryId;
use kiops_core::store::Accepted;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::accept::{Entry, tuples};
use super::row::{Fault, Outcome, micros, micros_up};
use super::writer::{Held, Writer};

/// How much the inbox holds at most: looking into it reads all of it.
const ROWS: usize = 2048;
const BYTES: usize = 16 << 20;

/// What goes in by one statement at most.
const TOGETHER: usize = 256;

/// How many bytes of bodies a statement may have that is kept for the next time.
const KEPT: usize = 256 << 10;

/// Moves what is in the inbox to where it belongs. The first thing of every transaction but those that fill it.
pub(super) const MOVE: &str = "DELETE FROM inbox";

/// Fills the inbox, and remembers what it holds, so that nothing has to be looked up in it.
#[derive(Debug)]
pub(super) struct Inbox {
    writer: Writer,
    /// `None`: not known. Then the inbox must be empty before anything is put into it.
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    /// The next delivery's number.
    next: i64,
    /// How many transactions had emptied the inbox when this was noted.
    moves: u64,
    bytes: usize,
    ids: HashSet<DeliveryId>,
    /// Replay keys and body digests.
    hashes: HashSet<[u8; 16]>,
}

impl Inbox {
    pub(super) const fn new(writer: Writer) -> Self {
        Self { writer, known: None }
    }

    /// Takes all of these deliveries in. `None`: something may be in the way of one of them, or there are too many. Then nothing
    /// was changed, and the long way is the right one.
    pub(super) async fn put(
        &mut self,
        held: &mut Held,
        callers: &Arc<Vec<Vec<Entry>>>,
    ) -> Outcome<Option<Vec<Vec<Accepted>>>> {
        // Until all is well again, nothing is known.
        let known = self.known.take();
        let entries = || callers.iter().flatten();
        let count = entries().count();
        if count > TOGETHER {
            return Ok(None);
        }
        let moves = self.writer.moves();
        let Some(mut known) = (match known {
            Some(known) => Some(known),
            None => look(held).await?.map(|next| Known::new(next, moves)),
        }) else {
            return Ok(None);
        };
        if known.moves != moves {
            known = Known::new(known.next, moves);
        }
        if !entries().all(|entry| known.note(entry)) || known.ids.len() > ROWS || known.bytes > BYTES {
            return Ok(None);
        }
        let first = known.next;
        known.next += i64::try_from(count).unwrap_or(i64::MAX);
        let shared = Arc::clone(callers);
        let put = held.carry_out(move |connection| {
            Box::pin(async move { append(connection, first, &shared, count).await })
        });
        if !put.await? {
            return Ok(None);
        }
        self.known = Some(known);
        let new = |entry: &Entry| Accepted::New(entry.record.id.clone());
        Ok(Some(callers.iter().map(|caller| caller.iter().map(new).collect()).collect()))
    }
}

impl Known {
    fn new(next: i64, moves: u64) -> Self {
        Self { next, moves, bytes: 0, ids: HashSet::new(), hashes: HashSet::new() }
    }

    /// Notes what goes in; `false`: something of it is there already.
    fn note(&mut self, entry: &Entry) -> bool {
        self.bytes += entry.doc.text.len();
        self.ids.insert(entry.record.id.clone())
            & self.hashes.insert(entry.replay)
            & self.hashes.insert(entry.digest)
    }
}

/// The number of the next delivery; `None`: the inbox is not empty.
async fn look(held: &mut Held) -> Outcome<Option<i64>> {
    held.carry_out(|connection| {
        Box::pin(async move {
            let sql = "SELECT (SELECT coalesce(max(seq), 0) FROM delivery) + 1, EXISTS (SELECT 1 FROM inbox)";
            let row = sqlx::query(sql).fetch_one(connection).await?;
            let (next, filled): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
            Ok((!filled).then_some(next))
        })
    })
    .await
}

/// Appends deliveries; the statement is a transaction of its own. `false`: something stored is in the way of one.
async fn append(
    connection: &mut SqliteConnection,
    first: i64,
    callers: &[Vec<Entry>],
    count: usize,
) -> Outcome<bool> {
    let sql = format!(
        "INSERT INTO intake (seq, id, service, received_at, replay, digest, undecided, doc, sum, work, due, work_doc, \
         work_sum, sealed) VALUES {}",
        tuples("(?,?,?,?,?,?,?,?,?,?,?,?,?,?)", count)
    );
    // A statement that is kept keeps what was bound to it last.
    let bytes: usize = callers.iter().flatten().map(|entry| entry.body.len()).sum();
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(count <= 64 && bytes <= KEPT);
    for (seq, entry) in (first..).zip(callers.iter().flatten()) {
        let Entry { record, replay, digest, doc, body, work, work_doc } = entry;
        query = query
            .bind(seq)
            .bind(record.id.as_str())
            .bind(record.service.as_str())
            .bind(micros(record.received_at))
            .bind(replay.as_slice())
            .bind(digest.as_slice())
            .bind(!record.is_decided())
            .bind(doc.text.as_str())
            .bind(doc.sum)
            .bind(work.id.as_str())
            .bind(micros_up(work.due))
            .bind(work_doc.text.as_str())
            .bind(work_doc.sum)
            .bind(&**body);
    }
    match query.execute(connection).await {
        Ok(_) => Ok(true),
        Err(error) if is_in_the_way(&error) => Ok(false),
        Err(error) => Err(Fault::Sql(error)),
    }
}

/// SQLite's code 19: a trigger or a key said no.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 19)
}
