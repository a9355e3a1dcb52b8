//! Which host, as which application.

use kiops_core::error::{Error, Result};
use kiops_core::http::HostRule;
use kiops_core::name::SecretName;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// An OAuth application at a Git host: what an administrator copies from the page where it was registered.
///
/// ```
/// use kiops_git::oauth::{OAuthConfig, OAuthHost};
///
/// let config: OAuthConfig = serde_json::from_str(r#"{
///     "host": "gitlab", "url": "https://git.example.com/gitlab/",
///     "client_id": "5f2c", "client_secret": "gitlab/oauth",
///     "redirect_uri": "https://kiops.example.com/oauth/callback"
/// }"#).unwrap();
/// assert_eq!(config.host, OAuthHost::GitLab);
/// assert_eq!(config.endpoints().unwrap().token.as_str(), "https://git.example.com/gitlab/oauth/token");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OAuthConfig {
    /// Which software the host runs.
    pub host: OAuthHost,
    /// Where it is, with a path prefix where it has one: `https://git.example.com/gitlab/`. By default github.com, gitlab.com, bitbucket.org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The application's public name: GitHub's Client ID, GitLab's Application ID, Bitbucket's Key.
    pub client_id: String,
    /// Where the application's secret is kept: GitHub's client secret, GitLab's Secret, Bitbucket's Secret.
    pub client_secret: SecretName,
    /// Where the host sends the browser back to, exactly as it was registered there. `https`, or `http` at this very machine.
    pub redirect_uri: Url,
    /// What is asked for. By default [`OAuthHost::scopes`]; of an empty list nothing is said, and the host decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Where people are asked, where that is not the host's usual place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<Url>,
    /// Where codes become tokens, where that is not the host's usual place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<Url>,
}

/// A host that connects by OAuth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OAuthHost {
    /// github.com or GitHub Enterprise Server: an OAuth app, or a GitHub App that acts for people.
    GitHub,
    /// gitlab.com or a GitLab of one's own.
    GitLab,
    /// Bitbucket Cloud.
    Bitbucket,
}

/// The two addresses of the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where the browser is sent.
    pub authorize: Url,
    /// Where we exchange codes and refresh tokens.
    pub token: Url,
}

impl OAuthConfig {
    /// The host's defaults for this application.
    pub fn new(
        host: OAuthHost,
        client_id: impl Into<String>,
        client_secret: SecretName,
        redirect_uri: Url,
    ) -> Self {
        Self {
            host,
            url: None,
            client_id: client_id.into(),
            client_secret,
            redirect_uri,
            scopes: None,
            authorize_url: None,
            token_url: None,
        }
    }

    /// The addresses of the flow. An error of kind `Invalid` where the settings cannot work, with what to set instead.
    pub fn endpoints(&self) -> Result<Endpoints> {
        if self.client_id.is_empty() || self.client_id.chars().any(|c| !c.is_ascii_graphic()) {
            let message = "the client id is empty or has characters that none has";
            return Err(Error::invalid(OPERATION, message)
                .with_remedy("copy it from the application's page at the host"));
        }
        let local = match self.redirect_uri.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        plain(&self.redirect_uri, "redirect_uri")?;
        if self.redirect_uri.scheme() != "https" && !local {
            let message = "`redirect_uri` is not https: the code would come back in clear";
            return Err(Error::invalid(OPERATION, message)
                .with_remedy("serve kiops over https, or use http://localhost on one machine"));
        }
        let mut base = match &self.url {
            Some(url) => url.clone(),
            None => known(self.host.url())?,
        };
        plain(&base, "url")?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let (authorize, token) = self.host.paths();
        let at = |given: &Option<Url>, path: &str, what: &str| match given {
            Some(url) => plain(url, what).map(|()| url.clone()),
            None => known(&format!("{base}{path}")),
        };
        Ok(Endpoints {
            authorize: at(&self.authorize_url, authorize, "authorize_url")?,
            token: at(&self.token_url, token, "token_url")?,
        })
    }

    /// The rule that lets the token endpoint be called: for the egress of the client that [`super::OAuth::new`] is given.
    pub fn egress(&self) -> Result<HostRule> {
        HostRule::parse(self.endpoints()?.token.as_str())
    }

    /// What is asked for.
    pub fn scopes(&self) -> Vec<String> {
        let usual = || self.host.scopes().iter().map(|scope| (*scope).to_owned()).collect();
        self.scopes.clone().unwrap_or_else(usual)
    }
}

impl OAuthHost {
    /// The scopes that every function of kiops needs. Bitbucket's stand in the consumer's own settings, so that none is named here.
    pub const fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::GitHub => &["repo", "read:org"],
            Self::GitLab => &["api", "read_repository"],
            Self::Bitbucket => &[],
        }
    }

    const fn url(self) -> &'static str {
        match self {
            Self::GitHub => "https://github.com/",
            Self::GitLab => "https://gitlab.com/",
            Self::Bitbucket => "https://bitbucket.org/",
        }
    }

    const fn paths(self) -> (&'static str, &'static str) {
        match self {
            Self::GitHub => ("login/oauth/authorize", "login/oauth/access_token"),
            Self::GitLab => ("oauth/authorize", "oauth/token"),
            Self::Bitbucket => ("site/oauth2/authorize", "site/oauth2/access_token"),
        }
    }

    /// How people call it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::Bitbucket => "Bitbucket",
        }
    }

    /// Bitbucket's documentation shows client id and secret as user name and password; the others take them in the form.
    pub(super) const fn takes_basic(self) -> bool {
        matches!(self, Self::Bitbucket)
    }
}

const OPERATION: &str = "set up OAuth";

fn known(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|_| Error::internal(OPERATION, "an address does not parse"))
}

fn plain(url: &Url, what: &str) -> Result<()> {
    let fits = matches!(url.scheme(), "https" | "http")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if fits {
        return Ok(());
    }
    let message = format!("`{what}` is no http address, or has user information, a query or a fragment");
    Err(Error::invalid(OPERATION, message).with_remedy("write it like `https://git.example.com/`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(host: OAuthHost) -> OAuthConfig {
        let redirect = Url::parse("https://kiops.example.com/oauth/callback").unwrap();
        OAuthConfig::new(host, "id", SecretName::parse("oauth/secret").unwrap(), redirect)
    }

    #[test]
    fn every_host_has_its_usual_addresses_and_a_prefix_is_kept() {
        for (host, url, authorize, token) in [
            (
                OAuthHost::GitHub,
                None,
                "https://github.com/login/oauth/authorize",
                "https://github.com/login/oauth/access_token",
            ),
            (OAuthHost::GitLab, None, "https://gitlab.com/oauth/authorize", "https://gitlab.com/oauth/token"),
            (
                OAuthHost::Bitbucket,
                None,
                "https://bitbucket.org/site/oauth2/authorize",
                "https://bitbucket.org/site/oauth2/access_token",
            ),
            (
                OAuthHost::GitLab,
                Some("http://git.corp:8080/tools/gitlab"),
                "http://git.corp:8080/tools/gitlab/oauth/authorize",
                "http://git.corp:8080/tools/gitlab/oauth/token",
            ),
        ] {
            let config = OAuthConfig { url: url.map(|url| Url::parse(url).unwrap()), ..config(host) };
            let endpoints = config.endpoints().unwrap();
            assert_eq!((endpoints.authorize.as_str(), endpoints.token.as_str()), (authorize, token));
            assert!(config.egress().is_ok());
        }
        let own = Url::parse("https://sso.corp/token").unwrap();
        let config = OAuthConfig { token_url: Some(own.clone()), ..config(OAuthHost::GitHub) };
        assert_eq!(config.endpoints().unwrap().token, own);
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_what_to_set() {
        let url = |text: &str| Url::parse(text).unwrap();
        for redirect in [
            "http://kiops.example.com/cb",
            "https://u:hunter2@kiops.example.com/cb",
            "https://a.io/cb?x=hunter2",
            "ftp://a.io/",
        ] {
            let config = OAuthConfig { redirect_uri: url(redirect), ..config(OAuthHost::GitHub) };
            let error = config.endpoints().unwrap_err();
            assert!(error.remedy().is_some() && !error.to_string().contains("hunter2"), "{error}");
        }
        for local in ["http://localhost:3000/cb", "http://127.0.0.1/cb", "http://[::1]:1/cb"] {
            let config = OAuthConfig { redirect_uri: url(local), ..config(OAuthHost::GitHub) };
            assert!(config.endpoints().is_ok(), "{local}");
        }
        for id in ["", "a b", "ü"] {
            let config = OAuthConfig { client_id: id.into(), ..config(OAuthHost::GitHub) };
            assert!(config.endpoints().is_err(), "{id}");
        }
        let config = OAuthConfig { url: Some(url("https://u@git.corp/")), ..config(OAuthHost::GitHub) };
        assert!(config.endpoints().is_err());
    }
}
