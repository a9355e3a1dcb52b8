//! Gzip in blocks of a fixed size, which several threads compress at once.
//!
//! A block starts with what the one before ended with as its dictionary, and ends at a whole byte: so all of them together are one
//! deflate stream in one gzip member, whoever compressed which. The bytes depend on the content and the level, and neither on how
//! the content arrives nor on how many threads there are.
//!
//! zlib-rs is used by itself and not through flate2, whose compressor is whatever any crate of a program asks for.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::{self, Receiver, SendError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use zlib_rs::crc32::{crc32, crc32_combine};
use zlib_rs::{Deflate, DeflateFlush, Status};

/// How many bytes a block has, but for the last one. Another size gives other bytes.
const BLOCK: usize = 256 * 1024;

/// How far back deflate refers.
const WINDOW: usize = 32 * 1024;

/// More threads than this would wait for the one that reads and hashes.
const MOST_THREADS: usize = 4;

/// A writer that compresses into another one. Some two blocks for each thread are held.
pub(super) struct GzipEncoder<W> {
    inner: W,
    block: Block,
    workers: Workers,
    /// What was given to the workers, in its order.
    waiting: VecDeque<Receiver<io::Result<Packed>>>,
    checksum: u32,
    size: u64,
}

/// Bytes that are compressed at once.
struct Block {
    /// The dictionary, and what is to be compressed behind it.
    bytes: Vec<u8>,
    dictionary: usize,
    last: bool,
}

struct Packed {
    bytes: Vec<u8>,
    checksum: u32,
    size: u64,
}

impl<W: Write> GzipEncoder<W> {
    /// With as many threads as there are processors, started once a block is full.
    pub(super) fn new(inner: W, level: u32) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        Self::with_threads(inner, level, threads)
    }

    fn with_threads(mut inner: W, level: u32, threads: usize) -> io::Result<Self> {
        let effort = match level {
            9 => 2,
            1 => 4,
            _ => 0,
        };
        // Without a time and a name in its header, and for no particular system, the bytes depend on the content alone.
        inner.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 255])?;
        let level = i32::try_from(level).unwrap_or(9).min(9);
        let workers = Workers { threads, level, jobs: None };
        let (block, waiting) = (Block::after(&[]), VecDeque::new());
        Ok(Self { inner, block, workers, waiting, checksum: 0, size: 0 })
    }

    /// Writes what is still held back, and gives the writer below it.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.block.last = true;
        let last = std::mem::replace(&mut self.block, Block::after(&[]));
        // By itself a block is not worth a thread.
        if self.waiting.is_empty() {
            let packed = last.pack(self.workers.level)?;
            self.take(&packed)?;
        } else {
            self.give(last)?;
            self.take_until(0)?;
        }
        self.inner.write_all(&self.checksum.to_le_bytes())?;
        // The format counts modulo 2^32.
        let [a, b, c, d, ..] = self.size.to_le_bytes();
        self.inner.write_all(&[a, b, c, d])?;
        Ok(self.inner)
    }

    fn give(&mut self, block: Block) -> io::Result<()> {
        self.waiting.push_back(self.workers.give(block));
        self.take_until(2 * self.workers.threads)
    }

    /// Writes what is compressed, in its order, until so many blocks are left.
    fn take_until(&mut self, left: usize) -> io::Result<()> {
        while self.waiting.len() > left {
            let Some(packed) = self.waiting.pop_front() else { break };
            self.take(&packed.recv().map_err(|_| gone())??)?;
        }
        Ok(())
    }

    fn take(&mut self, packed: &Packed) -> io::Result<()> {
        self.inner.write_all(&packed.bytes)?;
        self.checksum = crc32_combine(self.checksum, packed.checksum, packed.size);
        self.size += packed.size;
        Ok(())
    }
}

impl<W: Write> Write for GzipEncoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.block.extend(bytes);
        if self.block.is_full() {
            let next = Block::after(&self.block.bytes);
            let full = std::mem::replace(&mut self.block, next);
            self.give(full)?;
        }
        Ok(taken)
    }

    /// Writes what is compressed by now: where a block ends is not for the caller to say.
    fn flush(&mut self) -> io::Result<()> {
        self.take_until(0)?;
        self.inner.flush()
    }
}

impl Block {
    fn after(before: &[u8]) -> Self {
        let dictionary = before.get(before.len().saturating_sub(WINDOW)..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(dictionary.len() + BLOCK);
        bytes.extend_from_slice(dictionary);
        Self { bytes, dictionary: dictionary.len(), last: false }
    }

    /// Takes as many bytes as there is room for.
    fn extend(&mut self, bytes: &[u8]) -> usize {
        let room = self.dictionary + BLOCK - self.bytes.len();
        let fitting = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend_from_slice(fitting);
        fitting.len()
    }

    const fn is_full(&self) -> bool {
        self.bytes.len() == self.dictionary + BLOCK
    }

    /// By a compressor of its own: one that is used again reads a byte behind the dictionary that an earlier block left there
    /// (zlib-rs 0.6.8), and finds other matches.
    fn pack(&self, level: i32) -> io::Result<Packed> {
        let (dictionary, content) = self.bytes.split_at(self.dictionary);
        let mut deflate = Deflate::new(level, false, 15);
        if !dictionary.is_empty() {
            deflate.set_dictionary(dictionary).map_err(failed)?;
        }
        // What does not compress grows by a few bytes for each 16 KiB.
        let mut bytes = vec![0; content.len() + content.len() / 1024 + 64];
        let flush = if self.last { DeflateFlush::Finish } else { DeflateFlush::SyncFlush };
        loop {
            let (read, written) = (number(deflate.total_in()), number(deflate.total_out()));
            let rest = content.get(read..).unwrap_or_default();
            let room = bytes.get_mut(written..).unwrap_or_default();
            let status = deflate.compress(rest, room, flush).map_err(failed)?;
            let written = number(deflate.total_out());
            // Room that is left over says that everything is out.
            if status == Status::StreamEnd || (!self.last && written < bytes.len()) {
                bytes.truncate(written);
                break;
            }
            bytes.resize(bytes.len() + BLOCK, 0);
        }
        Ok(Packed { bytes, checksum: crc32(0, content), size: content.len() as u64 })
    }
}

/// Threads that compress blocks. They end with what gives them work.
struct Workers {
    threads: usize,
    level: i32,
    /// `None`: none was needed yet.
    jobs: Option<Sender<Job>>,
}

type Job = (Block, Sender<io::Result<Packed>>);

impl Workers {
    /// Has a block compressed, by this thread where there is no other.
    fn give(&mut self, block: Block) -> Receiver<io::Result<Packed>> {
        let (answer, packed) = mpsc::channel();
        let (threads, level) = (self.threads, self.level);
        let jobs = self.jobs.get_or_insert_with(|| {
            let (jobs, queue) = mpsc::channel();
            let queue = Arc::new(Mutex::new(queue));
            (0..threads).for_each(|_| start(level, Arc::clone(&queue)));
            jobs
        });
        if let Err(SendError((block, answer))) = jobs.send((block, answer)) {
            pack(&block, level, &answer);
        }
        packed
    }
}

/// Starts a thread, where there is one to be had. The queue is closed with its last thread.
fn start(level: i32, queue: Arc<Mutex<Receiver<Job>>>) {
    let work = move || loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, answer)) = job else { return };
        pack(&block, level, &answer);
    };
    let started = thread::Builder::new().name("kiops-gzip".to_owned()).spawn(work);
    if let Err(error) = started {
        tracing::debug!(%error, "one thread less compresses");
    }
}

fn pack(block: &Block, level: i32, answer: &Sender<io::Result<Packed>>) {
    // Nobody waits for it any more where writing has failed.
    let _ = answer.send(block.pack(level));
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

fn failed(error: zlib_rs::DeflateError) -> io::Error {
    io::Error::other(error.as_str())
}

/// What lies in memory is counted by a `usize`.
fn number(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use kiops_core::name::Digest;

    fn packed(content: &[u8], level: u32, threads: usize, chunk: usize) -> Vec<u8> {
        let mut encoder = GzipEncoder::with_threads(Vec::new(), level, threads).unwrap();
        content.chunks(chunk).for_each(|chunk| encoder.write_all(chunk).unwrap());
        encoder.finish().unwrap()
    }

    fn noise(size: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(byte).take(size).collect()
    }

    /// Noise and text in turns.
    fn content(size: usize) -> Vec<u8> {
        let mut bytes = noise(size);
        for text in bytes.chunks_mut(4096).skip(1).step_by(2) {
            text.iter_mut().for_each(|byte| *byte = b"etaoin shrdlu\n<>"[usize::from(*byte % 16)]);
        }
        bytes
    }

    #[test]
    fn every_size_around_a_block_is_one_member_that_reads_back() {
        let whole = content(3 * BLOCK + 1);
        for size in [0, 1, 511, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 1] {
            for level in [0, 1, 6, 9] {
                let content = &whole[..size];
                let bytes = packed(content, level, 2, size.max(1));
                let mut one = GzDecoder::new(&bytes[..]);
                let mut read = Vec::new();
                one.read_to_end(&mut read).unwrap();
                assert!(read == content, "{size} bytes at level {level}");
                assert!(one.into_inner().is_empty(), "nothing follows the member");
            }
        }
    }

    #[test]
    fn neither_the_number_of_threads_nor_the_chunks_change_a_byte() {
        let content = content(5 * BLOCK + 7777);
        for level in 0..=9 {
            let bytes = packed(&content, level, 1, content.len());
            for (threads, chunk) in [(0, content.len()), (2, 4093), (4, 1 << 16), (3, BLOCK)] {
                assert!(packed(&content, level, threads, chunk) == bytes, "{threads} threads at {level}");
            }
        }
    }

    #[test]
    fn a_block_does_not_depend_on_those_its_thread_did_before() {
        let mut content = noise(2 * BLOCK);
        let start = BLOCK - WINDOW;
        let mut put = |at: usize, bytes: &[u8]| content[at..at + bytes.len()].copy_from_slice(bytes);
        put(start, b"d");
        put(start + 9000, b"abcdefghijklmnopqrst");
        put(BLOCK - 3, b"abcZ");
        put(BLOCK + 500, b"abcdefghijklmnopqrst");
        for level in 0..=9 {
            let fresh = packed(&content, level, 0, BLOCK);
            assert!(packed(&content, level, 1, BLOCK) == fresh, "level {level}");
        }
    }

    /// Where this fails with another zlib-rs, images that hosts build again get other digests: say so in the changelog.
    #[test]
    fn the_bytes_are_those_of_every_machine() {
        let content = content(3 * BLOCK + 99);
        for (level, digest) in [
            (1, "fc59a5202b6f7e2daeb41ce181db42042f344aff7c121b1100403f302301f93e"),
            (6, "5e8ea4a7c3810c7b24bc7da9faa02723138721411037e69dc01bee48e2f958cd"),
            (9, "1a02ceb8b622b29890aaa4163a8055560cdf4e649ef812df539022ddfd709acf"),
        ] {
            let digest = format!("sha256:{digest}");
            assert_eq!(Digest::of(&packed(&content, level, 2, BLOCK)).as_str(), digest, "level {level}");
        }
    }

    #[test]
    fn a_block_refers_to_the_one_before() {
        let noise = noise(WINDOW / 2);
        let mut content = vec![0; BLOCK - noise.len()];
        content.extend(&noise);
        let once = packed(&content, 6, 1, BLOCK).len();
        content.extend(&noise);
        let twice = packed(&content, 6, 1, BLOCK).len();
        assert!(twice - once < 1000, "{}", twice - once);
    }

    #[test]
    fn what_does_not_compress_grows_by_little() {
        let content = noise(2 * BLOCK);
        for level in 0..=9 {
            let bytes = packed(&content, level, 2, 1 << 16);
            // Level 1 has one code for all content.
            let part = if level == 1 { 16 } else { 500 };
            assert!(bytes.len() < content.len() + content.len() / part, "level {level}: {}", bytes.len());
            let mut read = Vec::new();
            GzDecoder::new(&bytes[..]).read_to_end(&mut read).unwrap();
            assert!(read == content);
        }
    }

    #[test]
    fn a_flush_in_between_changes_nothing() {
        let content = content(2 * BLOCK + 5);
        let mut encoder = GzipEncoder::with_threads(Vec::new(), 6, 2).unwrap();
        for chunk in content.chunks(BLOCK / 3) {
            encoder.write_all(chunk).unwrap();
            encoder.flush().unwrap();
        }
        assert!(encoder.finish().unwrap() == packed(&content, 6, 2, BLOCK));
    }

    #[test]
    fn a_full_disk_below_is_told() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut encoder = GzipEncoder::with_threads(Full(300_000), 6, 2).unwrap();
        let error = io::copy(&mut &content(20 * BLOCK)[..], &mut encoder).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
