//! Names, labels and annotations of a run's objects, each from one function.

use std::collections::BTreeMap;

use kiops_core::name::{DnsLabel, RunId, dns_label};

use super::RunsConfig;

/// Which kiops an object belongs to: the instance of [`RunsConfig`].
pub(crate) const INSTANCE: &str = "kiops.dev/instance";
/// The run that an object belongs to.
pub(crate) const RUN: &str = "kiops.dev/run";
/// What runs it: `kaniko`.
pub(crate) const RUNNER: &str = "kiops.dev/runner";
/// Why a Job is stopped before its end, as an annotation (see [`super::stop`]).
pub(crate) const STOP: &str = "kiops.dev/stop";
/// What a Job had to wait for, as an annotation (see [`super::notes`]).
pub(crate) const WAITED: &str = "kiops.dev/waited";
/// That a pod's container has ended, and when, where its node never says so (see [`super::phase::is_stale`]), as an annotation of its Job.
pub(crate) const ENDED: &str = "kiops.dev/ended";
/// Which keys of a run's Secret hold nothing secret, as an annotation: a list with commas.
pub(crate) const PLAIN_KEYS: &str = "kiops.dev/plain-keys";

/// The only container of a Job's pod.
pub(crate) const CONTAINER: &str = "run";
/// What Tekton puts before the name of a step for its container.
const STEP: &str = "step-";

const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kiops");

/// The name of a run's Job and of its Secret. Two installations with one run id have two names.
pub(crate) fn object_name(config: &RunsConfig, run: &RunId) -> DnsLabel {
    // The slash is in none of them and so forces the hashed form.
    dns_label([format!("{run}/{}", config.instance).as_str()])
}

/// The container of a step.
pub(crate) fn step_container(step: &str) -> String {
    format!("{STEP}{step}")
}

/// Whether a container of a run's pod is the run's own, and not one that something else put there.
pub(crate) fn is_own_container(name: &str) -> bool {
    name == CONTAINER || name.starts_with(STEP)
}

/// The labels of a run's Job, pod and Secret. All values are DNS labels, which are label values as they are.
pub(crate) fn labels(config: &RunsConfig, runner: &str, run: &RunId) -> BTreeMap<String, String> {
    [MANAGED_BY, (INSTANCE, &config.instance), (RUNNER, runner), (RUN, run.as_str())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// The labels that all runs of one kiops have in common.
pub(crate) fn shared_labels(config: &RunsConfig) -> BTreeMap<String, String> {
    [MANAGED_BY, (INSTANCE, &config.instance)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The name of the NetworkPolicy of all runs of one kiops. It is a DNS subdomain, so that every instance has room in it.
pub(crate) fn network_policy_name(config: &RunsConfig) -> String {
    format!("kiops-runs-{}", config.instance)
}

/// What selects the objects of all runs of one kiops.
pub(crate) fn selector(config: &RunsConfig) -> String {
    format!("{}={},{INSTANCE}={}", MANAGED_BY.0, MANAGED_BY.1, config.instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::name::BuildId;

    #[test]
    fn two_installations_never_share_an_object() {
        let run = RunId::of_build(&BuildId::derive(["x"]), 1);
        let (one, two) = (RunsConfig::new("builds", "one"), RunsConfig::new("builds", "two"));
        assert_ne!(object_name(&one, &run), object_name(&two, &run));
        assert_eq!(object_name(&one, &run), object_name(&one, &run));
        assert!(object_name(&one, &run).as_str().starts_with(run.as_str()));
    }

    proptest::proptest! {
        #[test]
        fn any_run_of_any_instance_has_a_name_and_labels_of_its_own(
            one in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            other in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            instance in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        ) {
            let config = RunsConfig::new("builds", &instance);
            let (a, b) = (RunId::parse(&one).unwrap(), RunId::parse(&other).unwrap());
            let name = object_name(&config, &a);
            proptest::prop_assert!(DnsLabel::parse(name.as_str()).is_ok());
            proptest::prop_assert_eq!(name == object_name(&config, &b), one == other);
            for value in labels(&config, "kaniko", &a).values() {
                proptest::prop_assert!(DnsLabel::parse(value).is_ok());
            }
        }
    }
}
