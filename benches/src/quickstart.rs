//! The quickstart as a whole: from its start to `ready`, and the most memory that it had until then.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, example, scratch};

/// One start in a new folder: a repository made, a site pushed, built and released.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Until it printed `ready`.
    pub took: Duration,
    /// The most memory that was resident, in MiB (`VmHWM`); `None` where the system does not tell.
    pub memory: Option<f64>,
}

/// The built program: `KIOPS_QUICKSTART`, or where cargo puts it beside this one.
pub fn program() -> Outcome<PathBuf> {
    example("quickstart", "KIOPS_QUICKSTART")
}

/// Starts it in a new folder, waits for `ready`, and ends it.
pub fn start(program: &Path) -> Outcome<Start> {
    let folder = scratch()?;
    let begin = Instant::now();
    let child = Command::new(program)
        .args(["--port", "0", "--dir"])
        .arg(folder.path().join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut child = Ended(child);
    let out = child.0.stdout.take().ok_or("it has no output")?;
    for line in BufReader::new(out).lines() {
        if line? == "ready" {
            let took = begin.elapsed();
            return Ok(Start { took, memory: peak_of(&child.0.id().to_string()) });
        }
    }
    Err("the quickstart ended before it was ready".into())
}

/// The most memory that a process had, in MiB, by its number or as `self`.
pub(crate) fn peak_of(process: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// A child that does not outlive its measurement.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_is_ready_is_an_error() {
        assert!(start(Path::new("/bin/false")).is_err());
    }

    #[test]
    fn the_peak_of_a_running_program_is_known_where_the_system_tells() {
        if !Path::new("/proc/self/status").exists() {
            return;
        }
        let child = Ended(Command::new("sleep").arg("60").spawn().unwrap());
        assert!(peak_of(&child.0.id().to_string()).unwrap() > 0.0);
    }
}
