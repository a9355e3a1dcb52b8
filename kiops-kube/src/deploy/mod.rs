//! A cluster as a runtime.

mod existing;
mod history;
mod objects;
mod preview;
mod pull_secrets;
mod record;
pub mod rollout;
mod secrets;
mod workload;

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::image::RegistryCredential;
use kiops_core::name::{DnsLabel, ReleaseId};
use kiops_core::release::{
    DeployRequest, DeployTarget, Deployer, Live, PullSecrets, Revision, RevisionInfo, RolloutStatus,
};
use kiops_core::secret::SecretSource;
use kiops_core::service::Target;
use kiops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::render::{RenderConfig, names};
use crate::revisions::{self, check_keep};
use existing::Existing;
use history::History;
use objects::Objects;
use record::{Content, Head, Record};
use workload::WorkloadObjects;

/// How a cluster is deployed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KubeDeployerConfig {
    /// The runtime's name, as environments name it. `kubernetes` by default.
    pub name: String,
    /// How many revisions of each target are kept: 50 by default, 10 at least.
    pub keep: usize,
    /// Whether fields that other field managers own are taken over. Off by default: such a release fails, and says who owns what.
    pub force: bool,
    /// Namespaces in which anybody's `existing` targets may be. Empty by default: each is in the namespace that its environment gives the
    /// service, and one that names another is refused.
    pub existing_namespaces: Vec<DnsLabel>,
    /// How workloads are rendered, and whether their namespaces are created.
    pub render: RenderConfig,
}

impl Default for KubeDeployerConfig {
    fn default() -> Self {
        Self {
            name: "kubernetes".to_owned(),
            keep: revisions::KEEP,
            force: false,
            existing_namespaces: Vec::new(),
            render: RenderConfig::default(),
        }
    }
}

/// A [`Deployer`] whose runtime is a Kubernetes cluster.
///
/// # Workloads
/// Objects come by server-side apply under the cluster's field manager: what others set beside our fields stays, a field that another
/// manager owns is an error that names both, and a release that changes nothing restarts nothing. A Service or an Ingress that the new
/// revision does not have any more is deleted; a PersistentVolumeClaim is created where it is missing, and never changed or deleted.
/// Objects of the same name that kiops did not make are never touched.
///
/// Secrets are written before the Deployment. The pod template names the version of the Secret with the environment variables, so that a
/// value that changed restarts the pods and one that did not restarts none; nothing of a value is in it.
///
/// # Something that the platform owns
/// One container's image is set, and nothing else. The first revision remembers the image that was there before. `remove` forgets the
/// revisions and leaves the object as it is.
///
/// # Previews
/// The namespace of a preview is created whatever the configuration says, and marked. `remove` deletes it with the last of its components,
/// with everything in it, and waits until it is gone. One that is not marked is somebody else's: there, only what kiops made is removed, volumes
/// included.
///
/// # Revisions
/// Each is one immutable ConfigMap `{object}-revision-{number}` beside the objects, without any secret value. It is created before
/// anything is changed, and its number can be taken only once; so two processes that deploy at once get two numbers, and the object ends
/// with the higher one whole. Before that, the cluster is asked to check everything without keeping it: what it would refuse changes
/// nothing and takes no number. A call that was cut is completed by the same call, or by the next one about the target. Numbers begin
/// anew after `remove`.
///
/// Files in Git are refused as unsupported.
#[derive(Debug, Clone)]
pub struct KubeDeployer {
    config: Arc<KubeDeployerConfig>,
    cluster: Cluster,
    credentials: Vec<RegistryCredential>,
    secrets: Option<Arc<dyn SecretSource>>,
}

impl KubeDeployer {
    /// A deployer to this cluster.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) where fewer than ten revisions are to be kept.
    pub fn new(config: KubeDeployerConfig, cluster: Cluster) -> Result<Self> {
        check_keep("set up deployer", config.keep)?;
        Ok(Self { config: Arc::new(config), cluster, credentials: Vec::new(), secrets: None })
    }

    /// The same with the credentials that images are pulled with. A pod whose images come from one of their hosts names the pull
    /// Secret `{service}-registry-cred`, which is written where nobody else made it.
    #[must_use]
    pub fn with_credentials(mut self, credentials: impl IntoIterator<Item = RegistryCredential>) -> Self {
        self.credentials = credentials.into_iter().collect();
        self
    }

    /// The same with a source of secret environment variables. Without one, pods name a Secret that somebody else makes.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Arc<dyn SecretSource>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// The cluster.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn objects<'a>(&'a self, namespace: &'a DnsLabel) -> Objects<'a> {
        Objects { cluster: &self.cluster, namespace: namespace.as_str(), force: self.config.force }
    }

    /// The namespace of something that exists: the service's own, or another one that is given to such targets.
    fn existing_namespace<'a>(
        &self,
        target: &'a DeployTarget,
        named: Option<&'a DnsLabel>,
    ) -> Result<&'a DnsLabel> {
        let named = named.unwrap_or(&target.namespace);
        if *named == target.namespace || self.config.existing_namespaces.contains(named) {
            return Ok(named);
        }
        let message =
            format!("target.namespace: `{named}` is not the service's namespace, `{}`", target.namespace);
        Err(Error::new(ErrorKind::Forbidden, "deploy to cluster", message)
            .with_remedy("leave it out, or have the namespace added to the runtime's `existing_namespaces`"))
    }

    fn place<'a>(&'a self, target: &'a DeployTarget) -> Result<Place<'a>> {
        let object = names::object_name(&target.service, &target.component);
        let (of, objects, what) = match &target.target {
            Target::Workload(_) => {
                let objects = self.objects(&target.namespace);
                (
                    object.clone(),
                    objects,
                    What::Workload(WorkloadObjects { deployer: self, objects, target, object }),
                )
            }
            Target::Existing { kind, namespace, name, container } => {
                let of = names::existing_name(&object, existing::kind_name(*kind), name, container);
                let objects = self.objects(self.existing_namespace(target, namespace.as_ref())?);
                let existing = Existing { objects, kind: *kind, name, container, of: of.clone() };
                (of, objects, What::Existing(existing))
            }
            Target::GitFile(_) => {
                return Err(Error::unsupported(
                    "deploy to cluster",
                    "the target is a file in a Git repository, which this runtime does not write",
                )
                .with_remedy("make the target a workload or something that exists in the cluster"));
            }
        };
        Ok(Place { deployer: self, history: History { objects, target, of }, what })
    }
}

#[async_trait]
impl Deployer for KubeDeployer {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn apply(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Revision> {
        let place = self.place(target)?;
        let heads = place.history.own_heads().await?;
        if let Some(done) = place.resume(&heads, &request.release).await? {
            return Ok(done);
        }
        let content = place.content(request).await?;
        place.bring(request.clone(), content).await
    }

    async fn status(&self, target: &DeployTarget, revision: Revision) -> Result<RolloutStatus> {
        self.place(target)?.status(revision).await
    }

    async fn rollback(&self, target: &DeployTarget, to: Revision, release: &ReleaseId) -> Result<Revision> {
        let place = self.place(target)?;
        let heads = place.history.own_heads().await?;
        if let Some(done) = place.resume(&heads, release).await? {
            return Ok(done);
        }
        let known = heads.iter().any(|head| head.revision == to);
        let old = if known { place.history.read(to).await? } else { None };
        let old = old.ok_or_else(|| place.history.absent(to, &heads))?;
        let request = old.info.again(release);
        let content = place.content_again(old.content, &request).await?;
        place.bring(request, content).await
    }

    async fn history(&self, target: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        let records = self.place(target)?.history.records().await?;
        Ok(records.into_iter().map(|record| record.info).collect())
    }

    async fn observed(&self, target: &DeployTarget) -> Result<Option<Live>> {
        self.place(target)?.observed().await
    }

    async fn remove(&self, target: &DeployTarget) -> Result<()> {
        let place = self.place(target)?;
        if place.history.is_others().await? {
            return Ok(());
        }
        match &place.what {
            What::Workload(workload) => workload.remove().await?,
            What::Existing(existing) => existing.forget().await?,
        }
        place.history.clear().await?;
        if target.preview.is_some() { self.remove_rest(target).await } else { Ok(()) }
    }

    fn pull_secrets(&self) -> Option<&dyn PullSecrets> {
        Some(self)
    }
}

/// A target with what there is to do about it.
struct Place<'a> {
    deployer: &'a KubeDeployer,
    history: History<'a>,
    what: What<'a>,
}

enum What<'a> {
    Workload(WorkloadObjects<'a>),
    Existing(Existing<'a>),
}

impl Place<'_> {
    /// The revision that a release has already; it is completed if it is the newest.
    async fn resume(&self, heads: &[Head], release: &ReleaseId) -> Result<Option<Revision>> {
        let Some(head) = heads.iter().find(|head| head.release == *release) else { return Ok(None) };
        if heads.last() == Some(head)
            && let Some(record) = self.history.read(head.revision).await?
        {
            self.complete(&record).await?;
        }
        Ok(Some(head.revision))
    }

    /// What a release brings, checked by the cluster.
    async fn content(&self, request: &DeployRequest) -> Result<Content> {
        match &self.what {
            What::Workload(workload) => workload.content(request).await,
            What::Existing(existing) => existing.content(request).await,
        }
    }

    /// What an older revision brought, as the work of this release, checked by the cluster.
    async fn content_again(&self, old: Content, request: &DeployRequest) -> Result<Content> {
        match (&self.what, old) {
            (What::Workload(workload), Content::Workload(manifests)) => {
                let manifests = manifests.of_release(request);
                workload.check(&manifests).await?;
                Ok(Content::Workload(Box::new(manifests)))
            }
            (What::Existing(existing), Content::Existing { .. }) => existing.content(request).await,
            _ => Err(other_content()),
        }
    }

    /// Keeps a new revision and brings it to the cluster.
    async fn bring(&self, request: DeployRequest, content: Content) -> Result<Revision> {
        let make = |revision| Record::new(revision, self.history.target, request.clone(), content.clone());
        let held = self.held().await?;
        let record = self.history.add(&request.release, held, make).await?;
        self.complete(&record).await?;
        Ok(record.info.revision)
    }

    /// Brings a revision to the cluster, and every newer one that came meanwhile: whoever kept it may have written before us.
    async fn complete(&self, record: &Record) -> Result<()> {
        self.perform(record).await?;
        let mut done = record.info.revision;
        loop {
            let heads = self.history.heads().await?;
            let newer = heads.last().filter(|newest| newest.revision > done);
            let Some(newer) = newer else {
                self.history.prune(&heads, self.deployer.config.keep).await;
                return Ok(());
            };
            done = newer.revision;
            let Some(record) = self.history.read(done).await? else { continue };
            if let Err(error) = self.perform(&record).await {
                // Ours is done; the newer one is for its own caller to complete.
                tracing::debug!(%error, revision = %done, "a newer revision could not be completed");
                return Ok(());
            }
        }
    }

    /// Makes the cluster hold a revision, unless it holds a newer one.
    async fn perform(&self, record: &Record) -> Result<()> {
        match (&self.what, &record.content) {
            (What::Workload(workload), Content::Workload(manifests)) => {
                workload.perform(record.info.revision, manifests).await
            }
            (What::Existing(existing), Content::Existing { image, .. }) => {
                existing.perform(record.info.revision, &record.info.release, image).await
            }
            _ => Err(other_content()),
        }
    }

    async fn held(&self) -> Result<Option<Revision>> {
        match &self.what {
            What::Workload(workload) => workload.held().await,
            What::Existing(existing) => existing.held().await,
        }
    }

    async fn status(&self, revision: Revision) -> Result<RolloutStatus> {
        let heads = self.history.heads().await?;
        let newest = heads.last().map(|head| head.revision);
        let known = heads.iter().any(|head| head.revision == revision);
        let pruned = revision.0 > 0 && heads.first().is_some_and(|first| revision < first.revision);
        if !known && !pruned {
            return Err(self.history.absent(revision, &heads));
        }
        match (self.held().await?, newest) {
            (Some(held), _) if held > revision => Ok(RolloutStatus::Replaced(held)),
            (Some(held), _) if held == revision => {
                let record = self.history.read(revision).await?;
                match (&self.what, record.map(|record| record.content)) {
                    (What::Workload(workload), Some(Content::Workload(manifests))) => {
                        workload.rollout(&manifests).await
                    }
                    (What::Existing(existing), Some(Content::Existing { image, .. })) => {
                        existing.rollout(&image).await
                    }
                    _ => Err(self.history.absent(revision, &heads)),
                }
            }
            (_, Some(newest)) if newest > revision => Ok(RolloutStatus::Replaced(newest)),
            _ => Ok(RolloutStatus::Progressing(format!(
                "`{}` does not hold revision {revision} yet; applying the release again completes it",
                self.history.of
            ))),
        }
    }

    async fn observed(&self) -> Result<Option<Live>> {
        let Some(held) = self.held().await? else { return Ok(None) };
        if let Some(record) = self.history.read(held).await? {
            return Ok(Some(record.info.live()));
        }
        if self.history.heads().await?.is_empty() {
            return Ok(None);
        }
        Err(Error::corrupt(
            "observe target",
            format!("`{}` holds revision {held}, whose ConfigMap is gone", self.history.of),
        )
        .with_remedy("deploy any release: it becomes the next revision"))
    }
}

/// A target that was one thing and is another now.
fn other_content() -> Error {
    Error::invalid(
        "apply release",
        "the revision is of another kind of target: a workload, or something that the platform owns",
    )
    .with_remedy("choose a revision that was made since the target was changed, or deploy anew")
}
