//! Brings the cluster to what the settings say of the network, once for all runs of a process.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kiops_core::{Error, ErrorKind, Result};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use tokio::time::timeout;

use super::super::{Runs, names};
use super::{Network, Restrictions, network_policy};

const RESOURCE: &str = "networkpolicies";
const OPERATION: &str = "restrict the network of runs";

impl Runs {
    /// Sees to it that runs are restricted as the settings say, before the first of them starts: one request of a process, whatever it
    /// runs, and a second one where something is to be changed. Where that cannot be done, nothing is started.
    pub(in super::super) async fn restrict(&self) -> Result<()> {
        self.inner.network.get_or_try_init(|| self.apply_network()).await.copied()
    }

    /// The policy that the first start applies; `None` where the network is open. Where kiops is not to have the right to write it, it can
    /// be applied as it is by somebody else.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) where it is not known where the API server is.
    pub async fn network_policy(&self) -> Result<Option<NetworkPolicy>> {
        let config = &self.inner.config;
        match &config.network {
            Network::Restricted(to) => Ok(network_policy(config, &self.api_server(to).await?)),
            Network::Open => Ok(None),
        }
    }

    async fn apply_network(&self) -> Result<()> {
        match self.network_policy().await? {
            Some(policy) => self.apply_policy(&policy).await,
            None => self.remove_policy().await,
        }
    }

    /// Where the API server is, as far as it can be known without a right to ask for it.
    async fn api_server(&self, to: &Restrictions) -> Result<BTreeSet<SocketAddr>> {
        let mut found = BTreeSet::new();
        if let Some((host, port)) = self.cluster().server() {
            let resolved = match timeout(self.patience(), tokio::net::lookup_host((host, port))).await {
                Ok(resolved) => resolved.map(Vec::from_iter).map_err(|error| error.to_string()),
                Err(_) => Err("the resolver does not answer".to_owned()),
            };
            match resolved {
                Ok(addresses) => found.extend(addresses),
                Err(why) if to.api_server.is_empty() => {
                    return Err(unknown(format!("the API server's host {host} has no address here: {why}")));
                }
                // Through a proxy its name need not be known here.
                Err(_) => {}
            }
        }
        found.extend(service_address());
        if found.is_empty() && to.api_server.is_empty() {
            return Err(unknown(
                "where the API server is, so that runs are kept from it, is not known".into(),
            ));
        }
        Ok(found)
    }

    async fn apply_policy(&self, policy: &NetworkPolicy) -> Result<()> {
        let found = self.policy().await.map_err(or_open)?;
        if found.as_ref().is_some_and(|found| !self.made(found)) {
            return Err(self.not_ours("kiops did not make it"));
        }
        if found.is_some_and(|found| found.spec == policy.spec) {
            return Ok(());
        }
        let (name, api) = (names::network_policy_name(&self.inner.config), &self.api::<NetworkPolicy>());
        let params = &PatchParams::apply(&self.cluster().config().field_manager);
        let (access, patch) = (self.access("patch", RESOURCE), &Patch::Apply(policy));
        let applied = self.cluster().call(&access, || api.patch(&name, params, patch)).await;
        let applied = applied.map_err(|error| match error.kind() {
            ErrorKind::Conflict => self.not_ours(error.message()),
            _ => or_open(error),
        })?;
        // What others own and we do not name stays in it, and may be an opening.
        if applied.spec == policy.spec {
            return Ok(());
        }
        Err(self.not_ours("others wrote to it what kiops does not take away"))
    }

    /// Removes a policy that was applied under other settings.
    async fn remove_policy(&self) -> Result<()> {
        let found = match self.policy().await {
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                tracing::warn!(%error, "whether an older policy restricts the runs is not known");
                return Ok(());
            }
            found => found?,
        };
        let Some(policy) = found.filter(|found| self.made(found)) else { return Ok(()) };
        // This one, and not what somebody has put in its place.
        let this = Preconditions { uid: policy.metadata.uid, resource_version: None };
        let params = DeleteParams::default().preconditions(this);
        self.delete::<NetworkPolicy>(RESOURCE, names::network_policy_name(&self.inner.config), &params).await
    }

    async fn policy(&self) -> Result<Option<NetworkPolicy>> {
        let (name, api) = (&names::network_policy_name(&self.inner.config), &self.api::<NetworkPolicy>());
        self.cluster().call(&self.access("get", RESOURCE), || api.get_opt(name)).await
    }

    /// Whether this kiops made it.
    fn made(&self, policy: &NetworkPolicy) -> bool {
        let has = |key: &String, value: &String| {
            policy.metadata.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value)
        };
        names::shared_labels(&self.inner.config).iter().all(|(key, value)| has(key, value))
    }

    fn not_ours(&self, why: &str) -> Error {
        let (name, namespace) =
            (names::network_policy_name(&self.inner.config), &self.inner.config.namespace);
        let text =
            format!("the NetworkPolicy `{name}` in namespace `{namespace}` is not kiops' alone: {why}");
        Error::conflict(OPERATION, text).with_remedy(
            "delete it, and kiops makes its own; or give this kiops another instance name. To open more, use the settings, or a policy of another name beside it",
        )
    }
}

/// A refusal with what else is possible.
fn or_open(error: Error) -> Error {
    if error.kind() != ErrorKind::Forbidden {
        return error;
    }
    error.with_remedy(
        "grant `get`, `create` and `patch` on `networkpolicies`, by the role in docs/adapters/kaniko-role.yaml, or let runs reach everything: set `network` to `open`",
    )
}

fn unknown(text: String) -> Error {
    Error::invalid(OPERATION, text)
        .with_remedy("name its addresses in `network.restricted.api_server`, as 10.0.0.5:6443")
}

/// The API server as the pods of this process's own cluster know it, where it runs in one.
fn service_address() -> Option<SocketAddr> {
    let host: IpAddr = std::env::var("KUBERNETES_SERVICE_HOST").ok()?.parse().ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok().and_then(|port| port.parse().ok());
    Some(SocketAddr::new(host, port.unwrap_or(443)))
}
