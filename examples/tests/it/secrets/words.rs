//! Secrets of every kind, the forms in which they could come out, and one search for all of them.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use kiops_core::secret::Secret;

/// What stands before and after a secret in the text that is encoded with it.
const AROUND: [&str; 3] = ["", "u", "u:"];

/// Numbers that a seed gives again (splitmix64).
#[derive(Debug)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn text(&mut self, alphabet: &str, length: usize) -> String {
        let all: Vec<char> = alphabet.chars().collect();
        (0..length).map(|_| all[self.below(all.len())]).collect()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const NASTY: &str = "aZ09\"'\\%+/=$&<>@:;?#{}[]()*!~`|^,-._";

/// One secret.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) n: usize,
    pub(super) value: Vec<u8>,
}

/// How many kinds of text there are.
const KINDS: usize = 9;

impl Word {
    /// The `n`th secret; its kind goes round.
    pub(super) fn new(n: usize, numbers: &mut Numbers) -> Self {
        let length = 14 + numbers.below(26);
        let value = match n % KINDS {
            // A signing token of a webhook.
            0 => {
                let key = numbers.bytes(24 + length);
                format!("whsec_{}", STANDARD.encode(&key[..key.len().min(64)])).into_bytes()
            }
            // A host's or registry's access token.
            1 => format!("glpat-{}", numbers.text(LETTERS, length)).into_bytes(),
            // A token of hexadecimal digits.
            2 => numbers.text("0123456789abcdef", 40).into_bytes(),
            // A password with everything that some syntax gives a meaning to. It begins and ends with a letter.
            3 => format!("p{}w", numbers.text(NASTY, length)).into_bytes(),
            // Beyond ASCII.
            4 => format!("ß{}日", numbers.text("é€日本🔑ñ a$\"\\%+/=", length)).into_bytes(),
            // A phrase.
            5 => format!(
                "{} {} $HOME '{}' \"{}\"",
                numbers.text(LETTERS, 6),
                numbers.text(LETTERS, 5),
                numbers.text(LETTERS, 7),
                numbers.text(NASTY, 6)
            )
            .into_bytes(),
            // A key of several lines, with the line break that files end in.
            6 => {
                let lines: String =
                    (0..3).map(|_| format!("{}\n", numbers.text(&format!("{LETTERS}+/"), 64))).collect();
                format!("-----BEGIN KEY-----\n{lines}{}==\n-----END KEY-----\n", numbers.text(LETTERS, 20))
                    .into_bytes()
            }
            // A service account's file.
            7 => format!(
                "{{\r\n  \"private_key_id\": \"{}\",\r\n  \"private_key\": \"-----BEGIN-----\\n{}=\\n\"\r\n}}",
                numbers.text(LETTERS, 24),
                numbers.text(&format!("{LETTERS}+/"), 50)
            )
            .into_bytes(),
            // The raw bytes of an HMAC key, without line breaks.
            _ => numbers.bytes(32).into_iter().map(|b| if matches!(b, b'\n' | b'\r') { 0xfe } else { b }).collect(),
        };
        Self { n, value }
    }

    pub(super) fn secret(&self) -> Secret {
        Secret::new(self.value.clone()).unwrap()
    }

    /// The secret where it is text of one line that a header may carry.
    pub(super) fn visible(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.value).ok()?;
        text.bytes().all(|b| (b' '..=b'~').contains(&b)).then_some(text)
    }

    /// The secret as text, where it is any.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }

    /// Everything after white space at its ends is off: that belongs to files, not to secrets.
    fn trimmed(&self) -> &[u8] {
        self.value.trim_ascii()
    }

    /// What no way out may show: each of these by itself says the secret, or a whole line of it.
    fn needles(&self) -> Vec<(&'static str, Vec<u8>)> {
        let value = self.trimmed();
        let mut all: Vec<(&'static str, Vec<u8>)> = value
            .split(|b| matches!(b, b'\n' | b'\r'))
            .map(<[u8]>::trim_ascii)
            .filter(|line| line.len() >= 8 && !line.starts_with(b"-----"))
            .map(|line| ("plain", line.to_vec()))
            .collect();
        for before in AROUND {
            let whole = [before.as_bytes(), value].concat();
            // The digits that hold bits of the secret alone.
            let own = (before.len() * 8).div_ceil(6)..whole.len() * 8 / 6;
            all.push(("base64", STANDARD.encode(&whole).as_bytes()[own.clone()].to_vec()));
            all.push(("base64 of URLs", URL_SAFE.encode(&whole).as_bytes()[own].to_vec()));
        }
        all.push(("hex", hex(value, false).into_bytes()));
        all.push(("hex", hex(value, true).into_bytes()));
        all.push(("percent", percent(value, false).into_bytes()));
        all.push(("percent", percent(value, true).into_bytes()));
        if let Some(json) = self.json() {
            all.push(("JSON", json.into_bytes()));
        }
        all
    }

    /// As it stands between the quotes of a JSON string.
    fn json(&self) -> Option<String> {
        let json = serde_json::to_string(std::str::from_utf8(self.trimmed()).ok()?).unwrap();
        Some(json[1..json.len() - 1].to_owned())
    }

    /// Percent-encoded in whole.
    pub(super) fn percent(&self) -> String {
        percent(&self.value, false)
    }

    /// Every form, one a line but for the line breaks of its own, each between words of which no one minds being seen.
    pub(super) fn told(&self) -> Vec<u8> {
        let n = self.n;
        let mut text = format!("before {n}: ").into_bytes();
        text.extend_from_slice(&self.value);
        text.extend_from_slice(format!(" after {n}\n").as_bytes());
        for before in AROUND {
            let whole = [before.as_bytes(), self.trimmed(), b"@h"].concat();
            text.extend_from_slice(format!("auth {}\n", STANDARD.encode(&whole)).as_bytes());
            text.extend_from_slice(format!("auth-url {}\n", URL_SAFE.encode(&whole)).as_bytes());
        }
        let value = self.trimmed();
        for form in [hex(value, false), hex(value, true), percent(value, false), percent(value, true)] {
            text.extend_from_slice(format!("form {form} end\n").as_bytes());
        }
        if let Some(json) = self.json() {
            text.extend_from_slice(format!("{{\"password\":\"{json}\"}}\n").as_bytes());
        }
        text
    }

    /// The same in one line.
    pub(super) fn told_at_once(&self) -> String {
        String::from_utf8_lossy(&self.told()).replace(['\n', '\r'], " ")
    }
}

fn hex(value: &[u8], upper: bool) -> String {
    value.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect()
}

fn percent(value: &[u8], lower: bool) -> String {
    let encoded = |b: &u8| match (b.is_ascii_alphanumeric(), lower) {
        (true, _) => char::from(*b).to_string(),
        (_, true) => format!("%{b:02x}"),
        _ => format!("%{b:02X}"),
    };
    value.iter().map(encoded).collect()
}

/// Looks for every form of every secret at once.
pub(super) struct Search {
    automaton: AhoCorasick,
    /// By pattern: the secret's number and the form's name.
    names: Vec<(usize, &'static str)>,
    bytes: usize,
    leaks: BTreeMap<String, String>,
}

impl Search {
    pub(super) fn of<'a>(words: impl IntoIterator<Item = &'a Word>) -> Self {
        let mut all: BTreeMap<Vec<u8>, (usize, &'static str)> = BTreeMap::new();
        for word in words {
            for (form, needle) in word.needles() {
                assert!(needle.len() >= 8, "{} is too short to look for", word.n);
                all.entry(needle).or_insert((word.n, form));
            }
        }
        let (needles, names): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        Self { automaton: AhoCorasick::new(needles).unwrap(), names, bytes: 0, leaks: BTreeMap::new() }
    }

    /// The forms that are in there: secrets' numbers and forms' names.
    pub(super) fn found(&self, text: &[u8]) -> BTreeSet<(usize, &'static str)> {
        self.patterns(text).into_iter().map(|pattern| self.names[pattern]).collect()
    }

    /// The forms of these secrets that are not in there.
    pub(super) fn missing(&self, text: &[u8], words: &[Word]) -> Vec<(usize, &'static str)> {
        let found = self.patterns(text);
        let numbers: BTreeSet<usize> = words.iter().map(|word| word.n).collect();
        let wanted = self.names.iter().enumerate().filter(|(_, (n, _))| numbers.contains(n));
        wanted.filter(|(pattern, _)| !found.contains(pattern)).map(|(_, name)| *name).collect()
    }

    fn patterns(&self, text: &[u8]) -> BTreeSet<usize> {
        self.automaton.find_overlapping_iter(text).map(|found| found.pattern().as_usize()).collect()
    }

    /// How many forms are looked for.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Looks through what came out there, and remembers what is secret in it.
    pub(super) fn look(&mut self, place: &str, text: &[u8]) {
        self.bytes += text.len();
        let Some(found) = self.automaton.find(text) else { return };
        let (n, form) = self.names[found.pattern().as_usize()];
        let around = found.start().saturating_sub(120)..(found.end() + 60).min(text.len());
        let text = String::from_utf8_lossy(&text[around]).escape_debug().to_string();
        self.leaks.entry(format!("{place} ({form})")).or_insert_with(|| format!("secret {n}: {text}"));
    }

    /// Nothing secret was anywhere.
    #[track_caller]
    pub(super) fn finish(&self) {
        assert!(self.bytes > 4 << 20, "only {} bytes were looked through", self.bytes);
        assert!(self.leaks.is_empty(), "secrets came out: {:#?}", self.leaks);
    }
}
