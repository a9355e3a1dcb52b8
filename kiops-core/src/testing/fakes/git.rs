//! A Git host in memory: commits with parents and files, refs that move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::super::Chaos;
use crate::error::{Error, Result};
use crate::event::{ChangedFiles, FileList, Repository};
use crate::name::{CommitId, GitRef, ProviderName};
use crate::provider::{
    CloneAccess, Commit, Comparison, GitProvider, Head, Page, Relation, RepositoryInfo, Search, TreeEntry,
    TreeEntryKind, TreeQuery,
};
use crate::stream::{ByteStream, once};

/// The files of a commit.
type Files = BTreeMap<String, Bytes>;

/// A Git host with one repository.
#[derive(Debug, Clone)]
pub struct FakeGit {
    name: ProviderName,
    repository: Repository,
    state: Arc<Mutex<State>>,
    chaos: Chaos,
}

#[derive(Debug, Default)]
struct State {
    commits: BTreeMap<CommitId, (Commit, Files)>,
    refs: BTreeMap<GitRef, CommitId>,
}

/// An object id that looks like one of SHA-1, made of a text.
pub fn commit_id(text: &str) -> CommitId {
    let hash = crate::name::hex(&Sha256::digest(text.as_bytes()));
    CommitId::parse(&hash[..40]).expect("forty digits of a hash")
}

impl FakeGit {
    /// An empty repository of this path at a host of this name.
    pub fn new(name: ProviderName, repository: Repository, chaos: Chaos) -> Self {
        Self { name, repository, state: Arc::default(), chaos }
    }

    /// The repository.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Adds a commit on `parent` with these files, and says its id. `label` tells it from every other.
    pub fn commit(
        &self,
        label: &str,
        parent: Option<&CommitId>,
        message: &str,
        files: &[(&str, &str)],
    ) -> CommitId {
        let id = commit_id(label);
        let commit = Commit {
            id: id.clone(),
            message: message.to_owned(),
            author: "Ada".into(),
            timestamp: Timestamp::UNIX_EPOCH,
            parents: parent.cloned().into_iter().collect(),
            web_url: None,
        };
        let files =
            files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned()))).collect();
        self.state().commits.insert(id.clone(), (commit, files));
        id
    }

    /// Points a ref at a commit, or removes it. Says what it pointed at before.
    pub fn point(&self, git_ref: &GitRef, commit: Option<&CommitId>) -> Option<CommitId> {
        let mut state = self.state();
        match commit {
            Some(commit) => state.refs.insert(git_ref.clone(), commit.clone()),
            None => state.refs.remove(git_ref),
        }
    }

    /// What a ref points at.
    pub fn at(&self, git_ref: &GitRef) -> Option<CommitId> {
        self.state().refs.get(git_ref).cloned()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state())
    }
}

impl State {
    fn ancestors(&self, commit: &CommitId) -> BTreeSet<CommitId> {
        let mut seen = BTreeSet::new();
        let mut next = vec![commit.clone()];
        while let Some(id) = next.pop() {
            if let Some((commit, _)) = self.commits.get(&id).filter(|_| seen.insert(id.clone())) {
                next.extend(commit.parents.iter().cloned());
            }
        }
        seen
    }

    fn files(&self, commit: &CommitId) -> Result<&Files> {
        self.commits
            .get(commit)
            .map(|(_, files)| files)
            .ok_or_else(|| Error::not_found("read commit", format!("there is no commit {commit}")))
    }

    fn compare(&self, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        let (old, new) = (self.files(from)?, self.files(to)?);
        let mut list = FileList::default();
        for path in new.keys().filter(|path| !old.contains_key(*path)) {
            list.added.push(path);
        }
        for (path, content) in new {
            if old.get(path).is_some_and(|before| before != content) {
                list.modified.push(path);
            }
        }
        for path in old.keys().filter(|path| !new.contains_key(*path)) {
            list.removed.push(path);
        }
        let relation = if from == to {
            Relation::Same
        } else if self.ancestors(to).contains(from) {
            Relation::Ahead
        } else if self.ancestors(from).contains(to) {
            Relation::Behind
        } else {
            Relation::Diverged
        };
        Ok(Comparison { files: ChangedFiles::Complete(list), relation })
    }
}

#[async_trait]
impl GitProvider for FakeGit {
    fn name(&self) -> ProviderName {
        self.name.clone()
    }

    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let info =
            RepositoryInfo { repository: self.repository.clone(), default_branch: None, web_url: None };
        let fits = self.repository.path.to_lowercase().contains(&search.text.to_lowercase());
        self.chaos
            .around("repositories", async {
                Ok(Page { items: fits.then_some(info).into_iter().collect(), next: None })
            })
            .await
    }

    async fn branches(&self, _: &Repository, search: &Search) -> Result<Page<Head>> {
        let all = self.look(|state| {
            let branches = state.refs.iter().filter(|(git_ref, _)| {
                git_ref.branch().is_some_and(|branch| {
                    branch.as_str().to_lowercase().contains(&search.text.to_lowercase())
                })
            });
            branches
                .map(|(git_ref, commit)| Head { git_ref: git_ref.clone(), commit: commit.clone() })
                .collect()
        });
        self.chaos.around("branches", async { Ok(Page { items: all, next: None }) }).await
    }

    async fn heads(&self, _: &Repository) -> Result<Vec<Head>> {
        self.chaos
            .around("heads", async {
                let heads = |state: &State| {
                    state
                        .refs
                        .iter()
                        .map(|(git_ref, commit)| Head { git_ref: git_ref.clone(), commit: commit.clone() })
                        .collect()
                };
                Ok(self.look(heads))
            })
            .await
    }

    async fn head(&self, _: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        self.chaos.around("head", async { Ok(self.at(git_ref)) }).await
    }

    async fn commit(&self, _: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        self.chaos
            .around("commit", async {
                Ok(self.look(|state| state.commits.get(commit).map(|(commit, _)| commit.clone())))
            })
            .await
    }

    async fn compare(&self, _: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        self.chaos.around("compare", async { self.look(|state| state.compare(from, to)) }).await
    }

    async fn tree(&self, _: &Repository, commit: &CommitId, query: &TreeQuery) -> Result<Vec<TreeEntry>> {
        let files = self.look(|state| state.files(commit).cloned())?;
        let inside = |path: &str| query.folder.is_empty() || path.starts_with(&format!("{}/", query.folder));
        let entries =
            files.iter().filter(|(path, _)| inside(path)).take(query.limit).map(|(path, content)| {
                TreeEntry { path: path.clone(), kind: TreeEntryKind::File, size: Some(content.len() as u64) }
            });
        Ok(entries.collect())
    }

    async fn file(&self, _: &Repository, commit: &CommitId, path: &str, _: usize) -> Result<Option<Bytes>> {
        self.chaos
            .around("file", async { self.look(|state| Ok(state.files(commit)?.get(path).cloned())) })
            .await
    }

    async fn archive(&self, _: &Repository, commit: &CommitId) -> Result<ByteStream> {
        self.look(|state| state.files(commit).map(|_| ()))?;
        // An empty archive: executors of this world look at the commit's id only.
        Ok(once(Bytes::from(vec![0; 1024])))
    }

    async fn clone_access(&self, repository: &Repository, _: &CommitId) -> Result<CloneAccess> {
        Ok(CloneAccess { url: repository.path.clone(), credential: None, expires_at: None })
    }
}
