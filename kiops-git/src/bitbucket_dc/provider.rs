//! Bitbucket Data Center as a [`GitProvider`].

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::event::{ChangedFiles, FileList, Repository};
use kiops_core::name::{BranchName, CommitId, GitRef, ProviderLiteral, ProviderName, RepoId};
use kiops_core::provider::{
    CloneAccess, CloneCredential, Commit, Comparison, GitProvider, Head, Hooks, Page, Relation,
    RepositoryInfo, Search, Statuses, TreeEntry, TreeEntryKind, TreeQuery,
};
use kiops_core::secret::Secret;
use kiops_core::stream::ByteStream;
use kiops_core::{Error, Result};
use serde::Deserialize;

use super::BitbucketDc;
use super::host::{LIMIT, PageBody, key_and_slug};
use crate::rest::archive::{Packing, packed, without_root};
use crate::rest::clone_url;
use crate::shape::{check_path, page};

const NAME: ProviderLiteral = ProviderLiteral::new("bitbucket-dc");
const LIST: &str = "list repositories";
const COMPARE: &str = "compare commits";
const TREE: &str = "list folder";

#[derive(Deserialize)]
struct RepositoryBody {
    id: u64,
    slug: String,
    project: Project,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Project {
    key: String,
}

#[derive(Deserialize)]
struct Links {
    #[serde(rename = "self", default)]
    web: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: Option<String>,
}

impl RepositoryBody {
    fn into_info(self) -> Result<RepositoryInfo> {
        let web = self.links.and_then(|links| links.web.into_iter().next());
        Ok(RepositoryInfo {
            repository: Repository {
                id: Some(RepoId::parse(self.id.to_string())?),
                path: format!("{}/{}", self.project.key, self.slug),
            },
            default_branch: None,
            web_url: web.and_then(|link| link.href),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefBody {
    /// The whole name: `refs/heads/main`.
    id: String,
    latest_commit: Option<CommitId>,
    /// Of an annotated tag its own object.
    hash: Option<CommitId>,
}

impl RefBody {
    fn into_head(self) -> Option<Head> {
        let (git_ref, commit) = (GitRef::parse(&self.id).ok()?, self.latest_commit?);
        let object = self.hash.filter(|hash| *hash != commit);
        Some(Head { git_ref, commit, object })
    }
}

#[derive(Deserialize)]
struct Id {
    id: CommitId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitBody {
    id: CommitId,
    message: Option<String>,
    committer: Option<Person>,
    /// Milliseconds since 1970.
    committer_timestamp: i64,
    #[serde(default)]
    parents: Vec<Id>,
}

#[derive(Deserialize)]
struct Person {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeBody {
    path: PathBody,
    /// Where it was moved or copied from.
    src_path: Option<PathBody>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct PathBody {
    #[serde(default)]
    components: Vec<String>,
}

impl PathBody {
    fn joined(&self) -> String {
        self.components.join("/")
    }
}

#[derive(Deserialize)]
struct FolderBody {
    /// Missing for a file, whose lines are answered.
    children: Option<PageBody<ChildBody>>,
}

#[derive(Deserialize)]
struct ChildBody {
    /// Below the folder. Folders with one folder in them are one entry with a longer path.
    path: PathBody,
    #[serde(rename = "type")]
    kind: String,
    size: Option<u64>,
}

impl BitbucketDc {
    async fn refs(
        &self,
        operation: &'static str,
        repository: &Repository,
        class: &str,
    ) -> Result<impl Iterator<Item = Head>> {
        let found: Vec<RefBody> = self.every(operation, || self.get(operation, repository, &[class])).await?;
        Ok(found.into_iter().filter_map(RefBody::into_head))
    }

    /// Whether every commit that leads to `one` leads to `other` as well: it is the same or older.
    async fn is_within(&self, repository: &Repository, one: &CommitId, other: &CommitId) -> Result<bool> {
        let call = self.get(COMPARE, repository, &["commits"])?;
        let call = call.query("until", one.as_str()).query("since", other.as_str()).query("limit", "1");
        Ok(call.read::<PageBody<Id>>().await?.values.is_empty())
    }

    /// One folder's own entries.
    async fn folder(
        &self,
        repository: &Repository,
        commit: &CommitId,
        folder: &str,
    ) -> Result<Vec<TreeEntry>> {
        let parts = folder.split('/').filter(|part| !part.is_empty());
        let path: Vec<&str> = ["browse"].into_iter().chain(parts).collect();
        let (mut all, mut start, mut seen) = (Vec::new(), 0, 0);
        loop {
            let call = self.get(TREE, repository, &path)?.query("at", commit.as_str());
            let call = call.query("limit", &LIMIT.to_string()).query("start", &start.to_string());
            let Some(found) = call.read::<FolderBody>().await?.children else {
                return Err(missing(commit, folder));
            };
            let next = found.following(TREE, start)?;
            seen += found.values.len().max(1);
            for child in found.values {
                let Some(name) = child.path.components.first() else { continue };
                let kind = match child.kind.as_str() {
                    "FILE" if child.path.components.len() == 1 => TreeEntryKind::File,
                    "SUBMODULE" if child.path.components.len() == 1 => TreeEntryKind::Submodule,
                    _ => TreeEntryKind::Folder,
                };
                let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                let size = child.size.filter(|_| kind == TreeEntryKind::File);
                all.push(TreeEntry { path, kind, size });
            }
            if seen > self.config.max_entries {
                let message = format!("there are more than {} entries", self.config.max_entries);
                return Err(Error::new(kiops_core::ErrorKind::TooLarge, TREE, message)
                    .with_remedy("raise max_entries"));
            }
            match next {
                Some(next) => start = next,
                None => return Ok(all),
            }
        }
    }

    /// Everything below a folder. Bitbucket lists the files; folders are what their paths say.
    async fn below(
        &self,
        repository: &Repository,
        commit: &CommitId,
        folder: &str,
    ) -> Result<Vec<TreeEntry>> {
        let parts = folder.split('/').filter(|part| !part.is_empty());
        let path: Vec<&str> = ["files"].into_iter().chain(parts).collect();
        let call = || Ok(self.get(TREE, repository, &path)?.query("at", commit.as_str()));
        let files: Vec<String> = self.every(TREE, call).await?;
        if files.is_empty() && !folder.is_empty() {
            return Err(missing(commit, folder));
        }
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut folders = BTreeSet::new();
        for file in &files {
            folders.extend(file.match_indices('/').map(|(at, _)| &file[..at]));
        }
        let entry = |path: &str, kind| TreeEntry { path: format!("{prefix}{path}"), kind, size: None };
        let folders = folders.iter().map(|path| entry(path, TreeEntryKind::Folder));
        Ok(folders.chain(files.iter().map(|path| entry(path, TreeEntryKind::File))).collect())
    }
}

fn missing(commit: &CommitId, folder: &str) -> Error {
    let message = format!("there is no folder `{}` in commit {commit}", folder.escape_debug());
    Error::not_found(TREE, message)
}

#[async_trait]
impl GitProvider for BitbucketDc {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    /// Those that the token may read. Default branches are not told.
    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let limit = if search.limit == 0 { 100 } else { search.limit.min(100) }.to_string();
        let mut start = match &search.after {
            None => 0,
            Some(after) => after.parse().map_err(|_| {
                Error::invalid(LIST, "the list cannot go on from there").with_remedy("begin it anew")
            })?,
        };
        let wanted = search.text.to_lowercase();
        let mut seen = 0;
        loop {
            let call = self.rest.get(LIST, &["repos"])?.query("limit", &limit);
            let found: PageBody<RepositoryBody> = call.query("start", &start.to_string()).read().await?;
            let next = found.following(LIST, start)?;
            seen += found.values.len().max(1);
            let infos = found.values.into_iter().map(RepositoryBody::into_info);
            let mut items = infos.collect::<Result<Vec<_>>>()?;
            items.retain(|info| info.repository.path.to_lowercase().contains(&wanted));
            match next {
                // An empty page is a page, too, where it would take too long to fill it.
                Some(next) if items.is_empty() && seen <= self.config.max_entries => start = next,
                next => return Ok(Page { items, next: next.map(|next| next.to_string()) }),
            }
        }
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        let mut heads: Vec<Head> = self.refs("list branches", repository, "branches").await?.collect();
        heads.retain(|head| head.git_ref.branch().is_some());
        heads.sort_unstable_by(|one, other| one.git_ref.branch().cmp(&other.git_ref.branch()));
        Ok(page(heads, search, |head| head.git_ref.branch().map_or("", BranchName::as_str)))
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        let operation = "list heads";
        let branches = self.refs(operation, repository, "branches").await?;
        let tags = self.refs(operation, repository, "tags").await?;
        Ok(branches.chain(tags).collect())
    }

    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        let call = self.get("read head", repository, &["commits"])?;
        let call = call.query("until", &git_ref.to_string()).query("limit", "1");
        let found: Option<PageBody<Id>> = call.find().await?;
        Ok(found.and_then(|found| found.values.into_iter().next()).map(|commit| commit.id))
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        let operation = "read commit";
        let call = self.get(operation, repository, &["commits", commit.as_str()])?;
        let Some(body) = call.find::<CommitBody>().await? else { return Ok(None) };
        let timestamp = Timestamp::from_millisecond(body.committer_timestamp).map_err(|_| {
            Error::unavailable(
                operation,
                "Bitbucket did not answer as documented: committerTimestamp is no time",
            )
        })?;
        let (key, slug) = key_and_slug(operation, repository)?;
        let web_url = format!("{}projects/{key}/repos/{slug}/commits/{}", self.web, body.id);
        Ok(Some(Commit {
            message: body.message.unwrap_or_default(),
            author: body.committer.and_then(|committer| committer.name).unwrap_or_default(),
            timestamp,
            parents: body.parents.into_iter().map(|parent| parent.id).collect(),
            web_url: Some(web_url),
            id: body.id,
        }))
    }

    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        let call = || {
            let call = self.get(COMPARE, repository, &["changes"])?;
            Ok(call.query("since", from.as_str()).query("until", to.as_str()))
        };
        let most = self.config.max_changed_files;
        let (changes, is_whole) = self.first::<ChangeBody>(COMPARE, most, call).await?;
        let mut list = FileList::default();
        for change in &changes {
            let path = change.path.joined();
            match (change.kind.as_str(), &change.src_path) {
                ("ADD" | "COPY", _) => list.added.push(&path),
                ("DELETE", _) => list.removed.push(&path),
                ("MOVE", Some(from)) => {
                    list.removed.push(&from.joined());
                    list.added.push(&path);
                }
                _ => list.modified.push(&path),
            }
        }
        let relation = if from == to {
            Relation::Same
        } else if self.is_within(repository, from, to).await? {
            Relation::Ahead
        } else if self.is_within(repository, to, from).await? {
            Relation::Behind
        } else {
            Relation::Diverged
        };
        let files = if is_whole { ChangedFiles::Complete(list) } else { ChangedFiles::Partial(list) };
        Ok(Comparison { files, relation })
    }

    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        check_path(TREE, &query.folder, true)?;
        let mut entries = if query.recursive {
            self.below(repository, commit, &query.folder).await?
        } else {
            self.folder(repository, commit, &query.folder).await?
        };
        entries.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        entries.truncate(query.limit);
        Ok(entries)
    }

    async fn file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        let operation = "read file";
        check_path(operation, path, false)?;
        let path: Vec<&str> = ["raw"].into_iter().chain(path.split('/')).collect();
        let call = self.get(operation, repository, &path)?.query("at", commit.as_str());
        call.accept("*/*").bytes(cap).await
    }

    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let call = self.get("archive commit", repository, &["archive"])?.query("at", commit.as_str());
        // Everything below one folder, which is taken away again: as the other hosts pack.
        let call = call.query("format", "tar").query("prefix", "kiops").accept("*/*");
        let max = self.config.max_archive_bytes;
        let body = call.stream(packed(max), self.config.archive_time()).await?;
        Ok(without_root(body.into_stream(), Packing::Tar, max))
    }

    /// `x-token-auth` and the token of a project or repository, or a person's name and token.
    async fn clone_access(&self, repository: &Repository, _: &CommitId) -> Result<CloneAccess> {
        let operation = "make clone address";
        let (key, slug) = key_and_slug(operation, repository)?;
        let url = clone_url(operation, &self.web, &format!("scm/{}/{slug}", key.to_lowercase()))?;
        let token = self.rest.token(Some(repository)).await?;
        let expires_at = token.as_ref().and_then(|token| token.expires_at);
        let credential = token.map(|token| {
            let named = token.secret.expose_str().and_then(|text| text.split_once(':'));
            let named = named.and_then(|(name, password)| Some((name.to_owned(), Secret::new(password)?)));
            let (username, password) = named.unwrap_or(("x-token-auth".into(), token.secret));
            CloneCredential { username, password }
        });
        Ok(CloneAccess { url, credential, expires_at })
    }

    fn hooks(&self) -> Option<&dyn Hooks> {
        Some(self)
    }

    fn statuses(&self) -> Option<&dyn Statuses> {
        Some(self)
    }
}
