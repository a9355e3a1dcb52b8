//! Where a host is, and what calls to it may cost.

use std::time::Duration;

use kiops_core::http::{Egress, HostRule, Limits};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use url::Url;

/// A Git host's place and limits: the same for every kind of host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Where people open it, with its path prefix: `https://gitlab.example.com/git`. `http` where calls in clear are meant.
    pub url: String,
    /// Where its interface begins, where that does not follow from `url`: `https://api.github.com`.
    #[serde(default)]
    pub api_url: Option<String>,
    /// Whether it may be at an address that is not public.
    #[serde(default)]
    pub private: bool,
    /// Further places that it may redirect to for archives and files, credentials left behind: an object store.
    #[serde(default)]
    pub redirects: Vec<HostRule>,
    /// Where repositories may be imported from, which has to be asked for particulars: `https://api.github.com/`.
    #[serde(default)]
    pub import_from: Vec<HostRule>,
    /// Seconds that a call may take, tries and waits included.
    #[serde(default = "call_seconds")]
    pub call_seconds: u32,
    /// Seconds that an archive may take.
    #[serde(default = "archive_seconds")]
    pub archive_seconds: u32,
    /// Bytes of an archive, unpacked; one that is larger ends with an error.
    #[serde(default = "max_archive_bytes")]
    pub max_archive_bytes: u64,
    /// Changed files that a comparison lists; of more it lists this many and says that the list is partial.
    #[serde(default = "max_changed_files")]
    pub max_changed_files: usize,
    /// Entries of a list that is read page by page: branches, tags, a tree.
    #[serde(default = "max_entries")]
    pub max_entries: usize,
}

const fn call_seconds() -> u32 {
    60
}

const fn archive_seconds() -> u32 {
    900
}

const fn max_archive_bytes() -> u64 {
    1 << 30
}

const fn max_changed_files() -> usize {
    10_000
}

const fn max_entries() -> usize {
    100_000
}

impl HostConfig {
    /// The host at this address, with the limits' defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_url: None,
            private: false,
            redirects: Vec::new(),
            import_from: Vec::new(),
            call_seconds: call_seconds(),
            archive_seconds: archive_seconds(),
            max_archive_bytes: max_archive_bytes(),
            max_changed_files: max_changed_files(),
            max_entries: max_entries(),
        }
    }

    /// Where calls may go: below the interface, and where the configuration says besides. Give a `ReqwestService` the same rules.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn egress(&self) -> Result<Egress> {
        let place = |url: &str| {
            let rule = HostRule::parse(url)?;
            Ok::<_, Error>(if self.private { rule.private() } else { rule })
        };
        let mut egress = Egress::new([place(&self.url)?]);
        if let Some(api) = &self.api_url {
            egress.allow(place(api)?);
        }
        for rule in self.redirects.iter().chain(&self.import_from) {
            egress.allow(rule.clone());
        }
        Ok(egress)
    }

    /// Where the interface begins, with a slash at the end: `api_url`, else `path` below `url`.
    pub(crate) fn api(&self, path: &str) -> Result<String> {
        match &self.api_url {
            Some(api) => Ok(format!("{}/", checked(api)?)),
            None => Ok(format!("{}{path}", self.web()?)),
        }
    }

    /// Where people open it, with a slash at the end.
    pub(crate) fn web(&self) -> Result<String> {
        Ok(format!("{}/", checked(&self.url)?))
    }

    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.deadline = Duration::from_secs(self.call_seconds.into());
        limits
    }

    pub(crate) fn archive_time(&self) -> Duration {
        Duration::from_secs(self.archive_seconds.into())
    }
}

/// An address without its final slashes.
fn checked(url: &str) -> Result<String> {
    HostRule::parse(url)?;
    let parsed =
        Url::parse(url).map_err(|_| Error::invalid("read Git host settings", "the address is no URL"))?;
    if parsed.host_str().is_some_and(|host| host.contains('*')) {
        return Err(Error::invalid("read Git host settings", "the address has a `*` in its host"));
    }
    // As it is called, not as it was written: a name beyond ASCII, blanks around it.
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_lies_below_the_prefix_or_where_it_is_said_to() {
        let mut config = HostConfig::new("https://git.example.com/prefix/");
        assert_eq!(config.api("api/v4/").unwrap(), "https://git.example.com/prefix/api/v4/");
        config.url = " https://B\u{fc}cher.example/x ".into();
        assert_eq!(config.web().unwrap(), "https://xn--bcher-kva.example/x/");
        config.api_url = Some("https://api.example.com".into());
        assert_eq!(config.api("api/v4/").unwrap(), "https://api.example.com/");
    }

    #[test]
    fn an_address_that_names_no_one_host_is_refused() {
        for bad in
            ["", "git.example.com", "ssh://git.example.com", "https://u:p@h/", "https://*.example.com/"]
        {
            HostConfig::new(bad).web().unwrap_err();
        }
    }
}
