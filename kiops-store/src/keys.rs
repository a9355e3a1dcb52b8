//! Where the sealing key comes from: `KIOPS_SECRET_KEY`, or a key file made at first start.

use std::ffi::OsString;
use std::io::{ErrorKind as IoKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kiops_core::secret::{KeyId, KeyProvider, SealingKey, StaticKey};
use kiops_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::private;

/// The variable that [`keys_from_env_or_file`] looks at.
pub const KEY_VARIABLE: &str = "KIOPS_SECRET_KEY";

/// A key file larger than this is none.
const LARGEST: u64 = 64 * 1024;

/// Keys in a file of mode 0600: one a line, the current one first, then older ones that still open what they sealed.
/// A line is 64 hexadecimal digits or the base64 of 32 bytes; empty lines and those that start with `#` are passed over.
///
/// To rotate: put a new line at the top, start again, call [`crate::SqliteStore::reseal`], take the old line out.
#[derive(Debug, Clone)]
pub struct FileKey {
    path: PathBuf,
    keys: StaticKey,
}

impl FileKey {
    /// Reads the key file, or makes one with a random key: whole or not at all, durable before this returns, and only once
    /// even where two processes try at the same time.
    ///
    /// `Forbidden`: group or others may read it. `Invalid`: a line is no key.
    pub fn open_or_create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text = match read(&path)? {
            Some(text) => text,
            None => {
                create(&path)?;
                read(&path)?.ok_or_else(|| failed("the file is gone again", &path))?
            }
        };
        let place = format!("key file `{}`", path.display());
        let keys = parse_keys(&text, &place)?;
        Ok(Self { path, keys })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl KeyProvider for FileKey {
    fn current(&self) -> Result<SealingKey> {
        self.keys.current()
    }

    fn key(&self, id: &KeyId) -> Result<Option<SealingKey>> {
        self.keys.key(id)
    }
}

/// The keys in `KIOPS_SECRET_KEY` (several separated by spaces or commas, the current one first) or, where that is unset or
/// empty, those of the key file, which is made at first start.
pub fn keys_from_env_or_file(path: impl Into<PathBuf>) -> Result<Arc<dyn KeyProvider>> {
    keys_from(std::env::var_os(KEY_VARIABLE), path.into())
}

fn keys_from(variable: Option<OsString>, path: PathBuf) -> Result<Arc<dyn KeyProvider>> {
    match variable.filter(|value| !value.is_empty()) {
        Some(value) => {
            let value = Zeroizing::new(value.into_encoded_bytes());
            let text = std::str::from_utf8(&value).map_err(|_| refused(KEY_VARIABLE))?;
            Ok(Arc::new(parse_keys(text, KEY_VARIABLE)?))
        }
        None => Ok(Arc::new(FileKey::open_or_create(path)?)),
    }
}

/// Parses one key: 64 hexadecimal digits, or the base64 (plain or URL-safe, padded or not) of 32 bytes.
pub fn parse_key(text: &str) -> Result<SealingKey> {
    key_bytes(text.trim()).map(|bytes| SealingKey::new(*bytes)).ok_or_else(|| refused("the key"))
}

fn key_bytes(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() == 64 {
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = digits else { return None };
            *byte =
                u8::try_from(char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?).ok()?;
        }
        return Some(key);
    }
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.len() != 43 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD.decode(format!("{text}=")))
        .map(Zeroizing::new)
        .ok()?;
    key.copy_from_slice(bytes.get(..32)?);
    Some(key)
}

fn parse_keys(text: &str, place: &str) -> Result<StaticKey> {
    let words = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split([' ', '\t', ',']))
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let mut keys: Option<StaticKey> = None;
    for word in words {
        let key = key_bytes(word).map(|bytes| SealingKey::new(*bytes)).ok_or_else(|| refused(place))?;
        keys = Some(match keys {
            None => StaticKey::new(key),
            Some(keys) => keys.and_older(key),
        });
    }
    keys.ok_or_else(|| refused(place))
}

/// Never shows what was given.
fn refused(place: &str) -> Error {
    Error::invalid("read sealing key", format!("{place} holds no sealing key, or something that is none"))
        .with_remedy("give 64 hexadecimal digits or the base64 of 32 bytes: `openssl rand -hex 32` makes one")
}

fn failed(what: &str, path: &Path) -> Error {
    Error::unavailable("read sealing key", format!("key file `{}`: {what}", path.display()))
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("it cannot be opened", path).with_source(error)),
    };
    let unreadable = |error| failed("it cannot be read", path).with_source(error);
    if let Some(mode) = private::too_open(&file).map_err(unreadable)? {
        let message =
            format!("key file `{}` has mode {mode:04o}: others than its owner could read it", path.display());
        return Err(Error::new(ErrorKind::Forbidden, "read sealing key", message).with_remedy(format!(
            "chmod 600 '{}'; if somebody else may have read it, make a new key",
            path.display()
        )));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LARGEST).read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

/// Writes a new key beside the file and gives it its name last: a crash leaves either no key file or a whole one.
fn create(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut random = Zeroizing::new([0; 40]);
    getrandom::fill(&mut *random)
        .map_err(|error| failed("the system gives no random bytes", path).with_source(error.to_string()))?;
    let (key, name) = random.split_at(32);
    let key = Zeroizing::new(format!("{}\n", *hex(key)));
    let beside = folder.join(format!(".key-{}", *hex(name)));
    let written = (|| {
        private::create_folder(folder)?;
        let mut file = private::options().write(true).create_new(true).open(&beside)?;
        file.write_all(key.as_bytes())?;
        file.sync_all()?;
        match std::fs::hard_link(&beside, path) {
            // Somebody else was first: theirs counts.
            Err(error) if error.kind() == IoKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let _ = std::fs::remove_file(&beside);
    written.and_then(|()| private::sync_folder(folder)).map_err(|error| {
        failed("it cannot be made", path).with_source(error).with_remedy("make its folder writable")
    })
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_hexadecimal_or_base64() {
        let bytes: Vec<u8> = (200..232).collect();
        let id = parse_key(&hex(&bytes)).unwrap().id().clone();
        for text in [
            hex(&bytes).to_uppercase(),
            STANDARD.encode(&bytes),
            STANDARD.encode(&bytes).trim_end_matches('=').to_owned(),
            URL_SAFE_NO_PAD.encode(&bytes),
            format!(" {}\n", *hex(&bytes)),
        ] {
            assert_eq!(parse_key(&text).unwrap().id(), &id, "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for bad in ["", "hunter2", &"g".repeat(64), &"ä".repeat(32), &"a".repeat(63), &"!".repeat(43)] {
            let error = parse_key(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(bad.is_empty() || !format!("{error} {error:?}").contains(bad), "{error}");
        }
    }

    #[test]
    fn the_variable_wins_over_the_file_and_an_empty_one_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let variable = |value: &str| keys_from(Some(value.into()), path.clone());
        let (new, old) = (hex(&[1; 32]), hex(&[2; 32]));
        let keys = variable(&format!("{},{}", *new, *old)).unwrap();
        assert_eq!(keys.current().unwrap().expose(), &[1; 32]);
        assert!(keys.key(SealingKey::new([2; 32]).id()).unwrap().is_some());
        assert!(!path.exists());
        assert_eq!(variable("nonsense").unwrap_err().kind(), ErrorKind::Invalid);
        let made = variable("").unwrap().current().unwrap();
        assert!(path.exists());
        assert_eq!(keys_from(None, path).unwrap().current().unwrap().id(), made.id());
    }

    #[test]
    fn the_first_line_of_a_key_file_is_current_and_the_others_still_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        FileKey::open_or_create(&path).unwrap();
        std::fs::write(&path, format!("# rotated\n{}\n\n{}\n", *hex(&[1; 32]), *hex(&[2; 32]))).unwrap();
        let key = FileKey::open_or_create(&path).unwrap();
        assert_eq!(key.current().unwrap().expose(), &[1; 32]);
        assert!(key.key(SealingKey::new([2; 32]).id()).unwrap().is_some());
        assert!(!format!("{key:?}").contains("0101"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_an_error(text in ".{0,80}") {
            let _ = parse_keys(&text, "x");
        }
    }
}
