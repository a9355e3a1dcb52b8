//! Gitea and Forgejo as a [`GitProvider`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::http::{HttpService, Timer};
use kiops_core::name::{BranchName, CommitId, GitRef, ProviderLiteral, ProviderName, RepoId};
use kiops_core::provider::{
    Admin, CloneAccess, CloneCredential, Commit, Comparison, GitProvider, Head, Hooks, Page, RepositoryInfo,
    Search, Statuses, TokenSource, TreeEntry, TreeQuery, Writes,
};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::dialect;
use crate::rest::archive::{Packing, packed, without_root};
use crate::rest::objects::Objects as _;
use crate::rest::{Call, Dialect, HostConfig, Pages, Rest, clone_url};
use crate::shape::{owner_and_name, page, too_many};

/// Repositories at a Gitea (1.20 and newer) or Forgejo host, by their REST interface below `{url}/api/v1/`.
///
/// A repository is addressed by its path, `owner/name`: these hosts answer to an id only about the repository itself. They lead a
/// path from before a rename on to the new one.
///
/// Beyond what [`GitProvider`] guarantees, and where the host sets limits:
/// - [`GitProvider::repositories`] finds a text without a slash in names, not in owners, which the host does not search. One with a
///   slash is found wherever it stands.
/// - Files are read by the ids of their contents, from the commit down, so that a branch named like a commit changes nothing. Of a file kept in
///   LFS that is its pointer. Files over 10 MiB are `TooLarge` unless the host's `[api] DEFAULT_MAX_BLOB_SIZE` is raised.
/// - Archives are packed by the host, which heeds what attributes say (`export-ignore`, `export-subst`, `eol`). The host must keep
///   `[repository] PREFIX_ARCHIVE_FILES` as it is by default, and not set `DISABLE_DOWNLOAD_SOURCE_ARCHIVES`.
/// - A clone takes the token as password, whatever the user name; it works as long as the token does.
/// - Commit times are told to the second, and names in a tree that are not UTF-8 with replacement characters.
pub struct Gitea {
    pub(super) rest: Rest,
    pub(super) config: HostConfig,
    web: String,
    pub(super) flavour: &'static Flavour,
}

impl fmt::Debug for Gitea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.host()).field("rest", &self.rest).field("config", &self.config).finish()
    }
}

/// Which of the two hosts it is: they differ in names.
pub(super) struct Flavour {
    name: ProviderLiteral,
    dialect: Dialect,
    /// The type of a hook.
    pub(super) hook: &'static str,
}

static GITEA: Flavour =
    Flavour { name: ProviderLiteral::new("gitea"), dialect: dialect::GITEA, hook: "gitea" };
static FORGEJO: Flavour =
    Flavour { name: ProviderLiteral::new("forgejo"), dialect: dialect::FORGEJO, hook: "forgejo" };

/// The host's own longest page of a list, unless its administrator says otherwise: shorter ones need not be the last.
pub(super) const PAGE: usize = 50;

const PAGES: Pages = Pages { size: ("limit", PAGE), total: "x-total-count", short_is_last: false };

impl Gitea {
    /// A Gitea host.
    ///
    /// # Errors
    /// `Invalid` for settings that name no host.
    pub fn new(
        config: HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        Self::of(&GITEA, config, service, timer, tokens)
    }

    /// A Forgejo host.
    ///
    /// # Errors
    /// `Invalid` for settings that name no host.
    pub fn forgejo(
        config: HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        Self::of(&FORGEJO, config, service, timer, tokens)
    }

    fn of(
        flavour: &'static Flavour,
        config: HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        let rest = Rest::new(&flavour.dialect, config.api("api/v1/")?, &config, service, timer, tokens)?;
        Ok(Self { rest, web: config.web()?, config, flavour })
    }

    /// A call below a repository.
    pub(super) fn call<'a>(
        &'a self,
        operation: &'static str,
        method: Method,
        repository: &'a Repository,
        below: &[&str],
    ) -> Result<Call<'a>> {
        let [owner, name] = owner_and_name(operation, repository)?;
        let path = [&["repos", owner, name], below].concat();
        Ok(self.rest.call(operation, method, &path)?.about(repository))
    }

    pub(super) fn get<'a>(
        &'a self,
        operation: &'static str,
        repository: &'a Repository,
        below: &[&str],
    ) -> Result<Call<'a>> {
        self.call(operation, Method::GET, repository, below)
    }

    /// What the host says about a repository itself.
    pub(super) async fn facts(&self, operation: &'static str, repository: &Repository) -> Result<Facts> {
        self.get(operation, repository, &[])?.read().await
    }

    /// Every entry of a list, page by page.
    pub(super) async fn list<'a, T: DeserializeOwned>(
        &self,
        operation: &'static str,
        what: &str,
        call: impl Fn() -> Result<Call<'a>>,
    ) -> Result<Vec<T>> {
        PAGES.every(operation, what, self.config.max_entries, call).await
    }

    pub(super) fn too_many(&self, operation: &'static str, what: &str) -> Error {
        too_many(operation, what, self.config.max_entries)
    }

    pub(super) fn not_as_documented(&self, operation: &'static str) -> Error {
        Error::unavailable(operation, format!("{} did not answer as documented", self.host()))
    }

    /// Where a person looks at something below a repository. Of our own settings: what answers name may be out of date there.
    pub(super) fn web_url(&self, repository: &str, below: &str) -> String {
        format!("{}{repository}{below}", self.web)
    }

    pub(super) fn info(&self, operation: &'static str, facts: Facts) -> Result<RepositoryInfo> {
        let id = RepoId::parse(facts.id.to_string()).map_err(|_| self.not_as_documented(operation))?;
        let repository = Repository { id: Some(id), path: facts.full_name };
        owner_and_name(operation, &repository).map_err(|_| self.not_as_documented(operation))?;
        Ok(RepositoryInfo {
            default_branch: BranchName::parse(&facts.default_branch).ok(),
            web_url: Some(self.web_url(&repository.path, "")),
            repository,
        })
    }

    pub(super) const fn host(&self) -> &'static str {
        self.flavour.dialect.host
    }
}

/// Without what the host would have to work for.
pub(super) fn cheap(call: Call<'_>) -> Call<'_> {
    call.query("stat", "false").query("verification", "false").query("files", "false")
}

#[derive(Deserialize)]
pub(super) struct Facts {
    pub(super) id: u64,
    pub(super) full_name: String,
    #[serde(default)]
    pub(super) default_branch: String,
    #[serde(default)]
    pub(super) empty: bool,
    #[serde(default)]
    pub(super) original_url: String,
}

#[derive(Deserialize)]
struct CommitFacts {
    sha: String,
    commit: Inner,
    #[serde(default)]
    parents: Option<Vec<Parent>>,
}

#[derive(Deserialize)]
struct Inner {
    message: String,
    committer: Person,
}

#[derive(Deserialize)]
struct Person {
    name: String,
    date: jiff::Timestamp,
}

#[derive(Deserialize)]
struct Parent {
    sha: String,
}

#[async_trait]
impl GitProvider for Gitea {
    fn name(&self) -> ProviderName {
        self.flavour.name.name()
    }

    /// See [`GitProvider::repositories`] and the limits above. [`Page::next`] is the number of the host's next page; it gives 50 at
    /// most.
    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        self.search(search).await
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        let mut heads = self.branch_heads("list branches", repository).await?;
        heads.sort_unstable_by(|one, two| branch(one).cmp(branch(two)));
        Ok(page(heads, search, branch))
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        let operation = "list heads";
        let mut heads = self.branch_heads(operation, repository).await?;
        heads.extend(self.tag_heads(operation, repository).await?);
        if heads.len() > self.config.max_entries {
            return Err(self.too_many(operation, "the list of branches and tags"));
        }
        Ok(heads)
    }

    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        self.one_head("read head", repository, git_ref).await
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        let operation = "read commit";
        let call = match self.get(operation, repository, &["git", "commits", commit.as_str()]) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            call => call?,
        };
        let answer = cheap(call).send().await?;
        // 409: the repository is empty; 422: no id of this length.
        if matches!(answer.status, 404 | 409 | 422) {
            return Ok(None);
        }
        let facts: CommitFacts = answer.good()?.read()?;
        let id = |text: &str| CommitId::parse(text).map_err(|_| self.not_as_documented(operation));
        let parents = facts.parents.unwrap_or_default();
        Ok(Some(Commit {
            id: id(&facts.sha)?,
            message: facts.commit.message,
            author: facts.commit.committer.name,
            timestamp: facts.commit.committer.date,
            parents: parents.iter().map(|parent| id(&parent.sha)).collect::<Result<_>>()?,
            web_url: Some(self.web_url(&repository.path, &format!("/commit/{}", id(&facts.sha)?))),
        }))
    }

    /// See [`GitProvider::compare`]. The trees are compared, not the history; of trees over a thousand entries only folders that differ
    /// are read, at most 500, and the list is partial beyond.
    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        self.compared(repository, from, to).await
    }

    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        self.entries("list folder", repository, commit, query).await
    }

    async fn file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        self.read("read file", repository, commit, path, cap).await
    }

    /// See [`GitProvider::archive`], and the limits above.
    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let max = self.config.max_archive_bytes;
        let call = self.get("archive commit", repository, &["archive", &format!("{commit}.tar.gz")])?;
        let body = call.accept("*/*").stream(packed(max), self.config.archive_time()).await?;
        Ok(without_root(body.into_stream(), Packing::TarGz, max))
    }

    async fn clone_access(&self, repository: &Repository, _commit: &CommitId) -> Result<CloneAccess> {
        let operation = "make clone address";
        owner_and_name(operation, repository)?;
        let token = self.rest.token(Some(repository)).await?;
        Ok(CloneAccess {
            url: clone_url(operation, &self.web, &repository.path)?,
            expires_at: token.as_ref().and_then(|token| token.expires_at),
            credential: token
                .map(|token| CloneCredential { username: "oauth2".into(), password: token.secret }),
        })
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

fn branch(head: &Head) -> &str {
    head.git_ref.branch().map_or("", BranchName::as_str)
}
