//! Pull Secrets (K20-K24), in the words that people know.

use clap::Args;
use kiops_core::image::RegistryCredential;
use kiops_core::name::{DnsLabel, EnvironmentName, ServiceName, dns_label};
use kiops_core::release::{DeployTarget, Deployer as _, PullSecrets};
use kiops_core::service::{Target, Workload};
use kiops_core::{Error, Result};
use kiops_kube::KubeDeployer;

use super::connect::{Connection, secret_of};
use super::{deploy, write};

/// Whose pull Secret, and what is in it.
#[derive(Debug, Args)]
pub(crate) struct PullSecretOf {
    /// The service.
    #[arg(long)]
    service: ServiceName,
    /// The namespace; the service's name by default.
    #[arg(long)]
    namespace: Option<DnsLabel>,
    /// The registry's host.
    #[arg(long, requires_all = ["username", "password_env"])]
    host: Option<String>,
    /// The account's name.
    #[arg(long)]
    username: Option<String>,
    /// The environment variable with its password.
    #[arg(long)]
    password_env: Option<String>,
}

impl PullSecretOf {
    pub(crate) async fn check(&self, connection: &Connection) -> Result<()> {
        let deployer = deploy::deployer(connection).await?;
        write(&format!("{}\n", secrets(&deployer)?.check(&self.target()?).await?))
    }

    pub(crate) async fn create(&self, connection: &Connection) -> Result<()> {
        let deployer = deploy::deployer(connection).await?;
        let made = secrets(&deployer)?.create(&self.target()?, &self.credentials()?).await?;
        write(&format!("{made}\n"))
    }

    pub(crate) async fn rotate(&self, connection: &Connection) -> Result<()> {
        let deployer = deploy::deployer(connection).await?;
        let made = secrets(&deployer)?.rotate(&self.target()?, &self.credentials()?).await?;
        write(&format!("{made}\n"))
    }

    fn target(&self) -> Result<DeployTarget> {
        Ok(DeployTarget {
            service: self.service.clone(),
            component: Default::default(),
            environment: EnvironmentName::parse("dev")?,
            namespace: self.namespace.clone().unwrap_or_else(|| dns_label([self.service.as_str()])),
            target: Target::Workload(Workload { replicas: 1, containers: Vec::new() }),
            preview: None,
        })
    }

    fn credentials(&self) -> Result<Vec<RegistryCredential>> {
        match (&self.host, &self.username, &self.password_env) {
            (Some(host), Some(username), Some(variable)) => Ok(vec![RegistryCredential {
                host: host.clone(),
                username: username.clone(),
                password: secret_of(variable)?,
            }]),
            _ => Err(Error::invalid("create secret", "no credential is named")
                .with_remedy("say --host, --username and --password-env")),
        }
    }
}

fn secrets(deployer: &KubeDeployer) -> Result<&dyn PullSecrets> {
    deployer.pull_secrets().ok_or_else(|| Error::unsupported("check secret", "this runtime keeps none"))
}
