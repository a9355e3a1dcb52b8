//! Repositories that are named by a URL: reached over the network, and mirrored on disk so that a commit is fetched once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use kiops_core::name::CommitId;
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result, Retry};
use sha2::{Digest as _, Sha256};

use super::address::Remote;
use super::bare::{self, ObjectFormat};
use super::config::PlainConfig;
use super::git::{Call, Runner};

/// A remote repository with what is needed to reach it.
#[derive(Debug, Clone)]
pub(super) struct Access {
    remote: Remote,
    credential: Option<(String, Secret)>,
    pinned: Option<String>,
    ca_file: Option<PathBuf>,
    deadline: Duration,
}

impl Access {
    /// Looks the host up and refuses addresses that the configuration does not allow.
    pub(super) async fn new(
        config: &PlainConfig,
        remote: Remote,
        credential: Option<(String, Secret)>,
    ) -> Result<Self> {
        let operation = "reach repository";
        if !remote.is_encrypted() && !remote.is_at(&config.allow_http_hosts) {
            let message = format!("`{}` is not encrypted", remote.as_str());
            return Err(Error::new(ErrorKind::Forbidden, operation, message)
                .with_remedy("use https, or add the host to allow_http_hosts"));
        }
        let deadline = config.fetch_time();
        let resolved: Vec<IpAddr> = match remote.ip() {
            Some(ip) => vec![ip],
            None => {
                let host = remote.host();
                let lookup = tokio::net::lookup_host((host.as_str(), remote.port()));
                let found = tokio::time::timeout(deadline, lookup).await.map_err(|_| {
                    Error::new(ErrorKind::Timeout, operation, format!("looking up `{host}` took too long"))
                })?;
                let found = found.map_err(|error| {
                    Error::unavailable(operation, format!("the host `{host}` cannot be found"))
                        .with_remedy("check the address and the name server")
                        .with_source(error)
                })?;
                found.map(|address| address.ip()).collect()
            }
        };
        let pinned = remote.pinned(&resolved, remote.is_at(&config.allow_private_hosts))?;
        Ok(Self { remote, credential, pinned, ca_file: config.ca_file.clone(), deadline })
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
    pub(super) fn prepare(&self, call: Call) -> Call {
        let mut call = call
            .protocols(if self.remote.is_encrypted() { "https" } else { "http" })
            .deadline(self.deadline)
            .config("http.followRedirects", "false")
            .config("http.proxy", "")
            .config("http.sslVerify", "true")
            .config("http.lowSpeedLimit", "1")
            .config("http.lowSpeedTime", "60");
        if let Some(pinned) = &self.pinned {
            call = call.config("http.curloptResolve", pinned);
        }
        if let Some(file) = &self.ca_file {
            call = call.config("http.sslCAInfo", file.to_string_lossy());
        }
        if let Some((username, password)) = &self.credential {
            let mut pair = format!("{username}:").into_bytes();
            pair.extend_from_slice(password.expose());
            let basic = base64::engine::general_purpose::STANDARD.encode(pair);
            call = call.config("http.extraHeader", format!("Authorization: Basic {basic}")).hidden(basic);
            if let Some(password) = password.expose_str() {
                call = call.hidden(password.to_owned());
            }
        }
        call
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
    failure: Option<(ErrorKind, Retry, String, Option<String>)>,
}

impl Landed {
    fn result(&self) -> Result<()> {
        let Some((kind, retry, message, remedy)) = &self.failure else { return Ok(()) };
        let error = Error::new(*kind, FETCH, message.clone()).with_retry(*retry);
        Err(match remedy {
            Some(remedy) => error.with_remedy(remedy.clone()),
            None => error,
        })
    }
}

const FETCH: &str = "fetch repository";

impl Mirrors {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, flights: Arc::default() }
    }

    /// Where the mirror with ids as long as `id` is. The name is a hash: addresses hold characters that files should not.
    pub(super) fn path(&self, access: &Access, id: &CommitId) -> (PathBuf, ObjectFormat) {
        let format = if id.as_str().len() == 64 { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 };
        let mut name = String::new();
        for byte in Sha256::digest(access.url().as_bytes()).iter().take(16) {
            let _ = write!(name, "{byte:02x}");
        }
        (self.folder.join(format!("{name}-{}.git", format.name())), format)
    }

    /// Brings every branch and tag, and then, if it is still not there, `commit` by its id.
    ///
    /// One fetch of a mirror runs at a time. Who asked before it started takes its result, so that any number of questions at
    /// one time cost at most two fetches. A fetch goes on if its asker goes away.
    pub(super) async fn fetch(
        &self,
        runner: &Runner,
        access: &Access,
        mirror: (PathBuf, ObjectFormat),
        commit: Option<CommitId>,
    ) -> Result<()> {
        let asked = Instant::now();
        let flight = Arc::clone(
            self.flights.lock().unwrap_or_else(PoisonError::into_inner).entry(mirror.0.clone()).or_default(),
        );
        let (runner, access) = (runner.clone(), access.clone());
        let task = tokio::spawn(async move {
            let mut landed = flight.lock_owned().await;
            let (path, format) = mirror;
            if let Some(commit) = commit {
                return by_id(&runner, &access, &path, &commit).await;
            }
            if let Some(landed) = landed.as_ref().filter(|landed| landed.started >= asked) {
                return landed.result();
            }
            let started = Instant::now();
            let mut result = heads(&runner, &access, &path, format).await;
            if let Err(error) = &result
                && matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal | ErrorKind::Conflict)
            {
                // A mirror is a cache: what a crash or a bad disk left behind is made anew, once.
                tracing::warn!(mirror = %path.display(), %error, "making a mirror anew");
                tokio::fs::remove_dir_all(&path).await.map_err(|error| bare::on_disk(&path, error))?;
                result = heads(&runner, &access, &path, format).await;
            }
            let failure = result.as_ref().err().map(|error| {
                (error.kind(), error.retry(), error.message().to_owned(), error.remedy().map(str::to_owned))
            });
            *landed = Some(Landed { started, failure });
            result
        });
        task.await.map_err(|error| Error::internal(FETCH, error.to_string()))?
    }
}

async fn heads(runner: &Runner, access: &Access, path: &Path, format: ObjectFormat) -> Result<()> {
    bare::init(runner, path, format).await?;
    tracing::debug!(url = access.url(), "fetching");
    let call = access.prepare(runner.call(FETCH).repository(path));
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
    let call = access.prepare(runner.call(FETCH).repository(path));
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
