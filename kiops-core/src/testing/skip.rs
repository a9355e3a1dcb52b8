//! Tests that cannot prove anything where they run.

use std::fmt::Display;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Says that the test that calls proves nothing here, and why: `skipped: oci::real::...: no docker-registry on the PATH`.
///
/// The line goes past what the harness keeps to itself of tests that pass. It is named by its thread.
pub fn skipped(why: impl Display) {
    let test = std::thread::current();
    // Nobody hears of it where even that cannot be written.
    let _ = writeln!(std::io::stderr(), "skipped: {}: {why}", test.name().unwrap_or("a test"));
}

/// The same of a part that has to be there on CI: with `CI=true` in the environment it panics.
pub fn skipped_but_on_ci(why: impl Display) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "needed on CI: {why}");
    skipped(why);
}

/// Whether a program is on the PATH; where it is not, [`skipped_but_on_ci`]. It is called with `--version`, known to it or not.
pub fn has_program(program: &str) -> bool {
    let mut call = Command::new(program);
    call.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match call.status() {
        Ok(_) => true,
        Err(error) => {
            skipped_but_on_ci(format!("no {program} on the PATH ({error})"));
            false
        }
    }
}
