//! Images that a test makes and puts on the node, which can fetch none.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiops_core::name::Digest;
use kiops_core::testing::skipped;

/// Where the pods of the node reach the machine.
pub(crate) const MACHINE: &str = "10.244.0.1";

/// Where the scripts are that make and load images; `None`, with a line that says so, without them.
pub(crate) fn scripts() -> Option<PathBuf> {
    let folder = std::env::var_os("KIOPS_KUBE_SCRIPT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/kube"),
        |script| PathBuf::from(script).parent().unwrap().to_owned(),
    );
    if folder.join("mkimage.sh").exists() {
        return Some(folder);
    }
    skipped("nothing here makes images for the node (see CONTRIBUTING.md)");
    None
}

/// Makes an image of a folder and puts it on the node.
pub(crate) fn load(scripts: &Path, name: &str, root: &Path) {
    load_with(scripts, name, root, &[]);
}

/// The same with options: `--user 1000`.
pub(crate) fn load_with(scripts: &Path, name: &str, root: &Path, options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("image.tar");
    make(scripts, &tar, name, root, options);
    put(scripts, &tar);
}

/// Makes an image of a folder, as a tar.
pub(crate) fn make(scripts: &Path, tar: &Path, name: &str, root: &Path, options: &[&str]) {
    run(Command::new(scripts.join("mkimage.sh")).arg(tar).arg(name).arg(root).args(options));
}

/// Puts an image on the node.
pub(crate) fn put(scripts: &Path, tar: &Path) {
    run(Command::new(scripts.join("cluster.sh")).arg("load-image").arg(tar));
}

/// Puts busybox with these of its tools into `root/bin`; false, with a line that says so, where this machine has none.
pub(crate) fn busybox(root: &Path, tools: &[&str]) -> bool {
    let found = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let Some(busybox) = found else {
        skipped("no busybox to make images of (see CONTRIBUTING.md)");
        return false;
    };
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy(busybox, bin.join("busybox")).unwrap();
    for tool in tools {
        std::os::unix::fs::symlink("busybox", bin.join(tool)).unwrap();
    }
    true
}

/// An image of busybox with scripts at these paths, made and put on the node: its name, with a tag of its content.
pub(crate) fn of_scripts(name: &str, files: &[(&str, &str)], tools: &[&str]) -> Option<String> {
    let scripts = scripts()?;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let name = format!("{name}:{}", put_scripts(root, files, tools)?);
    load(&scripts, &name, root);
    Some(name)
}

/// Lays out busybox and scripts at these paths: a tag of their content.
pub(crate) fn put_scripts(root: &Path, files: &[(&str, &str)], tools: &[&str]) -> Option<String> {
    if !busybox(root, tools) {
        return None;
    }
    for dir in ["tmp", "etc", "dev"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (path, script) in files {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let all: String = files.iter().map(|(path, script)| format!("{path}\0{script}\0")).collect();
    Some(Digest::of(format!("{all}{tools:?}").as_bytes()).hex()[..12].to_owned())
}

/// A command that must succeed, and what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
