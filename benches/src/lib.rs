//! What kiops costs: each subject beside the bare work that it cannot do without.
//!
//! A module makes the input of one subject and has the two functions that are compared, so that the benches (`cargo bench -p
//! kiops-benches`, which tell times) and the program `figures` (which tells ratios, and fails where a promise is broken) run
//! the same code. docs/PERFORMANCE.md says what each figure means.

pub mod accepts;
pub mod assemble;
pub mod builds;
pub mod decide;
pub mod github;
pub mod kube;
pub mod masking;
pub mod push;
pub mod quickstart;
pub mod ratio;
pub mod routing;
pub mod stored;
pub mod to_job;

use std::error::Error;
use std::path::PathBuf;

use tempfile::TempDir;

/// What can go wrong here is only told.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// An example as it was built: what an environment variable names, or where cargo puts it beside the running program.
pub fn example(name: &str, variable: &str) -> Outcome<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => {
            let here = std::env::current_exe()?;
            here.parent().ok_or("the running program is in no folder")?.join("examples").join(name)
        }
    };
    if path.is_file() {
        return Ok(path);
    }
    let message = format!(
        "there is no `{}`: build it first, with `cargo build --release -p kiops-examples --example {name}`",
        path.display()
    );
    Err(message.into())
}

/// A new folder on the disk that is measured: in `KIOPS_BENCH_DIR`, else beside the running program. Never the system's folder
/// for temporary files, which is often in memory, where nothing has to be synced.
pub fn scratch() -> Outcome<TempDir> {
    let parent = match std::env::var_os("KIOPS_BENCH_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_exe()?.parent().ok_or("the running program is in no folder")?.to_owned(),
    };
    Ok(tempfile::Builder::new().prefix("kiops-bench-").tempdir_in(parent)?)
}
