//! What the pods of runs may reach: [`network_policy`]. Pure.
//!
//! A Dockerfile's commands and a check's are often a stranger's. Without a policy they reach what every pod reaches: the cloud's metadata
//! address, which hands out the node's credentials, the API server, and every port of every pod.

mod apply;
mod cidr;

pub use cidr::Cidr;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{RunsConfig, names};

/// What no run reaches whatever is allowed, names aside: where clouds hand out credentials.
///
/// Link-local is where the metadata of most clouds is (169.254.169.254, and 169.254.170.2 of ECS). The others are, by the providers' own
/// documentation: EC2's and Google's over IPv6, Alibaba's, and Azure's WireServer. The last one is link-local by way of NAT64 (RFC 6052).
const METADATA: [Cidr; 7] = [
    Cidr::v4([169, 254, 0, 0], 16),
    Cidr::v4([100, 100, 100, 200], 32),
    Cidr::v4([168, 63, 129, 16], 32),
    Cidr::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    Cidr::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    Cidr::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
    Cidr::v6([0x64, 0xff9b, 0, 0, 0, 0, 0xa9fe, 0], 112),
];

/// What runs may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Network {
    /// DNS and some ports, and neither the metadata address nor the API server. Kept by a NetworkPolicy, where the cluster enforces those.
    Restricted(Restrictions),
    /// Whatever pods reach. A policy that kiops made before is removed.
    Open,
}

impl Default for Network {
    fn default() -> Self {
        Self::Restricted(Restrictions::default())
    }
}

/// How runs are restricted. Nothing ever reaches a run, and what is not said here it does not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Restrictions {
    /// The TCP ports of Git hosts, registries and whatever builds load from. 22, 80 and 443 by default. Behind a Service it is the pod's
    /// own port that counts.
    pub ports: BTreeSet<u16>,
    /// The ports of DNS, UDP and TCP, at whatever address: node-local caches have link-local ones. 53 by default; OpenShift's is 5353.
    pub dns_ports: BTreeSet<u16>,
    /// What is not reached besides: the addresses of pods, Services and nodes, say. Nothing by default: nobody can ask a cluster for them.
    pub denied: BTreeSet<Cidr>,
    /// What of that is reached all the same: a registry in the cluster, say. It does not open the metadata address or the API server.
    pub allowed: BTreeSet<Cidr>,
    /// The API server's addresses, with ports, besides those that are known: of the client's own URL, and of `KUBERNETES_SERVICE_HOST`.
    pub api_server: BTreeSet<SocketAddr>,
}

impl Default for Restrictions {
    fn default() -> Self {
        Self {
            ports: [22, 80, 443].into(),
            dns_ports: [53].into(),
            denied: BTreeSet::new(),
            allowed: BTreeSet::new(),
            api_server: BTreeSet::new(),
        }
    }
}

impl Network {
    /// # Errors
    /// `Invalid` for port 0.
    pub(super) fn validate(&self) -> Result<()> {
        match self {
            Self::Restricted(to) if to.ports.contains(&0) || to.dns_ports.contains(&0) => {
                Err(Error::invalid("set up runs", "network: 0 is no port"))
            }
            Self::Restricted(_) | Self::Open => Ok(()),
        }
    }

    /// Whether runs reach this host, as `example.com` or `example.com:8443`, at its port.
    ///
    /// # Errors
    /// `Invalid` for one whose port they do not: its name, and what to set.
    pub(crate) fn admits(&self, host: &str, default_port: u16) -> Result<()> {
        let Self::Restricted(to) = self else { return Ok(()) };
        let port = match host.rsplit_once(':') {
            // A colon within brackets is one of an IPv6 address.
            Some((_, port)) if !port.ends_with(']') => port.parse().unwrap_or(default_port),
            _ => default_port,
        };
        if to.ports.contains(&port) {
            return Ok(());
        }
        Err(Error::invalid("start run", format!("runs may not reach port {port}, at which {host} is"))
            .with_remedy(format!("add {port} to the `ports` of the runs' network")))
    }
}

/// The NetworkPolicy of all runs of this kiops in its namespace; `None` where the network is open.
///
/// `api_server` is where the API server is known to be, besides what the settings say. An address of it is denied at the port that it has
/// there, and not at others: a small cluster's only node has its ingress at the same address.
pub fn network_policy(config: &RunsConfig, api_server: &BTreeSet<SocketAddr>) -> Option<NetworkPolicy> {
    let Network::Restricted(to) = &config.network else { return None };
    let labels = names::shared_labels(config);
    let of_runs =
        LabelSelectorRequirement { key: names::RUN.to_owned(), operator: "Exists".to_owned(), values: None };
    let egress = egress(to, &to.api_server.union(api_server).copied().collect());
    Some(NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(names::network_policy_name(config)),
            namespace: Some(config.namespace.clone()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(labels),
                match_expressions: Some(vec![of_runs]),
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            // A type without a rule lets nothing through.
            ingress: None,
            egress: (!egress.is_empty()).then_some(egress),
        }),
    })
}

/// A rule without addresses would mean all of them, and one without ports all ports: where nothing is left, there is no rule.
fn egress(to: &Restrictions, api_server: &BTreeSet<SocketAddr>) -> Vec<NetworkPolicyEgressRule> {
    let dns = to.dns_ports.iter().flat_map(|port| [("UDP", *port), ("TCP", *port)]);
    let dns: Vec<_> =
        dns.filter(|(_, number)| *number != 0).map(|(name, number)| port(name, number)).collect();
    let mut rules = Vec::new();
    if !dns.is_empty() {
        rules.push(NetworkPolicyEgressRule { ports: Some(dns), to: None });
    }
    // Ports with the same API server, mostly none, share a rule.
    let mut groups: BTreeMap<BTreeSet<Cidr>, Vec<u16>> = BTreeMap::new();
    for port in to.ports.iter().copied().filter(|port| *port != 0) {
        let there = api_server.iter().filter(|address| address.port() == port);
        groups
            .entry(there.map(|address| Cidr::of(address.ip().to_canonical())).collect())
            .or_default()
            .push(port);
    }
    for (api_server, ports) in groups {
        let never = METADATA.into_iter().chain(api_server);
        let never: BTreeSet<Cidr> = never.collect();
        let denied = never.union(&to.denied).copied().collect();
        let all = [Cidr::ALL_V4, Cidr::ALL_V6].into_iter().filter_map(|all| peer(all, &denied));
        let peers: Vec<_> = all.chain(to.allowed.iter().filter_map(|one| peer(*one, &never))).collect();
        if !peers.is_empty() {
            let ports = ports.into_iter().map(|number| port("TCP", number)).collect();
            rules.push(NetworkPolicyEgressRule { ports: Some(ports), to: Some(peers) });
        }
    }
    rules
}

/// What of a block is left without others; `None`: nothing. Two blocks are one within the other, or apart.
fn peer(block: Cidr, without: &BTreeSet<Cidr>) -> Option<NetworkPolicyPeer> {
    if without.iter().any(|other| other.contains(&block)) {
        return None;
    }
    let within = || without.iter().filter(|other| block.contains(other));
    let widest = |one: &&Cidr| !within().any(|other| other != *one && other.contains(one));
    let except: Vec<String> = within().filter(widest).map(ToString::to_string).collect();
    let except = (!except.is_empty()).then_some(except);
    let ip_block = IPBlock { cidr: block.to_string(), except };
    Some(NetworkPolicyPeer { ip_block: Some(ip_block), ..NetworkPolicyPeer::default() })
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}

#[cfg(test)]
mod tests;
