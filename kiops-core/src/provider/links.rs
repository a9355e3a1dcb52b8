//! Symbolic links within a commit: a host gives a link's target where a file's content is asked for.

use bytes::Bytes;

use super::{GitProvider, TreeEntryKind, TreeQuery};
use crate::error::Result;
use crate::event::Repository;
use crate::name::CommitId;

/// How many links are followed, as Linux does.
const LINKS_MAX: usize = 40;

/// The longest target of a link, in bytes.
const TARGET_MAX: usize = 4096;

/// How many entries of a link's folder are looked at.
const ENTRIES_MAX: usize = 100_000;

/// The content of a file at a commit, at most `cap` bytes. Unlike [`GitProvider::file`] it follows symbolic links of the file itself.
///
/// `None`: there is no such file, or a link leaves the repository or leads round in a circle. Asks for the folder only where the content
/// could be a link's: one line without an end.
pub async fn linked_file(
    provider: &dyn GitProvider,
    repository: &Repository,
    commit: &CommitId,
    path: &str,
    cap: usize,
) -> Result<Option<Bytes>> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS_MAX {
        let Some(content) = provider.file(repository, commit, &path, cap).await? else { return Ok(None) };
        let Some(target) = could_be_target(&content) else { return Ok(Some(content)) };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let query = TreeQuery { folder: folder.to_owned(), recursive: false, limit: ENTRIES_MAX };
        let entries = provider.tree(repository, commit, &query).await?;
        let is_link = entries.iter().any(|entry| entry.path == path && entry.kind == TreeEntryKind::Symlink);
        if !is_link {
            return Ok(Some(content));
        }
        match resolved(folder, target) {
            Some(next) => path = next,
            None => return Ok(None),
        }
    }
    Ok(None)
}

fn could_be_target(content: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content).ok()?;
    (1..=TARGET_MAX).contains(&text.len()).then_some(text).filter(|text| !text.contains(['\n', '\0']))
}

/// Where a link in `folder` leads; `None`: out of the repository, or to its root.
fn resolved(folder: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_a_path_of_the_repository_or_nowhere() {
        for (folder, target, path) in [
            ("", "docker/Dockerfile", Some("docker/Dockerfile")),
            ("a/b", "../c", Some("a/c")),
            ("a", "./b//c", Some("a/b/c")),
            ("a", "../..", None),
            ("a", "..", None),
            ("", "../x", None),
            ("", "/etc/passwd", None),
        ] {
            assert_eq!(resolved(folder, target).as_deref(), path, "{folder} {target}");
        }
    }

    #[test]
    fn only_one_line_without_an_end_could_be_a_link() {
        assert_eq!(could_be_target(b"docker/Dockerfile"), Some("docker/Dockerfile"));
        for content in [&b""[..], b"FROM scratch\n", b"\xff", &[b'a'; TARGET_MAX + 1]] {
            assert_eq!(could_be_target(content), None);
        }
    }
}
