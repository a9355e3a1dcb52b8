//! Reading an archive: enough of ustar, PAX and GNU tar for what Git hosts send.

use std::collections::BTreeMap;

/// An entry as it stands in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Folder,
    File { content: Vec<u8>, executable: bool },
    Symlink(String),
}

const BLOCK: usize = 512;

/// The entries by path, without a final slash or a leading `./`.
///
/// # Panics
/// Where the archive is cut off or damaged, has a path twice, or one that leads out of it.
pub(super) fn read(archive: &[u8]) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    let mut rest = archive;
    let (mut long_path, mut long_link) = (None, None);
    loop {
        let header = take(&mut rest, BLOCK);
        if header.iter().all(|byte| *byte == 0) {
            assert!(rest.iter().all(|byte| *byte == 0), "something follows the archive's end");
            return found;
        }
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
            .sum();
        assert_eq!(sum, octal(&header[148..156]), "a header's checksum is wrong");
        let size = usize::try_from(octal(&header[124..136])).expect("a size");
        let content = take(&mut rest, size).to_vec();
        take(&mut rest, size.next_multiple_of(BLOCK) - size);
        match header[156] {
            b'g' => {}
            b'x' => {
                for (key, value) in pax(&content) {
                    match key.as_str() {
                        "path" => long_path = Some(value),
                        "linkpath" => long_link = Some(value),
                        _ => {}
                    }
                }
            }
            b'L' => long_path = Some(text(&content)),
            b'K' => long_link = Some(text(&content)),
            kind => {
                let path = long_path.take().unwrap_or_else(|| short_path(header));
                let link = long_link.take().unwrap_or_else(|| text(&header[157..257]));
                let entry = match kind {
                    b'5' => Found::Folder,
                    b'2' => Found::Symlink(link),
                    b'0' | 0 => Found::File { content, executable: octal(&header[100..108]) & 0o100 != 0 },
                    other => panic!("`{path}` is an entry of type {:?}", char::from(other)),
                };
                let path = path.strip_prefix("./").unwrap_or(&path).trim_end_matches('/').to_owned();
                if path.is_empty() || path == "." {
                    continue;
                }
                let inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
                assert!(inside, "`{path}` is no path relative to the root");
                assert!(found.insert(path.clone(), entry).is_none(), "`{path}` stands in the archive twice");
            }
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], size: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at_checked(size).expect("the archive is cut off");
    *rest = left;
    taken
}

fn short_path(header: &[u8]) -> String {
    let name = text(&header[..100]);
    // GNU tar has its own use for the place of the prefix.
    let prefix = if &header[257..263] == b"ustar\0" { text(&header[345..500]) } else { String::new() };
    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8(field[..end].to_vec()).expect("names in the archive are UTF-8")
}

fn octal(field: &[u8]) -> u64 {
    let digits: String = text(field).trim().to_owned();
    if digits.is_empty() { 0 } else { u64::from_str_radix(&digits, 8).expect("a number in octal digits") }
}

/// Records of `length key=value\n`.
fn pax(mut content: &[u8]) -> Vec<(String, String)> {
    let mut records = Vec::new();
    while !content.is_empty() {
        let space = content.iter().position(|byte| *byte == b' ').expect("a record starts with its length");
        let length: usize = text(&content[..space]).parse().expect("a record's length");
        let record = take(&mut content, length);
        let record = std::str::from_utf8(&record[space + 1..length - 1]).expect("a record is UTF-8");
        let (key, value) = record.split_once('=').expect("a record has a key");
        records.push((key.to_owned(), value.to_owned()));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: usize, link: &str) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000755");
        put(124, &format!("{size:011o}"));
        put(148, "        ");
        put(157, link);
        put(257, "ustar\0");
        block[156] = kind;
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    fn entry(name: &str, kind: u8, content: &[u8], link: &str) -> Vec<u8> {
        let mut bytes = header(name, kind, content.len(), link);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    #[test]
    fn folders_files_links_and_long_names_are_read() {
        let long = "n".repeat(300);
        let record = format!("{} path={long}\n", 300 + "310 path=\n".len());
        let mut archive = entry("pax_global_header", b'g', b"52 comment=x\n", "");
        archive.extend(entry("./a/", b'5', b"", ""));
        archive.extend(entry("a/run", b'0', b"text", ""));
        archive.extend(entry("link", b'2', b"", "a/run"));
        archive.extend(entry("x", b'x', record.as_bytes(), ""));
        archive.extend(entry("short", b'0', b"", ""));
        archive.extend(vec![0; 2 * BLOCK]);
        let run = Found::File { content: b"text".to_vec(), executable: true };
        let empty = Found::File { content: Vec::new(), executable: true };
        let expected = [
            ("a".to_owned(), Found::Folder),
            ("a/run".to_owned(), run),
            ("link".to_owned(), Found::Symlink("a/run".into())),
            (long, empty),
        ];
        assert_eq!(read(&archive), BTreeMap::from(expected));
    }

    #[test]
    #[should_panic(expected = "cut off")]
    fn an_archive_without_its_end_is_none() {
        read(&entry("a", b'0', b"text", ""));
    }

    #[test]
    #[should_panic(expected = "relative to the root")]
    fn a_path_that_leads_out_is_found() {
        read(&entry("../a", b'0', b"", ""));
    }
}
