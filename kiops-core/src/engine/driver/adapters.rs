//! What the driver performs effects with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::access::Subject;
use crate::build::BuildExecutor;
use crate::checks::CheckRunner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Actor;
use crate::image::Registry;
use crate::name::{ImageName, ProviderName, SecretName, ServiceName};
use crate::notify::Notifier;
use crate::provider::GitProvider;
use crate::release::Deployer;
use crate::secret::{Secret, SecretSource};

/// The time. The system's by default; tests give their own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Who somebody at a Git host is here (settled 15).
#[async_trait]
pub trait Members: Send + Sync + fmt::Debug {
    /// The member behind an actor, by the host's numeric id; [`Subject::unknown`] for somebody unmapped.
    async fn member(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        actor: Option<&Actor>,
    ) -> Result<Subject>;
}

/// Nobody is mapped: where an environment is protected, every push waits for an approval.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyIsMember;

#[async_trait]
impl Members for NobodyIsMember {
    async fn member(&self, _: &ServiceName, _: &ProviderName, _: Option<&Actor>) -> Result<Subject> {
        Ok(Subject::unknown())
    }
}

/// What the driver performs effects with.
#[derive(Debug, Clone)]
pub struct Adapters {
    pub(super) providers: BTreeMap<ProviderName, Arc<dyn GitProvider>>,
    pub(super) registries: BTreeMap<String, Arc<dyn Registry>>,
    pub(super) executors: Vec<Arc<dyn BuildExecutor>>,
    pub(super) runner: Option<Arc<dyn CheckRunner>>,
    pub(super) deployers: BTreeMap<String, Arc<dyn Deployer>>,
    pub(super) secrets: Vec<Arc<dyn SecretSource>>,
    pub(super) members: Arc<dyn Members>,
    pub(super) notifiers: Vec<Arc<dyn Notifier>>,
}

/// Builds [`Adapters`].
#[derive(Debug, Clone)]
pub struct AdaptersBuilder(Adapters);

impl Adapters {
    /// Starts with none.
    pub fn builder() -> AdaptersBuilder {
        AdaptersBuilder(Self {
            providers: BTreeMap::new(),
            registries: BTreeMap::new(),
            executors: Vec::new(),
            runner: None,
            deployers: BTreeMap::new(),
            secrets: Vec::new(),
            members: Arc::new(NobodyIsMember),
            notifiers: Vec::new(),
        })
    }

    /// The provider of this name.
    pub fn provider(&self, name: &ProviderName) -> Result<&Arc<dyn GitProvider>> {
        self.providers.get(name).ok_or_else(|| missing("Git provider", name.as_str()))
    }

    /// The registry of this image's host.
    pub fn registry(&self, image: &ImageName) -> Result<&Arc<dyn Registry>> {
        self.registries.get(image.host()).ok_or_else(|| missing("registry", image.host()))
    }

    /// The runtime of this name.
    pub fn deployer(&self, name: &str) -> Result<&Arc<dyn Deployer>> {
        self.deployers.get(name).ok_or_else(|| missing("runtime", name))
    }

    /// Whether a runtime of this name is there.
    pub fn has_runtime(&self, name: &str) -> bool {
        self.deployers.contains_key(name)
    }

    pub(super) fn executor(&self, name: &str) -> Option<&Arc<dyn BuildExecutor>> {
        self.executors.iter().find(|executor| executor.name() == name)
    }

    /// The names of all executors, in the order in which they are asked.
    pub fn executor_names(&self) -> Vec<String> {
        self.executors.iter().map(|executor| executor.name().to_owned()).collect()
    }

    /// The secret of this name, from the first source that has it.
    pub(super) async fn secret(&self, name: &SecretName) -> Result<Secret> {
        for source in &self.secrets {
            if let Some(secret) = source.secret(name).await? {
                return Ok(secret);
            }
        }
        Err(Error::new(ErrorKind::NotFound, "read secret", format!("no source has a secret `{name}`"))
            .with_remedy("set the secret, or take its name out of the settings"))
    }
}

fn missing(what: &str, name: &str) -> Error {
    Error::not_found("find adapter", format!("no {what} `{name}` is registered"))
        .with_remedy("register it with the driver")
}

impl AdaptersBuilder {
    /// Adds a Git provider, under its own name.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn GitProvider>) -> Self {
        self.0.providers.insert(provider.name(), provider);
        self
    }

    /// Adds a registry, for images of this host.
    #[must_use]
    pub fn registry(mut self, host: impl Into<String>, registry: Arc<dyn Registry>) -> Self {
        self.0.registries.insert(host.into(), registry);
        self
    }

    /// Adds an executor. The first that accepts a build takes it.
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn BuildExecutor>) -> Self {
        self.0.executors.push(executor);
        self
    }

    /// Sets what runs checks.
    #[must_use]
    pub fn runner(mut self, runner: Arc<dyn CheckRunner>) -> Self {
        self.0.runner = Some(runner);
        self
    }

    /// Adds a runtime, under its own name.
    #[must_use]
    pub fn deployer(mut self, deployer: Arc<dyn Deployer>) -> Self {
        self.0.deployers.insert(deployer.name().to_owned(), deployer);
        self
    }

    /// Adds a source of secrets. The first that has a secret counts.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn SecretSource>) -> Self {
        self.0.secrets.push(secrets);
        self
    }

    /// Sets who maps people at Git hosts to members.
    #[must_use]
    pub fn members(mut self, members: Arc<dyn Members>) -> Self {
        self.0.members = members;
        self
    }

    /// Adds somebody to be told.
    #[must_use]
    pub fn notifier(mut self, notifier: Arc<dyn Notifier>) -> Self {
        self.0.notifiers.push(notifier);
        self
    }

    /// The adapters.
    pub fn build(self) -> Adapters {
        self.0
    }
}
