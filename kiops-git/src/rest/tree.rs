//! What differs between two trees, for hosts that compare a history instead.

use std::collections::BTreeMap;

use kiops_core::event::{ChangedFiles, FileList};

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

/// A list of which at most `max` paths are told; a longer one says that it is not whole.
pub(crate) fn limited(list: &FileList, max: usize) -> ChangedFiles {
    if list.added.len() + list.modified.len() + list.removed.len() <= max {
        return ChangedFiles::Complete(list.clone());
    }
    let (mut told, mut left) = (FileList::default(), max);
    let parts = [
        (&list.added, &mut told.added),
        (&list.modified, &mut told.modified),
        (&list.removed, &mut told.removed),
    ];
    for (from, to) in parts {
        for path in from.iter().take(left) {
            to.push(path);
        }
        left = left.saturating_sub(from.len());
    }
    ChangedFiles::Partial(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_cut_says_so() {
        let mut list = FileList::default();
        ["a", "b"].into_iter().for_each(|path| list.added.push(path));
        ["c", "d"].into_iter().for_each(|path| list.removed.push(path));
        assert_eq!(limited(&list, 4), ChangedFiles::Complete(list.clone()));
        let ChangedFiles::Partial(cut) = limited(&list, 3) else { panic!("it is not whole") };
        assert_eq!(cut.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        let ChangedFiles::Partial(cut) = limited(&list, 1) else { panic!("it is not whole") };
        assert_eq!(cut.iter().collect::<Vec<_>>(), ["a"]);
    }

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
