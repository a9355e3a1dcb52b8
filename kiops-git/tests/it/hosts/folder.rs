//! Bare repositories on disk, filled by `git fast-import`: what the checks of a provider are made on.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use kiops_core::event::Repository;
use kiops_core::name::{CommitId, GitRef, GitTag};
use kiops_core::testing::conformance::git_provider::{Entry, Feature, GitHost, NewCommit};

use crate::plain::remote::server::Server;
use crate::plain::{full_ref, git, id, named};

/// Bare repositories below a folder, filled by `git fast-import`.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    format: &'static str,
    /// Where they are served, where they are.
    pub(crate) server: Option<Arc<Server>>,
    scratch: AtomicUsize,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Folder {
    pub(crate) fn new(root: PathBuf, format: &'static str, server: Option<Arc<Server>>) -> Self {
        Self { root, format, server, scratch: AtomicUsize::default() }
    }

    pub(crate) fn bare(&self, repository: &Repository) -> PathBuf {
        let name = repository.path.rsplit('/').next().unwrap();
        self.root.join(format!("{}.git", name.trim_end_matches(".git")))
    }

    pub(crate) fn run(&self, folder: &Path, args: &[&str], input: &[u8]) -> String {
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
