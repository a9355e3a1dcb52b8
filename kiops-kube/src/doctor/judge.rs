//! From what a cluster said to what it means. Pure.

use kiops_core::stage::FailureKind;
use kiops_core::{Error, Result};

use super::{Class, Daemon, Examination, Finding, MissingRight, Observations, Subject, Verdict, Version};
use crate::cluster::INSTALL_TEKTON;

/// The oldest version whose API has everything that is used: policy/v1, batch/v1 CronJobs, discovery.k8s.io/v1.
const OLDEST: Version = Version { major: 1, minor: 21 };

/// How many build timeouts in a row are more than bad luck (K48).
const TIMEOUTS: usize = 3;

/// So many seconds two clocks may be apart: a verdict waits longer than that.
const SKEW: u64 = 5;

/// Daemons that enforce network policies, by the beginnings of their names, and the argument by which they do so, for those that do it
/// only if asked to. By the documentation of each; k3s brings its own.
const ENFORCERS: [(&str, Option<&str>); 16] = [
    ("anetd", None),
    ("antrea-agent", None),
    ("aws-node", Some("--enable-network-policy=true")),
    ("azure-npm", None),
    ("calico-node", None),
    ("canal", None),
    ("cilium", None),
    ("k3s", None),
    ("kube-network-policies", None),
    ("kube-ovn-cni", None),
    ("kube-router", None),
    ("nsx-node-agent", None),
    ("ovnkube-node", None),
    ("rke2-canal", None),
    ("rke2-cilium", None),
    ("weave-net", None),
];

/// What the observations mean, in the order of [`Subject`].
pub fn judge(cluster: &str, observations: &Observations, examination: &Examination) -> Vec<Finding> {
    let mut findings = vec![
        finding(Subject::Connection, Verdict::Good, format!("cluster `{cluster}` answers"), ""),
        version(&observations.version),
        clock(&observations.ahead),
    ];
    findings.extend(namespaces(observations, examination));
    findings.extend(rights(&observations.missing_rights, examination));
    findings.push(storage(&observations.storage_classes));
    findings.push(ingress(&observations.ingress_classes));
    findings.push(network(&observations.daemons));
    findings.extend(examination.tekton.then(|| tekton(&observations.missing_tekton)));
    findings.extend(builds(&examination.builds));
    findings
}

/// A cluster that could not be asked anything.
pub(super) fn unreachable(cluster: &str, error: &Error) -> Finding {
    let remedy = error.remedy().unwrap_or("check the cluster's address and credential in the kubeconfig");
    finding(
        Subject::Connection,
        Verdict::Problem,
        format!("cluster `{cluster}` is not connected: {}", error.message()),
        remedy,
    )
}

fn version(version: &Result<Version>) -> Finding {
    match version {
        Ok(version) if *version < OLDEST => finding(
            Subject::Version,
            Verdict::Warning,
            format!("Kubernetes {version} is older than {OLDEST}: CronJobs cannot be deployed to"),
            "upgrade the cluster",
        ),
        Ok(version) => finding(Subject::Version, Verdict::Good, format!("Kubernetes {version}"), ""),
        Err(error) => unknown(Subject::Version, "its version", error),
    }
}

fn clock(ahead: &Result<i64>) -> Finding {
    let ahead = match ahead {
        Ok(ahead) => *ahead,
        Err(error) => return unknown(Subject::Clock, "its time", error),
    };
    let seconds = ahead.unsigned_abs();
    match ahead {
        _ if seconds <= SKEW => {
            finding(Subject::Clock, Verdict::Good, "its clock goes like this machine's".to_owned(), "")
        }
        1.. => finding(
            Subject::Clock,
            Verdict::Warning,
            format!(
                "this machine's clock is {seconds} s ahead of the cluster's: a rollout may be given up too early"
            ),
            "synchronise both clocks (NTP)",
        ),
        _ => finding(
            Subject::Clock,
            Verdict::Warning,
            format!(
                "this machine's clock is {seconds} s behind the cluster's: a rollout may be called complete too early, and failed too late"
            ),
            "synchronise both clocks (NTP)",
        ),
    }
}

fn namespaces(observations: &Observations, examination: &Examination) -> Vec<Finding> {
    let missing = match &observations.missing_namespaces {
        Ok(missing) => missing,
        Err(error) => return vec![unknown(Subject::Namespace, "which namespaces are there", error)],
    };
    let one = |namespace| match missing.contains(namespace) {
        true => finding(
            Subject::Namespace,
            Verdict::Problem,
            format!("Namespace not found: {namespace}"),
            "create the namespace, or let kiops create it",
        ),
        false => finding(Subject::Namespace, Verdict::Good, format!("namespace {namespace} is there"), ""),
    };
    examination.namespaces.iter().map(one).collect()
}

fn rights(missing: &Result<Vec<MissingRight>>, examination: &Examination) -> Vec<Finding> {
    let missing = match missing {
        Ok(missing) => missing,
        Err(error) => return vec![unknown(Subject::Right, "which rights are there", error)],
    };
    if missing.is_empty() && !examination.rights.is_empty() {
        return vec![finding(Subject::Right, Verdict::Good, "every right is there".to_owned(), "")];
    }
    let one = |MissingRight { right, namespace }: &MissingRight| {
        let place = match namespace {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in the whole cluster".to_owned(),
        };
        finding(
            Subject::Right,
            Verdict::Problem,
            format!("Permission denied: cannot {right} {place}"),
            "grant the role of docs/adapters/kubernetes.md to the account of the kubeconfig",
        )
    };
    missing.iter().map(one).collect()
}

fn tekton(missing: &Result<Vec<&'static str>>) -> Finding {
    match missing {
        Ok(missing) if missing.is_empty() => {
            finding(Subject::Tekton, Verdict::Good, "Tekton is installed".to_owned(), "")
        }
        Ok(missing) => finding(
            Subject::Tekton,
            Verdict::Problem,
            format!(
                "Tekton is not installed: the cluster does not know {} of tekton.dev/v1",
                missing.join(" and ")
            ),
            INSTALL_TEKTON,
        ),
        Err(error) => unknown(Subject::Tekton, "whether Tekton is installed", error),
    }
}

fn storage(classes: &Result<Vec<Class>>) -> Finding {
    classes_of(
        Subject::Storage,
        "storage",
        classes,
        "volumes stay pending",
        "install a storage class, or name one in the render configuration",
    )
}

fn ingress(classes: &Result<Vec<Class>>) -> Finding {
    classes_of(
        Subject::Ingress,
        "ingress",
        classes,
        "ingress paths lead nowhere",
        "install an ingress controller, or name its class in the render configuration",
    )
}

fn classes_of(
    subject: Subject,
    what: &str,
    classes: &Result<Vec<Class>>,
    consequence: &str,
    remedy: &str,
) -> Finding {
    let classes = match classes {
        Ok(classes) => classes,
        Err(error) => return unknown(subject, &format!("its {what} classes"), error),
    };
    let names = || classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>().join(", ");
    match classes.iter().find(|class| class.default) {
        Some(class) => {
            finding(subject, Verdict::Good, format!("{what} class {} is the default", class.name), "")
        }
        None if classes.is_empty() => {
            finding(subject, Verdict::Warning, format!("there is no {what} class: {consequence}"), remedy)
        }
        None => finding(
            subject,
            Verdict::Warning,
            format!("no {what} class is the default ({}): where none is named, {consequence}", names()),
            remedy,
        ),
    }
}

fn network(daemons: &Result<Vec<Daemon>>) -> Finding {
    let daemons = match daemons {
        Ok(daemons) => daemons,
        Err(error) => return unknown(Subject::NetworkPolicy, "whether network policies are enforced", error),
    };
    let enforces = |daemon: &&Daemon| {
        let asked = |argument: &str| daemon.arguments.iter().any(|one| one == argument);
        ENFORCERS.iter().any(|(name, argument)| daemon.name.starts_with(name) && argument.is_none_or(asked))
    };
    match daemons.iter().find(enforces) {
        Some(Daemon { name, .. }) => finding(
            Subject::NetworkPolicy,
            Verdict::Good,
            format!("{name} is there, which enforces network policies"),
            "",
        ),
        None => finding(
            Subject::NetworkPolicy,
            Verdict::Warning,
            "nothing that is known to enforce network policies: builds and checks may reach the API server and the metadata address, whatever `network` says".to_owned(),
            "install a network plugin that does (Calico, Cilium, Antrea), switch it on in the one in use, or make sure of it by the test in docs/adapters/kubernetes-network.md",
        ),
    }
}

fn builds(newest_first: &[Option<FailureKind>]) -> Option<Finding> {
    let timeout =
        |build: &&Option<FailureKind>| matches!(build, Some(FailureKind::Stalled | FailureKind::TimedOut));
    let in_a_row = newest_first.iter().take_while(timeout).count();
    (in_a_row >= TIMEOUTS).then(|| {
        finding(
            Subject::Builds,
            Verdict::Problem,
            format!("the newest {in_a_row} builds ended in a timeout"),
            "look where their logs stop: a registry or Git host that does not answer, too few resources, or a timer that is too short",
        )
    })
}

fn unknown(subject: Subject, what: &str, error: &Error) -> Finding {
    finding(
        subject,
        Verdict::Warning,
        format!("not known {what}: {}", error.message()),
        error.remedy().unwrap_or_default(),
    )
}

fn finding(subject: Subject, verdict: Verdict, message: String, remedy: &str) -> Finding {
    Finding { subject, verdict, message, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::name::DnsLabel;

    fn healthy() -> Observations {
        let class = |name: &str| Class { name: name.to_owned(), default: true };
        Observations {
            version: Ok(Version { major: 1, minor: 33 }),
            ahead: Ok(0),
            missing_namespaces: Ok(Vec::new()),
            missing_rights: Ok(Vec::new()),
            storage_classes: Ok(vec![class("fast")]),
            ingress_classes: Ok(vec![class("nginx")]),
            daemons: Ok(vec![daemon("kube-proxy", &[]), daemon("cilium", &[])]),
            missing_tekton: Ok(Vec::new()),
        }
    }

    fn daemon(name: &str, arguments: &[&str]) -> Daemon {
        Daemon { name: name.to_owned(), arguments: arguments.iter().map(|&one| one.to_owned()).collect() }
    }

    fn shop() -> DnsLabel {
        DnsLabel::parse("shop").unwrap()
    }

    fn examination() -> Examination {
        Examination::of([shop()], [super::super::Right::new("create", "", "secrets")])
    }

    fn worst(observations: &Observations, examination: &Examination) -> Vec<(Subject, Verdict)> {
        let findings = judge("dev", observations, examination);
        let bad = findings.into_iter().filter(|finding| finding.verdict > Verdict::Good);
        bad.inspect(|finding| assert!(!finding.remedy.is_empty(), "{finding}"))
            .map(|finding| (finding.subject, finding.verdict))
            .collect()
    }

    #[test]
    fn nothing_is_wrong_with_a_healthy_cluster() {
        assert_eq!(worst(&healthy(), &examination()), []);
    }

    #[test]
    fn clocks_that_are_apart_are_told_with_the_direction() {
        for (ahead, words) in [(300, "300 s ahead"), (-300, "300 s behind")] {
            let mut sick = healthy();
            sick.ahead = Ok(ahead);
            assert_eq!(worst(&sick, &examination()), [(Subject::Clock, Verdict::Warning)]);
            assert!(judge("dev", &sick, &examination()).iter().any(|one| one.message.contains(words)));
        }
        let mut well = healthy();
        well.ahead = Ok(-2);
        assert_eq!(worst(&well, &examination()), []);
    }

    #[test]
    fn a_missing_namespace_and_a_missing_right_are_problems_and_named() {
        let mut sick = healthy();
        sick.missing_namespaces = Ok(vec![shop()]);
        let right = super::super::Right::new("create", "", "secrets");
        sick.missing_rights = Ok(vec![MissingRight { right, namespace: Some(shop()) }]);
        let findings = judge("dev", &sick, &examination());
        let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
        assert!(messages.contains(&"Namespace not found: shop"), "{messages:?}");
        assert!(
            messages.contains(&"Permission denied: cannot create secrets in namespace shop"),
            "{messages:?}"
        );
    }

    #[test]
    fn a_missing_tekton_is_a_problem_where_it_is_asked_for() {
        let mut sick = healthy();
        sick.missing_tekton = Ok(vec!["pipelineruns.tekton.dev", "taskruns.tekton.dev"]);
        assert_eq!(worst(&sick, &examination()), []);
        let asked = examination().with_tekton();
        assert_eq!(worst(&sick, &asked), [(Subject::Tekton, Verdict::Problem)]);
        let findings = judge("dev", &sick, &asked);
        let found = findings.iter().find(|finding| finding.subject == Subject::Tekton).unwrap();
        assert!(found.message.contains("does not know pipelineruns.tekton.dev and taskruns"), "{found}");
        assert!(found.remedy.contains("install Tekton Pipelines"), "{found}");
        assert_eq!(worst(&healthy(), &asked), []);
    }

    #[test]
    fn an_old_version_no_classes_and_no_enforcer_are_warnings() {
        let mut sick = healthy();
        sick.version = Ok(Version { major: 1, minor: 20 });
        sick.storage_classes = Ok(Vec::new());
        sick.ingress_classes = Ok(vec![Class { name: "nginx".to_owned(), default: false }]);
        sick.daemons = Ok(vec![daemon("kube-flannel-ds", &[])]);
        let expected = [Subject::Version, Subject::Storage, Subject::Ingress, Subject::NetworkPolicy];
        assert_eq!(worst(&sick, &examination()), expected.map(|subject| (subject, Verdict::Warning)));
    }

    #[test]
    fn plugins_that_enforce_network_policies_are_known_and_others_are_a_warning() {
        let (on, off) = ("--enable-network-policy=true", "--enable-network-policy=false");
        for (name, arguments, verdict) in [
            ("calico-node", &[][..], Verdict::Good),
            ("cilium", &[], Verdict::Good),
            ("anetd", &[], Verdict::Good),
            ("k3s", &[], Verdict::Good),
            ("kube-router", &["--run-router=false"], Verdict::Good),
            ("weave-net", &[], Verdict::Good),
            ("aws-node", &["--v=2", on], Verdict::Good),
            ("aws-node", &[off], Verdict::Warning),
            ("aws-node", &[], Verdict::Warning),
            ("kube-flannel-ds", &[on], Verdict::Warning),
            ("kindnet", &[], Verdict::Warning),
            ("my-calico-node", &[], Verdict::Warning),
        ] {
            let finding = network(&Ok(vec![daemon("kube-proxy", &[]), daemon(name, arguments)]));
            assert_eq!(finding.verdict, verdict, "{finding}");
            assert_eq!(finding.remedy.is_empty(), verdict == Verdict::Good, "{finding}");
        }
        assert_eq!(network(&Ok(Vec::new())).verdict, Verdict::Warning);
    }

    #[test]
    fn what_may_not_be_asked_is_said_and_is_no_problem() {
        let mut shy = healthy();
        let refused = || {
            Error::new(kiops_core::ErrorKind::Forbidden, "list daemonsets", "Permission denied")
                .with_remedy("grant it")
        };
        shy.daemons = Err(refused());
        shy.storage_classes = Err(refused());
        let expected = [Subject::Storage, Subject::NetworkPolicy];
        assert_eq!(worst(&shy, &examination()), expected.map(|subject| (subject, Verdict::Warning)));
    }

    #[test]
    fn three_timeouts_in_a_row_are_a_problem_and_two_are_not() {
        let timeouts = |n: usize| vec![Some(FailureKind::Stalled); n];
        let with = |builds| worst(&healthy(), &examination().with_builds(builds));
        assert_eq!(with(timeouts(2)), []);
        assert_eq!(with(timeouts(3)), [(Subject::Builds, Verdict::Problem)]);
        let interrupted =
            vec![Some(FailureKind::TimedOut), None, Some(FailureKind::TimedOut), Some(FailureKind::TimedOut)];
        assert_eq!(with(interrupted), []);
    }
}
