//! What a build finds as files: credentials and secrets of the run's own Secret, certificates, folders. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kiops_core::image::{RegistryCredential, docker_config_json};
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};

use crate::run::{CaBundle, SecretItem};

const CONFIG_KEY: &str = "config.json";
const PUSH_CONFIG_KEY: &str = "push-config.json";

/// Volumes, where they are mounted, and what of them stands in the run's own Secret, which gets its name when the run has one.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) mounts: Vec<VolumeMount>,
    pub(crate) secrets: Vec<SecretItem>,
}

impl Files {
    /// Registry credentials, as `config.json` in this folder; nothing where there are none.
    pub(crate) fn registries(&mut self, registries: &[&RegistryCredential], folder: &str) {
        self.registries_as(CONFIG_KEY, "docker-config", registries, folder);
    }

    /// The same for a container that is given others than the one before: under this key, in a volume of this name.
    pub(crate) fn push_registries(&mut self, registries: &[&RegistryCredential], folder: &str) {
        self.registries_as(PUSH_CONFIG_KEY, "push-config", registries, folder);
    }

    fn registries_as(&mut self, key: &str, volume: &str, registries: &[&RegistryCredential], folder: &str) {
        if registries.is_empty() {
            return;
        }
        let value = docker_config_json(registries.iter().copied());
        self.secrets.push(SecretItem { key: key.to_owned(), value, plain: false });
        self.of_secret(volume, folder, vec![(key.to_owned(), CONFIG_KEY.to_owned())]);
    }

    /// Build secrets, each a file of its id in this folder.
    ///
    /// # Errors
    /// `Invalid` for an id that is no name of a file.
    pub(crate) fn build_secrets(&mut self, secrets: &BTreeMap<&str, &Secret>, folder: &str) -> Result<()> {
        let mut files = Vec::new();
        for (n, (id, value)) in secrets.iter().enumerate() {
            let key = format!("build-secret-{n}");
            files.push((key.clone(), file_name(id)?.to_owned()));
            self.secrets.push(SecretItem { key, value: (*value).clone(), plain: false });
        }
        if !files.is_empty() {
            self.of_secret("build-secrets", folder, files);
        }
        Ok(())
    }

    /// A text that is no secret, as this file of a folder.
    pub(crate) fn plain(&mut self, name: &str, folder: &str, file: &str, text: Secret) {
        self.secrets.push(SecretItem { key: file.to_owned(), value: text, plain: true });
        self.of_secret(name, folder, vec![(file.to_owned(), file.to_owned())]);
    }

    /// Certificates, as this file.
    pub(crate) fn certificates(&mut self, name: &str, bundle: Option<&CaBundle>, file: &str) {
        let items =
            |key: &String| Some(vec![KeyToPath { key: key.clone(), path: "ca.crt".to_owned(), mode: None }]);
        let volume = match bundle {
            None => return,
            Some(CaBundle::ConfigMap { name: of, key }) => Volume {
                name: name.to_owned(),
                config_map: Some(ConfigMapVolumeSource {
                    name: of.clone(),
                    items: items(key),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            Some(CaBundle::Secret { name: of, key }) => Volume {
                name: name.to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(of.clone()),
                    items: items(key),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        };
        self.volumes.push(volume);
        // One file, beside what the folder holds already.
        self.mount(name, file, true, Some("ca.crt".to_owned()));
    }

    /// An empty folder of the pod's own.
    pub(crate) fn folder(&mut self, name: &str, path: &str, limit: Option<&str>) {
        self.volumes.push(empty(name, limit));
        self.mount(name, path, false, None);
    }

    /// Mounts a volume of the pod.
    pub(crate) fn mount(&mut self, name: &str, path: &str, read_only: bool, sub_path: Option<String>) {
        self.mounts.push(VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            read_only: read_only.then_some(true),
            sub_path,
            ..VolumeMount::default()
        });
    }

    fn of_secret(&mut self, name: &str, path: &str, files: Vec<(String, String)>) {
        let items = files.into_iter().map(|(key, path)| KeyToPath { key, path, mode: None }).collect();
        self.volumes.push(Volume {
            name: name.to_owned(),
            secret: Some(SecretVolumeSource {
                items: Some(items),
                default_mode: Some(0o444),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
        self.mount(name, path, true, None);
    }
}

/// An empty volume.
pub(crate) fn empty(name: &str, limit: Option<&str>) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: limit.map(|limit| Quantity(limit.to_owned())),
            medium: None,
        }),
        ..Volume::default()
    }
}

fn file_name(id: &str) -> Result<&str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > 200 || !id.chars().all(fine) || id.starts_with("..") || id == "." {
        let text = format!("{id:?} is no name for the file of a build secret");
        return Err(Error::invalid("prepare build", text)
            .with_remedy("name build secrets with letters, digits, `-`, `_` and `.`"));
    }
    Ok(id)
}
