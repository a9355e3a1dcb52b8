//! What is rendered.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kiops_core::ErrorKind;
use kiops_core::release::{DeployRequest, DeployTarget};
use kiops_core::service::{Container, EnvValue, ExistingKind, Target, VolumeMount};
use kiops_kube::render::{AccessMode, PodSecurity, PullSecret};
use kiops_kube::{Manifests, RenderConfig, render};
use proptest::prelude::*;

use crate::common::*;

fn plain(target: &DeployTarget, request: &DeployRequest) -> Manifests {
    render(target, request, &RenderConfig::default(), PullSecret::Absent).unwrap()
}

fn refusal(target: &DeployTarget, request: &DeployRequest) -> kiops_core::Error {
    render(target, request, &RenderConfig::default(), PullSecret::Absent).unwrap_err()
}

pub(crate) fn shop_request() -> DeployRequest {
    request_of("one", &[("web", "nginx:alpine"), ("db", "mysql:8.0")])
}

#[test]
fn the_documents_own_example_becomes_these_manifests() {
    let manifests = render(&shop(), &shop_request(), &RenderConfig::default(), PullSecret::Named).unwrap();
    insta::assert_snapshot!(manifests.to_yaml().unwrap());
}

#[test]
fn a_git_service_becomes_these_manifests() {
    let mut config = RenderConfig::default();
    config.ingress_class = Some("nginx".into());
    config.ingress_host = Some("{service}.{environment}.example.com".into());
    config.create_namespace = true;
    let manifests = render(&site(), &request("two"), &config, PullSecret::Absent).unwrap();
    insta::assert_snapshot!(manifests.to_yaml().unwrap());
}

#[test]
fn what_is_written_reads_back_as_the_same_objects() {
    let mut target = shop();
    let values =
        ["no", "1e3", "0x1", "~", "a\nb\n", " x ", "$(HOME) $$ $", "robot$x", "\u{1b}[31m", "'\"\\", ""];
    for (i, value) in values.iter().enumerate() {
        workload(&mut target).containers[0].env.insert(format!("V{i}"), EnvValue::Plain((*value).into()));
    }
    let manifests = plain(&target, &shop_request());
    let yaml = manifests.to_yaml().unwrap();
    let documents: Vec<&str> = yaml.split("---\n").collect();
    assert_eq!(documents.len(), 4);
    assert_eq!(serde_saphyr::from_str::<PersistentVolumeClaim>(documents[0]).unwrap(), manifests.claims[0]);
    assert_eq!(serde_saphyr::from_str::<Deployment>(documents[1]).unwrap(), manifests.deployment);
    assert_eq!(serde_saphyr::from_str::<Service>(documents[2]).unwrap(), manifests.service.unwrap());
    assert_eq!(serde_saphyr::from_str::<Ingress>(documents[3]).unwrap(), manifests.ingress.unwrap());
}

#[test]
fn the_same_release_always_gives_the_same_text() {
    let once = plain(&shop(), &shop_request()).to_yaml().unwrap();
    assert_eq!(once, plain(&shop(), &shop_request()).to_yaml().unwrap());
}

#[test]
fn an_image_is_pinned_by_its_digest_and_keeps_its_tag_for_people() {
    let manifests = plain(&site(), &request("two"));
    let pod = manifests.deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(
        pod.containers[0].image.as_deref(),
        Some(image("quickstart.local/site:two").to_string().as_str())
    );
    assert!(pod.containers[0].image.as_ref().unwrap().contains("site:two@sha256:"));
}

#[test]
fn a_variable_reaches_the_container_as_it_was_written() {
    let mut target = site();
    let env = &mut workload(&mut target).containers[0].env;
    env.insert("REF".into(), EnvValue::Plain("$(HOME)/$$/robot$ci".into()));
    let pod = plain(&target, &request("one")).deployment.spec.unwrap().template.spec.unwrap();
    // Kubernetes reads `$$` as `$` and then replaces nothing.
    assert_eq!(pod.containers[0].env.as_ref().unwrap()[0].value.as_deref(), Some("$$(HOME)/$$$$/robot$$ci"));
}

#[test]
fn an_internal_container_is_reachable_in_the_cluster_and_not_from_outside() {
    let manifests = plain(&shop(), &shop_request());
    let service = manifests.service.unwrap().spec.unwrap();
    assert_eq!(service.type_.as_deref(), Some("ClusterIP"));
    let ports: Vec<_> = service.ports.unwrap().into_iter().map(|p| (p.name.unwrap(), p.port)).collect();
    assert_eq!(ports, [("web".to_owned(), 80), ("db".to_owned(), 3306)]);
    let rules = manifests.ingress.unwrap().spec.unwrap().rules.unwrap();
    let paths = &rules[0].http.as_ref().unwrap().paths;
    assert_eq!(paths.len(), 1);
    assert_eq!(paths[0].backend.service.as_ref().unwrap().port.as_ref().unwrap().number, Some(80));
}

#[test]
fn a_workload_without_ports_has_neither_service_nor_ingress() {
    let manifests = plain(&target("worker", vec![container("web", None)]), &request("one"));
    assert!(manifests.service.is_none() && manifests.ingress.is_none());
    assert!(manifests.deployment.spec.unwrap().template.spec.unwrap().containers[0].liveness_probe.is_none());
}

#[test]
fn a_volume_of_one_node_means_recreate_and_one_replica() {
    let strategy = |manifests: Manifests| manifests.deployment.spec.unwrap().strategy.unwrap().type_.unwrap();
    assert_eq!(strategy(plain(&site(), &request("one"))), "RollingUpdate");
    assert_eq!(strategy(plain(&shop(), &shop_request())), "Recreate");

    let mut two = shop();
    workload(&mut two).replicas = 2;
    let error = refusal(&two, &shop_request());
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("cannot share ReadWriteOnce volumes"), "{error}");

    let mut config = RenderConfig::default();
    config.access_mode = AccessMode::ReadWriteMany;
    assert_eq!(
        strategy(render(&two, &shop_request(), &config, PullSecret::Absent).unwrap()),
        "RollingUpdate"
    );
}

#[test]
fn a_release_that_changes_nothing_leaves_pod_and_selector_as_they_are() {
    let first = plain(&site(), &request("one")).deployment;
    let mut again = request("one");
    again.release = release("two");
    again.requested_by = "bob".into();
    let second = plain(&site(), &again).deployment;
    assert_ne!(first.metadata.annotations, second.metadata.annotations);
    assert_eq!(first.spec, second.spec);
}

#[test]
fn restricted_pods_are_never_root() {
    let mut config = RenderConfig::default();
    config.security = PodSecurity::Restricted;
    let manifests = render(&shop(), &shop_request(), &config, PullSecret::Absent).unwrap();
    let pod = manifests.deployment.spec.unwrap().template.spec.unwrap();
    let security = pod.security_context.unwrap();
    assert_eq!((security.run_as_non_root, security.fs_group), (Some(true), Some(1000)));
    assert_eq!(pod.automount_service_account_token, Some(false));
}

#[test]
fn what_kubernetes_would_refuse_is_refused_with_the_settings_name() {
    type Spoil = fn(&mut DeployTarget);
    let spoilt: [(Spoil, &str); 11] = [
        (|t| workload(t).containers[1].volumes[0].size = "10 GB".into(), "size `10 GB` is no quantity"),
        (|t| workload(t).containers[1].volumes[0].size = "0".into(), "size `0` is zero"),
        (|t| workload(t).containers[1].volumes[0].path = "//".into(), "whole file system"),
        (
            |t| {
                let twice = VolumeMount { path: "/var//lib/mysql/".into(), size: "1Gi".into() };
                workload(t).containers[1].volumes.push(twice);
            },
            "stands twice",
        ),
        (
            |t| workload(t).containers[0].ingress_path = Some("/a/../b".into()),
            "has an empty part, `.` or `..`",
        ),
        (
            |t| {
                workload(t).containers[1].internal = false;
                workload(t).containers[1].ingress_path = Some("/".into());
            },
            "another container has this path",
        ),
        (
            |t| drop(workload(t).containers[0].env.insert("..X".into(), EnvValue::Plain(String::new()))),
            "env: `..X` is no name for a variable",
        ),
        (
            |t| drop(workload(t).containers[0].env.insert("X".into(), EnvValue::Plain("a\0".into()))),
            "env.X: a value cannot hold a NUL",
        ),
        (|t| workload(t).replicas = u32::MAX, "workload.replicas"),
        (|t| workload(t).containers.push(container("cache", None)), "no image for container `cache`"),
        (|t| workload(t).containers.clear(), "at least one is needed"),
    ];
    for (spoil, words) in spoilt {
        let mut target = shop();
        spoil(&mut target);
        let error = refusal(&target, &shop_request());
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_host_that_is_none_is_refused() {
    let mut config = RenderConfig::default();
    config.ingress_host = Some("{service}..example.com".into());
    let error = render(&site(), &request("one"), &config, PullSecret::Absent).unwrap_err();
    assert!(error.to_string().contains("`site..example.com` is no host name"), "{error}");
}

#[test]
fn what_the_platform_owns_is_not_rendered() {
    let mut target = site();
    target.target = Target::Existing {
        kind: ExistingKind::Deployment,
        namespace: None,
        name: kiops_core::name::DnsLabel::parse("api").unwrap(),
        container: kiops_core::name::ContainerName::parse("web").unwrap(),
    };
    assert_eq!(refusal(&target, &request("one")).kind(), ErrorKind::Unsupported);
}

/// A container whose settings are near what is allowed, on both sides.
pub(crate) fn any_container(name: &'static str) -> impl Strategy<Value = Container> {
    let path = || prop_oneof![4 => "(/[a-c]{1,3}){0,2}/?", 1 => "[/a.%2fF :\n-]{0,8}"];
    let size = prop_oneof![4 => "[1-9][0-9]{0,3}(Mi|Gi|k)?", 1 => "[0-9.eEmGi+-]{0,6}", 1 => any::<String>()];
    let value = prop_oneof![
        "\\PC{0,8}".prop_map(EnvValue::Plain),
        "[a$(){}\0\n]{0,6}".prop_map(EnvValue::Plain),
        Just(EnvValue::Secret { secret: kiops_core::name::SecretName::parse("shop/key").unwrap() }),
    ];
    let variable = prop_oneof![4 => "[A-Z_][A-Z0-9_.-]{0,300}", 1 => "[a.0-]{0,4}"];
    let volume = (path(), size).prop_map(|(path, size)| VolumeMount { path, size });
    (
        prop_oneof![Just(None), any::<u16>().prop_map(Some)],
        prop_oneof![Just(None), path().prop_map(Some)],
        any::<bool>(),
        prop::collection::btree_map(variable, value, 0..3),
        prop::collection::vec(volume, 0..3),
    )
        .prop_map(move |(port, ingress_path, internal, env, volumes)| Container {
            ingress_path,
            internal,
            env,
            volumes,
            ..container(name, port)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_workload_that_settings_may_have_is_rendered(
        web in any_container("web"),
        db in any_container("db"),
        replicas in prop_oneof![0_u32..4, any::<u32>()],
        service in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    ) {
        let mut target = target_of(&service, "main", vec![web, db]);
        workload(&mut target).replicas = replicas;
        prop_assume!(workload(&mut target).validate().is_ok());
        let mut config = RenderConfig::default();
        config.access_mode = AccessMode::ReadWriteMany;
        let manifests = render(&target, &shop_request(), &config, PullSecret::Named);
        prop_assert!(manifests.is_ok(), "{manifests:?}");
        prop_assert!(manifests.unwrap().to_yaml().is_ok());
        // What alone may still be refused depends on how volumes are configured.
        if let Err(error) = render(&target, &shop_request(), &RenderConfig::default(), PullSecret::Named) {
            prop_assert!(replicas > 1 && error.message().contains("ReadWriteOnce"), "{error}");
        }
    }
}
