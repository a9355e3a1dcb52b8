//! Trees and blobs.

use async_trait::async_trait;
use kiops_core::event::Repository;
use kiops_core::name::CommitId;
use kiops_core::{Error, Result};
use serde::Deserialize;

use super::provider::Gitea;
use crate::rest::objects::{Item, Objects};
use crate::rest::{Call, HostConfig};

/// What is asked for at a time: what a host gives unless its administrator says otherwise.
const PAGE: usize = 1000;

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    tree: Option<Vec<Item>>,
    #[serde(default)]
    truncated: bool,
}

impl Gitea {
    /// One page of a tree.
    async fn page_of_items(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: &str,
        recursive: bool,
        page: usize,
    ) -> Result<Option<Listed>> {
        let call = self.get(operation, repository, &["git", "trees", id])?;
        let call = if recursive { call.query("recursive", "true") } else { call };
        let call = call.query("per_page", &PAGE.to_string()).query("page", &page.to_string());
        let answer = call.send().await?;
        // Whatever goes wrong with an object is a 400 here; of a full id nothing else can.
        if matches!(answer.status, 400 | 404 | 409) {
            return Ok(None);
        }
        answer.good()?.read().map(Some)
    }
}

#[async_trait]
impl Objects for Gitea {
    fn facts(&self) -> (&'static str, &'static str) {
        (self.host(), ", or raise `[api] DEFAULT_MAX_BLOB_SIZE` of the host")
    }

    fn limits(&self) -> &HostConfig {
        &self.config
    }

    fn blob<'a>(&'a self, operation: &'static str, repository: &'a Repository, id: &str) -> Result<Call<'a>> {
        self.get(operation, repository, &["git", "blobs", id])
    }

    async fn items(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: &str,
        recursive: bool,
    ) -> Result<Option<Vec<Item>>> {
        let mut all: Vec<Item> = Vec::new();
        for page in 1_usize.. {
            let Some(listed) = self.page_of_items(operation, repository, id, recursive, page).await? else {
                return Ok(None);
            };
            let items = listed.tree.unwrap_or_default();
            if listed.truncated && items.is_empty() {
                return Err(Error::unavailable(operation, "the host's list of a folder ends before its end"));
            }
            all.extend(items);
            if all.len() > self.config.max_entries {
                return Err(self.too_many(operation, "the tree"));
            }
            if !listed.truncated {
                break;
            }
        }
        Ok(Some(all))
    }

    async fn whole(
        &self,
        operation: &'static str,
        repository: &Repository,
        commit: &CommitId,
    ) -> Result<Option<Option<Vec<Item>>>> {
        let first = self.page_of_items(operation, repository, commit.as_str(), true, 1).await?;
        Ok(first.map(|first| (!first.truncated).then(|| first.tree.unwrap_or_default())))
    }
}
