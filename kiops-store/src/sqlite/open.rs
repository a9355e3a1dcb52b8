//! Opening a database: is it ours, is it whole, is its schema one that we know, is its key at hand.

use std::time::Duration;

use kiops_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::SqliteConfig;
use super::row::{Fault, Outcome, Place};
use crate::private;
use crate::seal::{self, Sealer};

const OPERATION: &str = "open database";

/// What SQLite's header calls our files: the bytes `kiop`.
const APPLICATION: i64 = 0x6b69_6f70;

/// Bytes of a page, fixed when a file is made. Larger than SQLite's 4 KiB, since a delivery has some KiB, and every page is written
/// twice by two system calls each.
const PAGE: u32 = 8 << 10;

/// Every step of the schema, oldest first. One that was released never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_first.sql"),
    include_str!("../../migrations/0002_tokens.sql"),
    include_str!("../../migrations/0003_trigger_keys.sql"),
];

pub(super) struct Opened {
    pub(super) writer: SqliteConnection,
    pub(super) writer_options: SqliteConnectOptions,
    pub(super) readers: SqlitePool,
}

pub(super) async fn open(config: &SqliteConfig, place: &Place, sealer: &Sealer) -> Result<Opened> {
    create_file(config).map_err(|error| {
        Error::unavailable(OPERATION, format!("database `{}` cannot be made", config.path.display()))
            .with_source(error)
            .with_remedy("check that its folder can be made and written by this user")
    })?;
    let failed = |fault: Fault| place.failed(OPERATION, fault);
    // Looked at before anything is changed in it.
    let mut probe = base_options(config).connect().await.map_err(Fault::from).map_err(failed)?;
    let known = inspect(&mut probe, config, place).await;
    let closed = probe.close().await.map_err(Fault::from);
    known.map_err(failed)?;
    closed.map_err(failed)?;
    let writer_options = writer_options(config);
    let mut writer = writer_options.connect().await.map_err(Fault::from).map_err(failed)?;
    prepare(&mut writer, config, place, sealer).await.map_err(failed)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(config.readers.max(1))
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(reader_options(config));
    Ok(Opened { writer, writer_options, readers })
}

/// The file is ours to make: SQLite would give it the umask's mode.
fn create_file(config: &SqliteConfig) -> std::io::Result<()> {
    let folder = config.path.parent().unwrap_or(std::path::Path::new(""));
    private::create_folder(folder)?;
    match private::options().write(true).create_new(true).open(&config.path) {
        Ok(file) => {
            file.sync_all()?;
            private::sync_folder(folder)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn base_options(config: &SqliteConfig) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&config.path)
        .create_if_missing(false)
        .busy_timeout(Duration::from_millis(config.busy_timeout_ms))
        .foreign_keys(true)
        .page_size(PAGE)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

fn writer_options(config: &SqliteConfig) -> SqliteConnectOptions {
    let options = base_options(config)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", config.checkpoint_pages.to_string())
        .pragma("cache_size", "-8000")
        .pragma("journal_size_limit", (64 << 20).to_string())
        .statement_cache_capacity(128);
    match config.max_pages {
        Some(pages) => options.pragma("max_page_count", pages.to_string()),
        None => options,
    }
}

fn reader_options(config: &SqliteConfig) -> SqliteConnectOptions {
    base_options(config).pragma("query_only", "ON").statement_cache_capacity(64)
}

async fn number(connection: &mut SqliteConnection, sql: &'static str) -> Outcome<i64> {
    Ok(sqlx::query(sql).fetch_one(connection).await?.try_get(0)?)
}

/// Refuses files that are not ours, are damaged, or come from a newer version.
async fn inspect(connection: &mut SqliteConnection, config: &SqliteConfig, place: &Place) -> Outcome<()> {
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").await?;
    if tables == 0 {
        return Ok(());
    }
    let application = number(connection, "PRAGMA application_id").await?;
    let version = number(connection, "PRAGMA user_version").await?;
    let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let path = place.path.display();
    if application != APPLICATION {
        let message = format!("`{path}` is a database of some other program, or its first page is damaged");
        let error = Error::new(ErrorKind::Corrupt, OPERATION, message);
        return Err(error.with_remedy("give another path, or restore the file from a backup").into());
    }
    if version > newest {
        let message =
            format!("database `{path}` has schema {version}, and this program knows schemas up to {newest}");
        let error = Error::new(ErrorKind::Unsupported, OPERATION, message);
        return Err(error
            .with_remedy("start the newer version of the program that made it, or restore an older backup")
            .into());
    }
    if version < 1 {
        return Err(place.corrupt(OPERATION, "it has tables and no schema version").into());
    }
    if config.check {
        let rows = sqlx::query("PRAGMA integrity_check(1)").fetch_all(&mut *connection).await?;
        let found: &str = rows.first().map_or(Ok(""), |row| row.try_get(0))?;
        if found != "ok" {
            return Err(place.corrupt(OPERATION, found).into());
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM delivery_body WHERE delivery NOT IN (SELECT seq FROM delivery) \
                   AND delivery NOT IN (SELECT seq FROM inbox))";
        if number(connection, sql).await? != 0 {
            return Err(place.corrupt(OPERATION, "a row belongs to none").into());
        }
    }
    Ok(())
}

async fn prepare(
    connection: &mut SqliteConnection,
    config: &SqliteConfig,
    place: &Place,
    sealer: &Sealer,
) -> Outcome<()> {
    migrate(connection).await?;
    let stored: Option<Vec<u8>> = meta(connection, "schema").await?;
    let schema = schema(connection).await?;
    if config.check && stored.as_deref() != Some(schema.as_bytes()) {
        return Err(place.corrupt(OPERATION, "its tables are not as they were made").into());
    }
    check_key(connection, place, sealer).await
}

/// Takes every step that is missing, each in a transaction of its own.
async fn migrate(connection: &mut SqliteConnection) -> Outcome<()> {
    for (version, sql) in (1..).zip(MIGRATIONS) {
        if number(connection, "PRAGMA user_version").await? >= version {
            continue;
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        // Another process may have taken the step meanwhile.
        if number(connection, "PRAGMA user_version").await? < version {
            sqlx::raw_sql(*sql).execute(&mut *connection).await?;
            let mark = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *connection).await?;
            let schema = schema(connection).await?;
            put_meta(connection, "schema", schema.as_bytes()).await?;
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        tracing::info!(version, "database schema is up to date");
    }
    Ok(())
}

/// Every table and index, as the database itself describes them.
async fn schema(connection: &mut SqliteConnection) -> Outcome<String> {
    let sql = "SELECT type || ' ' || name || ' ' || tbl_name || ' ' || coalesce(sql, '') FROM sqlite_schema \
               WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    let lines = rows.iter().map(|row| row.try_get::<&str, _>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join("\n"))
}

/// The first start seals a word; a later start that cannot open it has the wrong key, and says so before it does harm.
async fn check_key(connection: &mut SqliteConnection, place: &Place, sealer: &Sealer) -> Outcome<()> {
    if let Some(sealed) = meta(connection, CANARY.row).await? {
        sealer.open(CANARY, &sealed).map_err(|error| {
            let message = format!("database `{}`: {}", place.path.display(), error.message());
            error.reworded(OPERATION, message)
        })?;
    } else {
        put_meta(connection, CANARY.row, &sealer.seal(CANARY, b"kiops")?).await?;
    }
    Ok(())
}

pub(super) const CANARY: seal::Place<'static> = seal::Place { table: "meta", row: "canary", column: "value" };

pub(super) async fn meta(connection: &mut SqliteConnection, name: &str) -> Outcome<Option<Vec<u8>>> {
    let row =
        sqlx::query("SELECT value FROM meta WHERE name = ?").bind(name).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn put_meta(connection: &mut SqliteConnection, name: &str, value: &[u8]) -> Outcome<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(sql).bind(name).bind(value).execute(connection).await?;
    Ok(())
}
