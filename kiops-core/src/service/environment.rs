//! Places that releases go to.

use serde::{Deserialize, Serialize};

use crate::access::Protection;
use crate::name::{ComponentName, DnsLabel, EnvironmentName, ServiceName};

/// A place that releases go to, shared by all services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// Which runtime (the name of a deployer) it lives on.
    pub runtime: String,
    /// Which namespace a service's workload gets.
    #[serde(default)]
    pub namespace: NamespaceRule,
    /// Who may deploy here.
    #[serde(default)]
    pub protection: Protection,
    /// Whether everybody below Admin waits for an approval (T18).
    #[serde(default)]
    pub approval_required: bool,
    /// Whether a failed rollout goes back to what was live before. On by default.
    #[serde(default = "yes")]
    pub rollback_on_failure: bool,
    /// Where what is live here is reached, with `{service}` and `{component}` in the places of both names
    /// (`https://{service}.dev.example.com`): what `{url}` stands for in the commands of checks of phase `deployed`.
    #[serde(default)]
    pub url: Option<String>,
}

const fn yes() -> bool {
    true
}

impl Environment {
    /// An open environment on this runtime.
    pub fn new(name: EnvironmentName, runtime: impl Into<String>) -> Self {
        Self {
            name,
            runtime: runtime.into(),
            namespace: NamespaceRule::default(),
            protection: Protection::default(),
            approval_required: false,
            rollback_on_failure: true,
            url: None,
        }
    }

    /// Where this component of a service is reached; `None`: nobody said.
    pub fn url_of(&self, service: &ServiceName, component: &ComponentName) -> Option<String> {
        let url = self.url.as_ref()?;
        Some(url.replace("{service}", service.as_str()).replace("{component}", component.as_str()))
    }
}

/// Which namespace a service's workload gets (settled 14).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceRule {
    /// The service's name (S17).
    #[default]
    Service,
    /// One for all.
    Fixed(DnsLabel),
}

impl NamespaceRule {
    /// The namespace of a service.
    pub fn namespace(&self, service: &ServiceName) -> DnsLabel {
        match self {
            Self::Service => crate::name::dns_label([service.as_str()]),
            Self::Fixed(namespace) => namespace.clone(),
        }
    }
}
