//! The role that the documentation gives is enough, and nothing in it is too much.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kiops_core::image::RegistryCredential;
use kiops_core::name::{ContainerName, DnsLabel, SecretName};
use kiops_core::release::{DeployTarget, Deployer as _, Revision};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::service::{EnvValue, ExistingKind, Target, VolumeMount};
use kiops_core::{ErrorKind, Result};
use kiops_kube::{Cluster, KubeDeployer};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::account::Account;
use super::{config, read, target};
use crate::cluster::{TestNamespace, cluster};
use crate::common::{container, image, release, request, workload};

#[derive(Debug)]
struct Any;

#[async_trait]
impl SecretSource for Any {
    async fn secret(&self, _: &SecretName) -> Result<Option<Secret>> {
        Ok(Secret::new("x"))
    }
}

/// The rules of the documented role, by the role's name.
pub(super) fn documented(name: &str) -> Vec<PolicyRule> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/adapters/kubernetes-deploy-role.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let roles: Vec<ClusterRole> =
        text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect();
    let role = roles.into_iter().find(|role| role.metadata.name.as_deref() == Some(name)).unwrap();
    role.rules.unwrap()
}

/// All that a deployer does, once, for a service that nobody used before.
async fn everything(cluster: &Cluster, namespace: &TestNamespace) -> Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let service = format!("s{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let credential = RegistryCredential {
        host: "quickstart.local".into(),
        username: "me".into(),
        password: Secret::new("x").unwrap(),
    };
    let credentials = [credential];
    let deployer = KubeDeployer::new(config(), cluster.clone())
        .unwrap()
        .with_secrets(Arc::new(Any))
        .with_credentials(credentials.clone());
    let mut web = container("web", Some(8080));
    web.ingress_path = Some("/".into());
    web.volumes = vec![VolumeMount { path: "/data".into(), size: "1Mi".into() }];
    web.env.insert("TOKEN".into(), EnvValue::Secret { secret: SecretName::parse("x").unwrap() });
    let mut target = target(namespace, &service, 0, vec![web]);

    deployer.apply(&target, &request("one")).await?;
    deployer.status(&target, Revision(1)).await?;
    workload(&mut target).containers = vec![container("web", None)];
    deployer.apply(&target, &request("two")).await?;
    deployer.rollback(&target, Revision(1), &release("three")).await?;
    deployer.observed(&target).await?;
    deployer.history(&target).await?;
    deployer.remove(&target).await?;

    let secrets = deployer.pull_secrets().unwrap();
    secrets.check(&target).await?;
    secrets.create(&target, &credentials).await?;
    secrets.rotate(&target, &credentials).await?;

    for kind in [ExistingKind::StatefulSet, ExistingKind::DaemonSet, ExistingKind::CronJob] {
        let target = existing(&target, kind);
        match deployer.apply(&target, &request("one")).await {
            // An old cluster; the right to look is needed all the same.
            Err(error) if error.kind() == ErrorKind::Unsupported => continue,
            applied => deployer.status(&target, applied?).await?,
        };
        deployer.remove(&target).await?;
    }
    Ok(())
}

fn existing(target: &DeployTarget, kind: ExistingKind) -> DeployTarget {
    let mut target = target.clone();
    target.target = Target::Existing {
        kind,
        namespace: None,
        name: DnsLabel::parse("theirs").unwrap(),
        container: ContainerName::parse("web").unwrap(),
    };
    target
}

/// Things of the platform that run no pod.
async fn theirs(client: kube::Client, namespace: &TestNamespace) {
    let template = json!({
        "metadata": {"labels": {"app": "theirs"}},
        "spec": {"nodeSelector": {"no": "node"}, "containers": [{"name": "web", "image": image("x").to_string()}]},
    });
    let spec = json!({"replicas": 0, "serviceName": "x", "selector": {"matchLabels": {"app": "theirs"}}, "template": template});
    let object = json!({"metadata": {"name": "theirs"}, "spec": spec});
    let params = PostParams::default();
    Api::<StatefulSet>::namespaced(client.clone(), &namespace.name)
        .create(&params, &read(object.clone()))
        .await
        .unwrap();
    Api::<DaemonSet>::namespaced(client, &namespace.name).create(&params, &read(object)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_with_the_documented_role_and_each_verb_that_is_missing_is_named() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    theirs(cluster.client.clone(), &namespace).await;
    let account = Account::open(&cluster, &namespace).await;
    let rules = documented("kiops-deployer");
    account.may(&rules).await;
    everything(&account.cluster, &namespace).await.unwrap();

    for (n, rule) in rules.iter().enumerate() {
        for (v, verb) in rule.verbs.iter().enumerate() {
            for resource in rule.resources.as_ref().unwrap() {
                if (resource.as_str(), verb.as_str()) == ("cronjobs", "patch") {
                    continue; // Kubernetes 1.20 has none to patch.
                }
                let mut fewer = rules.clone();
                let mut others = rule.clone();
                others.resources.as_mut().unwrap().retain(|other| other != resource);
                fewer[n].resources = Some(vec![resource.clone()]);
                fewer[n].verbs.remove(v);
                fewer.push(others);
                fewer.retain(|rule| !rule.verbs.is_empty() && !rule.resources.as_ref().unwrap().is_empty());
                account.may(&fewer).await;
                let error = denied(&account.cluster, &namespace).await;
                assert_eq!(error.kind(), ErrorKind::Forbidden, "without {verb} {resource}: {error}");
                let expected = format!(" cannot {verb} {resource} in namespace {}", namespace.name);
                let named = error.message().starts_with("Permission denied: ")
                    && error.message().ends_with(&expected);
                assert!(named, "without {verb} {resource}: {error}");
                assert!(error.remedy().unwrap().contains(&format!("`{verb}` on `{resource}`")), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_deleted_is_refused_before_anything_is_changed() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let account = Account::open(&cluster, &namespace).await;
    let mut rules = documented("kiops-deployer");
    let ingresses = |rule: &&mut PolicyRule| rule.resources.iter().flatten().any(|one| one == "ingresses");
    rules.iter_mut().find(ingresses).unwrap().verbs.retain(|verb| verb != "delete");
    account.may(&rules).await;
    let deployer = KubeDeployer::new(config(), account.cluster).unwrap();
    let mut web = container("web", Some(8080));
    web.ingress_path = Some("/".into());
    let mut target = target(&namespace, "site", 0, vec![web]);
    deployer.apply(&target, &request("one")).await.unwrap();
    workload(&mut target).containers = vec![container("web", None)];
    let error = deployer.apply(&target, &request("two")).await.unwrap_err();
    assert!(error.message().contains("cannot delete ingresses"), "{error}");
    assert_eq!(deployer.observed(&target).await.unwrap().unwrap().revision, Revision(1));
    assert_eq!(deployer.history(&target).await.unwrap().len(), 1);
}

/// The error, as soon as the API server has seen the change of the role.
async fn denied(cluster: &Cluster, namespace: &TestNamespace) -> kiops_core::Error {
    for _ in 0..5 {
        match everything(cluster, namespace).await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(300)).await,
            Err(error) => return error,
        }
    }
    panic!("nothing is refused")
}

#[tokio::test]
async fn a_namespace_that_may_not_be_made_is_refused_by_name() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let account = Account::open(&cluster, &namespace).await;
    account.may(&documented("kiops-deployer")).await;
    let mut config = config();
    config.render.create_namespace = true;
    let deployer = KubeDeployer::new(config, account.cluster).unwrap();
    let target = target(&namespace, "site", 0, vec![container("web", None)]);
    let error = deployer.apply(&target, &request("one")).await.unwrap_err();
    assert!(error.message().ends_with("cannot get namespaces in the whole cluster"), "{error}");
    let verbs = documented("kiops-deployer-namespaces").remove(0).verbs;
    assert_eq!(verbs, ["get", "create"]);
}
