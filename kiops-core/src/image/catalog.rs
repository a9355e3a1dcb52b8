//! What a registry has to choose from.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Listed, Listing};
use crate::error::Result;
use crate::name::{Digest, ImageName, Tag};

/// Images and tags to choose from, for somebody who looks for one (S19).
///
/// # Guarantees
/// - Reading only: nothing is changed, and every call may be repeated.
/// - A list is asked for page by page, and a page is never longer than asked for. Where the host cannot search, its pages are looked through: such
///   a page may have fewer entries than asked for, even none, and still say where the next one starts.
/// - What the account may not see is not in a list; an image that is asked for by its name and not there, or may not be seen, is `NotFound` or
///   `Forbidden`, as the host has it.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The images of a namespace (a user, an organisation) whose name contains the text, by name. The text is looked for in what follows the
    /// namespace.
    async fn images(&self, namespace: &str, wanted: &Listing) -> Result<Listed<CatalogImage>>;

    /// The tags of an image that contain the text, in the host's order: newest first.
    async fn available_tags(&self, image: &ImageName, wanted: &Listing) -> Result<Listed<CatalogTag>>;
}

/// An image to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogImage {
    /// Its name.
    pub image: ImageName,
    /// What it is, in its owner's words, as one line; empty where nothing is said.
    pub description: String,
    /// Whether only some may see it.
    pub private: bool,
    /// How often it was pulled, where the host tells.
    pub pulls: Option<u64>,
    /// When it changed last, where the host tells.
    pub updated_at: Option<Timestamp>,
}

/// A tag to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogTag {
    /// The tag.
    pub tag: Tag,
    /// What it points at, where the host tells.
    pub digest: Option<Digest>,
    /// Bytes of its layers as they are stored, where the host tells: of an index, of one of its images.
    pub size: Option<u64>,
    /// What it runs on, like `linux/amd64` and `linux/arm/v7`, where the host tells.
    pub platforms: Vec<String>,
    /// When it was pushed last, where the host tells.
    pub pushed_at: Option<Timestamp>,
}
