//! A file tree in memory: what a source or an image holds, without its content.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kiops_core::name::Digest;

/// Paths without slashes around them, and what is there. The root is not listed: it is a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
}

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) meta: Meta,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Dir,
    File(Content),
    Link(String),
    /// A device or a pipe of a base image: it is there, and cannot be copied.
    Special,
}

/// Whose it is, and when it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: u64,
    /// Extended attributes, by their PAX key.
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
}

/// Where the content of a file is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// A piece of a file in the working directory.
    Spooled { file: Arc<PathBuf>, offset: u64, size: u64 },
    /// Here.
    Inline(Bytes),
    /// In a layer of a base image, under this path, not fetched yet.
    Layer { layer: Digest, path: Arc<str>, size: u64 },
}

impl Content {
    pub(super) const fn size(&self) -> u64 {
        match self {
            Self::Spooled { size, .. } | Self::Layer { size, .. } => *size,
            Self::Inline(bytes) => bytes.len() as u64,
        }
    }
}

/// Why a path does not lead anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// It, or a link on it, leaves the tree. The path of the link, or the path itself.
    Leaves(String),
    /// Its links go round in a circle.
    Circle(String),
    /// This part of it is no folder.
    NoFolder(String),
}

/// What becomes of a path that would leave its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// It stays at the root, as in a container.
    Clamp,
    /// It is an error.
    Refuse,
}

/// How many links one path may follow.
const LINKS_MAX: usize = 40;

impl Tree {
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    pub(super) fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || matches!(self.get(path), Some(Node { kind: Kind::Dir, .. }))
    }

    pub(super) fn insert(&mut self, path: String, node: Node) {
        self.nodes.insert(path, node);
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Everything below a folder, in order, with paths relative to it.
    pub(super) fn below<'a>(&'a self, folder: &str) -> impl Iterator<Item = (&'a str, &'a Node)> + use<'a> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let length = prefix.len();
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(move |(path, node)| (&path[length..], node))
    }

    /// Removes a path and all below it.
    pub(super) fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        self.remove_below(path);
    }

    /// Removes all below a path.
    pub(super) fn remove_below(&mut self, path: &str) {
        let below: Vec<String> = self.below(path).map(|(rest, _)| join(path, rest)).collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }

    /// Puts content that was fetched in the place of where it was.
    pub(super) fn replace_content(&mut self, found: impl Fn(&Digest, &Arc<str>) -> Option<Content>) {
        for node in self.nodes.values_mut() {
            if let Kind::File(content) = &mut node.kind
                && let Content::Layer { layer, path, .. } = content
                && let Some(fetched) = found(layer, path)
            {
                *content = fetched;
            }
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
    }

    /// The path without links that a path stands for; what it names need not be there. The last part's own link is followed
    /// only where `last` says so.
    pub(super) fn resolve(&self, path: &str, last: bool, edge: Edge) -> Result<String, Lost> {
        resolve(|path| self.get(path), path, last, edge)
    }
}

/// [`Tree::resolve`] over anything that knows nodes by their path.
pub(super) fn resolve<'a>(
    get: impl Fn(&str) -> Option<&'a Node>,
    path: &str,
    last: bool,
    edge: Edge,
) -> Result<String, Lost> {
    let mut open: Vec<String> = parts(path).rev().map(str::to_owned).collect();
    let mut here = String::new();
    let mut links = 0;
    while let Some(part) = open.pop() {
        if part == ".." {
            if here.is_empty() && edge == Edge::Refuse {
                return Err(Lost::Leaves(path.to_owned()));
            }
            here.truncate(here.rfind('/').unwrap_or(0));
            continue;
        }
        let next = join(&here, &part);
        match get(&next).map(|node| &node.kind) {
            Some(Kind::Link(target)) if last || !open.is_empty() => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Lost::Circle(next));
                }
                if target.starts_with('/') {
                    if edge == Edge::Refuse {
                        return Err(Lost::Leaves(next));
                    }
                    here.clear();
                } else if edge == Edge::Refuse && leaves(&here, target) {
                    return Err(Lost::Leaves(next));
                }
                open.extend(parts(target).rev().map(str::to_owned));
            }
            Some(Kind::File(_) | Kind::Special) if !open.is_empty() => return Err(Lost::NoFolder(next)),
            _ => here = next,
        }
    }
    Ok(here)
}

/// Whether a relative link in a folder climbs above the root by its own text.
fn leaves(folder: &str, target: &str) -> bool {
    let mut depth = parts(folder).count();
    for part in parts(target) {
        match (part, depth) {
            ("..", 0) => return true,
            ("..", _) => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// The parts of a path, without empty ones and `.`.
pub(super) fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

/// A path in a folder; `""` is the root.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The folder that a path is in, and its last part.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The folders above a path, outermost first, without the root.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(entries: &[(&str, Option<&str>)]) -> Tree {
        let mut tree = Tree::default();
        for (path, link) in entries {
            let kind = match link {
                Some("") => Kind::Dir,
                Some(target) => Kind::Link((*target).to_owned()),
                None => Kind::File(Content::Inline(Bytes::new())),
            };
            tree.insert((*path).to_owned(), Node { kind, meta: Meta::default() });
        }
        tree
    }

    #[test]
    fn links_are_followed_within_the_tree() {
        let tree = tree(&[
            ("usr", Some("")),
            ("usr/bin", Some("")),
            ("usr/bin/sh", None),
            ("bin", Some("usr/bin")),
            ("abs", Some("/usr")),
            ("loop", Some("loop")),
            ("up", Some("../../x")),
        ]);
        let clamp = |path: &str| tree.resolve(path, true, Edge::Clamp);
        assert_eq!(clamp("/bin/sh").unwrap(), "usr/bin/sh");
        assert_eq!(clamp("abs/bin/./../bin/new").unwrap(), "usr/bin/new");
        assert_eq!(clamp("up").unwrap(), "x");
        assert_eq!(clamp("../..").unwrap(), "");
        assert!(matches!(clamp("loop/x"), Err(Lost::Circle(_))));
        assert!(matches!(clamp("usr/bin/sh/x"), Err(Lost::NoFolder(_))));
        assert_eq!(tree.resolve("bin", false, Edge::Clamp).unwrap(), "bin");
        for leaving in ["abs", "up", "../x", "usr/../../x"] {
            assert!(matches!(tree.resolve(leaving, true, Edge::Refuse), Err(Lost::Leaves(_))), "{leaving}");
        }
    }

    #[test]
    fn what_is_below_a_folder_excludes_its_neighbours() {
        let mut tree =
            tree(&[("a", Some("")), ("a-b", None), ("a/b", Some("")), ("a/b/c", None), ("ab", None)]);
        assert_eq!(tree.below("a").map(|(path, _)| path).collect::<Vec<_>>(), ["b", "b/c"]);
        assert_eq!(tree.below("").count(), 5);
        tree.remove("a");
        assert_eq!(tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["a-b", "ab"]);
    }

    proptest! {
        #[test]
        fn no_path_leaves_and_none_loops(targets in prop::collection::vec("[a-c./]{0,8}", 3), path in "[a-c./]{0,20}") {
            let mut tree = Tree::default();
            for (name, target) in ["a", "b", "c"].iter().zip(targets) {
                tree.insert((*name).to_owned(), Node { kind: Kind::Link(target), meta: Meta::default() });
            }
            for edge in [Edge::Clamp, Edge::Refuse] {
                if let Ok(resolved) = tree.resolve(&path, true, edge) {
                    prop_assert!(parts(&resolved).all(|part| part != ".."), "{}", resolved);
                }
            }
        }
    }
}
