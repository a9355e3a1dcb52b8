//! Which registry, and as whom.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use kiops_core::http::{Egress, HostRule, ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::{Registry, RegistryCredential};
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use kiops_registry::acr;
use kiops_registry::dockerhub::{DockerHub, DockerHubConfig};
use kiops_registry::harbor::{Harbor, HarborConfig};
use kiops_registry::layout::{ImageLayout, LayoutConfig};
use kiops_registry::oci::{Oci, OciConfig};

#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// A folder with an image layout instead of a registry.
    #[arg(long, conflicts_with_all = ["url", "username", "password_env", "realm", "redirect", "kind"])]
    pub(crate) layout: Option<PathBuf>,
    /// Where the registry answers, where that is not `https://` and the image's host: `http://127.0.0.1:5000`.
    #[arg(long)]
    url: Option<String>,
    /// The registry is a Harbor: then its projects, robots, scans and webhooks can be reached, too.
    #[arg(long, group = "kind")]
    harbor: bool,
    /// The registry is Docker Hub: then what there is to choose from and its limits can be reached, too, and errors speak its words.
    #[arg(long, group = "kind")]
    dockerhub: bool,
    /// Where Docker Hub's interface answers, where that is not `https://hub.docker.com`.
    #[arg(long, requires = "dockerhub")]
    hub_url: Option<String>,
    /// The registry is Alibaba Cloud's, Personal or Enterprise Edition: its host says where tokens and layers come from.
    #[arg(long, group = "kind")]
    acr: bool,
    /// The account's name.
    #[arg(long, requires = "password_env")]
    username: Option<String>,
    /// The environment variable that holds the account's password or token.
    #[arg(long, requires = "username")]
    password_env: Option<String>,
    /// Where else the registry may send us for tokens, account included.
    #[arg(long)]
    realm: Vec<HostRule>,
    /// Where it may redirect to for content.
    #[arg(long)]
    redirect: Vec<HostRule>,
}

impl Connection {
    /// The registry of images at this host.
    pub(crate) fn open(&self, host: &str) -> Result<Arc<dyn Registry>> {
        if let Some(path) = &self.layout {
            return Ok(Arc::new(ImageLayout::open(LayoutConfig::new(path))?));
        }
        if self.dockerhub {
            let hubs = DockerHubConfig::default().registry.host;
            if host != hubs {
                let message = format!("`{host}` is not Docker Hub, whose images are of `{hubs}`");
                return Err(Error::invalid("open registry", message).with_remedy("leave `--dockerhub` away"));
            }
            return Ok(Arc::new(self.hub()?));
        }
        let config = match self.acr {
            true => acr::of_host(host).ok_or_else(|| {
                let message = format!("`{host}` is none of Alibaba Cloud's registries");
                Error::invalid("open registry", message)
                    .with_remedy("`acr-host REGION` says how they are called; leave `--acr` away for others")
            })?,
            false => OciConfig::new(host),
        };
        let config = self.config(config);
        let (login, service) = (self.login(host)?, service(config.egress()?)?);
        if self.harbor {
            let mut harbor = HarborConfig::new(host);
            harbor.registry = config;
            return Ok(Arc::new(Harbor::new(harbor, login, service, Arc::new(SystemTimer))?));
        }
        Ok(Arc::new(Oci::new(config, login, service, Arc::new(SystemTimer))?))
    }

    /// Docker Hub.
    pub(crate) fn hub(&self) -> Result<DockerHub> {
        if !self.dockerhub {
            return Err(Error::unsupported(
                "ask Docker Hub",
                "only Docker Hub tells what there is to choose from, and its limits",
            )
            .with_remedy("say `--dockerhub`"));
        }
        let mut config = DockerHubConfig::default();
        config.registry = self.config(config.registry);
        if let Some(url) = &self.hub_url {
            config.url.clone_from(url);
        }
        let (login, service) = (self.login(&config.registry.host)?, service(config.egress()?)?);
        DockerHub::new(config, login, service, Arc::new(SystemTimer))
    }

    /// The account as it was given, with its password.
    fn login(&self, host: &str) -> Result<Option<RegistryCredential>> {
        let (Some(username), Some(variable)) = (&self.username, &self.password_env) else { return Ok(None) };
        let password = secret_from(variable)?;
        Ok(Some(RegistryCredential { host: host.to_owned(), username: username.clone(), password }))
    }

    /// The settings with what was said beside them.
    fn config(&self, mut config: OciConfig) -> OciConfig {
        config.url.clone_from(&self.url);
        // Whoever types an address means it, also one of a private network.
        config.private = true;
        config.realms.extend(self.realm.iter().cloned().map(HostRule::private));
        config.redirects.extend(self.redirect.iter().cloned().map(HostRule::private));
        config
    }
}

fn service(egress: Egress) -> Result<Arc<ReqwestService>> {
    Ok(Arc::new(ReqwestService::new(&ReqwestConfig::default(), egress)?))
}

/// What the environment variable `name` holds.
pub(crate) fn secret_from(name: &str) -> Result<Secret> {
    let value = std::env::var_os(name).and_then(|value| Secret::new(value.into_encoded_bytes()));
    value.ok_or_else(|| {
        Error::invalid("read secret", format!("the environment variable `{name}` is not set, or empty"))
    })
}
