//! A cluster: its name, a client, and one way to call it.
//!
//! Every call of this crate goes through `Cluster::call`: it has a deadline, is tried again where the API server or the way to
//! it had a fault, and its error says which verb on which resource was refused.

mod error;

pub(crate) use error::{Access, INSTALL_TEKTON};

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiops_core::{Error, ErrorKind, Result, Retry};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The first wait before a call is tried again; it doubles up to [`WAIT_MAX`].
const WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// So long after a fault an API server may still be starting.
const STARTING: Duration = Duration::from_secs(20);

/// How a cluster is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// The name by which environments and messages know it. `kubernetes` by default.
    pub name: String,
    /// The field manager under which objects are applied. `kiops` by default; another one for every kiops that works on the same objects.
    pub field_manager: String,
    /// How long a call may take, in seconds, its repetitions included. 30 by default.
    pub deadline_secs: u32,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self { name: "kubernetes".to_owned(), field_manager: "kiops".to_owned(), deadline_secs: 30 }
    }
}

/// A cluster that this process works with. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    config: ClusterConfig,
    client: kube::Client,
    /// Where its API server is, by host and port.
    server: Option<(String, u16)>,
    /// When it had a fault last.
    fault: Arc<Mutex<Option<Instant>>>,
}

impl Cluster {
    /// A cluster behind the host's own client.
    ///
    /// Make that client from a [`kube::Config`] with `default_retry = false`: kube would try 429, 503 and 504 again up to 15 times, and
    /// neither our deadlines nor our own repetitions would know of it.
    ///
    /// The client does not tell its address; [`with_url`](Self::with_url) does.
    pub fn new(config: ClusterConfig, client: kube::Client) -> Self {
        Self { config, client, server: None, fault: Arc::default() }
    }

    /// The same with the URL of its API server, `cluster_url` of [`kube::Config`]: runs are kept from there. Clusters from a kubeconfig and
    /// of this process have theirs.
    #[must_use]
    pub fn with_url(mut self, url: &http::Uri) -> Self {
        self.server = server_of(url);
        self
    }

    /// A cluster from a kubeconfig file and one of its contexts; without a context, the file's current one.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) for a file that cannot be read or lacks the context.
    pub async fn from_kubeconfig(config: ClusterConfig, file: &Path, context: Option<&str>) -> Result<Self> {
        let invalid = |error: &dyn fmt::Display| {
            Error::invalid("read kubeconfig", format!("{}: {error}", file.display()))
                .with_remedy("name a kubeconfig file that kubectl can use, and one of its contexts")
        };
        let kubeconfig = Kubeconfig::read_from(file).map_err(|error| invalid(&error))?;
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
        let found = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        Self::connect(config, found.map_err(|error| invalid(&error))?)
    }

    /// The cluster that this process runs in, as its service account.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) outside a cluster, or in a pod without a service account token.
    pub fn in_cluster(config: ClusterConfig) -> Result<Self> {
        let found = kube::Config::incluster().map_err(|error| {
            Error::invalid("read service account", error.to_string())
                .with_remedy("run in a pod with a service account token, or name a kubeconfig file")
        });
        Self::connect(config, found?)
    }

    fn connect(config: ClusterConfig, mut found: kube::Config) -> Result<Self> {
        found.default_retry = false;
        let url = found.cluster_url.clone();
        let client = kube::Client::try_from(found).map_err(|error| {
            Error::invalid("connect to cluster", format!("{}: {error}", config.name))
                .with_remedy("check the cluster's address, certificate and credential in the kubeconfig")
        });
        Ok(Self::new(config, client?).with_url(&url))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// How it is spoken to.
    pub const fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// The client.
    pub const fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The host and the port of its API server, where they are known.
    pub(crate) fn server(&self) -> Option<(&str, u16)> {
        self.server.as_ref().map(|(host, port)| (host.as_str(), *port))
    }

    /// Whether an API server refuses us that was just away: until it has read the roles it knows of nobody's rights.
    fn may_be_starting(&self, error: &Error) -> bool {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match error.kind() {
            ErrorKind::Unauthorized | ErrorKind::Forbidden => {
                fault.is_some_and(|fault| fault.elapsed() < STARTING)
            }
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                *fault = Some(Instant::now());
                false
            }
            _ => false,
        }
    }

    /// Makes a call until it succeeds, fails for good, or the deadline has passed.
    ///
    /// The call is made again after 429, 5xx and faults of the connection, so it must be safe to repeat: creates by a fixed name,
    /// where a [`Conflict`](kiops_core::ErrorKind::Conflict) means that the first attempt came through after all.
    pub(crate) async fn call<T, F>(&self, access: &Access<'_>, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let deadline = Instant::now() + Duration::from_secs(u64::from(self.config.deadline_secs));
        let mut wait = WAIT;
        let mut last = None;
        loop {
            let error = match tokio::time::timeout_at(deadline, call()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => access.error(self.name(), &error),
                Err(_) => {
                    return Err(last.unwrap_or_else(|| access.late(self.name(), self.config.deadline_secs)));
                }
            };
            let starting = self.may_be_starting(&error);
            let pause = match error.retry() {
                Retry::Never if starting => wait,
                Retry::Never => return Err(error),
                Retry::Maybe => wait,
                Retry::After(seconds) => wait.max(Duration::from_secs(u64::from(seconds))),
            };
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, ?pause, "a call to the cluster is made again");
            tokio::time::sleep(pause).await;
            last = Some(error);
            wait = (wait * 2).min(WAIT_MAX);
        }
    }
}

/// The host, without the brackets of an IPv6 address, and the port of a URL.
fn server_of(url: &http::Uri) -> Option<(String, u16)> {
    let default = if url.scheme_str() == Some("http") { 80 } else { 443 };
    let host = url.host()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_u16().unwrap_or(default)))
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_where_its_url_says_or_the_scheme() {
        for (url, host, port) in [
            ("https://10.0.0.5:6443", "10.0.0.5", 6443),
            ("https://k8s.example.com/clusters/one", "k8s.example.com", 443),
            ("http://localhost/", "localhost", 80),
            ("https://[2001:db8::1]:6443/", "2001:db8::1", 6443),
        ] {
            assert_eq!(server_of(&url.parse().unwrap()), Some((host.to_owned(), port)), "{url}");
        }
        assert_eq!(server_of(&"/relative".parse().unwrap()), None);
    }
}
