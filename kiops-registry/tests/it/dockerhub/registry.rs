//! As a registry, against a real one in Docker Hub's place.

use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::http::{ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::{Attachment, Registry as _};
use kiops_core::testing::conformance::registry::RegistryBench;
use kiops_registry::dockerhub::{DockerHub, DockerHubConfig};

use super::login;
use crate::fixtures::{image, push};
use crate::oci::daemon::{ALICE, Auth, BOB, Daemon};
use crate::oci::promises;

fn hub(daemon: &Daemon, account: Option<(&str, &str)>) -> DockerHub {
    let mut config = DockerHubConfig { registry: daemon.config(), ..DockerHubConfig::default() };
    config.registry.host = "docker.io".into();
    let service = ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap();
    DockerHub::new(config, account.map(login), Arc::new(service), Arc::new(SystemTimer)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn docker_hub_keeps_every_promise_of_a_registry() {
    let bench = |daemon: &Daemon| {
        let hub = Arc::new(hub(daemon, daemon.owner()));
        RegistryBench::new(hub, |word| image(&format!("docker.io/conformance/{word}")))
    };
    promises::keeps_every_promise(Auth::Nobody, bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_docker_hub_take_attachments_as_those_of_any_registry() {
    let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
    let (hub, site) = (hub(&daemon, None), image("docker.io/team/site"));
    let subject = push(&hub, site.as_str(), &["v1"], "text").await;
    let referrers = hub.referrers().unwrap();
    let attached =
        referrers.attach(&site, &subject, &Attachment::new("application/x", "text")).await.unwrap();
    assert_eq!(referrers.list(&site, &subject, None).await.unwrap()[0].digest, attached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_a_missing_right_are_told_in_docker_hubs_words() {
    let Some(daemon) = Daemon::start(Auth::Token) else { return };
    let site = image("docker.io/team/site");
    let wrong = hub(&daemon, Some((ALICE.0, "guess"))).check(&site).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthorized, "{wrong}");
    assert!(wrong.remedy().unwrap().contains("Personal access tokens"), "{wrong}");
    let denied = hub(&daemon, Some(BOB)).check(&site).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Forbidden, "{denied}");
    assert!(denied.remedy().unwrap().contains("Read & Write"), "{denied}");
    hub(&daemon, Some(ALICE)).check(&site).await.unwrap();
}
