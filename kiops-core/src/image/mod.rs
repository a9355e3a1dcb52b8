//! Images and where they are kept: the trait [`Registry`] with its capabilities ([`Catalog`], [`Projects`], [`Scanner`], [`RegistryHooks`]), tags from
//! templates, what is attached to images, which of them are kept how long, and credentials as Docker's config file.

mod catalog;
mod credential;
mod hooks;
mod listing;
mod projects;
mod provenance;
mod referrers;
mod retention;
mod scanner;
mod tags;

pub use catalog::{Catalog, CatalogImage, CatalogTag};
pub use credential::{RegistryCredential, docker_config_json};
pub use hooks::{
    EnsuredPushHook, PushHook, PushHookChange, PushHookDelivery, PushHookFormat, PushHookOutcome,
    PushHookState, RegistryHooks, WantedPushHook,
};
pub use listing::{Listed, Listing};
pub use projects::{
    Artifact, ArtifactTag, CreatedProject, ImageRepository, NewProject, NewRobot, Project, Projects, Robot,
    StorageQuota,
};
pub use provenance::{
    BuildDefinition, Builder, IN_TOTO, PROVENANCE_TYPE, Provenance, ProvenanceMetadata, Resource, RunDetails,
    STATEMENT_TYPE, Statement,
};
pub use referrers::{Attachment, Payload, Referrer, Referrers, referred_by, referrers_tag};
pub use retention::{
    Deletion, ImageUse, KeepReason, Kept, PruneOutcome, PruneReport, Pruned, RetentionFacts, RetentionPlan,
    RetentionPolicy, TagGroup, TagOrder, plan_retention, prune,
};
pub use scanner::{ScanReport, ScanState, Scanner, Vulnerabilities};
pub use tags::{TagFacts, TagTemplate, tag_from_branch};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::name::{Digest, ImageName, ImageRef, Tag};
use crate::stream::ByteStream;

/// A place that keeps images: a registry, or an image layout on disk.
///
/// # Guarantees
/// - Content is what its digest says: `manifest` and `blob` never hand out bytes that do not match, they fail instead.
/// - `put_blob`, `put_manifest` and `tag` are idempotent, and atomic: after a crash the thing is there whole or not at all.
/// - A tag moves atomically from one digest to another; a reader never sees it missing in between.
#[async_trait]
pub trait Registry: Send + Sync + std::fmt::Debug {
    /// Whether the registry can be reached, takes our credential, and lets us push to `image`. The error tells the three apart.
    async fn check(&self, image: &ImageName) -> Result<()>;

    /// The tags of an image in byte order, `page` at a time.
    async fn tags(&self, image: &ImageName, page: &TagPage) -> Result<Vec<Tag>>;

    /// The digest that a reference stands for now: the digest it carries, if the content is there; where it carries none, what
    /// its tag points at. `None`: nothing.
    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>>;

    /// The manifest or index of this digest.
    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest>;

    /// Stores a manifest whose blobs are there already, and says its digest. A missing blob is an error.
    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest>;

    /// The content of a blob. A stream that turns out to have another digest or length ends in an error.
    async fn blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream>;

    /// The size of a blob that is there, else `None`.
    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> Result<Option<u64>>;

    /// Stores a blob of a known digest and size. Content that does not match is refused and leaves nothing behind.
    async fn put_blob(
        &self,
        image: &ImageName,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<()>;

    /// Makes a blob of `from` available in `image` without moving it, where the registry can; `false`: push it instead.
    async fn mount_blob(&self, image: &ImageName, from: &ImageName, digest: &Digest) -> Result<bool>;

    /// Points a tag at a manifest that is there (G08: `test` -> `latest`, no layer moves).
    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()>;

    /// Removes what the reference names: a tag alone where there is no digest, the manifest with all its tags where there is one.
    /// What is not there is no error.
    async fn delete(&self, image: &ImageRef) -> Result<()>;

    /// What is attached to images; `None` where the registry keeps no such thing.
    fn referrers(&self) -> Option<&dyn Referrers> {
        None
    }

    /// The credential that others (Kaniko, a kubelet) need to push to or pull from `image`; `None` where none is needed.
    async fn credential(&self, image: &ImageName, access: ImageAccess) -> Result<Option<RegistryCredential>>;

    /// What it has to choose from, where it tells more than names.
    fn catalog(&self) -> Option<&dyn Catalog> {
        None
    }

    /// Its projects, where it has such.
    fn projects(&self) -> Option<&dyn Projects> {
        None
    }

    /// Its scanner for vulnerabilities, where it can have one.
    fn scanner(&self) -> Option<&dyn Scanner> {
        None
    }

    /// Its webhooks, where they can be managed.
    fn hooks(&self) -> Option<&dyn RegistryHooks> {
        None
    }
}

/// What a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageAccess {
    /// Reading only.
    Pull,
    /// Reading and writing.
    Push,
}

/// Which part of a list of tags is wanted.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TagPage {
    /// Only tags after this one.
    pub after: Option<Tag>,
    /// At most this many; 0 means the registry's own limit.
    pub limit: usize,
    /// Only tags that contain this text.
    pub contains: Option<String>,
}

/// A manifest or index, byte for byte: its digest is over these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type (`application/vnd.oci.image.manifest.v1+json`).
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Manifest {
    /// Its digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}
