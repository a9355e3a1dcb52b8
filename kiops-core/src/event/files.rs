//! Which files a push changed, and how much of the truth that list is.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The changed files, with how far the list can be trusted. "Not known" is never "nothing changed".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "known", content = "files")]
pub enum ChangedFiles {
    /// The list is the whole truth: a watch path may decide by it.
    Complete(FileList),
    /// These changed, and perhaps others (GitLab sends the newest 20 commits only): a match decides, no match does not.
    Partial(FileList),
    /// The sender says nothing of files.
    #[default]
    Unknown,
}

/// The union over the commits listed: a file that one commit added and a later one removed stands in both lists (E60).
/// A path that several commits name may stand in a list several times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// Paths that a commit added.
    pub added: Paths,
    /// Paths that a commit changed. Of a renamed file both names count (E62).
    pub modified: Paths,
    /// Paths that a commit removed.
    pub removed: Paths,
}

impl FileList {
    /// Every path as listed: no order, a path may come several times. For asking whether any of them matches.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.added.iter().chain(self.modified.iter()).chain(self.removed.iter())
    }

    /// Every path once, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        sorted(self.iter()).into_iter()
    }

    /// Whether no path is listed.
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Adds what another list names.
    pub fn append(&mut self, other: &Self) {
        self.added.append(&other.added);
        self.modified.append(&other.modified);
        self.removed.append(&other.removed);
    }
}

impl ChangedFiles {
    /// The list, whole or not.
    pub const fn list(&self) -> Option<&FileList> {
        match self {
            Self::Complete(list) | Self::Partial(list) => Some(list),
            Self::Unknown => None,
        }
    }

    /// Whether the list is the whole truth.
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Complete(_))
    }
}

/// A list of paths. A push may name thousands, so they lie end to end in one text instead of in a string each.
///
/// Reads and writes as a list of strings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Paths {
    text: String,
    ends: Vec<usize>,
}

impl Paths {
    /// Adds a path at the end.
    pub fn push(&mut self, path: &str) {
        self.text.push_str(path);
        self.ends.push(self.text.len());
    }

    /// Adds all paths of another list at the end.
    pub fn append(&mut self, other: &Self) {
        let start = self.text.len();
        self.text.push_str(&other.text);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    /// The paths in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.text.get(start..*end))
    }

    /// Every path once, in order.
    pub fn sorted(&self) -> Vec<&str> {
        sorted(self.iter())
    }

    /// How many paths were added, repeated ones included.
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

fn sorted<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = paths.collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl<S: AsRef<str>> FromIterator<S> for Paths {
    fn from_iter<I: IntoIterator<Item = S>>(paths: I) -> Self {
        let mut list = Self::default();
        list.extend(paths);
        list
    }
}

impl<S: AsRef<str>> Extend<S> for Paths {
    fn extend<I: IntoIterator<Item = S>>(&mut self, paths: I) {
        for path in paths {
            self.push(path.as_ref());
        }
    }
}

impl fmt::Debug for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Paths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PathsVisitor)
    }
}

struct PathsVisitor;

impl<'de> Visitor<'de> for PathsVisitor {
    type Value = Paths;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of paths")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Paths, A::Error> {
        let mut paths = Paths::default();
        while let Some(path) = seq.next_element::<PathText<'de>>()? {
            paths.push(&path.0);
        }
        Ok(paths)
    }
}

/// One path, borrowed where it holds no escapes.
#[derive(Deserialize)]
struct PathText<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_paths_reads_and_writes_as_strings() {
        let paths: Paths = serde_json::from_str(r#"["b/\u00e4","","a","a"]"#).unwrap();
        assert_eq!(paths.iter().collect::<Vec<_>>(), ["b/ä", "", "a", "a"]);
        assert_eq!(paths.sorted(), ["", "a", "b/ä"]);
        assert_eq!(serde_json::to_string(&paths).unwrap(), r#"["b/ä","","a","a"]"#);
    }

    #[test]
    fn the_union_of_two_lists_names_every_path_once_in_order() {
        let mut files = FileList { added: Paths::from_iter(["z", "a"]), ..FileList::default() };
        files.append(&FileList {
            added: Paths::from_iter(["a"]),
            removed: Paths::from_iter(["m"]),
            ..FileList::default()
        });
        assert_eq!(files.paths().collect::<Vec<_>>(), ["a", "m", "z"]);
        assert_eq!(files.iter().count(), 4);
        assert!(!files.is_empty());
    }
}
