//! GitLab's interface, as its documentation describes it, and our provider over it.

mod admin;
mod beside;
mod face;
mod faults;
mod flow;
mod hooks;
mod lost;
mod polling;
mod reading;
mod statuses;
mod world;
mod writes;

use std::sync::{Arc, Mutex};

use kiops_core::provider::GitProvider;
use kiops_core::testing::conformance;
use kiops_git::gitlab::GitLab;
use kiops_git::rest::HostConfig;

use self::face::{Face, WEB};
use crate::hosts::{Clock, InProcess, Kind, tokens};

fn gitlab(host: &Arc<InProcess>) -> GitLab {
    with(HostConfig::new(WEB), host)
}

fn with(config: HostConfig, host: &Arc<InProcess>) -> GitLab {
    GitLab::new(config, Arc::<InProcess>::clone(host), Arc::new(Clock::Real), tokens()).unwrap()
}

/// One that does not wait long.
fn hasty(host: &Arc<InProcess>) -> GitLab {
    GitLab::new(HostConfig::new(WEB), Arc::<InProcess>::clone(host), Arc::new(Clock::Fast), tokens()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gitlab_keeps_every_promise_of_a_provider() {
    let kind = Kind {
        config: || HostConfig::new(WEB),
        face: || InProcess::new(Face::default()),
        provider: |config, host| -> Arc<dyn GitProvider> { Arc::new(with(config, &host)) },
        opened: Mutex::default(),
    };
    conformance::git_provider::all(&kind).await;
}
