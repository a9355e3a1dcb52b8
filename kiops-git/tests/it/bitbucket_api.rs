//! Bitbucket Cloud's interface, as its documentation describes it, and our provider over it.

mod admin;
mod beside;
mod commits;
mod face;
mod faults;
mod hooks;
mod reading;
mod statuses;
mod writes;

use std::sync::{Arc, Mutex};

use kiops_core::event::Repository;
use kiops_core::provider::GitProvider;
use kiops_core::testing::conformance;
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_git::bitbucket::Bitbucket;
use kiops_git::rest::HostConfig;

use self::face::Face;
use crate::hosts::{Clock, InProcess, Kind, tokens};

fn bitbucket(host: &Arc<InProcess>) -> Bitbucket {
    with(Bitbucket::cloud(), host)
}

fn with(config: HostConfig, host: &Arc<InProcess>) -> Bitbucket {
    Bitbucket::new(config, Arc::<InProcess>::clone(host), Arc::new(Clock::Real), tokens()).unwrap()
}

/// One that does not wait long.
fn hasty(host: &Arc<InProcess>) -> Bitbucket {
    let service = Arc::<InProcess>::clone(host);
    Bitbucket::new(Bitbucket::cloud(), service, Arc::new(Clock::Fast), tokens()).unwrap()
}

/// A host with one empty repository.
async fn app() -> (Arc<InProcess>, Face, Repository) {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, face, repository)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bitbucket_keeps_every_promise_of_a_provider() {
    let kind = Kind {
        config: Bitbucket::cloud,
        face: || InProcess::new(Face::default()),
        provider: |config, host| -> Arc<dyn GitProvider> { Arc::new(with(config, &host)) },
        opened: Mutex::default(),
    };
    conformance::git_provider::all(&kind).await;
}
