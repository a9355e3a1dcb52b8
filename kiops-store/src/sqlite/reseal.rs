//! Sealing everything again under the current key, so that an older one can be thrown away.

use kiops_core::error::Result;
use sqlx::Row as _;

use super::Inner;
use super::accept::body_place;
use super::open::{CANARY, meta, put_meta};
use super::registry::{hook_place, secret_place, trigger_place};
use super::tokens::token_place;
use crate::seal::{Place, Sealer};

/// Where sealed values are: how to page through them by row number, and how to replace one that is still the same.
struct Sealed {
    rows: &'static str,
    replace: &'static str,
    place: fn(&str) -> Place<'_>,
}

const ALL: &[Sealed] = &[
    Sealed {
        rows: "SELECT rowid, service, sealed FROM hook WHERE rowid > ? ORDER BY rowid LIMIT 64",
        replace: "UPDATE hook SET sealed = ? WHERE rowid = ? AND sealed = ?",
        place: hook_place,
    },
    Sealed {
        rows: "SELECT rowid, name, sealed FROM secret WHERE rowid > ? ORDER BY rowid LIMIT 64",
        replace: "UPDATE secret SET sealed = ? WHERE rowid = ? AND sealed = ?",
        place: secret_place,
    },
    Sealed {
        rows: "SELECT rowid, service, sealed FROM trigger_key WHERE rowid > ? ORDER BY rowid LIMIT 64",
        replace: "UPDATE trigger_key SET sealed = ? WHERE rowid = ? AND sealed = ?",
        place: trigger_place,
    },
    Sealed {
        rows: "SELECT rowid, connection, sealed FROM token WHERE rowid > ? ORDER BY rowid LIMIT 64",
        replace: "UPDATE token SET sealed = ? WHERE rowid = ? AND sealed = ?",
        place: token_place,
    },
    Sealed {
        rows: "SELECT body.delivery, delivery.id, body.sealed FROM delivery_body AS body \
               JOIN delivery ON delivery.seq = body.delivery WHERE body.delivery > ? ORDER BY body.delivery LIMIT 64",
        replace: "UPDATE delivery_body SET sealed = ? WHERE delivery = ? AND sealed = ?",
        place: body_place,
    },
];

/// A value to be replaced.
struct Replacement {
    row: i64,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Inner {
    /// Says how many values were sealed again. One that does not open is left as it is, and is the error once the others
    /// are done.
    pub(super) async fn reseal(&self) -> Result<u64> {
        const OPERATION: &str = "seal again";
        self.empty_inbox(OPERATION).await?;
        let mut resealed = 0;
        let mut broken = None;
        for table in ALL {
            let mut last = i64::MIN;
            loop {
                let rows = self.read(OPERATION, async {
                    Ok(sqlx::query(table.rows).bind(last).fetch_all(&self.readers).await?)
                });
                let rows = rows.await?;
                let mut replacements = Vec::new();
                for row in &rows {
                    let columns = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
                    let (number, key, old): (i64, &str, &[u8]) =
                        columns().map_err(|error: sqlx::Error| self.place.failed(OPERATION, error))?;
                    last = number;
                    match reseal(&self.sealer, (table.place)(key), old) {
                        Ok(Some(new)) => {
                            replacements.push(Replacement { row: number, old: old.to_vec(), new })
                        }
                        Ok(None) => {}
                        Err(error) => broken = Some(error),
                    }
                }
                if rows.is_empty() {
                    break;
                }
                resealed += self.replace(table.replace, replacements).await?;
            }
        }
        if let Some(error) = broken {
            return Err(error);
        }
        Ok(resealed + self.reseal_canary().await?)
    }

    async fn replace(&self, sql: &'static str, replacements: Vec<Replacement>) -> Result<u64> {
        if replacements.is_empty() {
            return Ok(0);
        }
        let write = self.writer.write("seal again", move |connection| {
            Box::pin(async move {
                let mut replaced = 0;
                for Replacement { row, old, new } in replacements {
                    // Whoever replaced it meanwhile sealed it with the current key.
                    let query = sqlx::query(sql).bind(new).bind(row).bind(old);
                    replaced += query.execute(&mut *connection).await?.rows_affected();
                }
                Ok(replaced)
            })
        });
        write.await
    }

    async fn reseal_canary(&self) -> Result<u64> {
        let sealer = self.sealer.clone();
        let write = self.writer.write("seal again", move |connection| {
            Box::pin(async move {
                let Some(old) = meta(connection, CANARY.row).await? else { return Ok(0) };
                let Some(new) = reseal(&sealer, CANARY, &old)? else { return Ok(0) };
                put_meta(connection, CANARY.row, &new).await?;
                Ok(1)
            })
        });
        write.await
    }
}

/// `None`: it is sealed with the current key already.
fn reseal(sealer: &Sealer, place: Place<'_>, old: &[u8]) -> Result<Option<Vec<u8>>> {
    if sealer.is_current(old)? {
        return Ok(None);
    }
    Ok(Some(sealer.seal(place, &sealer.open(place, old)?)?))
}
