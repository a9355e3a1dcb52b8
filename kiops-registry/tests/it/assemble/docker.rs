//! A Docker engine runs what was assembled. The engine is one of the test's own: its folder, its socket, its containerd, and mounts that
//! go with it. It neither reads the machine's settings of Docker nor changes the machine's network.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiops_core::build::{BuildOutput, BuildSpec};
use kiops_core::run::RunOutcome;
use kiops_core::testing::has_program;
use kiops_registry::assemble::{Assembler, AssemblerConfig, Compression};
use tempfile::TempDir;

use super::support::{Files, spec};
use crate::fixtures::{image, skipped, tag};
use crate::oci::daemon::{Auth, Daemon};

/// How long anything may take that takes a second where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A Docker engine that runs until this is dropped.
struct Engine {
    daemon: Child,
    folder: TempDir,
}

impl Drop for Engine {
    /// It stops its containers and unmounts its folders where it is asked to end.
    fn drop(&mut self) {
        let kill = ["-c", "kill -TERM \"$0\"", &self.daemon.id().to_string()];
        let _ = Command::new("sh").args(kill).stderr(Stdio::null()).status();
        let begin = Instant::now();
        while matches!(self.daemon.try_wait(), Ok(None)) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Engine {
    /// Starts one; `None`: something that it needs is not here, or it may not run here. Then a line says so.
    fn start() -> Option<Self> {
        if !["dockerd", "docker", "unshare", "setpriv"].into_iter().all(has_program) {
            return None;
        }
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            skipped("dockerd wants root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let log = std::fs::File::create(at("log")).unwrap();
        // What the machine's own engine keeps there is out of its sight, and what it writes there goes with it.
        let hide = "for folder in /etc/docker /run/containerd; do \
                    mkdir -p $folder && mount -t tmpfs tmpfs $folder || exit; done; exec dockerd \"$@\"";
        std::fs::write(at("settings"), "{}").unwrap();
        let daemon = Command::new("setpriv")
            // It ends with the test, also where that is killed, and its mounts with it.
            .args(["--pdeathsig", "TERM", "unshare", "--mount", "sh", "-c", hide, "sh"])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "-p", &at("pid")])
            .args(["-H", &format!("unix://{}", at("docker.sock")), "--storage-driver", "overlay2"])
            .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none"])
            .args(["--ip-forward=false", "--config-file", &at("settings")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut engine = Self { daemon, folder };
        let begin = Instant::now();
        while !engine.docker(&["version"]).status.success() {
            if let Some(status) = engine.daemon.try_wait().unwrap() {
                let last = engine.last_line();
                assert!(is_refusal(&last), "dockerd ended, {status}: {last}");
                skipped(format!("dockerd may not run here: {last}"));
                return None;
            }
            assert!(begin.elapsed() < PATIENCE, "dockerd does not answer: {}", engine.last_line());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(engine)
    }

    fn last_line(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().last().unwrap_or("it says nothing").to_owned()
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("timeout")
            .args([&PATIENCE.as_secs().to_string(), "docker"])
            .env("DOCKER_CONFIG", self.folder.path().join("client"))
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_API_VERSION")
            .env_remove("DOCKER_CONTENT_TRUST")
            .env_remove("DOCKER_DEFAULT_PLATFORM")
            .args(["-H", &format!("unix://{}", self.folder.path().join("docker.sock").display())])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What it prints.
    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {errors}{}", self.last_line());
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a container of an image that is there prints; `None` where this machine lets it run none, and a line says so.
    fn runs(&self, image: &str, arguments: &[&str]) -> Option<String> {
        let run = [&["run", "--rm", "--network", "none", image], arguments].concat();
        let output = self.docker(&run);
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && is_refusal(&errors) {
            skipped(format!("Docker runs no containers here: {}", errors.trim()));
            return None;
        }
        assert!(output.status.success(), "docker {run:?}: {errors}{}", self.last_line());
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// Its version, first the major one.
    fn version(&self) -> (u32, String) {
        let version = self.prints(&["version", "--format", "{{.Server.Version}}"]);
        let major = version.split('.').next().unwrap().parse().unwrap();
        (major, version.trim().to_owned())
    }
}

/// Whether that is what a machine says which lets nobody mount or make containers, as many containers are.
fn is_refusal(words: &str) -> bool {
    let words = words.to_lowercase();
    ["permission denied", "not permitted", "not supported", "cgroup"].iter().any(|no| words.contains(no))
}

/// A program that needs nothing but the kernel, and tells what it finds.
const TELL: &str = r#"
unsafe extern "C" {
    safe fn getuid() -> u32;
    safe fn getgid() -> u32;
}
fn main() {
    println!("arguments: {:?}", std::env::args().skip(1).collect::<Vec<_>>());
    println!("folder: {}", std::env::current_dir().unwrap().display());
    println!("GREETING: {}", std::env::var("GREETING").unwrap());
    println!("user: {}:{}", getuid(), getgid());
    println!("page: {}", std::fs::read_to_string("page").unwrap());
    println!("linked: {}", std::fs::read_to_string("current").unwrap());
}
"#;

/// The same from outside: the program is in `PATH`, the user in `/etc/passwd`, the page and its link in the working directory.
const DOCKERFILE: &str = r#"FROM scratch
COPY tell /bin/tell
COPY etc /etc
ENV PATH=/bin GREETING="good day"
WORKDIR /srv
WORKDIR site
COPY page current ./
USER web
ENTRYPOINT ["tell"]
CMD ["one", "two words"]
"#;

/// Links the program statically. What that takes is what Rust itself links with.
fn program(folder: &Path) -> Option<Vec<u8>> {
    if !has_program("rustc") {
        return None;
    }
    let (source, program): (PathBuf, PathBuf) = (folder.join("tell.rs"), folder.join("tell"));
    std::fs::write(&source, TELL).unwrap();
    let output = Command::new("rustc")
        .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
        .args([&program, &source])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(program).unwrap())
}

/// Assembles and pushes the image, and says its name with the digest.
async fn pushed(registry: &Daemon, program: Vec<u8>, compression: Compression) -> String {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    };
    let dir = tempfile::tempdir().unwrap();
    let mut config = AssemblerConfig::new(dir.path());
    config.platforms = vec![format!("linux/{architecture}")];
    config.compression = compression;
    let assembler = Assembler::new(config, Arc::new(registry.client(None))).unwrap();
    let name = image(&format!("{}/team/site", registry.host()));
    let output = BuildOutput::Push { image: name.clone(), tag: tag("abc1234") };
    let files = Files::new()
        .file("Dockerfile", DOCKERFILE)
        .entry("tell", tar::EntryType::Regular, "", program, 0o775)
        .file("etc/passwd", "root:x:0:0::/:\nweb:x:1234:2345::/srv:\n")
        .file("page", "hello")
        .link("current", "page");
    let (outcome, _) = super::support::run(&assembler, &BuildSpec { output, ..spec() }, files).await;
    let RunOutcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
    name.at(result.digest.unwrap()).to_string()
}

/// Pulls and runs the image by its digest, and checks what the program found.
fn runs(engine: &Engine, reference: &str) -> Option<()> {
    engine.prints(&["pull", "--quiet", reference]);
    let found = engine.runs(reference, &[])?;
    let expected = |arguments: &str| {
        format!(
            "arguments: {arguments}\nfolder: /srv/site\nGREETING: good day\nuser: 1234:2345\npage: hello\nlinked: hello\n"
        )
    };
    assert_eq!(found, expected(r#"["one", "two words"]"#));
    let found = engine.runs(reference, &["others"])?;
    assert_eq!(found, expected(r#"["others"]"#), "CMD is what one gives others for");
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_engine_runs_an_image_by_its_digest() {
    let Some(registry) = Daemon::start(Auth::Nobody) else { return };
    let Some(engine) = Engine::start() else { return };
    let Some(program) = program(engine.folder.path()) else { return };
    let reference = pushed(&registry, program, Compression::gzip()).await;
    let Some(()) = runs(&engine, &reference) else { return };
    let digests = engine.prints(&["image", "inspect", "--format", "{{.RepoDigests}}", &reference]);
    assert_eq!(digests.trim(), format!("[{reference}]"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_engine_runs_an_image_whose_layers_are_compressed_with_zstd() {
    let Some(registry) = Daemon::start(Auth::Nobody) else { return };
    let Some(engine) = Engine::start() else { return };
    let (major, version) = engine.version();
    if major < 23 {
        skipped(format!("Docker Engine {version} reads no layers with zstd, 23.0 is the first that does"));
        return;
    }
    let Some(program) = program(engine.folder.path()) else { return };
    let reference = pushed(&registry, program, Compression::zstd()).await;
    runs(&engine, &reference);
}
