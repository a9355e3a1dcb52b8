//! Secrets: never where they were not asked for, byte for byte where they were.

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::image::RegistryCredential;
use kiops_core::name::SecretName;
use kiops_core::release::{Deployer as _, Revision};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::{ErrorKind, Result};
use kiops_kube::ManifestDirectory;
use kiops_kube::render::{env_secret, pull_secret};

use crate::common::*;

const PASSWORD: &str = "p$w\"d: 'no'\n";

#[derive(Debug)]
struct OneSecret;

#[async_trait]
impl SecretSource for OneSecret {
    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        Ok(if name.as_str() == "shop/mysql" { Secret::new("s3cr3t-root") } else { None })
    }
}

fn credential() -> RegistryCredential {
    RegistryCredential {
        host: "index.docker.io".into(),
        username: "robot$team+ci".into(),
        password: Secret::new(PASSWORD).unwrap(),
    }
}

fn images() -> kiops_core::release::DeployRequest {
    request_of("one", &[("web", "nginx:alpine"), ("db", "mysql:8.0")])
}

async fn open_with_secrets(dir: &std::path::Path, write: bool) -> ManifestDirectory {
    let mut config = config(dir);
    config.write_secrets = write;
    ManifestDirectory::open(config)
        .await
        .unwrap()
        .with_credentials([credential()])
        .with_secrets(Arc::new(OneSecret))
}

fn everything(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    files(dir).into_iter().map(|file| (file.clone(), std::fs::read(dir.join(file)).unwrap())).collect()
}

fn contains(content: &[u8], needle: &str) -> bool {
    content.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn a_pull_secret_has_the_shape_that_a_kubelet_wants() {
    let secret = pull_secret(&shop(), &[credential()]);
    assert_eq!(secret.name(), "shop-registry-cred");
    let object = secret.expose();
    assert_eq!(object.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    assert_eq!(object.metadata.namespace.as_deref(), Some("shop"));
    let config: serde_json::Value =
        serde_json::from_slice(&object.data.as_ref().unwrap()[".dockerconfigjson"].0).unwrap();
    assert_eq!(config["auths"]["https://index.docker.io/v1/"]["username"], "robot$team+ci");
    assert_eq!(config["auths"]["https://index.docker.io/v1/"]["password"], PASSWORD);
}

#[test]
fn a_secret_manifest_shows_no_value_when_printed() {
    let pull = pull_secret(&shop(), &[credential()]);
    let env = env_secret(&shop(), &[("db.X".to_owned(), Secret::new("s3cr3t-root").unwrap())].into());
    assert_eq!(format!("{pull:?}"), "SecretManifest { name: \"shop-registry-cred\", .. }");
    assert_eq!(format!("{env:?}"), "SecretManifest { name: \"shop-env\", .. }");
}

#[tokio::test]
async fn no_secret_is_written_unless_that_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open_with_secrets(dir.path(), false).await;
    deployer.apply(&shop(), &images()).await.unwrap();
    assert_eq!(files(&dir.path().join("deploy")), ["shop/shop.yaml"]);
    let manifest = std::fs::read_to_string(deployer.manifest_path(&shop())).unwrap();
    assert!(manifest.contains("imagePullSecrets:\n      - name: shop-registry-cred\n"), "{manifest}");
    assert!(manifest.contains("key: db.MYSQL_ROOT_PASSWORD\n"), "{manifest}");
    for (file, content) in everything(dir.path()) {
        for needle in ["s3cr3t-root", "robot$team", "p$w", "czNjcjN0", "cm9ib3Q"] {
            assert!(!contains(&content, needle), "{needle} in {file}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn configured_secrets_stand_in_a_file_of_their_own_that_only_the_owner_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let deployer = open_with_secrets(dir.path(), true).await;
    deployer.apply(&shop(), &images()).await.unwrap();
    let path = dir.path().join("deploy/shop/shop.secrets.yaml");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let documents: Vec<k8s_openapi::api::core::v1::Secret> = serde_saphyr::from_multiple(&text).unwrap();
    assert_eq!(&documents[0], pull_secret(&shop(), &[credential()]).expose());
    assert_eq!(documents[1].data.as_ref().unwrap()["db.MYSQL_ROOT_PASSWORD"].0, b"s3cr3t-root");
    // Neither the manifest nor the revisions hold a value.
    for (file, content) in
        everything(dir.path()).into_iter().filter(|(file, _)| !file.ends_with(".secrets.yaml"))
    {
        assert!(!contains(&content, "czNjcjN0"), "{file}");
    }

    // A rollback writes today's values for yesterday's variables.
    let mut changed = shop();
    workload(&mut changed).containers[1].env.clear();
    let mut second = images();
    second.release = release("two");
    deployer.apply(&changed, &second).await.unwrap();
    assert!(!std::fs::read_to_string(&path).unwrap().contains("db.MYSQL_ROOT_PASSWORD"));
    deployer.rollback(&changed, Revision(1), &release("three")).await.unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("db.MYSQL_ROOT_PASSWORD"));

    deployer.remove(&changed).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn secrets_of_an_earlier_configuration_do_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    open_with_secrets(dir.path(), true).await.apply(&shop(), &images()).await.unwrap();
    let mut second = images();
    second.release = release("two");
    open_with_secrets(dir.path(), false).await.apply(&shop(), &second).await.unwrap();
    assert_eq!(files(&dir.path().join("deploy")), ["shop/shop.yaml"]);
}

#[tokio::test]
async fn a_variable_whose_secret_is_missing_fails_the_release_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open_with_secrets(dir.path(), true).await;
    let mut target = shop();
    let missing = SecretName::parse("gone").unwrap();
    let env = &mut workload(&mut target).containers[1].env;
    env.insert("X".into(), kiops_core::service::EnvValue::Secret { secret: missing });
    let error = deployer.apply(&target, &images()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("no secret `gone` for the variable `db.X`"), "{error}");
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn images_from_elsewhere_name_no_pull_secret() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open_with_secrets(dir.path(), true).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    assert_eq!(files(&dir.path().join("deploy")), ["shop/site.yaml"]);
    assert!(!std::fs::read_to_string(deployer.manifest_path(&site())).unwrap().contains("imagePullSecrets"));
}

#[tokio::test]
async fn what_is_applied_first_brings_its_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    (config.write_secrets, config.render.create_namespace) = (true, true);
    let deployer = ManifestDirectory::open(config).await.unwrap().with_credentials([credential()]);
    deployer.apply(&shop(), &images()).await.unwrap();
    // By name, as kubectl goes through a directory, the Secrets come before the rest.
    let listed = files(&dir.path().join("deploy"));
    assert_eq!(listed, ["shop/shop.secrets.yaml", "shop/shop.yaml"]);
    let first_kind = |file: &str| {
        let text = std::fs::read_to_string(dir.path().join("deploy").join(file)).unwrap();
        text.lines().find(|line| line.starts_with("kind: ")).unwrap().to_owned()
    };
    assert_eq!(first_kind(&listed[0]), "kind: Namespace");
    deployer.remove(&shop()).await.unwrap();
    assert_eq!(first_kind("shop/shop.yaml"), "kind: Namespace");
}
