//! What goes with a preview besides its objects: its volumes, and the namespace that was made for it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim};
use kiops_core::release::DeployTarget;
use kiops_core::{Error, ErrorKind, Result};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::KubeDeployer;
use super::workload::selector;
use crate::cluster::Access;
use crate::render::names;

/// How long a namespace is waited for that goes; whoever asked asks again.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);

impl KubeDeployer {
    /// Removes what is left of a component of a preview, and with the last one the namespace.
    pub(super) async fn remove_rest(&self, target: &DeployTarget) -> Result<()> {
        let Some(namespace) = self.namespace(target).await? else { return Ok(()) };
        let objects = self.objects(&target.namespace);
        if !is_made_for(target, &namespace) {
            let labels = selector(&names::stable_labels(target));
            for claim in objects.list_metadata::<PersistentVolumeClaim>(&labels).await? {
                objects.delete::<PersistentVolumeClaim>(claim.name.as_deref().unwrap_or_default()).await?;
            }
            return Ok(());
        }
        let others = objects.list_metadata::<ConfigMap>(names::REVISION_OF).await?;
        if !others.is_empty() {
            return Ok(());
        }
        self.delete_namespace(target, &namespace).await?;
        let begun = tokio::time::Instant::now();
        while let Some(left) =
            self.namespace(target).await?.filter(|left| left.metadata.uid == namespace.metadata.uid)
        {
            if begun.elapsed() >= PATIENCE {
                return Err(Error::unavailable("remove preview", still_there(target, &left)).with_remedy(
                    "look at what is left in it: an object with a finalizer waits for whoever set that",
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn namespace(&self, target: &DeployTarget) -> Result<Option<Namespace>> {
        let api = Api::<Namespace>::all(self.cluster.client().clone());
        let access = Access::everywhere("get", "namespaces");
        self.cluster.call(&access, || api.get_opt(target.namespace.as_str())).await
    }

    /// Only the one that was looked at.
    async fn delete_namespace(&self, target: &DeployTarget, found: &Namespace) -> Result<()> {
        let api = Api::<Namespace>::all(self.cluster.client().clone());
        let condition = Preconditions { uid: found.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::default().preconditions(condition);
        let access = Access::everywhere("delete", "namespaces");
        let deleted = self.cluster.call(&access, || api.delete(target.namespace.as_str(), &params)).await;
        match deleted {
            // Gone, or on its way, or another one by now.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => Ok(()),
            deleted => deleted.map(|_| ()),
        }
    }
}

/// Whether kiops made a namespace, for this preview.
fn is_made_for(target: &DeployTarget, namespace: &Namespace) -> bool {
    let labels = namespace.metadata.labels.as_ref();
    names::preview_labels(target)
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// What the cluster says of a namespace that does not go.
fn still_there(target: &DeployTarget, left: &Namespace) -> String {
    let conditions = left.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let holds = conditions.filter(|condition| condition.status == "True");
    let said: Vec<&str> = holds.filter_map(|condition| condition.message.as_deref()).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
    format!("namespace `{}` is still being removed{said}", target.namespace)
}
