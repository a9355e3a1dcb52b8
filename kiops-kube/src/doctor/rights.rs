//! Rights, in the words of RBAC.

use std::fmt;

use serde::Serialize;

/// A right to do something with objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Right {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource in the plural, with its subresource: `pods/log`.
    pub resource: &'static str,
    /// Whether the objects are in no namespace, as namespaces themselves.
    pub cluster_wide: bool,
}

impl Right {
    /// A right within namespaces.
    pub const fn new(verb: &'static str, group: &'static str, resource: &'static str) -> Self {
        Self { verb, group, resource, cluster_wide: false }
    }

    /// A right to objects that are in no namespace.
    pub const fn cluster_wide(verb: &'static str, group: &'static str, resource: &'static str) -> Self {
        Self { verb, group, resource, cluster_wide: true }
    }
}

/// `create secrets`, `patch deployments.apps`.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// What builds and checks ask of the namespace of their runs (docs/adapters/kaniko-role.yaml).
pub const RUN_RIGHTS: &[Right] = &[
    Right::new("create", "batch", "jobs"),
    Right::new("get", "batch", "jobs"),
    Right::new("list", "batch", "jobs"),
    Right::new("watch", "batch", "jobs"),
    Right::new("patch", "batch", "jobs"),
    Right::new("delete", "batch", "jobs"),
    Right::new("create", "", "secrets"),
    Right::new("get", "", "secrets"),
    Right::new("delete", "", "secrets"),
    Right::new("list", "", "pods"),
    Right::new("watch", "", "pods"),
    Right::new("patch", "", "pods"),
    Right::new("delete", "", "pods"),
    Right::new("get", "", "pods/log"),
    Right::new("list", "", "events"),
    Right::new("watch", "", "events"),
    Right::new("get", "networking.k8s.io", "networkpolicies"),
    Right::new("create", "networking.k8s.io", "networkpolicies"),
    Right::new("patch", "networking.k8s.io", "networkpolicies"),
    Right::new("delete", "networking.k8s.io", "networkpolicies"),
];

/// What builds with Tekton ask of the namespace of their runs (docs/adapters/tekton-role.yaml).
pub const TEKTON_RIGHTS: &[Right] = &[
    Right::new("create", TEKTON, "pipelineruns"),
    Right::new("get", TEKTON, "pipelineruns"),
    Right::new("list", TEKTON, "pipelineruns"),
    Right::new("watch", TEKTON, "pipelineruns"),
    Right::new("patch", TEKTON, "pipelineruns"),
    Right::new("delete", TEKTON, "pipelineruns"),
    Right::new("list", TEKTON, "taskruns"),
    Right::new("watch", TEKTON, "taskruns"),
    Right::new("create", "", "secrets"),
    Right::new("get", "", "secrets"),
    Right::new("delete", "", "secrets"),
    Right::new("list", "", "pods"),
    Right::new("watch", "", "pods"),
    Right::new("delete", "", "pods"),
    Right::new("get", "", "pods/log"),
    Right::new("list", "", "events"),
    Right::new("get", "networking.k8s.io", "networkpolicies"),
    Right::new("create", "networking.k8s.io", "networkpolicies"),
    Right::new("patch", "networking.k8s.io", "networkpolicies"),
    Right::new("delete", "networking.k8s.io", "networkpolicies"),
];

const TEKTON: &str = "tekton.dev";

/// What deploying asks of the namespaces that are deployed to (docs/adapters/kubernetes-deploy-role.yaml).
pub const DEPLOY_RIGHTS: &[Right] = &[
    Right::new("get", "apps", "deployments"),
    Right::new("create", "apps", "deployments"),
    Right::new("patch", "apps", "deployments"),
    Right::new("delete", "apps", "deployments"),
    Right::new("get", "", "services"),
    Right::new("create", "", "services"),
    Right::new("patch", "", "services"),
    Right::new("delete", "", "services"),
    Right::new("get", "networking.k8s.io", "ingresses"),
    Right::new("create", "networking.k8s.io", "ingresses"),
    Right::new("patch", "networking.k8s.io", "ingresses"),
    Right::new("delete", "networking.k8s.io", "ingresses"),
    Right::new("create", "", "persistentvolumeclaims"),
    Right::new("get", "", "secrets"),
    Right::new("create", "", "secrets"),
    Right::new("patch", "", "secrets"),
    Right::new("delete", "", "secrets"),
    Right::new("get", "", "configmaps"),
    Right::new("list", "", "configmaps"),
    Right::new("create", "", "configmaps"),
    Right::new("delete", "", "configmaps"),
    Right::new("list", "apps", "replicasets"),
    Right::new("list", "", "pods"),
    Right::new("get", "apps", "statefulsets"),
    Right::new("patch", "apps", "statefulsets"),
    Right::new("get", "apps", "daemonsets"),
    Right::new("patch", "apps", "daemonsets"),
    Right::new("get", "batch", "cronjobs"),
    Right::new("patch", "batch", "cronjobs"),
];

/// What deploying asks besides where it creates namespaces.
pub const NAMESPACE_RIGHTS: &[Right] =
    &[Right::cluster_wide("get", "", "namespaces"), Right::cluster_wide("create", "", "namespaces")];

/// What previews ask of the whole cluster besides [`DEPLOY_RIGHTS`]: no namespace of theirs is there before.
pub const PREVIEW_RIGHTS: &[Right] = &[
    Right::cluster_wide("get", "", "namespaces"),
    Right::cluster_wide("create", "", "namespaces"),
    Right::cluster_wide("delete", "", "namespaces"),
    Right::cluster_wide("list", "", "persistentvolumeclaims"),
    Right::cluster_wide("delete", "", "persistentvolumeclaims"),
];
