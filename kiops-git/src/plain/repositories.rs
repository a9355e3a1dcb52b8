//! Finding the bare repositories below the allowed folders.

use std::path::{Path, PathBuf};

use super::address::is_bare;

const DEPTH_MAX: usize = 8;
const FOLDERS_MAX: usize = 100_000;

/// Every bare repository below `roots` whose path is text without control characters, in path order. Links are not followed,
/// hidden folders not entered, and a repository is not searched for others. At most 8 levels deep and 100,000 folders in all.
pub(super) fn find(roots: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    let mut looked = 0;
    for root in roots {
        search(root, 0, &mut looked, &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn search(folder: &Path, depth: usize, looked: &mut usize, found: &mut Vec<String>) {
    *looked += 1;
    if *looked > FOLDERS_MAX {
        return;
    }
    if is_bare(folder) {
        found.extend(folder.to_str().filter(|path| !path.chars().any(char::is_control)).map(str::to_owned));
        return;
    }
    // A folder that may not be read holds nothing that we could serve.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !hidden && depth < DEPTH_MAX {
            search(&entry.path(), depth + 1, looked, found);
        }
    }
}
