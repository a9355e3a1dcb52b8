//! Docker Hub, written to its documentation: its interface, its token server and its registry in this process.

mod accounts;
mod choosing;
mod faults;
pub(crate) mod host;
mod registry;

use std::sync::Arc;

use kiops_core::http::{HttpService, TestTimer};
use kiops_core::image::RegistryCredential;
use kiops_core::secret::Secret;
use kiops_registry::dockerhub::{DockerHub, DockerHubConfig};

/// User name and access token.
const ME: (&str, &str) = ("me", "dckr_pat_wonderland");

fn login((username, token): (&str, &str)) -> RegistryCredential {
    let password = Secret::new(token).unwrap();
    RegistryCredential { host: "docker.io".into(), username: username.into(), password }
}

/// A client whose time is tokio's.
pub(crate) fn client(http: impl HttpService + 'static, login: Option<RegistryCredential>) -> DockerHub {
    client_of(DockerHubConfig::default(), http, login)
}

fn client_of(
    config: DockerHubConfig,
    http: impl HttpService + 'static,
    login: Option<RegistryCredential>,
) -> DockerHub {
    let timer = Arc::new(TestTimer::at(jiff::Timestamp::from_second(host::NOW).unwrap()));
    DockerHub::new(config, login, Arc::new(http), timer).unwrap()
}
