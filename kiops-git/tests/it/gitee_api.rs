//! Gitee's interface, as its documentation describes it, and our provider over it.

mod beside;
mod face;
mod faults;
mod reading;

use std::sync::{Arc, Mutex};

use kiops_core::event::Repository;
use kiops_core::provider::GitProvider;
use kiops_core::testing::conformance;
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_git::gitee::Gitee;
use kiops_git::rest::HostConfig;

use self::face::{Face, WEB};
use crate::hosts::{Clock, InProcess, Kind, tokens};

fn gitee(host: &Arc<InProcess>) -> Gitee {
    with(HostConfig::new(WEB), Clock::Real, host)
}

/// One that does not wait long.
fn hasty(host: &Arc<InProcess>) -> Gitee {
    with(HostConfig::new(WEB), Clock::Fast, host)
}

fn with(config: HostConfig, clock: Clock, host: &Arc<InProcess>) -> Gitee {
    Gitee::new(config, Arc::<InProcess>::clone(host), Arc::new(clock), tokens()).unwrap()
}

async fn app() -> (Arc<InProcess>, Face, Repository) {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, face, repository)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gitee_with_short_pages_keeps_every_promise_of_a_provider() {
    let face = || {
        let face = Face::default();
        face.state().page = 7;
        InProcess::new(face)
    };
    let kind = Kind {
        config: || HostConfig::new(WEB),
        face,
        provider: |config, host| -> Arc<dyn GitProvider> { Arc::new(with(config, Clock::Real, &host)) },
        opened: Mutex::default(),
    };
    conformance::git_provider::all(&kind).await;
}
