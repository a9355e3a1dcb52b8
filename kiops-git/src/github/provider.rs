//! GitHub as a [`GitProvider`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::http::{HttpService, Timer};
use kiops_core::name::{CommitId, GitRef, ProviderLiteral, ProviderName};
use kiops_core::provider::{
    Admin, CloneAccess, CloneCredential, Commit, Comparison, GitProvider, Head, Hooks, Page, RepositoryInfo,
    Search, Statuses, TokenSource, TreeEntry, TreeQuery, Writes,
};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::dialect::{self, DIALECT};
use crate::rest::archive::{self, Packing, without_root};
use crate::rest::{Answer, Call, HostConfig, Rest};
use crate::shape::or_none;

const NAME: ProviderLiteral = ProviderLiteral::new("github");

/// GitHub's REST interface, version 2022-11-28: github.com, GitHub Enterprise Cloud with data residency (`*.ghe.com`), or GitHub Enterprise
/// Server.
///
/// Tokens: classic and fine-grained personal ones, OAuth and App installation tokens, all sent as `Authorization: Bearer`.
/// [`Repository::path`] is `owner/name`; the id is not used, since GitHub documents no call by it. After a rename GitHub redirects the old path,
/// and that is followed as long as nobody has taken the old name.
///
/// GitHub's own limits:
/// - Archives are packed by GitHub, which heeds `export-ignore` and `export-subst`.
/// - Forks share their commits: an id of a fork's commit is found in the repository that was forked, too.
/// - Files over 100 MB are not given. Trees over 100,000 entries or 7 MB come cut off: listing everything below such a folder is refused, and
///   a comparison of such trees is partial or unknown.
/// - What a token may not see answers like what does not exist.
#[derive(Debug)]
pub struct GitHub {
    pub(super) rest: Rest,
    pub(super) config: HostConfig,
    /// Where the folder of the other interface, GraphQL, begins.
    pub(super) graphql: String,
}

impl GitHub {
    /// A provider for the GitHub at `config.url`. What follows from that address is filled in as [`GitHub::complete`] does.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn new(
        config: HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        let config = Self::complete(config)?;
        let base = config.api("api/v3/")?;
        let graphql = base.strip_suffix("v3/").unwrap_or(&base).to_owned();
        let rest = Rest::new(&DIALECT, base, &config, service, timer, tokens)?;
        Ok(Self { rest, config, graphql })
    }

    /// The configuration with what follows from `url`: `api_url` (`https://api.github.com` for github.com, `https://api.NAME.ghe.com`; else
    /// the interface is at `{url}/api/v3/`), and leave to be redirected to `codeload.` below the host, where archives come from. Take the
    /// egress rules of a `ReqwestService` from it.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn complete(config: HostConfig) -> Result<HostConfig> {
        dialect::complete(config)
    }

    /// A call about a repository: `rest` is the path below it.
    pub(super) fn at<'a>(
        &'a self,
        operation: &'static str,
        method: Method,
        repository: &'a Repository,
        rest: &[&str],
    ) -> Result<Call<'a>> {
        let (owner, name) = owner_and_name(operation, repository)?;
        let path: Vec<&str> = ["repos", owner, name].iter().chain(rest).copied().collect();
        Ok(self.rest.call(operation, method, &path)?.about(repository))
    }

    pub(super) fn get<'a>(
        &'a self,
        operation: &'static str,
        repository: &'a Repository,
        rest: &[&str],
    ) -> Result<Call<'a>> {
        self.at(operation, Method::GET, repository, rest)
    }

    async fn commit_object(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: &CommitId,
    ) -> Result<Option<Commit>> {
        let call = self.get(operation, repository, &["git", "commits", id.as_str()])?;
        let found: Option<CommitObject> = find(call).await?;
        Ok(found.filter(|found| found.sha == *id).map(CommitObject::into_commit))
    }
}

/// What an answer holds; `None` where GitHub has no such thing, also because the repository has no commit at all.
pub(super) async fn find<T: DeserializeOwned>(call: Call<'_>) -> Result<Option<T>> {
    let answer = call.send().await?;
    if is_missing(&answer) { Ok(None) } else { answer.good()?.read().map(Some) }
}

/// Calls about Git's own objects answer 409 where a repository is empty.
pub(super) fn is_missing(answer: &Answer) -> bool {
    answer.status == 404 || is_empty(answer)
}

pub(super) fn is_empty(answer: &Answer) -> bool {
    answer.status == 409 && answer.said().contains("empty")
}

/// Owner and name, of the characters that GitHub allows in them.
pub(super) fn owner_and_name<'a>(
    operation: &'static str,
    repository: &'a Repository,
) -> Result<(&'a str, &'a str)> {
    match repository.path.split_once('/') {
        Some((owner, name)) if is_name(owner) && is_name(name) => Ok((owner, name)),
        _ => {
            let shown: String = repository.path.chars().take(100).collect();
            let message = format!("`{}` is no repository of GitHub", shown.escape_debug());
            Err(Error::invalid(operation, message).with_remedy("write it as owner/name"))
        }
    }
}

/// Whether an owner or a repository can be called so.
pub(super) fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether an answer says that the call is not for an App's token.
pub(super) fn is_of_app(answer: &Answer) -> bool {
    answer.status == 403 && answer.said().contains("not accessible by integration")
}

/// Refuses an id that GitHub cannot have.
pub(super) fn check_id(operation: &'static str, id: &CommitId) -> Result<()> {
    if id.as_str().len() == 40 {
        return Ok(());
    }
    Err(Error::not_found(operation, format!("commit {} cannot be at GitHub", id.short()))
        .with_remedy("give an id of 40 digits: GitHub has SHA-1 repositories only"))
}

pub(super) fn no_commit(operation: &'static str, id: &CommitId) -> Error {
    Error::not_found(operation, format!("GitHub has no commit {id} in this repository, or no such repository"))
        .with_remedy("check the name (owner/repository), that the token may see it, and whether a forced push has taken the commit away")
}

#[derive(Deserialize)]
struct CommitObject {
    sha: CommitId,
    message: String,
    author: Person,
    committer: Person,
    parents: Vec<Id>,
    html_url: Option<String>,
}

#[derive(Deserialize)]
struct Person {
    name: String,
    date: jiff::Timestamp,
}

#[derive(Deserialize)]
pub(super) struct Id {
    pub(super) sha: CommitId,
}

impl CommitObject {
    fn into_commit(self) -> Commit {
        Commit {
            id: self.sha,
            message: self.message,
            author: self.author.name,
            timestamp: self.committer.date,
            parents: self.parents.into_iter().map(|parent| parent.sha).collect(),
            web_url: self.html_url,
        }
    }
}

#[async_trait]
impl GitProvider for GitHub {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    /// Those that the token's user owns or works on; of an App those that its installation was given. A call looks through 3000 at most:
    /// a page may have fewer entries than asked for, and still a next one.
    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        self.listed_repositories(search).await
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        self.listed_branches(repository, search).await
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        self.all_heads(repository).await
    }

    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        self.one_head(repository, git_ref).await
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        let operation = "read commit";
        if or_none(check_id(operation, commit))?.is_none() {
            return Ok(None);
        }
        // Not the call that lists a commit's files: their differences can be megabytes.
        if let Some(found) = self.commit_object(operation, repository, commit).await? {
            return Ok(Some(found));
        }
        match self.peeled(operation, repository, commit).await? {
            Some(commit) => self.commit_object(operation, repository, &commit).await,
            None => Ok(None),
        }
    }

    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        self.compared(repository, from, to).await
    }

    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        self.listed_tree(repository, commit, query).await
    }

    async fn file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        self.read_file(repository, commit, path, cap).await
    }

    /// See [`GitProvider::archive`]. GitHub heeds `export-ignore` and `export-subst`, and leaves submodules as empty folders.
    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let operation = "read archive";
        check_id(operation, commit)?;
        let max = self.config.max_archive_bytes;
        let call = self.get(operation, repository, &["tarball", commit.as_str()])?;
        let packed =
            call.stream(archive::packed(max), self.config.archive_time()).await.map_err(|error| {
                // An empty repository answers so.
                if error.kind() == ErrorKind::Conflict { no_commit(operation, commit) } else { error }
            })?;
        Ok(without_root(packed.into_stream(), Packing::TarGz, max))
    }

    /// The https address, with the token as password of `x-access-token`. It ends when the token does.
    async fn clone_access(&self, repository: &Repository, _commit: &CommitId) -> Result<CloneAccess> {
        let (owner, name) = owner_and_name("make clone address", repository)?;
        let url = format!("{}{owner}/{name}.git", self.config.web()?);
        let token = self.rest.token(Some(repository)).await?;
        let expires_at = token.as_ref().and_then(|token| token.expires_at);
        let credential =
            token.map(|token| CloneCredential { username: "x-access-token".into(), password: token.secret });
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
