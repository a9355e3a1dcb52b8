//! Whether Harbor is there, lets us in, and lets us push: told apart.

use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::answer::{Answer, login_remedy};
use super::projects::ProjectBody;
use super::{Harbor, Place};

const REACH: &str = "reach Harbor";
const LOG_IN: &str = "log in to Harbor";
const PUSH: &str = "check push right";

/// What Harbor tells everybody about itself.
#[derive(Deserialize)]
struct SystemInfo {
    auth_mode: Option<String>,
    harbor_version: Option<String>,
    #[serde(default)]
    read_only: Option<bool>,
}

/// Something that an account may do.
#[derive(Deserialize)]
struct Permission {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    action: String,
}

impl Permission {
    fn is_push(&self) -> bool {
        // Harbors differ in whether they leave the project's own path away.
        let resource = self.resource.rsplit('/').next().unwrap_or_default();
        resource == "repository" && matches!(self.action.as_str(), "push" | "*")
    }
}

/// Who an account is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    User,
    /// A robot, of which Harbor tells nothing.
    Robot,
}

impl Harbor {
    /// The three, in this order.
    pub(super) async fn check_access(&self, place: &Place<'_>) -> Result<()> {
        self.check_host().await?;
        let who = self.check_login().await?;
        self.check_push(place.project, who).await
    }

    async fn check_host(&self) -> Result<()> {
        let answer = self.api.get(REACH, &["systeminfo"]).send().await.map_err(unreached)?;
        match answer.status {
            200 => {}
            // Whether the account is taken shows in the next call.
            401 => return Ok(()),
            429 | 500.. => return Err(answer.error()),
            _ => return Err(self.no_harbor(&answer)),
        }
        let info: SystemInfo = serde_json::from_slice(&answer.body).map_err(|_| self.no_harbor(&answer))?;
        if info.auth_mode.is_none() && info.harbor_version.is_none() {
            return Err(self.no_harbor(&answer));
        }
        if info.read_only == Some(true) {
            return Err(Error::unavailable(REACH, "Harbor is in read-only mode and takes no pushes").with_remedy(
                "wait until its maintenance is over, or untick Repository Read Only under Administration, Configuration, System Settings",
            ));
        }
        Ok(())
    }

    fn no_harbor(&self, answer: &Answer) -> Error {
        let message =
            format!("{} answers, and not as a Harbor does ({})", self.config.registry.host, answer.status);
        Error::invalid(REACH, message).with_remedy(
            "check the host and its port; Harbor's portal, registry and interface are at one address; for another registry use `oci`",
        )
    }

    async fn check_login(&self) -> Result<Who> {
        let answer = self.api.get(LOG_IN, &["users", "current"]).send().await?;
        match answer.status {
            // A robot is nobody's user, and known all the same.
            412 => Ok(Who::Robot),
            401 => Err(answer.error().with_remedy(login_remedy(self.api.login()))),
            _ => answer.good().map(|_| Who::User),
        }
    }

    async fn check_push(&self, project: &str, who: Who) -> Result<()> {
        let body = self.visible_project(project, who).await?;
        if body.is_cache() {
            let message = format!("project `{project}` is a proxy cache, to which nothing can be pushed");
            return Err(Error::unsupported(PUSH, message).with_remedy("push to a project of its own"));
        }
        let scope = format!("/project/{}", body.project_id);
        let call = self.api.get(PUSH, &["users", "current", "permissions"]);
        let answer = call.query("scope", &scope).query("relative", "true").send().await?;
        if answer.status == 404 {
            // Not told: a push will show.
            return Ok(());
        }
        let permissions: Vec<Permission> = answer.good()?.read::<Option<_>>()?.unwrap_or_default();
        if permissions.iter().any(Permission::is_push) {
            return Ok(());
        }
        let message = format!("the account is known and may not push to project `{project}`");
        Err(Error::new(ErrorKind::Forbidden, PUSH, message).with_remedy(right_to_push(project, who)))
    }

    /// A project as far as the account sees it: a robot that may but pull and push may list it and not read it.
    async fn visible_project(&self, project: &str, who: Who) -> Result<ProjectBody> {
        let answer = self.api.get(PUSH, &["projects", project]).by_name().send().await?;
        match answer.status {
            404 => {
                return Err(Error::not_found(PUSH, format!("there is no project `{project}`"))
                    .with_remedy("make it under Projects, New Project, or write the image's project right"));
            }
            403 => {}
            _ => return answer.good()?.read(),
        }
        let call = self.api.get(PUSH, &["projects"]).query("q", &format!("name={project}"));
        let found: Vec<ProjectBody> =
            call.query("page", "1").query("page_size", "100").read::<Option<_>>().await?.unwrap_or_default();
        found.into_iter().find(|body| body.name == project).ok_or_else(|| {
            let message = format!("there is no project `{project}`, or the account has no part in it");
            Error::new(ErrorKind::Forbidden, PUSH, message).with_remedy(right_to_push(project, who))
        })
    }
}

fn right_to_push(project: &str, who: Who) -> String {
    match who {
        Who::User => {
            format!("give it at least the role Developer: Projects, `{project}`, Members")
        }
        Who::Robot => {
            format!("give the robot Push and Pull of Repository in `{project}`: Robot Accounts, Edit")
        }
    }
}

/// Says of a call that got no answer what it was for.
fn unreached(error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) {
        return error;
    }
    Error::new(error.kind(), REACH, format!("{}: {}", error.operation(), error.message()))
        .with_retry(error.retry())
        .with_remedy(
            "check the host, its port and its certificate; a Harbor in clear has an address that begins with `http://`",
        )
        .with_source(error)
}
