//! The plain provider, its hook and its local tools against real repositories made by the real `git`.

mod conformance;
mod hook;
mod hostile;
mod limits;
mod local;
mod provider;
pub(crate) mod remote;

use std::path::{Path, PathBuf};
use std::process::Command;

use kiops_core::event::Repository;
use kiops_core::name::{CommitId, GitRef};
use kiops_git::plain::{Plain, PlainConfig};
use tempfile::TempDir;

/// A folder with a bare repository `site.git`, a clone of it that tests work in, and a provider that may read it.
struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with_format("sha1")
    }

    fn with_format(format: &'static str) -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        let object_format = format!("--object-format={format}");
        let bare = fixture.bare();
        fixture.git(
            fixture.path(),
            &["init", "-q", "--bare", "-b", "main", &object_format, bare.to_str().unwrap()],
        );
        fixture.git(fixture.path(), &["init", "-q", "-b", "main", &object_format, "work"]);
        fixture.run(&["remote", "add", "origin", bare.to_str().unwrap()]);
        fixture
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn bare(&self) -> PathBuf {
        self.path().join("srv/site.git")
    }

    fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    fn repository(&self) -> Repository {
        named(self.bare().to_str().unwrap())
    }

    fn config(&self) -> PlainConfig {
        PlainConfig::on_disk(self.path().join("srv"))
    }

    fn plain(&self) -> Plain {
        Plain::new(self.config()).unwrap()
    }

    /// Runs git in the clone and gives what it printed.
    fn run(&self, args: &[&str]) -> String {
        self.git(&self.work(), args)
    }

    fn git(&self, folder: &Path, args: &[&str]) -> String {
        let output = git(folder).args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes files, commits everything, pushes the branch, and gives the commit.
    fn commit(&self, files: &[(&str, &str)], message: &str) -> CommitId {
        for (path, content) in files {
            self.write(path, content);
        }
        self.run(&["add", "-A"]);
        self.run(&["commit", "-q", "--allow-empty", "-m", message]);
        self.push();
        id(&self.run(&["rev-parse", "HEAD"]))
    }

    fn push(&self) {
        self.run(&["push", "-q", "-f", "origin", "HEAD"]);
    }
}

/// The git of these tests: nobody's configuration, a fixed identity and time.
pub(crate) fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("LC_ALL", "C");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), format!("{who} of tests"));
        command.env(format!("GIT_{who}_EMAIL"), "tests@kiops.invalid");
        command.env(format!("GIT_{who}_DATE"), "@1700000000 +0200");
    }
    command
}

pub(crate) fn named(path: &str) -> Repository {
    Repository { id: None, path: path.to_owned() }
}

pub(crate) fn id(text: &str) -> CommitId {
    CommitId::parse(text).unwrap()
}

/// An id that no commit has.
fn missing() -> CommitId {
    id(&"1".repeat(40))
}

pub(crate) fn full_ref(text: &str) -> GitRef {
    GitRef::parse(text).unwrap()
}

/// A program that stands in for git: a shell script with this body.
fn fake_git(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("fake-git");
    // Written by another process: a program cannot be run while a child that this one started just then has it open for writing.
    let write =
        "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0.new\" && chmod 755 \"$0.new\" && mv \"$0.new\" \"$0\"";
    let status = Command::new("/bin/sh").arg("-c").arg(write).arg(&path).arg(body).status();
    assert!(status.unwrap().success());
    path
}
