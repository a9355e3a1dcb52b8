//! Making, filling and pushing to repositories of our own, by the same `git` and with an identity of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kiops_core::name::{CommitId, GitRef};
use kiops_core::{Error, Result};

use super::address::is_bare;
use super::bare::{self, ObjectFormat};
use super::git::{Call, Runner};

/// The `git` command on this machine for repositories that the caller owns: what quickstart, examples and tests use to make a bare
/// repository, commit to a clone of it, and really push.
///
/// Neither the machine's nor the user's configuration counts: commits are made by [`LocalGit::IDENTITY`], are not signed, and run no
/// hooks of the clone. The repository's own hooks run on a push. Every call ends within a minute, or is killed.
#[derive(Debug, Clone)]
pub struct LocalGit {
    runner: Runner,
}

/// A clone with its files, to commit and push from.
#[derive(Debug, Clone)]
pub struct Workspace {
    git: LocalGit,
    folder: PathBuf,
}

impl Default for LocalGit {
    fn default() -> Self {
        Self::new("git")
    }
}

impl LocalGit {
    /// The name and address that commits are made by.
    pub const IDENTITY: (&'static str, &'static str) = ("kiops", "kiops@kiops.invalid");

    /// The `git` program: a name that is looked up in `PATH`, or a path.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { runner: Runner::new(program, Duration::from_secs(60), 16) }
    }

    /// Makes a bare repository whose HEAD is `refs/heads/main`, or completes a half-made one. One that is whole stays as it is.
    ///
    /// A new repository appears in one step; what a crash left is removed by the next call. Fails with `Conflict` where something
    /// else lies at `path`. One call for one path at a time.
    pub async fn init_bare(&self, path: &Path) -> Result<()> {
        self.init_bare_as(path, ObjectFormat::default()).await
    }

    /// The same with another object format. One that exists keeps its own.
    pub async fn init_bare_as(&self, path: &Path, format: ObjectFormat) -> Result<()> {
        bare::init(&self.runner, &absolute(path)?, format).await
    }

    /// Clones the bare repository at `from` into the folder `into`, which must not exist or be empty. Of an empty repository the clone
    /// starts with the branch that its HEAD names.
    pub async fn clone_to(&self, from: &Path, into: &Path) -> Result<Workspace> {
        let operation = "clone repository";
        let (from, into) = (absolute(from)?, absolute(into)?);
        if !is_bare(&from) {
            let message = format!("there is no bare repository at `{}`", from.display());
            return Err(Error::not_found(operation, message));
        }
        let format =
            self.runner.call(operation).repository(&from).args(["rev-parse", "--show-object-format"]);
        let format = String::from_utf8_lossy(&format.succeed().await?.stdout).trim_end().to_owned();
        // Before 2.41 a clone of an empty repository does not take over its format by itself.
        let call = self.runner.call(operation).protocols("file").env("GIT_DEFAULT_HASH", format);
        // Not as a local copy: that follows links within the repository.
        let args = ["clone", "--quiet", "--no-local", "--template=", "--no-recurse-submodules", "--"];
        call.args(args).args([&from, &into]).succeed().await?;
        Ok(self.workspace(into))
    }

    /// A clone that exists already.
    pub fn workspace(&self, folder: impl Into<PathBuf>) -> Workspace {
        Workspace { git: Self { runner: self.runner.clone() }, folder: folder.into() }
    }
}

impl Workspace {
    /// The clone's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Commits everything that differs, at the time `when` (whole seconds), so that the same files make the same commit anywhere.
    /// `None`: nothing differs.
    pub async fn commit_all(&self, message: &str, when: Timestamp) -> Result<Option<CommitId>> {
        let operation = "commit files";
        self.call(operation).args(["add", "--all", "--", "."]).succeed().await?;
        let differs =
            self.call(operation).args(["diff", "--cached", "--quiet", "--no-ext-diff"]).run().await?;
        match differs.code {
            Some(0) => return Ok(None),
            Some(1) => {}
            _ => return Err(differs.failure()),
        }
        let (name, address) = LocalGit::IDENTITY;
        let time = format!("@{} +0000", when.as_second());
        let call = ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"]
            .into_iter()
            .fold(self.call(operation), |call, key| call.env(key, name));
        let call = ["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"]
            .into_iter()
            .fold(call, |call, key| call.env(key, address));
        let call = ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"]
            .into_iter()
            .fold(call, |call, key| call.env(key, &time));
        let args = ["commit", "--quiet", "--no-verify", "--no-gpg-sign", "--cleanup=whitespace", "--file=-"];
        call.args(args).input(message).succeed().await?;
        self.head().await.map(Some)
    }

    /// The commit that the clone stands on.
    pub async fn head(&self) -> Result<CommitId> {
        let call = self.call("read head").args([
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            "HEAD^{commit}",
        ]);
        let output = call.run().await?;
        if output.code == Some(1) {
            return Err(Error::not_found("read head", "the clone has no commit yet"));
        }
        let output = output.success()?;
        Ok(CommitId::parse(String::from_utf8_lossy(&output.stdout).trim_end())?)
    }

    /// Pushes to the repository that this is a clone of, and waits for its hooks. A refspec is `SOURCE:TARGET`: the source `HEAD`, a full
    /// ref, a commit id, or empty to delete; the target a full ref; a `+` before them overwrites. Fails with `Invalid` for any other text.
    pub async fn push(&self, refspecs: &[&str]) -> Result<()> {
        let operation = "push";
        for refspec in refspecs {
            check_refspec(operation, refspec)?;
        }
        let call = self.call(operation).protocols("file");
        call.args(["push", "--quiet", "--no-recurse-submodules", "--end-of-options", "origin"])
            .args(refspecs)
            .succeed()
            .await?;
        Ok(())
    }

    fn call(&self, operation: &'static str) -> Call {
        self.git.runner.call(operation).directory(&self.folder)
    }
}

/// git works in a folder of its own, so a path from here must not depend on ours.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| bare::on_disk(path, error))
}

fn check_refspec(operation: &'static str, refspec: &str) -> Result<()> {
    let plain = refspec.strip_prefix('+').unwrap_or(refspec);
    let fine = plain.split_once(':').is_some_and(|(source, target)| {
        let source =
            matches!(source, "" | "HEAD") || GitRef::parse(source).is_ok() || CommitId::parse(source).is_ok();
        source && GitRef::parse(target).is_ok()
    });
    if fine {
        return Ok(());
    }
    Err(Error::invalid(operation, format!("`{}` is not a refspec of full refs", refspec.escape_debug()))
        .with_remedy("write it as `HEAD:refs/heads/main`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refspec_names_full_refs_and_is_never_an_option() {
        for good in ["HEAD:refs/heads/main", "+refs/heads/a:refs/heads/b", ":refs/tags/v1"] {
            assert!(check_refspec("push", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "main",
            "HEAD:main",
            "--mirror",
            "--receive-pack=touch pwned",
            "-f",
            "HEAD:refs/heads/../x",
            "a:refs/heads/b",
            "+",
        ] {
            assert!(check_refspec("push", bad).is_err(), "{bad}");
        }
    }
}
