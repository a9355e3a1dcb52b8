//! Whose pushes start nothing.

use serde::{Deserialize, Serialize};

use super::push::is_hex;

/// Which pushes are our own, and so start nothing. One configuration for all senders.
///
/// A service of a repository heeds no image push, whoever made it. One of images that follows every tag (`*`) of an image which kiops
/// builds would also follow the candidate tags of builds that are still checked: list the account here, or follow a narrower pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Accounts that push for us, by the name or id that the registry gives whoever pushed (`robot$team+kiops`), compared whole. None by
    /// default. Alibaba, Azure and Quay do not say who pushed.
    pub own_accounts: Vec<String>,
    /// How the user agents of our own clients begin. `kiops/` by default, which our HTTP client sends; Kaniko sends `kaniko/`, which others
    /// push with, too. Only Azure and distribution say with what was pushed.
    pub own_agents: Vec<String>,
    /// Paths of images that hold a build cache (`team/cache`), compared whole. None by default, and none are needed for Kaniko's own default:
    /// `.../cache` with 64 hexadecimal digits as tag is known as one.
    pub cache_images: Vec<String>,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self { own_accounts: Vec::new(), own_agents: vec!["kiops/".into()], cache_images: Vec::new() }
    }
}

impl WebhookConfig {
    pub(super) fn is_own_account(&self, name: &str) -> bool {
        self.own_accounts.iter().any(|own| own == name)
    }

    pub(super) fn is_own_agent(&self, agent: &str) -> bool {
        self.own_agents.iter().any(|own| !own.is_empty() && agent.starts_with(own.as_str()))
    }

    /// Kaniko keeps its layers beside the image, by the digest of what made them.
    pub(super) fn is_cache(&self, image: &str, tag: Option<&str>) -> bool {
        let kanikos = image.rsplit('/').next() == Some("cache") && tag.is_some_and(is_hex);
        kanikos || self.cache_images.iter().any(|cache| cache == image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default_and_what_is_not_known_is_refused() {
        let config: WebhookConfig = serde_json::from_str(r#"{"own_accounts":["ci"]}"#).unwrap();
        assert_eq!(config, WebhookConfig { own_accounts: vec!["ci".into()], ..WebhookConfig::default() });
        serde_json::from_str::<WebhookConfig>(r#"{"own_acounts":[]}"#).unwrap_err();
        let all = WebhookConfig { own_agents: vec![String::new()], ..WebhookConfig::default() };
        assert!(!all.is_own_agent("docker/27"), "an empty beginning begins nothing");
    }
}
