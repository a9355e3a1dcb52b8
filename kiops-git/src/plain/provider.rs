//! Plain Git repositories as a [`GitProvider`].

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, CommitId, GitRef, ProviderLiteral, ProviderName};
use kiops_core::provider::{
    CloneAccess, CloneCredential, Commit, Comparison, GitProvider, Head, Page, Relation, RepositoryInfo,
    Search, TreeEntry, TreeQuery,
};
use kiops_core::secret::SecretSource;
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use url::Url;

use super::address::Remote;
use super::config::{PlainConfig, PlainCredential};
use super::git::Runner;
use super::mirror::Mirrors;
use super::reach::Place;
use super::{archive, parse, repositories};
use crate::shape::{check_path, or_none, page};

const NAME: ProviderLiteral = ProviderLiteral::new("plain");
const COMMIT_MAX: usize = 1024 * 1024;

/// Repositories that need no host software: bare ones on disk, and any that `git` reaches by `https`.
///
/// [`Repository::path`] is the absolute path of a bare repository, its `file:` address, or an `https` address (`http` for hosts
/// that the configuration names); `id` is not used. What a repository on disk answers is read from it at each call; of one
/// named by an address, refs are asked for at each call, and commits are fetched once into a mirror below `work_dir`.
///
/// Beyond what [`GitProvider`] guarantees:
/// - Errors are told apart by kind: `Invalid` (no address, path or name could be that), `Forbidden` (the configuration does not
///   allow it, or the host does not), `NotFound`, `Unauthorized`, `Timeout`, `Unavailable`, `Full`, `Corrupt`, `TooLarge`.
/// - Refs whose names kiops has no type for (not UTF-8, starting with a hyphen) are left out of lists; a tag that leads to no
///   commit is left out on disk, and stands for its object on a host, which does not tell.
/// - Paths in a repository that are not UTF-8 are shown with replacement characters.
/// - Attributes in the repository (`export-ignore`, `eol`) do not change an archive: it is the tree as committed.
/// - Any number of calls may run at a time; dropping one ends what it started.
#[derive(Debug)]
pub struct Plain {
    pub(super) config: PlainConfig,
    pub(super) runner: Runner,
    pub(super) mirrors: Option<Mirrors>,
    pub(super) credentials: Vec<(Remote, PlainCredential)>,
    pub(super) secrets: Option<Arc<dyn SecretSource>>,
}

impl Plain {
    /// A provider. Refuses (kind `Invalid`) folders that are not absolute and credentials for what is no address.
    pub fn new(config: PlainConfig) -> Result<Self> {
        let operation = "read plain Git settings";
        for folder in config.roots.iter().chain(&config.work_dir) {
            if !folder.is_absolute() {
                return Err(Error::invalid(
                    operation,
                    format!("`{}` is not an absolute path", folder.display()),
                )
                .with_remedy("give roots and work_dir as absolute paths"));
            }
        }
        let parsed = config
            .credentials
            .iter()
            .map(|credential| Ok((Remote::parse(&credential.url)?, credential.clone())));
        let credentials = parsed.collect::<Result<Vec<_>>>()?;
        if let Some((_, bad)) = credentials.iter().find(|(_, credential)| {
            credential.username.contains(':') || credential.username.chars().any(char::is_control)
        }) {
            return Err(Error::invalid(
                operation,
                format!("the user name for `{}` has a colon or control characters", bad.url),
            ));
        }
        Ok(Self {
            runner: Runner::new(&config.program, config.command_time(), config.processes),
            mirrors: config.work_dir.as_ref().map(|folder| Mirrors::new(folder.join("mirrors"))),
            credentials,
            secrets: None,
            config,
        })
    }

    /// The same with the place where the passwords of its credentials are kept.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Arc<dyn SecretSource>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    async fn is_ancestor(&self, folder: &Path, ancestor: &CommitId, of: &CommitId) -> Result<bool> {
        let call = self.runner.call(COMPARE).repository(folder);
        let call =
            call.args(["merge-base", "--is-ancestor", "--end-of-options", ancestor.as_str(), of.as_str()]);
        let output = call.run().await?;
        match output.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(output.failure()),
        }
    }

    async fn default_branch(&self, folder: &str) -> Option<BranchName> {
        let call = self.runner.call("read HEAD").repository(folder.as_ref());
        let output = call.args(["symbolic-ref", "--quiet", "HEAD"]).succeed().await.ok()?;
        let name = String::from_utf8(output.stdout).ok()?;
        GitRef::parse(name.trim_end()).ok()?.branch().cloned()
    }

    /// The id of what lies at `path` in a commit's tree; `None`: nothing.
    async fn object_at(
        &self,
        operation: &'static str,
        folder: &Path,
        commit: &CommitId,
        path: &str,
    ) -> Result<Option<String>> {
        // Not `rev-parse COMMIT:PATH`, which takes a name with `..` in it for a range.
        let call = self.runner.call(operation).repository(folder).env("GIT_LITERAL_PATHSPECS", "1");
        let call =
            call.args(["ls-tree", "-z", "--full-tree", "--end-of-options", commit.as_str(), "--", path]);
        let output = call.succeed().await?;
        Ok(parse::object_named(&output.stdout, path))
    }
}

const COMPARE: &str = "compare commits";

#[async_trait]
impl GitProvider for Plain {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    /// Bare repositories below the allowed folders, in path order. Those on hosts are not listed: git has no call for that.
    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let roots = self.config.roots.clone();
        let found = tokio::task::spawn_blocking(move || repositories::find(&roots)).await;
        let found = found.map_err(|error| Error::internal("list repositories", error.to_string()))?;
        let page = page(found, search, String::as_str);
        let mut items = Vec::with_capacity(page.items.len());
        for path in page.items {
            let default_branch = self.default_branch(&path).await;
            items.push(RepositoryInfo {
                repository: Repository { id: None, path },
                default_branch,
                web_url: None,
            });
        }
        Ok(Page { items, next: page.next })
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        let operation = "list branches";
        let name = |git_ref: &GitRef| git_ref.branch().map_or_else(String::new, ToString::to_string);
        let all = ["refs/heads/*".to_owned()];
        match self.place(repository).await? {
            Place::Disk(folder) => {
                let mut lines = self.ref_lines(operation, &folder, &all).await?;
                lines.sort_unstable_by_key(|line| name(&line.git_ref));
                let page = page(lines, search, |line| line.git_ref.branch().map_or("", BranchName::as_str));
                Ok(Page { items: self.resolve(operation, &folder, page.items).await?, next: page.next })
            }
            host @ Place::Host(..) => {
                let mut heads = self.refs(operation, &host, &all).await?;
                heads.retain(|head| head.git_ref.branch().is_some());
                heads.sort_unstable_by_key(|head| name(&head.git_ref));
                Ok(page(heads, search, |head| head.git_ref.branch().map_or("", BranchName::as_str)))
            }
        }
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        let place = self.place(repository).await?;
        let mut heads =
            self.refs("list heads", &place, &["refs/heads/*".to_owned(), "refs/tags/*".to_owned()]).await?;
        heads.retain(|head| head.git_ref.branch().is_some() || head.git_ref.tag().is_some());
        Ok(heads)
    }

    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        let heads = async {
            let place = self.place(repository).await?;
            self.refs("read head", &place, &[git_ref.to_string()]).await
        };
        let heads = or_none(heads.await)?.unwrap_or_default();
        // Git also lists refs below the one asked for, and refs that only end like it.
        Ok(heads.into_iter().find(|head| head.git_ref == *git_ref).map(|head| head.commit))
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        let operation = "read commit";
        let Some((folder, [id])) = or_none(self.commits(operation, repository, [commit]).await)? else {
            return Ok(None);
        };
        let call = self.runner.call(operation).repository(&folder).cap(COMMIT_MAX);
        let output = call.args(["cat-file", "--batch"]).input(format!("{id}\n")).succeed().await?;
        match parse::object(&output.stdout) {
            Some(("commit", _, content)) => parse::commit(operation, id, content).map(Some),
            _ => Err(Error::corrupt(operation, format!("commit {id} cannot be read"))
                .with_remedy("run `git fsck` in the repository")),
        }
    }

    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        let (folder, [from, to]) = self.commits(COMPARE, repository, [from, to]).await?;
        let call = self.runner.call(COMPARE).repository(&folder).cap(self.config.max_list_bytes);
        // Without looking for renames both names are listed, which is what watch paths need (E62).
        let call = call.args([
            "diff-tree",
            "-r",
            "-z",
            "--name-status",
            "--no-renames",
            "--no-ext-diff",
            "--end-of-options",
        ]);
        let output = call.args([from.as_str(), to.as_str()]).succeed().await?;
        let files = parse::changes(&output.stdout, output.truncated, self.config.max_changed_files);
        let relation = if from == to {
            Relation::Same
        } else if self.is_ancestor(&folder, &from, &to).await? {
            Relation::Ahead
        } else if self.is_ancestor(&folder, &to, &from).await? {
            Relation::Behind
        } else {
            Relation::Diverged
        };
        Ok(Comparison { files, relation })
    }

    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        let operation = "list folder";
        check_path(operation, &query.folder, true)?;
        let (folder, [commit]) = self.commits(operation, repository, [commit]).await?;
        let missing = || {
            Error::not_found(
                operation,
                format!("there is no folder `{}` in commit {commit}", query.folder.escape_debug()),
            )
        };
        let object = match query.folder.as_str() {
            "" => commit.to_string(),
            path => self.object_at(operation, &folder, &commit, path).await?.ok_or_else(missing)?,
        };
        let call = self.runner.call(operation).repository(&folder).cap(self.config.max_list_bytes);
        let call = call.args(["ls-tree", "-z", "-l", "--full-tree"]);
        let call = if query.recursive { call.args(["-r", "-t"]) } else { call };
        let output = call.args(["--end-of-options", &object]).run().await?;
        if output.code == Some(128) && output.failure().message().contains("not a tree object") {
            return Err(missing());
        }
        let output = output.success()?;
        let mut entries = parse::tree(&output.stdout, &query.folder);
        entries.truncate(query.limit);
        Ok(entries)
    }

    /// The content of a file; of a symbolic link, the path that it points at.
    async fn file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        let operation = "read file";
        check_path(operation, path, false)?;
        let Some((folder, [commit])) = or_none(self.commits(operation, repository, [commit]).await)? else {
            return Ok(None);
        };
        let Some(object) = self.object_at(operation, &folder, &commit, path).await? else { return Ok(None) };
        let call = self.runner.call(operation).repository(&folder).cap(cap.saturating_add(256));
        let output = call.args(["cat-file", "--batch"]).input(format!("{object}\n")).succeed().await?;
        // Anything else is a folder or a submodule.
        let Some(("blob", size, content)) = parse::object(&output.stdout) else { return Ok(None) };
        if size > cap {
            let shown = path.escape_debug();
            return Err(Error::new(
                ErrorKind::TooLarge,
                operation,
                format!("`{shown}` has {size} bytes, the limit is {cap}"),
            ));
        }
        if content.len() != size {
            return Err(Error::unavailable(operation, "git ended within the file"));
        }
        Ok(Some(Bytes::copy_from_slice(content)))
    }

    /// See [`GitProvider::archive`]. Files have the commit's time, user and group 0, and modes 644 or 755; the stream starts with a
    /// PAX header that names the commit, and submodules are empty folders.
    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let operation = "archive commit";
        let (folder, [commit]) = self.commits(operation, repository, [commit]).await?;
        let call = self.runner.call(operation).repository(&folder).config("tar.umask", "0022");
        // Attributes are read from the empty tree instead of the commit's own.
        let empty = match commit.as_str().len() {
            64 => "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
            _ => "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        };
        let call = call.env("GIT_ATTR_SOURCE", empty);
        let call = call.args([
            "archive",
            "--format=tar",
            "--worktree-attributes",
            "--end-of-options",
            commit.as_str(),
        ]);
        archive::stream(&call, self.config.max_archive_bytes)
    }

    /// The `file:` address of a repository on disk; that of one on a host with its configured credential, which does not end by itself.
    async fn clone_access(&self, repository: &Repository, _commit: &CommitId) -> Result<CloneAccess> {
        match self.place(repository).await? {
            Place::Disk(folder) => {
                let url = Url::from_file_path(&folder)
                    .map_err(|()| Error::internal("make clone address", "the path is not absolute"))?;
                Ok(CloneAccess { url: url.into(), credential: None, expires_at: None })
            }
            Place::Host(access, _) => {
                let url = access.url().to_owned();
                let credential = access
                    .into_credential()
                    .map(|(username, password)| CloneCredential { username, password });
                Ok(CloneAccess { url, credential, expires_at: None })
            }
        }
    }
}
