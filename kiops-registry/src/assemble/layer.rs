//! Writing a layer: the same entries give the same bytes, whoever writes them.

use std::fs::File;
use std::hash::{Hash as _, Hasher};
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use kiops_core::name::Digest;
use kiops_core::stage::FailureKind;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::archive::pax_record;
use super::compression::Compression;
use super::filename;
use super::outcome::{Stop, disk_error};
use super::run::Run;
use super::tree::{Content, Kind, Meta, Node, Tree};
use crate::disk::io_error;

/// A compressed layer in the working directory.
#[derive(Debug, Clone)]
pub(super) struct LayerFile {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// The digest of the uncompressed archive.
    pub(super) diff_id: Digest,
    pub(super) media_type: &'static str,
}

/// How many bytes are copied at once.
const CHUNK: usize = 128 * 1024;

/// Writes the entries of a tree as a compressed archive, in their order: folders before what is in them.
pub(super) fn write(
    path: &Path,
    entries: &Tree,
    compression: Compression,
    run: &Run,
) -> Result<LayerFile, Stop> {
    let io = |error| disk_error(&io_error("write layer", path, error));
    let file =
        Hashing { hasher: Sha256::new(), size: 0, inner: BufWriter::new(File::create(path).map_err(io)?) };
    let encoder = compression.encoder(file).map_err(io)?;
    let mut archive = Hashing { hasher: Sha256::new(), size: 0, inner: encoder };
    let mut buffer = vec![0; CHUNK];
    for (name, node) in entries.iter() {
        run.tick()?;
        entry(&mut archive, name, node, &mut buffer, run, &io)?;
    }
    archive.write_all(&[0; 1024]).map_err(io)?;
    let diff_id = Digest::from_sha256(&archive.hasher.finalize().into());
    let mut file = archive.inner.finish().map_err(io)?;
    file.flush().map_err(io)?;
    let digest = Digest::from_sha256(&file.hasher.finalize().into());
    let media_type = compression.media_type();
    Ok(LayerFile { path: path.to_owned(), digest, size: file.size, diff_id, media_type })
}

/// What is the same for entries that make the same layer: their names and looks, and where their content lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(entries: &Tree) -> Self {
        struct Fed(Sha256);
        impl Hasher for Fed {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut fed = Fed(Sha256::new());
        entries.iter().for_each(|entry| entry.hash(&mut fed));
        Self(fed.0.finalize().into())
    }
}

fn entry(
    out: &mut impl Write,
    name: &str,
    node: &Node,
    buffer: &mut [u8],
    run: &Run,
    io: &impl Fn(io::Error) -> Stop,
) -> Result<(), Stop> {
    let (kind, size, link) = match &node.kind {
        Kind::Dir => (EntryType::Directory, 0, None),
        Kind::File(content) => (EntryType::Regular, content.size(), None),
        Kind::Link(target) => (EntryType::Symlink, 0, Some(filename::bytes(target))),
        Kind::Special => return Ok(()),
    };
    let mut name = filename::bytes(name);
    if kind == EntryType::Directory {
        name.push(b'/');
    }
    let mut records = Vec::new();
    if name.len() > 100 {
        records.extend(pax_record("path", &name));
    }
    if let Some(link) = link.as_ref().filter(|link| link.len() > 100) {
        records.extend(pax_record("linkpath", link));
    }
    for (key, value) in &node.meta.xattrs {
        records.extend(pax_record(key, value));
    }
    if !records.is_empty() {
        let meta = Meta { mode: 0o644, ..Meta::default() };
        let header = header(b"PaxHeaders", EntryType::XHeader, records.len() as u64, None, &meta);
        out.write_all(header.as_bytes()).map_err(io)?;
        records.resize(records.len().next_multiple_of(512), 0);
        out.write_all(&records).map_err(io)?;
    }
    out.write_all(header(&name, kind, size, link.as_deref(), &node.meta).as_bytes()).map_err(io)?;
    let Kind::File(content) = &node.kind else { return Ok(()) };
    match content {
        Content::Inline(bytes) => out.write_all(bytes).map_err(io)?,
        Content::Spooled { file, offset, size } => {
            let mut reader = File::open(&**file).map_err(io)?;
            reader.seek(SeekFrom::Start(*offset)).map_err(io)?;
            let mut left = *size;
            while left > 0 {
                run.tick()?;
                let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                let chunk = buffer.get_mut(..want).unwrap_or_default();
                reader.read_exact(chunk).map_err(io)?;
                out.write_all(chunk).map_err(io)?;
                left -= want as u64;
            }
        }
        Content::Layer { path, .. } => {
            return Err(Stop::failed(
                FailureKind::Internal,
                format!("`{path}` was not fetched from its layer"),
            ));
        }
    }
    let padding = size.next_multiple_of(512) - size;
    io::copy(&mut io::repeat(0).take(padding), out).map_err(io)?;
    Ok(())
}

/// A header whose name is cut where a PAX record before it has the whole.
fn header(name: &[u8], kind: EntryType, size: u64, link: Option<&[u8]>, meta: &Meta) -> Header {
    let mut header = Header::new_ustar();
    if let Some(ustar) = header.as_ustar_mut() {
        for (slot, byte) in ustar.name.iter_mut().zip(name) {
            *slot = *byte;
        }
        for (slot, byte) in ustar.linkname.iter_mut().zip(link.unwrap_or_default()) {
            *slot = *byte;
        }
    }
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(meta.mode);
    header.set_uid(meta.uid);
    header.set_gid(meta.gid);
    header.set_mtime(meta.mtime);
    header.set_cksum();
    header
}

/// A writer that knows the digest and the number of the bytes that went through it.
struct Hashing<W> {
    hasher: Sha256,
    size: u64,
    inner: W,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn run() -> Run {
        Run::new(kiops_core::log::Masker::new([]).unwrap())
    }

    fn node(kind: Kind) -> Node {
        Node { kind, meta: Meta { mode: 0o644, uid: 3_000_000, gid: 7, mtime: 9, ..Meta::default() } }
    }

    #[test]
    fn a_layer_reads_back_with_long_names_links_and_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let mut tree = Tree::default();
        let mut file = node(Kind::File(Content::Inline(Bytes::from_static(b"hello"))));
        file.meta.xattrs.push(("SCHILY.xattr.security.capability".into(), b"\x01\n\0=".to_vec()));
        tree.insert(long.clone(), file);
        tree.insert("link".into(), node(Kind::Link("t".repeat(150))));
        tree.insert("dir".into(), node(Kind::Dir));
        let layer = write(&dir.path().join("l"), &tree, Compression::gzip(), &run()).unwrap();
        let packed = std::fs::read(&layer.path).unwrap();
        assert_eq!((Digest::of(&packed), packed.len() as u64), (layer.digest.clone(), layer.size));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(Digest::of(&plain), layer.diff_id);
        let mut archive = tar::Archive::new(&plain[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (3_000_000, 7));
            let link = entry.link_name().unwrap().map(|link| link.to_str().unwrap().len());
            seen.push((entry.path().unwrap().to_str().unwrap().to_owned(), link, text));
        }
        assert_eq!(
            seen,
            [
                (long, None, "hello".to_owned()),
                ("dir/".to_owned(), None, String::new()),
                ("link".to_owned(), Some(150), String::new()),
            ]
        );
    }

    #[test]
    fn the_same_entries_give_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.insert("a".into(), node(Kind::File(Content::Inline(Bytes::from(vec![b'x'; 70_000])))));
        let first = write(&dir.path().join("1"), &tree, Compression::gzip(), &run()).unwrap();
        let second = write(&dir.path().join("2"), &tree, Compression::gzip(), &run()).unwrap();
        assert_eq!((first.digest, first.diff_id), (second.digest, second.diff_id));
    }

    #[test]
    fn a_fingerprint_tells_names_looks_and_places_apart() {
        let file = |content: Content| node(Kind::File(content));
        let spooled = |offset| {
            let file = std::sync::Arc::new("x".into());
            Content::Spooled { file, offset, size: 7 }
        };
        let other_owner = Node { meta: Meta { uid: 1, ..Meta::default() }, ..node(Kind::Dir) };
        let trees = [
            vec![],
            vec![("a", node(Kind::Dir))],
            vec![("a", other_owner)],
            vec![("a", node(Kind::Link("b".into())))],
            vec![("ab", node(Kind::Link("".into())))],
            vec![("a", file(spooled(0)))],
            vec![("a", file(spooled(1)))],
            vec![("a", file(Content::Inline(Bytes::from_static(b"x"))))],
            vec![("a", file(Content::Inline(Bytes::from_static(b"y"))))],
        ];
        let prints = trees.clone().map(|nodes| {
            let mut tree = Tree::default();
            nodes.into_iter().for_each(|(name, node)| tree.insert(name.into(), node));
            assert_eq!(Fingerprint::of(&tree), Fingerprint::of(&tree.clone()));
            Fingerprint::of(&tree)
        });
        assert_eq!(prints.iter().collect::<std::collections::HashSet<_>>().len(), trees.len());
    }

    #[test]
    fn a_canceled_run_writes_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.insert("a".into(), node(Kind::Dir));
        let run = run();
        run.cancel();
        assert!(matches!(
            write(&dir.path().join("1"), &tree, Compression::gzip(), &run),
            Err(Stop::Canceled)
        ));
    }
}
