//! A Git provider of one's own: sources of a team that has no Git, where every published folder counts as a commit. The conformance
//! suite of the trait then says whether it keeps what the engine relies on.
//!
//! ```text
//! cargo run -p kiops-examples --example custom_provider
//! ```

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::{Write as _, stdout};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use kiops_core::event::{ChangedFiles, FileList, Repository};
use kiops_core::name::{BranchName, CommitId, Digest, GitRef, GitTag, ProviderLiteral, ProviderName};
use kiops_core::provider::{
    CloneAccess, Commit, Comparison, GitProvider, Head, Page, Relation, RepositoryInfo, Search, TreeEntry,
    TreeEntryKind, TreeQuery,
};
use kiops_core::stream::{ByteStream, once};
use kiops_core::testing::conformance::Subject;
use kiops_core::testing::conformance::git_provider::{CHECKS, Entry, Feature, GitBench, GitHost, NewCommit};
use kiops_core::{Error, ErrorKind, Result};

const NAME: ProviderLiteral = ProviderLiteral::new("snapshots");

/// What was published, by the repository's path.
#[derive(Debug, Default)]
struct Snapshots(RwLock<BTreeMap<String, Source>>);

#[derive(Debug, Default)]
struct Source {
    commits: BTreeMap<CommitId, (Commit, BTreeMap<String, Bytes>)>,
    refs: BTreeMap<GitRef, CommitId>,
}

impl Source {
    fn commit(&self, id: &CommitId) -> Result<&(Commit, BTreeMap<String, Bytes>)> {
        let missing = || Error::not_found("read snapshot", format!("there is no snapshot {id}"));
        self.commits.get(id).ok_or_else(|| missing().with_remedy("publish the folder again"))
    }

    fn heads(&self) -> impl Iterator<Item = Head> {
        self.refs.iter().map(|(name, at)| Head { git_ref: name.clone(), commit: at.clone(), object: None })
    }

    /// Whether `old` is `new` or was published somewhere before it. Nothing has two parents here.
    fn leads_to(&self, old: &CommitId, new: &CommitId) -> bool {
        let parent = |id: &&CommitId| self.commits.get(*id).and_then(|(commit, _)| commit.parents.first());
        std::iter::successors(Some(new), parent).any(|id| id == old)
    }
}

impl Snapshots {
    /// A path is looked up, never taken apart or put together: that keeps hostile ones out.
    fn look<T>(&self, at: &Repository, look: impl FnOnce(&Source) -> Result<T>) -> Result<T> {
        let sources = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || Error::not_found("open source", format!("nothing was published as `{}`", at.path));
        look(sources.get(&at.path).ok_or_else(|| missing().with_remedy("choose one from the list"))?)
    }

    fn change<T>(&self, at: &Repository, change: impl FnOnce(&mut Source) -> T) -> T {
        change(self.0.write().unwrap_or_else(PoisonError::into_inner).entry(at.path.clone()).or_default())
    }
}

/// What does not exist is `None` where the answer has a place for it, else an error.
fn or_none<T>(result: Result<Option<T>>) -> Result<Option<T>> {
    result.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) })
}

/// A page of what comes in the order of `name`; the next one starts after its last name.
fn page<T>(all: impl Iterator<Item = T>, search: &Search, name: impl Fn(&T) -> String) -> Page<T> {
    let text = search.text.to_lowercase();
    let found = all.filter(|item| name(item).to_lowercase().contains(&text));
    let mut rest = found.filter(|item| search.after.as_ref().is_none_or(|after| name(item) > *after));
    let limit = if search.limit == 0 { 100 } else { search.limit };
    let items: Vec<T> = rest.by_ref().take(limit).collect();
    let next = rest.next().and_then(|_| items.last().map(&name));
    Page { items, next }
}

#[async_trait]
impl GitProvider for Snapshots {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let sources = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let all = sources.keys().map(|path| RepositoryInfo {
            repository: Repository { id: None, path: path.clone() },
            default_branch: None,
            web_url: None,
        });
        Ok(page(all, search, |info| info.repository.path.clone()))
    }

    async fn branches(&self, at: &Repository, search: &Search) -> Result<Page<Head>> {
        let name = |head: &Head| head.git_ref.branch().map_or_else(String::new, BranchName::to_string);
        self.look(at, |source| {
            Ok(page(source.heads().filter(|h| h.git_ref.branch().is_some()), search, name))
        })
    }

    async fn heads(&self, at: &Repository) -> Result<Vec<Head>> {
        self.look(at, |source| Ok(source.heads().collect()))
    }

    async fn head(&self, at: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        or_none(self.look(at, |source| Ok(source.refs.get(git_ref).cloned())))
    }

    async fn commit(&self, at: &Repository, id: &CommitId) -> Result<Option<Commit>> {
        or_none(self.look(at, |source| Ok(Some(source.commit(id)?.0.clone()))))
    }

    async fn compare(&self, at: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        self.look(at, |source| {
            let ((_, old), (_, new)) = (source.commit(from)?, source.commit(to)?);
            let mut files = FileList::default();
            for (path, content) in new {
                match old.get(path) {
                    None => files.added.push(path),
                    Some(before) if before != content => files.modified.push(path),
                    Some(_) => {}
                }
            }
            old.keys().filter(|path| !new.contains_key(*path)).for_each(|path| files.removed.push(path));
            let relation = match (source.leads_to(from, to), source.leads_to(to, from)) {
                (true, true) => Relation::Same,
                (true, false) => Relation::Ahead,
                (false, true) => Relation::Behind,
                (false, false) => Relation::Diverged,
            };
            Ok(Comparison { files: ChangedFiles::Complete(files), relation })
        })
    }

    async fn tree(&self, at: &Repository, id: &CommitId, query: &TreeQuery) -> Result<Vec<TreeEntry>> {
        let prefix = if query.folder.is_empty() { String::new() } else { format!("{}/", query.folder) };
        self.look(at, |source| {
            let mut found = BTreeMap::new();
            for (path, content) in &source.commit(id)?.1 {
                let Some(below) = path.strip_prefix(&prefix) else { continue };
                for (slash, _) in below.match_indices('/') {
                    found.insert(&path[..prefix.len() + slash], (TreeEntryKind::Folder, None));
                }
                found.insert(path, (TreeEntryKind::File, Some(content.len() as u64)));
            }
            if found.is_empty() && !prefix.is_empty() {
                return Err(Error::not_found(
                    "list folder",
                    format!("there is no folder `{}`", query.folder),
                ));
            }
            found.retain(|path, _| query.recursive || !path[prefix.len()..].contains('/'));
            let entries = found.into_iter().take(query.limit);
            Ok(entries.map(|(path, (kind, size))| TreeEntry { path: path.into(), kind, size }).collect())
        })
    }

    async fn file(&self, at: &Repository, id: &CommitId, path: &str, cap: usize) -> Result<Option<Bytes>> {
        or_none(self.look(at, |source| match source.commit(id)?.1.get(path) {
            Some(content) if content.len() > cap => {
                let message = format!("`{path}` has {} bytes, the limit is {cap}", content.len());
                Err(Error::new(ErrorKind::TooLarge, "read file", message))
            }
            found => Ok(found.cloned()),
        }))
    }

    async fn archive(&self, at: &Repository, id: &CommitId) -> Result<ByteStream> {
        let (_, files) = self.look(at, |source| source.commit(id).cloned())?;
        let mut archive = tar::Builder::new(Vec::new());
        let broken =
            |error| Error::internal("write archive", "a path fits into no archive").with_source(error);
        for (path, content) in &files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, &content[..]).map_err(broken)?;
        }
        Ok(once(archive.into_inner().map_err(broken)?.into()))
    }

    async fn clone_access(&self, _: &Repository, _: &CommitId) -> Result<CloneAccess> {
        Err(Error::unsupported("clone", "snapshots have no Git address")
            .with_remedy("use an executor that takes archives"))
    }
}

/// How the suite publishes what it then asks for. What `has` denies is left out.
#[allow(clippy::expect_used, reason = "the suite's own side panics where it cannot go on, as a test does")]
#[async_trait]
impl GitHost for Snapshots {
    fn has(&self, feature: Feature) -> bool {
        feature == Feature::Listing
    }

    fn named(&self, word: &str) -> Repository {
        Repository { id: None, path: format!("team/{word}") }
    }

    async fn create(&self, at: &Repository) {
        self.change(at, |_| ());
    }

    async fn commit(&self, at: &Repository, new: &NewCommit) -> CommitId {
        let id = CommitId::parse(Digest::of(format!("{new:?}").as_bytes()).hex()).expect("64 digits");
        let NewCommit { parents, message, author, timestamp, entries } = new.clone();
        let files = entries.into_iter().filter_map(|(path, entry)| match entry {
            Entry::File(content) => Some((path, content)),
            Entry::Executable(_) | Entry::Symlink(_) => None,
        });
        let commit = Commit { id: id.clone(), message, author, timestamp, parents, web_url: None };
        self.change(at, |source| source.commits.insert(id.clone(), (commit, files.collect())));
        id
    }

    async fn point(&self, at: &Repository, git_ref: &GitRef, to: Option<&CommitId>) {
        self.change(at, |source| match to {
            Some(commit) => source.refs.insert(git_ref.clone(), commit.clone()),
            None => source.refs.remove(git_ref),
        });
    }

    async fn annotate(&self, _: &Repository, tag: &GitTag, _: &CommitId) -> CommitId {
        unreachable!("{tag}: there are no annotated tags")
    }
}

struct Mine;

#[async_trait]
impl Subject<GitBench> for Mine {
    async fn open(&self) -> Arc<GitBench> {
        let snapshots = Arc::new(Snapshots::default());
        let provider: Arc<dyn GitProvider> = Arc::<Snapshots>::clone(&snapshots);
        Arc::new(GitBench { provider, host: snapshots, narrow: None })
    }

    /// The same again as the next process finds it, for a provider that keeps something on disk.
    async fn reopen(&self) -> Option<Arc<GitBench>> {
        None
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    for check in CHECKS {
        // It panics, and says why, where the promise is not kept.
        (check.run)(&Mine).await;
        writeln!(stdout(), "ok  {}", check.name.replace('_', " "))?;
    }
    writeln!(stdout(), "{} checks: conformant", CHECKS.len())?;
    Ok(())
}
