//! Looking at a real cluster.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role, RoleBinding, RoleRef, Subject as Account};
use kiops_core::name::DnsLabel;
use kiops_core::testing::skipped;
use kiops_kube::doctor::{
    DEPLOY_RIGHTS, Examination, Finding, NAMESPACE_RIGHTS, PREVIEW_RIGHTS, RUN_RIGHTS, Right, Subject,
    Verdict, examine,
};
use kiops_kube::{Cluster, ClusterConfig};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::cluster::cluster;

const RIGHTS: [Right; 3] = [
    Right::new("create", "", "secrets"),
    Right::new("get", "", "pods/log"),
    Right::new("list", "batch", "jobs"),
];

fn of(findings: &[Finding], subject: Subject) -> Vec<(Verdict, &str)> {
    let found = findings.iter().filter(|finding| finding.subject == subject);
    found.map(|finding| (finding.verdict, finding.message.as_str())).collect()
}

#[tokio::test]
async fn an_administrator_has_every_right_and_a_missing_namespace_is_named() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let there = DnsLabel::parse(&namespace.name).unwrap();
    let gone = DnsLabel::parse("kiops-tests-not-there").unwrap();
    let findings = examine(&cluster.open(), &Examination::of([there, gone], RIGHTS)).await;
    assert_eq!(of(&findings, Subject::Connection), [(Verdict::Good, "cluster `kubernetes` answers")]);
    assert_eq!(of(&findings, Subject::Right), [(Verdict::Good, "every right is there")]);
    assert_eq!(of(&findings, Subject::Clock), [(Verdict::Good, "its clock goes like this machine's")]);
    let namespaces = of(&findings, Subject::Namespace);
    assert_eq!(namespaces[0].0, Verdict::Good);
    assert_eq!(namespaces[1], (Verdict::Problem, "Namespace not found: kiops-tests-not-there"));
}

/// The account that the cluster's script makes, bound to no role but this one.
#[tokio::test]
async fn exactly_the_rights_that_a_role_lacks_are_named() {
    let Some(cluster) = cluster().await else { return };
    let Some(restricted) = std::env::var_os("KIOPS_KUBE_RESTRICTED_KUBECONFIG") else {
        skipped("KIOPS_KUBE_RESTRICTED_KUBECONFIG names no account");
        return;
    };
    let namespace = cluster.namespace().await;
    let name = || ObjectMeta { name: Some("tests".to_owned()), ..ObjectMeta::default() };
    let rule = |group: &str, resource: &str, verb: &str| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: vec![verb.to_owned()],
        ..PolicyRule::default()
    };
    // `pods` is not `pods/log`.
    let rules = vec![rule("", "secrets", "create"), rule("", "pods", "get")];
    let role = Role { metadata: name(), rules: Some(rules) };
    let binding = RoleBinding {
        metadata: name(),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: "tests".to_owned(),
        },
        subjects: Some(vec![Account {
            kind: "ServiceAccount".to_owned(),
            name: "kiops".to_owned(),
            namespace: Some("kiops-system".to_owned()),
            ..Account::default()
        }]),
    };
    let post = PostParams::default();
    Api::namespaced(cluster.client.clone(), &namespace.name).create(&post, &role).await.unwrap();
    Api::namespaced(cluster.client.clone(), &namespace.name).create(&post, &binding).await.unwrap();

    let account =
        Cluster::from_kubeconfig(ClusterConfig::default(), restricted.as_ref(), None).await.unwrap();
    let examination = Examination::of([DnsLabel::parse(&namespace.name).unwrap()], RIGHTS);
    // Until the authorizer has seen the role, the secrets are refused too.
    for _ in 0..50 {
        if of(&examine(&account, &examination).await, Subject::Right).len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let findings = examine(&account, &examination).await;
    let missing = |right: &str| format!("Permission denied: cannot {right} in namespace {}", namespace.name);
    let (log, jobs) = (missing("get pods/log"), missing("list jobs.batch"));
    assert_eq!(
        of(&findings, Subject::Right),
        [(Verdict::Problem, log.as_str()), (Verdict::Problem, jobs.as_str())]
    );
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_one_finding() {
    let mut config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    config.default_retry = false;
    let mut settings = ClusterConfig::default();
    settings.name = "far".to_owned();
    settings.deadline_secs = 1;
    let cluster = Cluster::new(settings, kube::Client::try_from(config).unwrap());
    let findings = examine(&cluster, &Examination::of([], RIGHTS)).await;
    let [finding] = &findings[..] else { panic!("one finding: {findings:?}") };
    assert_eq!((finding.subject, finding.verdict), (Subject::Connection, Verdict::Problem));
    assert!(finding.message.starts_with("cluster `far` is not connected"), "{finding}");
    assert!(!finding.remedy.is_empty());
}

/// What the roles of a file grant.
fn granted(yaml: &str) -> BTreeSet<String> {
    let roles: Vec<ClusterRole> = serde_saphyr::from_multiple(yaml).unwrap();
    let mut all = BTreeSet::new();
    for rule in roles.into_iter().flat_map(|role| role.rules.unwrap()) {
        for group in rule.api_groups.as_ref().unwrap() {
            for resource in rule.resources.as_ref().unwrap() {
                for verb in &rule.verbs {
                    let dot = if group.is_empty() { "" } else { "." };
                    all.insert(format!("{verb} {resource}{dot}{group}"));
                }
            }
        }
    }
    all
}

fn wanted(rights: &[&[Right]]) -> BTreeSet<String> {
    rights.concat().iter().map(ToString::to_string).collect()
}

#[test]
fn the_doctor_looks_for_what_the_documented_roles_grant() {
    let deploy = include_str!("../../../docs/adapters/kubernetes-deploy-role.yaml");
    assert_eq!(wanted(&[DEPLOY_RIGHTS, NAMESPACE_RIGHTS, PREVIEW_RIGHTS]), granted(deploy));
    let runs = include_str!("../../../docs/adapters/kaniko-role.yaml");
    assert_eq!(wanted(&[RUN_RIGHTS]), granted(&runs.replace("kind: Role\n", "kind: ClusterRole\n")));
}
