//! What COPY does to a file tree. Pure: trees in, the new entries out.

use std::collections::HashMap;

use super::filename::shown;
use super::glob::Glob;
use super::tree::{Edge, Kind, Lost, Meta, Node, Tree, ancestors, join, parts, resolve, split};

/// One thing that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picked {
    /// Where it is, links followed.
    pub(super) path: String,
    /// What it is called: the last part of the path that was asked for.
    pub(super) name: String,
}

/// Why something cannot be copied.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is nothing of this name.
    Missing(String),
    /// The path leaves the tree that it is copied from.
    Leaves(String),
    /// The instruction or the tree it meets is wrong.
    Invalid(String),
}

impl From<Lost> for Refusal {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Leaves(path) => Self::Leaves(path),
            Lost::Circle(path) => {
                Self::Invalid(format!("the links at `/{}` go round in a circle", shown(&path)))
            }
            Lost::NoFolder(path) => Self::Invalid(format!("`/{}` is no folder", shown(&path))),
        }
    }
}

/// What a source path or pattern names in a tree. Links in it, and a link that it names, are followed within the tree.
pub(super) fn pick(from: &Tree, source: &str, edge: Edge) -> Result<Vec<Picked>, Refusal> {
    if !Glob::is_wild(source) {
        let path = from.resolve(source, true, edge)?;
        if !path.is_empty() && from.get(&path).is_none() {
            return Err(Refusal::Missing(source.to_owned()));
        }
        let name = parts(source).next_back().filter(|name| *name != "..").unwrap_or_default().to_owned();
        return Ok(vec![Picked { path, name }]);
    }
    let pattern = clean(source, edge)?;
    let glob = Glob::new(&pattern, false).map_err(|what| Refusal::Invalid(format!("`{source}`: {what}")))?;
    let mut picked = Vec::new();
    for (path, _) in from.iter().filter(|(path, _)| glob.matches(path)) {
        let resolved = from.resolve(path, true, edge)?;
        if from.get(&resolved).is_some() || resolved.is_empty() {
            picked.push(Picked { path: resolved, name: split(path).1.to_owned() });
        }
    }
    Ok(picked)
}

/// A pattern without `.` and `..`.
fn clean(pattern: &str, edge: Edge) -> Result<String, Refusal> {
    let mut clean: Vec<&str> = Vec::new();
    for part in parts(pattern) {
        if part != ".." {
            clean.push(part);
        } else if clean.pop().is_none() && edge == Edge::Refuse {
            return Err(Refusal::Leaves(pattern.to_owned()));
        }
    }
    Ok(clean.join("/"))
}

/// How copied things look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// `--chown`.
    pub(super) owner: Option<(u64, u64)>,
    /// `--chmod`.
    pub(super) mode: Option<u32>,
    /// The time of folders that are made on the way.
    pub(super) mtime: u64,
}

/// A tree with new entries over it.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    below: &'a Tree,
    new: Tree,
    look: Look,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(below: &'a Tree, look: Look) -> Self {
        Self { below, new: Tree::default(), look }
    }

    /// The new entries, with the folders above them as they are.
    pub(super) fn finish(self) -> Tree {
        self.new
    }

    /// Copies what a source named. `dest` is where it goes, absolute; `into`: it is a folder even if there is none yet.
    pub(super) fn copy(
        &mut self,
        from: &Tree,
        picked: &Picked,
        dest: &str,
        into: bool,
    ) -> Result<(), Refusal> {
        match from.get(&picked.path) {
            Some(node) if node.kind != Kind::Dir => self.file(node.clone(), &picked.name, dest, into),
            _ => self.folder(from, &picked.path, dest),
        }
    }

    /// Puts a single file in its place: in `dest` where that is a folder, else at `dest`.
    pub(super) fn file(&mut self, node: Node, name: &str, dest: &str, into: bool) -> Result<(), Refusal> {
        let is_folder = into || {
            let resolved = self.resolve(dest, true)?;
            resolved.is_empty() || self.get(&resolved).is_some_and(|node| node.kind == Kind::Dir)
        };
        let (folder, name) = if is_folder {
            (self.make_folder(dest)?, name)
        } else {
            let dest = dest.trim_end_matches('/');
            let (folder, name) = split(dest);
            (self.make_folder(folder)?, name)
        };
        if name.is_empty() || name == "." || name == ".." {
            return Err(Refusal::Invalid(format!("`{dest}` names no file")));
        }
        self.put(&join(&folder, name), node)
    }

    /// Copies what is in a folder, not the folder itself, as COPY does.
    fn folder(&mut self, from: &Tree, folder: &str, dest: &str) -> Result<(), Refusal> {
        let root = self.make_folder(dest)?;
        let mut made: HashMap<String, String> = [(String::new(), root)].into();
        for (path, node) in from.below(folder) {
            let (above, name) = split(path);
            let target = match made.get(above) {
                Some(above) => join(above, name),
                None => continue,
            };
            if node.kind == Kind::Dir {
                let target = self.make_folder(&target)?;
                self.put(&target, node.clone())?;
                made.insert(path.to_owned(), target);
            } else {
                self.put(&target, node.clone())?;
            }
        }
        Ok(())
    }

    /// Makes sure that a folder is there, and says where it really is. Folders that are there already are listed among the new
    /// entries as they are: a layer that only held their content could reset their mode.
    pub(super) fn make_folder(&mut self, path: &str) -> Result<String, Refusal> {
        let path = self.resolve(path, true)?;
        let all: Vec<String> = ancestors(&path)
            .chain(Some(path.as_str()).filter(|path| !path.is_empty()))
            .map(str::to_owned)
            .collect();
        for folder in all {
            if self.new.get(&folder).is_some() {
                continue;
            }
            let node = match self.below.get(&folder) {
                Some(node) if node.kind == Kind::Dir => node.clone(),
                Some(_) => return Err(Refusal::Invalid(format!("`/{}` is no folder", shown(&folder)))),
                None => {
                    let (uid, gid) = self.look.owner.unwrap_or((0, 0));
                    let meta = Meta { mode: 0o755, uid, gid, mtime: self.look.mtime, xattrs: Vec::new() };
                    Node { kind: Kind::Dir, meta }
                }
            };
            self.new.insert(folder, node);
        }
        Ok(path)
    }

    fn put(&mut self, path: &str, mut node: Node) -> Result<(), Refusal> {
        let is_folder = |node: &Node| node.kind == Kind::Dir;
        if node.kind == Kind::Special {
            return Err(Refusal::Invalid(format!(
                "`/{}` would be a device or pipe, which is not copied",
                shown(path)
            )));
        }
        if !is_folder(&node) && self.get(path).is_some_and(is_folder) {
            return Err(Refusal::Invalid(format!("`/{}` is a folder and cannot become a file", shown(path))));
        }
        if let Some((uid, gid)) = self.look.owner {
            (node.meta.uid, node.meta.gid) = (uid, gid);
        }
        if let Some(mode) = self.look.mode.filter(|_| !matches!(node.kind, Kind::Link(_))) {
            node.meta.mode = mode;
        }
        self.new.insert(path.to_owned(), node);
        Ok(())
    }

    fn get(&self, path: &str) -> Option<&Node> {
        self.new.get(path).or_else(|| self.below.get(path))
    }

    fn resolve(&self, path: &str, last: bool) -> Result<String, Refusal> {
        Ok(resolve(|path| self.get(path), path, last, Edge::Clamp)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::tree::Content;
    use bytes::Bytes;
    use proptest::prelude::*;

    const LOOK: Look = Look { owner: None, mode: None, mtime: 5 };

    fn file(text: &'static str) -> Kind {
        Kind::File(Content::Inline(Bytes::from_static(text.as_bytes())))
    }

    fn tree(entries: impl IntoIterator<Item = (&'static str, Kind)>) -> Tree {
        let mut tree = Tree::default();
        for (path, kind) in entries {
            let meta = Meta { mode: 0o700, uid: 1, gid: 2, mtime: 3, xattrs: Vec::new() };
            tree.insert(path.to_owned(), Node { kind, meta });
        }
        tree
    }

    fn site() -> Tree {
        tree([
            ("index.html", file("i")),
            ("css", Kind::Dir),
            ("css/a.css", file("a")),
            ("css/deep", Kind::Dir),
            ("css/deep/b.css", file("b")),
            ("current", Kind::Link("css".into())),
            ("out", Kind::Link("../secret".into())),
        ])
    }

    fn copy(below: &Tree, source: &str, dest: &str, into: bool) -> Result<Vec<String>, Refusal> {
        let from = site();
        let mut overlay = Overlay::new(below, LOOK);
        for picked in pick(&from, source, Edge::Refuse)? {
            overlay.copy(&from, &picked, dest, into)?;
        }
        Ok(overlay.finish().iter().map(|(path, _)| path.to_owned()).collect())
    }

    #[test]
    fn a_folders_content_is_copied_and_a_file_keeps_or_gets_its_name() {
        let none = Tree::default();
        assert_eq!(
            copy(&none, "css", "/srv/", true).unwrap(),
            ["srv", "srv/a.css", "srv/deep", "srv/deep/b.css"]
        );
        assert_eq!(copy(&none, "index.html", "/srv/", true).unwrap(), ["srv", "srv/index.html"]);
        assert_eq!(copy(&none, "index.html", "/srv/x", false).unwrap(), ["srv", "srv/x"]);
        assert_eq!(copy(&none, "index.html", "/", true).unwrap(), ["index.html"]);
        assert_eq!(copy(&none, "current", "/s", false).unwrap(), ["s", "s/a.css", "s/deep", "s/deep/b.css"]);
        assert_eq!(copy(&none, "*.html", "/s/", true).unwrap(), ["s", "s/index.html"]);
        let there = tree([("srv", Kind::Dir)]);
        assert_eq!(copy(&there, "index.html", "/srv", false).unwrap(), ["srv", "srv/index.html"]);
    }

    #[test]
    fn links_of_the_image_are_followed_and_not_replaced() {
        let merged =
            tree([("usr", Kind::Dir), ("usr/bin", Kind::Dir), ("bin", Kind::Link("usr/bin".into()))]);
        assert_eq!(copy(&merged, "index.html", "/bin/x", false).unwrap(), ["usr", "usr/bin", "usr/bin/x"]);
        assert_eq!(copy(&merged, "css", "/bin", false).unwrap()[2], "usr/bin/a.css");
    }

    #[test]
    fn folders_that_are_there_keep_their_looks_and_new_ones_get_the_default() {
        let below = tree([("tmp", Kind::Dir)]);
        let from = site();
        let mut overlay = Overlay::new(&below, Look { owner: Some((7, 8)), mode: Some(0o600), mtime: 5 });
        let picked = &pick(&from, "index.html", Edge::Refuse).unwrap()[0];
        overlay.copy(&from, picked, "/tmp/new/", true).unwrap();
        let new = overlay.finish();
        let look =
            |path: &str| new.get(path).map(|node| (node.meta.mode, node.meta.uid, node.meta.mtime)).unwrap();
        assert_eq!(look("tmp"), (0o700, 1, 3));
        assert_eq!(look("tmp/new"), (0o755, 7, 5));
        assert_eq!(look("tmp/new/index.html"), (0o600, 7, 3));
    }

    #[test]
    fn what_leaves_or_misses_or_clashes_is_told_apart() {
        let none = Tree::default();
        for leaving in ["../x", "out", "css/../../x", "../*"] {
            assert!(matches!(copy(&none, leaving, "/", true), Err(Refusal::Leaves(_))), "{leaving}");
        }
        assert!(matches!(copy(&none, "nope", "/", true), Err(Refusal::Missing(_))));
        assert_eq!(copy(&none, "nope*", "/", true), Ok(vec![]));
        let there = tree([("d", Kind::Dir), ("d/index.html", Kind::Dir), ("f", file("f"))]);
        for (source, dest) in [("index.html", "/d/"), ("css", "/f"), ("index.html", "/f/x")] {
            assert!(
                matches!(copy(&there, source, dest, dest.ends_with('/')), Err(Refusal::Invalid(_))),
                "{dest}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_ever_lands_outside(source in "[a-cx*./]{0,12}", dest in "[a-c./]{0,12}", into: bool, link in "[a-c./]{0,8}") {
            let below = tree([("a", Kind::Link(link)), ("b", Kind::Dir)]);
            if let Ok(new) = copy(&below, &source, &format!("/{dest}"), into) {
                for path in new {
                    prop_assert!(!path.starts_with('/') && parts(&path).all(|part| part != ".."), "{}", path);
                }
            }
        }
    }
}
