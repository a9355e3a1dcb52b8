//! The Secrets that come with a workload: its environment variables, and what its images are pulled with.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::Result;
use kiops_core::name::PinnedImage;
use kiops_core::release::DeployTarget;

use super::KubeDeployer;
use super::objects::{Mode, Objects};
use super::workload::selector;
use crate::render::{self, Manifests, PullSecret, names};
use crate::secrets::{env_values, has_credential};

/// On the Secret with a workload's variables, and on its pods: which version of the values it is.
pub(super) const ENV_VERSION: &str = "kiops.dev/env-version";
/// On a pull Secret: releases write it. Without it, somebody else does, and releases leave it as it is.
pub(super) const BY_RELEASES: &str = "kiops.dev/written-by-releases";

impl KubeDeployer {
    /// Writes the secret environment variables, and says which version of them that is: another one only where a value changed.
    ///
    /// Variables that pods of older revisions have and this one has not stay until those pods are gone: one that starts again during the
    /// rollout needs them.
    pub(super) async fn write_env_secret(
        &self,
        target: &DeployTarget,
        manifests: &Manifests,
        objects: Objects<'_>,
    ) -> Result<Option<String>> {
        let Some(values) = env_values(self.secrets.as_ref(), manifests).await? else { return Ok(None) };
        let secret = render::env_secret(target, &values);
        let found = objects.get::<SecretObject>(secret.name()).await?;
        let leaving = found.as_ref().is_some_and(|found| !leaving(found, secret.expose()).is_empty());
        let needed =
            if leaving { needed_keys(target, secret.name(), objects).await? } else { BTreeSet::new() };
        let now = Timestamp::now();
        let make = |found: Option<&SecretObject>| Ok(Some(env_object(secret.expose(), found, &needed, now)));
        let written = objects.update(secret.name(), make).await?;
        Ok(written.as_ref().and_then(version))
    }

    /// Whether pods of these images name the pull Secret: we have a credential for one of their hosts, or somebody made the Secret.
    pub(super) async fn pull_secret_for<'a>(
        &self,
        target: &DeployTarget,
        images: impl Iterator<Item = &'a PinnedImage>,
        objects: Objects<'_>,
    ) -> Result<PullSecret> {
        if has_credential(&self.credentials, images) {
            return Ok(PullSecret::Named);
        }
        let found = objects.get::<SecretObject>(&names::pull_secret_name(&target.service)).await?;
        Ok(if found.is_some() { PullSecret::Named } else { PullSecret::Absent })
    }

    /// Writes the pull Secret where the pods name it and releases are the ones who write it.
    pub(super) async fn write_pull_secret(
        &self,
        target: &DeployTarget,
        manifests: &Manifests,
        objects: Objects<'_>,
    ) -> Result<()> {
        let pod = manifests.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let named = pod.is_some_and(|pod| pod.image_pull_secrets.is_some());
        if !named || self.credentials.is_empty() {
            return Ok(());
        }
        let found = objects.get::<SecretObject>(&names::pull_secret_name(&target.service)).await?;
        if found.is_some_and(|found| !is_by_releases(&found.metadata)) {
            return Ok(());
        }
        // All of them: the components of a service share the Secret, and each must find its own host in it.
        let mut secret = render::pull_secret(target, &self.credentials).expose().clone();
        secret.metadata.annotations = Some([(BY_RELEASES.to_owned(), "true".to_owned())].into());
        objects.apply(&secret, Mode::Real).await.map(|_| ())
    }

    /// Deletes the pull Secret that releases wrote, when the last component of the service goes.
    pub(super) async fn drop_pull_secret(&self, target: &DeployTarget, objects: Objects<'_>) -> Result<()> {
        let service = format!("app.kubernetes.io/name={},{}", target.service, names::REVISION_OF);
        let revisions = objects.list_metadata::<ConfigMap>(&service).await?;
        let component = |metadata: &ObjectMeta| {
            metadata.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/component").cloned())
        };
        if revisions.iter().any(|found| component(found).as_deref() != Some(target.component.as_str())) {
            return Ok(());
        }
        let name = names::pull_secret_name(&target.service);
        objects.delete_if::<SecretObject>(&name, |found| is_by_releases(&found.metadata)).await
    }
}

/// What an environment's Secret has and another of it has not.
fn leaving<'a>(found: &'a SecretObject, wanted: &SecretObject) -> BTreeMap<&'a String, &'a ByteString> {
    let wanted = wanted.data.as_ref();
    let stays = |key: &String| wanted.is_some_and(|wanted| wanted.contains_key(key));
    found.data.iter().flatten().filter(|(key, _)| !stays(key)).collect()
}

/// The variables of this Secret that pods have which run or may start again: those of every ReplicaSet that still wants some.
async fn needed_keys(target: &DeployTarget, secret: &str, objects: Objects<'_>) -> Result<BTreeSet<String>> {
    let sets = objects.list::<ReplicaSet>(&selector(&names::selector_labels(target))).await?;
    let live = sets.into_iter().filter_map(|set| set.spec).filter(|spec| spec.replicas != Some(0));
    let pods = live.filter_map(|spec| spec.template?.spec);
    let variables =
        pods.flat_map(|pod| pod.containers).flat_map(|container| container.env.unwrap_or_default());
    let references = variables.filter_map(|variable| variable.value_from?.secret_key_ref);
    Ok(references.filter(|one| one.name == secret).map(|one| one.key).collect())
}

/// The Secret as it is to be: with what the revision wants, with what older pods need of what was there, and with its version.
fn env_object(
    wanted: &SecretObject,
    found: Option<&SecretObject>,
    needed: &BTreeSet<String>,
    now: Timestamp,
) -> SecretObject {
    let mut object = wanted.clone();
    let data = object.data.get_or_insert_default();
    let is_new = |(key, value): (&String, &ByteString)| {
        found.and_then(|found| found.data.as_ref()?.get(key)) != Some(value)
    };
    let known = found.and_then(version).filter(|_| !data.iter().any(is_new));
    // Nothing of a value can be guessed from it.
    let before = || Some(format!("v{}", found?.metadata.resource_version.as_deref()?));
    let version = known.or_else(before).unwrap_or_else(|| format!("made-{}", now.as_millisecond()));
    for (key, value) in found.into_iter().flat_map(|found| leaving(found, wanted)) {
        if needed.contains(key) {
            data.insert(key.clone(), value.clone());
        }
    }
    object.metadata.annotations.get_or_insert_default().insert(ENV_VERSION.to_owned(), version);
    object
}

fn version(secret: &SecretObject) -> Option<String> {
    secret.metadata.annotations.as_ref()?.get(ENV_VERSION).cloned()
}

fn is_by_releases(metadata: &ObjectMeta) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(BY_RELEASES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(values: &[(&str, &str)], resource_version: &str) -> SecretObject {
        let data = values.iter().map(|(key, value)| ((*key).to_owned(), ByteString((*value).into())));
        let resource_version = (!resource_version.is_empty()).then(|| resource_version.to_owned());
        let metadata = ObjectMeta { resource_version, ..ObjectMeta::default() };
        SecretObject { metadata, data: Some(data.collect()), ..SecretObject::default() }
    }

    fn written(
        wanted: &[(&str, &str)],
        found: Option<&SecretObject>,
        needed: &[&str],
    ) -> (String, Vec<String>) {
        let needed = needed.iter().map(|&key| key.to_owned()).collect();
        let object = env_object(&secret(wanted, ""), found, &needed, Timestamp::UNIX_EPOCH);
        (version(&object).unwrap(), object.data.unwrap().into_keys().collect())
    }

    #[test]
    fn the_version_changes_with_a_value_or_a_new_variable_and_with_nothing_else() {
        let (made, _) = written(&[("a", "1"), ("b", "2")], None, &[]);
        let mut found =
            env_object(&secret(&[("a", "1"), ("b", "2")], ""), None, &BTreeSet::new(), Timestamp::UNIX_EPOCH);
        found.metadata.resource_version = Some("7".into());
        for same in [&[("a", "1"), ("b", "2")][..], &[("a", "1")]] {
            assert_eq!(written(same, Some(&found), &["b"]).0, made);
            assert_eq!(written(same, Some(&found), &[]).0, made);
        }
        for other in [&[("a", "x"), ("b", "2")][..], &[("a", "1"), ("b", "2"), ("c", "3")]] {
            assert_eq!(written(other, Some(&found), &[]).0, "v7");
        }
        // Somebody else's, or one of an older kiops: nobody knows which version its pods have.
        assert_eq!(written(&[("a", "1")], Some(&secret(&[("a", "1")], "9")), &[]).0, "v9");
    }

    #[test]
    fn what_older_pods_need_stays_and_what_nobody_needs_goes() {
        let found = secret(&[("a", "1"), ("b", "2"), ("c", "3")], "7");
        assert_eq!(written(&[("a", "1")], Some(&found), &["b"]).1, ["a", "b"]);
        assert_eq!(written(&[("a", "1")], Some(&found), &[]).1, ["a"]);
        assert_eq!(written(&[("a", "1")], None, &["b"]).1, ["a"]);
    }
}
