//! Comparisons of two commits.

use std::collections::BTreeMap;

use kiops_core::Result;
use kiops_core::event::{ChangedFiles, FileList, Paths, Repository};
use kiops_core::name::CommitId;
use kiops_core::provider::{Comparison, Relation, TreeEntryKind};
use serde::Deserialize;

use super::GitHub;
use super::provider::{Id, check_id, find, no_commit};
use super::trees::Tree;
use crate::rest::{Entry, differences};

/// How many files GitHub lists at most.
const FILES: usize = 300;

/// Bytes of a comparison, the files' differences among them.
const LARGE: u64 = 48 * 1024 * 1024;

const OPERATION: &str = "compare commits";

#[derive(Deserialize)]
struct CompareObject {
    status: String,
    #[serde(default)]
    files: Vec<FileObject>,
}

#[derive(Deserialize)]
struct FileObject {
    filename: String,
    previous_filename: Option<String>,
    status: String,
}

impl GitHub {
    /// GitHub compares with the common ancestor. That is the first commit itself where the second is ahead of it; everything else is
    /// compared by the trees.
    pub(super) async fn compared(
        &self,
        repository: &Repository,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<Comparison> {
        check_id(OPERATION, from)?;
        check_id(OPERATION, to)?;
        if from == to {
            let call = self.get(OPERATION, repository, &["git", "commits", from.as_str()])?;
            return match find::<Id>(call).await? {
                Some(_) => Ok(Comparison {
                    files: ChangedFiles::Complete(FileList::default()),
                    relation: Relation::Same,
                }),
                None => Err(no_commit(OPERATION, from)),
            };
        }
        let both = format!("{from}...{to}");
        let call = self.get(OPERATION, repository, &["compare", &both])?;
        // The files come with the first page of commits, of which none is wanted.
        let answer = call.query("per_page", "1").query("page", "1").at_most(LARGE).send().await?;
        let (relation, listed) = match answer.status {
            // Either is missing, which the trees tell, or they have nothing in common.
            404 if answer.said().contains("common ancestor") => (Relation::Diverged, None),
            404 | 409 => (Relation::Unknown, None),
            // GitHub gives up on large ones; a host that is down fails at the trees, too.
            500.. => (Relation::Unknown, None),
            _ => {
                let found: CompareObject = answer.good()?.read()?;
                let relation = match found.status.as_str() {
                    "ahead" => Relation::Ahead,
                    "behind" => Relation::Behind,
                    "diverged" => Relation::Diverged,
                    _ => Relation::Unknown,
                };
                (relation, (relation == Relation::Ahead).then_some(found.files))
            }
        };
        let files = match listed {
            Some(files) if files.len() < FILES => self.limited(list(&files)),
            listed => self.compared_trees(repository, from, to, listed).await?,
        };
        Ok(Comparison { files, relation })
    }

    async fn compared_trees(
        &self,
        repository: &Repository,
        from: &CommitId,
        to: &CommitId,
        listed: Option<Vec<FileObject>>,
    ) -> Result<ChangedFiles> {
        let trees = [from, to].map(async |commit| {
            let tree = self.tree_object(OPERATION, repository, commit.as_str(), true).await?;
            tree.ok_or_else(|| no_commit(OPERATION, commit))
        });
        let [before, after] = trees;
        let (before, after) = (before.await?, after.await?);
        if self.is_whole(&before) && self.is_whole(&after) {
            return Ok(self.limited(differences(&entries(before), &entries(after))));
        }
        Ok(match listed {
            Some(files) => match self.limited(list(&files)) {
                ChangedFiles::Complete(files) => ChangedFiles::Partial(files),
                partial => partial,
            },
            None => ChangedFiles::Unknown,
        })
    }

    /// As many of them as the configuration allows.
    fn limited(&self, list: FileList) -> ChangedFiles {
        let max = self.config.max_changed_files;
        if list.added.len() + list.modified.len() + list.removed.len() <= max {
            return ChangedFiles::Complete(list);
        }
        let mut left = max;
        let mut some = |paths: &Paths| {
            let some: Paths = paths.iter().take(left).collect();
            left -= some.len();
            some
        };
        ChangedFiles::Partial(FileList {
            added: some(&list.added),
            modified: some(&list.modified),
            removed: some(&list.removed),
        })
    }
}

fn list(files: &[FileObject]) -> FileList {
    let mut list = FileList::default();
    for file in files {
        match file.status.as_str() {
            "added" | "copied" => list.added.push(&file.filename),
            "removed" => list.removed.push(&file.filename),
            // Both names count (E62).
            "renamed" => {
                list.added.push(&file.filename);
                list.removed.extend(&file.previous_filename);
            }
            "unchanged" => {}
            _ => list.modified.push(&file.filename),
        }
    }
    list
}

fn entries(tree: Tree) -> BTreeMap<String, Entry> {
    let files = tree.tree.into_iter().filter(|item| item.kind() != TreeEntryKind::Folder);
    files.map(|item| (item.path, Entry { mode: item.mode, id: item.sha })).collect()
}
