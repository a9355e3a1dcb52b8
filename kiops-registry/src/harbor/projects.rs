//! Harbor's projects and what is in them.

use async_trait::async_trait;
use http::Method;
use kiops_core::image::{
    Artifact, CreatedProject, ImageRepository, Listed, Listing, NewProject, NewRobot, Project, Projects,
    Robot, StorageQuota,
};
use kiops_core::name::ImageName;
use kiops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{Harbor, project_name};
use crate::interface::moment;

const CREATE: &str = "create project";

/// A project as Harbor shows it.
#[derive(Deserialize)]
pub(super) struct ProjectBody {
    pub(super) project_id: u64,
    pub(super) name: String,
    #[serde(default)]
    registry_id: Option<i64>,
    #[serde(default)]
    creation_time: Option<String>,
    #[serde(default)]
    repo_count: Option<u64>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    public: Option<String>,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    quota: Option<QuotaBody>,
}

#[derive(Deserialize)]
struct QuotaBody {
    #[serde(default)]
    hard: Amounts,
    #[serde(default)]
    used: Amounts,
}

#[derive(Default, Deserialize)]
struct Amounts {
    /// Bytes; -1 is without a limit.
    #[serde(default)]
    storage: Option<i64>,
}

#[derive(Serialize)]
struct Wanted<'a> {
    project_name: &'a str,
    metadata: WantedMetadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_limit: Option<i64>,
}

#[derive(Serialize)]
struct WantedMetadata {
    public: &'static str,
}

#[derive(Deserialize)]
struct RepositoryBody {
    name: String,
    #[serde(default)]
    artifact_count: Option<u64>,
    #[serde(default)]
    update_time: Option<String>,
}

impl ProjectBody {
    pub(super) fn is_cache(&self) -> bool {
        self.registry_id.is_some_and(|id| id > 0)
    }

    fn into_project(self, quota: Option<StorageQuota>) -> Project {
        Project {
            id: self.project_id.to_string(),
            public: self.metadata.as_ref().and_then(|data| data.public.as_deref()) == Some("true"),
            is_cache: self.is_cache(),
            repositories: self.repo_count,
            created_at: moment(self.creation_time.as_deref()),
            name: self.name,
            quota,
        }
    }
}

impl From<QuotaBody> for StorageQuota {
    fn from(body: QuotaBody) -> Self {
        let bytes = |amount: Option<i64>| amount.and_then(|bytes| u64::try_from(bytes).ok());
        Self { limit: bytes(body.hard.storage), used: bytes(body.used.storage).unwrap_or_default() }
    }
}

impl Harbor {
    /// A project of this name, or `None`.
    pub(super) async fn find_project(
        &self,
        operation: &'static str,
        name: &str,
    ) -> Result<Option<ProjectBody>> {
        let call = self.api.get(operation, &["projects", project_name(name)?]).by_name();
        let answer = call.needs("a part in the project: see its Members").send().await?;
        if answer.status == 404 { Ok(None) } else { answer.good()?.read().map(Some) }
    }

    /// What it may hold; `None` where the account may not know.
    async fn quota(&self, operation: &'static str, name: &str) -> Result<Option<StorageQuota>> {
        let answer = self.api.get(operation, &["projects", name, "summary"]).by_name().send().await?;
        if matches!(answer.status, 403 | 404) {
            return Ok(None);
        }
        let summary: Summary = answer.good()?.read()?;
        Ok(summary.quota.map(StorageQuota::from))
    }

    async fn project_and_quota(&self, operation: &'static str, name: &str) -> Result<Option<Project>> {
        let Some(body) = self.find_project(operation, name).await? else { return Ok(None) };
        Ok(Some(body.into_project(self.quota(operation, name).await?)))
    }
}

#[async_trait]
impl Projects for Harbor {
    async fn list(&self, wanted: &Listing) -> Result<Listed<Project>> {
        let Some(text) = searched(&wanted.text.to_ascii_lowercase()) else { return Ok(nothing()) };
        let mut call = self.api.get("list projects", &["projects"]).query("sort", "name");
        if !text.is_empty() {
            call = call.query("name", &text);
        }
        let page: Listed<ProjectBody> = self.api.page(call, wanted).await?;
        let items = page.items.into_iter().map(|body| body.into_project(None)).collect();
        Ok(Listed { items, next: page.next, total: page.total })
    }

    async fn find(&self, name: &str) -> Result<Option<Project>> {
        self.project_and_quota("read project", name).await
    }

    async fn create(&self, wanted: &NewProject) -> Result<CreatedProject> {
        let name = project_name(&wanted.name)?;
        let storage_limit = wanted.storage_limit.map(|bytes| {
            i64::try_from(bytes).map_err(|_| {
                Error::invalid(CREATE, format!("{bytes} bytes are more than Harbor can count"))
                    .with_remedy("leave the limit away for Harbor's own")
            })
        });
        let metadata = WantedMetadata { public: if wanted.public { "true" } else { "false" } };
        let body = Wanted { project_name: name, metadata, storage_limit: storage_limit.transpose()? };
        let call = self.api.call(CREATE, Method::POST, &["projects"]).json(&body)?;
        let needs = "an account that may create projects (Project Creation under Administration, Configuration, System Settings), \
            or a system robot with Create of Project";
        let answer = call.needs(needs).send().await?;
        let created = answer.status != 409;
        let answer = if created { answer.good()? } else { answer };
        let project = match self.project_and_quota(CREATE, name).await {
            Ok(Some(project)) => project,
            // A robot may have the right to make one and none to see it.
            Err(error) if created && error.kind() == ErrorKind::Forbidden => {
                let id = answer.header("location").and_then(|location| location.rsplit('/').next());
                Project {
                    id: id.unwrap_or_default().to_owned(),
                    name: name.to_owned(),
                    public: wanted.public,
                    is_cache: false,
                    repositories: Some(0),
                    created_at: None,
                    quota: None,
                }
            }
            Err(error) if error.kind() != ErrorKind::Forbidden => return Err(error),
            _ => {
                let message = format!("a project `{name}` is there, and the account may not see it");
                return Err(Error::conflict(CREATE, message)
                    .with_remedy("take another name, or become a member of the project"));
            }
        };
        if project.public != wanted.public {
            let word = |public| if public { "public" } else { "private" };
            let message = format!(
                "project `{name}` is there and is {}, not {}",
                word(project.public),
                word(wanted.public)
            );
            return Err(Error::conflict(CREATE, message)
                .with_remedy("ask for it as it is, or change it under Configuration of the project"));
        }
        Ok(CreatedProject { project, created })
    }

    async fn ensure_robot(&self, project: &str, wanted: &NewRobot) -> Result<Robot> {
        self.robot(project_name(project)?, wanted).await
    }

    async fn repositories(&self, project: &str, wanted: &Listing) -> Result<Listed<ImageRepository>> {
        let Some(text) = searched(&wanted.text.to_ascii_lowercase()) else { return Ok(nothing()) };
        let path = ["projects", project_name(project)?, "repositories"];
        let mut call = self.api.get("list repositories", &path).query("sort", "name");
        if !text.is_empty() {
            call = call.query("q", &format!("name=~{text}"));
        }
        let call = call.needs("a part in the project, or for a robot List of Repository");
        let page: Listed<RepositoryBody> = self.api.page(call, wanted).await?;
        let host = &self.config.registry.host;
        let repository = |body: RepositoryBody| {
            let image = ImageName::parse(format!("{host}/{}", body.name)).ok()?;
            let updated_at = moment(body.update_time.as_deref());
            Some(ImageRepository { image, artifacts: body.artifact_count, updated_at })
        };
        let items = page.items.into_iter().filter_map(repository).collect();
        Ok(Listed { items, next: page.next, total: page.total })
    }

    async fn artifacts(&self, image: &ImageName, wanted: &Listing) -> Result<Listed<Artifact>> {
        let place = self.place(image)?;
        let Some(text) = searched(&wanted.text) else { return Ok(nothing()) };
        self.listed_artifacts(&place, &text, wanted).await
    }

    async fn delete_repository(&self, image: &ImageName) -> Result<bool> {
        let place = self.place(image)?;
        let call = self.below("delete repository", Method::DELETE, &place, &[]);
        self.removed(call.needs("the role Maintainer in the project, or for a robot Delete of Repository"))
            .await
    }
}

/// A text to search for; `None` where no name can have it: Harbor would read more than a name out of it.
fn searched(text: &str) -> Option<String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    text.bytes().all(known).then(|| text.to_owned())
}

fn nothing<T>() -> Listed<T> {
    Listed { items: Vec::new(), next: None, total: Some(0) }
}
