use std::collections::BTreeMap;

use kiops_core::build::{BuildOutput, BuildSpec};
use kiops_core::image::RegistryCredential;
use kiops_core::name::RunId;
use kiops_core::secret::Secret;
use proptest::prelude::*;
use serde_json::Value;

use super::config::TektonConfig;
use super::*;
use crate::build::fixtures::{access, credential, spec, yaml_of};
use crate::run::{CaBundle, PodSettings, RunObjects, RunsConfig};

const URL: &str = "https://gitlab.example.com/team/site.git";

/// The credential for pushing.
fn pusher() -> RegistryCredential {
    let password = Secret::new("push-hidden").unwrap();
    RegistryCredential { host: "harbor.example.com".into(), username: "pusher".into(), password }
}

fn rendered(
    config: &TektonConfig,
    spec: &BuildSpec,
    secrets: &BTreeMap<String, Secret>,
) -> Result<RunObjects> {
    let (pull, push) = (credential(), pusher());
    let access = access(URL);
    let secrets = secrets.iter().map(|(id, value)| (id.as_str(), value)).collect();
    let given = Given { access: &access, registries: vec![&pull, &push], pull: vec![&pull], secrets };
    let run = RunId::of_build(&spec.build, 1);
    let draft = draft(config, spec, &given, Some(8))?;
    Ok(objects(&RunsConfig::new("builds", "kiops"), Kind::PipelineRun, &run, draft))
}

fn value_of(objects: &RunObjects) -> Value {
    serde_json::to_value(objects.carrier.clone().into_pipeline_run().unwrap()).unwrap()
}

/// The steps, as they are written.
fn steps(objects: &RunObjects) -> Vec<Value> {
    value_of(objects)["spec"]["pipelineSpec"]["tasks"][0]["taskSpec"]["steps"].as_array().unwrap().clone()
}

fn secret_text(objects: &RunObjects, key: &str) -> Option<String> {
    let secret = objects.secret_of(&objects.carrier);
    Some(String::from_utf8(secret.data?.get(key)?.0.clone()).unwrap())
}

/// The words of a step as its program reads them.
fn words(objects: &RunObjects, step: &str) -> Vec<String> {
    let all = steps(objects);
    let step = all.iter().find(|one| one["name"] == step).unwrap();
    let words = [&step["command"], &step["args"]].into_iter().filter_map(Value::as_array).flatten();
    let env = step["env"].as_array().cloned().unwrap_or_default();
    let one = |word: &Value| {
        let word = word.as_str().unwrap();
        let variable = word.strip_prefix("$(KIOPS_").and_then(|rest| rest.strip_suffix(')'));
        let Some(variable) = variable else { return word.to_owned() };
        let source = env.iter().find(|env| env["name"] == format!("KIOPS_{variable}")).unwrap();
        let key = source["valueFrom"]["secretKeyRef"]["key"].as_str().unwrap();
        secret_text(objects, key).unwrap()
    };
    words.map(one).collect()
}

#[test]
fn a_pipeline_run_has_the_steps_of_a_build_and_holds_no_secret() {
    let git_ca_bundle = Some(CaBundle::ConfigMap { name: "authorities".into(), key: "git.crt".into() });
    let mut config = TektonConfig { git_ca_bundle, ..TektonConfig::default() };
    config.kaniko.ca_bundle = Some(CaBundle::ConfigMap { name: "authorities".into(), key: "ca.crt".into() });
    config.kaniko.insecure_registries = vec!["registry.local:5000".into()];
    config.kaniko.pod = PodSettings {
        image_pull_secret: Some("executor-pull".into()),
        node_selector: [("pool".to_owned(), "builds".to_owned())].into(),
        priority_class: Some("low".into()),
        service_account: Some("builder".into()),
        ..PodSettings::default()
    };
    let secrets = [("npm-token".to_owned(), Secret::new("npm-hidden").unwrap())].into();
    let objects = rendered(&config, &spec(), &secrets).unwrap();
    let text = yaml_of(&objects.carrier.clone().into_pipeline_run().unwrap());
    assert!(!text.contains("hidden"), "a secret stands in the PipelineRun");
    insta::assert_snapshot!("pipeline_run", text);
    insta::assert_snapshot!("secret", yaml_of(&objects.secret_of(&objects.carrier)));
}

#[test]
fn each_step_is_given_its_own_secrets_and_no_others() {
    let secrets = [("npm-token".to_owned(), Secret::new("npm-hidden").unwrap())].into();
    let given = |config: &TektonConfig| -> Vec<(String, String)> {
        let objects = rendered(config, &spec(), &secrets).unwrap();
        let of = |step: &Value| {
            let text = step.to_string();
            let all = ["git-header", "docker-config", "push-config", "build-secrets"];
            all.into_iter().filter(|what| text.contains(what)).collect::<Vec<_>>().join(" ")
        };
        steps(&objects).iter().map(|step| (step["name"].as_str().unwrap().to_owned(), of(step))).collect()
    };
    let own = |build: &str| {
        [
            ("setup-init", ""),
            ("setup-fetch", "git-header"),
            ("setup-tree", ""),
            ("build", build),
            ("push", "push-config"),
        ]
        .map(|(step, what)| (step.to_owned(), what.to_owned()))
    };
    let mut config = TektonConfig::default();
    assert_eq!(given(&config), own("docker-config build-secrets"));
    let objects = rendered(&config, &spec(), &secrets).unwrap();
    assert!(!secret_text(&objects, "config.json").unwrap().contains("pusher"));
    assert!(secret_text(&objects, "push-config.json").unwrap().contains("pusher"));
    // Layers of the cache are pushed while the commands run.
    config.kaniko.cache_repository = Some("harbor.example.com/cache".into());
    let objects = rendered(&config, &spec(), &secrets).unwrap();
    assert!(secret_text(&objects, "config.json").unwrap().contains("pusher"));
}

#[test]
fn a_build_that_is_thrown_away_has_no_step_that_pushes() {
    let spec = BuildSpec { output: BuildOutput::Discard, ..spec() };
    let mut config = TektonConfig::default();
    config.kaniko.cache_repository = Some("harbor.example.com/cache".into());
    let objects = rendered(&config, &spec, &BTreeMap::new()).unwrap();
    let names: Vec<Value> = steps(&objects).iter().map(|step| step["name"].clone()).collect();
    assert_eq!(names, ["setup-init", "setup-fetch", "setup-tree", "build"]);
    let words = words(&objects, "build");
    assert!(words.contains(&"--no-push=true".to_owned()), "{words:?}");
    assert!(!words.iter().any(|word| word.starts_with("--cache") || word.contains("layout")), "{words:?}");
}

#[test]
fn nothing_starts_before_its_secret_is_there() {
    let objects = rendered(&TektonConfig::default(), &spec(), &BTreeMap::new()).unwrap();
    assert_eq!(value_of(&objects)["spec"]["status"], "PipelineRunPending");
    assert!(objects.carrier.is_held());
    let name = objects.carrier.metadata().name.clone().unwrap();
    let first = steps(&objects)[0].clone();
    assert_eq!(first["env"].as_array().unwrap().last().unwrap()["valueFrom"]["secretKeyRef"]["name"], name);
}

/// What the Pod Security level `baseline` lets a container have.
#[test]
fn the_steps_of_tekton_keep_to_baseline() {
    const ALLOWED: [&str; 14] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
        "ALL",
    ];
    let objects = rendered(&TektonConfig::default(), &spec(), &BTreeMap::new()).unwrap();
    for step in steps(&objects) {
        let context = &step["securityContext"];
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]), "{step}");
        let added = context["capabilities"]["add"].as_array().cloned().unwrap_or_default();
        assert!(added.iter().all(|one| ALLOWED.contains(&one.as_str().unwrap())), "{step}");
        assert!(context["privileged"].is_null() && step["ports"].is_null(), "{step}");
        let seccomp = &context["seccompProfile"]["type"];
        assert!(seccomp.is_null() || seccomp == "RuntimeDefault", "{step}");
    }
    let text = value_of(&objects).to_string();
    assert!(!text.contains("hostPath") && !text.contains("hostNetwork"), "{text}");
    let template = &value_of(&objects)["spec"]["taskRunTemplate"]["podTemplate"];
    assert_eq!(template["automountServiceAccountToken"], false);
}

#[test]
fn settings_are_read_with_defaults_and_without_unknown_names() {
    let read = |text: &str| serde_json::from_str::<TektonConfig>(text);
    assert_eq!(read("{}").unwrap(), TektonConfig::default());
    assert!(read(r#"{"kaniko":{"cache_repository":"a/b"},"image_limit":"8Gi"}"#).is_ok());
    assert!(read(r#"{"image":"x"}"#).is_err());
    let empty = TektonConfig { git_image: " ".into(), ..TektonConfig::default() };
    assert!(empty.validate().unwrap_err().message().contains("git_image"));
}

proptest! {
    #[test]
    fn tekton_finds_nothing_of_somebodys_to_put_values_in_for(
        value in "\\PC{0,30}|[$()\\n -]{0,20}|\\$\\((params|context|results)\\.[a-z.]{1,9}\\)", name in "[A-Za-z_]{1,8}",
    ) {
        let spec = BuildSpec { build_args: [(name.clone(), value.clone())].into(), ..spec() };
        let objects = rendered(&TektonConfig::default(), &spec, &BTreeMap::new()).unwrap();
        let all = words(&objects, "build");
        let expected = format!("--build-arg={name}={value}");
        prop_assert!(all.contains(&expected));
        // What stands in the PipelineRun itself are our own two variables, and those of words that are in the Secret.
        let text = value_of(&objects).to_string();
        for rest in text.split("$(").skip(1) {
            prop_assert!(["KIOPS_WORD_", "results.digest.path)", "tasks.build.results.digest)"].iter().any(|ours| rest.starts_with(ours)), "{}", rest);
        }
        prop_assert!(!text.replace("$(", "").contains('$'));
    }
}
