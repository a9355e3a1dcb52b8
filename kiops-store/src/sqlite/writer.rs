//! The one connection that writes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use kiops_core::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::row::{Outcome, Place};

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
        Self { link: Arc::new(Mutex::new(Link::Open(connection))), options: Arc::new(options), place }
    }

    /// Carries out `work` in one transaction: durable when this returns `Ok`, without any trace when it returns an error.
    pub(super) async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Doing<'c, T> + Send + 'static,
    {
        let mut held = self.hold().await;
        let task = tokio::spawn(async move {
            held.carry_out(|connection| {
                Box::pin(async move {
                    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
                    let value = work(connection).await?;
                    sqlx::query("COMMIT").execute(connection).await?;
                    Ok(value)
                })
            })
            .await
        });
        match task.await {
            Ok(outcome) => outcome.map_err(|fault| self.place.failed(operation, fault)),
            Err(gone) if gone.is_panic() => Err(Error::internal(operation, "it panicked")),
            Err(_) => Err(Error::unavailable(operation, "the store is being shut down")),
        }
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
        if outcome.is_ok() || is_rolled_back(&mut connection).await {
            *self.guard = Link::Open(connection);
        }
        outcome
    }
}

/// Takes back what was begun. SQLite may have done so itself, and then says that there is nothing.
async fn is_rolled_back(connection: &mut SqliteConnection) -> bool {
    match sqlx::query("ROLLBACK").execute(connection).await {
        Ok(_) => true,
        Err(error) => error.as_database_error().and_then(|error| error.code()).as_deref() == Some("1"),
    }
}
