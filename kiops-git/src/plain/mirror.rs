//! Repositories that are named by a URL: reached over the network, and mirrored on disk so that a commit is fetched once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiops_core::name::CommitId;
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::address::{self, Remote};
use super::bare::{self, ObjectFormat};
use super::config::PlainConfig;
use super::git::{Call, Runner};
use super::reach::peel;

/// A remote repository with what is needed to reach it.
#[derive(Debug, Clone)]
pub(super) struct Access {
    remote: Remote,
    credential: Option<(String, Secret)>,
    private: bool,
    ca_file: Option<PathBuf>,
    deadline: Duration,
}

const REACH: &str = "reach repository";

impl Access {
    /// Refuses an address without encryption that the configuration does not allow. Nothing is connected to yet.
    pub(super) fn new(
        config: &PlainConfig,
        remote: Remote,
        credential: Option<(String, Secret)>,
    ) -> Result<Self> {
        if !remote.is_encrypted() && !remote.is_at(&config.allow_http_hosts) {
            let message = format!("`{}` is not encrypted", remote.as_str());
            return Err(Error::new(ErrorKind::Forbidden, REACH, message)
                .with_remedy("use https, or add the host to allow_http_hosts"));
        }
        let private = remote.is_at(&config.allow_private_hosts);
        Ok(Self {
            remote,
            credential,
            private,
            ca_file: config.ca_file.clone(),
            deadline: config.fetch_time(),
        })
    }

    /// Looks the host up.
    async fn resolve(&self) -> Result<Vec<IpAddr>> {
        if let Some(ip) = self.remote.ip() {
            return Ok(vec![ip]);
        }
        let host = self.remote.host();
        let lookup = tokio::net::lookup_host((host.as_str(), self.remote.port()));
        let found = tokio::time::timeout(self.deadline, lookup).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, REACH, format!("looking up `{host}` took too long"))
        })?;
        let found = found.map_err(|error| {
            Error::unavailable(REACH, format!("the host `{host}` cannot be found"))
                .with_remedy("check the address and the name server")
                .with_source(error)
        })?;
        Ok(found.map(|address| address.ip()).collect())
    }

    pub(super) fn url(&self) -> &str {
        self.remote.as_str()
    }

    pub(super) fn into_credential(self) -> Option<(String, Secret)> {
        self.credential
    }

    /// Prepares a call that goes to this repository and nowhere else.
    ///
    /// The credential travels as a header in the call's environment: an address or an argument would show it to every user
    /// of the machine, and a credential helper is a shell command. Redirects are refused, so no other host gets to see it.
    ///
    /// The host is looked up here, and refused if an address of it is not public and the configuration does not allow that.
    pub(super) async fn prepare(&self, call: Call) -> Result<Call> {
        let pinned = self.remote.pinned(&self.resolve().await?, self.private)?;
        let mut call = call
            .protocols(if self.remote.is_encrypted() { "https" } else { "http" })
            .deadline(self.deadline)
            .config("http.followRedirects", "false")
            .config("http.proxy", "")
            .config("http.sslVerify", "true")
            .config("http.lowSpeedLimit", "1")
            .config("http.lowSpeedTime", "60");
        if let Some(pinned) = pinned {
            call = call.config("http.curloptResolve", pinned);
        }
        if let Some(file) = &self.ca_file {
            call = call.config("http.sslCAInfo", file.to_string_lossy());
        }
        if let Some((username, password)) = &self.credential {
            let pair = [username.as_bytes(), b":", password.expose()].concat();
            let basic = Secret::new(pair).map(|pair| STANDARD.encode(pair.expose())).and_then(Secret::new);
            let header = basic
                .as_ref()
                .and_then(|basic| Secret::new([b"Authorization: Basic ", basic.expose()].concat()));
            if let Some(header) = header {
                call = call.secret_config(
                    "http.extraHeader",
                    header,
                    basic.into_iter().chain([password.clone()]),
                );
            }
        }
        Ok(call)
    }
}

/// The folder of mirrors. Clones share their flights.
#[derive(Debug, Clone)]
pub(super) struct Mirrors {
    folder: PathBuf,
    flights: Arc<Mutex<HashMap<PathBuf, Flight>>>,
}

type Flight = Arc<tokio::sync::Mutex<Option<Landed>>>;

/// How the last fetch of a mirror went.
#[derive(Debug)]
struct Landed {
    started: Instant,
    failure: Option<Error>,
}

impl Landed {
    fn of(started: Instant, result: &Result<()>) -> Self {
        Self { started, failure: result.as_ref().err().map(Error::told_again) }
    }

    fn result(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |error| Err(error.told_again()))
    }
}

const FETCH: &str = "fetch repository";

impl Mirrors {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, flights: Arc::default() }
    }

    /// The mirror with ids as long as those `wanted`, after bringing what it lacks of them: every branch and tag, and then, what is
    /// still not there, by its id. What the host does not have is not there afterwards either, which is no error.
    ///
    /// One fetch of a mirror runs at a time. Who asked before it started takes its result, so that any number of questions at
    /// one time cost at most two fetches. A fetch goes on if its asker goes away.
    pub(super) async fn hold(
        &self,
        runner: &Runner,
        access: &Access,
        wanted: &[&CommitId],
    ) -> Result<PathBuf> {
        let long = wanted.iter().any(|id| id.as_str().len() == 64);
        let format = if long { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 };
        let path = self.path(access, format);
        if lacking(runner, &path, wanted).await.is_empty() {
            return Ok(path);
        }
        let asked = Instant::now();
        let flight = Arc::clone(
            self.flights.lock().unwrap_or_else(PoisonError::into_inner).entry(path.clone()).or_default(),
        );
        let wanted: Vec<CommitId> = wanted.iter().copied().cloned().collect();
        let (runner, access, mirror) = (runner.clone(), access.clone(), path.clone());
        let task: JoinHandle<Result<()>> = tokio::spawn(async move {
            let mut landed = flight.lock_owned().await;
            let wanted: Vec<&CommitId> = wanted.iter().collect();
            if lacking(&runner, &mirror, &wanted).await.is_empty() {
                return Ok(());
            }
            match landed.as_ref().filter(|landed| landed.started >= asked) {
                Some(landed) => landed.result()?,
                None => {
                    let started = Instant::now();
                    let result = heads_or_anew(&runner, &access, &mirror, format).await;
                    *landed = Some(Landed::of(started, &result));
                    result?;
                }
            }
            for commit in lacking(&runner, &mirror, &wanted).await {
                by_id(&runner, &access, &mirror, commit).await?;
            }
            Ok(())
        });
        task.await.map_err(|error| Error::internal(FETCH, error.to_string()))??;
        Ok(path)
    }

    /// Where a mirror is. The name is a hash: addresses hold characters that files should not.
    fn path(&self, access: &Access, format: ObjectFormat) -> PathBuf {
        let mut name = String::new();
        for byte in Sha256::digest(access.url().as_bytes()).iter().take(16) {
            let _ = write!(name, "{byte:02x}");
        }
        self.folder.join(format!("{name}-{}.git", format.name()))
    }
}

/// Which of the commits are not in a mirror. One that cannot be read has none of them.
async fn lacking<'a>(runner: &Runner, mirror: &Path, wanted: &[&'a CommitId]) -> Vec<&'a CommitId> {
    let found = match address::is_bare(mirror) {
        true => peel(runner, FETCH, mirror, wanted).await.unwrap_or_default(),
        false => Vec::new(),
    };
    let found = found.into_iter().chain(std::iter::repeat(None));
    wanted.iter().zip(found).filter(|(_, found)| found.is_none()).map(|(id, _)| *id).collect()
}

/// Fetches every branch and tag. A mirror is a cache: what a crash or a bad disk left behind is made anew, once.
async fn heads_or_anew(runner: &Runner, access: &Access, path: &Path, format: ObjectFormat) -> Result<()> {
    match heads(runner, access, path, format).await {
        Err(error)
            if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal | ErrorKind::Conflict) =>
        {
            tracing::warn!(mirror = %path.display(), %error, "making a mirror anew");
            tokio::fs::remove_dir_all(path).await.map_err(|error| bare::on_disk(path, error))?;
            heads(runner, access, path, format).await
        }
        result => result,
    }
}

async fn heads(runner: &Runner, access: &Access, path: &Path, format: ObjectFormat) -> Result<()> {
    bare::init(runner, path, format).await?;
    tracing::debug!(url = access.url(), "fetching");
    let call = access.prepare(runner.call(FETCH).repository(path)).await?;
    let call =
        FSCK_TOLERATES.iter().fold(call, |call, what| call.config(format!("fetch.fsck.{what}"), "ignore"));
    call.config("fetch.fsckObjects", "true")
        .config("fetch.recurseSubmodules", "false")
        // Packs pile up otherwise. What no ref reaches any more stays for a while: comparisons ask for what was built last.
        .config("gc.auto", "6700")
        .config("maintenance.auto", "true")
        .config("gc.autoDetach", "false")
        .config("maintenance.autoDetach", "false")
        .config("gc.pruneExpire", "90.days.ago")
        .args([
            "fetch",
            "--quiet",
            "--prune",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--end-of-options",
        ])
        .args([access.url(), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"])
        .succeed()
        .await?;
    Ok(())
}

/// Faults of old and harmless commits, which many public repositories have.
const FSCK_TOLERATES: [&str; 7] = [
    "missingSpaceBeforeDate",
    "badTimezone",
    "zeroPaddedFilemode",
    "zeroPaddedDate",
    "missingNameBeforeEmail",
    "missingTaggerEntry",
    "badDateOverflow",
];

/// Brings one commit that no branch or tag reaches. Not every host gives it, which is no error: the commit is then not there.
async fn by_id(runner: &Runner, access: &Access, path: &Path, commit: &CommitId) -> Result<()> {
    let call = access.prepare(runner.call(FETCH).repository(path)).await?;
    let args = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--end-of-options",
    ];
    let fetched = call.args(args).args([access.url(), commit.as_str()]).succeed().await;
    match fetched {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map(|_| ()),
    }
}
