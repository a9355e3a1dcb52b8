//! A host's archive made into one whose paths are relative to the root: without the folder that hosts pack everything into.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::pin::pin;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures_util::future::{Either, select};
use futures_util::stream as futures;
use kiops_core::stream::{self, ByteStream};
use kiops_core::{Error, ErrorKind, Result};
use tar::{Archive, Builder, EntryType, Header};
use tokio::sync::mpsc;

/// How a host packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// An uncompressed tar file.
    Tar,
    /// One compressed by gzip.
    TarGz,
}

const OPERATION: &str = "read archive";
/// A tar file ends with two blocks of zeros. One that ends elsewhere was cut off.
const END: usize = 1024;
const CHUNKS: usize = 4;

/// The archive without its outermost folder, at most `max` bytes of it. Its last item is an error where anything is wrong: cut off,
/// no archive, a path that leads out, more than `max` bytes. Dropping it ends the work.
pub(crate) fn without_root(packed: ByteStream, packing: Packing, max: u64) -> ByteStream {
    let (input, chunks) = mpsc::channel(CHUNKS);
    let (output, ready) = mpsc::channel(CHUNKS);
    tokio::spawn(pump(packed, input, output.clone()));
    tokio::task::spawn_blocking(move || {
        let mut source = Source { chunks, chunk: Bytes::new(), failed: None };
        let sink = Sink { output: output.clone(), left: max, buffer: Vec::new(), failed: None };
        if let Err(error) = repack(&mut source, packing, sink, max) {
            let error = source.failed.take().unwrap_or(error);
            // Nobody is left to hear it where the reader has let go.
            drop(output.blocking_send(Err(error)));
        }
    });
    Box::pin(futures::unfold(Some(ready), |ready| async {
        let mut ready = ready?;
        match ready.recv().await? {
            Ok(chunk) => Some((Ok(chunk), Some(ready))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

/// How many bytes an archive may have as it comes: with the folder that is taken away again it is a little larger.
pub(crate) const fn packed(max: u64) -> u64 {
    max.saturating_add(max / 8).saturating_add(1 << 20)
}

/// Hands on what comes, until it ends or nobody wants the archive any more.
async fn pump(
    mut packed: ByteStream,
    input: mpsc::Sender<Result<Bytes>>,
    output: mpsc::Sender<Result<Bytes>>,
) {
    loop {
        let closed = pin!(output.closed());
        let next = pin!(stream::next(&mut packed));
        let Either::Right((Some(chunk), _)) = select(closed, next).await else { return };
        if input.send(chunk).await.is_err() {
            return;
        }
    }
}

fn repack(source: &mut Source, packing: Packing, mut sink: Sink, max: u64) -> Result<()> {
    let seen = Seen::default();
    let counted = |inner| Ending { inner, seen: &seen, left: packed(max) };
    let result = match packing {
        Packing::Tar => copy(counted(source as &mut dyn Read), &seen, &mut sink),
        Packing::TarGz => {
            let mut unpacked = MultiGzDecoder::new(BufReader::new(source));
            copy(counted(&mut unpacked as &mut dyn Read), &seen, &mut sink)
        }
    };
    let result = result.and_then(|()| sink.finish());
    result.map_err(|error| {
        if seen.too_large.get() || matches!(sink.failed, Some(Stop::TooLarge)) {
            let message = format!("the archive is larger than the limit of {max} bytes");
            return Error::new(ErrorKind::TooLarge, OPERATION, message)
                .with_remedy("make the repository smaller, or raise max_archive_bytes");
        }
        Error::unavailable(OPERATION, format!("the host's archive is damaged or was cut off: {error}"))
    })
}

fn copy(mut packed: Ending<'_, &mut dyn Read>, seen: &Seen, sink: &mut Sink) -> io::Result<()> {
    let mut archive = Archive::new(&mut packed);
    let mut out = Builder::new(&mut *sink);
    let mut root = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let (folder, path) = below_root(&entry.path()?)?;
        // A host that packs no folder around it would lose one of the repository's own, or its files.
        if *root.get_or_insert_with(|| folder.clone()) != folder
            || path.is_none() && kind != EntryType::Directory
        {
            return Err(damaged("no one folder around everything"));
        }
        let Some(path) = path else { continue };
        let mut header = Header::new_gnu();
        header.set_mtime(entry.header().mtime()?);
        let mode = entry.header().mode()?;
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(if mode & 0o111 == 0 { 0o644 } else { 0o755 });
                header.set_size(entry.size());
                out.append_data(&mut header, &path, &mut entry)?;
            }
            EntryType::Directory => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                out.append_data(&mut header, &path, io::empty())?;
            }
            EntryType::Symlink => {
                let to = entry.link_name()?.ok_or_else(|| damaged("a link without a target"))?;
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                out.append_link(&mut header, &path, to)?;
            }
            _ => return Err(damaged("an entry of a kind that Git does not have")),
        }
        // Zeros of a file's content are no end.
        seen.zeros.set(0);
    }
    out.finish()?;
    io::copy(&mut packed, &mut io::sink())?;
    if seen.zeros.get() < END {
        return Err(damaged("it ends before its end"));
    }
    Ok(())
}

/// A path's first folder, and what comes below it; `None`: it is that folder.
fn below_root(path: &Path) -> io::Result<(OsString, Option<PathBuf>)> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    let Some(Component::Normal(root)) = parts.next() else {
        return Err(damaged("a path that begins at no folder"));
    };
    let rest = parts.map(|part| match part {
        Component::Normal(name) => Ok(name),
        _ => Err(damaged("a path that leads out of its folder")),
    });
    let rest = rest.collect::<io::Result<PathBuf>>()?;
    Ok((root.to_owned(), (!rest.as_os_str().is_empty()).then_some(rest)))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The chunks that come from the host, read by a thread.
struct Source {
    chunks: mpsc::Receiver<Result<Bytes>>,
    chunk: Bytes,
    failed: Option<Error>,
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    let told = io::Error::other(error.to_string());
                    self.failed = Some(error);
                    return Err(told);
                }
            }
        }
        let n = out.len().min(self.chunk.len());
        out[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}

/// What was seen of an archive on its way.
#[derive(Default)]
struct Seen {
    /// How many zeros what was read ends with.
    zeros: Cell<usize>,
    /// Whether it has more bytes than it may.
    too_large: Cell<bool>,
}

/// Counts what is read, unpacked: also what is in no file.
struct Ending<'a, R> {
    inner: R,
    seen: &'a Seen,
    left: u64,
}

impl<R: Read> Read for Ending<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            self.seen.too_large.set(true);
            io::Error::other("the limit is reached")
        })?;
        let zeros = match out[..n].iter().rev().position(|byte| *byte != 0) {
            Some(zeros) => zeros,
            None => self.seen.zeros.get().saturating_add(n),
        };
        self.seen.zeros.set(zeros);
        Ok(n)
    }
}

enum Stop {
    TooLarge,
    LetGo,
}

/// The chunks that go to the reader.
struct Sink {
    output: mpsc::Sender<Result<Bytes>>,
    left: u64,
    buffer: Vec<u8>,
    failed: Option<Stop>,
}

const CHUNK: usize = 64 * 1024;

impl Sink {
    fn finish(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.buffer);
        if rest.is_empty() { Ok(()) } else { self.send(rest) }
    }

    fn send(&mut self, chunk: Vec<u8>) -> io::Result<()> {
        self.output.blocking_send(Ok(chunk.into())).map_err(|_| {
            self.failed = Some(Stop::LetGo);
            io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads on")
        })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            self.failed = Some(Stop::TooLarge);
            io::Error::other("the limit is reached")
        })?;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            let chunk = std::mem::take(&mut self.buffer);
            self.send(chunk)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::StreamExt as _;
    use proptest::prelude::*;

    use super::*;

    fn packed(paths: &[&str]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for path in paths {
            let mut header = Header::new_gnu();
            header.set_size(3);
            header.set_mode(0o664);
            header.set_entry_type(EntryType::Regular);
            // As a hostile host would: `set_path` refuses what leads out.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, &b"abc"[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn chunks(bytes: &[u8]) -> ByteStream {
        let chunks: Vec<_> = bytes.chunks(700).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        Box::pin(futures::iter(chunks))
    }

    async fn paths(bytes: &[u8], packing: Packing, max: u64) -> Result<Vec<String>> {
        let all = stream::collect(without_root(chunks(bytes), packing, max), usize::MAX).await?;
        let mut archive = Archive::new(&all[..]);
        let entries = archive.entries().unwrap();
        Ok(entries.map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned()).collect())
    }

    #[tokio::test]
    async fn the_outermost_folder_is_left_out() {
        let bytes = packed(&["app-1234/a", "app-1234/b/c", "./app-1234/d"]);
        assert_eq!(paths(&bytes, Packing::Tar, 1 << 20).await.unwrap(), ["a", "b/c", "d"]);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&bytes).unwrap();
        let bytes = gzip.finish().unwrap();
        assert_eq!(paths(&bytes, Packing::TarGz, 1 << 20).await.unwrap(), ["a", "b/c", "d"]);
    }

    #[tokio::test]
    async fn an_archive_that_was_cut_off_ends_with_an_error_wherever_that_was() {
        let bytes = packed(&["app/a", "app/b"]);
        // Without its last two blocks, too: everything is there, and nobody can know.
        for end in [0, 1, 512, 700, 1024, 1030, 2048, bytes.len() - 1024] {
            let error = paths(&bytes[..end], Packing::Tar, 1 << 20).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{end}");
        }
    }

    #[tokio::test]
    async fn a_path_that_leads_out_is_refused() {
        for path in ["../a", "app/../../a", "/etc/passwd", "app/../a"] {
            let error = paths(&packed(&[path]), Packing::Tar, 1 << 20).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{path}");
        }
    }

    #[tokio::test]
    async fn an_archive_without_a_folder_around_everything_is_refused() {
        for paths_in_it in [&["Dockerfile"][..], &["src/main.rs", "docs/a"], &["app/a", "Dockerfile"]] {
            let error = paths(&packed(paths_in_it), Packing::Tar, 1 << 20).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{paths_in_it:?}");
        }
    }

    #[tokio::test]
    async fn an_archive_is_counted_unpacked() {
        let bytes = packed(&["app/a"; 50]);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&bytes).unwrap();
        let gzip = gzip.finish().unwrap();
        assert!(gzip.len() < 2000);
        let error = paths(&gzip, Packing::TarGz, 10_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn what_is_in_no_file_is_counted_too() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&packed(&["app/a"])).unwrap();
        gzip.write_all(&vec![0; 8 << 20]).unwrap();
        let gzip = gzip.finish().unwrap();
        let error = paths(&gzip, Packing::TarGz, 10_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn zeros_of_a_file_are_not_the_archives_end() {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(4096);
        header.set_mode(0o644);
        builder.append_data(&mut header, "app/zeros", &[0; 4096][..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        paths(&bytes, Packing::Tar, 1 << 20).await.unwrap();
        let error = paths(&bytes[..bytes.len() - 1024], Packing::Tar, 1 << 20).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_host_that_stalls_is_let_go_of_with_its_archive() {
        let stalls = futures::iter([Ok(Bytes::from_static(b"abc"))]).chain(futures::pending());
        let (held, gone) = tokio::sync::oneshot::channel::<()>();
        let stalls = stalls.inspect(move |_: &Result<Bytes>| assert!(!held.is_closed()));
        drop(without_root(Box::pin(stalls), Packing::Tar, 1 << 20));
        gone.await.unwrap_err();
    }

    #[tokio::test]
    async fn the_hosts_own_error_is_told() {
        let broken = vec![
            Ok(Bytes::from_static(b"abc")),
            Err(Error::new(ErrorKind::Timeout, "archive", "it took longer than a minute")),
        ];
        let archive = without_root(Box::pin(futures::iter(broken)), Packing::Tar, 1 << 20);
        assert_eq!(stream::collect(archive, 1 << 20).await.unwrap_err().kind(), ErrorKind::Timeout);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_bytes_end_in_an_archive_or_an_error(
            flips in prop::collection::vec((0usize..2600, any::<u8>()), 0..20),
        ) {
            let mut bytes = packed(&["app/a", "app/b"]);
            for (at, byte) in flips {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                drop(stream::collect(without_root(chunks(&bytes), Packing::Tar, 1 << 20), 1 << 21).await);
            });
        }
    }
}
