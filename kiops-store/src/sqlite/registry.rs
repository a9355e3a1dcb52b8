//! What is registered: services, environments, hooks, secrets; and which hooks a delivery may belong to.

use jiff::Timestamp;
use kiops_core::error::Result;
use kiops_core::event::Repository;
use kiops_core::name::{HookId, ProviderName, RepoId, SecretName, ServiceName};
use kiops_core::secret::Secret;
use kiops_core::service::{Environment, Service};
use kiops_core::store::{Hook, HookRoute, Listed, Page, Registered, Routes, Stored};
use kiops_core::webhook::SecretSet;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::read::{listed, skip_unreadable};
use super::row::{Doc, Outcome, Raw, conflict, signed, unreadable, unsigned};
use super::{Inner, hook_secrets};
use crate::seal::Place;

/// A service's document.
#[derive(Serialize, Deserialize)]
pub(super) struct ServiceDoc {
    pub(super) created_at: Timestamp,
    pub(super) service: Service,
}

/// A hook's document: all of it but its secrets.
#[derive(Serialize, Deserialize)]
struct HookDoc {
    service: ServiceName,
    provider: ProviderName,
    repository: Repository,
    hook: Option<HookId>,
}

pub(super) fn secret_place(name: &str) -> Place<'_> {
    Place { table: "secret", row: name, column: "value" }
}

pub(super) fn hook_place(service: &str) -> Place<'_> {
    Place { table: "hook", row: service, column: "secrets" }
}

pub(super) fn stored_service(raw: &Raw<'_>) -> Outcome<Stored<Service>> {
    let doc: ServiceDoc = raw.open("service")?;
    Ok(Stored { value: doc.service, version: unsigned(raw.a), created_at: doc.created_at })
}

pub(super) fn trigger_place(service: &str) -> Place<'_> {
    Place { table: "trigger_key", row: service, column: "sealed" }
}

/// The largest number of secrets, then the hooks that a condition finds by an index.
macro_rules! hooks {
    ($($from:literal)?) => {
        concat!(
            "SELECT '' AS service, coalesce(max(reach), 0), 0, '', 0, x'' FROM hook WHERE provider = ?1",
            $(" UNION ALL SELECT service, 0, 0, doc, sum, sealed FROM hook WHERE provider = ?1 AND ", $from)?
        )
    };
}
const MOST_SECRETS: &str = hooks!();
const BY_HOOK: &str = hooks!("hook = ?2");
const BY_PATH: &str = hooks!("path = ?2");
const BY_ID: &str = hooks!(
    "repository_id = ?2 UNION ALL SELECT service, 0, 0, doc, sum, sealed FROM hook \
     WHERE provider = ?1 AND path = ?3 AND repository_id IS NULL"
);

/// Counts again how many secrets a delivery may meet, for every hook that shares an id or a path with this one.
const COUNT_REACH: &str = "\
    UPDATE hook SET reach = max( \
        (SELECT sum(other.secrets) FROM hook AS other \
         WHERE other.provider = hook.provider AND other.path = hook.path \
           AND (hook.path <> '' OR other.service = hook.service)), \
        coalesce((SELECT sum(other.secrets) FROM hook AS other \
         WHERE other.provider = hook.provider AND other.repository_id = hook.repository_id), 0)) \
    WHERE service IN (SELECT service FROM hook WHERE provider = ?1 AND path = ?3 \
                      UNION SELECT service FROM hook WHERE provider = ?1 AND repository_id = ?2)";

async fn count_reach(
    connection: &mut SqliteConnection,
    provider: &str,
    id: Option<&str>,
    path: &str,
) -> Outcome<()> {
    sqlx::query(COUNT_REACH).bind(provider).bind(id).bind(path).execute(connection).await?;
    Ok(())
}

impl Inner {
    pub(super) async fn put_service(
        &self,
        service: &Service,
        expect: Option<u64>,
        now: Timestamp,
    ) -> Result<Registered> {
        const OPERATION: &str = "register service";
        let service = service.clone();
        let write = self.writer.write(OPERATION, move |connection| {
            Box::pin(async move {
                let name = service.name.clone();
                let row = sqlx::query("SELECT name, version, builds_at_once, doc, sum FROM service WHERE name = ?")
                    .bind(name.as_str())
                    .fetch_optional(&mut *connection)
                    .await?;
                let known = row.as_ref().map(|row| Raw::get(row, 0).and_then(|raw| stored_service(&raw))).transpose()?;
                if known.as_ref().map(|known| known.version) != expect {
                    let message = match known {
                        Some(known) => format!("service `{name}` is registered, at version {}", known.version),
                        None => format!("service `{name}` is not registered"),
                    };
                    return Err(conflict(OPERATION, message));
                }
                let version = expect.unwrap_or(0) + 1;
                let at_once = i64::from(service.settings.builds_at_once);
                let created_at = known.map_or(now, |known| known.created_at);
                let doc = Doc::with("service", name.as_str(), signed(version), at_once, &ServiceDoc { created_at, service })?;
                let sql = "INSERT INTO service (name, version, builds_at_once, doc, sum) VALUES (?, ?, ?, ?, ?) \
                           ON CONFLICT (name) DO UPDATE SET version = excluded.version, \
                           builds_at_once = excluded.builds_at_once, doc = excluded.doc, sum = excluded.sum";
                sqlx::query(sql)
                    .bind(name.as_str())
                    .bind(signed(version))
                    .bind(at_once)
                    .bind(doc.text)
                    .bind(doc.sum)
                    .execute(connection)
                    .await?;
                Ok(Registered { version })
            })
        });
        write.await
    }

    pub(super) async fn service(&self, name: &ServiceName) -> Result<Option<Stored<Service>>> {
        self.read("load service", async {
            let row =
                sqlx::query("SELECT name, version, builds_at_once, doc, sum FROM service WHERE name = ?")
                    .bind(name.as_str())
                    .fetch_optional(&self.readers)
                    .await?;
            row.as_ref().map(|row| Raw::get(row, 0).and_then(|raw| stored_service(&raw))).transpose()
        })
        .await
    }

    pub(super) async fn services(&self, page: Page) -> Result<Listed<Stored<Service>>> {
        self.read("list services", async {
            let sql = "SELECT '' AS name, count(*), 0, '', 0 FROM service UNION ALL \
                       SELECT * FROM (SELECT name, version, builds_at_once, doc, sum FROM service ORDER BY name LIMIT ? OFFSET ?)";
            let rows = sqlx::query(sql).bind(i64::from(page.limit)).bind(signed(page.offset)).fetch_all(&self.readers).await?;
            listed(&rows, |raw| stored_service(&raw))
        })
        .await
    }

    pub(super) async fn put_environment(&self, environment: &Environment) -> Result<()> {
        let name = environment.name.clone();
        let doc = Doc::of("environment", name.as_str(), environment)?;
        let write = self.writer.write("register environment", move |connection| {
            Box::pin(async move {
                let sql = "INSERT INTO environment (name, doc, sum) VALUES (?, ?, ?) \
                           ON CONFLICT (name) DO UPDATE SET doc = excluded.doc, sum = excluded.sum";
                sqlx::query(sql).bind(name.as_str()).bind(doc.text).bind(doc.sum).execute(connection).await?;
                Ok(())
            })
        });
        write.await
    }

    pub(super) async fn environments(&self) -> Result<Vec<Environment>> {
        self.read("list environments", async {
            let sql = "SELECT name, 0, 0, doc, sum FROM environment ORDER BY name";
            let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
            rows.iter().map(|row| Raw::get(row, 0)?.open("environment")).filter_map(skip_unreadable).collect()
        })
        .await
    }

    pub(super) async fn put_hook(&self, hook: &Hook) -> Result<()> {
        let doc = HookDoc {
            service: hook.service.clone(),
            provider: hook.provider.clone(),
            repository: hook.repository.clone(),
            hook: hook.hook.clone(),
        };
        let row = Doc::of("hook", hook.service.as_str(), &doc)?;
        let sealed =
            self.sealer.seal(hook_place(hook.service.as_str()), &hook_secrets::encode(&hook.secrets))?;
        let secrets = signed(hook.secrets.len() as u64);
        let write = self.writer.write("register hook", move |connection| {
            Box::pin(async move {
                let before = sqlx::query("SELECT provider, repository_id, path FROM hook WHERE service = ?")
                    .bind(doc.service.as_str())
                    .fetch_optional(&mut *connection)
                    .await?;
                let sql = "INSERT INTO hook (service, provider, repository_id, path, hook, secrets, reach, sealed, doc, sum) \
                           VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?) ON CONFLICT (service) DO UPDATE SET \
                           provider = excluded.provider, repository_id = excluded.repository_id, path = excluded.path, \
                           hook = excluded.hook, secrets = excluded.secrets, sealed = excluded.sealed, \
                           doc = excluded.doc, sum = excluded.sum";
                let id = doc.repository.id.as_ref().map(RepoId::as_str);
                sqlx::query(sql)
                    .bind(doc.service.as_str())
                    .bind(doc.provider.as_str())
                    .bind(id)
                    .bind(doc.repository.path.as_str())
                    .bind(doc.hook.as_ref().map(HookId::as_str))
                    .bind(secrets)
                    .bind(sealed)
                    .bind(row.text)
                    .bind(row.sum)
                    .execute(&mut *connection)
                    .await?;
                if let Some(before) = before {
                    let (provider, id, path) = (before.try_get(0)?, before.try_get(1)?, before.try_get(2)?);
                    count_reach(&mut *connection, provider, id, path).await?;
                }
                count_reach(connection, doc.provider.as_str(), id, &doc.repository.path).await
            })
        });
        write.await
    }

    pub(super) async fn hook(&self, service: &ServiceName) -> Result<Option<Hook>> {
        self.read("load hook", async {
            let sql = "SELECT service, 0, 0, doc, sum, sealed FROM hook WHERE service = ?";
            let row = sqlx::query(sql).bind(service.as_str()).fetch_optional(&self.readers).await?;
            row.as_ref().map(|row| self.open_hook(&Raw::get(row, 0)?, row.try_get(5)?)).transpose()
        })
        .await
    }

    fn open_hook(&self, raw: &Raw<'_>, sealed: &[u8]) -> Outcome<Hook> {
        let doc: HookDoc = raw.open("hook")?;
        let secrets = self.sealer.open(hook_place(raw.key), sealed)?;
        let secrets = hook_secrets::decode(&secrets).ok_or_else(|| unreadable("hook", raw.key))?;
        Ok(Hook {
            service: doc.service,
            provider: doc.provider,
            repository: doc.repository,
            hook: doc.hook,
            secrets,
        })
    }

    pub(super) async fn routes(&self, route: &HookRoute) -> Result<Routes> {
        self.read("route delivery", async {
            let provider = route.provider.as_str();
            let query = match (&route.hook, &route.repository) {
                (Some(hook), _) => sqlx::query(BY_HOOK).bind(provider).bind(hook.as_str()),
                (None, Some(Repository { id: Some(id), path })) => {
                    sqlx::query(BY_ID).bind(provider).bind(id.as_str()).bind(path.as_str())
                }
                (None, Some(Repository { id: None, path })) => sqlx::query(BY_PATH).bind(provider).bind(path.as_str()),
                (None, None) => sqlx::query(MOST_SECRETS).bind(provider),
            };
            let rows = query.fetch_all(&self.readers).await?;
            let mut routes = Routes::default();
            let mut broken = None;
            for row in &rows {
                let raw = Raw::get(row, 0)?;
                if raw.key.is_empty() {
                    routes.most_secrets = usize::try_from(raw.a).unwrap_or_default();
                    continue;
                }
                match self.open_hook(&raw, row.try_get(5)?) {
                    Ok(hook) => routes.hooks.push(hook),
                    Err(fault) => broken = Some(fault),
                }
            }
            // One that cannot be read stands in no other's way; alone, it is an error and not an unknown repository.
            if let Some(fault) = broken {
                if routes.hooks.is_empty() {
                    return Err(fault);
                }
                tracing::error!(error = %self.place.failed("route delivery", fault), "a hook was passed over");
            }
            routes.hooks.sort_by(|a, b| a.service.cmp(&b.service));
            Ok(routes)
        })
        .await
    }

    pub(super) async fn put_trigger_keys(&self, service: &ServiceName, keys: &SecretSet) -> Result<()> {
        let sealed = match keys.is_empty() {
            true => None,
            false => Some(self.sealer.seal(trigger_place(service.as_str()), &hook_secrets::encode(keys))?),
        };
        let service = service.clone();
        let write = self.writer.write("keep trigger keys", move |connection| {
            Box::pin(async move {
                let query = match sealed {
                    Some(sealed) => {
                        let sql = "INSERT INTO trigger_key (service, sealed) VALUES (?, ?) \
                                   ON CONFLICT (service) DO UPDATE SET sealed = excluded.sealed";
                        sqlx::query(sql).bind(service.as_str()).bind(sealed)
                    }
                    None => sqlx::query("DELETE FROM trigger_key WHERE service = ?").bind(service.as_str()),
                };
                query.execute(connection).await?;
                Ok(())
            })
        });
        write.await
    }

    pub(super) async fn trigger_keys(&self, service: &ServiceName) -> Result<SecretSet> {
        self.read("load trigger keys", async {
            let sql = "SELECT sealed FROM trigger_key WHERE service = ?";
            let row = sqlx::query(sql).bind(service.as_str()).fetch_optional(&self.readers).await?;
            let Some(row) = row else { return Ok(SecretSet::default()) };
            let keys = self.sealer.open(trigger_place(service.as_str()), row.try_get(0)?)?;
            hook_secrets::decode(&keys).ok_or_else(|| unreadable("trigger keys", service.as_str()))
        })
        .await
    }

    pub(super) async fn put_secret(&self, name: &SecretName, secret: Option<&Secret>) -> Result<()> {
        let sealed = secret
            .map(|secret| self.sealer.seal(secret_place(name.as_str()), secret.expose()))
            .transpose()?;
        let name = name.clone();
        let write = self.writer.write("keep secret", move |connection| {
            Box::pin(async move {
                let query = match sealed {
                    Some(sealed) => {
                        let sql = "INSERT INTO secret (name, sealed) VALUES (?, ?) \
                                   ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed";
                        sqlx::query(sql).bind(name.as_str()).bind(sealed)
                    }
                    None => sqlx::query("DELETE FROM secret WHERE name = ?").bind(name.as_str()),
                };
                query.execute(connection).await?;
                Ok(())
            })
        });
        write.await
    }

    pub(super) async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        self.read("load secret", async {
            let sql = "SELECT sealed FROM secret WHERE name = ?";
            let Some(row) = sqlx::query(sql).bind(name.as_str()).fetch_optional(&self.readers).await? else {
                return Ok(None);
            };
            let value = self.sealer.open(secret_place(name.as_str()), row.try_get(0)?)?;
            Ok(Secret::new(value.as_slice()))
        })
        .await
    }
}
