//! Reaching a repository, whichever side of the network it is on: its refs, and a folder that holds its commits.

use std::path::{Path, PathBuf};

use kiops_core::event::Repository;
use kiops_core::name::CommitId;
use kiops_core::provider::Head;
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};

use super::address::{self, Address, Remote};
use super::git::Runner;
use super::mirror::{Access, Mirrors};
use super::{Plain, parse};

/// Where a repository is, ready to be asked.
pub(super) enum Place {
    Disk(PathBuf),
    Host(Access, Mirrors),
}

impl Plain {
    pub(super) async fn place(&self, repository: &Repository) -> Result<Place> {
        match Address::parse(&repository.path)? {
            Address::Local(path) => {
                let roots = self.config.roots.clone();
                let located = tokio::task::spawn_blocking(move || address::locate(&path, &roots)).await;
                located
                    .map_err(|error| Error::internal("open repository", error.to_string()))?
                    .map(Place::Disk)
            }
            Address::Remote(remote) => {
                let Some(mirrors) = self.mirrors.clone() else {
                    return Err(Error::new(
                        ErrorKind::Forbidden,
                        "open repository",
                        "repositories on hosts are turned off",
                    )
                    .with_remedy("set work_dir to a folder for mirrors"));
                };
                let credential = self.credential(&remote).await?;
                Ok(Place::Host(Access::new(&self.config, remote, credential)?, mirrors))
            }
        }
    }

    async fn credential(&self, remote: &Remote) -> Result<Option<(String, Secret)>> {
        let fitting = self
            .credentials
            .iter()
            .filter_map(|(prefix, credential)| Some((remote.covered_by(prefix)?, credential)));
        let Some((_, credential)) = fitting.max_by_key(|(length, _)| *length) else { return Ok(None) };
        let found = match &self.secrets {
            Some(secrets) => secrets.secret(&credential.password).await?,
            None => None,
        };
        let missing = || {
            Error::new(
                ErrorKind::Unauthorized,
                "read Git credential",
                format!("there is no secret `{}` for `{}`", credential.password, credential.url),
            )
            .with_remedy("store the password or token under that name")
        };
        Ok(Some((credential.username.clone(), found.ok_or_else(missing)?)))
    }

    /// Refs that match `patterns` (whole refs, or with a final `/*` everything below), with the commits they lead to.
    pub(super) async fn refs(
        &self,
        operation: &'static str,
        place: &Place,
        patterns: &[String],
    ) -> Result<Vec<Head>> {
        match place {
            Place::Disk(folder) => {
                let lines = self.ref_lines(operation, folder, patterns).await?;
                self.resolve(operation, folder, lines).await
            }
            Place::Host(access, _) => {
                let call = access.prepare(self.runner.call(operation)).await?.cap(self.config.max_list_bytes);
                let call = call.args(["ls-remote", "--quiet", "--end-of-options", access.url()]);
                // Asked for a tag by name, a host adds the commit only if that is asked for too.
                let peeled = patterns.iter().map(|pattern| format!("{pattern}^{{}}"));
                let output = call.args(patterns).args(peeled).succeed().await?;
                Ok(parse::remote_refs(&output.whole()?))
            }
        }
    }

    pub(super) async fn ref_lines(
        &self,
        operation: &'static str,
        folder: &Path,
        patterns: &[String],
    ) -> Result<Vec<parse::RefLine>> {
        let call = self.runner.call(operation).repository(folder).cap(self.config.max_list_bytes);
        let call = call.args(["for-each-ref", "--format=%(objectname) %(refname)", "--end-of-options"]);
        let output =
            call.args(patterns.iter().map(|pattern| pattern.trim_end_matches('*'))).succeed().await?;
        Ok(parse::refs(&output.whole()?))
    }

    pub(super) async fn resolve(
        &self,
        operation: &'static str,
        folder: &Path,
        lines: Vec<parse::RefLine>,
    ) -> Result<Vec<Head>> {
        let objects: Vec<&CommitId> = lines.iter().map(|line| &line.object).collect();
        let commits = peel(&self.runner, operation, folder, &objects).await?;
        let heads = lines.into_iter().zip(commits);
        let head = |(line, commit): (parse::RefLine, Option<CommitId>)| {
            let commit = commit?;
            let object = (line.object != commit).then_some(line.object);
            Some(Head { git_ref: line.git_ref, commit, object })
        };
        Ok(heads.filter_map(head).collect())
    }

    /// The folder that holds `ids`, and the commit that each leads to; `NotFound` if one is not in the repository.
    pub(super) async fn commits<const N: usize>(
        &self,
        operation: &'static str,
        repository: &Repository,
        ids: [&CommitId; N],
    ) -> Result<(PathBuf, [CommitId; N])> {
        let (folder, found) = match self.place(repository).await? {
            Place::Disk(folder) => {
                let found = peel(&self.runner, operation, &folder, &ids).await?;
                (folder, found)
            }
            Place::Host(access, mirrors) => {
                let folder = mirrors.hold(&self.runner, &access, &ids).await?;
                let found = peel(&self.runner, operation, &folder, &ids).await?;
                (folder, found)
            }
        };
        let mut commits = Vec::with_capacity(N);
        for (id, commit) in ids.iter().zip(found) {
            commits.push(commit.ok_or_else(|| {
                Error::not_found(operation, format!("there is no commit {id} in `{}`", repository.path))
                    .with_remedy("push again: the commit may have been removed by a force push")
            })?);
        }
        let commits =
            commits.try_into().map_err(|_| Error::internal(operation, "git answered for fewer commits"))?;
        Ok((folder, commits))
    }
}

/// The commit that each id leads to in a repository on disk.
pub(super) async fn peel(
    runner: &Runner,
    operation: &'static str,
    folder: &Path,
    ids: &[&CommitId],
) -> Result<Vec<Option<CommitId>>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let questions: String = ids.iter().map(|id| format!("{id}^{{commit}}\n")).collect();
    let call = runner.call(operation).repository(folder).cap(ids.len().saturating_mul(256));
    let output = call.args(["cat-file", "--batch-check"]).input(questions).succeed().await?;
    Ok(parse::peeled(&output.whole()?, ids))
}
