//! Gitee as a [`GitProvider`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use kiops_core::event::{ChangedFiles, FileList, Repository};
use kiops_core::http::{HttpService, Timer};
use kiops_core::name::{BranchName, CommitId, GitRef, ProviderName, RepoId};
use kiops_core::provider::{
    CloneAccess, CloneCredential, Commit, Comparison, GitProvider, Head, Hooks, Page, Relation,
    RepositoryInfo, Search, Statuses, TokenSource, TreeEntry, TreeQuery,
};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::dialect::DIALECT;
use super::webhook::NAME;
use crate::rest::archive::{Packing, packed, without_root};
use crate::rest::objects::{Objects as _, no_commit};
use crate::rest::{Call, HostConfig, Pages, Rest, clone_url};
use crate::shape::{or_none, owner_and_name, page};

/// The most that Gitee gives a page.
const PAGES: Pages = Pages { size: ("per_page", 100), total: "total_count", short_is_last: true };

/// What is read of an answer that lists a commit's patches, which Gitee cannot leave out.
const PATCHES_MAX: usize = 64 << 20;

const COMPARE: &str = "compare commits";

/// Repositories at gitee.com or Gitee's enterprise edition, by API v5 below `{url}/api/v5/`. It reads, manages webhooks and comments; what Gitee
/// can be asked to write (repositories, commits, pull requests) is not offered yet.
///
/// A repository is addressed by its path, `owner/name`: Gitee has no calls by number.
///
/// Beyond what [`GitProvider`] guarantees, and where Gitee sets limits:
/// - [`GitProvider::repositories`] lists what the token's owner belongs to, in the order of the paths; without a token nothing can be listed.
/// - Files are read by the ids of their contents, from the commit down. Of one kept in LFS that is its pointer.
/// - Of an annotated tag Gitee tells the commit, not the tag's own object.
/// - A comparison is [`Relation::Unknown`] where the commits have nothing in common, or where the history between is too large for an answer.
/// - Archives are packed by Gitee, which heeds what attributes say (`export-ignore`, `export-subst`, `eol`).
/// - A clone takes the token as password with the user name `oauth2`.
#[derive(Debug)]
pub struct Gitee {
    pub(super) rest: Rest,
    pub(super) config: HostConfig,
    web: String,
}

impl Gitee {
    /// A provider for the Gitee at [`HostConfig::url`]: `https://gitee.com`, or one's own.
    ///
    /// # Errors
    /// `Invalid` for settings that name no host.
    pub fn new(
        config: HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        let (base, web) = (config.api("api/v5/")?, config.web()?);
        let rest = Rest::new(&DIALECT, base, &config, service, timer, tokens)?;
        Ok(Self { rest, config, web })
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

    /// Every entry of a list below a repository.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        what: &str,
        repository: &Repository,
        below: &[&str],
    ) -> Result<Vec<T>> {
        PAGES.every(operation, what, self.config.max_entries, || self.get(operation, repository, below)).await
    }

    async fn branch_heads(&self, operation: &'static str, repository: &Repository) -> Result<Vec<Head>> {
        let named: Vec<Named> =
            self.list(operation, "the list of branches", repository, &["branches"]).await?;
        Ok(named.iter().filter_map(|one| one.head("refs/heads/")).collect())
    }

    async fn tag_heads(&self, operation: &'static str, repository: &Repository) -> Result<Vec<Head>> {
        let named: Vec<Named> = self.list(operation, "the list of tags", repository, &["tags"]).await?;
        Ok(named.iter().filter_map(|one| one.head("refs/tags/")).collect())
    }

    /// A good answer that may hold patches.
    async fn patched<T: DeserializeOwned>(operation: &'static str, call: Call<'_>) -> Result<Option<T>> {
        let Some(body) = call.bytes(PATCHES_MAX).await? else { return Ok(None) };
        serde_json::from_slice(&body).map(Some).map_err(|_| not_as_documented(operation))
    }

    async fn relation(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Relation> {
        let call = self.get(COMPARE, repository, &["compare", &format!("{from}...{to}")])?;
        let compared: Option<Compared> = match Self::patched(COMPARE, call).await {
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Invalid) => None,
            compared => compared?,
        };
        let base = compared.and_then(|compared| compared.merge_base_commit).and_then(|base| base.sha);
        Ok(match base.as_deref() {
            None => Relation::Unknown,
            Some(base) if base == from.as_str() => Relation::Ahead,
            Some(base) if base == to.as_str() => Relation::Behind,
            Some(_) => Relation::Diverged,
        })
    }
}

pub(super) fn not_as_documented(operation: &'static str) -> Error {
    Error::unavailable(operation, "Gitee did not answer as documented")
}

#[derive(Deserialize)]
struct Facts {
    id: u64,
    full_name: String,
    #[serde(default)]
    default_branch: Option<String>,
}

/// A branch or tag.
#[derive(Deserialize)]
struct Named {
    name: String,
    commit: Pointed,
}

#[derive(Deserialize)]
struct Pointed {
    sha: String,
}

impl Named {
    /// Names that we have no type for (starting with a hyphen) are left out.
    fn head(&self, prefix: &str) -> Option<Head> {
        let git_ref = GitRef::parse(&format!("{prefix}{}", self.name)).ok()?;
        Some(Head { git_ref, commit: CommitId::parse(&self.commit.sha).ok()?, object: None })
    }
}

#[derive(Deserialize)]
struct Pull {
    head: Pointed,
}

#[derive(Deserialize)]
struct Compared {
    #[serde(default)]
    merge_base_commit: Option<MaybePointed>,
}

#[derive(Deserialize)]
struct MaybePointed {
    sha: Option<String>,
}

#[derive(Deserialize)]
struct CommitFacts {
    sha: String,
    commit: Inner,
    #[serde(default)]
    parents: Option<Vec<Pointed>>,
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

#[async_trait]
impl GitProvider for Gitee {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let operation = "list repositories";
        let call = || Ok(self.rest.get(operation, &["user", "repos"])?.query("sort", "full_name"));
        let what = "the list of repositories";
        let mut all: Vec<Facts> = PAGES.every(operation, what, self.config.max_entries, call).await?;
        all.sort_unstable_by(|one, two| one.full_name.cmp(&two.full_name));
        all.dedup_by_key(|facts| facts.id);
        let Page { items, next } = page(all, search, |facts| facts.full_name.as_str());
        let info = |facts: Facts| {
            let id = RepoId::parse(facts.id.to_string()).map_err(|_| not_as_documented(operation))?;
            let repository = Repository { id: Some(id), path: facts.full_name };
            owner_and_name(operation, &repository).map_err(|_| not_as_documented(operation))?;
            Ok(RepositoryInfo {
                default_branch: facts.default_branch.and_then(|name| BranchName::parse(name).ok()),
                web_url: Some(format!("{}{}", self.web, repository.path)),
                repository,
            })
        };
        Ok(Page { items: items.into_iter().map(info).collect::<Result<_>>()?, next })
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        let mut heads = self.branch_heads("list branches", repository).await?;
        heads.sort_unstable_by(|one, two| branch(one).cmp(branch(two)));
        heads.dedup_by(|one, two| branch(one) == branch(two));
        Ok(page(heads, search, branch))
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        let mut heads = self.branch_heads("list heads", repository).await?;
        heads.extend(self.tag_heads("list heads", repository).await?);
        // A list that changes while it is read may show one on two of its pages.
        heads.sort_unstable_by(|one, two| one.git_ref.cmp(&two.git_ref));
        heads.dedup_by(|one, two| one.git_ref == two.git_ref);
        Ok(heads)
    }

    /// See [`GitProvider::head`]. Of other refs Gitee knows `refs/pull/NUMBER/head`.
    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        let operation = "read head";
        if owner_and_name(operation, repository).is_err() {
            return Ok(None);
        }
        let id = |text: &str| CommitId::parse(text).map_err(|_| not_as_documented(operation));
        match git_ref {
            GitRef::Branch(name) => {
                let call = self.get(operation, repository, &["branches", name.as_str()])?;
                let found: Option<Named> = call.find().await?;
                found
                    .filter(|found| found.name == name.as_str())
                    .map(|found| id(&found.commit.sha))
                    .transpose()
            }
            GitRef::Tag(_) => {
                let tags = or_none(self.tag_heads(operation, repository).await)?.unwrap_or_default();
                Ok(tags.into_iter().find(|head| head.git_ref == *git_ref).map(|head| head.commit))
            }
            GitRef::Other(whole) => {
                let number = whole.strip_prefix("refs/pull/").and_then(|rest| rest.strip_suffix("/head"));
                let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else {
                    return Ok(None);
                };
                let call = self.get(operation, repository, &["pulls", &number.to_string()])?;
                let found: Option<Pull> = call.find().await?;
                found.map(|found| id(&found.head.sha)).transpose()
            }
        }
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        let operation = "read commit";
        if owner_and_name(operation, repository).is_err() {
            return Ok(None);
        }
        let call = self.get(operation, repository, &["commits", commit.as_str()])?;
        let Some(facts) = Self::patched::<CommitFacts>(operation, call).await? else { return Ok(None) };
        let id = |text: &str| CommitId::parse(text).map_err(|_| not_as_documented(operation));
        let parents = facts.parents.unwrap_or_default();
        Ok(Some(Commit {
            id: id(&facts.sha)?,
            message: facts.commit.message,
            author: facts.commit.committer.name,
            timestamp: facts.commit.committer.date,
            parents: parents.iter().map(|parent| id(&parent.sha)).collect::<Result<_>>()?,
            web_url: Some(format!("{}{}/commit/{}", self.web, repository.path, id(&facts.sha)?)),
        }))
    }

    /// See [`GitProvider::compare`]. The trees are compared, not the history, which Gitee lists in part.
    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        if from == to {
            self.commit(repository, from).await?.ok_or_else(|| no_commit(COMPARE, from))?;
            let files = ChangedFiles::Complete(FileList::default());
            return Ok(Comparison { files, relation: Relation::Same });
        }
        let files = self.changed(COMPARE, repository, [from, to]).await?;
        let relation = self.relation(repository, from, to).await?;
        Ok(Comparison { files, relation })
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
        let call = self.get("archive commit", repository, &["tarball"])?.query("ref", commit.as_str());
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
}

fn branch(head: &Head) -> &str {
    head.git_ref.branch().map_or("", BranchName::as_str)
}
