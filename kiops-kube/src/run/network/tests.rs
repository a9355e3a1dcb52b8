use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn restricted(set: impl FnOnce(&mut Restrictions)) -> RunsConfig {
    let mut to = Restrictions::default();
    set(&mut to);
    let mut config = RunsConfig::new("kiops-builds", "kiops");
    config.network = Network::Restricted(to);
    config
}

fn blocks(texts: &[&str]) -> BTreeSet<Cidr> {
    texts.iter().map(|text| Cidr::parse(text).unwrap()).collect()
}

fn servers(texts: &[&str]) -> BTreeSet<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn egress_of(config: &RunsConfig, api_server: &[&str]) -> Vec<NetworkPolicyEgressRule> {
    network_policy(config, &servers(api_server)).unwrap().spec.unwrap().egress.unwrap_or_default()
}

/// Whether a connection gets through, as the API's documentation says how rules are read.
fn reaches(config: &RunsConfig, api_server: &[&str], protocol: &str, to: &str, port: u16) -> bool {
    let to = Cidr::of(to.parse::<IpAddr>().unwrap());
    let has_port = |rule: &NetworkPolicyEgressRule| {
        let same = |one: &NetworkPolicyPort| {
            one.protocol.as_deref() == Some(protocol) && one.port == Some(IntOrString::Int(port.into()))
        };
        rule.ports.as_ref().is_none_or(|ports| ports.iter().any(same))
    };
    let in_block = |peer: &NetworkPolicyPeer| {
        let block = peer.ip_block.as_ref().unwrap();
        let within = |text: &String| Cidr::parse(text).unwrap().contains(&to);
        within(&block.cidr) && !block.except.iter().flatten().any(within)
    };
    let rules = egress_of(config, api_server);
    rules.iter().any(|rule| has_port(rule) && rule.to.as_ref().is_none_or(|peers| peers.iter().any(in_block)))
}

#[test]
fn the_default_policy_is_this_one() {
    let config = RunsConfig::new("kiops-builds", "kiops");
    let policy = network_policy(&config, &servers(&["10.96.0.1:443", "192.0.2.7:6443"])).unwrap();
    let mut text = String::new();
    crate::yaml::push_document(&mut text, &policy).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn runs_reach_git_registries_and_dns_and_nothing_else() {
    let config = RunsConfig::new("kiops-builds", "kiops");
    let tcp = |to: &str, port| reaches(&config, &["10.96.0.1:443", "192.0.2.7:6443"], "TCP", to, port);
    assert!(tcp("192.0.2.20", 22) && tcp("192.0.2.20", 443) && tcp("2001:db8::1", 443));
    assert!(tcp("10.96.0.10", 53) && reaches(&config, &[], "UDP", "169.254.20.10", 53));
    for metadata in ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fe80::1"] {
        assert!(!tcp(metadata, 80) && !tcp(metadata, 443), "{metadata}");
    }
    for metadata in ["fd00:ec2::254", "fd20:ce::254", "64:ff9b::169.254.169.254"] {
        assert!(!tcp(metadata, 80), "{metadata}");
    }
    for port in [2379, 6443, 8080, 10250] {
        assert!(!tcp("192.0.2.20", port), "{port}");
    }
    assert!(!reaches(&config, &[], "UDP", "192.0.2.20", 443));
}

#[test]
fn an_api_server_is_out_of_reach_at_its_port_and_what_else_is_there_is_not() {
    let config = restricted(|to| {
        to.ports.insert(6443);
        to.api_server = servers(&["192.0.2.8:443"]);
    });
    let tcp = |to: &str, port| reaches(&config, &["192.0.2.7:6443"], "TCP", to, port);
    assert!(!tcp("192.0.2.7", 6443) && tcp("192.0.2.7", 443));
    assert!(!tcp("192.0.2.8", 443) && tcp("192.0.2.8", 22));
    // An address that a resolver wrote as IPv6.
    assert!(!reaches(&config, &["[::ffff:192.0.2.9]:443"], "TCP", "192.0.2.9", 443));
}

#[test]
fn what_is_allowed_opens_what_is_denied_and_never_metadata_or_the_api_server() {
    let config = restricted(|to| {
        to.denied = blocks(&["10.0.0.0/8", "0.0.0.0/0"]);
        to.allowed = blocks(&["10.2.0.0/16", "169.254.169.254/32", "10.2.0.1/32"]);
    });
    let tcp = |to: &str| reaches(&config, &["10.2.0.1:443"], "TCP", to, 443);
    assert!(tcp("10.2.3.4") && tcp("2001:db8::1"));
    assert!(!tcp("10.3.0.1") && !tcp("192.0.2.1") && !tcp("169.254.169.254") && !tcp("10.2.0.1"));
}

#[test]
fn where_nothing_is_left_there_is_no_rule_that_would_mean_everything() {
    let nowhere = restricted(|to| to.denied = blocks(&["0.0.0.0/0", "::/0"]));
    assert!(
        !reaches(&nowhere, &[], "TCP", "192.0.2.1", 443) && reaches(&nowhere, &[], "UDP", "192.0.2.1", 53)
    );
    let nothing = restricted(|to| {
        to.ports.clear();
        to.dns_ports.clear();
    });
    let spec = network_policy(&nothing, &BTreeSet::new()).unwrap().spec.unwrap();
    assert_eq!(spec.egress, None);
    assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);
}

#[test]
fn the_policy_selects_the_pods_of_runs_and_nothing_else() {
    let config = RunsConfig::new("kiops-builds", "blue");
    let selector = network_policy(&config, &BTreeSet::new()).unwrap().spec.unwrap().pod_selector.unwrap();
    let run = kiops_core::name::RunId::parse("b-1").unwrap();
    let labels = names::labels(&config, "kaniko", &run);
    let wanted = selector.match_labels.unwrap();
    assert!(wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
    let other = names::labels(&RunsConfig::new("kiops-builds", "green"), "kaniko", &run);
    assert!(wanted.iter().any(|(key, value)| other.get(key) != Some(value)));
    let [run] = &selector.match_expressions.unwrap()[..] else { panic!("one expression") };
    assert!(labels.contains_key(&run.key));
}

#[test]
fn settings_are_read_from_few_words() {
    let read = |text: &str| serde_json::from_str::<RunsConfig>(text);
    let config = read(r#"{"namespace": "builds"}"#).unwrap();
    assert_eq!(config, RunsConfig::new("builds", "kiops"));
    assert_eq!(read(r#"{"namespace": "builds", "network": "open"}"#).unwrap().network, Network::Open);
    let some = r#"{"namespace": "builds", "network": {"restricted": {"ports": [443, 8443], "denied": ["10.0.0.0/8"],
        "api_server": ["[2001:db8::1]:6443"]}}}"#;
    let Network::Restricted(to) = read(some).unwrap().network else { panic!("restricted") };
    assert_eq!((to.ports, to.dns_ports), ([443, 8443].into(), [53].into()));
    for wrong in
        [r#""closed""#, r#"{"restricted": {"denied": ["10.0.0.1/8"]}}"#, r#"{"restricted": {"port": [1]}}"#]
    {
        assert!(read(&format!(r#"{{"namespace": "builds", "network": {wrong}}}"#)).is_err(), "{wrong}");
    }
    assert!(restricted(|to| to.ports = [0].into()).network.validate().is_err());
}

#[test]
fn a_host_at_a_closed_port_is_named_with_what_to_set() {
    let network = Network::default();
    for host in ["git.example.com", "git.example.com:80", "[2001:db8::1]", "[2001:db8::1]:443"] {
        network.admits(host, 443).unwrap();
        Network::Open.admits(&format!("{host}:1"), 443).unwrap();
    }
    let error = network.admits("harbor.example.com:8443", 443).unwrap_err();
    assert_eq!(error.message(), "runs may not reach port 8443, at which harbor.example.com:8443 is");
    assert!(error.remedy().unwrap().contains("add 8443 to the `ports`"), "{error}");
}

proptest! {
    #[test]
    fn nothing_opens_the_metadata_address_or_a_known_api_server(
        ports in prop::collection::btree_set(1u16.., 0..4),
        blocks in prop::collection::vec((any::<u32>(), 0u8..=32), 0..6),
        metadata in prop::sample::select(vec!["169.254.169.254", "100.100.100.200", "168.63.129.16"]),
    ) {
        let block = |(bits, prefix): &(u32, u8)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
            Cidr::parse(&format!("{}/{prefix}", std::net::Ipv4Addr::from_bits(bits & mask))).unwrap()
        };
        let config = restricted(|to| {
            to.ports = ports.clone();
            to.allowed = blocks.iter().map(block).chain([Cidr::ALL_V4]).collect();
        });
        for port in ports.into_iter().filter(|port| *port != 53) {
            let server = format!("192.0.2.7:{port}");
            prop_assert!(!reaches(&config, &[&server], "TCP", metadata, port));
            prop_assert!(!reaches(&config, &[&server], "TCP", "192.0.2.7", port));
            prop_assert!(reaches(&config, &[&server], "TCP", "192.0.2.8", port));
        }
    }
}
