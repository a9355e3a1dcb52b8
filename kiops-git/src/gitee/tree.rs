//! Trees and blobs.

use async_trait::async_trait;
use kiops_core::event::Repository;
use kiops_core::name::CommitId;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::provider::Gitee;
use crate::rest::objects::{Item, Objects};
use crate::rest::{Call, HostConfig};
use crate::shape::too_many;

/// What is read of one tree, which comes without pages.
const TREE_MAX: usize = 128 << 20;

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    tree: Option<Vec<Item>>,
    #[serde(default)]
    truncated: bool,
}

impl Gitee {
    /// A tree in one answer, and whether that is all of it.
    async fn listed(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: &str,
        recursive: bool,
    ) -> Result<Option<Listed>> {
        let call = self.get(operation, repository, &["git", "trees", id])?;
        let call = if recursive { call.query("recursive", "1") } else { call };
        let Some(body) = call.bytes(TREE_MAX).await? else { return Ok(None) };
        serde_json::from_slice(&body).map(Some).map_err(|_| super::provider::not_as_documented(operation))
    }

    /// Folder by folder: a tree that is too large for one answer.
    async fn walked(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: &str,
    ) -> Result<Option<Vec<Item>>> {
        let (mut all, mut folders) = (Vec::new(), vec![(String::new(), id.to_owned())]);
        while let Some((folder, id)) = folders.pop() {
            let Some(items) = self.items(operation, repository, &id, false).await? else { return Ok(None) };
            for mut item in items {
                if !folder.is_empty() {
                    item.path = format!("{folder}/{}", item.path);
                }
                if item.is_folder() {
                    folders.push((item.path.clone(), item.sha.clone()));
                }
                all.push(item);
            }
            if all.len() > self.config.max_entries {
                return Err(too_many(operation, "the tree", self.config.max_entries));
            }
        }
        Ok(Some(all))
    }
}

#[async_trait]
impl Objects for Gitee {
    fn facts(&self) -> (&'static str, &'static str) {
        ("Gitee", "")
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
        let Some(listed) = self.listed(operation, repository, id, recursive).await? else { return Ok(None) };
        if listed.truncated && recursive {
            return self.walked(operation, repository, id).await;
        }
        if listed.truncated {
            return Err(Error::new(ErrorKind::TooLarge, operation, "Gitee does not list all of this folder")
                .with_remedy("spread its files over several folders"));
        }
        let items = listed.tree.unwrap_or_default();
        if items.len() > self.config.max_entries {
            return Err(too_many(operation, "the tree", self.config.max_entries));
        }
        Ok(Some(items))
    }

    async fn whole(
        &self,
        operation: &'static str,
        repository: &Repository,
        commit: &CommitId,
    ) -> Result<Option<Option<Vec<Item>>>> {
        let listed = self.listed(operation, repository, commit.as_str(), true).await?;
        Ok(listed.map(|listed| (!listed.truncated).then(|| listed.tree.unwrap_or_default())))
    }
}
