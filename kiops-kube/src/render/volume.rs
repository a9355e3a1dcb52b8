//! Volumes: one claim each, and the quantities in which Kubernetes counts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kiops_core::name::DnsLabel;
use kiops_core::service::Container;
use kiops_core::{Error, Result};

use super::{AccessMode, OPERATION, Scope, names};

/// What keeps GitOps tools from deleting a claim, and with it the data, when its manifest goes (Argo CD, Flux).
const KEEP: [(&str, &str); 2] = [
    ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];

/// What outlives its manifest's removal says so.
pub(super) fn keep_annotations() -> BTreeMap<String, String> {
    KEEP.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The claims of a container's volumes, in the order of the volumes.
pub(super) fn claims(scope: &Scope<'_>, container: &Container) -> Result<Vec<PersistentVolumeClaim>> {
    let mut seen: Vec<String> = Vec::new();
    let mut claims = Vec::new();
    for volume in &container.volumes {
        let at = format!("workload.containers.{}.volumes: `{}`", container.name, volume.path.escape_debug());
        let path = names::normal_path(&volume.path);
        if path.is_empty() {
            return Err(Error::invalid(
                OPERATION,
                format!("{at}: a volume cannot be mounted over the whole file system"),
            ));
        }
        if path.chars().any(char::is_control) {
            return Err(Error::invalid(OPERATION, format!("{at}: a path has no control characters")));
        }
        if seen.contains(&path) {
            return Err(Error::invalid(OPERATION, format!("{at} stands twice")));
        }
        seen.push(path);
        let size = quantity(&volume.size, Fractions::No).map_err(|reason| {
            Error::invalid(OPERATION, format!("{at}: size `{}` {reason}", volume.size.escape_debug()))
        })?;
        let mut metadata =
            scope.metadata(names::claim_name(&scope.object, &container.name, &volume.path).as_str());
        metadata.labels = Some(names::stable_labels(scope.target));
        metadata.annotations = Some(keep_annotations());
        claims.push(PersistentVolumeClaim {
            metadata,
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec![scope.config.access_mode.name().to_owned()]),
                resources: Some(VolumeResourceRequirements {
                    requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                    limits: None,
                }),
                storage_class_name: scope.config.storage_class.clone(),
                ..PersistentVolumeClaimSpec::default()
            }),
            status: None,
        });
    }
    Ok(claims)
}

/// The mounts of a container's volumes.
pub(super) fn mounts(object: &DnsLabel, container: &Container) -> Vec<VolumeMount> {
    let mount = |volume: &kiops_core::service::VolumeMount| VolumeMount {
        name: names::claim_name(object, &container.name, &volume.path).to_string(),
        mount_path: volume.path.clone(),
        ..VolumeMount::default()
    };
    container.volumes.iter().map(mount).collect()
}

/// The pod's volume for a claim: it goes by the claim's name.
pub(super) fn volume(claim: &PersistentVolumeClaim) -> Volume {
    let name = claim.metadata.name.clone().unwrap_or_default();
    Volume {
        name: name.clone(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: name,
            read_only: None,
        }),
        ..Volume::default()
    }
}

impl AccessMode {
    /// Kubernetes' name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}

/// Whether a quantity may count in thousandths and less (`100m` of a CPU).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fractions {
    Yes,
    No,
}

/// A quantity above zero as Kubernetes writes them: digits with at most one dot, then a suffix (`Ki` to `Ei`, `k` to `E`,
/// `m`, `u`, `n`) or a decimal exponent (`1e3`). The error continues the sentence "size `x` ...".
pub(super) fn quantity(text: &str, fractions: Fractions) -> Result<Quantity, &'static str> {
    const SHAPE: &str = "is no quantity: digits and a suffix such as Mi or Gi are wanted, for example 1Gi";
    if text.len() > 32 {
        return Err("is longer than 32 characters");
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
        return Err(SHAPE);
    }
    let exponent = || {
        let digits =
            suffix.strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        digits.is_some_and(|d| (1..=2).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))
    };
    match suffix {
        "" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" | "k" | "M" | "G" | "T" | "P" | "E" => {}
        "n" | "u" | "m" if fractions == Fractions::Yes => {}
        _ if exponent() => {}
        _ => return Err(SHAPE),
    }
    if !number.bytes().any(|b| matches!(b, b'1'..=b'9')) {
        return Err("is zero");
    }
    Ok(Quantity(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for good in ["1Gi", "500Mi", "1.5Ti", "1", "10G", "1e9", "1E3", "2E", ".5Gi", "1E+3"] {
            assert!(quantity(good, Fractions::No).is_ok(), "{good}");
        }
        for bad in [
            "", "Gi", "1gi", "1 Gi", "-1Gi", "1GiB", "0", "0.0Gi", "1.2.3", ".", "100m", "1e", "1e999",
            "١Gi", "1Gi\n",
        ] {
            assert!(quantity(bad, Fractions::No).is_err(), "{bad}");
        }
        assert!(quantity("250m", Fractions::Yes).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_refused(text in any::<String>()) {
            let _ = quantity(&text, Fractions::Yes);
        }
    }
}
