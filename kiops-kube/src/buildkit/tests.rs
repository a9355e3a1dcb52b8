//! What is rendered.

use std::collections::BTreeMap;

use kiops_core::build::BuildOutput;
use kiops_core::secret::Secret;
use proptest::prelude::*;

use super::*;
use crate::build::fixtures::{access, credential, spec, yaml_of};
use crate::run::{CaBundle, Kind, RunObjects, RunsConfig};

const URL: &str = "https://gitlab.example.com/team/site.git";

fn rendered(
    config: &BuildKitConfig,
    spec: &BuildSpec,
    url: &str,
    secrets: &BTreeMap<String, Secret>,
) -> Result<RunObjects> {
    config.validate()?;
    let (access, credential) = (access(url), credential());
    let secrets = secrets.iter().map(|(id, value)| (id.as_str(), value)).collect();
    let given = Given { access: &access, registries: vec![&credential], pull: Vec::new(), secrets };
    let run = RunId::of_build(&spec.build, 1);
    Ok(objects(&RunsConfig::new("builds", "kiops"), Kind::Job, &run, draft(config, spec, &given)?))
}

fn pod(config: &BuildKitConfig, spec: &BuildSpec) -> k8s_openapi::api::core::v1::PodSpec {
    let objects = rendered(config, spec, URL, &BTreeMap::new()).unwrap();
    objects.job().spec.unwrap().template.spec.unwrap()
}

fn args(config: &BuildKitConfig, spec: &BuildSpec) -> Vec<String> {
    pod(config, spec).containers[0].args.clone().unwrap()
}

fn has(args: &[String], arg: &str) -> bool {
    args.iter().any(|one| one == arg)
}

#[test]
fn a_build_becomes_this_job_and_this_secret() {
    let config = BuildKitConfig {
        cache_repository: Some("harbor.example.com/cache/buildkit".into()),
        platforms: vec!["linux/amd64".into(), "linux/arm64".into()],
        ca_bundle: Some(CaBundle::ConfigMap { name: "company-ca".into(), key: "ca.pem".into() }),
        git_ca_bundle: Some(CaBundle::Secret { name: "git-ca".into(), key: "ca.pem".into() }),
        registry_mirrors: vec!["mirror.example.com".into()],
        insecure_registries: vec!["registry.local:5000".into()],
        storage_limit: Some("20Gi".into()),
        ..BuildKitConfig::default()
    };
    let secrets = [("npm-token".to_owned(), Secret::new("npm-hidden").unwrap())].into();
    let objects = rendered(&config, &spec(), URL, &secrets).unwrap();
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
fn the_container_of_the_commands_has_no_git_credential() {
    let pod = pod(&BuildKitConfig::default(), &spec());
    let build = serde_json::to_string(&pod.containers[0]).unwrap();
    assert!(!build.contains("git-header") && !build.contains("secretKeyRef"), "{build}");
    let fetching: Vec<_> = pod.init_containers.unwrap().into_iter().collect();
    let with: Vec<&str> = fetching
        .iter()
        .filter(|one| serde_json::to_string(one).unwrap().contains("git-header"))
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(with, ["source-fetch"]);
}

#[test]
fn the_source_is_the_commit_and_the_context_is_a_folder_of_its_tree() {
    let commands = |spec: &BuildSpec| {
        let init = pod(&BuildKitConfig::default(), spec).init_containers.unwrap();
        let words = init.iter().map(|one| one.command.clone().unwrap());
        words.map(|words| words.last().cloned().unwrap()).collect::<Vec<_>>()
    };
    let commit = "abc123def0".repeat(4);
    assert_eq!(commands(&spec()), ["--bare", &commit, "FETCH_HEAD:", "FETCH_HEAD:web"]);
    let root = BuildSpec { context: String::new(), ..spec() };
    assert_eq!(commands(&root), ["--bare", &commit, "FETCH_HEAD:"]);
    let config = BuildKitConfig::default();
    assert!(has(&args(&config, &root), "--local=context=/kiops/tree"));
    assert!(has(&args(&config, &spec()), "--local=context=/kiops/context"));
    assert!(has(&args(&config, &spec()), "--opt=filename=web/Dockerfile"));
}

#[test]
fn a_build_that_is_thrown_away_pushes_nothing_touches_no_cache_and_is_given_nothing() {
    let cache_repository = Some("harbor.example.com/cache".into());
    let config = BuildKitConfig { cache_repository, ..BuildKitConfig::default() };
    let spec = BuildSpec { output: BuildOutput::Discard, ..spec() };
    let args = args(&config, &spec);
    for flag in ["--output", "--import-cache", "--export-cache"] {
        assert!(!args.iter().any(|arg| arg.starts_with(flag)), "{args:?}");
    }
    let inputs = RunInputs {
        source: std::sync::Arc::new(NoSource),
        pull: vec![credential()],
        push: Some(credential()),
        secrets: [("npm-token".to_owned(), Secret::new("npm-hidden").unwrap())].into(),
    };
    let access = access(URL);
    let given = Given::of(&spec, &access, &inputs);
    assert!(given.registries.is_empty() && given.secrets.is_empty());
}

#[derive(Debug)]
struct NoSource;

#[async_trait]
impl kiops_core::run::SourceAccess for NoSource {
    fn commit(&self) -> &kiops_core::name::CommitId {
        unreachable!()
    }

    async fn archive(&self) -> Result<kiops_core::stream::ByteStream> {
        unreachable!()
    }

    async fn clone_access(&self) -> Result<CloneAccess> {
        unreachable!()
    }
}

#[test]
fn plain_http_is_for_git_hosts_that_are_named() {
    let url = "http://git.local:3000/team/site.git";
    let refused = rendered(&BuildKitConfig::default(), &spec(), url, &BTreeMap::new()).unwrap_err();
    assert!(refused.remedy().unwrap().contains("insecure_git_hosts"));
    let insecure_git_hosts = vec!["git.local:3000".into()];
    let config = BuildKitConfig { insecure_git_hosts, ..BuildKitConfig::default() };
    assert!(rendered(&config, &spec(), url, &BTreeMap::new()).is_ok());
}

#[test]
fn what_could_be_taken_for_something_else_is_refused() {
    let config = BuildKitConfig::default();
    let bad = [
        BuildSpec { target: Some("a,b".into()), ..spec() },
        BuildSpec { dockerfile: "../../etc/passwd".into(), ..spec() },
        BuildSpec { context: "a/../..".into(), ..spec() },
        BuildSpec { build_args: [("A=x".to_owned(), String::new())].into(), ..spec() },
        BuildSpec { build_args: [(String::new(), "x".to_owned())].into(), ..spec() },
    ];
    for spec in bad {
        assert!(rendered(&config, &spec, URL, &BTreeMap::new()).is_err(), "{spec:?}");
    }
    for id in ["", "..", "../x", "a/b", "a,src=/etc/passwd", "a b"] {
        let secrets = [(id.to_owned(), Secret::new("x").unwrap())].into();
        assert!(rendered(&config, &spec(), URL, &secrets).is_err(), "{id}");
    }
    for bad in [
        BuildKitConfig { image: " ".into(), ..config.clone() },
        BuildKitConfig { cache_repository: Some("a/b,mode=min".into()), ..config.clone() },
        BuildKitConfig { insecure_registries: vec!["x\"]\n[worker.oci]".into()], ..config.clone() },
        BuildKitConfig { platforms: vec![String::new()], ..config.clone() },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}

#[test]
fn settings_are_read_with_defaults_and_without_unknown_names() {
    let read = |text: &str| serde_json::from_str::<BuildKitConfig>(text);
    assert_eq!(read("{}").unwrap(), BuildKitConfig::default());
    assert!(read(r#"{"pod":{"deadline_secs":60},"platforms":["linux/arm64"]}"#).is_ok());
    assert!(read(r#"{"imaeg":"x"}"#).is_err());
}

proptest! {
    #[test]
    fn every_value_arrives_as_one_word_as_it_was_written(value in "\\PC{0,40}|[$()\\n -]{0,20}", name in "[A-Za-z_]{1,8}") {
        let spec = BuildSpec { build_args: [(name.clone(), value.clone())].into(), ..spec() };
        let args = args(&BuildKitConfig::default(), &spec);
        // Kubernetes reads `$$` as one `$`, and replaces nothing where no `$(` is left.
        let arrived: Vec<String> = args.iter().map(|arg| arg.replace("$$", "$")).collect();
        let expected = format!("--opt=build-arg:{name}={value}");
        prop_assert!(has(&arrived, &expected));
        prop_assert!(args[1..].iter().all(|arg| arg.starts_with("--")));
        prop_assert!(args.iter().all(|arg| !arg.replace("$$", "").contains('$')));
    }
}
