//! What is written: repositories, commits, pull requests, imports.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, CommitId, GitRef};
use kiops_core::provider::{
    GitProvider as _, Import, ImportProgress, MergeRequestInfo, MergeRequestState, NewCommit,
    NewMergeRequest, NewRepository, Owner, OwnerKind, Page, RepositoryInfo, Search, TreeEntryKind,
    Visibility, Writes,
};
use kiops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use url::Url;

use super::hooks::text;
use super::provider::{Facts, Gitea};
use crate::rest::objects::{Objects as _, no_commit};
use crate::shape::{check_path, newest, or_none, page};

const OWNERS: &str = "list owners";
const CREATE: &str = "create repository";
const COMMIT: &str = "commit files";
const OPEN: &str = "open merge request";
const CLOSE: &str = "close merge request";
const IMPORT: &str = "import repository";

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct Organisation {
    id: u64,
    /// Newer hosts send both, older ones the second alone.
    name: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Rights {
    #[serde(default)]
    can_create_repository: bool,
}

#[derive(Serialize)]
struct Change<'a> {
    operation: &'static str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// What is there now: the host refuses where it is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha: Option<String>,
}

#[derive(Deserialize)]
struct Changed {
    commit: Made,
}

#[derive(Deserialize)]
struct Made {
    sha: CommitId,
    #[serde(default)]
    parents: Option<Vec<Parent>>,
}

#[derive(Deserialize)]
struct Parent {
    sha: CommitId,
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    base: End,
    head: End,
    #[serde(default)]
    state: String,
    #[serde(default)]
    merged: bool,
}

#[derive(Deserialize)]
struct End {
    #[serde(rename = "ref")]
    name: String,
    /// The branch's name, also where the branch is gone and `ref` is `refs/pull/7/head`.
    #[serde(default)]
    label: String,
    /// -1: the repository is gone.
    #[serde(default)]
    repo_id: i64,
}

impl Gitea {
    async fn me(&self, operation: &'static str) -> Result<User> {
        self.rest.get(operation, &["user"])?.read().await
    }

    /// What a commit does on top of `at`, file by file; empty where everything is so already.
    async fn changes<'a>(
        &self,
        repository: &Repository,
        at: Option<&CommitId>,
        commit: &'a NewCommit,
    ) -> Result<Vec<Change<'a>>> {
        let mut changes = Vec::new();
        for file in &commit.files {
            check_path(COMMIT, &file.path, false)?;
            let there = match at {
                Some(at) => self.item(COMMIT, repository, at, &file.path).await?,
                None => None,
            };
            let operation = match (&file.content, &there) {
                (None, None) => continue,
                (None, Some(_)) => "delete",
                (Some(_), None) => "create",
                (Some(wanted), Some(item)) => {
                    let found = self.content(COMMIT, repository, &file.path, item, wanted.len()).await;
                    match found {
                        Ok(found)
                            if found.as_ref() == Some(wanted) && item.kind() != TreeEntryKind::Symlink =>
                        {
                            continue;
                        }
                        // Larger than what it is to hold: no need to read it.
                        Err(error) if error.kind() != ErrorKind::TooLarge => return Err(error),
                        _ => "update",
                    }
                }
            };
            changes.push(Change {
                operation,
                path: &file.path,
                content: file.content.as_ref().map(|content| STANDARD.encode(content)),
                sha: there.map(|item| item.sha),
            });
        }
        Ok(changes)
    }

    /// Makes a branch at a commit.
    async fn start_branch(&self, repository: &Repository, commit: &NewCommit, at: &CommitId) -> Result<()> {
        let body =
            serde_json::json!({ "new_branch_name": commit.branch.as_str(), "old_ref_name": at.as_str() });
        let answer = self.call(COMMIT, Method::POST, repository, &["branches"])?.json(&body)?.send().await?;
        match answer.status {
            404 => {
                self.commit(repository, at).await?.ok_or_else(|| no_commit(COMMIT, at))?;
                Err(answer.error())
            }
            // Somebody was faster: the commit finds out where it stands.
            409 => Ok(()),
            _ => answer.good().map(drop),
        }
    }

    /// The newest of this state between two branches.
    async fn newest_request(
        &self,
        repository: &Repository,
        (source, target): (&BranchName, &BranchName),
        state: &str,
    ) -> Result<Option<MergeRequestInfo>> {
        let call = || Ok(self.get(OPEN, repository, &["pulls"])?.query("state", state));
        let pulls: Vec<Pull> = self.list(OPEN, "the list of pull requests", call).await?;
        let same = |pull: &&Pull| {
            [&pull.head.name, &pull.head.label].into_iter().any(|name| name == source.as_str())
                && pull.base.name == target.as_str()
                && pull.head.repo_id == pull.base.repo_id
        };
        Ok(newest(pulls.iter().filter(same).map(|pull| self.request_info(repository, pull))))
    }

    fn request_info(&self, repository: &Repository, pull: &Pull) -> MergeRequestInfo {
        let web_url = Some(self.web_url(&repository.path, &format!("/pulls/{}", pull.number)));
        let state = match (pull.merged, pull.state.as_str()) {
            (true, _) => MergeRequestState::Merged,
            (false, "closed") => MergeRequestState::Closed,
            _ => MergeRequestState::Open,
        };
        MergeRequestInfo { number: pull.number, web_url, state }
    }
}

fn moved(commit: &NewCommit, why: &str) -> Error {
    Error::conflict(COMMIT, format!("branch `{}` {why}", commit.branch))
        .with_remedy("read the files again and repeat the change on top of what is there now")
}

#[async_trait]
impl Writes for Gitea {
    /// See [`Writes::owners`]. Each organisation on the page is asked for the user's rights in it, so a page may be shorter than the limit.
    async fn owners(&self, search: &Search) -> Result<Page<Owner>> {
        let me = self.me(OWNERS).await?;
        let call = || self.rest.get(OWNERS, &["user", "orgs"]);
        let organisations: Vec<Organisation> = self.list(OWNERS, "the list of organisations", call).await?;
        let owner =
            |id: u64, path: &str, kind| Owner { id: Some(id.to_string()), path: path.to_owned(), kind };
        let named = organisations.iter().filter_map(|one| {
            let name = one.name.as_ref().or(one.username.as_ref())?;
            Some(owner(one.id, name, OwnerKind::Group))
        });
        let mut all: Vec<Owner> = named.collect();
        all.push(owner(me.id, &me.login, OwnerKind::User));
        all.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        let Page { items, next } = page(all, search, |owner| owner.path.as_str());
        let mut allowed = Vec::with_capacity(items.len());
        for owner in items {
            if owner.kind == OwnerKind::Group {
                let path = ["users", &me.login, "orgs", &owner.path, "permissions"];
                let rights: Option<Rights> = self.rest.get(OWNERS, &path)?.find().await?;
                if !rights.is_some_and(|rights| rights.can_create_repository) {
                    continue;
                }
            }
            allowed.push(owner);
        }
        Ok(Page { items: allowed, next })
    }

    async fn create_repository(&self, new: &NewRepository) -> Result<RepositoryInfo> {
        let body = serde_json::json!({
            "name": new.name,
            "default_branch": new.default_branch.as_str(),
            "description": new.description,
            "private": new.visibility == Visibility::Private,
            "auto_init": false,
        });
        let me = self.me(CREATE).await?;
        let path: &[&str] = if new.owner.eq_ignore_ascii_case(&me.login) {
            &["user", "repos"]
        } else {
            &["orgs", &new.owner, "repos"]
        };
        let answer = self.rest.call(CREATE, Method::POST, path)?.json(&body)?.send().await?;
        match answer.status {
            409 => {
                let message = format!("`{}` has a repository `{}` already", new.owner, new.name);
                Err(Error::conflict(CREATE, message)
                    .with_remedy("choose another name, or register the one that is there"))
            }
            404 => Err(Error::not_found(CREATE, format!("there is no organisation `{}`", new.owner))
                .with_remedy("choose one from the list of owners")),
            _ => self.info(CREATE, answer.good()?.read()?),
        }
    }

    /// See [`Writes::commit_files`]; Gitea 1.20 and newer. There is no call that looks at the branch and commits in one: a push that comes between
    /// the two is not overwritten where it touches the same files (the host refuses), and is found by the new commit's parent where it
    /// touches others; the error says so then.
    async fn commit_files(&self, repository: &Repository, commit: &NewCommit) -> Result<CommitId> {
        let branch = GitRef::Branch(commit.branch.clone());
        let mut head = self.head(repository, &branch).await?;
        match (&head, &commit.parent) {
            (None, Some(parent)) => {
                self.start_branch(repository, commit, parent).await?;
                head = self.head(repository, &branch).await?;
            }
            (None, None) if !self.facts(COMMIT, repository).await?.empty => {
                return Err(moved(commit, "does not exist, and the repository has commits"));
            }
            _ => {}
        }
        let changes = self.changes(repository, head.as_ref(), commit).await?;
        if let Some(head) = &head {
            // Also a repetition of this very commit, which was cut off after it was made.
            if changes.is_empty() {
                return Ok(head.clone());
            }
            if commit.parent.as_ref() != Some(head) {
                return Err(moved(commit, &format!("is at {head}, not where it was expected")));
            }
        }
        let body = serde_json::json!({
            "branch": commit.branch.as_str(),
            "message": commit.message,
            "files": changes,
        });
        let answer = self.call(COMMIT, Method::POST, repository, &["contents"])?.json(&body)?.send().await?;
        let said = answer.said();
        // What was to be made is there, or what was to be changed is another or gone.
        let beaten = ["already exists", "does not match", "does not exist"];
        if answer.status == 409
            || matches!(answer.status, 404 | 422) && beaten.iter().any(|text| said.contains(text))
        {
            return Err(moved(commit, &format!("has moved on: {said}")));
        }
        let made = answer.good()?.read::<Changed>()?.commit;
        let parents = made.parents.unwrap_or_default();
        match (&commit.parent, parents.first()) {
            (Some(expected), Some(parent)) if parent.sha != *expected => {
                let message = format!("another push came first; commit {} lies on top of it", made.sha);
                Err(Error::conflict(COMMIT, message)
                    .with_remedy("look at the branch: both changes are on it"))
            }
            _ => Ok(made.sha),
        }
    }

    async fn open_merge_request(
        &self,
        repository: &Repository,
        new: &NewMergeRequest,
    ) -> Result<MergeRequestInfo> {
        let body = serde_json::json!({
            "head": new.source.as_str(),
            "base": new.target.as_str(),
            "title": new.title,
            "body": new.description,
        });
        let answer = self.call(OPEN, Method::POST, repository, &["pulls"])?.json(&body)?.send().await?;
        if answer.status == 409
            && let Some(found) = self.newest_request(repository, (&new.source, &new.target), "open").await?
        {
            return Ok(found);
        }
        Ok(self.request_info(repository, &answer.good()?.read()?))
    }

    /// See [`Writes::merge_request`]. Of those that are not open any more the host is asked only where none is.
    async fn merge_request(
        &self,
        repository: &Repository,
        source: &BranchName,
        target: &BranchName,
    ) -> Result<Option<MergeRequestInfo>> {
        match self.newest_request(repository, (source, target), "open").await? {
            Some(open) => Ok(Some(open)),
            None => self.newest_request(repository, (source, target), "closed").await,
        }
    }

    async fn close_merge_request(&self, repository: &Repository, number: u64) -> Result<()> {
        let number = number.to_string();
        let pull: Pull = self.get(CLOSE, repository, &["pulls", &number])?.read().await?;
        if self.request_info(repository, &pull).state != MergeRequestState::Open {
            return Ok(());
        }
        let call = self.call(CLOSE, Method::PATCH, repository, &["pulls", &number])?;
        call.json(&serde_json::json!({ "state": "closed" }))?.good().await.map(drop)
    }

    /// See [`Writes::import_repository`]: branches and tags, private, without issues. The host answers when the import has ended; where that takes
    /// longer than a call may, it goes on there, and [`Writes::import_progress`] tells how far it is.
    async fn import_repository(&self, import: &Import) -> Result<RepositoryInfo> {
        let url = Url::parse(&import.url).ok().filter(|url| {
            url.scheme() == "https" && url.username().is_empty() && url.password().is_none() && url.has_host()
        });
        let url = url.ok_or_else(|| {
            Error::invalid(IMPORT, "the address is no `https` address without user name")
                .with_remedy("write it like `https://github.com/team/app`, and give the token beside it")
        })?;
        let there = Repository { id: None, path: format!("{}/{}", import.owner, import.name) };
        if let Some(found) = self.imported(&there, &import.url).await? {
            return Ok(found);
        }
        let mut body = serde_json::json!({
            "clone_addr": import.url,
            "repo_owner": import.owner,
            "repo_name": import.name,
            "service": "git",
            "private": true,
        });
        if let Some(token) = &import.token {
            // GitHub and Gitea look at the token alone; GitLab and Bitbucket know it by these names.
            let user = if url.host_str() == Some("bitbucket.org") { "x-token-auth" } else { "oauth2" };
            body["auth_username"] = user.into();
            body["auth_password"] = text(IMPORT, token)?.into();
        }
        let answer = self.rest.call(IMPORT, Method::POST, &["repos", "migrate"])?.json(&body)?.send().await;
        let error = match answer {
            Ok(answer) => {
                let answer = answer.hiding(import.token.as_ref());
                if answer.status != 409 {
                    return self.info(IMPORT, answer.good()?.read()?);
                }
                answer.error()
            }
            Err(error) => error,
        };
        // It takes long, or another call was faster.
        match error.kind() {
            ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Conflict => {
                self.imported(&there, &import.url).await?.ok_or(error)
            }
            _ => Err(error),
        }
    }

    /// See [`Writes::import_progress`]. The host removes what it could not import whole, so that a repository that is not there is one whose import
    /// failed.
    async fn import_progress(&self, repository: &Repository) -> Result<ImportProgress> {
        let operation = "read import";
        let Some(facts) = or_none(self.facts(operation, repository).await)? else {
            let message = format!("{} has removed it: the import failed, or there was none", self.host());
            return Ok(ImportProgress::Failed { message });
        };
        Ok(if facts.empty { ImportProgress::Running { detail: None } } else { ImportProgress::Done })
    }
}

impl Gitea {
    /// The repository at this path, where it was imported from `url`. `Conflict` where it is another.
    async fn imported(&self, there: &Repository, url: &str) -> Result<Option<RepositoryInfo>> {
        let Some(facts) = or_none::<Facts>(self.facts(IMPORT, there).await)? else { return Ok(None) };
        if same_place(&facts.original_url, url) {
            return self.info(IMPORT, facts).map(Some);
        }
        Err(Error::conflict(IMPORT, format!("`{}` is there and was not imported from there", there.path))
            .with_remedy("choose another name"))
    }
}

/// Whether two addresses are one, whatever they end with.
fn same_place(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let url = Url::parse(url).ok()?;
        let path = url.path().trim_matches('/').trim_end_matches(".git").to_owned();
        Some((url.host_str()?.to_owned(), url.port(), path))
    };
    place(one).is_some() && place(one) == place(other)
}
