//! What is rendered.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kiops_core::build::BuildOutput;
use kiops_core::name::GitRef;
use kiops_core::secret::Secret;
use proptest::prelude::*;

use super::*;
use crate::build::fixtures::{access, credential, spec, yaml_of};
use crate::run::{CaBundle, Kind, PodSettings, RunsConfig, objects};

fn rendered(
    config: &KanikoConfig,
    spec: &BuildSpec,
    url: &str,
    secrets: &BTreeMap<String, Secret>,
) -> Result<crate::run::RunObjects> {
    let credential = credential();
    let access = access(url);
    let secrets = secrets.iter().map(|(id, value)| (id.as_str(), value)).collect();
    let given = Given { access: &access, registries: vec![&credential], pull: Vec::new(), secrets };
    let run = RunId::of_build(&spec.build, 1);
    Ok(objects(&RunsConfig::new("builds", "kiops"), Kind::Job, &run, draft(config, spec, &given, Some(8))?))
}

fn args(spec: &BuildSpec, config: &KanikoConfig) -> Vec<String> {
    args_from(spec, config, "https://gitlab.example.com/team/site.git").unwrap()
}

fn args_from(spec: &BuildSpec, config: &KanikoConfig, url: &str) -> Result<Vec<String>> {
    let objects = rendered(config, spec, url, &BTreeMap::new())?;
    let pod = objects.job().spec.unwrap().template.spec.unwrap();
    Ok(pod.containers[0].args.clone().unwrap())
}

fn has(args: &[String], arg: &str) -> bool {
    args.iter().any(|one| one == arg)
}

#[test]
fn a_build_becomes_this_job_and_this_secret() {
    let config = KanikoConfig {
        cache_repository: Some("harbor.example.com/cache/kaniko".into()),
        ca_bundle: Some(CaBundle::ConfigMap { name: "company-ca".into(), key: "ca.pem".into() }),
        platform: Some("linux/amd64".into()),
        pod: PodSettings {
            node_selector: [("kiops.dev/builds".to_owned(), "yes".to_owned())].into(),
            tolerations: vec![Toleration {
                key: Some("builds".into()),
                operator: Some("Exists".into()),
                ..Toleration::default()
            }],
            priority_class: Some("low".into()),
            service_account: Some("builder".into()),
            ..PodSettings::default()
        },
        registry_mirrors: vec!["mirror.example.com".into()],
        insecure_registries: vec!["registry.local:5000".into()],
        ..KanikoConfig::default()
    };
    let secrets = [("npm-token".to_owned(), Secret::new("npm-hidden").unwrap())].into();
    let objects = rendered(&config, &spec(), "https://gitlab.example.com/team/site.git", &secrets).unwrap();
    let mut job = objects.job();
    job.metadata.uid = Some("uid-of-the-job".into());
    let text = yaml_of(&job);
    for secret in ["glpat-hidden", "dckr-hidden", "npm-hidden"] {
        assert!(!text.contains(secret), "{secret} stands in the Job");
    }
    insta::assert_snapshot!("job", text);
    let secret = objects.secret_of(&job.into());
    let config = String::from_utf8(secret.data.as_ref().unwrap()["config.json"].0.clone()).unwrap();
    assert!(config.contains("https://index.docker.io/v1/") && config.contains("robot$team+ci"), "{config}");
    insta::assert_snapshot!("secret", yaml_of(&secret));
    assert!(!format!("{objects:?}").contains("hidden"));
}

#[test]
fn a_build_that_is_thrown_away_pushes_nothing_and_touches_no_cache() {
    let cache_repository = Some("harbor.example.com/cache".into());
    let config = KanikoConfig { cache_repository, ..KanikoConfig::default() };
    let args = args(&BuildSpec { output: BuildOutput::Discard, ..spec() }, &config);
    assert!(has(&args, "--no-push=true"), "{args:?}");
    assert!(
        !args.iter().any(|arg| arg.starts_with("--destination") || arg.starts_with("--cache")),
        "{args:?}"
    );
}

#[test]
fn the_source_is_pinned_to_its_commit_whatever_the_ref() {
    let commit = "abc123def0".repeat(4);
    for (git_ref, context, git) in [
        ("refs/heads/feature/a", format!("refs/heads/feature/a#{commit}"), None),
        ("refs/tags/v1.0", format!("refs/tags/v1.0#{commit}"), None),
        ("refs/merge-requests/7/head", format!("refs/merge-requests/7/head#{commit}"), None),
        ("refs/heads/fix/#12", format!("#{commit}"), Some("--git=branch=fix/#12")),
    ] {
        let args =
            args(&BuildSpec { git_ref: GitRef::parse(git_ref).unwrap(), ..spec() }, &KanikoConfig::default());
        assert!(
            has(&args, &format!("--context=git://gitlab.example.com/team/site.git#{context}")),
            "{args:?}"
        );
        assert_eq!(args.iter().find(|arg| arg.starts_with("--git=")).map(String::as_str), git);
    }
    let other = BuildSpec { git_ref: GitRef::parse("refs/pull/1#2").unwrap(), ..spec() };
    assert!(args_from(&other, &KanikoConfig::default(), "https://h/x.git").is_err());
}

#[test]
fn plain_http_is_for_hosts_that_are_named() {
    let url = "http://git.local:3000/team/site.git";
    let refused = args_from(&spec(), &KanikoConfig::default(), url).unwrap_err();
    assert!(refused.remedy().unwrap().contains("insecure_git_hosts"));
    let insecure_git_hosts = vec!["git.local:3000".into()];
    let config = KanikoConfig { insecure_git_hosts, ..KanikoConfig::default() };
    let objects = rendered(&config, &spec(), url, &BTreeMap::new()).unwrap();
    let pod = objects.job().spec.unwrap().template.spec.unwrap();
    let env = pod.containers[0].env.as_ref().unwrap().iter();
    assert!(env.into_iter().any(|env| env.name == "GIT_PULL_METHOD" && env.value.as_deref() == Some("http")));
}

#[test]
fn an_address_that_kaniko_would_read_otherwise_is_refused() {
    for url in [
        "ssh://git@host/x.git",
        "git@host:x.git",
        "file:///etc",
        "ext::sh -c x",
        "https://user:pw@host/x.git",
        "https://host/x.git#refs/heads/evil",
        "https://host/x.git?a",
        "https:///x",
        "https://host/a b",
        "",
    ] {
        assert!(args_from(&spec(), &KanikoConfig::default(), url).is_err(), "{url}");
    }
}

#[test]
fn what_could_be_taken_for_something_else_is_refused() {
    let bad = [
        BuildSpec { target: Some("a,b".into()), ..spec() },
        BuildSpec { dockerfile: "../../etc/passwd".into(), ..spec() },
        BuildSpec { context: "a/../..".into(), ..spec() },
        BuildSpec { build_args: [("GIT_PASSWORD=x".to_owned(), String::new())].into(), ..spec() },
        BuildSpec { build_args: [(String::new(), "x".to_owned())].into(), ..spec() },
    ];
    for spec in bad {
        assert!(args_from(&spec, &KanikoConfig::default(), "https://h/x.git").is_err(), "{spec:?}");
    }
    for id in ["", "..", "../x", "a/b", "ü", "a b"] {
        let secrets = [(id.to_owned(), Secret::new("x").unwrap())].into();
        assert!(rendered(&KanikoConfig::default(), &spec(), "https://h/x.git", &secrets).is_err(), "{id}");
    }
}

#[test]
fn settings_are_read_with_defaults_and_without_unknown_names() {
    let read = |text: &str| serde_json::from_str::<KanikoConfig>(text);
    assert_eq!(read("{}").unwrap(), KanikoConfig::default());
    assert!(read(r#"{"ca_bundle":{"config_map":{"name":"a","key":"b"}}}"#).is_ok());
    assert!(read(r#"{"imaeg":"x"}"#).is_err());
}

proptest! {
    #[test]
    fn every_value_arrives_as_one_word_as_it_was_written(value in "\\PC{0,40}|[$()\\n -]{0,20}", name in "[A-Za-z_]{1,8}") {
        let spec = BuildSpec { build_args: [(name.clone(), value.clone())].into(), ..spec() };
        let args = args(&spec, &KanikoConfig::default());
        // Kubernetes reads `$$` as one `$`, and replaces nothing where no `$(` is left.
        let arrived: Vec<String> = args.iter().map(|arg| arg.replace("$$", "$")).collect();
        let expected = format!("--build-arg={name}={value}");
        prop_assert!(has(&arrived, &expected));
        prop_assert!(args.iter().all(|arg| arg.starts_with("--")));
        prop_assert!(args.iter().all(|arg| !arg.replace("$$", "").contains('$')));
    }
}
