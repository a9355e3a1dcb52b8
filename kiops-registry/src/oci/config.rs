//! Where a registry is, and what calls to it may cost.

use std::time::Duration;

use kiops_core::http::{Egress, HostRule, Limits};
use kiops_core::name::ImageName;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use url::Url;

/// A registry's place and limits. Accounts are given apart, since they are secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OciConfig {
    /// The host as image names have it, with its port: `registry.example.com:5000`, `docker.io`.
    pub host: String,
    /// Where it answers, where that is not `https://` and the host: `http://registry.internal:5000` for a registry in clear. Without a path.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether it may be at an address that is not public.
    #[serde(default)]
    pub private: bool,
    /// Where it may send us for tokens, account included, besides itself and what is known of its host:
    /// `https://gitlab.example.com/jwt/auth`.
    #[serde(default)]
    pub realms: Vec<HostRule>,
    /// Where it may redirect to for content, without account: the object store behind it.
    #[serde(default)]
    pub redirects: Vec<HostRule>,
    /// Addresses of registries that hold the same images, asked before this one, without account, for what is named by its digest:
    /// `https://mirror.example.com`.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// Seconds that a call may take, tries and waits included.
    #[serde(default = "call_seconds")]
    pub call_seconds: u32,
    /// Seconds that the content of a blob, or a piece of it that is uploaded, may take.
    #[serde(default = "transfer_seconds")]
    pub transfer_seconds: u32,
    /// Bytes of the pieces in which large blobs are uploaded: so much is kept in memory for each upload, and sent again where a
    /// connection breaks.
    #[serde(default = "piece_bytes")]
    pub piece_bytes: usize,
    /// Tags of an image that are listed at most; of more the list is an error.
    #[serde(default = "max_tags")]
    pub max_tags: usize,
}

const fn call_seconds() -> u32 {
    60
}

const fn transfer_seconds() -> u32 {
    3600
}

/// What the stores behind registries take as a part: S3 wants 5 MiB at least.
const fn piece_bytes() -> usize {
    8 << 20
}

const fn max_tags() -> usize {
    100_000
}

impl OciConfig {
    /// The registry of this host, with the limits' defaults.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            url: None,
            private: false,
            realms: Vec::new(),
            redirects: Vec::new(),
            mirrors: Vec::new(),
            call_seconds: call_seconds(),
            transfer_seconds: transfer_seconds(),
            piece_bytes: piece_bytes(),
            max_tags: max_tags(),
        }
    }

    /// Refuses the images of other hosts: a name must never mean another registry's image than it says.
    pub(crate) fn own(&self, image: &ImageName) -> Result<()> {
        if image.host().eq_ignore_ascii_case(&self.host) {
            return Ok(());
        }
        let message = format!("{image} is not in the registry {}", self.host);
        Err(Error::invalid("choose registry", message).with_remedy("register the registry of that host too"))
    }

    /// Where calls may go: the registry, its mirrors, and where it may send us. Give a `ReqwestService` the same rules.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn egress(&self) -> Result<Egress> {
        let mut egress = self.token_places()?;
        for mirror in self.mirror_bases()? {
            egress.allow(self.rule(&mirror)?);
        }
        for rule in &self.redirects {
            egress.allow(rule.clone());
        }
        Ok(egress)
    }

    /// Where it answers.
    pub(crate) fn base(&self) -> Result<Url> {
        match (&self.url, self.host.to_ascii_lowercase().as_str()) {
            (Some(url), _) => root(url),
            (None, "docker.io") => root("https://registry-1.docker.io"),
            (None, host) => root(&format!("https://{host}")),
        }
    }

    pub(super) fn mirror_bases(&self) -> Result<Vec<Url>> {
        self.mirrors.iter().map(|mirror| root(mirror)).collect()
    }

    /// Where the account may go for a token.
    pub(crate) fn token_places(&self) -> Result<Egress> {
        let known = known_realm(&self.host.to_ascii_lowercase()).map(HostRule::parse).transpose()?;
        Ok(Egress::new(
            [self.rule(&self.base()?)?].into_iter().chain(self.realms.iter().cloned()).chain(known),
        ))
    }

    /// Where a mirror may send us for tokens, which nobody's account goes along with.
    pub(super) fn mirror_places(&self, mirror: &Url) -> Result<Egress> {
        Ok(Egress::new([self.rule(mirror)?].into_iter().chain(self.realms.iter().cloned())))
    }

    fn rule(&self, base: &Url) -> Result<HostRule> {
        let rule = HostRule::parse(base.as_str())?;
        Ok(if self.private { rule.private() } else { rule })
    }

    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.deadline = Duration::from_secs(self.call_seconds.into());
        limits
    }

    pub(super) fn transfer_limits(&self, bytes: u64) -> Limits {
        let mut limits = Limits::default();
        limits.deadline = Duration::from_secs(self.transfer_seconds.into());
        limits.body = bytes;
        limits
    }
}

/// The root of one registry's interface.
fn root(text: &str) -> Result<Url> {
    let refuse = |message: &str| {
        Error::invalid("read registry settings", message)
            .with_remedy("write the host like `registry.example.com:5000`, an address like `https://registry.example.com:5000`")
    };
    HostRule::parse(text)?;
    let url = Url::parse(text).map_err(|_| refuse("the address is no URL"))?;
    if url.path() != "/" {
        return Err(refuse(
            "the address has a path, and a registry's interface begins at the root of its host",
        ));
    }
    if url.host_str().is_none_or(|host| host.contains('*')) {
        return Err(refuse("the address names no one host"));
    }
    Ok(url)
}

/// Where well-known registries, which are not their own token servers, send their callers.
fn known_realm(host: &str) -> Option<&'static str> {
    match host {
        "docker.io" => Some("https://auth.docker.io/token"),
        "registry.gitlab.com" => Some("https://gitlab.com/jwt/auth"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_at_its_host_by_https_unless_it_is_said_where() {
        let base = |config: &OciConfig| config.base().unwrap().to_string();
        assert_eq!(base(&OciConfig::new("registry.example.com:5000")), "https://registry.example.com:5000/");
        assert_eq!(base(&OciConfig::new("docker.io")), "https://registry-1.docker.io/");
        let clear =
            OciConfig { url: Some("http://10.0.0.1:5000".into()), ..OciConfig::new("registry.local") };
        assert_eq!(base(&clear), "http://10.0.0.1:5000/");
    }

    #[test]
    fn an_address_that_names_no_one_place_is_refused() {
        for bad in ["", "registry", "ftp://h", "https://u:p@h", "https://*.h", "https://h/v2", "https://h?x"]
        {
            let config = OciConfig { url: Some(bad.into()), ..OciConfig::new("h.io") };
            config.base().unwrap_err();
            config.egress().unwrap_err();
            OciConfig { mirrors: vec![bad.into()], ..OciConfig::new("h.io") }.egress().unwrap_err();
        }
    }

    #[test]
    fn tokens_are_fetched_from_the_registry_itself_and_what_is_known_or_listed() {
        let places = OciConfig::new("docker.io").token_places().unwrap();
        places.check("https://auth.docker.io/token").unwrap();
        places.check("https://registry-1.docker.io/token").unwrap();
        places.check("https://auth.example.com/token").unwrap_err();
        let places = OciConfig::new("evil.example.com").token_places().unwrap();
        places.check("https://auth.docker.io/token").unwrap_err();
        let mut config = OciConfig::new("registry.example.com");
        config.realms.push(HostRule::parse("https://gitlab.example.com/jwt/auth").unwrap());
        config.token_places().unwrap().check("https://gitlab.example.com/jwt/auth").unwrap();
        config.token_places().unwrap().check("https://gitlab.example.com/evil").unwrap_err();
    }
}
