//! Running the `git` command: no shell, an environment of our own, a deadline and a cap on every call.
//!
//! The environment is cleared and built anew, so that neither the machine's nor the user's configuration, credentials,
//! replace refs or hooks change what a call does. Configuration travels in `GIT_CONFIG_*` variables, never in arguments:
//! other users of the machine can read a process's arguments, not its environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::failure;

const STDERR_KEPT: usize = 8 * 1024;
const DEFAULT_CAP: usize = 1024 * 1024;

/// The `git` program and how many of it may run.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    program: PathBuf,
    deadline: Duration,
    local: Arc<Semaphore>,
    remote: Arc<Semaphore>,
}

impl Runner {
    /// A runner whose calls take at most `deadline` unless they say otherwise, `processes` of them at a time.
    pub(super) fn new(program: impl Into<PathBuf>, deadline: Duration, processes: usize) -> Self {
        let permits = || Arc::new(Semaphore::new(processes.clamp(1, 1024)));
        Self { program: program.into(), deadline, local: permits(), remote: permits() }
    }

    /// A call that is not made yet. `operation` names it in errors.
    pub(super) fn call(&self, operation: &'static str) -> Call {
        Call {
            runner: self.clone(),
            operation,
            args: Vec::new(),
            directory: None,
            environment: Vec::new(),
            config: Vec::new(),
            secrets: Vec::new(),
            hidden: Vec::new(),
            protocols: "",
            input: Vec::new(),
            deadline: self.deadline,
            cap: DEFAULT_CAP,
        }
    }
}

/// One call of `git`.
pub(super) struct Call {
    runner: Runner,
    operation: &'static str,
    args: Vec<OsString>,
    directory: Option<PathBuf>,
    environment: Vec<(&'static str, OsString)>,
    config: Vec<(String, String)>,
    secrets: Vec<(&'static str, Secret)>,
    hidden: Vec<Secret>,
    protocols: &'static str,
    input: Vec<u8>,
    deadline: Duration,
    cap: usize,
}

impl Call {
    /// Adds arguments. Whatever comes from outside stands behind `--end-of-options` or `--`, or is parsed.
    #[must_use]
    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Works on a bare repository. An explicit `GIT_DIR` is never searched for, and its owner is not asked about.
    #[must_use]
    pub(super) fn repository(mut self, folder: &Path) -> Self {
        self.directory = Some(folder.to_owned());
        self.env("GIT_DIR", folder)
    }

    /// Works in a folder.
    #[must_use]
    pub(super) fn directory(mut self, folder: &Path) -> Self {
        self.directory = Some(folder.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub(super) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Sets a configuration value for this call.
    #[must_use]
    pub(super) fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((key.into(), value.into()));
        self
    }

    /// Sets a configuration value that nobody may see. git's messages are not repeated with any of `parts` in them.
    #[must_use]
    pub(super) fn secret_config(
        mut self,
        key: &'static str,
        value: Secret,
        parts: impl IntoIterator<Item = Secret>,
    ) -> Self {
        self.secrets.push((key, value));
        self.hidden.extend(parts);
        self
    }

    /// Allows transports (`https`, or several joined by `:`). Without this a call reaches none.
    #[must_use]
    pub(super) const fn protocols(mut self, protocols: &'static str) -> Self {
        self.protocols = protocols;
        self
    }

    /// What the call reads from its standard input.
    #[must_use]
    pub(super) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Another deadline than the runner's.
    #[must_use]
    pub(super) const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many bytes of standard output are kept (1 MiB otherwise). At more the call ends and its output is marked as cut.
    #[must_use]
    pub(super) const fn cap(mut self, cap: usize) -> Self {
        self.cap = cap;
        self
    }

    /// Runs the call and gives what it printed, whatever its exit code.
    ///
    /// An error means that git could not be run or did not end in time; it and everything that it started are killed then,
    /// as they are when the returned future is dropped.
    pub(super) async fn run(self) -> Result<Output> {
        let permits = if self.protocols.is_empty() { &self.runner.local } else { &self.runner.remote };
        let _permit =
            permits.acquire().await.map_err(|error| Error::internal(self.operation, error.to_string()))?;
        let mut running = self.start()?;
        match tokio::time::timeout(self.deadline, running.drive(&self.input, self.cap)).await {
            Ok(Ok((code, stdout, truncated, stderr))) => {
                Ok(Output { code, stdout, truncated, stderr, operation: self.operation, hidden: self.hidden })
            }
            Ok(Err(error)) => Err(failure::not_run(self.operation, &self.runner.program, error)),
            Err(_) => Err(failure::too_slow(self.operation, self.deadline)),
        }
    }

    /// Runs the call and gives what it printed, or what its failure means.
    pub(super) async fn succeed(self) -> Result<Output> {
        self.run().await?.success()
    }

    /// Starts the call and gives it to a caller that reads the output itself.
    pub(super) fn start(&self) -> Result<Running> {
        let mut command = Command::new(&self.runner.program);
        command.args(&self.args).env_clear();
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        command.env("PATH", path);
        command.envs(HERMETIC);
        command.env("GIT_ALLOW_PROTOCOL", self.protocols);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value.as_os_str())));
        let directory = self.directory.as_ref();
        let safe =
            directory.map(|folder| ("safe.directory".to_owned(), folder.to_string_lossy().into_owned()));
        let fixed = QUIET.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let plain = fixed.chain(safe).chain(self.config.iter().cloned());
        let plain = plain.map(|(key, value)| (key, OsString::from(value)));
        let secret = self
            .secrets
            .iter()
            .map(|(key, value)| ((*key).to_owned(), OsStr::from_bytes(value.expose()).to_owned()));
        let mut count = 0;
        for (key, value) in plain.chain(secret) {
            command
                .env(format!("GIT_CONFIG_KEY_{count}"), key)
                .env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        command.current_dir(directory.map_or_else(|| Path::new("/"), PathBuf::as_path));
        command.stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that helpers (git-remote-https, index-pack) can be ended with it.
        command.process_group(0).kill_on_drop(true);
        let child =
            command.spawn().map_err(|error| failure::not_run(self.operation, &self.runner.program, error))?;
        Ok(Running { child })
    }

    pub(super) const fn operation(&self) -> &'static str {
        self.operation
    }

    pub(super) const fn time(&self) -> Duration {
        self.deadline
    }
}

/// The environment of every call.
const HERMETIC: [(&str, &str); 13] = [
    ("LC_ALL", "C"),
    // curl reads ~/.netrc, and without HOME it asks the password database for one.
    ("HOME", "/dev/null"),
    ("XDG_CONFIG_HOME", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", ""),
    ("GIT_NO_LAZY_FETCH", "1"),
    // A pushed refs/replace/... would give a commit another content than its id says.
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PAGER", ""),
    ("GIT_EDITOR", "false"),
];

/// The configuration of every call; it wins over that of the repository.
const QUIET: [(&str, &str); 8] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
];

/// A started call. Dropped before it ended, it is killed with everything that it started.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
}

type Driven = (Option<i32>, Vec<u8>, bool, Vec<u8>);

impl Running {
    /// Standard output and standard error, once.
    pub(super) fn pipes(
        &mut self,
    ) -> (Option<tokio::process::ChildStdout>, Option<tokio::process::ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// The exit code, `None` after a signal.
    pub(super) async fn code(&mut self) -> std::io::Result<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }

    async fn drive(&mut self, input: &[u8], cap: usize) -> std::io::Result<Driven> {
        let stdin = self.child.stdin.take();
        let (stdout, stderr) = self.pipes();
        let group = self.group();
        let write = async move {
            if let Some(mut stdin) = stdin {
                // A call that has read enough may close its end; its exit code tells whether that was well.
                let _ = stdin.write_all(input).await;
            }
        };
        let read = async move {
            let Some(stdout) = stdout else { return Ok((Vec::new(), false)) };
            let read = read_up_to(stdout, cap).await;
            if matches!(read, Ok((_, true))) {
                kill(group);
            }
            read
        };
        let errors = async move {
            match stderr {
                Some(stderr) => read_end(stderr).await,
                None => Vec::new(),
            }
        };
        let ((), read, errors) = future::join3(write, read, errors).await;
        let (stdout, truncated) = read?;
        Ok((self.code().await?, stdout, truncated, errors))
    }

    fn group(&self) -> Option<Pid> {
        // None once the process was waited for: its number may belong to another one by then.
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill(self.group());
    }
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended just now, which is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

async fn read_up_to(mut from: impl AsyncRead + Unpin, cap: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut all = Vec::new();
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    (&mut from).take(limit).read_to_end(&mut all).await?;
    let truncated = all.len() > cap;
    all.truncate(cap);
    Ok((all, truncated))
}

/// Reads to the end and keeps the last few KiB, from the start of a line.
pub(super) async fn read_end(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut cut = false;
    let mut chunk = vec![0; 4096];
    while let Ok(n) = from.read(&mut chunk).await {
        if n == 0 {
            break;
        }
        kept.extend_from_slice(chunk.get(..n).unwrap_or_default());
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        cut |= surplus > 0;
        kept.drain(..surplus);
    }
    if cut {
        // Half a line could hold half a secret, which nobody would recognise.
        let line = kept.iter().position(|byte| *byte == b'\n').map_or(kept.len(), |end| end + 1);
        kept.drain(..line);
    }
    kept
}

/// What a call printed.
pub(super) struct Output {
    /// The exit code; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    /// Standard output, at most the cap.
    pub(super) stdout: Vec<u8>,
    /// Whether there was more than the cap.
    pub(super) truncated: bool,
    stderr: Vec<u8>,
    operation: &'static str,
    hidden: Vec<Secret>,
}

impl Output {
    /// The output of a call that ended well or was cut at its cap, or what its failure means.
    pub(super) fn success(self) -> Result<Self> {
        if self.code == Some(0) || self.truncated { Ok(self) } else { Err(self.failure()) }
    }

    /// What the failure of the call means.
    pub(super) fn failure(&self) -> Error {
        failure::of_git(self.operation, self.code, &self.stderr, &self.hidden)
    }

    /// The whole of standard output, or an error of kind `TooLarge` if it was cut.
    pub(super) fn whole(self) -> Result<Vec<u8>> {
        if self.truncated {
            return Err(Error::new(
                ErrorKind::TooLarge,
                self.operation,
                format!("git's answer is larger than the limit of {} bytes", self.stdout.len()),
            ));
        }
        Ok(self.stdout)
    }
}
