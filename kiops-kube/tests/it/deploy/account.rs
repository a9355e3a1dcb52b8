//! An account of the test's own, with the rights that the test gives it.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use kiops_kube::{Cluster, ClusterConfig};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::read;
use crate::cluster::{TestCluster, TestNamespace};

/// The service account `deployer` of a namespace.
pub(crate) struct Account {
    pub(crate) cluster: Cluster,
    roles: Api<Role>,
}

impl Account {
    /// An account without any right.
    pub(crate) async fn open(cluster: &TestCluster, namespace: &TestNamespace) -> Self {
        let name = &namespace.name;
        let accounts = Api::<ServiceAccount>::namespaced(cluster.client.clone(), name);
        let roles = Api::<Role>::namespaced(cluster.client.clone(), name);
        let bindings = Api::<RoleBinding>::namespaced(cluster.client.clone(), name);
        let params = PostParams::default();
        accounts.create(&params, &read(json!({"metadata": {"name": "deployer"}}))).await.unwrap();
        roles.create(&params, &read(json!({"metadata": {"name": "deployer"}, "rules": []}))).await.unwrap();
        let binding = json!({
            "metadata": {"name": "deployer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": name}],
        });
        bindings.create(&params, &read(binding)).await.unwrap();
        let wanted = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let token = accounts.create_token_request("deployer", &params, &wanted).await.unwrap();

        let text = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
        let mut kubeconfig: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        kubeconfig["users"][0]["user"] = json!({"token": token.status.unwrap().token});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
        let cluster = Cluster::from_kubeconfig(ClusterConfig::default(), file.path(), None).await.unwrap();
        Self { cluster, roles }
    }

    /// Gives it these rights and no others, from about now on.
    pub(crate) async fn may(&self, rules: &[PolicyRule]) {
        let patch = Patch::Merge(json!({"rules": rules}));
        self.roles.patch("deployer", &PatchParams::default(), &patch).await.unwrap();
        // The API server follows its own roles by a watch.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
