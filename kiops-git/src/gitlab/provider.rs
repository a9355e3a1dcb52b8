//! GitLab as a [`GitProvider`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use kiops_core::event::{ChangedFiles, FileList, Repository};
use kiops_core::http::{HttpService, Timer};
use kiops_core::name::{BranchName, CommitId, GitRef, GitTag, ProviderLiteral, ProviderName, RepoId};
use kiops_core::provider::{
    Admin, CloneAccess, CloneCredential, Commit, Comparison, GitProvider, Head, Hooks, Page, Relation,
    RepositoryInfo, Search, Statuses, TokenSource, TreeEntry, TreeEntryKind, TreeQuery, Writes,
};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::dialect::DIALECT;
use crate::rest::archive::{Packing, packed, without_root};
use crate::rest::{Call, HostConfig, Rest, clone_url, next_parameter};
use crate::shape::{check_path, page};

const NAME: ProviderLiteral = ProviderLiteral::new("gitlab");
/// The most that GitLab gives a page.
const PER_PAGE: usize = 100;
/// How many changed files GitLab lists where an administrator has not said otherwise (`diff_max_files`).
const DIFF_MAX_FILES: usize = 1000;

/// A GitLab: gitlab.com, or one's own from 15.0 on.
///
/// Repositories are addressed by their number where it is known, else by their full path.
///
/// - Comparisons list at most 1,000 files (`diff_max_files`), or as many as [`HostConfig::max_changed_files`] says where that is less:
///   then they are partial. Where an administrator has set a lower limit, set the same here.
/// - Archives are packed by GitLab, which heeds `export-ignore`, `export-subst` and `eol` in `.gitattributes`. gitlab.com gives
///   five archives a minute to a user.
/// - Trees tell no sizes.
/// - Lists hold what the token's owner is a member of.
#[derive(Debug)]
pub struct GitLab {
    pub(super) rest: Rest,
    pub(super) config: HostConfig,
    pub(super) web: String,
}

impl GitLab {
    /// A provider for the GitLab at [`HostConfig::url`]. Its interface is `api/v4/` below that, unless the configuration names another place.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn new(
        config: HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        let (base, web) = (config.api("api/v4/")?, config.web()?);
        let rest = Rest::new(&DIALECT, base, &config, service, timer, tokens)?;
        Ok(Self { rest, config, web })
    }

    /// A call about a project: `projects/ID/` and what follows.
    pub(super) fn project<'a>(
        &'a self,
        operation: &'static str,
        method: http::Method,
        repository: &'a Repository,
        rest: &[&str],
    ) -> Result<Call<'a>> {
        let id = repository.id.as_ref().map_or(repository.path.as_str(), RepoId::as_str);
        let path: Vec<&str> = ["projects", id].into_iter().chain(rest.iter().copied()).collect();
        Ok(self.rest.call(operation, method, &path)?.about(repository))
    }

    pub(super) fn get<'a>(
        &'a self,
        operation: &'static str,
        repository: &'a Repository,
        rest: &[&str],
    ) -> Result<Call<'a>> {
        self.project(operation, http::Method::GET, repository, rest)
    }

    /// Every entry of a list that comes page by page.
    pub(super) async fn every<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        repository: &Repository,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut next: Option<(&str, String)> = None;
        loop {
            let mut call = self.get(operation, repository, path)?.query("per_page", &PER_PAGE.to_string());
            for (name, value) in query {
                call = call.query(name, value);
            }
            if let Some((name, value)) = &next {
                call = call.query(name, value);
            }
            let answer = call.good().await?;
            let items: Vec<T> = answer.read()?;
            let empty = items.is_empty();
            all.extend(items);
            if all.len() > self.config.max_entries {
                let message = format!("there are more than {} entries", self.config.max_entries);
                return Err(Error::new(ErrorKind::TooLarge, operation, message)
                    .with_remedy("raise max_entries, or remove what is not used any more"));
            }
            let following = next_page(&answer.headers);
            if empty || following.is_none() {
                return Ok(all);
            }
            if following == next {
                return Err(Error::unavailable(operation, "a page of the list names itself as the next one")
                    .with_remedy("check that no proxy between us and GitLab keeps answers"));
            }
            next = following;
        }
    }

    async fn info(&self, operation: &'static str, repository: &Repository) -> Result<ProjectBody> {
        self.get(operation, repository, &[])?.read().await
    }

    async fn is_ancestor(
        &self,
        repository: &Repository,
        one: &CommitId,
        other: &CommitId,
    ) -> Result<Relation> {
        #[derive(Deserialize)]
        struct Base {
            id: CommitId,
        }
        let call = self.get(COMPARE, repository, &["repository", "merge_base"])?;
        let call = call.query("refs[]", one.as_str()).query("refs[]", other.as_str());
        let base: Option<Base> = call.find().await?;
        Ok(match base {
            Some(base) if base.id == *one => Relation::Ahead,
            Some(base) if base.id == *other => Relation::Behind,
            _ => Relation::Diverged,
        })
    }
}

const COMPARE: &str = "compare commits";
/// How many bytes of patches are read for their files' names. Of more, no file is named.
const COMPARE_MAX: u64 = 64 << 20;

/// Where the next page begins: a token for lists by key, a number for the others.
fn next_page(headers: &HeaderMap) -> Option<(&'static str, String)> {
    let by_key = next_parameter(headers, "page_token").map(|token| ("page_token", token));
    by_key.or_else(|| next_parameter(headers, "page").map(|page| ("page", page)))
}

#[derive(Deserialize)]
pub(super) struct ProjectBody {
    id: u64,
    path_with_namespace: String,
    default_branch: Option<String>,
    web_url: Option<String>,
}

impl ProjectBody {
    pub(super) fn into_info(self) -> Result<RepositoryInfo> {
        Ok(RepositoryInfo {
            repository: Repository {
                id: Some(RepoId::parse(self.id.to_string())?),
                path: self.path_with_namespace,
            },
            default_branch: self.default_branch.and_then(|name| BranchName::parse(name).ok()),
            web_url: self.web_url,
        })
    }
}

#[derive(Deserialize)]
struct BranchBody {
    name: String,
    commit: CommitRef,
}

#[derive(Deserialize)]
struct TagBody {
    name: String,
    /// The tag's own object, or the commit.
    target: CommitId,
    commit: Option<CommitRef>,
}

#[derive(Deserialize)]
struct CommitRef {
    id: CommitId,
}

#[derive(Deserialize)]
struct CommitBody {
    id: CommitId,
    message: Option<String>,
    committer_name: Option<String>,
    committed_date: String,
    #[serde(default)]
    parent_ids: Vec<CommitId>,
    web_url: Option<String>,
}

#[derive(Deserialize)]
struct CompareBody {
    diffs: Vec<DiffBody>,
    #[serde(default)]
    compare_timeout: bool,
}

#[derive(Deserialize)]
struct DiffBody {
    old_path: String,
    new_path: String,
    #[serde(default)]
    new_file: bool,
    #[serde(default)]
    renamed_file: bool,
    #[serde(default)]
    deleted_file: bool,
}

#[derive(Deserialize)]
struct TreeBody {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    mode: String,
}

/// A branch as a head; `None` for a name that kiops has no type for.
fn branch_head(body: BranchBody) -> Option<Head> {
    let name = BranchName::parse(body.name).ok()?;
    Some(Head { git_ref: GitRef::Branch(name), commit: body.commit.id, object: None })
}

/// A tag as a head; `None` for one that leads to no commit.
fn tag_head(body: TagBody) -> Option<Head> {
    let (name, commit) = (GitTag::parse(body.name).ok()?, body.commit?.id);
    let object = Some(body.target).filter(|target| *target != commit);
    Some(Head { git_ref: GitRef::Tag(name), commit, object })
}

#[async_trait]
impl GitProvider for GitLab {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let size = if search.limit == 0 { PER_PAGE } else { search.limit.min(PER_PAGE) }.to_string();
        let mut call = self.rest.get("list repositories", &["projects"])?;
        for (name, value) in
            [("membership", "true"), ("order_by", "id"), ("sort", "asc"), ("pagination", "keyset")]
        {
            call = call.query(name, value);
        }
        call = call.query("per_page", &size);
        // GitLab takes fewer than three characters for a whole word.
        if search.text.chars().count() >= 3 {
            call = call.query("search", &search.text).query("search_namespaces", "true");
        }
        if let Some(after) = &search.after {
            call = call.query("id_after", after);
        }
        let answer = call.good().await?;
        let wanted = search.text.to_lowercase();
        let items: Vec<ProjectBody> = answer.read()?;
        // GitLab finds titles, too.
        let items = items
            .into_iter()
            .filter(|project| project.path_with_namespace.to_lowercase().contains(&wanted))
            .map(ProjectBody::into_info)
            .collect::<Result<_>>()?;
        let next =
            next_parameter(&answer.headers, "id_after").filter(|next| search.after.as_ref() != Some(next));
        Ok(Page { items, next })
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        // These mean something to GitLab: the beginning, the end, anything.
        let plain = !search.text.is_empty() && !search.text.contains(['^', '$', '*']);
        let query: &[(&str, &str)] = if plain { &[("search", &search.text)] } else { &[] };
        let bodies: Vec<BranchBody> =
            self.every("list branches", repository, &["repository", "branches"], query).await?;
        let mut heads: Vec<Head> = bodies.into_iter().filter_map(branch_head).collect();
        heads.sort_unstable_by(|one, other| one.git_ref.branch().cmp(&other.git_ref.branch()));
        Ok(page(heads, search, |head| head.git_ref.branch().map_or("", BranchName::as_str)))
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        let operation = "list heads";
        let branches: Vec<BranchBody> =
            self.every(operation, repository, &["repository", "branches"], &[]).await?;
        let tags: Vec<TagBody> = self.every(operation, repository, &["repository", "tags"], &[]).await?;
        let branches = branches.into_iter().filter_map(branch_head);
        Ok(branches.chain(tags.into_iter().filter_map(tag_head)).collect())
    }

    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        let operation = "read head";
        Ok(match git_ref {
            GitRef::Branch(name) => {
                let call = self.get(operation, repository, &["repository", "branches", name.as_str()])?;
                call.find::<BranchBody>().await?.map(|branch| branch.commit.id)
            }
            GitRef::Tag(name) => {
                let call = self.get(operation, repository, &["repository", "tags", name.as_str()])?;
                call.find::<TagBody>().await?.and_then(|tag| tag.commit).map(|commit| commit.id)
            }
            GitRef::Other(name) => {
                let call = self.get(operation, repository, &["repository", "commits", name.as_str()])?;
                call.find::<CommitRef>().await?.map(|commit| commit.id)
            }
        })
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        let operation = "read commit";
        let call = self.get(operation, repository, &["repository", "commits", commit.as_str()])?;
        let Some(body) = call.find::<CommitBody>().await? else { return Ok(None) };
        let timestamp = body.committed_date.parse().map_err(|_| {
            Error::unavailable(operation, "GitLab did not answer as documented: committed_date is no time")
        })?;
        Ok(Some(Commit {
            id: body.id,
            message: body.message.unwrap_or_default(),
            author: body.committer_name.unwrap_or_default(),
            timestamp,
            parents: body.parent_ids,
            web_url: body.web_url,
        }))
    }

    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        let call = self.get(COMPARE, repository, &["repository", "compare"])?;
        let call = call.query("from", from.as_str()).query("to", to.as_str()).query("straight", "true");
        // It carries every patch, of which nothing is used.
        let body: CompareBody = match call.at_most(COMPARE_MAX).read().await {
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                CompareBody { diffs: Vec::new(), compare_timeout: true }
            }
            body => body?,
        };
        let most = self.config.max_changed_files.min(DIFF_MAX_FILES);
        let is_whole = !body.compare_timeout && body.diffs.len() < most;
        let mut list = FileList::default();
        for diff in body.diffs.iter().take(most) {
            if diff.new_file {
                list.added.push(&diff.new_path);
            } else if diff.deleted_file {
                list.removed.push(&diff.old_path);
            } else if diff.renamed_file && diff.old_path != diff.new_path {
                list.added.push(&diff.new_path);
                list.removed.push(&diff.old_path);
            } else {
                list.modified.push(&diff.new_path);
            }
        }
        let relation =
            if from == to { Relation::Same } else { self.is_ancestor(repository, from, to).await? };
        let files = if is_whole { ChangedFiles::Complete(list) } else { ChangedFiles::Partial(list) };
        Ok(Comparison { files, relation })
    }

    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        let operation = "list folder";
        check_path(operation, &query.folder, true)?;
        let recursive = if query.recursive { "true" } else { "false" };
        let parameters = [
            ("ref", commit.as_str()),
            ("path", query.folder.as_str()),
            ("recursive", recursive),
            ("pagination", "keyset"),
        ];
        let parameters: Vec<_> = parameters.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let bodies: Vec<TreeBody> =
            self.every(operation, repository, &["repository", "tree"], &parameters).await?;
        // Git keeps no empty folders; older versions answer so for what is none.
        if bodies.is_empty() && !query.folder.is_empty() {
            let message = format!("there is no folder `{}` in commit {commit}", query.folder.escape_debug());
            return Err(Error::not_found(operation, message));
        }
        let mut entries: Vec<TreeEntry> = bodies
            .into_iter()
            .map(|body| {
                let kind = match (body.kind.as_str(), body.mode.as_str()) {
                    ("tree", _) => TreeEntryKind::Folder,
                    ("commit", _) => TreeEntryKind::Submodule,
                    (_, "120000") => TreeEntryKind::Symlink,
                    (_, "100755") => TreeEntryKind::Executable,
                    _ => TreeEntryKind::File,
                };
                TreeEntry { path: body.path, kind, size: None }
            })
            .collect();
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
        let call = self.get(operation, repository, &["repository", "files", path, "raw"])?;
        call.query("ref", commit.as_str()).query("lfs", "false").accept("*/*").bytes(cap).await
    }

    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let call = self.get("archive commit", repository, &["repository", "archive.tar"])?;
        let call = call.query("sha", commit.as_str()).query("include_lfs_blobs", "false").accept("*/*");
        let max = self.config.max_archive_bytes;
        let body = call.stream(packed(max), self.config.archive_time()).await?;
        Ok(without_root(body.into_stream(), Packing::Tar, max))
    }

    /// `oauth2` and the token: what GitLab takes for every kind of token. It needs `read_repository`.
    async fn clone_access(&self, repository: &Repository, _: &CommitId) -> Result<CloneAccess> {
        let operation = "make clone address";
        let path = match repository.path.as_str() {
            "" => self.info(operation, repository).await?.path_with_namespace,
            path => path.to_owned(),
        };
        let url = clone_url(operation, &self.web, &path)?;
        let token = self.rest.token(Some(repository)).await?;
        let expires_at = token.as_ref().and_then(|token| token.expires_at);
        let credential =
            token.map(|token| CloneCredential { username: "oauth2".into(), password: token.secret });
        Ok(CloneAccess { url, credential, expires_at })
    }

    fn hooks(&self) -> Option<&dyn Hooks> {
        Some(self)
    }

    fn statuses(&self) -> Option<&dyn Statuses> {
        Some(self)
    }

    fn writes(&self) -> Option<&dyn Writes> {
        Some(self)
    }

    fn admin(&self) -> Option<&dyn Admin> {
        Some(self)
    }
}
