//! Robot accounts of a project.

use http::Method;
use jiff::Timestamp;
use kiops_core::image::{ImageAccess, NewRobot, RegistryCredential, Robot};
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Harbor;
use super::answer::Answer;
use crate::interface::moment;

const OPERATION: &str = "set up robot account";
const NEEDS: &str = "the role Project Admin, or for a robot List, Read, Create and Update of Robot Account";

#[derive(Deserialize)]
struct RobotBody {
    id: u64,
    /// With prefix and project: `robot$team+kiops`.
    name: String,
    /// -1: never.
    #[serde(default)]
    expires_at: Option<i64>,
    #[serde(default)]
    creation_time: Option<String>,
}

#[derive(Deserialize)]
struct CreatedBody {
    name: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    expires_at: Option<i64>,
}

#[derive(Deserialize)]
struct SecretBody {
    #[serde(default)]
    secret: String,
}

#[derive(Serialize)]
struct Wanted<'a> {
    name: &'a str,
    description: &'static str,
    level: &'static str,
    disable: bool,
    /// Days from when it was made; -1: never.
    duration: i64,
    permissions: [Permission<'a>; 1],
}

#[derive(Serialize)]
struct Permission<'a> {
    kind: &'static str,
    namespace: &'a str,
    access: &'static [Access],
}

#[derive(Serialize)]
struct Access {
    resource: &'static str,
    action: &'static str,
}

const PULL: Access = Access { resource: "repository", action: "pull" };
const PUSH: Access = Access { resource: "repository", action: "push" };

impl<'a> Wanted<'a> {
    fn new(name: &'a str, project: &'a str, access: ImageAccess, duration: i64) -> Self {
        let access: &[Access] = match access {
            ImageAccess::Pull => &[PULL],
            ImageAccess::Push => &[PULL, PUSH],
        };
        let permissions = [Permission { kind: "project", namespace: project, access }];
        Self { name, description: "made by kiops", level: "project", disable: false, duration, permissions }
    }
}

impl Harbor {
    pub(super) async fn robot(&self, project: &str, wanted: &NewRobot) -> Result<Robot> {
        let body = self.find_project(OPERATION, project).await?.ok_or_else(|| {
            Error::not_found(OPERATION, format!("there is no project `{project}`"))
                .with_remedy("make it first")
        })?;
        if let Some(found) = self.find_robot(project, body.project_id, &wanted.name).await? {
            return self.renewed(project, &found, wanted).await;
        }
        let days = wanted.days.map_or(-1, |days| i64::from(days.get()));
        let call = self.api.call(OPERATION, Method::POST, &["robots"]);
        let call = call.json(&Wanted::new(&wanted.name, project, wanted.access, days))?;
        let answer = call.needs(NEEDS).send().await?;
        if answer.status != 409 {
            let answer = answer.good()?;
            let made: CreatedBody = answer.read()?;
            let credential = self.credential_of(&answer, made.name, made.secret)?;
            return Ok(Robot { credential, expires_at: end(made.expires_at), created: true });
        }
        // Somebody was faster, or an answer was lost on its way.
        match self.find_robot(project, body.project_id, &wanted.name).await? {
            Some(found) => self.renewed(project, &found, wanted).await,
            None => Err(answer
                .error()
                .with_remedy("take another name: an account that is not shown has this one")),
        }
    }

    async fn find_robot(&self, project: &str, project_id: u64, name: &str) -> Result<Option<RobotBody>> {
        let query = format!("Level=project,ProjectID={project_id}");
        let list = || self.api.get(OPERATION, &["robots"]).query("q", &query).needs(NEEDS);
        let robots: Vec<RobotBody> = self.api.every("the project's list of robots", list).await?;
        // No name can have a `+` of its own. Whatever the list holds, another project's account is never touched.
        let is_it = |robot: &RobotBody| {
            robot.name.rsplit_once('+').is_some_and(|(of, own)| own == name && of.ends_with(project))
        };
        Ok(robots.into_iter().find(is_it))
    }

    /// One that is there, with this right and no other, and with a new secret, which comes last: of it there is no second answer.
    async fn renewed(&self, project: &str, found: &RobotBody, wanted: &NewRobot) -> Result<Robot> {
        let id = found.id.to_string();
        let path = ["robots", id.as_str()];
        let duration = match wanted.days {
            None => -1,
            // Harbor counts from when it was made: without this it would stay over.
            Some(days) => age_in_days(found, self.api.client().now()).saturating_add(days.get().into()),
        };
        let call = self.api.call(OPERATION, Method::PUT, &path);
        let body = Wanted::new(&found.name, project, wanted.access, duration);
        call.json(&body)?.needs(NEEDS).good().await?;
        let now: RobotBody = self.api.get(OPERATION, &path).needs(NEEDS).read().await?;
        let call = self.api.call(OPERATION, Method::PATCH, &path).json(&serde_json::json!({}))?;
        let answer = call.needs(NEEDS).good().await?;
        let refreshed: SecretBody = answer.read()?;
        let credential = self.credential_of(&answer, now.name, refreshed.secret)?;
        Ok(Robot { credential, expires_at: end(now.expires_at), created: false })
    }

    fn credential_of(&self, answer: &Answer, username: String, secret: String) -> Result<RegistryCredential> {
        let password = Secret::new(secret).ok_or_else(|| answer.broken("Harbor gave the robot no secret"))?;
        Ok(RegistryCredential { host: self.config.registry.host.clone(), username, password })
    }
}

/// How long ago it was made, a day that has begun counted whole.
fn age_in_days(robot: &RobotBody, now: Timestamp) -> i64 {
    const DAY: i64 = 24 * 3600;
    let Some(made) = moment(robot.creation_time.as_deref()) else { return 0 };
    let seconds = now.as_second().saturating_sub(made.as_second()).max(0);
    seconds / DAY + i64::from(seconds % DAY > 0)
}

fn end(expires_at: Option<i64>) -> Option<Timestamp> {
    expires_at.filter(|at| *at > 0).map(|at| Timestamp::from_second(at).unwrap_or(Timestamp::MAX))
}
