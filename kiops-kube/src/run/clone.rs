//! Addresses that a pod clones from. Pure.

use kiops_core::provider::CloneAccess;
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::{Error, Result};

use super::Network;
use crate::build::clone_failed;

const OPERATION: &str = "prepare git clone";

/// An address of a repository, looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CloneAddress<'a> {
    /// Whether it is cloned over plain HTTP.
    pub(crate) plain_http: bool,
    /// What stands behind `https://`: host and path.
    pub(crate) rest: &'a str,
}

/// Why the source of a run was not fetched, by Git's last words.
pub(crate) fn not_fetched(message: &str) -> Failure {
    let last = message.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    // A folder of the commit: what is there is no folder, or nothing is.
    if let Some((_, folder)) = last.split_once("FETCH_HEAD:") {
        let text = format!("path {folder} is no folder of the commit");
        return Failure::new(Stage::Setup, FailureKind::SettingsInvalid, text);
    }
    let commit = last.rsplit(' ').next().unwrap_or_default();
    clone_failed(last, commit)
}

impl CloneAddress<'_> {
    /// That runs reach it.
    ///
    /// # Errors
    /// What [`Network::admits`] says.
    pub(crate) fn is_admitted(&self, network: &Network) -> Result<()> {
        let host = self.rest.split('/').next().unwrap_or_default();
        network.admits(host, if self.plain_http { 80 } else { 443 })
    }
}

/// The address of a clone; plain HTTP only from hosts that are named.
///
/// # Errors
/// `Unsupported` for anything but HTTP and HTTPS, and for plain HTTP from another host; `Invalid` for an address with a credential, a
/// query or a fragment in it.
pub(crate) fn clone_address<'a>(access: &'a CloneAccess, insecure: &[String]) -> Result<CloneAddress<'a>> {
    let (plain_http, rest) = match access.url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (true, rest),
        _ => {
            return Err(Error::unsupported(OPERATION, "pods clone over HTTPS only")
                .with_remedy("give the repository an https address, or use another executor"));
        }
    };
    let host = rest.split('/').next().unwrap_or_default();
    if rest.contains(['#', '?', '@', '\\'])
        || rest.chars().any(|c| c.is_whitespace() || c.is_control())
        || host.is_empty()
    {
        return Err(Error::invalid(OPERATION, "the clone address is no plain https://HOST/PATH"));
    }
    if plain_http && !insecure.iter().any(|name| name == host) {
        return Err(Error::unsupported(OPERATION, format!("{host} is not reached over HTTPS"))
            .with_remedy("use its https address, or name the host in insecure_git_hosts"));
    }
    Ok(CloneAddress { plain_http, rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureKind::*;

    #[test]
    fn what_git_says_is_called_by_its_name() {
        for (message, kind, part) in [
            (
                "fatal: Authentication failed for 'https://git.example.com/x.git/'\n",
                GitCloneFailed,
                "Authentication failed",
            ),
            (
                "fatal: could not read Username for 'https://git.example.com': terminal prompts disabled",
                GitCloneFailed,
                "Username",
            ),
            (
                "fatal: unable to access 'https://git.invalid/x/': Could not resolve host: git.invalid",
                GitCloneFailed,
                "resolve",
            ),
            ("fatal: remote error: upload-pack: not our ref abc123", CommitNotFound, "abc123"),
            ("fatal: Not a valid object name FETCH_HEAD:web", SettingsInvalid, "path web"),
            ("fatal: failed to unpack tree object FETCH_HEAD:a/link", SettingsInvalid, "path a/link"),
            (
                "fatal: remote error: Server does not allow request for unadvertised object abc123",
                GitCloneFailed,
                "abc123",
            ),
            ("", GitCloneFailed, "Git clone failed"),
        ] {
            let failure = not_fetched(message);
            assert_eq!((failure.kind, failure.stage), (kind, Stage::Setup), "{message}: {failure}");
            assert!(failure.message.contains(part), "{failure}");
        }
    }
}
