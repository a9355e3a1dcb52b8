//! Where calls may go.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::address::AddressKind;
use crate::error::{Error, ErrorKind, Result};

/// The hosts that may be called; everything else is refused, redirects included.
///
/// A URL is allowed where one of the rules has its scheme, host, port and the beginning of its path. URLs with user information, and paths that
/// leave a rule's folder by an encoded `..`, are refused always.
///
/// Addresses: what a name resolves to must be public, unless a rule for the name says `private`. Link-local addresses (where
/// clouds keep their metadata), multicast and reserved ones are reached only by a rule that names that very address.
/// Addresses in URLs are checked here, whatever their spelling; those of names by the service, through
/// [`Egress::allows_address`], at the moment it connects, so that a name cannot change in between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Egress {
    rules: Vec<HostRule>,
}

/// One place that may be called.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct HostRule {
    url: Url,
    private: bool,
}

/// As it is written: a URL, or `{url, private}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Raw {
    Url(String),
    Full {
        url: String,
        #[serde(default)]
        private: bool,
    },
}

impl HostRule {
    /// A rule from a URL: `https://gitlab.example.com/`, `https://host:8443/api/v4/`, `http://internal:3000/`. The scheme is
    /// `https`, or `http` where calls in clear are meant; the port is the scheme's own where none is given; the path is
    /// where every called path must begin, at a border of segments. The host may be `*.example.com`, every name below it but not itself, or
    /// `*`, every host: for the storage behind a registry that redirects anywhere.
    pub fn parse(url: &str) -> Result<Self> {
        let refuse = |reason: &str| {
            Err(Error::invalid("parse egress rule", format!("`{}` {reason}", url.escape_debug()))
                .with_remedy("write it like `https://git.example.com/`"))
        };
        let Ok(parsed) = Url::parse(url) else {
            return Err(Error::invalid("parse egress rule", "a rule is no URL")
                .with_remedy("write it like `https://git.example.com/`"));
        };
        if has_user_info(&parsed) {
            // The text may hold a password.
            return Err(Error::invalid(
                "parse egress rule",
                format!("`{}` has user information", shown(&parsed)),
            ));
        }
        if !matches!(parsed.scheme(), "https" | "http") {
            return refuse("is neither https nor http");
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return refuse("has a query or fragment");
        }
        let host = parsed.host_str().unwrap_or_default();
        let name = host.strip_prefix("*.").unwrap_or(host);
        if name.is_empty() || (name.contains('*') && host != "*") {
            return refuse("has a `*` elsewhere than alone or as the whole first part of its host");
        }
        Ok(Self { url: parsed, private: false })
    }

    /// The same rule, which may reach private and loopback addresses, too.
    #[must_use]
    pub const fn private(mut self) -> Self {
        self.private = true;
        self
    }

    fn allows(&self, url: &Url) -> bool {
        self.url.scheme() == url.scheme()
            && self.url.port_or_known_default() == url.port_or_known_default()
            && url.host_str().is_some_and(|host| self.has_host(host))
            && self.has_path(url.path())
    }

    fn has_host(&self, host: &str) -> bool {
        match self.url.host_str() {
            Some("*") => true,
            Some(own) => match own.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
                None => own == host,
            },
            None => false,
        }
    }

    fn has_path(&self, path: &str) -> bool {
        let own = self.url.path().trim_end_matches('/');
        let Some(rest) = path.strip_prefix(own) else { return false };
        if own.is_empty() {
            return true;
        }
        // A server may decode `%2e%2e%2f` before it looks: what it would see must stay within the folder.
        let decoded = percent_decode_str(rest).decode_utf8_lossy();
        (rest.is_empty() || rest.starts_with('/')) && !decoded.split(['/', '\\']).any(|part| part == "..")
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        match AddressKind::of(address) {
            AddressKind::Public => true,
            AddressKind::Private => self.private,
            AddressKind::Special => self.private && literal(&self.url) == Some(address),
        }
    }
}

impl Egress {
    /// Allows what these rules allow.
    pub fn new(rules: impl IntoIterator<Item = HostRule>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    /// Allows what one more rule allows.
    pub fn allow(&mut self, rule: HostRule) {
        self.rules.push(rule);
    }

    /// The URL as it is to be called, in the one spelling that was judged; or an error of kind `Forbidden`, or `Invalid` where it is none.
    pub fn check(&self, url: &str) -> Result<Url> {
        let Ok(url) = Url::parse(url) else {
            return Err(Error::invalid("check egress", "the address is not a valid URL"));
        };
        self.check_url(&url)?;
        Ok(url)
    }

    pub(super) fn check_url(&self, url: &Url) -> Result<()> {
        let refuse = |reason: &str| {
            Err(Error::new(ErrorKind::Forbidden, "check egress", format!("{} {reason}", shown(url))))
        };
        if has_user_info(url) {
            return refuse("has user information before its host");
        }
        let rules: Vec<&HostRule> = self.rules.iter().filter(|rule| rule.allows(url)).collect();
        if rules.is_empty() {
            let known = self.rules.iter().any(|rule| url.host_str().is_some_and(|host| rule.has_host(host)));
            let reason = if known {
                "is not allowed: its host is, with another scheme, port or path"
            } else {
                "is not allowed: no rule has its host"
            };
            return refuse(reason)
                .map_err(|error| error.with_remedy("add it to the egress rules if it is meant"));
        }
        let allowed = match literal(url) {
            Some(address) => rules.iter().any(|rule| rule.allows_address(address)),
            None => !is_local_name(url) || rules.iter().any(|rule| rule.private),
        };
        if allowed {
            return Ok(());
        }
        refuse("is a private or special address").map_err(|error| error.with_remedy(PRIVATE))
    }

    /// Whether a connection for `host` may go to `address`: what a service's resolver must ask for every address that a name resolves to.
    pub fn allows_address(&self, host: &str, address: IpAddr) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        self.rules.iter().any(|rule| {
            let own = rule.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            (own == host || rule.has_host(&host)) && rule.allows_address(address)
        })
    }
}

pub(super) const PRIVATE: &str = "mark the host's egress rule as private if it is meant";

impl FromStr for HostRule {
    type Err = Error;
    fn from_str(url: &str) -> Result<Self> {
        Self::parse(url)
    }
}

impl TryFrom<Raw> for HostRule {
    type Error = Error;
    fn try_from(raw: Raw) -> Result<Self> {
        match raw {
            Raw::Url(url) => Self::parse(&url),
            Raw::Full { url, private } => Ok(Self { private, ..Self::parse(&url)? }),
        }
    }
}

impl From<HostRule> for Raw {
    fn from(rule: HostRule) -> Self {
        let url = rule.url.into();
        if rule.private { Self::Full { url, private: true } } else { Self::Url(url) }
    }
}

impl fmt::Debug for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostRule({}{})", self.url, if self.private { ", private" } else { "" })
    }
}

/// A URL as errors may show it: without user information, query and fragment.
pub(super) fn shown(url: &Url) -> String {
    let mut out = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        out.push_str(&format!(":{port}"));
    }
    out.push_str(url.path());
    out
}

fn has_user_info(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(v4) => Some(v4.into()),
        Host::Ipv6(v6) => Some(v6.into()),
        Host::Domain(_) => None,
    }
}

fn is_local_name(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_end_matches('.');
        host == "localhost" || host.ends_with(".localhost")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn egress(rules: &[&str]) -> Egress {
        Egress::new(rules.iter().map(|rule| HostRule::parse(rule).unwrap()))
    }

    #[test]
    fn only_configured_hosts_ports_and_paths_are_allowed() {
        let egress =
            egress(&["https://git.example.com/api/v4/", "http://plain.example.com:3000", "https://*.cdn.io"]);
        for good in [
            "https://git.example.com/api/v4/projects?x=1",
            "https://GIT.example.com:443/api/v4",
            "https://git.example.com/api/v4/a%2Fb",
            "http://plain.example.com:3000/any",
            "https://a.b.cdn.io/x",
        ] {
            assert!(egress.check(good).is_ok(), "{good}: {:?}", egress.check(good));
        }
        for bad in [
            "http://git.example.com/api/v4/",
            "https://git.example.com:8443/api/v4/",
            "https://git.example.com/api/v44/x",
            "https://git.example.com/api/v4/../v3/x",
            "https://git.example.com/api/v4/%2e%2e/v3/x",
            "https://git.example.com/api/v4/..%2fv3/x",
            "https://git.example.com/api/v4/a%5c..%5cx",
            "https://git.example.com./api/v4/",
            "https://evil-git.example.com/api/v4/",
            "https://git.example.com.evil.io/api/v4/",
            "https://plain.example.com:3000/any",
            "https://cdn.io/x",
            "https://xcdn.io/x",
            "ftp://git.example.com/api/v4/",
            "file:///etc/passwd",
        ] {
            assert_eq!(egress.check(bad).unwrap_err().kind(), ErrorKind::Forbidden, "{bad}");
        }
        assert_eq!(egress.check("no url").unwrap_err().kind(), ErrorKind::Invalid);
        assert!(Egress::default().check("https://a.io/").is_err());
    }

    #[test]
    fn user_information_is_refused_and_never_shown() {
        let egress = egress(&["https://good/", "http://good/"]);
        for bad in [
            "http://user@evil@good/",
            "https://good@evil/",
            "https://u:pw@good/",
            "https://:pw@good/",
            "http://evil\\@good/",
        ] {
            let error = egress.check(bad).unwrap_err();
            assert!(!error.to_string().contains("pw"), "{error}");
            assert!(!error.to_string().contains("user@"), "{error}");
        }
        let error = HostRule::parse("https://u:hunter2@good/").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn private_addresses_need_a_rule_that_says_so_in_any_spelling() {
        let any = egress(&["http://*", "https://*"]);
        for bad in [
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[fd00::1]/",
            "http://10.0.0.1/",
            "http://0/",
            "http://localhost/",
            "http://x.localhost/",
            "http://localhost./",
            "https://①②⑦.0.0.1/",
        ] {
            assert_eq!(any.check(bad).unwrap_err().kind(), ErrorKind::Forbidden, "{bad}");
        }
        assert!(any.check("http://93.184.216.34/").is_ok());

        let private = Egress::new([HostRule::parse("http://*").unwrap().private()]);
        assert!(private.check("http://127.0.0.1/").is_ok() && private.check("http://localhost/").is_ok());
        assert!(private.check("http://169.254.169.254/").is_err(), "metadata only by its own rule");
        let exact = Egress::new([HostRule::parse("http://169.254.169.254/").unwrap().private()]);
        assert!(exact.check("http://169.254.169.254/x").is_ok());
    }

    #[test]
    fn resolved_addresses_are_judged_by_the_rule_of_their_name() {
        let egress = Egress::new([
            HostRule::parse("https://public.io").unwrap(),
            HostRule::parse("http://inside.corp").unwrap().private(),
        ]);
        let at = |host: &str, address: &str| egress.allows_address(host, address.parse().unwrap());
        assert!(at("public.io", "93.184.216.34") && at("PUBLIC.io", "93.184.216.34"));
        assert!(!at("public.io", "10.0.0.1") && !at("public.io", "::ffff:10.0.0.1"));
        assert!(at("inside.corp", "10.0.0.1") && at("inside.corp", "127.0.0.1"));
        assert!(!at("inside.corp", "169.254.169.254"));
        assert!(!at("unknown.io", "93.184.216.34"));
    }

    #[test]
    fn rules_read_from_urls_and_refuse_nonsense() {
        let json = r#"["https://a.io/",{"url":"http://b:8080/x","private":true}]"#;
        let egress: Egress = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&egress).unwrap(), json);
        for bad in [
            "",
            "a.io",
            "ssh://a.io",
            "https://a.io/?q=1",
            "https://a.io/#f",
            "https://a.*.io",
            "https://*a.io",
            "https://*.*",
        ] {
            assert!(HostRule::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_gets_past_the_host_rule(text in "\\PC{0,40}", host in "[a-z@:/\\\\.\\[\\]#?%*-]{0,20}") {
            let rules = egress(&["https://good.example/"]);
            for url in [text.clone(), format!("https://{host}"), format!("https://good.example{host}"), format!("https://{host}good.example/")] {
                if let Ok(url) = rules.check(&url) {
                    prop_assert_eq!(url.host_str(), Some("good.example"));
                    prop_assert!(url.username().is_empty());
                }
                drop(HostRule::parse(&url));
            }
        }
    }
}
