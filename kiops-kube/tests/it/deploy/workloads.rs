//! Workloads that are ours whole.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Secret as KubeSecret, Service,
};
use k8s_openapi::api::networking::v1::Ingress;
use kiops_core::image::RegistryCredential;
use kiops_core::name::{DnsLabel, EnvironmentName, SecretName};
use kiops_core::release::{DeployTarget, Deployer as _, Revision, RolloutStatus};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::service::{Container, EnvValue, VolumeMount};
use kiops_core::{ErrorKind, Result};
use kiops_kube::KubeDeployer;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;

use super::images::Image;
use super::{config, deployer, read, target};
use crate::cluster::{TestCluster, TestNamespace, cluster};
use crate::common::{container, release, request, workload};

/// A container with a port, a path, a volume and a secret variable: everything that makes an object.
fn everything() -> Container {
    let mut web = container("web", Some(8080));
    web.ingress_path = Some("/".into());
    web.volumes = vec![VolumeMount { path: "/data".into(), size: "1Mi".into() }];
    web.env.insert("TOKEN".into(), EnvValue::Secret { secret: SecretName::parse("shop/token").unwrap() });
    web
}

fn api<K>(cluster: &TestCluster, namespace: &TestNamespace) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(cluster.client.clone(), &namespace.name)
}

/// A secret that changes when it is told to.
#[derive(Debug)]
struct Changing(Mutex<Option<&'static str>>);

#[async_trait]
impl SecretSource for Changing {
    async fn secret(&self, _: &SecretName) -> Result<Option<Secret>> {
        Ok(self.0.lock().unwrap().and_then(Secret::new))
    }
}

fn changing(value: &'static str) -> Arc<Changing> {
    Arc::new(Changing(Mutex::new(Some(value))))
}

/// A version for every object, by kind and name.
async fn versions(cluster: &TestCluster, namespace: &TestNamespace) -> Vec<(String, String)> {
    let mut found = Vec::new();
    macro_rules! of {
        ($($kind:ty),*) => {$(
            for object in api::<$kind>(cluster, namespace).list(&ListParams::default().labels("app.kubernetes.io/managed-by=kiops")).await.unwrap() {
                found.push((format!("{} {}", <$kind as Resource>::kind(&()), object.name_any()), object.resource_version().unwrap()));
            }
        )*};
    }
    of!(Service, Ingress, PersistentVolumeClaim, KubeSecret, ConfigMap);
    // Its status changes by itself.
    for object in api::<Deployment>(cluster, namespace).list(&ListParams::default()).await.unwrap() {
        found.push((
            format!("Deployment {}", object.name_any()),
            object.metadata.generation.unwrap().to_string(),
        ));
    }
    found
}

async fn sets(cluster: &TestCluster, namespace: &TestNamespace) -> usize {
    api::<ReplicaSet>(cluster, namespace).list(&ListParams::default()).await.unwrap().items.len()
}

#[tokio::test]
async fn every_object_of_a_workload_is_there_and_none_changes_when_nothing_changed() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![everything()]);
    let deployer = deployer(cluster.open()).with_secrets(changing("hunter2"));
    assert_eq!(deployer.apply(&target, &request("one")).await.unwrap(), Revision(1));
    let before = versions(&cluster, &namespace).await;
    let names: Vec<_> = before.iter().map(|(name, _)| name.split('-').next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "Service site",
            "Ingress site",
            "PersistentVolumeClaim site",
            "Secret site",
            "ConfigMap site",
            "Deployment site"
        ]
    );
    assert_eq!(deployer.apply(&target, &request("one")).await.unwrap(), Revision(1));
    assert_eq!(versions(&cluster, &namespace).await, before);

    // Another release of the same images: a revision of its own, and no pod of its own.
    wait_for_sets(&cluster, &namespace, 1).await;
    let mut same = request("one");
    same.release = release("two");
    assert_eq!(deployer.apply(&target, &same).await.unwrap(), Revision(2));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sets(&cluster, &namespace).await, 1);
}

async fn wait_for_sets(cluster: &TestCluster, namespace: &TestNamespace, wanted: usize) {
    for _ in 0..100 {
        if sets(cluster, namespace).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} ReplicaSets and not {wanted}", sets(cluster, namespace).await);
}

#[tokio::test]
async fn what_a_revision_does_not_have_goes_and_comes_back_with_a_rollback_but_claims_stay() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let mut target = target(&namespace, "site", 0, vec![everything()]);
    let deployer = deployer(cluster.open()).with_secrets(changing("hunter2"));
    deployer.apply(&target, &request("one")).await.unwrap();
    let whole = target.clone();
    workload(&mut target).containers = vec![container("web", None)];
    deployer.apply(&target, &request("two")).await.unwrap();
    let (services, ingresses) = (api::<Service>(&cluster, &namespace), api::<Ingress>(&cluster, &namespace));
    let claims = api::<PersistentVolumeClaim>(&cluster, &namespace);
    let there = || async {
        let claims = claims.list(&ListParams::default()).await.unwrap().items.len();
        (
            services.get_opt("site").await.unwrap().is_some(),
            ingresses.get_opt("site").await.unwrap().is_some(),
            claims,
        )
    };
    assert_eq!(there().await, (false, false, 1));
    deployer.rollback(&whole, Revision(1), &release("three")).await.unwrap();
    assert_eq!(there().await, (true, true, 1));

    for _ in 0..2 {
        deployer.remove(&whole).await.unwrap();
        assert_eq!(there().await, (false, false, 1));
        let left: Vec<_> = versions(&cluster, &namespace).await;
        assert!(left.iter().all(|(name, _)| name.starts_with("PersistentVolumeClaim")), "{left:?}");
    }
}

#[tokio::test]
async fn a_secret_that_changed_restarts_the_pods_and_shows_nowhere() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![everything()]);
    let secrets = changing("hunter2-first");
    let deployer = deployer(cluster.open()).with_secrets(Arc::clone(&secrets) as _);
    deployer.apply(&target, &request("one")).await.unwrap();
    let deployments = api::<Deployment>(&cluster, &namespace);
    // A ReplicaSet for every pod template that is not what it was.
    let template = || async { deployments.get("site").await.unwrap().spec.unwrap().template };
    let first = template().await;
    let again = |id: &str| {
        let mut again = request("one");
        again.release = release(id);
        again
    };
    deployer.apply(&target, &again("two")).await.unwrap();
    assert_eq!(template().await, first, "the value is what it was");
    *secrets.0.lock().unwrap() = Some("hunter2-second");
    deployer.apply(&target, &again("three")).await.unwrap();
    assert_ne!(template().await, first);

    let secret = api::<KubeSecret>(&cluster, &namespace).get("site-env").await.unwrap();
    assert_eq!(secret.data.unwrap()["web.TOKEN"].0, b"hunter2-second");
    let maps = api::<ConfigMap>(&cluster, &namespace).list(&ListParams::default()).await.unwrap();
    let all = [
        serde_json::to_string(&maps.items).unwrap(),
        serde_json::to_string(&deployments.get("site").await.unwrap()).unwrap(),
    ];
    for text in all {
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMi"), "{text}");
    }

    *secrets.0.lock().unwrap() = None;
    let error = deployer.apply(&target, &again("four")).await.unwrap_err();
    assert_eq!(error.message(), "there is no secret `shop/token` for the variable `web.TOKEN`");
    assert_eq!(deployer.history(&target).await.unwrap().len(), 3, "it took no number");
}

#[tokio::test]
async fn a_secret_variable_that_is_taken_out_stays_until_the_pods_that_have_it_are_gone() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let mut with = target(&namespace, "site", 1, vec![everything()]);
    workload(&mut with).containers[0].volumes.clear();
    let mut without = with.clone();
    let secret = |name: &str| EnvValue::Secret { secret: SecretName::parse(name).unwrap() };
    workload(&mut without).containers[0].env = [("OTHER".to_owned(), secret("shop/other"))].into();
    let deployer = deployer(cluster.open()).with_secrets(changing("x"));
    let keys = || async {
        let secret = api::<KubeSecret>(&cluster, &namespace).get("site-env").await.unwrap();
        secret.data.unwrap().into_keys().collect::<Vec<_>>()
    };
    deployer.apply(&with, &request("one")).await.unwrap();
    assert_eq!(keys().await, ["web.TOKEN"]);
    let sets = api::<ReplicaSet>(&cluster, &namespace);
    while sets.list(&ListParams::default()).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Its pods never get ready, so the old one stays.
    deployer.apply(&without, &request("two")).await.unwrap();
    assert_eq!(keys().await, ["web.OTHER", "web.TOKEN"]);
    let template = || async {
        api::<Deployment>(&cluster, &namespace).get("site").await.unwrap().spec.unwrap().template
    };
    let before = template().await;
    let containers = &before.spec.as_ref().unwrap().containers;
    for set in sets.list(&ListParams::default()).await.unwrap().items {
        if set.spec.unwrap().template.unwrap().spec.unwrap().containers != *containers {
            let gone = serde_json::json!({ "spec": { "replicas": 0 } });
            let name = set.metadata.name.unwrap();
            sets.patch(&name, &PatchParams::default(), &Patch::Merge(gone)).await.unwrap();
        }
    }
    let mut again = request("two");
    again.release = release("three");
    deployer.apply(&without, &again).await.unwrap();
    assert_eq!(keys().await, ["web.OTHER"]);
    assert_eq!(template().await, before, "nothing that its pods see has changed");
}

#[tokio::test]
async fn a_variable_that_was_secret_becomes_plain_and_secret_again() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let mut target = target(&namespace, "site", 0, vec![everything()]);
    let deployer = deployer(cluster.open()).with_secrets(changing("x"));
    let deployments = api::<Deployment>(&cluster, &namespace);
    let secret = target.clone();
    workload(&mut target).containers[0].env.insert("TOKEN".into(), EnvValue::Plain("$y".into()));
    for (n, target, plain) in
        [("one", &secret, None), ("two", &target, Some("$$y")), ("three", &secret, None)]
    {
        deployer.apply(target, &request(n)).await.unwrap();
        let pod = deployments.get("site").await.unwrap().spec.unwrap().template.spec.unwrap();
        let env = pod.containers[0].env.clone().unwrap().remove(0);
        assert_eq!((env.value.as_deref(), env.value_from.is_some()), (plain, plain.is_none()), "{n}");
    }
}

#[tokio::test]
async fn a_field_of_another_manager_is_named_and_taken_only_by_force() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![container("web", None)]);
    let ours = deployer(cluster.open());
    ours.apply(&target, &request("one")).await.unwrap();
    let theirs = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0, "minReadySeconds": 1,
        "template": {"spec": {"containers": [{"name": "web", "image": "registry.local/theirs:1"}]}}}});
    let deployments = api::<Deployment>(&cluster, &namespace);
    let params = PatchParams::apply("their-operator").force();
    deployments.patch("site", &params, &Patch::Apply(theirs)).await.unwrap();

    let status = ours.status(&target, Revision(1)).await.unwrap();
    let told = "somebody else set container `web` to `registry.local/theirs:1`";
    assert!(matches!(&status, RolloutStatus::Progressing(text) if text.contains(told)), "{status:?}");
    let error = ours.apply(&target, &request("two")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("by `their-operator`"), "{error}");
    assert!(error.message().contains(r#"containers[name="web"].image`"#), "{error}");
    assert!(error.remedy().unwrap().contains("force"));
    assert_eq!(ours.history(&target).await.unwrap().len(), 1, "it took no number");
    assert_eq!(ours.observed(&target).await.unwrap().unwrap().revision, Revision(1));

    let mut config = config();
    config.force = true;
    let forced = KubeDeployer::new(config, cluster.open()).unwrap();
    assert_eq!(forced.apply(&target, &request("two")).await.unwrap(), Revision(2));
    let spec = deployments.get("site").await.unwrap().spec.unwrap();
    assert_eq!(spec.min_ready_seconds, Some(1), "what we do not say stays theirs");
    let image = spec.template.spec.unwrap().containers.remove(0).image.unwrap();
    assert!(image.starts_with("quickstart.local/site:two@sha256:"), "{image}");
}

#[tokio::test]
async fn how_many_pods_there_are_is_left_to_whoever_scales() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![container("web", None)]);
    let deployer = deployer(cluster.open());
    deployer.apply(&target, &request("one")).await.unwrap();
    let deployments = api::<Deployment>(&cluster, &namespace);
    let scaled = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2}});
    let params = PatchParams::apply("autoscaler").force();
    deployments.patch("site", &params, &Patch::Apply(scaled)).await.unwrap();
    for release in ["two", "three"] {
        deployer.apply(&target, &request(release)).await.unwrap();
        assert_eq!(deployments.get("site").await.unwrap().spec.unwrap().replicas, Some(2), "{release}");
    }
}

#[tokio::test]
async fn an_environment_that_never_deployed_removes_nothing_of_another_in_its_namespace() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let dev = target(&namespace, "site", 0, vec![container("web", None)]);
    let staging = DeployTarget { environment: EnvironmentName::parse("staging").unwrap(), ..dev.clone() };
    let host = request("one").images.values().next().unwrap().name.host().to_owned();
    let password = Secret::new("hunter2-registry").unwrap();
    let credential = RegistryCredential { host, username: "robot".into(), password };
    let deployer = deployer(cluster.open()).with_credentials([credential]);
    deployer.apply(&dev, &request("one")).await.unwrap();
    deployer.apply(&staging, &request("two")).await.unwrap_err();
    deployer.remove(&staging).await.unwrap();
    let secrets = api::<KubeSecret>(&cluster, &namespace);
    assert!(secrets.get_opt("site-registry-cred").await.unwrap().is_some());
    assert!(deployer.observed(&dev).await.unwrap().is_some());
    deployer.remove(&dev).await.unwrap();
    assert!(secrets.get_opt("site-registry-cred").await.unwrap().is_none());
}

#[tokio::test]
async fn what_kiops_did_not_make_is_never_touched() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![everything()]);
    let deployer = deployer(cluster.open()).with_secrets(changing("x"));
    let theirs: Service = read(json!({"metadata": {"name": "site"}, "spec": {"ports": [{"port": 1}]}}));
    api::<Service>(&cluster, &namespace).create(&PostParams::default(), &theirs).await.unwrap();
    let error = deployer.apply(&target, &request("one")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().starts_with("Service `site` in namespace"), "{error}");
    assert!(error.message().ends_with("kiops did not make it"), "{error}");
    assert_eq!(deployer.observed(&target).await.unwrap(), None);
    deployer.remove(&target).await.unwrap();
    assert!(api::<Service>(&cluster, &namespace).get_opt("site").await.unwrap().is_some());
}

#[tokio::test]
async fn two_environments_in_one_namespace_do_not_overwrite_each_other() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let dev = target(&namespace, "site", 0, vec![container("web", None)]);
    let staging = DeployTarget { environment: EnvironmentName::parse("staging").unwrap(), ..dev.clone() };
    let deployer = deployer(cluster.open());
    deployer.apply(&dev, &request("one")).await.unwrap();
    let error = deployer.apply(&staging, &request("two")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("is of environment `dev`, and `staging` would overwrite it"), "{error}");
    assert_eq!(deployer.observed(&staging).await.unwrap(), None);
    assert_eq!(deployer.history(&staging).await.unwrap(), []);
    deployer.remove(&staging).await.unwrap();
    assert_eq!(deployer.observed(&dev).await.unwrap().unwrap().revision, Revision(1));
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_named_or_created_where_that_is_set() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let mut target = target(&namespace, "site", 0, vec![container("web", None)]);
    let fresh = format!("{}-fresh", namespace.name);
    target.namespace = DnsLabel::parse(&fresh).unwrap();
    let error = deployer(cluster.open()).apply(&target, &request("one")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, &*format!("Namespace not found: {fresh}"))
    );

    let mut config = config();
    config.render.create_namespace = true;
    let creating = KubeDeployer::new(config, cluster.open()).unwrap();
    assert_eq!(creating.apply(&target, &request("one")).await.unwrap(), Revision(1));
    creating.remove(&target).await.unwrap();
    let namespaces = Api::<Namespace>::all(cluster.client.clone());
    assert!(namespaces.get_opt(&fresh).await.unwrap().is_some(), "others may live there");
    namespaces.delete(&fresh, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_deploy_at_once_get_two_revisions_and_the_higher_one_is_live() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![everything()]);
    let open = || deployer(cluster.open()).with_secrets(changing("x"));
    for round in 0..4 {
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let (deployer, target) = (open(), target.clone());
                let request = request(&format!("{round}-{n}"));
                tokio::spawn(async move { (deployer.apply(&target, &request).await.unwrap(), request) })
            })
            .collect();
        let mut made = Vec::new();
        for task in tasks {
            made.push(task.await.unwrap());
        }
        made.sort_by_key(|(revision, _)| *revision);
        let numbers: Vec<_> = made.iter().map(|(revision, _)| revision.0).collect();
        assert_eq!(numbers, (round * 4 + 1..=round * 4 + 4).collect::<Vec<_>>());
        let (newest, request) = made.pop().unwrap();
        let service = api::<Service>(&cluster, &namespace).get("site").await.unwrap();
        assert_eq!(service.annotations()["kiops.dev/revision"], newest.to_string());
        let deployment = api::<Deployment>(&cluster, &namespace).get("site").await.unwrap();
        let image = deployment.spec.unwrap().template.spec.unwrap().containers.remove(0).image.unwrap();
        assert_eq!(image, request.images.values().next().unwrap().to_string());
    }
}

#[tokio::test]
async fn the_pull_secret_is_written_with_the_release_and_goes_with_the_service() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![container("web", None)]);
    let credential = |password: &str| RegistryCredential {
        host: "registry.local".into(),
        username: "robot$site".into(),
        password: Secret::new(password).unwrap(),
    };
    let mut request = request("one");
    request
        .images
        .insert(kiops_core::name::ContainerName::parse("web").unwrap(), Image::Missing.pinned("one"));
    let secrets = api::<KubeSecret>(&cluster, &namespace);
    let held = || async { secrets.get("site-registry-cred").await.unwrap() };

    let first = deployer(cluster.open()).with_credentials([credential("hunter2")]);
    first.apply(&target, &request).await.unwrap();
    assert_eq!(held().await.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    let pod = api::<Deployment>(&cluster, &namespace).get("site").await.unwrap();
    let pod = serde_json::to_value(pod.spec.unwrap().template.spec.unwrap()).unwrap();
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "site-registry-cred"}]));

    let second = deployer(cluster.open()).with_credentials([credential("other")]);
    second.apply(&target, &request).await.unwrap();
    assert!(held().await.data.unwrap()[".dockerconfigjson"].0.windows(5).any(|w| w == b"other"));
    second.remove(&target).await.unwrap();
    assert_eq!(secrets.get_opt("site-registry-cred").await.unwrap(), None);
}

#[tokio::test]
async fn revisions_that_somebody_deleted_are_told_and_numbers_go_on() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![container("web", None)]);
    let deployer = deployer(cluster.open());
    let maps = api::<ConfigMap>(&cluster, &namespace);
    for (n, id) in ["one", "two", "three"].into_iter().enumerate() {
        assert_eq!(deployer.apply(&target, &request(id)).await.unwrap(), Revision(n as u64 + 1));
    }
    maps.delete("site-revision-3", &DeleteParams::default()).await.unwrap();
    let error = deployer.observed(&target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("revision 3, whose ConfigMap is gone"), "{error}");
    assert_eq!(deployer.apply(&target, &request("four")).await.unwrap(), Revision(4));
    for n in [1, 2, 4] {
        maps.delete(&format!("site-revision-{n}"), &DeleteParams::default()).await.unwrap();
    }
    assert_eq!(deployer.observed(&target).await.unwrap(), None);
    assert_eq!(deployer.apply(&target, &request("five")).await.unwrap(), Revision(5));
    assert_eq!(deployer.observed(&target).await.unwrap().unwrap().release, release("five"));
}

#[tokio::test]
async fn a_revision_that_does_not_read_back_is_named_and_the_others_stay_usable() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![container("web", None)]);
    let deployer = deployer(cluster.open());
    let maps = api::<ConfigMap>(&cluster, &namespace);
    for id in ["one", "two", "three"] {
        deployer.apply(&target, &request(id)).await.unwrap();
    }
    let mut damaged = maps.get("site-revision-2").await.unwrap();
    maps.delete("site-revision-2", &DeleteParams::default()).await.unwrap();
    damaged.metadata.resource_version = None;
    damaged.data = Some([("revision.json".to_owned(), "{".to_owned())].into());
    maps.create(&PostParams::default(), &damaged).await.unwrap();
    let error = deployer.rollback(&target, Revision(2), &release("back")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("`site-revision-2`") && error.remedy().is_some(), "{error}");
    let numbers: Vec<_> =
        deployer.history(&target).await.unwrap().iter().map(|info| info.revision.0).collect();
    assert_eq!(numbers, [3, 1]);
    assert_eq!(deployer.rollback(&target, Revision(1), &release("back")).await.unwrap(), Revision(4));
}
