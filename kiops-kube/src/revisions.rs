//! What all deployers here keep of a revision, and how much of it.

use kiops_core::name::{ComponentName, DnsLabel, EnvironmentName, ServiceName};
use kiops_core::release::{DeployTarget, REVISIONS_KEPT};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How many revisions are kept where nothing is said.
pub(crate) const KEEP: usize = 50;

/// Checks a deployer's setting `keep`.
pub(crate) fn check_keep(operation: &'static str, keep: usize) -> Result<()> {
    if keep >= REVISIONS_KEPT {
        return Ok(());
    }
    Err(Error::invalid(operation, format!("keep: {keep} revisions are too few"))
        .with_remedy(format!("keep {REVISIONS_KEPT} at least, so that there is something to roll back to")))
}

/// Whose manifests they are. Two owners can share an object name only where two environments share a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) service: ServiceName,
    pub(crate) component: ComponentName,
    pub(crate) environment: EnvironmentName,
    pub(crate) namespace: DnsLabel,
}

impl Owner {
    pub(crate) fn of(target: &DeployTarget) -> Self {
        Self {
            service: target.service.clone(),
            component: target.component.clone(),
            environment: target.environment.clone(),
            namespace: target.namespace.clone(),
        }
    }
}
