//! Which registry, and as whom.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use kiops_core::http::{HostRule, ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::{Registry, RegistryCredential};
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use kiops_registry::harbor::{Harbor, HarborConfig};
use kiops_registry::layout::{ImageLayout, LayoutConfig};
use kiops_registry::oci::{Oci, OciConfig};

#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// A folder with an image layout instead of a registry.
    #[arg(long, conflicts_with_all = ["url", "username", "password_env", "realm", "redirect", "harbor"])]
    layout: Option<PathBuf>,
    /// Where the registry answers, where that is not `https://` and the image's host: `http://127.0.0.1:5000`.
    #[arg(long)]
    url: Option<String>,
    /// Whether the registry is a Harbor: then its projects and scans can be reached, too.
    #[arg(long)]
    harbor: bool,
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
        let mut config = OciConfig::new(host);
        config.url.clone_from(&self.url);
        // Whoever types an address means it, also one of a private network.
        config.private = true;
        config.realms = self.realm.iter().cloned().map(HostRule::private).collect();
        config.redirects = self.redirect.iter().cloned().map(HostRule::private).collect();
        let service = Arc::new(ReqwestService::new(&ReqwestConfig::default(), config.egress()?)?);
        let (login, timer) = (self.login(host)?, Arc::new(SystemTimer));
        if self.harbor {
            let mut harbor = HarborConfig::new(host);
            harbor.registry = config;
            return Ok(Arc::new(Harbor::new(harbor, login, service, timer)?));
        }
        Ok(Arc::new(Oci::new(config, login, service, timer)?))
    }

    fn login(&self, host: &str) -> Result<Option<RegistryCredential>> {
        let (Some(username), Some(variable)) = (&self.username, &self.password_env) else { return Ok(None) };
        let value = std::env::var_os(variable).and_then(|value| Secret::new(value.into_encoded_bytes()));
        let password = value.ok_or_else(|| {
            Error::invalid(
                "read secret",
                format!("the environment variable `{variable}` is not set, or empty"),
            )
        })?;
        Ok(Some(RegistryCredential { host: host.to_owned(), username: username.clone(), password }))
    }
}
