//! What we write at GitLab. It needs the scope `api`.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, CommitId, GitRef, RepoId};
use kiops_core::provider::{
    GitProvider as _, Import, ImportProgress, MergeRequestInfo, MergeRequestState, NewCommit,
    NewMergeRequest, NewRepository, Owner, OwnerKind, Page, RepositoryInfo, Search, Visibility, Writes,
};
use kiops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use url::Url;

use super::GitLab;
use super::provider::ProjectBody;
use crate::rest::{next_parameter, without_user_info};
use crate::shape::{check_path, newest};

const CREATE: &str = "create repository";
const COMMIT: &str = "commit files";
const OPEN: &str = "open merge request";
const CLOSE: &str = "close merge request";
const IMPORT: &str = "import repository";
const GITHUB_API: &str = "https://api.github.com/";

#[derive(Deserialize)]
struct NamespaceBody {
    id: u64,
    full_path: String,
    kind: String,
}

#[derive(Serialize)]
struct Action<'a> {
    action: &'static str,
    file_path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// The commit that last changed the file, as far as we know: GitLab refuses where another one did since.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_commit_id: Option<String>,
}

#[derive(Deserialize)]
struct CommitBody {
    id: CommitId,
    #[serde(default)]
    parent_ids: Vec<CommitId>,
}

#[derive(Deserialize)]
struct MergeRequestBody {
    iid: u64,
    web_url: Option<String>,
    state: String,
    source_project_id: Option<u64>,
    target_project_id: Option<u64>,
}

impl GitLab {
    async fn namespace(&self, operation: &'static str, path: &str) -> Result<NamespaceBody> {
        let found: Option<NamespaceBody> = self.rest.get(operation, &["namespaces", path])?.find().await?;
        found.ok_or_else(|| {
            Error::not_found(operation, format!("there is no group or namespace `{}`", path.escape_debug()))
                .with_remedy("choose one from the list of owners")
        })
    }

    /// How a file compares with what it is to hold.
    async fn there(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        wanted: Option<&bytes::Bytes>,
    ) -> Result<There> {
        match self.file(repository, commit, path, wanted.map_or(0, bytes::Bytes::len)).await {
            Ok(None) => Ok(There::Missing),
            Ok(content) => Ok(if content.as_ref() == wanted { There::Same } else { There::Other }),
            // Larger than what it is to hold: no need to read it.
            Err(error) if error.kind() == ErrorKind::TooLarge => Ok(There::Other),
            Err(error) => Err(error),
        }
    }

    /// The commit that last changed a file, where GitLab tells.
    async fn last_change(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
    ) -> Result<Option<String>> {
        let call = self.project(COMMIT, Method::HEAD, repository, &["repository", "files", path])?;
        let answer = call.query("ref", commit.as_str()).good().await?;
        Ok(answer.header("x-gitlab-last-commit-id").map(str::to_owned))
    }

    /// What a commit does, file by file; empty where everything is so already.
    async fn actions<'a>(&self, repository: &Repository, commit: &'a NewCommit) -> Result<Vec<Action<'a>>> {
        let mut actions = Vec::new();
        for change in &commit.files {
            check_path(COMMIT, &change.path, false)?;
            let wanted = change.content.as_ref();
            let there = match &commit.parent {
                Some(parent) => self.there(repository, parent, &change.path, wanted).await?,
                None => There::Missing,
            };
            let action = match (wanted, there) {
                (None, There::Missing) | (Some(_), There::Same) => continue,
                (None, _) => "delete",
                (Some(_), There::Missing) => "create",
                (Some(_), There::Other) => "update",
            };
            let last_commit_id = match (&commit.parent, action) {
                (Some(parent), "update" | "delete") => {
                    self.last_change(repository, parent, &change.path).await?
                }
                _ => None,
            };
            actions.push(Action {
                last_commit_id,
                action,
                file_path: &change.path,
                content: change.content.as_ref().map(|content| STANDARD.encode(content)),
                encoding: change.content.as_ref().map(|_| "base64"),
            });
        }
        Ok(actions)
    }

    /// The newest of this state between two branches. A fork's may have a branch of the same name.
    async fn newest_request(
        &self,
        repository: &Repository,
        (source, target): (&BranchName, &BranchName),
        state: &str,
    ) -> Result<Option<MergeRequestInfo>> {
        let call = self.get(OPEN, repository, &["merge_requests"])?.query("state", state);
        let call = call.query("source_branch", source.as_str()).query("target_branch", target.as_str());
        let call = call.query("order_by", "created_at").query("sort", "desc");
        let found: Vec<MergeRequestBody> = call.query("per_page", "100").read().await?;
        let own = |request: &MergeRequestBody| request.source_project_id == request.target_project_id;
        Ok(newest(found.into_iter().filter(own).map(MergeRequestBody::into_info)))
    }

    /// The number that GitHub gives a repository: what GitLab's importer wants.
    async fn github_id(&self, import: &Import) -> Result<u64> {
        #[derive(Deserialize)]
        struct Body {
            id: u64,
        }
        let refuse = |message: &str| {
            Error::invalid(IMPORT, message.to_owned())
                .with_remedy("write the address like `https://github.com/team/app`")
        };
        let url = Url::parse(&import.url).map_err(|_| refuse("the address is no URL"))?;
        if url.scheme() != "https" || url.host_str() != Some("github.com") || !url.username().is_empty() {
            return Err(refuse("GitLab imports from github.com"));
        }
        let segments: Vec<&str> = url.path().trim_matches('/').split('/').collect();
        let [owner, name] = segments[..] else { return Err(refuse("the address names no repository")) };
        let name = name.trim_end_matches(".git");
        let call = self.rest.below(IMPORT, Method::GET, GITHUB_API, &["repos", owner, name])?;
        let body: Body = call.instead(import.token.as_ref()).read().await?;
        Ok(body.id)
    }
}

/// How a file compares with what it is to hold.
enum There {
    Missing,
    Same,
    Other,
}

impl MergeRequestBody {
    fn into_info(self) -> MergeRequestInfo {
        let state = match self.state.as_str() {
            "merged" => MergeRequestState::Merged,
            "closed" => MergeRequestState::Closed,
            // `locked` is what it is while it is being merged.
            _ => MergeRequestState::Open,
        };
        MergeRequestInfo { number: self.iid, web_url: self.web_url, state }
    }
}

#[async_trait]
impl Writes for GitLab {
    async fn owners(&self, search: &Search) -> Result<Page<Owner>> {
        let size = if search.limit == 0 { 100 } else { search.limit.min(100) };
        let mut call = self.rest.get("list owners", &["namespaces"])?.query("per_page", &size.to_string());
        if !search.text.is_empty() {
            call = call.query("search", &search.text);
        }
        if let Some(after) = &search.after {
            call = call.query("page", after);
        }
        let answer = call.good().await?;
        let owner = |body: NamespaceBody| Owner {
            id: Some(body.id.to_string()),
            path: body.full_path,
            kind: if body.kind == "user" { OwnerKind::User } else { OwnerKind::Group },
        };
        let items = answer.read::<Vec<NamespaceBody>>()?.into_iter().map(owner).collect();
        let next = next_parameter(&answer.headers, "page").filter(|next| search.after.as_ref() != Some(next));
        Ok(Page { items, next })
    }

    async fn create_repository(&self, new: &NewRepository) -> Result<RepositoryInfo> {
        let namespace = self.namespace(CREATE, &new.owner).await?;
        let body = serde_json::json!({
            "name": new.name,
            "path": new.name,
            "namespace_id": namespace.id,
            "default_branch": new.default_branch.as_str(),
            "description": new.description,
            "visibility": match new.visibility { Visibility::Private => "private", Visibility::Public => "public" },
            "initialize_with_readme": false,
        });
        let answer = self.rest.call(CREATE, Method::POST, &["projects"])?.json(&body)?.send().await?;
        if answer.status == 400 && answer.said().contains("has already been taken") {
            let message = format!("`{}` has a project `{}` already", new.owner, new.name);
            return Err(Error::conflict(CREATE, message)
                .with_remedy("choose another name, or register the one that is there"));
        }
        answer.good()?.read::<ProjectBody>()?.into_info()
    }

    /// GitLab has no call that looks at the branch and commits in one. A push that comes between the two and touches the same files is
    /// refused by GitLab; one that touches others is found afterwards by the new commit's parent: both are on the branch then, and the error
    /// says so.
    async fn commit_files(&self, repository: &Repository, commit: &NewCommit) -> Result<CommitId> {
        let branch = GitRef::Branch(commit.branch.clone());
        let head = self.head(repository, &branch).await?;
        let moved = |at: &CommitId| {
            Error::conflict(
                COMMIT,
                format!("branch `{}` is at {at}, not where it was expected", commit.branch),
            )
            .with_remedy("read the files again and repeat the change on top of that")
        };
        let mut actions = self.actions(repository, commit).await?;
        if let Some(head) = &head {
            if commit.parent.as_ref() != Some(head) {
                // A repetition of this very commit, which was cut off after it was made.
                let again = NewCommit { parent: Some(head.clone()), ..commit.clone() };
                let there = self.actions(repository, &again).await?.is_empty();
                return if there { Ok(head.clone()) } else { Err(moved(head)) };
            }
            if actions.is_empty() {
                return Ok(head.clone());
            }
        }
        if head.is_none() {
            // Of a branch that is to be made GitLab would ask the default branch.
            actions.iter_mut().for_each(|action| action.last_commit_id = None);
        }
        let mut body = serde_json::json!({
            "branch": commit.branch.as_str(),
            "commit_message": commit.message,
            "actions": actions,
        });
        if let (None, Some(parent)) = (&head, &commit.parent) {
            body["start_sha"] = parent.as_str().into();
        }
        let call = self.project(COMMIT, Method::POST, repository, &["repository", "commits"])?;
        let answer = call.json(&body)?.send().await?;
        let said = answer.said();
        // What was to be made is there, or what was to be changed is not: somebody was faster.
        if answer.status == 400
            && ["already exists", "doesn't exist", "has changed since"].iter().any(|text| said.contains(text))
        {
            return Err(Error::conflict(COMMIT, format!("the branch has moved on: {said}"))
                .with_remedy("read the files again and repeat the change on top of that"));
        }
        let made: CommitBody = answer.good()?.read()?;
        match made.parent_ids.first() {
            Some(parent) if commit.parent.as_ref().is_some_and(|expected| expected != parent) => {
                Err(Error::conflict(
                    COMMIT,
                    format!("another push came first; commit {} lies on top of it", made.id),
                )
                .with_remedy("look at the branch: both changes are on it"))
            }
            _ => Ok(made.id),
        }
    }

    async fn open_merge_request(
        &self,
        repository: &Repository,
        new: &NewMergeRequest,
    ) -> Result<MergeRequestInfo> {
        let between = (&new.source, &new.target);
        if let Some(found) = self.newest_request(repository, between, "opened").await? {
            return Ok(found);
        }
        let body = serde_json::json!({
            "source_branch": new.source.as_str(),
            "target_branch": new.target.as_str(),
            "title": new.title,
            "description": new.description,
        });
        let answer =
            self.project(OPEN, Method::POST, repository, &["merge_requests"])?.json(&body)?.send().await?;
        if answer.status == 409
            && let Some(found) = self.newest_request(repository, between, "opened").await?
        {
            return Ok(found);
        }
        Ok(answer.good()?.read::<MergeRequestBody>()?.into_info())
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
        let found: MergeRequestBody =
            self.get(CLOSE, repository, &["merge_requests", &number])?.read().await?;
        if found.into_info().state != MergeRequestState::Open {
            return Ok(());
        }
        let call = self.project(CLOSE, Method::PUT, repository, &["merge_requests", &number])?;
        call.json(&serde_json::json!({ "state_event": "close" }))?.good().await.map(drop)
    }

    /// From github.com, by the importer that an administrator has switched on ("Import sources"). The token needs GitHub's scope `repo`.
    async fn import_repository(&self, import: &Import) -> Result<RepositoryInfo> {
        let path = format!("{}/{}", import.owner, import.name);
        let there = Repository { id: None, path };
        if let Some(found) = self.get(IMPORT, &there, &[])?.find::<ImportedBody>().await? {
            let source = found.import_url.as_deref().unwrap_or_default();
            let is_ours = match &found.import_url {
                Some(_) => same_place(source, &import.url),
                // GitLab tells it to the project's owners only.
                None => found.import_type.as_deref() == Some("github"),
            };
            if is_ours {
                return found.project.into_info();
            }
            return Err(Error::conflict(IMPORT, format!("`{}` is there and was not imported", there.path))
                .with_remedy("choose another name"));
        }
        let Some(token) = import.token.as_ref().and_then(|token| token.expose_str()) else {
            return Err(Error::new(
                ErrorKind::Unauthorized,
                IMPORT,
                "GitLab's importer wants a token of GitHub's",
            )
            .with_remedy("give a personal access token of GitHub's with the scope `repo`"));
        };
        let body = serde_json::json!({
            "personal_access_token": token,
            "repo_id": self.github_id(import).await?,
            "target_namespace": import.owner,
            "new_name": import.name,
        });
        #[derive(Deserialize)]
        struct Started {
            id: u64,
            full_path: Option<String>,
        }
        let answer = self.rest.call(IMPORT, Method::POST, &["import", "github"])?.json(&body)?.send().await?;
        let answer = answer.hiding(import.token.as_ref());
        let started: Started = answer.good()?.read()?;
        Ok(RepositoryInfo {
            repository: Repository {
                id: Some(RepoId::parse(started.id.to_string())?),
                path: started.full_path.map_or(there.path, |path| path.trim_start_matches('/').to_owned()),
            },
            default_branch: None,
            web_url: None,
        })
    }

    async fn import_progress(&self, repository: &Repository) -> Result<ImportProgress> {
        #[derive(Deserialize)]
        struct Progress {
            import_status: String,
            import_error: Option<String>,
            #[serde(default)]
            failed_relations: Vec<serde_json::Value>,
            stats: Option<serde_json::Value>,
        }
        let progress: Progress = self.get("read import", repository, &["import"])?.read().await?;
        Ok(match progress.import_status.as_str() {
            "scheduled" => ImportProgress::Waiting,
            "started" => ImportProgress::Running { detail: progress.stats.map(|stats| stats.to_string()) },
            "finished" if progress.failed_relations.is_empty() => ImportProgress::Done,
            "finished" => ImportProgress::Failed {
                message: format!("{} parts could not be imported", progress.failed_relations.len()),
            },
            "none" => ImportProgress::Failed { message: "this project was not imported".into() },
            _ => ImportProgress::Failed {
                message: progress
                    .import_error
                    .map_or_else(|| "GitLab does not say why".into(), |error| without_user_info(&error)),
            },
        })
    }
}

#[derive(Deserialize)]
struct ImportedBody {
    #[serde(flatten)]
    project: ProjectBody,
    import_type: Option<String>,
    import_url: Option<String>,
}

/// Whether two addresses are one, whatever stands before the host.
fn same_place(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let url = Url::parse(url).ok()?;
        let path = url.path().trim_matches('/').trim_end_matches(".git").to_lowercase();
        Some((url.host_str()?.to_owned(), path))
    };
    place(one).is_some() && place(one) == place(other)
}
