//! What differs between two trees, for hosts that compare a history instead.

use std::collections::BTreeMap;

use kiops_core::event::FileList;

/// A file of a tree: mode and id of its content. Both count: a file that becomes executable is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub mode: String,
    pub id: String,
}

/// What differs between two trees, given as path to entry, folders left out. A file that moved is named by both paths.
pub(crate) fn differences(from: &BTreeMap<String, Entry>, to: &BTreeMap<String, Entry>) -> FileList {
    let mut list = FileList::default();
    for (path, entry) in to {
        match from.get(path) {
            None => list.added.push(path),
            Some(before) if before != entry => list.modified.push(path),
            Some(_) => {}
        }
    }
    for path in from.keys().filter(|path| !to.contains_key(*path)) {
        list.removed.push(path);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_count_as_well_as_contents() {
        let tree = |entries: &[(&str, &str, &str)]| {
            let entry = |(path, mode, id): &(&str, &str, &str)| {
                ((*path).to_owned(), Entry { mode: (*mode).into(), id: (*id).into() })
            };
            entries.iter().map(entry).collect::<BTreeMap<_, _>>()
        };
        let from = tree(&[("a", "100644", "1"), ("b", "100644", "2"), ("c", "100644", "3")]);
        let to = tree(&[("a", "100755", "1"), ("b", "100644", "2"), ("d", "100644", "3")]);
        let list = differences(&from, &to);
        assert_eq!(list.added.iter().collect::<Vec<_>>(), ["d"]);
        assert_eq!(list.modified.iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(list.removed.iter().collect::<Vec<_>>(), ["c"]);
    }
}
