//! A folder built into an image and pushed, beside `buildah bud` and `buildah push` of the same folder.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::quickstart::{Ended, peak_of};
use crate::{Outcome, example, scratch};

/// How many files the folder has.
const FILES: usize = 1000;
/// How much of a file is of one kind before the other follows, in bytes.
const BLOCK: usize = 4096;
/// How often the memory of a running program is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// A registry on loopback, a base image in it, and a folder with a Dockerfile.
#[derive(Debug)]
pub struct Folder {
    program: PathBuf,
    registry: String,
    folder: TempDir,
    made: usize,
    _server: Ended,
}

/// What a command took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From its start to its end.
    pub time: Duration,
    /// The most memory that one of its processes had, in MiB.
    pub memory: f64,
}

impl Folder {
    /// With so many MiB to copy onto the base, half of which can be compressed.
    pub fn of(mib: usize) -> Outcome<Self> {
        let program = example("assemble", "KIOPS_ASSEMBLE")?;
        let folder = scratch()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let registry = format!("127.0.0.1:{port}");
        let server = serve(folder.path(), &registry)?;
        let context = folder.path().join("context");
        write_files(&context.join("site"), mib)?;
        fs::write(context.join("Dockerfile"), format!("FROM {registry}/base:1\nCOPY site /srv/site\n"))?;
        let base = folder.path().join("base");
        write_files(&base.join("usr"), 4)?;
        fs::write(base.join("Dockerfile"), "FROM scratch\nCOPY usr /usr\n")?;
        let this = Self { program, registry, folder, made: 0, _server: server };
        this.assembled(&base, "base:1")?;
        Ok(this)
    }

    /// The same, where there is a buildah to compare with.
    pub fn beside_buildah(mib: usize) -> Outcome<Self> {
        if has_buildah() {
            return Self::of(mib);
        }
        Err("there is no buildah to compare with: install Debian's package of that name".into())
    }

    /// The subject: the example `assemble`, straight into the registry.
    pub fn assemble(&mut self) -> Outcome<Cost> {
        self.made += 1;
        self.assembled(&self.folder.path().join("context"), &format!("assembled/{}:1", self.made))
    }

    fn assembled(&self, context: &Path, image: &str) -> Outcome<Cost> {
        let mut command = Command::new(&self.program);
        command.arg(context).arg(format!("{}/{image}", self.registry));
        run(command.arg("--url").arg(format!("http://{}", self.registry)))
    }

    /// The reference: the same Dockerfile by buildah, without its cache, and the push. The base is pulled before.
    pub fn buildah(&mut self) -> Outcome<Cost> {
        self.made += 1;
        let image = format!("{}/built/{}:1", self.registry, self.made);
        let build =
            ["bud", "--isolation", "chroot", "--no-cache", "--pull=false", "--tls-verify=false", "--tag"];
        let built = run(self.by_buildah(&build).arg(&image).arg(self.folder.path().join("context")))?;
        let push = ["push", "--tls-verify=false", "--compression-format", "gzip", "--compression-level", "6"];
        let pushed = run(self.by_buildah(&push).arg(&image))?;
        run(self.by_buildah(&["rmi"]).arg(&image))?;
        Ok(Cost { time: built.time + pushed.time, memory: built.memory.max(pushed.memory) })
    }

    fn by_buildah(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        let stored = |name: &str| self.folder.path().join(name);
        command.arg("--root").arg(stored("root")).arg("--runroot").arg(stored("runroot")).args(arguments);
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What buildah mounted would keep the folder.
        if has_buildah() {
            let _ = self.by_buildah(&["rmi", "--all", "--force"]).stderr(Stdio::null()).output();
            let _ = Command::new("umount").arg(self.folder.path().join("root/overlay")).output();
        }
    }
}

fn has_buildah() -> bool {
    Command::new("buildah").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// A registry that answers.
fn serve(folder: &Path, address: &str) -> Outcome<Ended> {
    let config = folder.join("registry.yml");
    let (log, storage) = ("log: {level: error}", folder.join("registry"));
    let storage = format!("storage: {{filesystem: {{rootdirectory: \"{}\"}}}}", storage.display());
    fs::write(&config, format!("version: 0.1\n{log}\n{storage}\nhttp: {{addr: \"{address}\"}}\n"))?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let missing = |error| format!("docker-registry: {error} (Debian's package of that name)");
    let server = Ended(command.spawn().map_err(missing)?);
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return Ok(server);
        }
        sleep(Duration::from_millis(10));
    }
    Err("docker-registry does not answer".into())
}

/// Files of the same size, in which text and noise take turns.
fn write_files(folder: &Path, mib: usize) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    let blocks = (mib << 20) / FILES / BLOCK;
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
    for n in 0..FILES {
        let mut text = Vec::with_capacity((blocks + 1) * BLOCK);
        for block in 0..=blocks {
            if block % 2 == 0 {
                for _ in 0..BLOCK / 8 {
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    text.extend_from_slice(&noise.to_le_bytes());
                }
            } else {
                let start = text.len();
                while text.len() < start + BLOCK {
                    writeln!(text, "<p class=\"entry\">Entry {n} of block {block}, line {}</p>", text.len())?;
                }
            }
        }
        fs::write(folder.join(format!("page-{n}.html")), &text)?;
    }
    Ok(())
}

/// Runs a command to its end. The memory is that of the largest of its processes.
fn run(command: &mut Command) -> Outcome<Cost> {
    let name = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut memory: f64 = 0.0;
    let status = loop {
        memory = family(child.id()).iter().filter_map(|id| peak_of(&id.to_string())).fold(memory, f64::max);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        sleep(LOOK);
    };
    let time = start.elapsed();
    if status.success() {
        return Ok(Cost { time, memory });
    }
    Err(format!("{name} ended with {status}: {}", said(&mut child)?).into())
}

fn said(child: &mut Child) -> Outcome<String> {
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut text)?;
    }
    Ok(text)
}

/// A process and those that it started.
fn family(id: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(id).chain(children.flat_map(family)).collect()
}
