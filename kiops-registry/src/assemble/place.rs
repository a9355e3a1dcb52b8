//! One COPY whose words are read: which entries it adds, or what stands in its way.

use std::sync::Arc;

use kiops_core::stage::FailureKind;

use super::context::{Context, read};
use super::copy::{Look, Overlay, Refusal, pick};
use super::outcome::{Stop, at_line, invalid};
use super::plan::{archive_refused, refuse_address};
use super::tree::{Content, Edge, Kind, Meta, Node, Tree, parts};

/// A COPY or ADD with everything that it needs.
pub(super) struct Placing {
    pub(super) line: usize,
    pub(super) add: bool,
    /// `--from` as written.
    pub(super) from: Option<String>,
    /// What is copied from.
    pub(super) from_tree: Arc<Tree>,
    /// What becomes of paths that would leave it.
    pub(super) edge: Edge,
    pub(super) context: Arc<Context>,
    /// What is copied into.
    pub(super) tree: Arc<Tree>,
    pub(super) look: Look,
    /// The destination, absolute.
    pub(super) dest: String,
    /// Whether it is a folder by the way it is written.
    pub(super) into: bool,
    pub(super) paths: Vec<String>,
    /// Here-documents: name and text.
    pub(super) documents: Vec<(String, String)>,
}

impl Placing {
    /// The new entries. Reads the beginning of files that ADD names.
    pub(super) fn place(self) -> Result<Tree, Stop> {
        let line = self.line;
        let mut found = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            if self.add {
                refuse_address(path, line)?;
            }
            let picked = pick(&self.from_tree, path, self.edge).map_err(|refusal| match refusal {
                Refusal::Missing(path) => self.missing(&path),
                Refusal::Leaves(path) => {
                    let what = at_line(line, format!("`{path}` leaves the build context"));
                    Stop::failed(FailureKind::ContextRefused, what)
                }
                Refusal::Invalid(what) => invalid(line, what),
            })?;
            found.push((path, picked));
        }
        let count = found.iter().map(|(_, picked)| picked.len()).sum::<usize>() + self.documents.len();
        if count == 0 {
            return Err(self.missing(self.paths.first().map(String::as_str).unwrap_or_default()));
        }
        if count > 1 && !self.into {
            return Err(invalid(line, "more than one source goes to a destination that does not end in `/`"));
        }
        let mut overlay = Overlay::new(&self.tree, self.look);
        for (path, picked) in &found {
            for picked in picked {
                if self.add
                    && let Some(Node { kind: Kind::File(content), .. }) = self.from_tree.get(&picked.path)
                    && is_archive(content)?
                {
                    return Err(archive_refused(path, line));
                }
                overlay
                    .copy(&self.from_tree, picked, &self.dest, self.into)
                    .map_err(|refusal| refused(refusal, line))?;
            }
        }
        for (name, text) in &self.documents {
            let meta = Meta { mode: 0o644, mtime: self.look.mtime, ..Meta::default() };
            let node = Node { kind: Kind::File(Content::Inline(text.clone().into())), meta };
            overlay.file(node, name, &self.dest, self.into).map_err(|refusal| refused(refusal, line))?;
        }
        Ok(overlay.finish())
    }

    fn missing(&self, path: &str) -> Stop {
        let clean: Vec<&str> = parts(path).collect();
        let what = match (&self.from, self.context.left_out_by(&clean.join("/"))) {
            (Some(from), _) => format!("`{path}` is not in `{from}`"),
            (None, Some(file)) => format!("`{path}` is left out by `{file}`"),
            (None, None) => format!("`{path}` is not in the build context"),
        };
        let stop = Stop::failed(FailureKind::SourceFileNotFound, at_line(self.line, what));
        match &self.from {
            Some(_) => stop.with_remedy("correct the path, or copy from the stage that has the file"),
            None => stop,
        }
    }
}

/// A refusal at its line.
pub(super) fn refused(refusal: Refusal, line: usize) -> Stop {
    match refusal {
        Refusal::Missing(what) | Refusal::Invalid(what) => invalid(line, what),
        Refusal::Leaves(path) => invalid(line, format!("`{path}` leaves the image")),
    }
}

/// Whether ADD would unpack this content.
fn is_archive(content: &Content) -> Result<bool, Stop> {
    let head = match content {
        Content::Spooled { file, offset, size } => {
            read(&Content::Spooled { file: Arc::clone(file), offset: *offset, size: (*size).min(512) })?
        }
        other => read(other)?,
    };
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    Ok(compressed.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar"))
}
