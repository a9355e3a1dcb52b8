//! What we write at Bitbucket Cloud. It needs the scopes `repository:write` and `pullrequest:write`, and `repository:admin` for a new
//! repository.

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, CommitId, GitRef};
use kiops_core::provider::{
    FileChange, GitProvider as _, Import, ImportProgress, MergeRequestInfo, MergeRequestState, NewCommit,
    NewMergeRequest, NewRepository, Owner, OwnerKind, Page, RepositoryInfo, Search, Visibility, Writes,
};
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::Bitbucket;
use super::host::{Links, RepositoryBody, Workspace, quoted};
use crate::rest::Multipart;
use crate::shape::{check_path, newest, page};

const OWNERS: &str = "list owners";
const CREATE: &str = "create repository";
const COMMIT: &str = "commit files";
const OPEN: &str = "open merge request";
const CLOSE: &str = "close merge request";
const IMPORT: &str = "import repository";

#[derive(Deserialize)]
struct PullRequestBody {
    id: u64,
    state: Option<String>,
    links: Option<Links>,
    source: Option<Side>,
    destination: Option<Side>,
}

#[derive(Deserialize)]
struct Side {
    branch: Option<Branch>,
    repository: Option<SideRepository>,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize)]
struct SideRepository {
    uuid: Option<String>,
}

impl Side {
    fn is(&self, branch: &str) -> bool {
        self.branch.as_ref().is_some_and(|one| one.name == branch)
    }

    fn repository(&self) -> Option<&str> {
        self.repository.as_ref()?.uuid.as_deref()
    }
}

impl PullRequestBody {
    /// Whether it goes from one of these branches to the other, in one repository.
    fn is(&self, (from, to): (&BranchName, &BranchName)) -> bool {
        let (Some(source), Some(destination)) = (&self.source, &self.destination) else { return false };
        source.is(from.as_str())
            && destination.is(to.as_str())
            && source.repository().is_some()
            && source.repository() == destination.repository()
    }

    fn into_info(self) -> MergeRequestInfo {
        let state = match self.state.as_deref() {
            Some("MERGED") => MergeRequestState::Merged,
            Some("DECLINED" | "SUPERSEDED") => MergeRequestState::Closed,
            _ => MergeRequestState::Open,
        };
        MergeRequestInfo { number: self.id, web_url: self.links.and_then(Links::web), state }
    }
}

/// What a commit does to one file.
struct Change<'a> {
    path: &'a str,
    content: Option<&'a Bytes>,
    /// A file that is executable stays so only where that is said again.
    is_executable: bool,
}

impl Bitbucket {
    /// What is left to do for a file to be as wanted; `None`: nothing.
    async fn change<'a>(
        &self,
        repository: &Repository,
        parent: Option<&CommitId>,
        change: &'a FileChange,
    ) -> Result<Option<Change<'a>>> {
        check_path(COMMIT, &change.path, false)?;
        if change.path.contains(|c: char| c == '"' || c == '\\' || c.is_control()) {
            let message = format!("`{}` cannot be written in Bitbucket's form", change.path.escape_debug());
            return Err(Error::invalid(COMMIT, message)
                .with_remedy("use names without quotes, backslashes and control characters"));
        }
        let there = match parent {
            Some(parent) => self.about(COMMIT, repository, parent, &change.path).await?,
            None => None,
        };
        let there = there.filter(|there| !there.is_folder());
        let is_executable = there.as_ref().is_some_and(|there| there.has("executable"));
        let is_same = match (&change.content, &there, parent) {
            (None, None, _) => true,
            (Some(content), Some(there), Some(parent)) => {
                let could_be =
                    !there.has("link") && there.size.is_none_or(|size| size == content.len() as u64);
                could_be && self.has(repository, parent, &change.path, content).await?
            }
            _ => false,
        };
        let change = Change { path: &change.path, content: change.content.as_ref(), is_executable };
        Ok((!is_same).then_some(change))
    }

    async fn has(&self, repository: &Repository, at: &CommitId, path: &str, content: &Bytes) -> Result<bool> {
        match self.file(repository, at, path, content.len()).await {
            Ok(found) => Ok(found.as_ref() == Some(content)),
            // Larger than what it is to hold.
            Err(error) if error.kind() == ErrorKind::TooLarge => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn changes<'a>(
        &self,
        repository: &Repository,
        at: Option<&CommitId>,
        commit: &'a NewCommit,
    ) -> Result<Vec<Change<'a>>> {
        let mut changes = Vec::new();
        for file in &commit.files {
            changes.extend(self.change(repository, at, file).await?);
        }
        Ok(changes)
    }

    /// Makes the branch where there is nothing to commit.
    async fn create_branch(&self, repository: &Repository, commit: &NewCommit, at: &CommitId) -> Result<()> {
        let body = serde_json::json!({ "name": commit.branch.as_str(), "target": { "hash": at } });
        let call = self.call(COMMIT, Method::POST, repository, &["refs", "branches"])?;
        call.json(&body)?.good().await.map(drop)
    }

    /// The newest in one of these states between two branches.
    async fn newest_request(
        &self,
        repository: &Repository,
        between: (&BranchName, &BranchName),
        states: &[&str],
    ) -> Result<Option<MergeRequestInfo>> {
        let names = (quoted(between.0.as_str()), quoted(between.1.as_str()));
        let filter = match names {
            (Some(source), Some(target)) => {
                Some(format!("source.branch.name = {source} AND destination.branch.name = {target}"))
            }
            _ => None,
        };
        let call = || {
            let call = self.get(OPEN, repository, &["pullrequests"])?;
            let call = states.iter().fold(call, |call, state| call.query("state", state));
            // More than fifty are refused here.
            let call = call.query("pagelen", "50");
            Ok(match &filter {
                Some(filter) => call.query("q", filter),
                None => call,
            })
        };
        let found: Vec<PullRequestBody> = self.every(OPEN, call).await?;
        let found = found.into_iter().filter(|request| request.is(between));
        Ok(newest(found.map(PullRequestBody::into_info)))
    }
}

fn moved(branch: &impl std::fmt::Display, said: &str) -> Error {
    Error::conflict(COMMIT, format!("branch `{branch}` is not where it was expected: {said}"))
        .with_remedy("read the files again and repeat the change on top of that")
}

/// The commit that an answer's `Location` ends with. Nothing else of the address is used.
fn made(location: &str) -> Option<CommitId> {
    let path = location.split(['?', '#']).next()?.trim_end_matches('/');
    CommitId::parse(path.rsplit('/').next()?).ok()
}

fn form(commit: &NewCommit, changes: &[Change<'_>]) -> Multipart {
    let mut form = Multipart::default();
    form.field("message", &commit.message);
    form.field("branch", commit.branch.as_str());
    if let Some(parent) = &commit.parent {
        form.field("parents", parent.as_str());
    }
    for change in changes {
        // With a slash no file has the name of a field.
        let path = format!("/{}", change.path);
        match change.content {
            Some(content) => {
                let further = if change.is_executable { "; x-attributes=\"executable\"" } else { "" };
                form.file(&path, further, content);
            }
            None => form.field("files", &path),
        }
    }
    form
}

#[async_trait]
impl Writes for Bitbucket {
    /// The workspaces that the token's owner is in; where the token is nobody's there are none to choose from.
    async fn owners(&self, search: &Search) -> Result<Page<Owner>> {
        let owner =
            |workspace: Workspace| Owner { id: workspace.uuid, path: workspace.slug, kind: OwnerKind::Group };
        let all = self.workspaces(OWNERS).await?.unwrap_or_default();
        Ok(page(all.into_iter().map(owner).collect(), search, |owner| &owner.path))
    }

    /// In the oldest project of the workspace. The default branch is the one that gets the first commit.
    async fn create_repository(&self, new: &NewRepository) -> Result<RepositoryInfo> {
        let slug = new.name.to_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if slug.is_empty() || slug.len() > 62 || !slug.chars().all(plain) {
            let message = format!("`{}` is no name for a repository at Bitbucket", new.name.escape_debug());
            return Err(Error::invalid(CREATE, message)
                .with_remedy("use letters, digits, `-`, `_` and `.`, 62 of them at most"));
        }
        let body = serde_json::json!({
            "type": "repository",
            "scm": "git",
            "name": new.name,
            "description": new.description,
            "is_private": new.visibility == Visibility::Private,
        });
        // PUT would change the one that is there.
        let call = self.rest.call(CREATE, Method::POST, &["repositories", &new.owner, &slug])?;
        let answer = call.json(&body)?.send().await?;
        if answer.status == 400 && answer.said().contains("already exists") {
            let message = format!("`{}` has a repository `{slug}` already", new.owner);
            return Err(Error::conflict(CREATE, message)
                .with_remedy("choose another name, or register the one that is there"));
        }
        let mut info = answer.good()?.read::<RepositoryBody>()?.into_info()?;
        info.default_branch.get_or_insert_with(|| new.default_branch.clone());
        Ok(info)
    }

    /// Bitbucket itself refuses the commit where the branch is not at its parent. Where the branch is new, a branch of that name that
    /// somebody makes in the meantime is refused the same way.
    async fn commit_files(&self, repository: &Repository, commit: &NewCommit) -> Result<CommitId> {
        let branch = GitRef::Branch(commit.branch.clone());
        let head = self.head(repository, &branch).await?;
        if let Some(head) = head.as_ref().filter(|head| commit.parent.as_ref() != Some(*head)) {
            // A repetition of this very commit, which was cut off after it was made.
            let left = self.changes(repository, Some(head), commit).await?;
            return if left.is_empty() {
                Ok(head.clone())
            } else {
                Err(moved(&commit.branch, &format!("it is at {head}")))
            };
        }
        let changes = self.changes(repository, commit.parent.as_ref(), commit).await?;
        match (&head, &commit.parent) {
            (Some(head), _) if changes.is_empty() => return Ok(head.clone()),
            (None, Some(parent)) if changes.is_empty() => {
                self.create_branch(repository, commit, parent).await?;
                return Ok(parent.clone());
            }
            // Bitbucket would put it on top of the main branch.
            (None, None) if self.info(COMMIT, repository).await?.mainbranch.is_some() => {
                return Err(moved(&commit.branch, "the repository has commits already"));
            }
            _ => {}
        }
        let call = self.call(COMMIT, Method::POST, repository, &["src"])?;
        let answer = call.multipart(&form(commit, &changes))?.send().await?;
        if answer.status == 409 {
            return Err(moved(&commit.branch, &answer.said()));
        }
        let answer = answer.good()?;
        match answer.header("location").and_then(made) {
            Some(made) => Ok(made),
            None => self.head(repository, &branch).await?.ok_or_else(|| {
                Error::unavailable(COMMIT, "Bitbucket did not answer as documented: there is no new commit")
            }),
        }
    }

    async fn open_merge_request(
        &self,
        repository: &Repository,
        new: &NewMergeRequest,
    ) -> Result<MergeRequestInfo> {
        let between = (&new.source, &new.target);
        if let Some(found) = self.newest_request(repository, between, &["OPEN"]).await? {
            return Ok(found);
        }
        let body = serde_json::json!({
            "type": "pullrequest",
            "title": new.title,
            "description": new.description,
            "source": { "branch": { "name": new.source.as_str() } },
            "destination": { "branch": { "name": new.target.as_str() } },
        });
        let call = self.call(OPEN, Method::POST, repository, &["pullrequests"])?.json(&body)?;
        Ok(call.read::<PullRequestBody>().await?.into_info())
    }

    async fn merge_request(
        &self,
        repository: &Repository,
        source: &BranchName,
        target: &BranchName,
    ) -> Result<Option<MergeRequestInfo>> {
        self.newest_request(repository, (source, target), &["OPEN", "MERGED", "DECLINED", "SUPERSEDED"]).await
    }

    /// Declines it: Bitbucket's word for closing without a merge.
    async fn close_merge_request(&self, repository: &Repository, number: u64) -> Result<()> {
        let number = number.to_string();
        let found: PullRequestBody = self.get(CLOSE, repository, &["pullrequests", &number])?.read().await?;
        if found.into_info().state != MergeRequestState::Open {
            return Ok(());
        }
        let call = self.call(CLOSE, Method::POST, repository, &["pullrequests", &number, "decline"])?;
        call.good().await.map(drop)
    }

    /// `Unsupported`: Bitbucket's importer is on its web pages only.
    async fn import_repository(&self, _: &Import) -> Result<RepositoryInfo> {
        Err(Error::unsupported(IMPORT, "Bitbucket Cloud imports nothing through its interface")
            .with_remedy("import it on the web: Create -> Repository -> Import repository"))
    }

    /// `Unsupported`, like the import.
    async fn import_progress(&self, _: &Repository) -> Result<ImportProgress> {
        Err(Error::unsupported("read import", "Bitbucket Cloud imports nothing through its interface")
            .with_remedy("look at the repository on the web"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_commit_is_read_off_the_end_of_an_address() {
        let id = "a".repeat(40);
        let found = made(&format!("https://x.example.com/2.0/repositories/t/a/commit/{id}?x=1"));
        assert_eq!(found.unwrap().as_str(), id);
        for bad in ["", "https://x.example.com/", "commit/xyz"] {
            assert_eq!(made(bad), None);
        }
    }
}
