//! What we write at GitHub: repositories, commits, pull requests.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, CommitId};
use kiops_core::provider::{
    Import, ImportProgress, MergeRequestInfo, MergeRequestState, NewCommit, NewMergeRequest, NewRepository,
    Owner, OwnerKind, Page, RepositoryInfo, Search, Visibility, Writes,
};
use kiops_core::{Error, ErrorKind, Result, Retry};
use serde::Deserialize;
use serde_json::json;

use super::GitHub;
use super::commits::At;
use super::provider::{is_name, is_of_app, owner_and_name};
use super::repositories::RepositoryObject;
use crate::shape::{newest, page};

const CREATE: &str = "create repository";
const OPEN: &str = "open merge request";
const CLOSE: &str = "close merge request";
const OWNERS: &str = "list owners";

#[derive(Deserialize)]
struct Account {
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct PullObject {
    number: u64,
    html_url: Option<String>,
    state: String,
    merged_at: Option<String>,
    head: Option<Side>,
    base: Option<Side>,
}

#[derive(Deserialize)]
struct Side {
    /// `None`: the repository is gone.
    repo: Option<SideRepository>,
}

#[derive(Deserialize)]
struct SideRepository {
    id: u64,
}

impl Account {
    fn into_owner(self, kind: OwnerKind) -> Owner {
        Owner { id: Some(self.id.to_string()), path: self.login, kind }
    }
}

impl PullObject {
    /// Whether it comes from the repository itself: an organisation's fork may have a branch of the same name.
    fn is_own(&self) -> bool {
        let repository =
            |side: &Option<Side>| side.as_ref().and_then(|side| side.repo.as_ref()).map(|repo| repo.id);
        repository(&self.head).is_some() && repository(&self.head) == repository(&self.base)
    }

    fn into_info(self) -> MergeRequestInfo {
        let state = match (self.state.as_str(), self.merged_at) {
            (_, Some(_)) => MergeRequestState::Merged,
            ("closed", None) => MergeRequestState::Closed,
            _ => MergeRequestState::Open,
        };
        MergeRequestInfo { number: self.number, web_url: self.html_url, state }
    }
}

impl GitHub {
    /// Whoever the token speaks for; `None`: an App.
    async fn account(&self, operation: &'static str) -> Result<Option<Account>> {
        let answer = self.rest.get(operation, &["user"])?.send().await?;
        if is_of_app(&answer) { Ok(None) } else { answer.good()?.read().map(Some) }
    }

    /// The newest of this state between two branches.
    async fn newest_request(
        &self,
        repository: &Repository,
        (source, target): (&BranchName, &BranchName),
        state: &str,
    ) -> Result<Option<MergeRequestInfo>> {
        let (owner, _) = owner_and_name(OPEN, repository)?;
        let call = self.get(OPEN, repository, &["pulls"])?.query("state", state);
        let call = call.query("head", &format!("{owner}:{source}")).query("base", target.as_str());
        let call = call.query("sort", "created").query("direction", "desc");
        let found: Vec<PullObject> = call.query("per_page", "100").read().await?;
        Ok(newest(found.into_iter().filter(PullObject::is_own).map(PullObject::into_info)))
    }
}

/// Repositories and commits need scope `repo`, or the permissions Administration, Contents and Pull requests: read and write. An App can
/// make repositories of organisations only.
#[async_trait]
impl Writes for GitHub {
    /// The token's user and the organisations that they belong to; of an App's token none. Which of them let a member make repositories, GitHub
    /// says only when it is tried.
    async fn owners(&self, search: &Search) -> Result<Page<Owner>> {
        let Some(user) = self.account(OWNERS).await? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let orgs: Vec<Account> = self.all(OWNERS, || self.rest.get(OWNERS, &["user", "orgs"])).await?;
        let orgs = orgs.into_iter().map(|org| org.into_owner(OwnerKind::Group));
        let mut owners: Vec<Owner> = orgs.chain([user.into_owner(OwnerKind::User)]).collect();
        owners.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        Ok(page(owners, search, |owner| &owner.path))
    }

    /// GitHub has no default branch to choose where there is no commit: what is told here is what GitHub means to use, and the first
    /// [`Writes::commit_files`] makes its own branch the default one.
    async fn create_repository(&self, new: &NewRepository) -> Result<RepositoryInfo> {
        // GitHub would make another name of it.
        if !is_name(&new.name) {
            return Err(Error::invalid(CREATE, "GitHub takes no such name")
                .with_remedy("use up to 100 ASCII letters, digits, `-`, `_` and `.`"));
        }
        let user = self.account(CREATE).await?;
        let is_own = user.is_some_and(|user| user.login.eq_ignore_ascii_case(&new.owner));
        let path: &[&str] = if is_own { &["user", "repos"] } else { &["orgs", &new.owner, "repos"] };
        let body = json!({
            "name": new.name,
            "description": new.description,
            "private": new.visibility == Visibility::Private,
            "auto_init": false,
        });
        let answer = self.rest.call(CREATE, Method::POST, path)?.json(&body)?.send().await?;
        if answer.status == 422 && answer.said().contains("already exists") {
            let message = format!("`{}` has a repository `{}` already", new.owner, new.name);
            return Err(Error::conflict(CREATE, message)
                .with_remedy("choose another name, or register the one that is there"));
        }
        if answer.status == 404 {
            return Err(Error::not_found(CREATE, "there is no such organisation, or the token may not make repositories in it")
                .with_remedy("choose an owner from the list; the token needs scope `repo`, or Administration: read and write"));
        }
        Ok(answer.good()?.read::<RepositoryObject>()?.into_info())
    }

    /// One commit, made of Git's own objects; a branch that has moved on meanwhile refuses it. Files that may be executed stay so.
    ///
    /// In a repository without commits GitHub makes no objects. There the first file comes by a call of its own, which makes the default
    /// branch, and where there are more files a second commit with the same message brings the rest; a call that was cut off between the two
    /// is taken up where it ended. A default branch of another name is renamed, which needs the rights of an admin.
    async fn commit_files(&self, repository: &Repository, commit: &NewCommit) -> Result<CommitId> {
        let at = self.where_is(repository, &commit.branch).await?;
        match (at, &commit.parent) {
            (At::Empty, None) => self.first_commit(repository, commit).await,
            (at, None) => self.begun_commit(repository, commit, at).await,
            (at, Some(parent)) => self.next_commit(repository, commit, at, parent).await,
        }
    }

    async fn open_merge_request(
        &self,
        repository: &Repository,
        new: &NewMergeRequest,
    ) -> Result<MergeRequestInfo> {
        let body = json!({
            "title": new.title,
            "body": new.description,
            "head": new.source.as_str(),
            "base": new.target.as_str(),
        });
        let answer = self.at(OPEN, Method::POST, repository, &["pulls"])?.json(&body)?.send().await?;
        if answer.status == 422
            && answer.said().contains("already exists")
            && let Some(found) = self.newest_request(repository, (&new.source, &new.target), "open").await?
        {
            return Ok(found);
        }
        // GitHub says so, too, of a branch that was made a moment ago.
        let soon = answer.status == 422 && answer.said().contains("No commits between");
        let answer =
            answer.good().map_err(|error| if soon { error.with_retry(Retry::Maybe) } else { error })?;
        Ok(answer.read::<PullObject>()?.into_info())
    }

    async fn merge_request(
        &self,
        repository: &Repository,
        source: &BranchName,
        target: &BranchName,
    ) -> Result<Option<MergeRequestInfo>> {
        self.newest_request(repository, (source, target), "all").await
    }

    async fn close_merge_request(&self, repository: &Repository, number: u64) -> Result<()> {
        let number = number.to_string();
        let found: PullObject = self.get(CLOSE, repository, &["pulls", &number])?.read().await?;
        if found.into_info().state != MergeRequestState::Open {
            return Ok(());
        }
        let call = self.at(CLOSE, Method::PATCH, repository, &["pulls", &number])?;
        call.json(&json!({ "state": "closed" }))?.good().await.map(drop)
    }

    async fn import_repository(&self, _: &Import) -> Result<RepositoryInfo> {
        Err(Error::unsupported("import repository", "GitHub has closed its interface for imports")
            .with_remedy("import it at GitHub: New, Import repository"))
    }

    async fn import_progress(&self, _: &Repository) -> Result<ImportProgress> {
        Err(Error::unsupported("read import", "GitHub has closed its interface for imports"))
    }
}

/// The branch is not where it should be.
pub(super) fn moved(branch: &BranchName, detail: &str) -> Error {
    Error::new(ErrorKind::Conflict, "commit files", format!("branch `{branch}` {detail}"))
        .with_remedy("read the files again and repeat the change on top of that")
}
