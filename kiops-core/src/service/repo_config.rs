//! A source in the six fields that a platform's own form has (T07).

use serde::{Deserialize, Serialize};
use url::Url;

use super::source::{Component, GitSource};
use crate::error::{Error, Result};
use crate::event::Repository;
use crate::filter::PathFilter;
use crate::name::{BranchName, ConnectionId, ProviderName};

/// Where the source is, as a form gives it: `provider`, `url`, `branch`, `path`, `dockerfile`, `gitProviderId`, and `watchPath` (T06, commas
/// between patterns). It becomes a [`GitSource`] and a [`Component`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RepoConfig {
    /// Which kind of host (`gitlab`, `plain`).
    pub provider: ProviderName,
    /// The repository's address at its host, as a browser or a clone has it; for `plain` as it is registered.
    pub url: String,
    /// The tracked branch.
    pub branch: BranchName,
    /// The build context; `/` where it is left out.
    #[serde(default = "root")]
    pub path: String,
    /// The Dockerfile, relative to `path`; `Dockerfile` where it is left out.
    #[serde(default = "dockerfile")]
    pub dockerfile: String,
    /// Which changed files make a push build; empty: all.
    #[serde(default)]
    pub watch_path: PathFilter,
    /// Whose connection to the host is used (`git-abc123`): whoever makes the provider chooses its tokens by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_provider_id: Option<ConnectionId>,
}

fn root() -> String {
    "/".into()
}

fn dockerfile() -> String {
    "Dockerfile".into()
}

impl RepoConfig {
    /// The source. `host` is where people open the host, with its path prefix: an address elsewhere is refused, so that nobody sends a token
    /// of this host to another one.
    ///
    /// # Errors
    /// `Invalid` for an address that is none, is not below `host`, holds user information, or names no repository.
    pub fn source(&self, host: &str) -> Result<GitSource> {
        let path = if self.provider.as_str() == "plain" { self.url.clone() } else { self.path_at(host)? };
        let repository = Repository { id: None, path };
        Ok(GitSource { provider: self.provider.clone(), repository, branch: self.branch.clone() })
    }

    /// What is built from it.
    pub fn component(&self) -> Component {
        Component {
            path: self.path.clone(),
            dockerfile: self.dockerfile.clone(),
            watch_path: self.watch_path.clone(),
            ..Component::default()
        }
    }

    fn path_at(&self, host: &str) -> Result<String> {
        // The address may hold a password: it is not repeated.
        let refuse = |reason: &str| {
            Error::invalid("read repository address", reason.to_owned())
                .with_remedy("write it like `https://git.example.com/team/app`")
        };
        let url = Url::parse(&self.url).map_err(|_| refuse("the address is no URL"))?;
        let host = Url::parse(host).map_err(|_| refuse("the host's own address is no URL"))?;
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(refuse("the address has more than host and path"));
        }
        let below = url.path().strip_prefix(host.path().trim_end_matches('/'));
        let Some(path) = below.filter(|path| url.origin() == host.origin() && path.starts_with('/')) else {
            return Err(refuse("the address is not at the host that is registered for this provider"));
        };
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let parts: Vec<&str> = match path.split('/').collect::<Vec<_>>()[..] {
            // Bitbucket Data Center's addresses for clones and for people.
            ["scm", key, slug] | ["projects", key, "repos", slug]
                if self.provider.as_str() == "bitbucket-dc" =>
            {
                vec![key, slug]
            }
            ref parts => parts.to_vec(),
        };
        if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
            return Err(refuse("the address names no repository"));
        }
        Ok(parts.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(provider: &str, url: &str) -> RepoConfig {
        serde_json::from_value(json!({ "provider": provider, "url": url, "branch": "main" })).unwrap()
    }

    #[test]
    fn the_six_fields_of_a_form_become_a_source_and_a_component() {
        let config: RepoConfig = serde_json::from_value(json!({
            "provider": "github", "url": "https://github.com/acme/shop.git", "branch": "main",
            "path": "/api", "dockerfile": "docker/Dockerfile", "gitProviderId": "git-abc123",
            "watchPath": "api/**, shared/",
        }))
        .unwrap();
        let source = config.source("https://github.com").unwrap();
        assert_eq!((source.repository.path.as_str(), source.branch.as_str()), ("acme/shop", "main"));
        let component = config.component();
        assert_eq!((component.path.as_str(), component.dockerfile.as_str()), ("/api", "docker/Dockerfile"));
        assert!(
            component.watch_path.matched_by("shared/lib.rs").is_some()
                && component.watch_path.matched_by("web/app.ts").is_none()
        );
        assert_eq!(config.git_provider_id.unwrap().as_str(), "git-abc123");
    }

    #[test]
    fn what_is_left_out_has_the_documented_defaults() {
        let component = config("gitlab", "https://g.example.com/a/b").component();
        assert_eq!((component.path.as_str(), component.dockerfile.as_str()), ("/", "Dockerfile"));
        assert!(component.watch_path.is_empty());
    }

    #[test]
    fn an_address_is_read_below_its_host() {
        let path =
            |provider, url, host| config(provider, url).source(host).map(|source| source.repository.path);
        let gitlab = "https://g.example.com/prefix/";
        assert_eq!(path("gitlab", "https://g.example.com/prefix/a/b/c", gitlab).unwrap(), "a/b/c");
        let dc = "https://bb.example.com";
        assert_eq!(path("bitbucket-dc", "https://bb.example.com/scm/KEY/app.git", dc).unwrap(), "KEY/app");
        assert_eq!(
            path("bitbucket-dc", "https://bb.example.com/projects/KEY/repos/app", dc).unwrap(),
            "KEY/app"
        );
        assert_eq!(path("plain", "/srv/git/app.git", "").unwrap(), "/srv/git/app.git");
        for bad in [
            "https://evil.example.com/prefix/a/b",
            "http://g.example.com/prefix/a/b",
            "https://g.example.com/prefixed/a/b",
            "https://g.example.com/prefix/a",
            "https://u:p@g.example.com/prefix/a/b",
            "https://g.example.com/prefix/a//b",
            "git@g.example.com:a/b.git",
        ] {
            let error = path("gitlab", bad, gitlab).unwrap_err();
            assert!(!error.to_string().contains("u:p"), "{error}");
        }
    }
}
