//! The one connection that writes.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiops_core::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::row::{Fault, Outcome, Place};

/// SQLite's result code for a full disk, or a file that may not grow.
const FULL: &str = "13";

/// What a transaction does.
pub(super) type Doing<'c, T> = Pin<Box<dyn Future<Output = Outcome<T>> + Send + 'c>>;

/// Gives the writing connection to one transaction at a time, in the order in which they ask.
///
/// A transaction that began is carried to its end even where whoever asked for it has gone. sqlx's own transactions are not
/// used: SQLite ends a transaction by itself when the disk is full, and sqlx would go on counting it.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    link: Arc<Mutex<Link>>,
    options: Arc<SqliteConnectOptions>,
    place: Arc<Place>,
    moves: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Link {
    Open(SqliteConnection),
    /// In use, or left in the middle of something: it has to be opened again.
    Lost,
    Closed,
}

/// The writing connection, held by one transaction.
pub(super) struct Held {
    guard: OwnedMutexGuard<Link>,
    options: Arc<SqliteConnectOptions>,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        place: Arc<Place>,
    ) -> Self {
        Self {
            link: Arc::new(Mutex::new(Link::Open(connection))),
            options: Arc::new(options),
            place,
            moves: Arc::default(),
        }
    }

    /// Carries out `work` in one transaction: durable when this returns `Ok`, without any trace when it returns an error.
    pub(super) async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Doing<'c, T> + Send + 'static,
    {
        let mut held = self.hold().await;
        let moves = Arc::clone(&self.moves);
        let task = tokio::spawn(async move {
            let outcome = held.carry_out(|connection| {
                Box::pin(async move {
                    let moved = begin(connection).await?;
                    let value = work(connection).await?;
                    sqlx::query("COMMIT").execute(connection).await?;
                    Ok((value, moved))
                })
            });
            let (value, moved) = outcome.await?;
            // Counted before anybody else gets the connection.
            moves.fetch_add(u64::from(moved), Ordering::Relaxed);
            Ok(value)
        });
        match task.await {
            Ok(outcome) => outcome.map_err(|fault: Fault| self.place.failed(operation, fault)),
            Err(gone) if gone.is_panic() => Err(Error::internal(operation, "it panicked")),
            Err(_) => Err(Error::unavailable(operation, "the store is being shut down")),
        }
    }

    /// How many transactions of [`write`](Self::write) have emptied the inbox.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// Waits for its turn.
    pub(super) async fn hold(&self) -> Held {
        Held { guard: Arc::clone(&self.link).lock_owned().await, options: Arc::clone(&self.options) }
    }

    /// Closes the connection once what is being written is written.
    pub(super) async fn close(&self) {
        let mut held = self.hold().await;
        if let Link::Open(connection) = std::mem::replace(&mut *held.guard, Link::Closed)
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database was not closed cleanly; its next start makes up for it");
        }
    }
}

impl Held {
    /// Carries out `work`, which begins and commits by itself; after an error nothing of it is left.
    pub(super) async fn carry_out<T, F>(&mut self, work: F) -> Outcome<T>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Doing<'c, T>,
    {
        // Until the work has ended well, the connection is not given back: one that is left in the middle (by a panic, or
        // with its task) is closed, which takes everything back.
        let mut connection = match std::mem::replace(&mut *self.guard, Link::Lost) {
            Link::Open(connection) => connection,
            Link::Lost => self.options.connect().await?,
            Link::Closed => {
                *self.guard = Link::Closed;
                return Err(sqlx::Error::PoolClosed.into());
            }
        };
        let outcome = work(&mut connection).await;
        let Err(fault) = &outcome else {
            *self.guard = Link::Open(connection);
            return outcome;
        };
        if is_rolled_back(&mut connection).await {
            if is_out_of_room(fault) {
                carry_over(&mut connection).await;
            }
            *self.guard = Link::Open(connection);
        }
        outcome
    }
}

/// Begins a transaction, in which what came in before has its place before anything is looked for. `false`: there is no room for that.
/// What can be done without it still is: it may be what makes room.
async fn begin(connection: &mut SqliteConnection) -> Outcome<bool> {
    let begun = sqlx::query("BEGIN IMMEDIATE; DELETE FROM inbox").execute(&mut *connection).await;
    match begun {
        Ok(_) => Ok(true),
        Err(error) if code(&error).as_deref() == Some(FULL) && is_rolled_back(connection).await => {
            sqlx::query("BEGIN IMMEDIATE").execute(connection).await?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the disk did not take what was written: it is full, or a file may not grow.
fn is_out_of_room(fault: &Fault) -> bool {
    let Fault::Sql(error) = fault else { return false };
    let code = code(error).and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
    // SQLITE_FULL, SQLITE_IOERR.
    matches!(code & 0xff, 13 | 10)
}

/// Carries the log over into the file, so that the next transaction writes at the log's beginning again. SQLite does so after
/// commits only, and in a log that may not grow there are none.
async fn carry_over(connection: &mut SqliteConnection) {
    if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(connection).await {
        tracing::warn!(%error, "the log could not be carried over into the database");
    }
}

/// Takes back what was begun. SQLite may have done so itself, and then says that there is nothing.
async fn is_rolled_back(connection: &mut SqliteConnection) -> bool {
    match sqlx::query("ROLLBACK").execute(connection).await {
        Ok(_) => true,
        Err(error) => code(&error).as_deref() == Some("1"),
    }
}

/// SQLite's result code.
fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(|error| error.code())
}
