//! The client that is somebody else's crate: against a real registry, against ours, and against answers that no real one gives on demand.

mod claims;
mod face;
mod faults;
mod real;

use std::sync::Arc;

use kiops_core::http::{ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::RegistryCredential;
use kiops_core::secret::Secret;
use kiops_registry::distribution_client::DistributionClient;
use kiops_registry::oci::OciConfig;

/// The crate's client of a registry, with this account.
fn client_of(config: OciConfig, login: Option<(&str, &str)>) -> DistributionClient {
    let service = ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap();
    let login = login.map(|(username, password)| RegistryCredential {
        host: config.host.clone(),
        username: username.into(),
        password: Secret::new(password).unwrap(),
    });
    DistributionClient::new(config, login, Arc::new(service), Arc::new(SystemTimer)).unwrap()
}
