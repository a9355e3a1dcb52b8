//! The values that come with a workload: its secret environment variables, and what its images are pulled with.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiops_core::image::RegistryCredential;
use kiops_core::name::PinnedImage;
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::{Error, Result};

use crate::render::Manifests;

/// The values of a workload's secret environment variables; `None`: there are none, or somebody else writes them.
pub(crate) async fn env_values(
    source: Option<&Arc<dyn SecretSource>>,
    manifests: &Manifests,
) -> Result<Option<BTreeMap<String, Secret>>> {
    let Some(source) = source.filter(|_| !manifests.secret_keys.is_empty()) else { return Ok(None) };
    let mut values = BTreeMap::new();
    for (key, name) in &manifests.secret_keys {
        let value = source.secret(name).await?.ok_or_else(|| {
            Error::not_found("write secrets", format!("there is no secret `{name}` for the variable `{key}`"))
                .with_remedy("add the secret, or take the variable out of the workload")
        })?;
        values.insert(key.clone(), value);
    }
    Ok(Some(values))
}

/// Whether one of these images comes from a host that there is a credential of.
pub(crate) fn has_credential<'a>(
    credentials: &[RegistryCredential],
    mut images: impl Iterator<Item = &'a PinnedImage>,
) -> bool {
    images.any(|image| credentials.iter().any(|ours| ours.is_for(image.name.host())))
}
