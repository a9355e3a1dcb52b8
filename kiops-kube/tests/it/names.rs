//! Names of every length and shape give objects that Kubernetes takes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::service::{EnvValue, VolumeMount};
use kiops_kube::render::{PullSecret, env_secret, names, pull_secret};
use kiops_kube::{RenderConfig, render};
use proptest::prelude::*;

use crate::common::*;

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]",
        "[a-z0-9][a-z0-9-]{0,61}[a-z0-9]",
        "[a-z0-9][a-z0-9-]{61}[a-z0-9]",
        "[a-z]{1,50}-[0-9a-f]{10}"
    ]
}

fn variable() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z_][A-Za-z0-9_.-]{0,20}", "[A-Za-z_][A-Za-z0-9_.-]{180,400}"]
}

fn is_dns_label(name: &str) -> bool {
    kiops_core::name::DnsLabel::parse(name).is_ok()
}

/// As Kubernetes judges it: the parts of a subdomain may be longer than a label.
fn is_subdomain(name: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(alnum) && part.ends_with(alnum) && part.chars().all(|c| alnum(c) || c == '-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

fn check_labels(labels: &Option<BTreeMap<String, String>>) {
    for (key, value) in labels.iter().flatten() {
        let ends = value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && value.ends_with(|c: char| c.is_ascii_alphanumeric());
        let inner = value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        assert!(value.len() <= 63 && ends && inner, "{key}={value}");
    }
}

fn check_metadata(metadata: &ObjectMeta) {
    let name = metadata.name.as_deref().unwrap();
    assert!(is_subdomain(name), "{name}");
    assert!(is_dns_label(metadata.namespace.as_deref().unwrap()));
    check_labels(&metadata.labels);
    let annotations = metadata.annotations.iter().flatten().map(|(key, value)| key.len() + value.len());
    assert!(annotations.sum::<usize>() < 256 * 1024);
}

proptest! {
    #[test]
    fn any_names_give_objects_that_kubernetes_takes(
        service in label(),
        component in prop_oneof![Just("main".to_owned()), label()],
        names in prop::collection::btree_set(label(), 1..4),
        variables in prop::collection::btree_set(variable(), 1..4),
        path in "/[ -9;-~]{1,300}",
        tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
        requester in "\\PC{0,3000}",
    ) {
        prop_assume!(!path.split('/').any(|part| part == "..") && path.contains(|c| c != '/' && c != '.'));
        let secret = EnvValue::Secret { secret: kiops_core::name::SecretName::parse("a").unwrap() };
        let containers: Vec<_> = names.iter().enumerate().map(|(i, name)| {
            let mut container = container(name, Some(1000 + i as u16));
            container.env = variables.iter().map(|v| (v.clone(), secret.clone())).collect();
            container.volumes = vec![VolumeMount { path: path.clone(), size: "1Gi".into() }];
            container.ingress_path = Some(format!("/{name}"));
            container
        }).collect();
        let target = target_of(&service, &component, containers);
        let image = format!("nginx:{tag}");
        let images: Vec<_> = names.iter().map(|name| (name.as_str(), image.as_str())).collect();
        let mut request = request_of("one", &images);
        request.requested_by = requester;
        let manifests = render(&target, &request, &RenderConfig::default(), PullSecret::Named).unwrap();

        check_metadata(&manifests.deployment.metadata);
        let kube_service = manifests.service.unwrap();
        check_metadata(&kube_service.metadata);
        let service_name = kube_service.metadata.name.unwrap();
        prop_assert!(is_dns_label(&service_name) && service_name.starts_with(|c: char| c.is_ascii_lowercase()), "{}", service_name);
        check_metadata(&manifests.ingress.unwrap().metadata);
        check_metadata(&pull_secret(&target, &[]).expose().metadata);
        let env = env_secret(&target, &BTreeMap::new());
        check_metadata(&env.expose().metadata);

        let spec = manifests.deployment.spec.unwrap();
        let template = spec.template.metadata.unwrap().labels;
        check_labels(&template);
        for (key, value) in spec.selector.match_labels.unwrap() {
            prop_assert_eq!(template.as_ref().unwrap().get(&key), Some(&value));
        }
        let pod = spec.template.spec.unwrap();
        let volumes: std::collections::BTreeSet<_> = pod.volumes.unwrap().into_iter().map(|volume| volume.name).collect();
        prop_assert_eq!(volumes.len(), names.len());
        prop_assert!(volumes.iter().all(|name| is_dns_label(name)));
        let mut keys = std::collections::BTreeSet::new();
        for variable in pod.containers.iter().flat_map(|container| container.env.iter().flatten()) {
            let reference = variable.value_from.as_ref().unwrap().secret_key_ref.as_ref().unwrap();
            prop_assert_eq!(&reference.name, env.name());
            prop_assert!(reference.key.len() <= 253 && reference.key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
            prop_assert!(manifests.secret_keys.contains_key(&reference.key));
            keys.insert(reference.key.clone());
        }
        prop_assert_eq!(keys.len(), names.len() * variables.len());
    }

    #[test]
    fn different_targets_never_share_an_object(
        a in "[ab](-?[ab]){0,2}",
        b in "[ab](-?[ab]){0,2}",
        c in "[ab](-?[ab]){0,2}",
        d in "[ab](-?[ab]){0,2}",
    ) {
        let object = |service: &str, component: &str| {
            let target = target_of(service, component, vec![]);
            names::object_name(&target.service, &target.component)
        };
        if (&a, &b) != (&c, &d) {
            prop_assert_ne!(object(&a, &b), object(&c, &d));
        }
        prop_assert_ne!(object(&a, "main"), object(&c, &d));
        prop_assert_ne!(object(&a, &b), object(&c, "main"));
    }
}
