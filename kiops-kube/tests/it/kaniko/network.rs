//! What runs may reach, as the API server takes it. The tests' node enforces no policy: that one is there is what is tested.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kiops_core::build::BuildExecutor as _;
use kiops_core::{Error, ErrorKind};
use kiops_kube::run::{Cidr, Network, Restrictions, network_policy};
use kiops_kube::{Cluster, ClusterConfig, KanikoConfig, KanikoExecutor, Runs, RunsConfig};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::client::{Body, ClientBuilder};
use kube::{Api, ResourceExt as _};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tower::util::MapRequestLayer;

use super::support::*;
use crate::builds::*;

/// An executor of builds that no node takes.
fn unplaced(place: &Place, runs: &RunsConfig, cluster: Cluster) -> KanikoExecutor {
    let mut config = KanikoConfig::default();
    config.image = place.image.clone();
    config.pod.node_selector = [("kiops.dev/no-such-node".to_owned(), "yes".to_owned())].into();
    KanikoExecutor::new(config, &Runs::new(cluster, runs.clone()).unwrap()).unwrap()
}

async fn started(place: &Place, site: &Site, network: Network) -> Result<(), Error> {
    let mut runs = site.runs.clone();
    runs.network = network;
    let job = site.job("passes");
    unplaced(place, &runs, place.cluster.open()).start(&fresh_run(), &job.spec, job.inputs).await
}

fn with_port(port: u16) -> Network {
    let mut to = Restrictions::default();
    to.ports.insert(port);
    Network::Restricted(to)
}

fn ports(policy: &NetworkPolicy) -> BTreeSet<i32> {
    let rules = policy.spec.as_ref().unwrap().egress.iter().flatten();
    let ports = rules.flat_map(|rule| rule.ports.iter().flatten()).filter_map(|port| port.port.clone());
    ports.map(|port| serde_json::from_value(json!(port)).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_policy_is_there_before_the_first_run_and_costs_a_process_one_request() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let kubeconfig = kube::config::Kubeconfig::read_from(&place.cluster.kubeconfig).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.default_retry = false;
    let url = config.cluster_url.clone();
    for (process, expected) in
        [("first", &["GET", "PATCH", "POST", "POST"][..]), ("next", &["GET", "POST", "POST"])]
    {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let note = MapRequestLayer::new(move |request: http::Request<Body>| {
            let path = request.uri().path();
            if path.contains("/networkpolicies") || (request.method() == "POST" && path.ends_with("/jobs")) {
                seen.lock().unwrap().push(request.method().to_string());
            }
            request
        });
        let client = ClientBuilder::try_from(config.clone()).unwrap().with_layer(&note).build();
        let cluster = Cluster::new(ClusterConfig::default(), client).with_url(&url);
        let executor = unplaced(&place, &site.runs, cluster);
        let job = site.job("passes");
        for _ in 0..2 {
            start(&executor, &job).await;
        }
        assert_eq!(*asked.lock().unwrap(), expected, "{process}");
    }
    let [policy] = &place.policies().list(&Default::default()).await.unwrap().items[..] else {
        panic!("one")
    };
    assert_eq!(policy.name_any(), format!("kiops-runs-{}", site.runs.instance));
    let servers =
        BTreeSet::from([format!("127.0.0.1:{}", url.port_u16().unwrap()).parse::<SocketAddr>().unwrap()]);
    assert_eq!(policy.spec, network_policy(&site.runs, &servers).unwrap().spec);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_setting_replaces_the_policy_and_open_removes_it() {
    let Some(place) = place().await else { return };
    let (site, other) = (place.site().await, place.site().await);
    let policies = place.policies();
    let name = format!("kiops-runs-{}", site.runs.instance);
    started(&place, &other, Network::default()).await.unwrap();
    started(&place, &site, with_port(8443)).await.unwrap();
    assert_eq!(ports(&policies.get(&name).await.unwrap()), [22, 53, 80, 443, 8443].into());
    started(&place, &site, Network::default()).await.unwrap();
    assert_eq!(ports(&policies.get(&name).await.unwrap()), [22, 53, 80, 443].into());
    started(&place, &site, Network::Open).await.unwrap();
    assert!(policies.get_opt(&name).await.unwrap().is_none());
    started(&place, &site, Network::Open).await.unwrap();
    // Another kiops keeps its own.
    policies.get(&format!("kiops-runs-{}", other.runs.instance)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_policy_of_that_name_is_left_alone_and_nothing_starts() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let policies = place.policies();
    let name = format!("kiops-runs-{}", site.runs.instance);
    let theirs: NetworkPolicy = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": "theirs"}}, "policyTypes": ["Ingress", "Egress"]},
    }))
    .unwrap();
    let made = policies.create(&PostParams::default(), &theirs).await.unwrap();
    let error = started(&place, &site, Network::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.message().contains(&name) && error.message().contains("kiops did not make it"), "{error}");
    assert!(error.remedy().unwrap().contains("delete it"), "{error}");
    started(&place, &site, Network::Open).await.unwrap();
    assert_eq!(policies.get(&name).await.unwrap(), made);
    policies.delete(&name, &DeleteParams::default()).await.unwrap();

    // One that kiops made, and somebody opened.
    started(&place, &site, Network::default()).await.unwrap();
    let all = json!({"spec": {"egress": [{}]}});
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    policies.patch(&name, &params, &Patch::Merge(all)).await.unwrap();
    let error = started(&place, &site, Network::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.message().contains("somebody") && error.message().contains(".spec.egress"), "{error}");
    let jobs = place.jobs().list(&Default::default()).await.unwrap().items;
    assert_eq!(jobs.len(), 2, "only those of `open` and of the policy that was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_api_server_is_not_known_nothing_starts_until_it_is_named() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let cluster = Cluster::new(ClusterConfig::default(), place.cluster.client.clone());
    let job = site.job("passes");
    let executor = unplaced(&place, &site.runs, cluster.clone());
    let error = executor.start(&fresh_run(), &job.spec, job.inputs.clone()).await.unwrap_err();
    assert!(error.remedy().unwrap().contains("network.restricted.api_server"), "{error}");
    let hidden = cluster.clone().with_url(&"https://no-such-host.invalid:6443".parse().unwrap());
    let executor = unplaced(&place, &site.runs, hidden.clone());
    let error = executor.start(&fresh_run(), &job.spec, job.inputs.clone()).await.unwrap_err();
    assert!(error.message().contains("no-such-host.invalid"), "{error}");
    assert!(place.jobs().list(&Default::default()).await.unwrap().items.is_empty());
    let mut named = site.runs.clone();
    let Network::Restricted(to) = &mut named.network else { panic!("restricted") };
    to.api_server.insert("192.0.2.7:443".parse().unwrap());
    for cluster in [cluster, hidden] {
        let executor = unplaced(&place, &named, cluster);
        start(&executor, &job).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_would_wait_for_a_closed_port_is_refused_at_once() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let mut job = site.job("passes");
    job.spec.output = kiops_core::build::BuildOutput::Push {
        image: kiops_core::name::ImageRef::parse("registry.local:5000/site:x").unwrap().name,
        tag: kiops_core::name::Tag::parse("x").unwrap(),
    };
    let executor = unplaced(&place, &site.runs, place.cluster.open());
    let error = executor.start(&fresh_run(), &job.spec, job.inputs).await.unwrap_err();
    assert!(error.message().contains("port 5000, at which registry.local:5000 is"), "{error}");
}

fn block() -> impl Strategy<Value = Cidr> {
    let masked = |address: IpAddr, prefix: u8| {
        // A refusal names the block that would be right.
        let text = format!("{address}/{prefix}");
        Cidr::parse(&text).unwrap_or_else(|error| {
            Cidr::parse(error.message().rsplit(' ').next().unwrap()).unwrap_or(Cidr::ALL_V6)
        })
    };
    prop_oneof![
        (any::<[u8; 4]>(), 0u8..=32).prop_map(move |(address, prefix)| masked(address.into(), prefix)),
        (any::<[u8; 16]>(), 0u8..=128).prop_map(move |(address, prefix)| masked(address.into(), prefix)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_settings_make_a_policy_that_the_api_server_takes() {
    let Some(place) = place().await else { return };
    let policies: Api<NetworkPolicy> = place.policies();
    let namespace = place.namespace.name.clone();
    let handle = tokio::runtime::Handle::current();
    let blocks = || prop::collection::btree_set(block(), 0..6);
    let settings = (
        "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        prop::collection::btree_set(any::<u16>(), 0..6),
        prop::collection::btree_set(any::<u16>(), 0..3),
        blocks(),
        blocks(),
        prop::collection::btree_set(any::<SocketAddr>(), 0..4),
    );
    let judge = move |(instance, ports, dns_ports, denied, allowed, api_server)| {
        let mut to = Restrictions::default();
        (to.ports, to.dns_ports, to.denied, to.allowed) = (ports, dns_ports, denied, allowed);
        let mut config = RunsConfig::new(&namespace, instance);
        config.network = Network::Restricted(to);
        let policy = network_policy(&config, &api_server).unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let taken = handle.block_on(policies.create(&dry, &policy));
        let taken = taken.map_err(|error| TestCaseError::fail(error.to_string()))?;
        // And leaves it as it is: else each start would find a difference.
        prop_assert_eq!(taken.spec, policy.spec);
        Ok(())
    };
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    tokio::task::spawn_blocking(move || TestRunner::new(config).run(&settings, judge).unwrap())
        .await
        .unwrap();
}
