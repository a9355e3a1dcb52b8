//! Where a plain repository is: parsed from the text that a service or a hook names it by, before git sees any of it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kiops_core::http::AddressKind;
use kiops_core::{Error, ErrorKind, Result};
use url::{Host, Url};

const OPERATION: &str = "read repository address";
const ADDRESS_MAX: usize = 4096;

/// A repository's place. No value of this type can be an option, a transport helper, or carry a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// An absolute path without `.` and `..`. Whether it is below an allowed folder is asked when it is opened.
    Local(PathBuf),
    /// An address on a host.
    Remote(Remote),
}

/// An `https` or `http` address without user, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote(Url);

impl Address {
    /// Parses a path, a `file:` URL or an `http(s)` URL. Whether plain `http` is allowed is the configuration's to say.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(refused(text, why));
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > ADDRESS_MAX {
            return refuse("it is longer than 4096 bytes");
        }
        if text.starts_with('-') {
            return refuse("it starts with a hyphen");
        }
        if text.chars().any(char::is_control) {
            return refuse("it has control characters");
        }
        if text.starts_with('/') {
            return local(text, PathBuf::from(text));
        }
        if text.starts_with("file://") {
            let url = Url::parse(text).map_err(|error| refused(text, &error.to_string()))?;
            let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
            return match (plain, url.host_str(), url.to_file_path()) {
                (true, None | Some("" | "localhost"), Ok(path)) => local(text, path),
                _ => refuse("a file address is `file:///` and a path on this machine"),
            };
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Remote::parse(text).map(Self::Remote);
        }
        refuse(
            "only https addresses, http where it is allowed, file addresses and absolute paths are repositories",
        )
    }
}

fn local(text: &str, path: PathBuf) -> Result<Address> {
    let clean = path.to_str().is_some_and(|path| {
        !path.chars().any(char::is_control) && !path.split('/').any(|part| matches!(part, "." | ".."))
    });
    if !clean || !path.is_absolute() {
        return Err(refused(text, "a path is absolute and has no `.` or `..` in it"));
    }
    Ok(Address::Local(path))
}

fn refused(text: &str, why: &str) -> Error {
    // What stands before an `@` may be a password.
    let shown: String = match text.rsplit_once('@') {
        Some((_, end)) => format!("...@{end}"),
        None => text.to_owned(),
    };
    let shown: String = shown.chars().take(120).flat_map(char::escape_debug).collect();
    Error::invalid(OPERATION, format!("`{shown}` is not an address of a repository: {why}")).with_remedy(
        "give an https address without user name and password, or the absolute path of a bare repository",
    )
}

impl Remote {
    /// Parses an `http(s)` address. What git is given later is what was parsed here, so nobody reads it another way.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(refused(text, why));
        let url = Url::parse(text).map_err(|error| refused(text, &error.to_string()))?;
        if !matches!(url.scheme(), "https" | "http") {
            return refuse("the scheme is neither https nor http");
        }
        let authority = text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '\\', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() {
            return refuse("it has no host");
        }
        if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
            return refuse("it has a user name or password in it");
        }
        if text.contains('\\') {
            return refuse("it has a backslash");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("it has a query or a fragment");
        }
        match url.host() {
            None => return refuse("it has no host"),
            Some(Host::Domain(host)) if host.starts_with('-') || host.is_empty() => {
                return refuse("its host starts with a hyphen");
            }
            Some(_) => {}
        }
        let lower = url.path().to_ascii_lowercase();
        if ["%00", "%0a", "%0d", "%2e%2e"].iter().any(|bad| lower.contains(bad)) {
            return refuse("its path has encoded control characters or dots");
        }
        Ok(Self(url))
    }

    /// The address as git is given it.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// The host without port; an IPv6 address without brackets.
    pub(super) fn host(&self) -> String {
        match self.0.host() {
            Some(Host::Ipv6(ip)) => ip.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        }
    }

    /// The address itself, where the host is one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        }
    }

    /// Whether one of `hosts` (`host` or `host:port`) is this host.
    pub(super) fn is_at(&self, hosts: &[String]) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let with_port = format!("{host}:{}", self.port());
        hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(&with_port))
    }

    /// How much of this address `prefix` covers: the same scheme, host and port, and whole path segments. `None`: nothing.
    pub(super) fn covered_by(&self, prefix: &Self) -> Option<usize> {
        if self.0.origin() != prefix.0.origin() {
            return None;
        }
        let path = prefix.0.path().trim_end_matches('/');
        let rest = self.0.path().strip_prefix(path)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(path.len())
    }

    /// Refuses addresses of `resolved` that are not public, unless `private` is allowed for this host; those of special
    /// networks, where clouds keep their metadata, are reached only where the repository names that very address. Gives what
    /// `http.curloptResolve` takes, so that git connects to these and asks no name server again (DNS rebinding).
    pub(super) fn pinned(&self, resolved: &[IpAddr], private: bool) -> Result<Option<String>> {
        if resolved.is_empty() {
            return Err(Error::unavailable(
                "reach repository",
                format!("the host `{}` has no address", self.host()),
            ));
        }
        let allowed = |ip: &IpAddr| match AddressKind::of(*ip) {
            AddressKind::Public => true,
            AddressKind::Private => private,
            AddressKind::Special => private && self.ip() == Some(*ip),
        };
        if !resolved.iter().all(allowed) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "reach repository",
                format!("the host `{}` is at an address that is not public", self.host()),
            )
            .with_remedy("add the host to allow_private_hosts if it is meant"));
        }
        if self.ip().is_some() {
            return Ok(None);
        }
        let addresses: Vec<String> = resolved
            .iter()
            .map(|ip| match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            })
            .collect();
        Ok(Some(format!("{}:{}:{}", self.host(), self.port(), addresses.join(","))))
    }
}

/// The canonical path of the bare repository at `path`, if it is below one of the (canonical) `roots`.
pub(super) fn locate(path: &Path, roots: &[PathBuf]) -> Result<PathBuf> {
    let operation = "open repository";
    let shown = path.display();
    let outside = || {
        Error::new(
            ErrorKind::Forbidden,
            operation,
            format!("`{shown}` is outside the folders that may be read"),
        )
        .with_remedy("move the repository below a folder of `roots`, or add its folder there")
    };
    let missing = || {
        Error::not_found(operation, format!("there is no bare repository at `{shown}`"))
            .with_remedy("check the path; `git init --bare` makes a bare repository")
    };
    let real_roots: Vec<PathBuf> = roots.iter().filter_map(|root| std::fs::canonicalize(root).ok()).collect();
    // Asked of the text first, so that the answer does not tell what exists outside.
    if !roots.iter().chain(&real_roots).any(|root| path.starts_with(root)) {
        return Err(outside());
    }
    let real = std::fs::canonicalize(path).map_err(|_| missing())?;
    if !real_roots.iter().any(|root| real.starts_with(root)) {
        return Err(outside());
    }
    if !is_bare(&real) {
        return Err(missing());
    }
    Ok(real)
}

/// Whether a folder looks like a bare repository: the three things that git itself asks for.
pub(super) fn is_bare(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir() && folder.join("refs").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn https_and_absolute_paths_are_addresses() {
        for good in
            ["https://host/a.git", "https://host:8443/a/b", "http://host/a", "https://[2606:4700::1]/x"]
        {
            assert!(matches!(Address::parse(good), Ok(Address::Remote(_))), "{good}");
        }
        for good in [
            "/srv/git/a.git",
            "/srv/a b/#1%20.git",
            "/srv/日本.git",
            "file:///srv/git/a.git",
            "file://localhost/srv/a",
        ] {
            assert!(matches!(Address::parse(good), Ok(Address::Local(_))), "{good}");
        }
    }

    #[test]
    fn hostile_addresses_never_reach_git() {
        let long = format!("https://host/{}", "a".repeat(5000));
        for bad in [
            "",
            "--upload-pack=touch pwned",
            "-oProxyCommand=touch pwned",
            "-",
            "ext::sh -c 'touch pwned'",
            "EXT::sh -c 'touch pwned'",
            "Ext::sh",
            "fd::17",
            "https::https://host/x",
            "HTTPS://host/x",
            "FILE:///etc",
            "transport::address",
            "ssh://-x/y",
            "ssh://host/y",
            "ssh://-oProxyCommand=touch%20pwned/y",
            "git@host:group/project.git",
            "host:path",
            "git://host/x",
            "ftp://host/x",
            "relative/path.git",
            "./x",
            "../x",
            "~/x",
            "/srv/../etc",
            "/srv/./x",
            "file:///srv/%00x",
            "file:///srv/%0ax",
            "file://evil/srv/x",
            "file://user@localhost/srv/x",
            "http://user@evil@good/",
            "https://user:pass@host/x",
            "https://token@host/x",
            "https://@host/x",
            "https://:@host/x",
            "https://host\\@evil/x",
            "https://-x/y",
            "https:///x",
            "https://host/x?y",
            "https://host/x#y",
            "https://host/x%0d%0aHost:evil",
            "https://host/a\r\nb",
            "https://host/a\nb",
            "https://host/\0",
            "/srv/a\0b",
            "/srv/a\r\nb",
            "/srv/a\u{85}b",
            " https://host/x",
            "\thttps://host/x",
            long.as_str(),
        ] {
            let refused = Address::parse(bad);
            assert!(refused.is_err(), "{bad:?} gave {refused:?}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated_in_the_refusal() {
        let error = Address::parse("https://me:hunter2@host/x").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let error = Address::parse("ssh://me:hunter2@host/x").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn an_address_that_is_not_public_is_refused_however_it_is_written() {
        for private in [
            "http://127.0.0.1/",
            "http://169.254.169.254/",
            "http://[::ffff:127.0.0.1]",
            "http://0/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://10.0.0.1/",
            "http://[fd00::1]/",
            "http://[64:ff9b::7f00:1]/",
        ] {
            let remote = Remote::parse(private).unwrap();
            let ip = remote.ip().unwrap_or_else(|| panic!("{private} is not read as an address"));
            assert_eq!(remote.pinned(&[ip], false).unwrap_err().kind(), ErrorKind::Forbidden, "{private}");
            assert!(remote.pinned(&[ip], true).is_ok(), "{private} is meant");
        }
    }

    #[test]
    fn a_private_host_is_not_sent_to_the_clouds_metadata() {
        let remote = Remote::parse("https://git.internal/a.git").unwrap();
        assert!(remote.pinned(&["10.0.0.1".parse().unwrap()], true).is_ok());
        let metadata = "169.254.169.254".parse().unwrap();
        assert_eq!(remote.pinned(&[metadata], true).unwrap_err().kind(), ErrorKind::Forbidden);
    }

    #[test]
    fn a_name_with_one_private_address_is_refused_and_the_checked_ones_are_pinned() {
        let remote = Remote::parse("https://git.example.com/a.git").unwrap();
        let (public, private) = ("1.1.1.1".parse().unwrap(), "10.0.0.1".parse().unwrap());
        assert!(remote.pinned(&[public, private], false).is_err());
        assert!(remote.pinned(&[], false).is_err());
        let six = "2606:4700::1".parse().unwrap();
        assert_eq!(
            remote.pinned(&[public, six], false).unwrap().unwrap(),
            "git.example.com:443:1.1.1.1,[2606:4700::1]"
        );
    }

    #[test]
    fn a_credential_covers_whole_segments_of_one_origin() {
        let repository = Remote::parse("https://host/group/project.git").unwrap();
        let covered = |prefix: &str| repository.covered_by(&Remote::parse(prefix).unwrap());
        assert_eq!(covered("https://host/"), Some(0));
        assert_eq!(covered("https://host:443/group"), Some(6));
        assert_eq!(covered("https://host/group/"), Some(6));
        assert_eq!(covered("https://host/gro"), None);
        assert_eq!(covered("http://host/"), None);
        assert_eq!(covered("https://host:8443/"), None);
        assert_eq!(covered("https://host.evil/"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_or_pass_an_option(text in "\\PC{0,80}|(https?|file|ext|ssh)(://|::)[-@a-z0-9./%:\\\\\\[\\]]{0,40}") {
            match Address::parse(&text) {
                Ok(Address::Local(path)) => prop_assert!(path.is_absolute()),
                Ok(Address::Remote(remote)) => {
                    prop_assert!(remote.as_str().starts_with("http"));
                    prop_assert!(!remote.as_str().contains('@') || !remote.as_str().split('/').nth(2).unwrap().contains('@'));
                    let again = Remote::parse(remote.as_str());
                    prop_assert_eq!(again.ok(), Some(remote));
                }
                Err(_) => {}
            }
        }
    }
}
