//! The plain provider keeps the promises of the trait, for repositories on disk and for those that are reached over HTTP.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiops_core::name::SecretName;
use kiops_core::testing::conformance::git_provider::{GitBench, Narrow};
use kiops_core::testing::conformance::{self, Subject};
use kiops_git::plain::{Plain, PlainConfig, PlainCredential};
use tempfile::TempDir;

use super::remote::server::Server;
use super::remote::{PASSWORD, Secrets};
use crate::hosts::folder::Folder;

/// Hosts, each in a folder of its own.
struct Hosts {
    format: &'static str,
    served: bool,
    opened: Mutex<Option<(TempDir, Arc<Folder>)>>,
}

impl Hosts {
    fn on_disk(format: &'static str) -> Self {
        Self { format, served: false, opened: Mutex::default() }
    }

    fn served(format: &'static str) -> Self {
        Self { served: true, ..Self::on_disk(format) }
    }

    fn bench(&self) -> Arc<GitBench> {
        let opened = self.opened.lock().unwrap();
        let (folder, host) = opened.as_ref().unwrap();
        let config = match &host.server {
            None => PlainConfig::on_disk(&host.root),
            Some(server) => PlainConfig {
                work_dir: Some(folder.path().join("cache")),
                allow_http_hosts: vec![server.host()],
                allow_private_hosts: vec![server.host()],
                credentials: vec![PlainCredential {
                    url: server.url(""),
                    username: "kiops".into(),
                    password: SecretName::parse("git/password").unwrap(),
                }],
                ..PlainConfig::default()
            },
        };
        let plain = |config| Plain::new(config).unwrap().with_secrets(Arc::new(Secrets(Some(PASSWORD))));
        let narrow = PlainConfig { max_changed_files: 10, max_archive_bytes: 100_000, ..config.clone() };
        Arc::new(GitBench {
            provider: Arc::new(plain(config)),
            host: Arc::<Folder>::clone(host),
            narrow: Some(Narrow {
                provider: Arc::new(plain(narrow)),
                changed_files: 10,
                archive_bytes: 100_000,
            }),
        })
    }
}

#[async_trait]
impl Subject<GitBench> for Hosts {
    async fn open(&self) -> Arc<GitBench> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("srv");
        std::fs::create_dir(&root).unwrap();
        let server = self.served.then(|| Arc::new(Server::start(root.clone(), "kiops", PASSWORD)));
        let host = Folder::new(root, self.format, server);
        *self.opened.lock().unwrap() = Some((folder, Arc::new(host)));
        self.bench()
    }

    async fn reopen(&self) -> Option<Arc<GitBench>> {
        Some(self.bench())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn repositories_on_disk_keep_every_promise_of_a_provider() {
    conformance::git_provider::all(&Hosts::on_disk("sha1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn repositories_of_sha256_ids_keep_every_promise_of_a_provider() {
    conformance::git_provider::all(&Hosts::on_disk("sha256")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn repositories_over_http_keep_every_promise_of_a_provider() {
    conformance::git_provider::all(&Hosts::served("sha1")).await;
}
