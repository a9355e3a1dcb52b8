//! Rows: documents with a checksum, and what goes wrong with them.

use std::path::PathBuf;

use jiff::Timestamp;
use kiops_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// The database file, for what has to be said about it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
}

/// What goes wrong within a call, before the call's name is added.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(sqlx::Error),
    /// A record that does not read back: which.
    Unreadable(String),
    Ours(Error),
}

pub(super) type Outcome<T> = Result<T, Fault>;

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl Place {
    /// The error of a call.
    pub(super) fn failed(&self, operation: &'static str, fault: impl Into<Fault>) -> Error {
        match fault.into() {
            Fault::Ours(error) => error,
            Fault::Unreadable(record) => {
                self.corrupt(operation, &format!("{record} does not read back as it was written"))
            }
            Fault::Sql(error) => self.sql(operation, error),
        }
    }

    pub(super) fn corrupt(&self, operation: &'static str, what: &str) -> Error {
        let path = self.path.display();
        Error::corrupt(operation, format!("database `{path}` is damaged: {what}")).with_remedy(
            "stop, and restore the file from a backup, or move it and its -wal file away to begin anew",
        )
    }

    fn sql(&self, operation: &'static str, error: sqlx::Error) -> Error {
        use sqlx::Error as Sql;
        let path = self.path.display();
        let unavailable = |message: String| Error::unavailable(operation, message);
        let made = match &error {
            Sql::Database(database) => {
                return self.code(operation, database.code().as_deref()).with_source(error);
            }
            // Asked for only where an index has just named it.
            Sql::RowNotFound => self.corrupt(operation, "an index names a row that is not there"),
            Sql::ColumnDecode { .. }
            | Sql::Decode(_)
            | Sql::ColumnNotFound(_)
            | Sql::ColumnIndexOutOfBounds { .. } => {
                self.corrupt(operation, "a column does not hold what it should")
            }
            Sql::Io(_) => unavailable(format!("database `{path}` could not be reached")),
            Sql::PoolTimedOut => {
                unavailable(format!("every reader of database `{path}` was busy for too long"))
            }
            Sql::PoolClosed | Sql::WorkerCrashed => unavailable(format!("database `{path}` is closed")),
            _ => Error::internal(
                operation,
                format!("a statement on database `{path}` could not be carried out"),
            ),
        };
        made.with_source(error)
    }

    /// By SQLite's result codes (sqlite.org/rescode.html).
    fn code(&self, operation: &'static str, code: Option<&str>) -> Error {
        let path = self.path.display();
        let code = code.and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
        let error = |kind, message: String| Error::new(kind, operation, message);
        match (code & 0xff, code) {
            (_, 8458) | (11 | 24, _) => self.corrupt(operation, "its structure is broken"),
            (26, _) => self.corrupt(operation, "it is no SQLite database"),
            // Our statements are fixed: one that finds no table or column meets a schema that is not ours.
            (1, _) => self.corrupt(operation, "its tables are not what they should be"),
            (13, _) => error(ErrorKind::Full, format!("no space is left for database `{path}`; nothing was changed"))
                .with_remedy("free space on its disk, or raise its quota"),
            (5 | 6, _) => {
                error(ErrorKind::Unavailable, format!("another process holds database `{path}` locked; nothing was changed"))
                    .with_remedy("let one process use the file at a time")
            }
            (10, _) => {
                error(ErrorKind::Unavailable, format!("the disk under database `{path}` reported an error; nothing was changed"))
                    .with_remedy("look at the disk, its free space and the process's file-size limit")
            }
            (8, _) => error(ErrorKind::Unavailable, format!("database `{path}` cannot be written"))
                .with_remedy("make the file and its folder writable for this user"),
            (14, _) => error(ErrorKind::Unavailable, format!("database `{path}` cannot be opened"))
                .with_remedy("check that its folder is there, that this user may write in it, and the limit of open files"),
            (7, _) => error(ErrorKind::Unavailable, "no memory is left".to_owned()),
            (18, _) => error(ErrorKind::TooLarge, "a record is larger than the database takes (1 GB)".to_owned()),
            _ => error(ErrorKind::Internal, format!("database `{path}` gave SQLite's result code {code}")),
        }
    }
}

/// Whether an insert met a row of the same key.
pub(super) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// A conflict: load and step again.
pub(super) fn conflict(operation: &'static str, message: impl Into<String>) -> Fault {
    Fault::Ours(Error::conflict(operation, message))
}

/// A checksum over everything in a row that is answered.
pub(super) fn sum(table: &str, key: &str, a: i64, b: i64, doc: &str) -> i64 {
    let mut hasher = Sha256::new();
    for part in [table, key, doc] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(a.to_be_bytes());
    hasher.update(b.to_be_bytes());
    let hash: [u8; 32] = hasher.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    i64::from_be_bytes(first)
}

/// 128 bits of a hash over these texts: replay keys and body digests, as they are looked up.
pub(super) fn hash16(parts: &[&str]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}

/// A document with its checksum.
#[derive(Debug, Clone)]
pub(super) struct Doc {
    pub(super) text: String,
    pub(super) sum: i64,
}

impl Doc {
    pub(super) fn of(table: &'static str, key: &str, value: &impl Serialize) -> Result<Self> {
        Self::with(table, key, 0, 0, value)
    }

    pub(super) fn with(
        table: &'static str,
        key: &str,
        a: i64,
        b: i64,
        value: &impl Serialize,
    ) -> Result<Self> {
        let text = serde_json::to_string(value).map_err(|error| {
            Error::internal("write record", format!("{table} `{key}` has no JSON form")).with_source(error)
        })?;
        let sum = sum(table, key, a, b, &text);
        Ok(Self { text, sum })
    }
}

/// A row as most queries select it: key, two numbers, document, checksum.
#[derive(Debug)]
pub(super) struct Raw<'r> {
    pub(super) key: &'r str,
    pub(super) a: i64,
    pub(super) b: i64,
    pub(super) doc: &'r str,
    pub(super) sum: i64,
}

impl<'r> Raw<'r> {
    /// From five columns in order, the first of which is `at`.
    pub(super) fn get(row: &'r SqliteRow, at: usize) -> Outcome<Self> {
        Ok(Self {
            key: row.try_get(at)?,
            a: row.try_get(at + 1)?,
            b: row.try_get(at + 2)?,
            doc: row.try_get(at + 3)?,
            sum: row.try_get(at + 4)?,
        })
    }

    /// The checksum fits: `key` is what the row is known by.
    pub(super) fn check(&self, table: &'static str, key: &str) -> Outcome<()> {
        if sum(table, key, self.a, self.b, self.doc) == self.sum {
            Ok(())
        } else {
            Err(unreadable(table, key))
        }
    }

    pub(super) fn open<T: DeserializeOwned>(&self, table: &'static str) -> Outcome<T> {
        self.open_as(table, self.key)
    }

    pub(super) fn open_as<T: DeserializeOwned>(&self, table: &'static str, key: &str) -> Outcome<T> {
        self.check(table, key)?;
        serde_json::from_str(self.doc).map_err(|_| unreadable(table, key))
    }
}

pub(super) fn unreadable(table: &str, key: &str) -> Fault {
    Fault::Unreadable(format!("{table} `{key}`"))
}

/// Microseconds since 1970.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The first microsecond that is not before `time`: nothing is due early.
pub(super) fn micros_up(time: Timestamp) -> i64 {
    let micros = time.as_microsecond();
    let cut = Timestamp::from_microsecond(micros).is_ok_and(|cut| cut < time);
    if cut { micros.saturating_add(1) } else { micros }
}

pub(super) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A number as SQLite keeps it.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A number that is never negative.
pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

/// A list as the JSON that `json_each` takes.
pub(super) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    serde_json::Value::from_iter(items).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_time_is_never_stored_earlier_than_it_is() {
        let time = Timestamp::from_nanosecond(1_500).unwrap();
        assert_eq!((micros(time), micros_up(time)), (1, 2));
        let time = Timestamp::from_nanosecond(-1_500).unwrap();
        assert!(super::time(micros_up(time)) >= time && super::time(micros(time) - 1) <= time);
        assert_eq!(micros_up(Timestamp::MAX), micros_up(super::time(i64::MAX)));
    }

    #[test]
    fn a_checksum_covers_every_part() {
        let base = sum("t", "k", 1, 2, "doc");
        for other in [
            sum("tk", "", 1, 2, "doc"),
            sum("t", "k", 2, 1, "doc"),
            sum("t", "k", 1, 2, "do"),
            sum("t", "kd", 1, 2, "oc"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn every_result_code_of_a_broken_file_says_corrupt_and_names_it() {
        let place = Place { path: "/x/kiops.db".into() };
        for code in ["11", "26", "267", "523", "8458"] {
            let error = place.code("load", Some(code));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{code}");
            assert!(error.to_string().contains("/x/kiops.db") && error.remedy().is_some());
        }
        for (code, kind) in
            [("13", ErrorKind::Full), ("5", ErrorKind::Unavailable), ("778", ErrorKind::Unavailable)]
        {
            assert_eq!(place.code("load", Some(code)).kind(), kind, "{code}");
        }
    }
}
