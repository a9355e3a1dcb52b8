//! Gitea's and Forgejo's interface, as their documentation describes it, and our provider over it.

mod admin;
mod beside;
mod face;
mod faults;
mod hooks;
mod reading;
mod statuses;
mod writes;

use std::sync::{Arc, Mutex};

use kiops_core::provider::GitProvider;
use kiops_core::testing::conformance;
use kiops_git::gitea::Gitea;
use kiops_git::rest::HostConfig;

use self::face::{Face, WEB};
use crate::hosts::{Clock, InProcess, Kind, tokens};

fn gitea(host: &Arc<InProcess>) -> Gitea {
    with(HostConfig::new(WEB), host)
}

fn with(config: HostConfig, host: &Arc<InProcess>) -> Gitea {
    Gitea::new(config, Arc::<InProcess>::clone(host), Arc::new(Clock::Real), tokens()).unwrap()
}

fn forgejo(config: HostConfig, host: &Arc<InProcess>) -> Gitea {
    Gitea::forgejo(config, Arc::<InProcess>::clone(host), Arc::new(Clock::Real), tokens()).unwrap()
}

/// One that does not wait long.
fn hasty(host: &Arc<InProcess>) -> Gitea {
    Gitea::new(HostConfig::new(WEB), Arc::<InProcess>::clone(host), Arc::new(Clock::Fast), tokens()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gitea_keeps_every_promise_of_a_provider() {
    let kind = Kind {
        config: || HostConfig::new(WEB),
        face: || InProcess::new(Face::default()),
        provider: |config, host| -> Arc<dyn GitProvider> { Arc::new(with(config, &host)) },
        opened: Mutex::default(),
    };
    conformance::git_provider::all(&kind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forgejo_with_short_pages_keeps_every_promise_of_a_provider() {
    let face = || {
        let face = Face::default();
        face.state().page = 7;
        InProcess::new(face)
    };
    let kind = Kind {
        config: || HostConfig::new(WEB),
        face,
        provider: |config, host| -> Arc<dyn GitProvider> { Arc::new(forgejo(config, &host)) },
        opened: Mutex::default(),
    };
    conformance::git_provider::all(&kind).await;
}
