//! Secrets: the pull Secret (K22) and a target's secret environment variables.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret as SecretObject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::Result;
use kiops_core::image::{RegistryCredential, docker_config_json};
use kiops_core::release::DeployTarget;
use kiops_core::secret::Secret;

use super::names;
use crate::yaml;

/// A Kubernetes Secret with its values. `Debug` shows its name and nothing of the values.
#[derive(Clone, PartialEq)]
pub struct SecretManifest(SecretObject);

impl SecretManifest {
    /// The object, values and all, for the one call that needs it.
    pub const fn expose(&self) -> &SecretObject {
        &self.0
    }

    /// The Secret's name.
    pub fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for SecretManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretManifest").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// The Secret from which a service's images are pulled: `{service}-registry-cred`, type `kubernetes.io/dockerconfigjson`.
///
/// User names and passwords reach it byte for byte (E77). The components of a service share it.
pub fn pull_secret(target: &DeployTarget, credentials: &[RegistryCredential]) -> SecretManifest {
    let config = docker_config_json(credentials);
    let mut labels = names::stable_labels(target);
    // It belongs to the service, not to one of its components.
    labels.remove("app.kubernetes.io/component");
    labels.insert("app.kubernetes.io/instance".to_owned(), target.service.to_string());
    SecretManifest(secret(
        target,
        labels,
        names::pull_secret_name(&target.service),
        "kubernetes.io/dockerconfigjson",
        BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(config.expose().to_vec()))]),
    ))
}

/// The Secret `{object}-env` that the target's secret environment variables refer to, of values by key
/// ([`Manifests::secret_keys`](super::Manifests::secret_keys) says which keys are wanted).
pub fn env_secret(target: &DeployTarget, values: &BTreeMap<String, Secret>) -> SecretManifest {
    let object = names::object_name(&target.service, &target.component);
    let data = values.iter().map(|(key, value)| (key.clone(), ByteString(value.expose().to_vec()))).collect();
    SecretManifest(secret(
        target,
        names::stable_labels(target),
        names::env_secret_name(&object),
        "Opaque",
        data,
    ))
}

fn secret(
    target: &DeployTarget,
    labels: BTreeMap<String, String>,
    name: String,
    kind: &str,
    data: BTreeMap<String, ByteString>,
) -> SecretObject {
    SecretObject {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(target.namespace.to_string()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some(data),
        ..SecretObject::default()
    }
}

/// The Secrets as YAML, one document each, after the namespace that they need; `None` where there are no Secrets.
pub(crate) fn secrets_yaml(
    namespace: Option<&Namespace>,
    secrets: &[SecretManifest],
) -> Result<Option<Secret>> {
    let mut text = String::new();
    if let Some(namespace) = namespace.filter(|_| !secrets.is_empty()) {
        yaml::push_document(&mut text, namespace)?;
    }
    for secret in secrets {
        yaml::push_document(&mut text, secret.expose())?;
    }
    Ok(Secret::new(text))
}
