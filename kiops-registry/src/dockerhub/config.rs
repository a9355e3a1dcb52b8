//! Where Docker Hub is, and what calls to it may cost.

use kiops_core::Result;
use kiops_core::http::{Egress, HostRule};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::oci::OciConfig;

/// Docker Hub's place and limits. Accounts are given apart, since they are secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerHubConfig {
    /// Its registry. `call_seconds` counts for its interface, too.
    #[serde(default = "registry")]
    pub registry: OciConfig,
    /// Where its interface answers, without a path.
    #[serde(default = "url")]
    pub url: String,
    /// Pages of 100 tags that one search looks through before it says where to go on.
    #[serde(default = "search_pages")]
    pub search_pages: u32,
}

fn url() -> String {
    "https://hub.docker.com".into()
}

const fn search_pages() -> u32 {
    10
}

/// Layers are at one of two content networks.
fn registry() -> OciConfig {
    let mut registry = OciConfig::new("docker.io");
    let stores = ["https://*.docker.com/", "https://*.r2.cloudflarestorage.com/"];
    registry.redirects = stores.iter().filter_map(|store| HostRule::parse(store).ok()).collect();
    registry
}

impl Default for DockerHubConfig {
    fn default() -> Self {
        Self { registry: registry(), url: url(), search_pages: search_pages() }
    }
}

impl DockerHubConfig {
    /// Where calls may go. Give a `ReqwestService` the same rules.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn egress(&self) -> Result<Egress> {
        let mut egress = self.registry.egress()?;
        egress.allow(self.rule()?);
        Ok(egress)
    }

    /// The interface's place.
    pub(super) fn rule(&self) -> Result<HostRule> {
        let rule = HostRule::parse(&self.url)?;
        Ok(if self.registry.private { rule.private() } else { rule })
    }

    /// Where the interface begins, without a slash at the end.
    pub(super) fn base(&self) -> Result<String> {
        self.rule()?;
        let refuse = || {
            kiops_core::Error::invalid(
                "read registry settings",
                "the address of Docker Hub's interface is none",
            )
            .with_remedy("write it like `https://hub.docker.com`")
        };
        let url = Url::parse(&self.url).map_err(|_| refuse())?;
        if url.path() != "/" || url.host_str().is_none_or(|host| host.contains('*')) {
            return Err(refuse());
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_is_where_it_is_unless_it_is_said_where() {
        let config: DockerHubConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, DockerHubConfig::default());
        assert_eq!(config.base().unwrap(), "https://hub.docker.com");
        let egress = config.egress().unwrap();
        for place in [
            "https://hub.docker.com/v2/x",
            "https://registry-1.docker.io/v2/",
            "https://auth.docker.io/token",
        ] {
            egress.check(place).unwrap();
        }
        egress.check("https://hub.docker.com.evil.example/").unwrap_err();
        for bad in
            ["", "hub", "https://*.docker.com", "https://hub.docker.com/v2", "https://u@hub.docker.com"]
        {
            DockerHubConfig { url: bad.into(), ..DockerHubConfig::default() }.base().unwrap_err();
        }
    }
}
