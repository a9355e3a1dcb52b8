//! Previews: namespaces that are made for a merge request, and go with it.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule};
use kiops_core::name::{ComponentName, DnsLabel, EnvironmentName};
use kiops_core::release::{DeployTarget, Deployer as _, Revision};
use kiops_core::service::VolumeMount;
use kiops_core::{ErrorKind, Result};
use kiops_kube::{Cluster, KubeDeployer};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;

use super::account::Account;
use super::rights::documented;
use super::{config, deployer, read, target};
use crate::cluster::{TestCluster, TestNamespace, cluster};
use crate::common::{container, request};

/// The preview of a merge request, in a namespace that nobody made yet. It claims a volume.
fn preview(namespace: &TestNamespace, number: u64) -> DeployTarget {
    let mut web = container("web", Some(8080));
    web.volumes = vec![VolumeMount { path: "/data".into(), size: "1Mi".into() }];
    DeployTarget {
        environment: EnvironmentName::parse(format!("review-mr-{number}")).unwrap(),
        namespace: DnsLabel::parse(format!("{}-mr-{number}", namespace.name)).unwrap(),
        preview: Some(number),
        ..target(namespace, "site", 0, vec![web])
    }
}

fn namespaces(cluster: &TestCluster) -> Api<Namespace> {
    Api::all(cluster.client.clone())
}

async fn names<K>(cluster: &TestCluster, target: &DeployTarget) -> Vec<String>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api = Api::<K>::namespaced(cluster.client.clone(), target.namespace.as_str());
    // The cluster makes a ConfigMap of its own in every namespace.
    let found = api.list(&Default::default()).await.unwrap();
    found
        .into_iter()
        .filter(|one| one.meta().deletion_timestamp.is_none())
        .map(|one| one.name_any())
        .collect()
}

#[tokio::test]
async fn a_preview_is_made_in_a_namespace_of_its_own_and_nothing_of_it_is_left() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let (deployer, web) = (deployer(cluster.open()), preview(&namespace, 7));
    let api = DeployTarget { component: ComponentName::parse("api").unwrap(), ..web.clone() };
    for target in [&web, &api] {
        assert_eq!(deployer.apply(target, &request("one")).await.unwrap(), Revision(1));
    }
    let made = namespaces(&cluster).get(web.namespace.as_str()).await.unwrap();
    assert_eq!(made.labels()["kiops.dev/environment"], "review-mr-7");
    assert_eq!(names::<Deployment>(&cluster, &web).await.len(), 2);

    deployer.remove(&web).await.unwrap();
    assert_eq!(names::<Deployment>(&cluster, &web).await.len(), 1, "the other component is not removed yet");
    deployer.remove(&api).await.unwrap();
    assert!(namespaces(&cluster).get_opt(web.namespace.as_str()).await.unwrap().is_none());
    // Nobody knows whether the call before was heard.
    deployer.remove(&web).await.unwrap();
    deployer.remove(&api).await.unwrap();
    // The request is opened again.
    assert_eq!(deployer.apply(&web, &request("two")).await.unwrap(), Revision(1));
    deployer.remove(&web).await.unwrap();
    assert!(namespaces(&cluster).get_opt(web.namespace.as_str()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_namespace_that_somebody_else_made_stays_and_is_left_without_anything_of_ours() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let mut target = preview(&namespace, 7);
    target.namespace = DnsLabel::parse(&namespace.name).unwrap();
    let deployer = deployer(cluster.open());
    deployer.apply(&target, &request("one")).await.unwrap();
    // Every tool gives such labels to what it makes of an application of that name.
    let theirs = json!({
        "metadata": {"name": "theirs", "labels": {"app.kubernetes.io/name": "site", "app.kubernetes.io/instance": "site"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    let claims = Api::<PersistentVolumeClaim>::namespaced(cluster.client.clone(), &namespace.name);
    claims.create(&PostParams::default(), &read(theirs)).await.unwrap();
    assert_eq!(names::<PersistentVolumeClaim>(&cluster, &target).await.len(), 2);
    deployer.remove(&target).await.unwrap();
    let left = namespaces(&cluster).get(&namespace.name).await.unwrap();
    assert_eq!(left.metadata.deletion_timestamp, None);
    assert_eq!(names::<Deployment>(&cluster, &target).await, Vec::<String>::new());
    // One that a pod still mounts would go with the pod.
    assert_eq!(names::<PersistentVolumeClaim>(&cluster, &target).await, ["theirs"]);
}

#[tokio::test]
async fn what_holds_a_namespace_is_said_and_the_removal_goes_on_once_it_lets_go() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let (deployer, target) = (deployer(cluster.open()), preview(&namespace, 7));
    deployer.apply(&target, &request("one")).await.unwrap();
    let claims = Api::<PersistentVolumeClaim>::namespaced(cluster.client.clone(), target.namespace.as_str());
    let foreign = json!({
        "metadata": {"name": "held", "finalizers": ["example.com/hold"]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    claims.create(&PostParams::default(), &read(foreign)).await.unwrap();
    let error = deployer.remove(&target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(
        error.message().contains("is still being removed") && error.message().contains("example.com/hold"),
        "{error}"
    );
    let freed = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    claims.patch("held", &PatchParams::default(), &freed).await.unwrap();
    deployer.remove(&target).await.unwrap();
    assert!(namespaces(&cluster).get_opt(target.namespace.as_str()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_preview_under_the_host_of_what_it_is_a_preview_of_is_refused() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let mut target = preview(&namespace, 7);
    let mut web = container("web", Some(8080));
    web.ingress_path = Some("/".into());
    crate::common::workload(&mut target).containers = vec![web];
    for (host, said) in [
        (None, "none is set"),
        (Some("{service}.example.com"), "is not the preview's alone"),
        (Some("{environment}.example.com"), "is not the preview's alone"),
    ] {
        let mut config = config();
        config.render.ingress_host = host.map(str::to_owned);
        let deployer = KubeDeployer::new(config, cluster.open()).unwrap();
        let error = deployer.apply(&target, &request("one")).await.unwrap_err();
        assert!(
            error.message().contains(said) && error.remedy().unwrap().contains("{environment}"),
            "{error}"
        );
    }
    assert!(
        namespaces(&cluster).get_opt(target.namespace.as_str()).await.unwrap().is_none(),
        "nothing was made"
    );
    let mut config = config();
    config.render.ingress_host = Some("{environment}.{service}.example.com".into());
    let deployer = KubeDeployer::new(config, cluster.open()).unwrap();
    deployer.apply(&target, &request("one")).await.unwrap();
    let ingress = Api::<Ingress>::namespaced(cluster.client.clone(), target.namespace.as_str())
        .get("site")
        .await
        .unwrap();
    let host = ingress.spec.unwrap().rules.unwrap().remove(0).host.unwrap();
    assert_eq!(host, "review-mr-7.site.example.com");
    deployer.remove(&target).await.unwrap();
}

/// Rights in the whole cluster, for as long as this lives.
struct Everywhere {
    name: String,
    roles: Api<ClusterRole>,
    bindings: Api<ClusterRoleBinding>,
}

impl Everywhere {
    async fn open(cluster: &TestCluster, namespace: &TestNamespace) -> Self {
        let name = namespace.name.clone();
        let (roles, bindings) = (Api::all(cluster.client.clone()), Api::all(cluster.client.clone()));
        let params = PostParams::default();
        roles.create(&params, &read(json!({"metadata": {"name": name}, "rules": []}))).await.unwrap();
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": name}],
        });
        bindings.create(&params, &read(binding)).await.unwrap();
        Self { name, roles, bindings }
    }

    async fn may(&self, rules: &[PolicyRule]) {
        let patch = Patch::Merge(json!({"rules": rules}));
        self.roles.patch(&self.name, &PatchParams::default(), &patch).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }

    async fn close(self) {
        self.bindings.delete(&self.name, &DeleteParams::default()).await.unwrap();
        self.roles.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// A preview in a namespace of its own, and one in the namespace of somebody else.
async fn come_and_go(cluster: &Cluster, namespace: &TestNamespace, number: u64) -> Result<()> {
    let (deployer, own) = (deployer(cluster.clone()), preview(namespace, number));
    let mut theirs = own.clone();
    theirs.namespace = DnsLabel::parse(&namespace.name).unwrap();
    for target in [own, theirs] {
        deployer.apply(&target, &request("one")).await?;
        deployer.remove(&target).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn previews_need_the_documented_rights_and_each_verb_that_is_missing_is_named() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let account = Account::open(&cluster, &namespace).await;
    let everywhere = Everywhere::open(&cluster, &namespace).await;
    let (deploying, previews) = (documented("kiops-deployer"), documented("kiops-deployer-previews"));
    let all = |previews: &[PolicyRule]| [deploying.as_slice(), previews].concat();
    everywhere.may(&all(&previews)).await;
    come_and_go(&account.cluster, &namespace, 1).await.unwrap();
    for (n, rule) in previews.iter().enumerate() {
        for (v, verb) in rule.verbs.iter().enumerate() {
            let mut fewer = previews.clone();
            fewer[n].verbs.remove(v);
            everywhere.may(&all(&fewer)).await;
            let number = 2 + 10 * n as u64 + v as u64;
            let error = come_and_go(&account.cluster, &namespace, number).await.unwrap_err();
            let resource = &rule.resources.as_ref().unwrap()[0];
            assert!(error.message().contains(&format!(" cannot {verb} {resource} in ")), "{error}");
            assert!(error.remedy().unwrap().contains(&format!("`{verb}` on `{resource}`")), "{error}");
            everywhere.may(&all(&previews)).await;
            come_and_go(&account.cluster, &namespace, number).await.unwrap();
        }
    }
    everywhere.close().await;
}
