//! Projects: what a registry groups its repositories by, with rights, quotas and accounts of their own.

use std::num::NonZeroU32;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ImageAccess, Listed, Listing, RegistryCredential};
use crate::error::Result;
use crate::name::{Digest, ImageName, Tag};

/// A registry whose projects can be looked through, made, and given accounts.
///
/// # Guarantees
/// - What makes and what deletes may be repeated, and comes to the same end from wherever it was cut off.
/// - What the account may not see is not in a list; asked for by its name it is `None`, `NotFound` or `Forbidden`, as the host has it.
/// - Names reach the host as data: none can become another project, path or pattern.
#[async_trait]
pub trait Projects: Send + Sync {
    /// Projects whose name contains the text, by name.
    async fn list(&self, wanted: &Listing) -> Result<Listed<Project>>;

    /// The project of this name with its quota, or `None`.
    async fn find(&self, name: &str) -> Result<Option<Project>>;

    /// Makes a project. One of this name that is there already is left as it is and given back: its quota may be another one than was
    /// asked for. So may a new one's, where the host lets only administrators choose.
    ///
    /// Errors: `Conflict` where it is there and public instead of private, or the other way round, or may not be seen; `Forbidden`
    /// where the account may not make projects.
    async fn create(&self, wanted: &NewProject) -> Result<CreatedProject>;

    /// Makes an account for programs with exactly this right in this one project, and gives its password, which the host shows but
    /// once. Where an account of this name is there already, it gets this right and no other, a time counted from now, and a new
    /// password: the one before stops working. Whoever holds it has to be given the new one.
    ///
    /// Errors: `Forbidden` where the account may not manage accounts of this project, `Invalid` for a name that the host refuses.
    async fn ensure_robot(&self, project: &str, wanted: &NewRobot) -> Result<Robot>;

    /// The repositories of a project whose path contains the text, by name.
    async fn repositories(&self, project: &str, wanted: &Listing) -> Result<Listed<ImageRepository>>;

    /// What is kept in a repository, newest first; with a text, what has a tag that contains it. What was pushed as part of something
    /// else (signatures, the platforms of an index where the host folds them into it) need not be listed, nor what goes by another
    /// digest than SHA-256.
    async fn artifacts(&self, image: &ImageName, wanted: &Listing) -> Result<Listed<Artifact>>;

    /// Removes a repository with everything in it. Says whether there was one. One image or tag is removed by
    /// [`Registry::delete`](super::Registry::delete).
    ///
    /// Errors: `Conflict` where the host protects something in it.
    async fn delete_repository(&self, image: &ImageName) -> Result<bool>;
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// The host's id of it.
    pub id: String,
    /// Its name, the first part of its images' paths.
    pub name: String,
    /// Whether anybody may pull from it.
    pub public: bool,
    /// Whether it only keeps copies of another registry's images: nothing can be pushed to it.
    pub is_cache: bool,
    /// How many repositories it has, where the host tells.
    pub repositories: Option<u64>,
    /// When it was made, where the host tells.
    pub created_at: Option<Timestamp>,
    /// How much it may hold; `None` in lists, and where the account may not know.
    pub quota: Option<StorageQuota>,
}

/// How much a project may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageQuota {
    /// Bytes at most; `None`: without a limit.
    pub limit: Option<u64>,
    /// Bytes that it holds.
    pub used: u64,
}

/// A project to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProject {
    /// Its name: lower-case letters and digits, joined by `.`, `_` or `-`.
    pub name: String,
    /// Whether anybody may pull from it.
    pub public: bool,
    /// Bytes that it may hold; `None`: the host's own limit for new projects.
    pub storage_limit: Option<u64>,
}

/// What became of a project to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedProject {
    /// The project as it stands.
    pub project: Project,
    /// Whether this call made it; else it was there.
    pub created: bool,
}

/// An account for programs, as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRobot {
    /// Its name within the project (`kiops`); the host makes the login name of it.
    pub name: String,
    /// What it may do. To push means to pull, too.
    pub access: ImageAccess,
    /// Days from now for which it is good, at least; `None`: until somebody takes it away.
    pub days: Option<NonZeroU32>,
}

/// An account for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Robot {
    /// What it logs in with.
    pub credential: RegistryCredential,
    /// When it ends; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Whether this call made it; else it was there, and its password is a new one.
    pub created: bool,
}

/// A repository of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRepository {
    /// Its images' name.
    pub image: ImageName,
    /// How many artifacts are in it, where the host tells.
    pub artifacts: Option<u64>,
    /// When something in it changed last, where the host tells.
    pub updated_at: Option<Timestamp>,
}

/// What is kept under one digest: an image, an index of images, or something else with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its digest.
    pub digest: Digest,
    /// Its tags, in byte order.
    pub tags: Vec<ArtifactTag>,
    /// Its size in bytes, with its layers as they are stored.
    pub size: u64,
    /// When it was pushed first, where the host tells.
    pub pushed_at: Option<Timestamp>,
    /// When it was pulled last, where it was and the host tells.
    pub pulled_at: Option<Timestamp>,
}

/// A tag as the host lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactTag {
    /// The tag.
    pub tag: Tag,
    /// When it was pointed here, where the host tells.
    pub pushed_at: Option<Timestamp>,
    /// Whether a rule keeps it from being moved or removed.
    pub immutable: bool,
}
