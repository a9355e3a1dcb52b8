//! A Git host in memory: commits with parents and files, refs that move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::super::Chaos;
use super::super::conformance::FilesSource;
use super::super::conformance::git_provider::{Entry, Feature, GitHost, NewCommit};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{ChangedFiles, FileList, Repository};
use crate::name::{BranchName, CommitId, GitRef, GitTag, ProviderName};
use crate::provider::{
    CloneAccess, Commit, CommitStatus, Comparison, GitProvider, Head, MergeGate, Page, Relation,
    RepositoryInfo, Search, Shown, StatusSubject, Statuses, TreeEntry, TreeEntryKind, TreeQuery,
};
use crate::run::SourceAccess as _;
use crate::stream::ByteStream;

/// The files of a commit. There are neither links nor executable files.
type Files = BTreeMap<String, Bytes>;

/// What was told: of what, and how it stands.
type Told = (StatusSubject, CommitStatus);

/// A Git host. It starts with one repository; as a [`GitHost`] it makes more. Clones are one.
#[derive(Debug, Clone)]
pub struct FakeGit {
    name: ProviderName,
    repository: Repository,
    host: Arc<Mutex<Host>>,
    statuses: Option<Arc<Mutex<Vec<Told>>>>,
    chaos: Chaos,
}

/// The repositories by path.
type Host = BTreeMap<String, State>;

#[derive(Debug, Default)]
struct State {
    commits: BTreeMap<CommitId, (Commit, Files)>,
    refs: BTreeMap<GitRef, CommitId>,
    /// The objects of annotated tags.
    tags: BTreeMap<CommitId, CommitId>,
}

/// An object id that looks like one of SHA-1, made of a text.
pub fn commit_id(text: &str) -> CommitId {
    let hash = crate::name::hex(&Sha256::digest(text.as_bytes()));
    CommitId::parse(&hash[..40]).expect("forty digits of a hash")
}

impl FakeGit {
    /// An empty repository of this path at a host of this name.
    pub fn new(name: ProviderName, repository: Repository, chaos: Chaos) -> Self {
        let host = Host::from([(repository.path.clone(), State::default())]);
        Self { name, repository, host: Arc::new(Mutex::new(host)), statuses: None, chaos }
    }

    /// The same host, which takes commit statuses.
    #[must_use]
    pub fn with_statuses(mut self) -> Self {
        self.statuses = Some(Arc::default());
        self
    }

    /// Every status that it was told, in order.
    pub fn told(&self) -> Vec<Told> {
        let statuses = self.statuses.as_ref();
        statuses.map(|told| told.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    /// The repository that it started with.
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
        let commit = Commit {
            id: commit_id(label),
            message: message.to_owned(),
            author: "Ada".into(),
            timestamp: Timestamp::UNIX_EPOCH,
            parents: parent.cloned().into_iter().collect(),
            web_url: None,
        };
        let files =
            files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned()))).collect();
        self.change(&self.repository, |state| state.add(commit, files))
    }

    /// Points a ref at a commit, or removes it. Says what it pointed at before.
    pub fn point(&self, git_ref: &GitRef, commit: Option<&CommitId>) -> Option<CommitId> {
        self.change(&self.repository, |state| state.point(git_ref, commit))
    }

    /// What a ref points at.
    pub fn at(&self, git_ref: &GitRef) -> Option<CommitId> {
        self.change(&self.repository, |state| state.refs.get(git_ref).cloned())
    }

    fn host(&self) -> std::sync::MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, repository: &Repository, change: impl FnOnce(&mut State) -> T) -> T {
        change(self.host().get_mut(&repository.path).expect("the repository was made"))
    }

    fn look<T>(&self, repository: &Repository, look: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        let host = self.host();
        look(host.get(&repository.path).ok_or_else(|| {
            Error::not_found("open repository", format!("there is no repository `{}`", repository.path))
                .with_remedy("choose one from the list of repositories")
        })?)
    }
}

/// What does not exist is `None`.
fn or_none<T>(result: Result<Option<T>>) -> Result<Option<T>> {
    result.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) })
}

/// A page of what stands in the order of `name`.
fn page<T>(all: impl Iterator<Item = T>, search: &Search, name: impl Fn(&T) -> &str) -> Page<T> {
    let text = search.text.to_lowercase();
    let mut rest = all
        .filter(|item| name(item).to_lowercase().contains(&text))
        .filter(|item| search.after.as_deref().is_none_or(|after| name(item) > after));
    let limit = if search.limit == 0 { usize::MAX } else { search.limit };
    let items: Vec<T> = rest.by_ref().take(limit).collect();
    let next = rest.next().and_then(|_| items.last()).map(|last| name(last).to_owned());
    Page { items, next }
}

impl State {
    fn add(&mut self, commit: Commit, files: Files) -> CommitId {
        let id = commit.id.clone();
        self.commits.insert(id.clone(), (commit, files));
        id
    }

    fn point(&mut self, git_ref: &GitRef, commit: Option<&CommitId>) -> Option<CommitId> {
        match commit {
            Some(commit) => self.refs.insert(git_ref.clone(), commit.clone()),
            None => self.refs.remove(git_ref),
        }
    }

    fn heads(&self) -> impl Iterator<Item = Head> {
        self.refs.iter().map(|(git_ref, commit)| Head {
            git_ref: git_ref.clone(),
            commit: commit.clone(),
            object: None,
        })
    }

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
        let found = self.commits.get(commit).map(|(_, files)| files);
        found.ok_or_else(|| {
            Error::not_found("read commit", format!("there is no commit {commit}"))
                .with_remedy("push again: the commit may have been removed by a force push")
        })
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

    fn tree(&self, commit: &CommitId, query: &TreeQuery) -> Result<Vec<TreeEntry>> {
        let prefix = if query.folder.is_empty() { String::new() } else { format!("{}/", query.folder) };
        let mut entries = BTreeMap::new();
        for (path, content) in self.files(commit)? {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            for (slash, _) in rest.match_indices('/') {
                entries.insert(&path[..prefix.len() + slash], (TreeEntryKind::Folder, None));
            }
            entries.insert(path, (TreeEntryKind::File, Some(content.len() as u64)));
        }
        if entries.is_empty() && !prefix.is_empty() {
            let message = format!("there is no folder `{}` in commit {commit}", query.folder);
            return Err(Error::not_found("list folder", message));
        }
        let wanted = entries.into_iter().filter(|(path, _)| {
            query.recursive || path.get(prefix.len()..).is_some_and(|rest| !rest.contains('/'))
        });
        let entry = |(path, (kind, size)): (&str, _)| TreeEntry { path: path.to_owned(), kind, size };
        Ok(wanted.take(query.limit).map(entry).collect())
    }

    fn file(&self, commit: &CommitId, path: &str, cap: usize) -> Result<Option<Bytes>> {
        let Some(content) = self.files(commit)?.get(path) else { return Ok(None) };
        if content.len() > cap {
            let message = format!("`{path}` has {} bytes, the limit is {cap}", content.len());
            return Err(Error::new(ErrorKind::TooLarge, "read file", message));
        }
        Ok(Some(content.clone()))
    }
}

#[async_trait]
impl GitProvider for FakeGit {
    fn name(&self) -> ProviderName {
        self.name.clone()
    }

    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let found = page(self.host().keys().cloned(), search, String::as_str);
        let items = found.items.into_iter().map(|path| RepositoryInfo {
            repository: Repository { id: None, path },
            default_branch: None,
            web_url: None,
        });
        let found = Page { items: items.collect(), next: found.next };
        self.chaos.around("repositories", async { Ok(found) }).await
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        let found = self.look(repository, |state| {
            let branches = state.heads().filter(|head| head.git_ref.branch().is_some());
            Ok(page(branches, search, |head| head.git_ref.branch().map_or("", BranchName::as_str)))
        });
        self.chaos.around("branches", async { found }).await
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        self.chaos.around("heads", async { self.look(repository, |state| Ok(state.heads().collect())) }).await
    }

    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        self.chaos
            .around("head", async {
                or_none(self.look(repository, |state| Ok(state.refs.get(git_ref).cloned())))
            })
            .await
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        self.chaos
            .around("commit", async {
                or_none(self.look(repository, |state| {
                    let id = state.tags.get(commit).unwrap_or(commit);
                    Ok(state.commits.get(id).map(|(commit, _)| commit.clone()))
                }))
            })
            .await
    }

    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        self.chaos.around("compare", async { self.look(repository, |state| state.compare(from, to)) }).await
    }

    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        self.look(repository, |state| state.tree(commit, query))
    }

    async fn file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        self.chaos
            .around("file", async { or_none(self.look(repository, |state| state.file(commit, path, cap))) })
            .await
    }

    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let files = self.look(repository, |state| state.files(commit).cloned())?;
        FilesSource::new(commit.clone(), files).archive().await
    }

    async fn clone_access(&self, repository: &Repository, _: &CommitId) -> Result<CloneAccess> {
        let url = format!("https://git.invalid/{}", repository.path);
        Ok(CloneAccess { url, credential: None, expires_at: None })
    }

    fn statuses(&self) -> Option<&dyn Statuses> {
        self.statuses.is_some().then_some(self)
    }
}

#[async_trait]
impl Statuses for FakeGit {
    async fn set_status(&self, subject: &StatusSubject, status: &CommitStatus) -> Result<Shown> {
        self.chaos
            .around("set status", async {
                if let Some(told) = &self.statuses {
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.push((subject.clone(), status.clone()));
                }
                Ok(Shown::Commit)
            })
            .await
    }

    async fn comment(&self, _: &Repository, _: u64, _: &str, _: &str) -> Result<()> {
        Err(Error::unsupported("comment on merge request", "this host has none"))
    }

    async fn merge_gate(&self, _: &Repository, _: &str) -> Result<MergeGate> {
        Ok(MergeGate::Closed)
    }
}

#[async_trait]
impl GitHost for FakeGit {
    fn has(&self, feature: Feature) -> bool {
        !matches!(feature, Feature::Executables | Feature::Symlinks)
    }

    fn named(&self, word: &str) -> Repository {
        Repository { id: None, path: format!("team/{word}") }
    }

    async fn create(&self, repository: &Repository) {
        self.host().insert(repository.path.clone(), State::default());
    }

    async fn commit(&self, repository: &Repository, commit: &NewCommit) -> CommitId {
        let id = commit_id(&format!("{} {commit:?}", repository.path));
        let NewCommit { parents, message, author, timestamp, entries } = commit.clone();
        let files = entries.into_iter().map(|(path, entry)| match entry {
            Entry::File(content) => (path, content),
            other => panic!("`{path}` is {other:?}, which this host does not have"),
        });
        let files = files.collect();
        let commit = Commit { id, message, author, timestamp, parents, web_url: None };
        self.change(repository, |state| state.add(commit, files))
    }

    async fn point(&self, repository: &Repository, git_ref: &GitRef, commit: Option<&CommitId>) {
        self.change(repository, |state| state.point(git_ref, commit));
    }

    async fn annotate(&self, repository: &Repository, tag: &GitTag, commit: &CommitId) -> CommitId {
        let object = commit_id(&format!("tag {tag} {commit}"));
        self.change(repository, |state| {
            state.tags.insert(object.clone(), commit.clone());
            state.point(&GitRef::Tag(tag.clone()), Some(commit));
        });
        object
    }
}
