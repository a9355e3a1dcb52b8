//! Which host, and as whom.

use std::sync::Arc;

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use kiops_core::http::{HttpService, ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::name::SecretName;
use kiops_core::provider::{Anonymous, FixedToken, GitProvider, TokenSource};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::{Error, Result};
use kiops_git::bitbucket::Bitbucket;
use kiops_git::bitbucket_dc::BitbucketDc;
use kiops_git::gitea::Gitea;
use kiops_git::gitee::Gitee;
use kiops_git::github::GitHub;
use kiops_git::gitlab::GitLab;
use kiops_git::plain::{Plain, PlainConfig};
use kiops_git::rest::HostConfig;

#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Which kind of host.
    #[arg(long)]
    provider: Kind,
    /// Where people open it, with its path prefix; for `plain` a folder with bare repositories.
    #[arg(long)]
    url: String,
    /// Where its interface begins, where that does not follow from the address.
    #[arg(long)]
    api_url: Option<String>,
    /// The environment variable that holds the token; without it, the host is asked as anybody may.
    #[arg(long)]
    token_env: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Gitlab,
    Github,
    Bitbucket,
    BitbucketDc,
    Gitea,
    Forgejo,
    Gitee,
    Plain,
}

impl Connection {
    /// The provider.
    pub(crate) fn open(&self) -> Result<Arc<dyn GitProvider>> {
        if let Kind::Plain = self.provider {
            let root = std::path::absolute(&self.url)
                .map_err(|error| Error::invalid("open repositories", error.to_string()))?;
            return Ok(Arc::new(Plain::new(PlainConfig::on_disk(root))?));
        }
        let mut config = HostConfig::new(self.url.trim_end_matches('/'));
        config.api_url.clone_from(&self.api_url);
        // Whoever types an address means it, also one of a private network.
        config.private = true;
        match self.provider {
            Kind::Github => config = GitHub::complete(config)?,
            Kind::Bitbucket if config.url == Bitbucket::cloud().url && config.api_url.is_none() => {
                config = Bitbucket::cloud();
            }
            _ => {}
        }
        let service: Arc<dyn HttpService> =
            Arc::new(ReqwestService::new(&ReqwestConfig::default(), config.egress()?)?);
        let (timer, tokens) = (Arc::new(SystemTimer), self.tokens()?);
        Ok(match self.provider {
            Kind::Gitlab => Arc::new(GitLab::new(config, service, timer, tokens)?),
            Kind::Github => Arc::new(GitHub::new(config, service, timer, tokens)?),
            Kind::Bitbucket => Arc::new(Bitbucket::new(config, service, timer, tokens)?),
            Kind::BitbucketDc => Arc::new(BitbucketDc::new(config, service, timer, tokens)?),
            Kind::Gitea => Arc::new(Gitea::new(config, service, timer, tokens)?),
            Kind::Forgejo => Arc::new(Gitea::forgejo(config, service, timer, tokens)?),
            Kind::Gitee => Arc::new(Gitee::new(config, service, timer, tokens)?),
            Kind::Plain => return Err(Error::internal("open provider", "it is open already")),
        })
    }

    fn tokens(&self) -> Result<Arc<dyn TokenSource>> {
        match &self.token_env {
            None => Ok(Arc::new(Anonymous)),
            Some(name) => {
                let secret = secret_from(name)?;
                Ok(Arc::new(FixedToken::new(Arc::new(Only(secret)), SecretName::parse("git/token")?)))
            }
        }
    }
}

/// What the environment variable `name` holds.
pub(crate) fn secret_from(name: &str) -> Result<Secret> {
    let value = std::env::var_os(name).and_then(|value| Secret::new(value.into_encoded_bytes()));
    value.ok_or_else(|| {
        Error::invalid("read secret", format!("the environment variable `{name}` is not set, or empty"))
    })
}

#[derive(Debug)]
struct Only(Secret);

#[async_trait]
impl SecretSource for Only {
    async fn secret(&self, _: &SecretName) -> Result<Option<Secret>> {
        Ok(Some(self.0.clone()))
    }
}
