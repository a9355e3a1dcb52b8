//! The plain provider keeps the promises of the trait, for repositories on disk and for those that are reached over HTTP.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiops_core::event::Repository;
use kiops_core::name::{CommitId, GitRef, GitTag, SecretName};
use kiops_core::testing::conformance::git_provider::{Entry, Feature, GitBench, GitHost, Narrow, NewCommit};
use kiops_core::testing::conformance::{self, Subject};
use kiops_git::plain::{Plain, PlainConfig, PlainCredential};
use tempfile::TempDir;

use super::remote::server::Server;
use super::remote::{PASSWORD, Secrets};
use super::{full_ref, git, id, named};

/// Bare repositories below a folder, filled by `git fast-import`.
struct Folder {
    root: PathBuf,
    format: &'static str,
    /// Where they are served, where they are.
    server: Option<Arc<Server>>,
    scratch: AtomicUsize,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Folder {
    fn bare(&self, repository: &Repository) -> PathBuf {
        let name = repository.path.rsplit('/').next().unwrap();
        self.root.join(name)
    }

    fn run(&self, folder: &Path, args: &[&str], input: &[u8]) -> String {
        let mut child = git(folder).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?} failed");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

#[async_trait]
impl GitHost for Folder {
    fn has(&self, feature: Feature) -> bool {
        // Git itself has no list of a host's repositories.
        feature != Feature::Listing || self.server.is_none()
    }

    fn named(&self, word: &str) -> Repository {
        match &self.server {
            Some(server) => named(&server.url(&format!("{word}.git"))),
            None => named(self.root.join(format!("{word}.git")).to_str().unwrap()),
        }
    }

    async fn create(&self, repository: &Repository) {
        let (bare, format) = (self.bare(repository), format!("--object-format={}", self.format));
        let args = ["init", "-q", "--bare", "-b", "main", &format, bare.to_str().unwrap()];
        self.run(&self.root, &args, b"");
    }

    async fn commit(&self, repository: &Repository, commit: &NewCommit) -> CommitId {
        // A ref of its own, so that nothing is taken for its parent.
        let scratch = self.scratch.fetch_add(1, Ordering::SeqCst);
        let (author, time) = (&commit.author, commit.timestamp.as_second());
        let person = format!("{author} <ada@kiops.invalid> {time} +0200");
        let mut input = format!(
            "commit refs/scratch/{scratch}\nmark :1\nauthor {person}\ncommitter {person}\ndata {}\n{}\n",
            commit.message.len(),
            commit.message
        )
        .into_bytes();
        for (at, parent) in commit.parents.iter().enumerate() {
            let word = if at == 0 { "from" } else { "merge" };
            writeln!(input, "{word} {parent}").unwrap();
        }
        writeln!(input, "deleteall").unwrap();
        for (path, entry) in &commit.entries {
            let (mode, content) = match entry {
                Entry::File(content) => ("100644", &content[..]),
                Entry::Executable(content) => ("100755", &content[..]),
                Entry::Symlink(to) => ("120000", to.as_bytes()),
            };
            let quoted = path.replace('\\', "\\\\").replace('"', "\\\"");
            writeln!(input, "M {mode} inline \"{quoted}\"\ndata {}", content.len()).unwrap();
            input.extend_from_slice(content);
            input.push(b'\n');
        }
        input.extend_from_slice(b"\nget-mark :1\n");
        id(&self.run(&self.bare(repository), &["fast-import", "--quiet"], &input))
    }

    async fn point(&self, repository: &Repository, git_ref: &GitRef, commit: Option<&CommitId>) {
        let name = git_ref.to_string();
        let args: &[&str] = match commit {
            Some(commit) => &["update-ref", &name, commit.as_str()],
            None => &["update-ref", "-d", &name],
        };
        self.run(&self.bare(repository), args, b"");
    }

    async fn annotate(&self, repository: &Repository, tag: &GitTag, commit: &CommitId) -> CommitId {
        let text = format!(
            "object {commit}\ntype commit\ntag {tag}\ntagger Ada <ada@kiops.invalid> 1 +0000\n\nText\n"
        );
        let object = id(&self.run(&self.bare(repository), &["mktag"], text.as_bytes()));
        self.point(repository, &full_ref(&format!("refs/tags/{tag}")), Some(&object)).await;
        object
    }
}

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
        let host = Folder { root, format: self.format, server, scratch: AtomicUsize::default() };
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
