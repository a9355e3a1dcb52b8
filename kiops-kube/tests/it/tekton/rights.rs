//! A cluster without Tekton, and an account without every right.

use std::path::Path;

use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kiops_core::build::BuildExecutor as _;
use kiops_core::name::DnsLabel;
use kiops_core::run::RunOutcome;
use kiops_core::{ErrorKind, Retry};
use kiops_kube::doctor::{Examination, Subject, TEKTON_RIGHTS, Verdict, examine};
use kiops_kube::{KanikoExecutor, Runs, TektonExecutor};

use super::support::ground;
use crate::builds::*;
use crate::deploy::account::Account;
use crate::proxy::{Fault, Proxied};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_tekton_is_named_at_the_start_and_jobs_run_all_the_same() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let without = Proxied::faulty(&ground.place.cluster, |call| match call.resource.as_str() {
        "pipelineruns" | "taskruns" => Fault::Refused(404),
        _ => Fault::None,
    })
    .await;
    let runs = Runs::new(without.cluster.clone(), site.runs.clone()).unwrap();
    let tekton = TektonExecutor::new(site.config.clone(), &runs).unwrap();
    let job = site.job("passes");
    let error = tekton.start(&fresh_run(), &job.spec, job.inputs.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unsupported, Retry::Never), "{error}");
    assert!(error.message().starts_with("Tekton is not installed: the cluster does not know"), "{error}");
    assert!(error.remedy().unwrap().contains("install Tekton Pipelines"), "{error}");
    // The same runs carry Jobs.
    let kaniko = KanikoExecutor::new(site.config.kaniko.clone(), &runs).unwrap();
    let run = start(&kaniko, &job).await;
    assert!(matches!(outcome(&kaniko, &run).await, RunOutcome::Succeeded(_)));
}

#[tokio::test]
async fn doctor_finds_tekton_and_every_right() {
    let Some(ground) = ground().await else { return };
    let namespace = DnsLabel::parse(&ground.place.namespace.name).unwrap();
    let examination = Examination::of([namespace], TEKTON_RIGHTS.iter().copied()).with_tekton();
    let findings = examine(&ground.place.cluster.open(), &examination).await;
    for subject in [Subject::Tekton, Subject::Right] {
        let found = findings.iter().find(|finding| finding.subject == subject).unwrap();
        assert_eq!(found.verdict, Verdict::Good, "{found}");
    }
}

/// The documented role.
fn documented() -> Vec<PolicyRule> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/adapters/tekton-role.yaml");
    let role: Role = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    role.rules.unwrap()
}

/// The rules without one verb of one resource.
fn without(rules: &[PolicyRule], verb: &str, resource: &str) -> Vec<PolicyRule> {
    let mut rules = rules.to_vec();
    let of = |rule: &&mut PolicyRule| rule.resources.iter().flatten().any(|one| one == resource);
    let rule = rules.iter_mut().find(of).unwrap();
    assert!(rule.verbs.iter().any(|one| one == verb), "{verb} {resource}");
    rule.verbs.retain(|one| one != verb);
    rules
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_role_of_tekton_is_enough_and_a_verb_less_is_named() {
    let Some(ground) = ground().await else { return };
    let rules = documented();
    let mut granted: Vec<(String, String)> = Vec::new();
    for rule in &rules {
        for resource in rule.resources.iter().flatten() {
            granted.extend(rule.verbs.iter().map(|verb| (verb.clone(), resource.clone())));
        }
    }
    let mut asked: Vec<(String, String)> =
        TEKTON_RIGHTS.iter().map(|right| (right.verb.to_owned(), right.resource.to_owned())).collect();
    granted.sort();
    asked.sort();
    assert_eq!(granted, asked, "the role and what doctor asks for are the same");

    let site = ground.site().await;
    let account = Account::open(&ground.place.cluster, &ground.place.namespace).await;
    account.may(&rules).await;
    let executor = site.executor_by(account.cluster.clone());
    let run = start(&executor, &site.job("passes")).await;
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Succeeded(_)));
    executor.forget(&run).await.unwrap();
    ground.gone(&run).await;
    let run = start(&executor, &site.job("slow")).await;
    executor.cancel(&run).await.unwrap();
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);

    for (verb, resource) in
        [("create", "pipelineruns"), ("patch", "pipelineruns"), ("list", "taskruns"), ("create", "secrets")]
    {
        account.may(&without(&rules, verb, resource)).await;
        let executor = site.executor_by(account.cluster.clone());
        let job = site.job("passes");
        let error = executor.start(&fresh_run(), &job.spec, job.inputs).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{verb} {resource}: {error}");
        let said = error.remedy().unwrap();
        assert!(said.contains(&format!("`{verb}` on `{resource}")), "{verb} {resource}: {said}");
    }
}
