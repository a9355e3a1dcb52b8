//! The directory of manifests keeps the promises of the trait.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiops_core::testing::conformance::deployer::DeployBench;
use kiops_core::testing::conformance::{self, Subject};
use kiops_kube::{ManifestDirectory, ManifestDirectoryConfig};
use tempfile::TempDir;

use crate::common::{config, container, target};

/// Directories, each in a folder of its own.
struct Directories {
    keep: usize,
    opened: Mutex<Option<TempDir>>,
}

impl Directories {
    async fn bench(&self) -> Arc<DeployBench> {
        let path = self.opened.lock().unwrap().as_ref().unwrap().path().to_owned();
        let mut config: ManifestDirectoryConfig = config(&path);
        config.keep = self.keep;
        let deployer = ManifestDirectory::open(config).await.unwrap();
        let current = path.join("deploy");
        let bench = DeployBench::new(Arc::new(deployer), |word| {
            target(&format!("s{word}"), vec![container("web", Some(8080)), container("db", None)])
        });
        let bench = bench.with_refused(|_, request| {
            request.images.pop_first();
        });
        Arc::new(bench.with_fault(move |on| if on { block(&current) } else { unblock(&current) }))
    }
}

/// Puts a file where the directory should be: nothing can be written there.
fn block(current: &Path) {
    std::fs::rename(current, aside(current)).unwrap();
    std::fs::write(current, "").unwrap();
}

fn unblock(current: &Path) {
    std::fs::remove_file(current).unwrap();
    std::fs::rename(aside(current), current).unwrap();
}

fn aside(current: &Path) -> PathBuf {
    current.with_extension("aside")
}

#[async_trait]
impl Subject<DeployBench> for Directories {
    async fn open(&self) -> Arc<DeployBench> {
        *self.opened.lock().unwrap() = Some(tempfile::tempdir().unwrap());
        self.bench().await
    }

    async fn reopen(&self) -> Option<Arc<DeployBench>> {
        Some(self.bench().await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_directory_keeps_every_promise_of_a_deployer() {
    for keep in [50, 10] {
        conformance::deployer::all(&Directories { keep, opened: Mutex::default() }).await;
    }
}
