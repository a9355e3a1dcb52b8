//! A directory of manifests as a runtime.

mod files;
mod record;
mod slot;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiops_core::image::RegistryCredential;
use kiops_core::name::{DnsLabel, PinnedImage, ReleaseId};
use kiops_core::release::{
    DeployRequest, DeployTarget, Deployer, Live, Revision, RevisionInfo, RolloutStatus,
};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::service::Target;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::render::{self, Manifests, PullSecret, RenderConfig, names, render};
use crate::revisions::{self, Owner, check_keep};
use crate::secrets::{env_values, has_credential};
use record::Record;
use slot::Slot;

/// How long a call waits for another writer of the same target.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How long opening waits: whoever holds a lock completes the target himself.
const LOCK_WAIT_OPEN: Duration = Duration::from_millis(100);

/// Where the manifests go and how they are rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ManifestDirectoryConfig {
    /// The runtime's name, as environments name it. `manifests` by default.
    #[serde(default = "default_name")]
    pub name: String,
    /// The directory of current manifests, one file a target: `{namespace}/{object}.yaml`. It holds nothing else.
    pub current: PathBuf,
    /// The directory of revisions. Neither directory may lie in the other.
    pub revisions: PathBuf,
    /// How many revisions of each target are kept: 50 by default, 10 at least.
    #[serde(default = "default_keep")]
    pub keep: usize,
    /// Whether Secrets are written too, values and all, as `{namespace}/{object}.secrets.yaml` that only the owner may read
    /// (0600). Off by default: pods then name Secrets that somebody else makes. Revisions never hold a secret value.
    #[serde(default)]
    pub write_secrets: bool,
    /// How workloads are rendered.
    #[serde(default)]
    pub render: RenderConfig,
}

fn default_name() -> String {
    "manifests".to_owned()
}

const fn default_keep() -> usize {
    revisions::KEEP
}

impl ManifestDirectoryConfig {
    /// The configuration of these two directories, all else by default.
    pub fn new(current: impl Into<PathBuf>, revisions: impl Into<PathBuf>) -> Self {
        Self {
            name: default_name(),
            current: current.into(),
            revisions: revisions.into(),
            keep: default_keep(),
            write_secrets: false,
            render: RenderConfig::default(),
        }
    }
}

/// A [`Deployer`] whose runtime is a directory of Kubernetes manifests, for `kubectl apply -R -f` or a GitOps tool.
///
/// A target's manifest is one file that is replaced atomically: a reader sees the old revision or the new one, whole. A rollout is
/// complete when the file is written; whether something applies it is not known here.
///
/// # Guarantees beyond the trait's
/// - Any number of tasks and processes may use the same directories; writers of one target wait for each other, up to 30 seconds.
/// - After an error or a crash the file holds the revision that it held before, or the new one. A crash between the two steps
///   (the revision is recorded, then the file is replaced) is completed by the same call, or when the directory is opened.
/// - Idempotence by release id lasts as long as the release's revision is kept, and ends with [`remove`](Deployer::remove), which
///   forgets the history too. Numbers go on counting all the same; no revision has the number of a removed one.
/// - A removed target's claims stay in its file, and GitOps tools are told not to delete them; everything else goes.
/// - A file of the same name that kiops did not write, or that belongs to another environment in the same namespace, is never
///   overwritten: the release fails with the remedy.
/// - A damaged revision is named in the error of whoever asks for it and in the log; the others stay usable.
///
/// Only targets of type workload are supported.
#[derive(Debug, Clone)]
pub struct ManifestDirectory {
    config: Arc<ManifestDirectoryConfig>,
    credentials: Vec<RegistryCredential>,
    secrets: Option<Arc<dyn SecretSource>>,
}

impl ManifestDirectory {
    /// Makes the directories where they are missing and completes what a crash left half done. What cannot be completed is logged
    /// and left for the next call about that target.
    pub async fn open(config: ManifestDirectoryConfig) -> Result<Self> {
        let config = blocking(move || {
            prepare(&config)?;
            complete_all(&config)?;
            Ok(config)
        })
        .await?;
        Ok(Self { config: Arc::new(config), credentials: Vec::new(), secrets: None })
    }

    /// The same with the credentials that images are pulled with. A pod whose images come from one of their hosts names the pull
    /// Secret `{service}-registry-cred`.
    #[must_use]
    pub fn with_credentials(mut self, credentials: impl IntoIterator<Item = RegistryCredential>) -> Self {
        self.credentials = credentials.into_iter().collect();
        self
    }

    /// The same with a source of secret environment variables. It is asked only where
    /// [`write_secrets`](ManifestDirectoryConfig::write_secrets) is on.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Arc<dyn SecretSource>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// The file that a target's current manifest is in, whether it is there or not.
    pub fn manifest_path(&self, target: &DeployTarget) -> PathBuf {
        let object = names::object_name(&target.service, &target.component);
        self.config.current.join(target.namespace.as_str()).join(format!("{object}.yaml"))
    }

    fn slot(&self, target: &DeployTarget) -> Slot {
        let object = names::object_name(&target.service, &target.component);
        Slot::new(&self.config.current, &self.config.revisions, &target.namespace, &object)
    }

    /// Whether one of these images comes from a host that we have a credential of.
    fn pull_secret<'a>(&self, images: impl Iterator<Item = &'a PinnedImage>) -> PullSecret {
        if has_credential(&self.credentials, images) { PullSecret::Named } else { PullSecret::Absent }
    }

    /// The text of the target's Secrets, where they are to be written.
    async fn secrets_text(
        &self,
        target: &DeployTarget,
        pull: PullSecret,
        manifests: &Manifests,
    ) -> Result<Option<Secret>> {
        if !self.config.write_secrets {
            return Ok(None);
        }
        let mut secrets = Vec::new();
        if pull == PullSecret::Named {
            // All of them: the components of a service share the Secret, and each must find its own host in it.
            secrets.push(render::pull_secret(target, &self.credentials));
        }
        if let Some(values) = env_values(self.secrets.as_ref(), manifests).await? {
            secrets.push(render::env_secret(target, &values));
        }
        render::secrets_yaml(manifests.namespace.as_ref(), &secrets)
    }

    /// The revision that a release has already, completed where it was half done.
    async fn resume(&self, target: &DeployTarget, release: &ReleaseId) -> Result<Option<Revision>> {
        let (slot, owner, release) = (self.slot(target), Owner::of(target), release.clone());
        blocking(
            move || {
                if slot.exists() { slot.lock(LOCK_WAIT)?.resume(&owner, &release) } else { Ok(None) }
            },
        )
        .await
    }

    /// Writes a new revision.
    async fn bring(
        &self,
        target: &DeployTarget,
        request: DeployRequest,
        manifests: Manifests,
        pull: PullSecret,
    ) -> Result<Revision> {
        let secrets = self.secrets_text(target, pull, &manifests).await?;
        let (slot, owner, keep) = (self.slot(target), Owner::of(target), self.config.keep);
        blocking(move || {
            let release = request.release.clone();
            slot.lock(LOCK_WAIT)?.bring(&owner, &release, secrets.as_ref(), keep, |revision| {
                Record::new(revision, owner.clone(), request, manifests)
            })
        })
        .await
    }
}

#[async_trait]
impl Deployer for ManifestDirectory {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn apply(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Revision> {
        workload_only(target)?;
        if let Some(done) = self.resume(target, &request.release).await? {
            return Ok(done);
        }
        let pull = self.pull_secret(request.images.values());
        let manifests = render(target, request, &self.config.render, pull)?;
        self.bring(target, request.clone(), manifests, pull).await
    }

    async fn status(&self, target: &DeployTarget, revision: Revision) -> Result<RolloutStatus> {
        workload_only(target)?;
        let (slot, owner) = (self.slot(target), Owner::of(target));
        blocking(move || slot.status(&owner, revision)).await
    }

    async fn rollback(&self, target: &DeployTarget, to: Revision, release: &ReleaseId) -> Result<Revision> {
        workload_only(target)?;
        if let Some(done) = self.resume(target, release).await? {
            return Ok(done);
        }
        let (slot, owner) = (self.slot(target), Owner::of(target));
        let old = blocking(move || slot.revision(&owner, to)).await?;
        let request = old.info.again(release);
        let pull = self.pull_secret(request.images.values());
        let manifests = old.manifests.of_release(&request);
        self.bring(target, request, manifests, pull).await
    }

    async fn history(&self, target: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        workload_only(target)?;
        let (slot, owner) = (self.slot(target), Owner::of(target));
        blocking(move || slot.history(&owner)).await
    }

    async fn observed(&self, target: &DeployTarget) -> Result<Option<Live>> {
        workload_only(target)?;
        let (slot, owner) = (self.slot(target), Owner::of(target));
        blocking(move || slot.observed(&owner)).await
    }

    async fn remove(&self, target: &DeployTarget) -> Result<()> {
        workload_only(target)?;
        let (slot, owner) = (self.slot(target), Owner::of(target));
        blocking(move || if slot.exists() { slot.lock(LOCK_WAIT)?.remove(&owner) } else { Ok(()) }).await
    }
}

fn workload_only(target: &DeployTarget) -> Result<()> {
    let what = match &target.target {
        Target::Workload(_) => return Ok(()),
        Target::Existing { .. } => "something that the platform owns",
        Target::GitFile(_) => "a file in a Git repository",
    };
    Err(Error::unsupported(
        "deploy to manifests",
        format!("the target is {what}; a directory of manifests holds workloads only"),
    )
    .with_remedy("make the target a workload, or give the environment a runtime that changes what is there"))
}

fn prepare(config: &ManifestDirectoryConfig) -> Result<()> {
    let operation = "open manifest directory";
    check_keep(operation, config.keep)?;
    files::make_folder(&config.current)?;
    files::make_folder(&config.revisions)?;
    let real = |path: &Path| path.canonicalize().map_err(|error| files::io_error(operation, path, error));
    let (current, revisions) = (real(&config.current)?, real(&config.revisions)?);
    if current.starts_with(&revisions) || revisions.starts_with(&current) {
        return Err(Error::invalid(
            operation,
            format!("`{}` and `{}` lie in one another", config.current.display(), config.revisions.display()),
        )
        .with_remedy("choose two directories beside each other: whoever applies the current manifests must not find old ones"));
    }
    Ok(())
}

fn complete_all(config: &ManifestDirectoryConfig) -> Result<()> {
    let labels = |path: &Path| -> Result<Vec<DnsLabel>> {
        Ok(files::names(path)?.iter().filter_map(|name| DnsLabel::parse(name).ok()).collect())
    };
    for namespace in labels(&config.revisions)? {
        for object in labels(&config.revisions.join(namespace.as_str()))? {
            let slot = Slot::new(&config.current, &config.revisions, &namespace, &object);
            if let Err(error) = slot.lock(LOCK_WAIT_OPEN).and_then(|locked| locked.complete()) {
                tracing::warn!(%error, %namespace, %object, "a target's manifest could not be completed");
            }
        }
    }
    Ok(())
}

/// Runs file work where it holds up no other task; where there is no runtime, right here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.map_err(|error| {
            Error::unavailable("write manifests", "the work was cut off").with_source(error)
        })?,
        Err(_) => work(),
    }
}
