//! The fakes keep the promises of the traits that they stand in for: what is proved over them is proved of real ones too.

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::event::Repository;
use kiops_core::name::ProviderName;
use kiops_core::testing::Chaos;
use kiops_core::testing::conformance::git_provider::GitBench;
use kiops_core::testing::conformance::{self, Subject};
use kiops_core::testing::fakes::FakeGit;

struct Fakes;

#[async_trait]
impl Subject<GitBench> for Fakes {
    async fn open(&self) -> Arc<GitBench> {
        let repository = Repository { id: None, path: "team/first".into() };
        let git = FakeGit::new(ProviderName::parse("fake").unwrap(), repository, Chaos::none());
        Arc::new(GitBench { provider: Arc::new(git.clone()), host: Arc::new(git), narrow: None })
    }

    async fn reopen(&self) -> Option<Arc<GitBench>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_fake_git_host_keeps_every_promise_of_a_provider() {
    conformance::git_provider::all(&Fakes).await;
}
