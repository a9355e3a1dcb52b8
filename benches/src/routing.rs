//! What it costs a delivery to find its services: among few, and among many.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use kiops_core::event::Repository;
use kiops_core::name::{ProviderName, RepoId, ServiceName};
use kiops_core::secret::{SealingKey, Secret, StaticKey};
use kiops_core::store::{Hook, HookRoute, MemoryStore, Store};
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource as _};
use kiops_git::gitlab::GitLabWebhook;
use kiops_store::{SqliteConfig, SqliteStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Outcome, push, scratch};

/// A store that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In memory.
    Memory,
    /// In one SQLite file: the embedded default.
    Sqlite,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Sqlite];

    /// Its name in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
        }
    }
}

/// A store with hooks of so many services, each with a repository and a secret of its own.
#[derive(Debug)]
pub struct Routing {
    runtime: Runtime,
    store: Arc<dyn Store>,
    services: usize,
    asked: usize,
    template: Template,
    _folder: TempDir,
}

impl Routing {
    /// Registers so many services.
    pub fn among(services: usize, kind: Kind) -> Outcome<Self> {
        let folder = scratch()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let store: Arc<dyn Store> = match kind {
            Kind::Memory => Arc::new(MemoryStore::new()),
            Kind::Sqlite => {
                let keys = Arc::new(StaticKey::new(SealingKey::new([1; 32])));
                let config = SqliteConfig::new(folder.path().join("kiops.db"));
                Arc::new(runtime.block_on(SqliteStore::open(config, keys))?)
            }
        };
        runtime.block_on(async {
            for n in 0..services {
                store.put_hook(&hook(n)?).await?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })?;
        Ok(Self { runtime, store, services, asked: 0, template: Template::new()?, _folder: folder })
    }

    /// Finds the services of `n` deliveries of 2 KiB, each of another repository, one after the other: a peek into the body for the
    /// repository, then the store's hooks for it.
    pub fn find(&mut self, n: usize) -> Outcome<()> {
        let provider = ProviderName::parse("gitlab")?;
        let start = self.asked;
        self.asked += n;
        for at in start..start + n {
            // Neighbours in the alphabet do not follow one another.
            let body = self.template.fill(at.wrapping_mul(7919) % self.services);
            let delivery = Delivery::new(provider.clone(), HeaderMap::new(), body);
            let repository = GitLabWebhook.repository(&delivery);
            let route = HookRoute { provider: provider.clone(), hook: None, repository };
            let routes = self.runtime.block_on(self.store.routes(&route))?;
            if routes.hooks.len() != 1 || routes.most_secrets != 1 {
                let found = (routes.hooks.len(), routes.most_secrets);
                return Err(format!("{} hooks and {} secrets were found", found.0, found.1).into());
            }
        }
        Ok(())
    }
}

/// A push with room for a repository's id and path. Bodies are filled in when they are needed: one that was made long ago would have
/// to come from further away in memory than one that has just come in.
#[derive(Debug)]
struct Template {
    before_id: String,
    before_path: String,
    end: String,
}

impl Template {
    fn new() -> Outcome<Self> {
        let body = push::body(2 << 10, "0", "group/app", 0)?;
        let split = |text: &str, at: &str| -> Outcome<(String, String)> {
            let (before, after) = text.split_once(at).ok_or("the push looks unlike it should")?;
            Ok((format!("{before}{at}"), after.to_owned()))
        };
        let (before_id, rest) = split(&body, "\"project\":{\"id\":")?;
        let (before_path, end) = split(rest.trim_start_matches('0'), "\"path_with_namespace\":\"")?;
        Ok(Self { before_id, before_path, end: end.trim_start_matches("group/app").to_owned() })
    }

    /// The push of the n-th service's repository.
    fn fill(&self, n: usize) -> Bytes {
        let Self { before_id, before_path, end } = self;
        format!("{before_id}{}{before_path}{}{end}", id(n), path(n)).into()
    }
}

fn id(n: usize) -> usize {
    1000 + n
}

fn path(n: usize) -> String {
    format!("group-{}/service-{n}", n % 97)
}

fn repository(n: usize) -> Outcome<Repository> {
    Ok(Repository { id: Some(RepoId::parse(id(n).to_string())?), path: path(n) })
}

fn hook(n: usize) -> Outcome<Hook> {
    let secret = Secret::new(format!("the secret of service {n}")).ok_or("an empty secret")?;
    Ok(Hook {
        service: ServiceName::parse(format!("service-{n}"))?,
        provider: ProviderName::parse("gitlab")?,
        repository: repository(n)?,
        hook: None,
        secrets: SecretSet::new([secret]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delivery_finds_the_one_service_of_its_repository() {
        for kind in Kind::ALL {
            for services in [1, 10] {
                Routing::among(services, kind).unwrap().find(25).unwrap();
            }
        }
    }
}
