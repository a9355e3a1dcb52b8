//! The house, and what is registered in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kiops_core::engine::{AdaptersBuilder, IngestLimits};
use kiops_core::event::Repository;
use kiops_core::image::RegistryCredential;
use kiops_core::name::{BranchName, EnvironmentName, ImageName, ProviderName, SecretName, ServiceName};
use kiops_core::service::{AutoDeploy, EnvValue, GitSource, Service, Settings, Source, Target};
use kiops_examples::http::RequestLimits;
use kiops_git::plain::{Plain, PlainConfig, PlainCredential};
use kiops_kube::{ManifestDirectory, ManifestDirectoryConfig};
use kiops_registry::assemble::{Assembler, AssemblerConfig};
use kiops_store::{SqliteStore, StoreSecrets};
use serde_json::json;

use super::teller::{Robots, Teller, Told};
use super::words::Word;
use super::{Out, REPOSITORIES, ROBOTS, Spread, TELLING, TOLD_EACH};
use crate::house::{House, SITE, settings};

pub(super) fn house(
    spread: &Spread,
    words: &Arc<BTreeMap<Vec<u8>, Word>>,
    told: &Arc<Mutex<Told>>,
    git: &str,
) -> House {
    let robots = Arc::new(Robots::new(ROBOTS, spread.robots.clone()));
    let more = async |folder: &Path, store: Arc<SqliteStore>, adapters: AdaptersBuilder| {
        let assembler = Assembler::new(AssemblerConfig::new(folder.join("pushed")), robots.clone()).unwrap();
        let teller =
            Teller { words: Arc::clone(words), assembler, told: Arc::clone(told), runs: Mutex::default() };
        let secrets = Arc::new(StoreSecrets::new(store));
        let plain = Plain::new(plain_config(folder, git)).unwrap().with_secrets(secrets.clone());
        let written = ManifestDirectory::open(written_config(folder)).await.unwrap();
        let written = written.with_credentials(pull_credentials(spread)).with_secrets(secrets);
        adapters
            .executor(Arc::new(teller))
            .registry(ROBOTS, robots.clone())
            .provider(Arc::new(plain))
            .deployer(Arc::new(written))
    };
    House::with(RequestLimits::default(), IngestLimits::default(), more)
}

pub(super) fn plain_config(folder: &Path, git: &str) -> PlainConfig {
    let credential = |n| PlainCredential {
        url: format!("http://{git}/g{n}/"),
        username: "oauth2".into(),
        password: SecretName::parse(format!("git/{n}")).unwrap(),
    };
    PlainConfig {
        work_dir: Some(folder.join("mirrors")),
        allow_http_hosts: vec![git.to_owned()],
        allow_private_hosts: vec![git.to_owned()],
        credentials: (0..REPOSITORIES).map(credential).collect(),
        ..PlainConfig::default()
    }
}

/// A runtime that writes Secrets into manifests, as is asked of it.
pub(super) fn written_config(folder: &Path) -> ManifestDirectoryConfig {
    let mut config = ManifestDirectoryConfig::new(folder.join("written"), folder.join("written-revisions"));
    config.name = "written".into();
    config.write_secrets = true;
    config
}

pub(super) fn pull_credentials(spread: &Spread) -> Vec<RegistryCredential> {
    let host =
        |at| if at == 0 { kiops_examples::local::IMAGE_HOST.to_owned() } else { format!("r{at}.example") };
    let credential = |(at, word): (usize, &Word)| RegistryCredential {
        host: host(at),
        username: format!("robot$team+{at}"),
        password: word.secret(),
    };
    spread.pulls.iter().enumerate().map(credential).collect()
}

/// Settings of a service with these build secrets and an image of the registry that wants passwords.
fn with_build_secrets(service: &str, words: &[Word]) -> Settings {
    let mut settings = settings(service);
    settings.image.as_mut().unwrap().name = ImageName::parse(format!("{ROBOTS}/{service}")).unwrap();
    settings.deploy = AutoDeploy::default();
    let name =
        |word: &Word| (format!("s{}", word.n), SecretName::parse(format!("build/{}", word.n)).unwrap());
    settings.components[0].build_secrets = words.iter().map(name).collect();
    settings
}

/// Settings of a service with these secret environment variables, released there by itself.
fn with_env(service: &str, environment: &str, words: &[Word]) -> Settings {
    let mut settings = settings(service);
    settings.deploy.environment = Some(EnvironmentName::parse(environment).unwrap());
    let Some(Target::Workload(workload)) = &mut settings.components[0].runs else { unreachable!() };
    let secret =
        |word: &Word| EnvValue::Secret { secret: SecretName::parse(format!("env/{}", word.n)).unwrap() };
    workload.containers[0].env = words.iter().map(|word| (format!("E{}", word.n), secret(word))).collect();
    settings
}

pub(super) fn register(house: &House, spread: &Spread, git: &str, out: &mut Out) {
    let put = |name: String, word: &Word| {
        let name = SecretName::parse(name).unwrap();
        house.wait(house.driver.store().put_secret(&name, Some(&word.secret()))).unwrap();
    };
    for word in spread.told.iter().chain(&spread.refused) {
        put(format!("build/{}", word.n), word);
    }
    for word in &spread.env {
        put(format!("env/{}", word.n), word);
    }
    for (n, word) in spread.git.iter().enumerate() {
        put(format!("git/{n}"), word);
    }
    for (n, words) in spread.told.chunks(TOLD_EACH).enumerate() {
        let name = format!("told-{n}");
        house.register(&name, with_build_secrets(&name, words));
    }
    house.register("refused-0", with_build_secrets("refused-0", &spread.refused));
    for name in ["pushed-0", "pushed-1"] {
        house.register(name, with_build_secrets(name, &[]));
    }
    house.environment(json!({"name": "live", "runtime": "written"}));
    house.register("shop", with_env("shop", "live", &spread.env));
    house.change_settings(SITE, |old| {
        *old = serde_json::to_value(with_env(SITE, "dev", &spread.env)).unwrap()
    });
    let names: Vec<String> =
        (0..TELLING).map(|n| format!("told-{n}")).chain(["shop".into(), "pushed-0".into()]).collect();
    for (name, words) in names.iter().zip(spread.hooks.chunks(spread.hooks.len() / names.len())) {
        house.hook(name, words.iter().map(Word::secret));
        let hook =
            house.wait(house.driver.store().hook(&ServiceName::parse(name).unwrap())).unwrap().unwrap();
        assert_eq!(hook.secrets.entries().len(), words.len());
        out.debug("Hook", &hook);
    }
    for n in 0..REPOSITORIES {
        let source = Source::Git(GitSource {
            provider: ProviderName::parse("plain").unwrap(),
            repository: Repository { id: None, path: format!("http://{git}/g{n}/site.git") },
            branch: BranchName::parse("main").unwrap(),
        });
        let name = format!("far-{n}");
        let service = Service { name: ServiceName::parse(&name).unwrap(), source, settings: settings(&name) };
        house.put_service(&service);
        out.debug("Service", &service);
    }
}
