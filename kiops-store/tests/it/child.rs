//! Another process: this test binary, run again to play a role.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROLE: &str = "KIOPS_TEST_ROLE";
const FOLDER: &str = "KIOPS_TEST_FOLDER";

/// A process that plays a role in a folder; its output is read, its input is held open. It may not write files larger
/// than `blocks` of 512 bytes, and gets an error where it tries.
pub(crate) fn spawn(role: &str, folder: &Path, blocks: Option<u32>) -> std::process::Child {
    let binary = std::env::current_exe().unwrap();
    let arguments = ["--exact", "child::plays_its_role", "--ignored", "--nocapture", "--test-threads=1"];
    let mut command = match blocks {
        None => Command::new(binary),
        Some(blocks) => {
            let mut shell = Command::new("/bin/sh");
            // A signal that is ignored stays so in the program that takes the shell's place.
            shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")).arg(binary);
            shell
        }
    };
    command.args(arguments).env(ROLE, role).env(FOLDER, folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// Says a line in one write: a kill leaves it whole or not there.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n>{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What a child said: lines that are whole.
pub(crate) fn said(output: &str) -> Vec<&str> {
    let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| line.strip_prefix('>')).collect()
}

#[test]
#[ignore = "other tests run it as a process of its own"]
fn plays_its_role() {
    let (Ok(role), Some(folder)) = (std::env::var(ROLE), std::env::var_os(FOLDER)) else { return };
    let folder = PathBuf::from(folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "accept" => crate::kill::accept_for_ever(&folder).await,
            "log" => crate::kill::log_for_ever(&folder).await,
            "lock" => crate::limits::hold_the_lock(&folder).await,
            "fill database" => crate::limits::fill_database(&folder).await,
            "report" => crate::kill::report_for_ever(&folder).await,
            "fill log" => crate::limits::fill_log(&folder).await,
            other => panic!("there is no role {other}"),
        }
    });
}
