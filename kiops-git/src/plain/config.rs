//! What a host sets for plain repositories.

use std::path::PathBuf;
use std::time::Duration;

use kiops_core::name::SecretName;
use serde::{Deserialize, Serialize};

/// Where plain repositories may be, and what a call to `git` may cost.
///
/// The default reaches nothing on disk (no `roots`) and nothing over the network (no `work_dir`): a host names what it wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlainConfig {
    /// The `git` program: a name that is looked up in `PATH`, or a path. Version 2.37 or newer.
    pub program: PathBuf,
    /// Absolute folders; only bare repositories below them are reached. A link that leaves them is refused.
    pub roots: Vec<PathBuf>,
    /// An absolute folder of this provider's own, for mirrors of repositories that are named by a URL. It is a cache: everything in
    /// it may be deleted while nothing runs. `None`: repositories are reached on disk only.
    pub work_dir: Option<PathBuf>,
    /// Hosts (`host` or `host:port`) that may be reached by `http://`, without encryption. `https://` needs no entry.
    pub allow_http_hosts: Vec<String>,
    /// Hosts (`host` or `host:port`) that may be at an address which is not public: loopback, private networks, link-local.
    /// Of every other host each address is checked, and git connects to the checked ones only.
    pub allow_private_hosts: Vec<String>,
    /// Credentials by address. The one with the longest fitting address counts.
    pub credentials: Vec<PlainCredential>,
    /// A PEM file with the authorities that sign the hosts' certificates, where the system's do not.
    pub ca_file: Option<PathBuf>,
    /// Seconds that a call which only reads a repository on disk may take; an archive: seconds without a byte from git.
    pub command_seconds: u32,
    /// Seconds that a call over the network may take.
    pub fetch_seconds: u32,
    /// Bytes that a list (refs, changed files, a tree) may take as git prints it.
    pub max_list_bytes: usize,
    /// Changed files that a comparison lists; of more it lists this many and says that the list is partial.
    pub max_changed_files: usize,
    /// Bytes of an archive; one that is larger ends with an error.
    pub max_archive_bytes: u64,
    /// How many `git` commands run at a time on disk, and as many over the network. Archives are not counted.
    pub processes: usize,
}

/// A user name and the place of a password for addresses on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainCredential {
    /// The repositories it is for: `https://host/` for all of a host, `https://host/group/` for those below a path.
    pub url: String,
    /// The user name (`oauth2` at GitLab, `x-token-auth` at Bitbucket).
    pub username: String,
    /// Where the password or token is kept.
    pub password: SecretName,
}

impl Default for PlainConfig {
    fn default() -> Self {
        Self {
            program: PathBuf::from("git"),
            roots: Vec::new(),
            work_dir: None,
            allow_http_hosts: Vec::new(),
            allow_private_hosts: Vec::new(),
            credentials: Vec::new(),
            ca_file: None,
            command_seconds: 60,
            fetch_seconds: 600,
            max_list_bytes: 32 * 1024 * 1024,
            max_changed_files: 10_000,
            max_archive_bytes: 8 * 1024 * 1024 * 1024,
            processes: 8,
        }
    }
}

impl PlainConfig {
    /// Repositories on disk below one folder, everything else as by default.
    pub fn on_disk(root: impl Into<PathBuf>) -> Self {
        Self { roots: vec![root.into()], ..Self::default() }
    }

    pub(super) fn command_time(&self) -> Duration {
        Duration::from_secs(self.command_seconds.max(1).into())
    }

    pub(super) fn fetch_time(&self) -> Duration {
        Duration::from_secs(self.fetch_seconds.max(1).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_unknown_is_refused() {
        let config: PlainConfig = serde_json::from_str(r#"{"roots":["/srv/git"]}"#).unwrap();
        assert_eq!(config, PlainConfig::on_disk("/srv/git"));
        assert!(serde_json::from_str::<PlainConfig>(r#"{"root":"/srv/git"}"#).is_err());
    }
}
