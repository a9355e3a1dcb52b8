//! The layout and the assembler keep the promises of their traits.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiops_core::testing::conformance::registry::RegistryBench;
use kiops_core::testing::conformance::{self, Subject};
use tempfile::TempDir;

use crate::fixtures::{image, open};

/// Layouts, each in a directory of its own.
#[derive(Default)]
struct Layouts(Mutex<Vec<TempDir>>);

impl Layouts {
    fn bench(&self) -> Arc<RegistryBench> {
        let path = self.0.lock().unwrap().last().unwrap().path().join("layout");
        let layout = open(&path);
        let image = |word: &str| image(&format!("layout.local/conformance/{word}"));
        let bench = RegistryBench::new(Arc::new(layout), image).with_damage(move |digest| {
            let blob = path.join("blobs/sha256").join(digest.hex());
            let mut bytes = std::fs::read(&blob).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&blob, bytes).unwrap();
        });
        Arc::new(bench)
    }
}

#[async_trait]
impl Subject<RegistryBench> for Layouts {
    async fn open(&self) -> Arc<RegistryBench> {
        self.0.lock().unwrap().push(tempfile::tempdir().unwrap());
        self.bench()
    }

    async fn reopen(&self) -> Option<Arc<RegistryBench>> {
        Some(self.bench())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_layout_keeps_every_promise_of_a_registry() {
    conformance::registry::all(&Layouts::default()).await;
}

#[cfg(feature = "assemble")]
mod assembler {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use bytes::Bytes;
    use kiops_core::image::Registry;
    use kiops_core::name::CommitId;
    use kiops_core::testing::conformance::FilesSource;
    use kiops_core::testing::conformance::build_executor::{ExecutorBench, ExecutorJob};
    use kiops_core::testing::conformance::runs::{Pace, SECRET};
    use kiops_registry::assemble::{Assembler, AssemblerConfig};

    use super::{Arc, Layouts, Subject, async_trait, conformance, image, open};

    const SITE: &str = "layout.local/conformance/site";

    fn commit() -> CommitId {
        CommitId::parse("abc123def0".repeat(4)).unwrap()
    }

    fn source(dockerfile: &str) -> FilesSource {
        let page = "<p>".repeat(20_000);
        let files = [("Dockerfile", dockerfile), ("web/index.html", &page), ("web/empty", "")];
        let files = files.map(|(path, text)| (path.to_owned(), Bytes::copy_from_slice(text.as_bytes())));
        FilesSource::new(commit(), BTreeMap::from(files))
    }

    fn job(dockerfile: &str) -> ExecutorJob {
        ExecutorJob::new(source(dockerfile), dockerfile, &image(SITE))
    }

    impl Layouts {
        fn assembler(&self) -> Arc<ExecutorBench> {
            let dirs = self.0.lock().unwrap();
            let dir = dirs.last().unwrap().path();
            let registry: Arc<dyn Registry> = Arc::new(open(&dir.join("layout")));
            let config = AssemblerConfig::new(dir.join("work"));
            let passes = job("FROM scratch\nENV A=1\nCOPY web /srv\nCOPY web/index.html /\n");
            let stalling = source(&passes.dockerfile).that_stalls();
            let slow = ExecutorJob::new(stalling, &passes.dockerfile, &image(SITE));
            Arc::new(ExecutorBench {
                executor: Arc::new(Assembler::new(config, Arc::clone(&registry)).unwrap()),
                registry,
                image: image(SITE),
                passes,
                fails: job("FROM scratch\nCOPY web /srv\nCOPY missing /\n"),
                slow: Some(slow),
                tells: Some(job(&format!("FROM scratch\nLABEL word={SECRET}\nCOPY {SECRET} /\n"))),
                refused: Some(job("FROM scratch\nRUN make\n")),
                pace: Pace::default(),
            })
        }
    }

    #[async_trait]
    impl Subject<ExecutorBench> for Layouts {
        async fn open(&self) -> Arc<ExecutorBench> {
            self.0.lock().unwrap().push(tempfile::tempdir().unwrap());
            self.assembler()
        }

        async fn reopen(&self) -> Option<Arc<ExecutorBench>> {
            Some(self.assembler())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_assembler_keeps_every_promise_of_an_executor() {
        conformance::build_executor::all(&Layouts::default()).await;
    }

    #[test]
    fn the_files_of_a_source_are_read_back_by_others() {
        let long = format!("{}{}", "folder/".repeat(20), "n".repeat(90));
        let text = "x".repeat(1000);
        let files = [("a", ""), (long.as_str(), text.as_str())]
            .map(|(path, text)| (path.to_owned(), Bytes::copy_from_slice(text.as_bytes())));
        let source = FilesSource::new(commit(), BTreeMap::from(files.clone()));
        let tar = source.to_tar().unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let found: Vec<(String, Bytes)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                assert_eq!(entry.header().mode().unwrap(), 0o644);
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (entry.path().unwrap().display().to_string(), content.into())
            })
            .collect();
        assert_eq!(found, files);
    }
}
