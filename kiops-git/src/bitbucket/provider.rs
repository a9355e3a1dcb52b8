//! Bitbucket Cloud as a [`GitProvider`].

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use kiops_core::event::{ChangedFiles, FileList, Repository};
use kiops_core::name::{BranchName, CommitId, GitRef, GitTag, ProviderLiteral, ProviderName};
use kiops_core::provider::{
    Admin, CloneAccess, Commit, Comparison, GitProvider, Head, Hooks, Page, Relation, RepositoryInfo, Search,
    Statuses, TreeEntry, TreeQuery, Writes,
};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, Result};
use serde::Deserialize;

use super::Bitbucket;
use super::host::{Hash, Links, PAGELEN, PageBody, RepositoryBody, clone_credential, quoted};
use crate::rest::archive::{Packing, packed, without_root};
use crate::rest::clone_url;
use crate::shape::page;

const NAME: ProviderLiteral = ProviderLiteral::new("bitbucket");
const LIST: &str = "list repositories";
const COMPARE: &str = "compare commits";

#[derive(Deserialize)]
struct RefBody {
    name: String,
    /// Of an annotated tag the commit behind it.
    target: Option<Hash>,
}

#[derive(Deserialize)]
struct CommitBody {
    hash: CommitId,
    message: Option<String>,
    author: Option<Person>,
    committer: Option<Person>,
    date: jiff::Timestamp,
    #[serde(default)]
    parents: Vec<Hash>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Person {
    /// `Name <address>`, as the commit says.
    raw: Option<String>,
}

impl Person {
    fn name(self) -> Option<String> {
        let name = self.raw?.split('<').next()?.trim().to_owned();
        (!name.is_empty()).then_some(name)
    }
}

/// A file that differs. Whatever its status says: a side that is missing tells more.
#[derive(Deserialize)]
struct DiffBody {
    old: Option<PathBody>,
    new: Option<PathBody>,
}

#[derive(Deserialize)]
struct PathBody {
    path: String,
}

impl Bitbucket {
    async fn refs(
        &self,
        operation: &'static str,
        repository: &Repository,
        class: &str,
        filter: Option<&str>,
    ) -> Result<Vec<RefBody>> {
        self.every(operation, || {
            let call = self.get(operation, repository, &["refs", class])?;
            let call = call.query("pagelen", &PAGELEN.to_string()).query("sort", "name");
            let call = call.query("fields", "next,values.name,values.target.hash");
            Ok(match filter {
                Some(filter) => call.query("q", filter),
                None => call,
            })
        })
        .await
    }

    /// Whether every commit that leads to `one` leads to `other` as well: it is the same or older.
    async fn is_within(&self, repository: &Repository, one: &CommitId, other: &CommitId) -> Result<bool> {
        let call = self.get(COMPARE, repository, &["commits"])?;
        let call = call.query("include", one.as_str()).query("exclude", other.as_str());
        let commits: PageBody<Hash> = call.query("pagelen", "1").read().await?;
        Ok(commits.values.is_empty())
    }

    async fn relation(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Relation> {
        Ok(if from == to {
            Relation::Same
        } else if self.is_within(repository, from, to).await? {
            Relation::Ahead
        } else if self.is_within(repository, to, from).await? {
            Relation::Behind
        } else {
            Relation::Diverged
        })
    }

    /// Up to `limit` repositories of a workspace, or of all where `workspace` is empty, and the next page.
    async fn repositories_of(
        &self,
        workspace: &str,
        text: &str,
        limit: &str,
        after: Option<&str>,
    ) -> Result<(Vec<RepositoryInfo>, Option<String>)> {
        let path: &[&str] =
            if workspace.is_empty() { &["repositories"] } else { &["repositories", workspace] };
        // In the order in which they were made: no page moves.
        let mut call = self.rest.get(LIST, path)?.query("role", "member").query("sort", "created_on");
        call = call.query("pagelen", limit);
        if let Some(text) = quoted(text).filter(|_| !text.is_empty()) {
            call = call.query("q", &format!("full_name ~ {text}"));
        }
        if let Some(after) = after {
            call = call.query("page", after);
        }
        let found: PageBody<RepositoryBody> = call.read().await?;
        let next = found.following(LIST, after)?;
        let wanted = text.to_lowercase();
        let found = found.values.into_iter().filter(|one| one.full_name.to_lowercase().contains(&wanted));
        Ok((found.map(RepositoryBody::into_info).collect::<Result<_>>()?, next))
    }
}

fn branch_head(body: RefBody) -> Option<Head> {
    let (name, target) = (BranchName::parse(body.name).ok()?, body.target?);
    Some(Head { git_ref: GitRef::Branch(name), commit: target.hash, object: None })
}

fn tag_head(body: RefBody) -> Option<Head> {
    let (name, target) = (GitTag::parse(body.name).ok()?, body.target?);
    Some(Head { git_ref: GitRef::Tag(name), commit: target.hash, object: None })
}

#[async_trait]
impl GitProvider for Bitbucket {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    /// Workspace by workspace, each in the order in which its repositories were made.
    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        if quoted(&search.text).is_none() {
            // No path has such signs.
            return Ok(Page { items: Vec::new(), next: None });
        }
        let limit = if search.limit == 0 { PAGELEN } else { search.limit.min(PAGELEN) }.to_string();
        let after = search.after.as_deref().unwrap_or_default();
        let (at, page) = after.split_once('/').unwrap_or((after, ""));
        let mut page = (!page.is_empty()).then(|| page.to_owned());
        let slugs: Vec<String> = match self.workspaces(LIST).await? {
            Some(all) => all.into_iter().map(|one| one.slug).filter(|slug| slug.as_str() >= at).collect(),
            None => vec![String::new()],
        };
        let mut slugs = slugs.iter().peekable();
        while let Some(slug) = slugs.next() {
            // The page counts in its own workspace only, which may be gone.
            let page = page.take().filter(|_| slug == at);
            let (items, next) = self.repositories_of(slug, &search.text, &limit, page.as_deref()).await?;
            if let Some(next) = next {
                return Ok(Page { items, next: Some(format!("{slug}/{next}")) });
            }
            let next = slugs.peek().map(|slug| format!("{slug}/"));
            if !items.is_empty() || next.is_none() {
                return Ok(Page { items, next });
            }
        }
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        let filter = quoted(&search.text).filter(|_| !search.text.is_empty());
        let filter = filter.map(|text| format!("name ~ {text}"));
        let bodies = self.refs("list branches", repository, "branches", filter.as_deref()).await?;
        let mut heads: Vec<Head> = bodies.into_iter().filter_map(branch_head).collect();
        heads.sort_unstable_by(|one, other| one.git_ref.branch().cmp(&other.git_ref.branch()));
        Ok(page(heads, search, |head| head.git_ref.branch().map_or("", BranchName::as_str)))
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        let operation = "list heads";
        let branches = self.refs(operation, repository, "branches", None).await?;
        let tags = self.refs(operation, repository, "tags", None).await?;
        let branches = branches.into_iter().filter_map(branch_head);
        Ok(branches.chain(tags.into_iter().filter_map(tag_head)).collect())
    }

    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        let path = match git_ref {
            GitRef::Branch(name) => ["refs", "branches", name.as_str()],
            GitRef::Tag(name) => ["refs", "tags", name.as_str()],
            GitRef::Other(_) => return Ok(None),
        };
        let found: Option<RefBody> = self.get("read head", repository, &path)?.find().await?;
        Ok(found.and_then(|found| found.target).map(|target| target.hash))
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        let call = self.get("read commit", repository, &["commit", commit.as_str()])?;
        let Some(body) = call.find::<CommitBody>().await? else { return Ok(None) };
        let people = [body.committer, body.author];
        Ok(Some(Commit {
            id: body.hash,
            message: body.message.unwrap_or_default(),
            author: people.into_iter().flatten().find_map(Person::name).unwrap_or_default(),
            timestamp: body.date,
            parents: body.parents.into_iter().map(|parent| parent.hash).collect(),
            web_url: body.links.and_then(Links::web),
        }))
    }

    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        // The newer one first: the other way round than git has it.
        let ends = format!("{to}..{from}");
        let most = self.config.max_changed_files;
        let mut diffs: Vec<DiffBody> = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let call = self.get(COMPARE, repository, &["diffstat", &ends])?;
            let call = call.query("topic", "false").query("renames", "false");
            let mut call = call.query("fields", "next,values.old.path,values.new.path");
            if let Some(next) = &next {
                call = call.query("page", next);
            }
            let found: PageBody<DiffBody> = call.read().await?;
            let (following, empty) = (found.following(COMPARE, next.as_deref())?, found.values.is_empty());
            diffs.extend(found.values);
            next = following;
            if next.is_none() || empty || diffs.len() > most {
                break;
            }
        }
        let is_whole = next.is_none() && diffs.len() <= most;
        let mut list = FileList::default();
        for diff in diffs.iter().take(most) {
            match (&diff.old, &diff.new) {
                (None, Some(new)) => list.added.push(&new.path),
                (Some(old), None) => list.removed.push(&old.path),
                (Some(old), Some(new)) if old.path != new.path => {
                    list.added.push(&new.path);
                    list.removed.push(&old.path);
                }
                (_, Some(new)) => list.modified.push(&new.path),
                (None, None) => {}
            }
        }
        let relation = self.relation(repository, from, to).await?;
        let files = if is_whole { ChangedFiles::Complete(list) } else { ChangedFiles::Partial(list) };
        Ok(Comparison { files, relation })
    }

    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        self.tree_at(repository, commit, query).await
    }

    async fn file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        self.file_at(repository, commit, path, cap).await
    }

    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let operation = "archive commit";
        let path = self.path(operation, repository).await?;
        let Some((workspace, slug)) = path.split_once('/') else {
            let message = format!("`{}` names no repository", path.escape_debug());
            return Err(Error::not_found(operation, message));
        };
        let file = format!("{commit}.tar.gz");
        let call = self.rest.below(operation, Method::GET, &self.web, &[workspace, slug, "get", &file])?;
        let max = self.config.max_archive_bytes;
        let call = call.about(repository).accept("*/*");
        let body = call.stream(packed(max), self.config.archive_time()).await?;
        Ok(without_root(body.into_stream(), Packing::TarGz, max))
    }

    /// By the token: `x-token-auth` for access and OAuth tokens, `x-bitbucket-api-token-auth` for an API token.
    async fn clone_access(&self, repository: &Repository, _: &CommitId) -> Result<CloneAccess> {
        let operation = "make clone address";
        let path = match repository.path.as_str() {
            "" => self.path(operation, repository).await?,
            path => path.to_owned(),
        };
        let url = clone_url(operation, &self.web, &path)?;
        let token = self.rest.token(Some(repository)).await?;
        let expires_at = token.as_ref().and_then(|token| token.expires_at);
        Ok(CloneAccess { url, credential: token.map(clone_credential), expires_at })
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
