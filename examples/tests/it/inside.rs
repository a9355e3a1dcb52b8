//! The quickstart's parts within this process, so that a test can stand between them.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use kiops_core::engine::Driver;
use kiops_examples::local::{self, Local, LocalConfig, Place, push_site};
use kiops_git::plain::HookCommand;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Server, quickstart};

/// A running platform; its repository's hook is the quickstart's own. Ends when it is dropped.
pub(crate) struct Inside {
    pub(crate) server: Server,
    pub(crate) driver: Driver,
    pub(crate) runtime: Runtime,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl Inside {
    /// Opens a folder, and pushes the first commit where there is none. `change` may put other parts in; timers are short.
    pub(crate) fn start(folder: &Path, change: impl AsyncFnOnce(&Place, &mut LocalConfig)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let place = Place::lock(folder).unwrap();
        let args = [OsString::from("--dir"), place.root().into(), OsString::from("post-receive")];
        let mut config = LocalConfig::new(0, HookCommand { program: quickstart(), args: args.into() });
        config.driver.lease = Duration::from_secs(3);
        config.driver.sweep = Duration::from_millis(200);
        config.driver.heads = Some(Duration::from_millis(500));
        let local = runtime.block_on(async {
            change(&place, &mut config).await;
            Local::open(place, config).await.unwrap()
        });
        let is_new = runtime.block_on(local.is_new()).unwrap();
        let (driver, git, place) = (local.driver.clone(), local.git.clone(), local.place.clone());
        let server = Server::within(vec![
            format!("repo: {}", place.repository().display()),
            format!("server: http://{}", local.address),
            format!("deploy: {}", place.deploy().display()),
            "ready".to_owned(),
        ]);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = runtime.spawn(local.run(async {
            let _ = stopped.await;
        }));
        if is_new {
            runtime.block_on(push_site(&git, &place, &local::Runtime::Manifests.dockerfile())).unwrap();
        }
        Self { server, driver, runtime, stop: Some(stop), running: Some(running) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            let _ = self.runtime.block_on(running);
        }
    }
}
