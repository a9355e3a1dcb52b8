//! Pull Secrets on demand (K20-K24, K44).

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kiops_core::ErrorKind;
use kiops_core::image::RegistryCredential;
use kiops_core::name::DnsLabel;
use kiops_core::release::{Deployer as _, PullSecretCreation, PullSecretState};
use kiops_core::secret::Secret;
use kiops_kube::KubeDeployer;
use kube::Api;
use serde_json::{Value, json};

use super::account::Account;
use super::{config, deployer, target};
use crate::cluster::{TestCluster, TestNamespace, cluster};
use crate::common::{container, request};
use crate::proxy::Proxied;

fn hub(password: &str) -> [RegistryCredential; 1] {
    [RegistryCredential {
        host: "docker.io".into(),
        username: "robot$team+ci".into(),
        password: Secret::new(password).unwrap(),
    }]
}

async fn held(cluster: &TestCluster, namespace: &TestNamespace) -> (String, Value) {
    let secrets = Api::<KubeSecret>::namespaced(cluster.client.clone(), &namespace.name);
    let secret = secrets.get("site-registry-cred").await.unwrap();
    (secret.type_.unwrap(), serde_json::from_slice(&secret.data.unwrap()[".dockerconfigjson"].0).unwrap())
}

#[tokio::test]
async fn a_pull_secret_is_checked_created_and_rotated_in_the_words_that_people_know() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![container("web", None)]);
    let deployer = deployer(cluster.open());
    let secrets = deployer.pull_secrets().unwrap();
    let check = || async { secrets.check(&target).await.unwrap() };
    assert_eq!(check().await.to_string(), "Secret not found");
    let created = secrets.create(&target, &hub("first")).await.unwrap();
    assert_eq!(created.to_string(), "Secret created successfully");
    assert_eq!(check().await.to_string(), "Secret already exists");
    let (kind, content) = held(&cluster, &namespace).await;
    assert_eq!(kind, "kubernetes.io/dockerconfigjson");
    let auth = &content["auths"]["https://index.docker.io/v1/"];
    assert_eq!((&auth["username"], &auth["password"]), (&json!("robot$team+ci"), &json!("first")));

    let again = secrets.create(&target, &hub("second")).await.unwrap();
    assert_eq!(again.to_string(), "Secret already exists");
    assert_eq!(held(&cluster, &namespace).await.1, content, "it stays as it is");
    let rotated = secrets.rotate(&target, &hub("second")).await.unwrap();
    assert_eq!(rotated.to_string(), "Secret rotated successfully");
    let (_, content) = held(&cluster, &namespace).await;
    assert_eq!(content["auths"]["https://index.docker.io/v1/"]["password"], "second");

    let error = secrets.rotate(&target, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(check().await, PullSecretState::Exists, "nothing was deleted");
}

#[tokio::test]
async fn a_pull_secret_made_on_demand_is_named_by_pods_and_left_alone_by_releases() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 0, vec![container("web", None)]);
    let elsewhere = [RegistryCredential { host: "quickstart.local".into(), ..hub("other")[0].clone() }];
    let deployer = deployer(cluster.open()).with_credentials(elsewhere);
    deployer.pull_secrets().unwrap().create(&target, &hub("mine")).await.unwrap();
    deployer.apply(&target, &request("one")).await.unwrap();
    let pod =
        Api::<Deployment>::namespaced(cluster.client.clone(), &namespace.name).get("site").await.unwrap();
    let pod = serde_json::to_value(pod.spec.unwrap().template.spec.unwrap()).unwrap();
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "site-registry-cred"}]));
    assert!(held(&cluster, &namespace).await.1["auths"]["https://index.docker.io/v1/"].is_object());
    deployer.remove(&target).await.unwrap();
    assert_eq!(deployer.pull_secrets().unwrap().check(&target).await.unwrap(), PullSecretState::Exists);
}

#[tokio::test]
async fn what_keeps_a_pull_secret_from_being_made_is_named() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let mut target = target(&namespace, "site", 0, vec![container("web", None)]);
    let account = Account::open(&cluster, &namespace).await;
    let restricted = deployer(account.cluster.clone());
    let secrets = restricted.pull_secrets().unwrap();
    let rule = |verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["secrets".into()]),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        ..PolicyRule::default()
    };
    let error = secrets.create(&target, &hub("x")).await.unwrap_err();
    let who = format!("Permission denied: system:serviceaccount:{}:deployer", namespace.name);
    assert_eq!(error.message(), format!("{who} cannot create secrets in namespace {}", namespace.name));
    account.may(&[rule(&["create"])]).await;
    assert_eq!(secrets.create(&target, &hub("x")).await.unwrap(), PullSecretCreation::Created);
    let error = secrets.rotate(&target, &hub("x")).await.unwrap_err();
    assert_eq!(error.message(), format!("{who} cannot patch secrets in namespace {}", namespace.name));
    let error = secrets.check(&target).await.unwrap_err();
    assert_eq!(error.message(), format!("{who} cannot get secrets in namespace {}", namespace.name));

    target.namespace = DnsLabel::parse("kiops-nowhere").unwrap();
    let error =
        deployer(cluster.open()).pull_secrets().unwrap().create(&target, &hub("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "Namespace not found: kiops-nowhere"));

    let way = Proxied::open(&cluster).await;
    let away = KubeDeployer::new(config(), way.cluster.clone()).unwrap();
    way.switch()(true);
    let error = away.pull_secrets().unwrap().create(&target, &hub("hunter2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().starts_with("cluster `kubernetes` cannot be reached"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}
