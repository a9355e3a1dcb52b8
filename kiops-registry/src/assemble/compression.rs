//! How layers are compressed. The bytes that come out depend on what goes in, the level and the compressor's version, and on nothing else.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use zstd::stream::write::Encoder as ZstdEncoder;

use super::gzip::GzipEncoder;

/// How the layers that an [`Assembler`](super::Assembler) makes are compressed. Layers of bases stay as they are.
///
/// Written `gzip`, `gzip:9`, `zstd` or `zstd:19`, in settings too. Another compression, level or version of the compressor gives
/// other digests; the digests of what is compressed (`diff_ids`) stay the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Compression {
    /// Gzip (RFC 1952), which everything that pulls images reads.
    ///
    /// A layer is one member. Up to four threads make it, 256 KiB at a time, and its bytes are the same with any number of them.
    Gzip {
        /// 0 (not compressed) to 9. 6 where none is written.
        level: u32,
    },
    /// Zstandard (RFC 8878): smaller and faster to unpack, for what reads OCI's image specification 1.1.
    ///
    /// A layer is one frame, made by one thread, without a checksum, a dictionary or its content's size. Its window is 8 MiB at most, which
    /// the RFC recommends decoders to take and encoders not to exceed: that is why the levels end at 19.
    Zstd {
        /// 1 to 19. 3 where none is written.
        level: u32,
    },
}

impl Default for Compression {
    fn default() -> Self {
        Self::gzip()
    }
}

impl Compression {
    /// Gzip at its usual level, 6.
    #[must_use]
    pub const fn gzip() -> Self {
        Self::Gzip { level: 6 }
    }

    /// Zstandard at its usual level, 3.
    #[must_use]
    pub const fn zstd() -> Self {
        Self::Zstd { level: 3 }
    }

    /// The media type of a layer that is compressed so.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Gzip { .. } => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd { .. } => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// # Errors
    /// `Invalid` for a level that is out of its range.
    pub(super) fn check(self) -> Result<Self> {
        let (name, level, range) = match self {
            Self::Gzip { level } => ("gzip", level, 0..=9),
            Self::Zstd { level } => ("zstd", level, 1..=19),
        };
        if range.contains(&level) {
            return Ok(self);
        }
        let message = format!("level {level} of {name} is not within {} to {}", range.start(), range.end());
        Err(Error::invalid("read compression", message)
            .with_remedy(format!("write `{name}` for its usual level, or one of these")))
    }

    /// A writer that compresses into `inner`.
    pub(super) fn encoder<W: Write>(self, inner: W) -> io::Result<Encoder<W>> {
        Ok(match self {
            Self::Gzip { level } => Encoder::Gzip(GzipEncoder::new(inner, level)?),
            // All that the format leaves open is said here, whatever the library's own choice may become. No worker threads are asked
            // for: they would cut the content in other places.
            Self::Zstd { level } => {
                let mut encoder = ZstdEncoder::new(inner, i32::try_from(level).unwrap_or(i32::MAX))?;
                encoder.include_checksum(false)?;
                encoder.include_contentsize(false)?;
                encoder.include_dictid(false)?;
                encoder.long_distance_matching(false)?;
                Encoder::Zstd(encoder)
            }
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip { level } => write!(f, "gzip:{level}"),
            Self::Zstd { level } => write!(f, "zstd:{level}"),
        }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid("read compression", format!("`{text}` is no compression")).with_remedy(
                "write gzip or zstd, with a level behind a colon where it is not the usual one: zstd:19",
            )
        };
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse().map_err(|_| refuse())?)),
            None => (text, None),
        };
        match (name, level) {
            ("gzip", None) => Ok(Self::gzip()),
            ("zstd", None) => Ok(Self::zstd()),
            ("gzip", Some(level)) => Self::Gzip { level }.check(),
            ("zstd", Some(level)) => Self::Zstd { level }.check(),
            _ => Err(refuse()),
        }
    }
}

impl TryFrom<String> for Compression {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> Self {
        compression.to_string()
    }
}

/// A writer that compresses.
pub(super) enum Encoder<W: Write> {
    Gzip(GzipEncoder<W>),
    Zstd(ZstdEncoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Writes what is still held back, and gives the writer below it.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(compression: Compression, content: &[u8], chunk: usize) -> Vec<u8> {
        let mut encoder = compression.encoder(Vec::new()).unwrap();
        content.chunks(chunk).for_each(|chunk| encoder.write_all(chunk).unwrap());
        encoder.finish().unwrap()
    }

    /// Text that compresses, and not too well.
    fn content() -> Vec<u8> {
        let mut state = 1_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"etaoin shrdlu\n<>/="[(state >> 24) as usize % 18]
        })
        .take(1 << 18)
        .collect()
    }

    #[test]
    fn what_is_written_is_read_with_its_level_and_written_the_same_again() {
        for (text, compression) in [
            ("gzip", Compression::Gzip { level: 6 }),
            ("gzip:0", Compression::Gzip { level: 0 }),
            ("zstd", Compression::Zstd { level: 3 }),
            ("zstd:19", Compression::Zstd { level: 19 }),
        ] {
            assert_eq!(text.parse::<Compression>().unwrap(), compression);
            let written = serde_json::to_string(&compression).unwrap();
            assert_eq!(written, format!("\"{compression}\""));
            assert_eq!(serde_json::from_str::<Compression>(&written).unwrap(), compression);
        }
        assert_eq!(Compression::default(), Compression::gzip());
    }

    #[test]
    fn what_is_no_compression_says_so_with_the_range() {
        for (text, words) in [
            ("gzip:10", "level 10 of gzip is not within 0 to 9"),
            ("zstd:0", "level 0 of zstd is not within 1 to 19"),
            ("zstd:20", "level 20 of zstd is not within 1 to 19"),
            ("zstd:-1", "`zstd:-1` is no compression"),
            ("zstd:", "`zstd:` is no compression"),
            ("", "`` is no compression"),
            ("xz:6", "`xz:6` is no compression"),
        ] {
            let error = text.parse::<Compression>().unwrap_err();
            assert!(error.message().contains(words) && error.remedy().is_some(), "{error}");
        }
    }

    #[test]
    fn the_bytes_do_not_depend_on_how_the_content_arrives() {
        let content = content();
        for compression in [Compression::gzip(), Compression::zstd(), Compression::Zstd { level: 19 }] {
            let whole = packed(compression, &content, content.len());
            for chunk in [1 << 16, 4093] {
                assert_eq!(packed(compression, &content, chunk), whole, "{compression} {chunk}");
            }
        }
    }

    #[test]
    fn a_zstd_layer_is_one_frame_without_checksum_and_size_and_with_a_window_that_every_decoder_takes() {
        let content = content();
        for level in 1..=19 {
            let bytes = packed(Compression::Zstd { level }, &content, 1 << 16);
            assert_eq!(bytes[..4], [0x28, 0xb5, 0x2f, 0xfd]);
            assert_eq!(bytes[4], 0, "neither a size, nor a single segment, a checksum or a dictionary");
            let exponent = u32::from(bytes[5] >> 3);
            let base = 1_u64 << (10 + exponent);
            assert!(base + base / 8 * u64::from(bytes[5] & 7) <= 8 << 20, "level {level}");
            assert_eq!(zstd::stream::decode_all(&bytes[..]).unwrap(), content);
            let mut one = zstd::stream::read::Decoder::new(&bytes[..]).unwrap().single_frame();
            io::copy(&mut one, &mut io::sink()).unwrap();
            assert!(
                io::BufRead::fill_buf(&mut one.finish()).unwrap().is_empty(),
                "nothing follows the frame"
            );
        }
    }
}
