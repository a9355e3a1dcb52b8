//! A source made of files that stand in a test.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::error::{Error, Result};
use crate::name::CommitId;
use crate::provider::CloneAccess;
use crate::run::SourceAccess;
use crate::stream::ByteStream;

/// A commit whose files are in memory: path and content of each. Its archive is a ustar file that comes in small chunks.
///
/// Paths are at most 255 bytes, with a slash that leaves at most 100 of them after it and 155 before it. Every file has
/// mode 0644, owner 0:0 and time 0; folders have no entries of their own. It has no address to clone from.
#[derive(Debug, Clone)]
pub struct FilesSource {
    commit: CommitId,
    files: BTreeMap<String, Bytes>,
    stalls: bool,
}

/// How much comes at once: less than a block of a tar file, so that no reader relies on where a chunk ends.
const CHUNK: usize = 500;
/// A tar file is made of blocks.
const BLOCK: usize = 512;

impl FilesSource {
    /// These files at this commit.
    pub const fn new(commit: CommitId, files: BTreeMap<String, Bytes>) -> Self {
        Self { commit, files, stalls: false }
    }

    /// The same, but its archive stops halfway and never ends: what reads it goes on until it is canceled.
    #[must_use]
    pub const fn that_stalls(mut self) -> Self {
        self.stalls = true;
        self
    }

    /// The whole archive.
    ///
    /// # Errors
    /// `Invalid` for a path that a ustar header cannot hold.
    pub fn to_tar(&self) -> Result<Bytes> {
        let mut archive = Vec::new();
        for (path, content) in &self.files {
            archive.extend_from_slice(&header(path, content.len())?);
            archive.extend_from_slice(content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        Ok(archive.into())
    }
}

#[async_trait]
impl SourceAccess for FilesSource {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    async fn archive(&self) -> Result<ByteStream> {
        let archive = self.to_tar()?;
        let sent = if self.stalls { archive.slice(..archive.len() / 2) } else { archive };
        let chunks: Vec<_> = sent.chunks(CHUNK).map(|chunk| Ok(sent.slice_ref(chunk))).collect();
        let chunks = stream::iter(chunks);
        if self.stalls { Ok(Box::pin(chunks.chain(stream::pending()))) } else { Ok(Box::pin(chunks)) }
    }

    async fn clone_access(&self) -> Result<CloneAccess> {
        Err(Error::unsupported("clone", "files in memory have no address"))
    }
}

/// The header of a regular file (POSIX.1-1988, ustar).
fn header(path: &str, size: usize) -> Result<[u8; BLOCK]> {
    let too_long = || Error::invalid("write archive", format!("`{path}` does not fit into a ustar header"));
    let (prefix, name) = split(path).ok_or_else(too_long)?;
    if size >= 1 << 33 {
        return Err(Error::invalid("write archive", format!("`{path}` has 8 GiB or more")));
    }
    let mut block = [0; BLOCK];
    let mut write = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    write(0, name);
    write(100, "0000644");
    write(108, "0000000");
    write(116, "0000000");
    write(124, &format!("{size:011o}"));
    write(136, "00000000000");
    // The checksum counts its own field as spaces.
    write(148, "        ");
    write(156, "0");
    write(257, "ustar\0");
    write(263, "00");
    write(329, "0000000");
    write(337, "0000000");
    write(345, prefix);
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// A path as prefix and name, where it fits into 155 and 100 bytes.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.is_empty() || path.contains('\0') {
        return None;
    }
    if path.len() <= 100 {
        return Some(("", path));
    }
    let fits = |(prefix, name): &(&str, &str)| {
        !prefix.is_empty() && prefix.len() <= 155 && !name.is_empty() && name.len() <= 100
    };
    path.match_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..])).find(fits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream;

    fn source(files: &[(&str, &'static str)]) -> FilesSource {
        let files =
            files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from_static(text.as_bytes())));
        FilesSource::new(CommitId::parse("a".repeat(40)).unwrap(), files.collect())
    }

    #[tokio::test]
    async fn files_stand_in_order_each_with_its_header_and_whole_blocks() {
        let source = source(&[("b/c", "xyz"), ("a", "")]);
        let archive = stream::collect(source.archive().await.unwrap(), 1 << 20).await.unwrap();
        assert_eq!(archive.len(), (1 + 2 + 2) * BLOCK);
        assert_eq!((&archive[..2], &archive[512..516]), (&b"a\0"[..], &b"b/c\0"[..]));
        assert_eq!(&archive[512 + 124..512 + 136], b"00000000003\0");
        assert_eq!(&archive[1024..1028], b"xyz\0");
        assert!(archive[1536..].iter().all(|byte| *byte == 0));
    }

    #[tokio::test]
    async fn an_archive_that_stalls_gives_half_and_never_ends() {
        let source = source(&[("a", "text")]);
        let whole = source.to_tar().unwrap();
        let mut archive = source.that_stalls().archive().await.unwrap();
        let mut seen = 0;
        let rest = async {
            while let Some(chunk) = stream::next(&mut archive).await {
                seen += chunk.unwrap().len();
            }
        };
        tokio::time::timeout(std::time::Duration::from_millis(10), rest).await.unwrap_err();
        assert_eq!(seen, whole.len() / 2);
    }

    #[test]
    fn a_long_path_is_split_at_a_slash_or_refused() {
        let (folder, name) = ("f".repeat(150), "n".repeat(100));
        assert_eq!(split(&format!("{folder}/{name}")), Some((folder.as_str(), name.as_str())));
        assert_eq!(split(&"n".repeat(101)), None);
        assert_eq!(split(&format!("{}/{name}", "f".repeat(156))), None);
        assert_eq!(split(""), None);
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "[a-z/é]{0,300}") {
            if let Ok(header) = header(&path, 7) {
                let sum: u32 = header.iter().enumerate()
                    .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
                    .sum();
                let expected = format!("{sum:06o}");
                prop_assert_eq!(&header[148..154], expected.as_bytes());
            }
        }
    }
}
