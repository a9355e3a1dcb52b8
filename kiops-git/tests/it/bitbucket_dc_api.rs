//! Bitbucket Data Center's interface, as its documentation describes it, and our provider over it.

mod face;
mod hooks;
mod reading;
mod statuses;

use std::sync::{Arc, Mutex};

use kiops_core::event::Repository;
use kiops_core::provider::GitProvider;
use kiops_core::testing::conformance;
use kiops_core::testing::conformance::git_provider::{Feature, GitHost as _};
use kiops_git::bitbucket_dc::BitbucketDc;
use kiops_git::rest::HostConfig;

use self::face::{Face, WEB};
use crate::hosts::{Backing, Clock, InProcess, Kind, tokens};

fn data_center(host: &Arc<InProcess>) -> BitbucketDc {
    with(HostConfig::new(WEB), host)
}

fn with(config: HostConfig, host: &Arc<InProcess>) -> BitbucketDc {
    BitbucketDc::new(config, Arc::<InProcess>::clone(host), Arc::new(Clock::Real), tokens()).unwrap()
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
async fn a_data_center_keeps_every_promise_of_a_provider() {
    let kind = Kind {
        config: || HostConfig::new(WEB),
        face: || {
            let host = Backing::without(&[Feature::Executables, Feature::Symlinks]);
            InProcess::over(Face::default(), Arc::new(host))
        },
        provider: |config, host| -> Arc<dyn GitProvider> { Arc::new(with(config, &host)) },
        opened: Mutex::default(),
    };
    conformance::git_provider::all(&kind).await;
}
