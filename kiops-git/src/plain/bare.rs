//! Making bare repositories that are either whole or not there.

use std::path::{Path, PathBuf};

use kiops_core::{Error, ErrorKind, Result};
use tokio::fs;

use super::address::is_bare;
use super::git::Runner;

const OPERATION: &str = "create repository";

/// How a repository names its objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObjectFormat {
    /// 40 hexadecimal digits.
    #[default]
    Sha1,
    /// 64 hexadecimal digits.
    Sha256,
}

impl ObjectFormat {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

/// Makes a bare repository whose HEAD is `refs/heads/main` at `path`, or completes one.
///
/// A new one is made beside its place and moved there, so that a crash leaves nothing half-made; the leftovers of a crash
/// are removed by the next call. A whole repository is left as it is. Two calls for one path at a time are the caller's to avoid.
pub(super) async fn init(runner: &Runner, path: &Path, format: ObjectFormat) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::invalid(OPERATION, format!("`{}` cannot be a repository", path.display())));
    };
    let disk = |error: std::io::Error| on_disk(path, error);
    if is_whole(runner, path).await? {
        return Ok(());
    }
    fs::create_dir_all(parent).await.map_err(disk)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let new = parent.join(hidden);
    match fs::remove_dir_all(&new).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(disk(error)),
        _ => {}
    }
    if let Some(entries) = entries(path).await.map_err(disk)? {
        return complete(runner, path, &entries, format).await;
    }
    make(runner, &new, format).await?;
    fs::rename(&new, path).await.map_err(disk)
}

async fn make(runner: &Runner, at: &Path, format: ObjectFormat) -> Result<()> {
    let object_format = format!("--object-format={}", format.name());
    let args = ["init", "--bare", "--quiet", "--template=", "--initial-branch=main", &object_format, "--"];
    runner.call(OPERATION).args(args).args([at]).succeed().await?;
    // Said in the repository itself, so that a pusher's own core.hooksPath does not keep its hooks from running.
    let args = ["config", "--file", "config", "core.hooksPath", "hooks"];
    runner.call(OPERATION).args(args).directory(at).succeed().await?;
    fs::create_dir_all(at.join("hooks")).await.map_err(|error| on_disk(at, error))
}

/// Finishes what another program, or a crash of it, left at the path: only if nothing but a repository's parts lies there.
async fn complete(runner: &Runner, path: &Path, entries: &[PathBuf], format: ObjectFormat) -> Result<()> {
    const PARTS: [&str; 10] = [
        "HEAD",
        "branches",
        "config",
        "description",
        "hooks",
        "info",
        "logs",
        "objects",
        "packed-refs",
        "refs",
    ];
    let part = |name: &str| PARTS.contains(&name.strip_suffix(".lock").unwrap_or(name));
    let disk = |error: std::io::Error| on_disk(path, error);
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if !part(&name) {
            return Err(Error::conflict(
                OPERATION,
                format!("`{}` holds something that is no repository", path.display()),
            )
            .with_remedy("choose another folder, or empty this one"));
        }
        if name.ends_with(".lock") {
            fs::remove_file(entry).await.map_err(disk)?;
        }
    }
    // A HEAD or config that a crash left empty is worse than none.
    for name in ["HEAD", "config"] {
        let file = path.join(name);
        if fs::metadata(&file).await.is_ok_and(|facts| facts.len() == 0) {
            fs::remove_file(&file).await.map_err(disk)?;
        }
    }
    make(runner, path, format).await?;
    let args = ["symbolic-ref", "HEAD", "refs/heads/main"];
    runner.call(OPERATION).repository(path).args(args).succeed().await?;
    Ok(())
}

async fn is_whole(runner: &Runner, path: &Path) -> Result<bool> {
    if !is_bare(path) {
        return Ok(false);
    }
    let args = ["rev-parse", "--is-bare-repository"];
    let answer = runner.call(OPERATION).repository(path).args(args).run().await?;
    Ok(answer.code == Some(0) && answer.stdout.starts_with(b"true"))
}

/// What lies in a folder; `None` if there is no folder or nothing in it.
async fn entries(folder: &Path) -> std::io::Result<Option<Vec<PathBuf>>> {
    let mut reader = match fs::read_dir(folder).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        reader => reader?,
    };
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().await? {
        found.push(entry.path());
    }
    Ok((!found.is_empty()).then_some(found))
}

/// What a failure of the file system means.
pub(super) fn on_disk(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Forbidden,
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "use folder", format!("`{}`: {error}", path.display()))
        .with_remedy("check the folder, its rights and the free space")
        .with_source(error)
}
