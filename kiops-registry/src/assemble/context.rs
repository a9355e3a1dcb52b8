//! The source of a run: spooled as an archive, listed as a tree, cut down to the build context.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use kiops_core::stage::{Failure, FailureKind, Stage};
use tar::Archive;

use super::archive::{EntryKind, Origin, Refused, walk};
use super::filename::shown;
use super::ignore::Ignore;
use super::outcome::{Stop, disk_error};
use super::run::Run;
use super::tree::{Content, Edge, Kind, Lost, Meta, Node, Tree, ancestors, join};
use super::{Limits, dockerfile::DOCKERFILE_MAX};
use crate::disk::io_error;

/// The largest `.dockerignore` that is read.
const IGNORE_MAX: usize = 256 * 1024;

/// The files of a commit.
#[derive(Debug)]
pub(super) struct Source {
    tree: Tree,
}

/// The build context: what COPY can see.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// What is left after `.dockerignore`.
    pub(super) tree: Arc<Tree>,
    /// What `.dockerignore` leaves out, so that a missing file can be explained.
    left_out: Tree,
    /// The file that leaves it out.
    ignore_file: Option<String>,
}

fn refused(what: impl AsRef<str>) -> Stop {
    Stop::Failed(Failure::new(Stage::Setup, FailureKind::ContextRefused, what))
}

impl Source {
    /// Lists a spooled archive. Modes become 0755 or 0644, owners 0:0 and times `mtime`, so that the same commit gives
    /// the same files whatever host packed it. Entries that no commit has (devices, hard links, paths that climb) are refused.
    pub(super) fn open(archive: &Arc<PathBuf>, mtime: u64, limits: &Limits, run: &Run) -> Result<Self, Stop> {
        let io = |error| disk_error(&io_error("read source archive", archive, error));
        let unreadable = |what: String| refused(format!("the source archive cannot be read: {what}"));
        let mut file = File::open(&**archive).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut end = [1; 1024];
        if length < 1024 || length % 512 != 0 || file.seek(SeekFrom::End(-1024)).is_err() {
            return Err(unreadable("it is cut off".into()));
        }
        file.read_exact(&mut end).map_err(io)?;
        file.rewind().map_err(io)?;
        if end.iter().any(|byte| *byte != 0) {
            return Err(unreadable("it is cut off".into()));
        }
        let mut tree = Tree::default();
        let mut reader = Archive::new(file);
        let entries = reader.entries_with_seek().map_err(io)?;
        walk(entries, Origin::Source, |entry, _| {
            run.tick()?;
            let bad = |what: &str| refused(format!("`{}` {what}", shown(entry.path)));
            let (kind, mode) = match &entry.kind {
                EntryKind::Dir => (Kind::Dir, 0o755),
                EntryKind::Link(target) => (Kind::Link(target.clone()), 0o777),
                EntryKind::File(size) => {
                    if entry.offset.checked_add(*size).is_none_or(|end| end > length) {
                        return Err(bad("is cut off"));
                    }
                    let content =
                        Content::Spooled { file: Arc::clone(archive), offset: entry.offset, size: *size };
                    (Kind::File(content), if entry.mode & 0o100 == 0 { 0o644 } else { 0o755 })
                }
                EntryKind::HardLink(_) => return Err(bad("is a hard link, which no commit has")),
                EntryKind::Special => return Err(bad("is a device or pipe, which no commit has")),
            };
            for folder in ancestors(entry.path) {
                match tree.get(folder).map(|node| &node.kind) {
                    Some(Kind::Dir) => {}
                    Some(_) => return Err(bad("lies below something that is no folder")),
                    None => tree.insert(folder.to_owned(), folder_node(mtime)),
                }
            }
            match tree.get(entry.path).map(|node| &node.kind) {
                None => {}
                Some(Kind::Dir) if kind == Kind::Dir => return Ok(()),
                Some(_) => return Err(bad("stands twice in the source archive")),
            }
            let meta = Meta { mode, mtime, ..Meta::default() };
            tree.insert(entry.path.to_owned(), Node { kind, meta });
            if tree.len() > limits.max_source_files {
                return Err(refused(format!(
                    "the commit has more than {} files and folders",
                    limits.max_source_files
                )));
            }
            Ok(())
        })
        .map_err(|error| match error {
            Refused::Visitor(stop) => stop,
            Refused::Bad(what) => refused(what),
            Refused::Io(error) => unreadable(error.to_string()),
        })?;
        Ok(Self { tree })
    }

    /// The text of a Dockerfile, by its path from the root.
    pub(super) fn dockerfile(&self, path: &str) -> Result<String, Stop> {
        let not_found = || Stop::Failed(Failure::new(Stage::Setup, FailureKind::DockerfileNotFound, path));
        let resolved = match self.tree.resolve(path, true, Edge::Refuse) {
            Ok(resolved) => resolved,
            Err(Lost::Leaves(_)) => {
                return Err(refused(format!("the Dockerfile's path `{path}` leaves the repository")));
            }
            Err(_) => return Err(not_found()),
        };
        let Some(Node { kind: Kind::File(content), .. }) = self.tree.get(&resolved) else {
            return Err(not_found());
        };
        let invalid = |what: &str| Stop::failed(FailureKind::DockerfileInvalid, format!("`{path}` {what}"));
        if content.size() > DOCKERFILE_MAX as u64 {
            return Err(invalid("is larger than a mebibyte"));
        }
        String::from_utf8(read(content)?).map_err(|_| invalid("is not UTF-8"))
    }

    /// The context folder without what `.dockerignore` leaves out. A file `X.dockerignore` beside the Dockerfile `X` is used
    /// in its place.
    pub(super) fn context(&self, folder: &str, dockerfile: &str, limits: &Limits) -> Result<Context, Stop> {
        let resolved = match self.tree.resolve(folder, true, Edge::Refuse) {
            Ok(resolved) if self.tree.is_dir(&resolved) => resolved,
            Err(Lost::Leaves(_)) => {
                return Err(refused(format!("the context folder `{folder}` leaves the repository")));
            }
            _ => {
                return Err(refused(format!("there is no folder `{folder}` in the commit"))
                    .with_remedy("set the service's path to a folder of the repository"));
            }
        };
        let mut context = Context::default();
        let mut ignore = Ignore::default();
        for path in [format!("{dockerfile}.dockerignore"), join(&resolved, ".dockerignore")] {
            let Ok(path) = self.tree.resolve(&path, true, Edge::Refuse) else { continue };
            let Some(Node { kind: Kind::File(content), .. }) = self.tree.get(&path) else { continue };
            if content.size() > IGNORE_MAX as u64 {
                return Err(refused(format!("`{path}` is larger than {IGNORE_MAX} bytes")));
            }
            let text = read(content)?;
            ignore = Ignore::parse(&String::from_utf8_lossy(&text))
                .map_err(|what| refused(format!("`{path}`: {what}")).with_remedy("correct the pattern"))?;
            context.ignore_file = Some(path);
            break;
        }
        let mut bytes = 0_u64;
        let mut tree = Tree::default();
        for (path, node) in self.tree.below(&resolved) {
            if ignore.leaves_out(path) {
                context.left_out.insert(path.to_owned(), node.clone());
                continue;
            }
            if let Kind::File(content) = &node.kind {
                bytes = bytes.saturating_add(content.size());
            }
            for above in ancestors(path) {
                // A folder that is left out comes back with the first file in it that is not.
                if let Some(folder) = context.left_out.get(above).cloned() {
                    tree.insert(above.to_owned(), folder);
                }
            }
            tree.insert(path.to_owned(), node.clone());
        }
        if bytes > limits.max_context_bytes || tree.len() > limits.max_context_files {
            return Err(refused(format!(
                "the context has {} files and folders and {bytes} bytes; the limits are {} and {}",
                tree.len(),
                limits.max_context_files,
                limits.max_context_bytes
            ))
            .with_remedy(
                "leave files out with .dockerignore, or set the service's path to a smaller folder",
            ));
        }
        context.tree = Arc::new(tree);
        Ok(context)
    }
}

impl Context {
    /// The `.dockerignore` that leaves this path out, if one does.
    pub(super) fn left_out_by(&self, path: &str) -> Option<&str> {
        let known = self.left_out.get(path).is_some() || self.left_out.below(path).next().is_some();
        self.ignore_file.as_deref().filter(|_| known)
    }
}

pub(super) fn folder_node(mtime: u64) -> Node {
    Node { kind: Kind::Dir, meta: Meta { mode: 0o755, mtime, ..Meta::default() } }
}

/// The content of a small file.
pub(super) fn read(content: &Content) -> Result<Vec<u8>, Stop> {
    match content {
        Content::Inline(bytes) => Ok(bytes.to_vec()),
        Content::Spooled { file, offset, size } => {
            let io = |error| disk_error(&io_error("read spooled file", file, error));
            let mut reader = File::open(&**file).map_err(io)?;
            reader.seek(SeekFrom::Start(*offset)).map_err(io)?;
            let mut bytes = Vec::new();
            reader.take(*size).read_to_end(&mut bytes).map_err(io)?;
            Ok(bytes)
        }
        Content::Layer { path, .. } => {
            Err(Stop::failed(FailureKind::Internal, format!("`{path}` was not fetched from its layer")))
        }
    }
}
