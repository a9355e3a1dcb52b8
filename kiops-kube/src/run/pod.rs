//! Where pods run, and for how long: the settings that executors and check runners share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, PodSpec, Toleration};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The longest that a pod may be allowed to run, in seconds: a week.
const DEADLINE_MAX: u32 = 7 * 86_400;

/// Where the pods of runs are placed, as whom, and how long they may run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PodSettings {
    /// The Secret, in the namespace of the runs, by which nodes pull the images that the settings name.
    pub image_pull_secret: Option<String>,
    /// Labels of the nodes that may be taken.
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that are tolerated.
    pub tolerations: Vec<Toleration>,
    /// The priority class.
    pub priority_class: Option<String>,
    /// The service account. Its token is never mounted.
    pub service_account: Option<String>,
    /// How long a pod may run, in seconds, from one to a week. By default two hours for a build and one for a check; the build's own timers
    /// are the driver's, and should end it earlier.
    pub deadline_secs: Option<u32>,
}

impl PodSettings {
    /// Refuses what no pod can have; `operation` is what is being set up.
    pub(crate) fn validate(&self, operation: &'static str) -> Result<()> {
        match self.deadline_secs {
            Some(secs) if secs == 0 || secs > DEADLINE_MAX => {
                Err(Error::invalid(operation, "pod.deadline_secs: it is not within a second and a week"))
            }
            _ => Ok(()),
        }
    }

    /// How long a pod may run, in seconds.
    pub(crate) fn deadline_or(&self, default: u32) -> u32 {
        self.deadline_secs.unwrap_or(default)
    }

    /// A pod with these settings. What it pulls images with besides comes after the setting's Secret.
    pub(crate) fn applied_to(&self, pod: PodSpec) -> PodSpec {
        let named = self.image_pull_secret.iter().map(|name| LocalObjectReference { name: name.clone() });
        let pull: Vec<_> = named.chain(pod.image_pull_secrets.into_iter().flatten()).collect();
        PodSpec {
            image_pull_secrets: (!pull.is_empty()).then_some(pull),
            node_selector: (!self.node_selector.is_empty()).then(|| self.node_selector.clone()),
            tolerations: (!self.tolerations.is_empty()).then(|| self.tolerations.clone()),
            priority_class_name: self.priority_class.clone(),
            service_account_name: self.service_account.clone(),
            ..pod
        }
    }
}

/// Where certificates are kept, in the namespace of the runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CaBundle {
    /// A ConfigMap.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key under which the PEM text stands.
        key: String,
    },
    /// A Secret.
    Secret {
        /// Its name.
        name: String,
        /// The key under which the PEM text stands.
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_within_a_second_and_a_week() {
        for (secs, fine) in
            [(None, true), (Some(0), false), (Some(1), true), (Some(604_800), true), (Some(604_801), false)]
        {
            let settings = PodSettings { deadline_secs: secs, ..PodSettings::default() };
            assert_eq!(settings.validate("set up x").is_ok(), fine, "{secs:?}");
        }
    }

    #[test]
    fn the_settings_pull_secret_is_asked_before_the_runs_own() {
        let settings = PodSettings { image_pull_secret: Some("named".into()), ..PodSettings::default() };
        let own =
            PodSpec { image_pull_secrets: Some(vec![LocalObjectReference::default()]), ..PodSpec::default() };
        let names: Vec<String> =
            settings.applied_to(own).image_pull_secrets.unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["named", ""]);
        assert_eq!(PodSettings::default().applied_to(PodSpec::default()), PodSpec::default());
    }
}
