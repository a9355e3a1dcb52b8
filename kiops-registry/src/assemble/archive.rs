//! Reading tar archives as data: names, kinds and sizes, within limits. Nothing is ever unpacked to where a name says.
//!
//! The `tar` crate reads the headers; long names and PAX records are read here, so that they have a limit and so that no two
//! readers can see different entries: a PAX size that contradicts its header is refused.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{Entries, EntryType};

use super::filename;

/// The largest long name or PAX header that is read.
const EXTENSION_MAX: u64 = 1024 * 1024;

/// The longest path, what Linux allows.
const PATH_MAX: usize = 4096;

/// Why an archive is not read to its end.
#[derive(Debug)]
pub(super) enum Refused<E> {
    /// It cannot be read, or is no archive.
    Io(io::Error),
    /// What is wrong with it, with the entry's name.
    Bad(String),
    /// The visitor said stop.
    Visitor(E),
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// The [text](filename::text) of its path without slashes around it, checked: no `..`, not absolute, not empty.
    pub(super) path: &'a str,
    pub(super) kind: EntryKind,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: u64,
    /// Where its content begins in the archive.
    pub(super) offset: u64,
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryKind {
    Dir,
    File(u64),
    /// A symbolic link and what it says.
    Link(String),
    /// Another name of an earlier entry.
    HardLink(String),
    /// A device or a pipe.
    Special,
}

/// Whose archive it is, and so how strict its names are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A commit: every name has to be one.
    Source,
    /// A layer of an image: a leading slash is taken off, as container runtimes do.
    Layer,
}

/// Shows every entry to `visit`, in order. With its content, for whoever wants to read it.
pub(super) fn walk<R: Read, E>(
    entries: Entries<'_, R>,
    origin: Origin,
    mut visit: impl FnMut(Entry<'_>, &mut dyn Read) -> Result<(), E>,
) -> Result<(), Refused<E>> {
    let mut pending = Extensions::default();
    for raw in entries.raw(true) {
        let mut raw = raw.map_err(Refused::Io)?;
        let header_type = raw.header().entry_type();
        match header_type {
            EntryType::GNULongName => {
                pending.path = Some(trim_nul(extension(&mut raw)?));
                continue;
            }
            EntryType::GNULongLink => {
                pending.link = Some(trim_nul(extension(&mut raw)?));
                continue;
            }
            EntryType::XHeader => {
                let records = pax(&extension(&mut raw)?).map_err(Refused::Bad)?;
                pending.take(records);
                continue;
            }
            EntryType::XGlobalHeader => {
                extension(&mut raw)?;
                continue;
            }
            _ => {}
        }
        let found = std::mem::take(&mut pending);
        let path = found.path.unwrap_or_else(|| raw.path_bytes().into_owned());
        let shown = || filename::shown(&filename::text(&path));
        let bad = |what: &str| Refused::Bad(format!("`{}` {what}", shown()));
        let size = raw.size();
        if found.size.is_some_and(|stated| stated != size) {
            return Err(bad("states two sizes"));
        }
        if found.sparse || header_type == EntryType::GNUSparse {
            return Err(bad("is a sparse file"));
        }
        let link = || -> Result<String, Refused<E>> {
            let link = found.link.clone().or_else(|| raw.link_name_bytes().map(std::borrow::Cow::into_owned));
            link.filter(|link| !link.is_empty() && link.len() <= PATH_MAX && !link.contains(&0))
                .map(|link| filename::text(&link))
                .ok_or_else(|| bad("is a link to nowhere"))
        };
        let kind = match header_type {
            EntryType::Regular | EntryType::Continuous => EntryKind::File(size),
            EntryType::Directory => EntryKind::Dir,
            EntryType::Symlink => EntryKind::Link(link()?),
            EntryType::Link => {
                let target = link()?;
                EntryKind::HardLink(
                    check_path(&filename::bytes(&target), origin)
                        .map_err(|what| bad(&what))?
                        .unwrap_or(target),
                )
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => EntryKind::Special,
            other => return Err(bad(&format!("has the unknown type {:?}", char::from(other.as_byte())))),
        };
        if size != 0 && !matches!(kind, EntryKind::File(_)) {
            return Err(bad("is no file and has content"));
        }
        let checked = match check_path(&path, origin) {
            Ok(Some(checked)) => checked,
            // The root itself.
            Ok(None) if kind == EntryKind::Dir => continue,
            Ok(None) => return Err(bad("has no name")),
            Err(what) => return Err(bad(&what)),
        };
        let header = raw.header();
        let number = |value: io::Result<u64>| value.map_err(Refused::Io);
        let entry = Entry {
            path: &checked,
            kind,
            mode: header.mode().map_err(Refused::Io)? & 0o7777,
            uid: found.uid.map_or_else(|| number(header.uid()), Ok)?,
            gid: found.gid.map_or_else(|| number(header.gid()), Ok)?,
            mtime: found.mtime.map_or_else(|| number(header.mtime()), Ok)?,
            offset: raw.raw_file_position(),
            xattrs: found.xattrs,
        };
        visit(entry, &mut raw).map_err(Refused::Visitor)?;
    }
    Ok(())
}

/// The text of a path without slashes around it; `None` for the root. The error says why it may not be in an archive.
fn check_path(path: &[u8], origin: Origin) -> Result<Option<String>, String> {
    if path.starts_with(b"/") && origin == Origin::Source {
        return Err("has an absolute path".into());
    }
    if path.len() > PATH_MAX {
        return Err(format!("has a path of more than {PATH_MAX} bytes"));
    }
    if path.contains(&0) {
        return Err("has a zero byte in its path".into());
    }
    if path.split(|byte| *byte == b'/').any(|part| part.len() > 255) {
        return Err("has a part of more than 255 bytes".into());
    }
    let mut clean = String::with_capacity(path.len());
    for part in super::tree::parts(&filename::text(path)) {
        if part == ".." {
            return Err("climbs with `..`".into());
        }
        if !clean.is_empty() {
            clean.push('/');
        }
        clean.push_str(part);
    }
    Ok((!clean.is_empty()).then_some(clean))
}

/// What long-name and PAX headers said of the entry after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<u64>,
    sparse: bool,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Extensions {
    fn take(&mut self, records: BTreeMap<String, Vec<u8>>) {
        for (key, value) in records {
            let number = || std::str::from_utf8(&value).ok()?.split('.').next()?.parse::<u64>().ok();
            match key.as_str() {
                "path" => self.path = Some(value),
                "linkpath" => self.link = Some(value),
                // What is no number contradicts every size.
                "size" => self.size = Some(number().unwrap_or(u64::MAX)),
                "uid" => self.uid = number(),
                "gid" => self.gid = number(),
                "mtime" => self.mtime = number(),
                key if key.starts_with("GNU.sparse.") => self.sparse = true,
                key if key.starts_with("SCHILY.xattr.") => self.xattrs.push((key.to_owned(), value)),
                _ => {}
            }
        }
    }
}

fn extension<R: Read, E>(raw: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, Refused<E>> {
    let size = raw.size();
    if size > EXTENSION_MAX {
        return Err(Refused::Bad(format!(
            "a long name or PAX header has {size} bytes, more than {EXTENSION_MAX}"
        )));
    }
    let mut bytes = Vec::new();
    raw.take(EXTENSION_MAX).read_to_end(&mut bytes).map_err(Refused::Io)?;
    if bytes.len() as u64 != size {
        return Err(Refused::Bad("it is cut off in a header".into()));
    }
    Ok(bytes)
}

fn trim_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

/// The records of a PAX header: `LENGTH KEY=VALUE\n`, where the length counts all of it. A value may hold any byte.
fn pax(mut bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let record = || -> Option<(String, Vec<u8>, usize)> {
            let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
            let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = body.iter().position(|byte| *byte == b'=')?;
            let key = std::str::from_utf8(body.get(..equals)?).ok()?.to_owned();
            Some((key, body.get(equals + 1..)?.to_vec(), length))
        };
        let (key, value, length) = record().ok_or("a PAX header is malformed")?;
        records.insert(key, value);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(records)
}

/// A PAX record as [`pax`] reads it.
pub(super) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(bytes: &[u8]) -> Result<Vec<String>, Refused<()>> {
        let mut names = Vec::new();
        let mut archive = tar::Archive::new(bytes);
        walk(archive.entries().map_err(Refused::Io)?, Origin::Source, |entry, _| {
            names.push(entry.path.to_owned());
            Ok(())
        })?;
        Ok(names)
    }

    fn entry(name: &str, kind: EntryType, link: &str, data: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        let bytes = header.as_mut_bytes();
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        let mut all = header.as_bytes().to_vec();
        all.extend_from_slice(data);
        all.resize(all.len().next_multiple_of(512), 0);
        all
    }

    #[test]
    fn hostile_entries_are_refused_by_name() {
        for (name, kind, link, data, why) in [
            ("../x", EntryType::Regular, "", &b""[..], "climbs"),
            ("a/../../x", EntryType::Regular, "", b"", "climbs"),
            ("/etc/passwd", EntryType::Regular, "", b"", "absolute"),
            ("a", EntryType::Link, "/etc/passwd", b"", "absolute"),
            ("a", EntryType::Link, "../x", b"", "climbs"),
            ("a", EntryType::Symlink, "", b"", "nowhere"),
            ("a", EntryType::GNUSparse, "", b"", "sparse"),
            ("a", EntryType::Directory, "", b"hidden", "has content"),
            ("a", EntryType::new(b'Z'), "", b"", "unknown type"),
        ] {
            let error = names(&entry(name, kind, link, data)).unwrap_err();
            assert!(matches!(&error, Refused::Bad(what) if what.contains(why)), "{name}: {error:?}");
        }
    }

    #[test]
    fn a_pax_size_may_not_contradict_its_header() {
        let with = |record: Vec<u8>| {
            [entry("p", EntryType::XHeader, "", &record), entry("a", EntryType::Regular, "", b"12345")]
                .concat()
        };
        assert_eq!(names(&with(pax_record("size", b"5"))).unwrap(), ["a"]);
        assert!(matches!(names(&with(pax_record("size", b"512"))), Err(Refused::Bad(_))));
        assert!(matches!(names(&with(pax_record("size", b"x"))), Err(Refused::Bad(_))));
        assert_eq!(names(&with(pax_record("path", b"long/name"))).unwrap(), ["long/name"]);
        assert!(matches!(names(&with(pax_record("path", b"../up"))), Err(Refused::Bad(_))));
        assert!(matches!(names(&with(b"99999999999999999999 a=b\n".to_vec())), Err(Refused::Bad(_))));
    }

    #[test]
    fn paths_have_a_longest_length_and_so_have_their_parts() {
        let with = |path: &str| {
            let long = entry("p", EntryType::XHeader, "", &pax_record("path", path.as_bytes()));
            names(&[long, entry("a", EntryType::Regular, "", b"")].concat())
        };
        assert!(with(&"d/".repeat(2000)).is_ok());
        assert!(matches!(with(&"d/".repeat(2100)), Err(Refused::Bad(what)) if what.contains("4096")));
        assert!(matches!(with(&"d".repeat(256)), Err(Refused::Bad(what)) if what.contains("255")));
    }

    #[test]
    fn a_huge_long_name_is_not_read() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        assert!(matches!(names(header.as_bytes()), Err(Refused::Bad(_))));
    }

    proptest! {
        #[test]
        fn pax_records_read_back(key in "[a-zA-Z.]{1,120}", value in prop::collection::vec(any::<u8>(), 0..1200)) {
            let records = pax(&pax_record(&key, &value)).unwrap();
            prop_assert_eq!(records.get(&key), Some(&value));
        }

        #[test]
        fn no_bytes_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..600),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            text in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = names(&bytes);
            let _ = pax(&text);
            bytes = [entry("p", EntryType::XHeader, "", &pax_record("path", b"x/y")), entry("a", EntryType::Symlink, "b", b"")].concat();
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
                // A checksum that fits lets the change through to what reads the fields.
                for block in [0, 1024] {
                    let mut header = tar::Header::new_old();
                    header.as_mut_bytes().copy_from_slice(&bytes[block..block + 512]);
                    header.set_cksum();
                    bytes[block..block + 512].copy_from_slice(header.as_bytes());
                }
            }
            let _ = names(&bytes);
        }
    }
}
