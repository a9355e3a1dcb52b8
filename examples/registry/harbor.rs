//! What only Harbor can: projects, robots, repositories, scans and webhooks.

use std::num::NonZeroU32;

use clap::{Subcommand, ValueEnum};
use kiops_core::image::{
    ImageAccess, NewProject, NewRobot, Projects, PushHookFormat, Registry, RegistryHooks, Scanner,
    WantedPushHook, docker_config_json,
};
use kiops_core::name::ImageName;
use kiops_core::{Error, Result};
use serde_json::{Value, json};

use crate::connect::{Connection, secret_from};
use crate::listing::{Page, page};
use crate::resolved;

/// What is asked of a Harbor.
#[derive(Debug, Subcommand)]
pub(crate) enum HarborCall {
    /// The projects of a Harbor, by name.
    Projects {
        /// The registry's host.
        host: String,
        #[command(flatten)]
        page: Page,
    },
    /// One project with its quota, where the account may know that.
    Project { host: String, name: String },
    /// Makes a project. One that is there is left as it is; `created` says which. The quota that counts is in the answer.
    CreateProject {
        host: String,
        /// Lower-case letters and digits, joined by `.`, `_` or `-`.
        name: String,
        /// Anybody may pull from it.
        #[arg(long)]
        public: bool,
        /// Bytes that it may hold. Without it, and of others than administrators, Harbor's own limit for new projects.
        #[arg(long, value_name = "BYTES")]
        storage_limit: Option<u64>,
    },
    /// Makes a robot account with exactly this right in one project, and PRINTS ITS PASSWORD, a secret that Harbor shows only now. One
    /// that is there gets this right and a new password; the one before stops working.
    EnsureRobot {
        host: String,
        project: String,
        /// Its name within the project: `kiops`.
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value_t)]
        access: Access,
        /// For how many days from now it is good. Without it until somebody takes it away.
        #[arg(long)]
        days: Option<NonZeroU32>,
        /// Print it as `config.json` for Docker, Kaniko or a Secret of the type `kubernetes.io/dockerconfigjson`.
        #[arg(long)]
        docker_config: bool,
    },
    /// The repositories of a project, by name.
    Repositories {
        host: String,
        project: String,
        #[command(flatten)]
        page: Page,
    },
    /// What is kept in a repository, newest first. A text is looked for in the tags.
    Artifacts {
        image: ImageName,
        #[command(flatten)]
        page: Page,
    },
    /// Removes a repository with everything in it.
    DeleteRepository { image: ImageName },
    /// Asks for a search for vulnerabilities in what a tag or digest stands for.
    Scan { image: String },
    /// What the last scan of a tag or digest found.
    ScanReport { image: String },
    /// The webhook of a project that tells of pushes.
    #[command(subcommand)]
    Hook(HookCall),
}

#[derive(Debug, Subcommand)]
pub(crate) enum HookCall {
    /// Makes exactly one webhook with this address stand, with this secret: makes it, brings it into line, switches it on again.
    Ensure {
        host: String,
        project: String,
        address: String,
        /// The environment variable that holds what deliveries carry as their `Authorization`.
        #[arg(long)]
        secret_env: String,
        /// How deliveries are written. Without it CloudEvents, where this Harbor knows them.
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// Harbor does not check the address's certificate.
        #[arg(long)]
        insecure: bool,
    },
    /// The webhook with this address and its last deliveries, or null.
    State { host: String, project: String, address: String },
    /// Removes every webhook with this address.
    Remove { host: String, project: String, address: String },
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Access {
    #[default]
    Pull,
    /// To pull, too.
    Push,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Native,
    CloudEvents,
}

impl From<Access> for ImageAccess {
    fn from(access: Access) -> Self {
        match access {
            Access::Pull => Self::Pull,
            Access::Push => Self::Push,
        }
    }
}

impl HarborCall {
    pub(crate) async fn make(self, connection: &Connection) -> Result<Value> {
        Ok(match self {
            Self::Projects { host, page: wanted } => {
                let registry = connection.open(&host)?;
                let listed = projects(registry.as_ref())?.list(&wanted.listing()).await?;
                page("projects", &listed)
            }
            Self::Project { host, name } => {
                let registry = connection.open(&host)?;
                let project = projects(registry.as_ref())?.find(&name).await?;
                let none = || Error::not_found("find project", format!("there is no project `{name}`"));
                json!(project.ok_or_else(none)?)
            }
            Self::CreateProject { host, name, public, storage_limit } => {
                let registry = connection.open(&host)?;
                let wanted = NewProject { name, public, storage_limit };
                json!(projects(registry.as_ref())?.create(&wanted).await?)
            }
            Self::EnsureRobot { host, project, name, access, days, docker_config } => {
                let registry = connection.open(&host)?;
                let wanted = NewRobot { name, access: access.into(), days };
                let robot = projects(registry.as_ref())?.ensure_robot(&project, &wanted).await?;
                if docker_config {
                    let config = docker_config_json([&robot.credential]);
                    let value = serde_json::from_slice(config.expose());
                    return value.map_err(|error| Error::internal("write docker config", error.to_string()));
                }
                let password = String::from_utf8_lossy(robot.credential.password.expose());
                json!({
                    "host": robot.credential.host, "username": robot.credential.username, "password": password,
                    "expires_at": robot.expires_at, "created": robot.created,
                })
            }
            Self::Repositories { host, project, page: wanted } => {
                let registry = connection.open(&host)?;
                let listed = projects(registry.as_ref())?.repositories(&project, &wanted.listing()).await?;
                page("repositories", &listed)
            }
            Self::Artifacts { image, page: wanted } => {
                let registry = connection.open(image.host())?;
                let listed = projects(registry.as_ref())?.artifacts(&image, &wanted.listing()).await?;
                page("artifacts", &listed)
            }
            Self::DeleteRepository { image } => {
                let registry = connection.open(image.host())?;
                json!({"image": image, "deleted": projects(registry.as_ref())?.delete_repository(&image).await?})
            }
            Self::Scan { image } => {
                let (image, digest) = resolved(connection, &image).await?;
                let registry = connection.open(image.name.host())?;
                let state = scanner(registry.as_ref())?.scan(&image.name, &digest).await?;
                json!({"image": image, "digest": digest, "state": state})
            }
            Self::ScanReport { image } => {
                let (image, digest) = resolved(connection, &image).await?;
                let registry = connection.open(image.name.host())?;
                let report = scanner(registry.as_ref())?.report(&image.name, &digest).await?;
                json!({"image": image, "digest": digest, "report": report})
            }
            Self::Hook(call) => call.make(connection).await?,
        })
    }
}

impl HookCall {
    async fn make(self, connection: &Connection) -> Result<Value> {
        Ok(match self {
            Self::Ensure { host, project, address, secret_env, format, insecure } => {
                let format = format.map(|format| match format {
                    Format::Native => PushHookFormat::Native,
                    Format::CloudEvents => PushHookFormat::CloudEvents,
                });
                let secret = secret_from(&secret_env)?;
                let wanted = WantedPushHook { url: address, secret, format, verify_tls: !insecure };
                json!(hooks(connection.open(&host)?.as_ref())?.ensure(&project, &wanted).await?)
            }
            Self::State { host, project, address } => {
                json!(hooks(connection.open(&host)?.as_ref())?.state(&project, &address).await?)
            }
            Self::Remove { host, project, address } => {
                let removed = hooks(connection.open(&host)?.as_ref())?.remove(&project, &address).await?;
                json!({"address": address, "removed": removed})
            }
        })
    }
}

fn projects(registry: &dyn Registry) -> Result<&dyn Projects> {
    registry.projects().ok_or_else(|| lacks("ask for projects", "projects"))
}

fn scanner(registry: &dyn Registry) -> Result<&dyn Scanner> {
    registry.scanner().ok_or_else(|| lacks("scan image", "scanner"))
}

fn hooks(registry: &dyn Registry) -> Result<&dyn RegistryHooks> {
    registry.hooks().ok_or_else(|| lacks("ask for webhooks", "webhooks"))
}

fn lacks(operation: &'static str, what: &str) -> Error {
    Error::unsupported(operation, format!("this registry has no {what} that we know of"))
        .with_remedy("say `--harbor` where it is a Harbor")
}
