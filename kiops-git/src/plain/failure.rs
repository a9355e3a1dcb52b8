//! What a failed `git` command means, told from its exit code and its words (always in English: `LC_ALL=C`).

use std::path::Path;
use std::time::Duration;

use kiops_core::log::Masker;
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Retry};

const MESSAGE_MAX: usize = 300;

/// Words of git and curl, the kind they stand for, and what to do. The first line that fits counts, so what is special stands first.
const SIGNS: &[(&[&str], ErrorKind, &str)] = &[
    (&["no space left on device", "disk quota exceeded"], ErrorKind::Full, "free disk space, then retry"),
    (
        &[".lock': file exists"],
        ErrorKind::Conflict,
        "another git works on it, or one was killed: remove the lock file named",
    ),
    // Also followed by "bad object", which alone is an object that nobody has.
    (
        &["broken ref", "did not send all necessary objects"],
        ErrorKind::Corrupt,
        "run `git fsck` in the repository",
    ),
    (
        &[
            "could not read username",
            "could not read password",
            "authentication failed",
            "returned error: 401",
            "invalid credentials",
        ],
        ErrorKind::Unauthorized,
        "check that the repository exists and that its credential may read it",
    ),
    (
        &["returned error: 403", "access denied", "permission denied"],
        ErrorKind::Forbidden,
        "give the credential the right to read the repository",
    ),
    (&["returned error: 429"], ErrorKind::RateLimited, "the host asks for fewer calls; retry later"),
    (
        &[
            "returned error: 404",
            "does not appear to be a git repository",
            "not a git repository",
            "' not found",
            "repository not found",
        ],
        ErrorKind::NotFound,
        "check the repository's address",
    ),
    (
        &[
            "not our ref",
            "unadvertised object",
            "couldn't find remote ref",
            "mismatched algorithms",
            "unexpected object id",
            "bad object",
            "not a valid object name",
            "not a valid commit name",
        ],
        ErrorKind::NotFound,
        "push again: the commit may have been removed by a force push",
    ),
    (
        &["transport '", "unsupported protocol", "redirect"],
        ErrorKind::Forbidden,
        "register the repository by its final https address",
    ),
    (
        &["ssl certificate", "certificate verif", "server certificate"],
        ErrorKind::Unavailable,
        "check the host's certificate, or name its authority in ca_file",
    ),
    (
        &["timed out", "timeout", "operation too slow"],
        ErrorKind::Timeout,
        "retry when the host answers faster",
    ),
    (
        &[
            "could not resolve",
            "failed to connect",
            "couldn't connect",
            "connection refused",
            "connection reset",
            "unable to access",
            "early eof",
            "rpc failed",
            "hung up",
            "the requested url returned error: 5",
            "unable to create",
            "resource temporarily unavailable",
            "cannot fork",
        ],
        ErrorKind::Unavailable,
        "check that the host can be reached, then retry",
    ),
    (
        &[
            "corrupt",
            "inflate",
            "bad signature",
            "unable to read tree",
            "unable to read sha1",
            "missing blob",
            "missing tree",
            "fsck error",
            "unable to parse",
        ],
        ErrorKind::Corrupt,
        "run `git fsck` in the repository",
    ),
];

/// The error that a failed command stands for. Nothing in it is one of `hidden`, in whatever form: a host's own words
/// (`remote error: ...`) may repeat what it was shown.
pub(super) fn of_git(operation: &'static str, code: Option<i32>, stderr: &[u8], hidden: &[Secret]) -> Error {
    let text = String::from_utf8_lossy(stderr);
    // What the other side says (`remote: ...`) proves nothing.
    let ours: Vec<&str> = text.split(['\n', '\r']).filter(|line| !line.starts_with("remote:")).collect();
    let text = match Masker::new(hidden) {
        Ok(masker) => masker.mask_text(&ours.join("\n")),
        Err(_) => "what it says is not repeated: its credential is too large to be masked".to_owned(),
    };
    let line = telling_line(&text);
    let lower = text.to_ascii_lowercase();
    let sign = SIGNS.iter().find(|(words, ..)| words.iter().any(|word| lower.contains(word)));
    let ended = code.map_or_else(|| "by a signal".to_owned(), |code| format!("with code {code}"));
    let message = if line.is_empty() { format!("git ended {ended}") } else { format!("git says: {line}") };
    match sign {
        Some((_, kind, remedy)) => Error::new(*kind, operation, message).with_remedy(*remedy),
        // Killed from outside (out of memory, shutdown): not the input's fault.
        None if code.is_none() => Error::unavailable(operation, message),
        None => Error::internal(operation, message),
    }
}

/// git cannot be run.
pub(super) fn not_run(operation: &'static str, program: &Path, error: std::io::Error) -> Error {
    let program = program.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::unavailable(
            operation,
            format!("the program `{program}` cannot be run, or the folder it works in is gone"),
        )
        .with_remedy("install git 2.37 or newer, or set `program` to where it is")
        .with_retry(Retry::Never),
        std::io::ErrorKind::PermissionDenied => {
            Error::unavailable(operation, format!("the program `{program}` may not be run"))
                .with_remedy("make it executable, or set `program` to another one")
                .with_retry(Retry::Never)
        }
        _ => Error::unavailable(operation, format!("the program `{program}` could not be run")),
    }
    .with_source(error)
}

/// git did not end in time.
pub(super) fn too_slow(operation: &'static str, deadline: Duration) -> Error {
    Error::new(ErrorKind::Timeout, operation, format!("git did not end within {} s", deadline.as_secs_f32()))
        .with_remedy("retry; raise command_seconds or fetch_seconds if the repository is that large")
}

/// The line that says most: git's last `fatal:`, else its last `error:`, else the last one. Without control characters, cut.
fn telling_line(text: &str) -> String {
    let all: Vec<&str> = text.lines().rev().map(str::trim).filter(|line| !line.is_empty()).collect();
    let find = |start: &str| all.iter().find_map(|line| line.strip_prefix(start));
    let line = find("fatal:").or_else(|| find("error:")).or_else(|| all.first().copied()).unwrap_or_default();
    line.trim().chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(stderr: &str) -> ErrorKind {
        of_git("fetch", Some(128), stderr.as_bytes(), &[]).kind()
    }

    #[test]
    fn what_git_says_is_told_apart() {
        let cases = [
            (
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                ErrorKind::Unauthorized,
            ),
            ("fatal: Authentication failed for 'https://h/x'", ErrorKind::Unauthorized),
            (
                "fatal: unable to access 'https://h/x/': The requested URL returned error: 403",
                ErrorKind::Forbidden,
            ),
            ("fatal: repository 'https://h/x/' not found", ErrorKind::NotFound),
            (
                "fatal: unable to access 'https://h/x/': The requested URL returned error: 429",
                ErrorKind::RateLimited,
            ),
            (
                "fatal: unable to access 'https://h/x/': The requested URL returned error: 503",
                ErrorKind::Unavailable,
            ),
            ("fatal: unable to access 'https://h/x/': Could not resolve host: h", ErrorKind::Unavailable),
            (
                "fatal: unable to access 'https://h/x/': Failed to connect to h port 443",
                ErrorKind::Unavailable,
            ),
            ("error: RPC failed; curl 18 transfer closed\nfatal: early EOF", ErrorKind::Unavailable),
            ("fatal: unable to write loose object file: No space left on device", ErrorKind::Full),
            ("fatal: transport 'ext' not allowed", ErrorKind::Forbidden),
            ("fatal: Unable to create '/x/packed-refs.lock': File exists.", ErrorKind::Conflict),
            ("fatal: remote error: upload-pack: not our ref 1111", ErrorKind::NotFound),
            (
                "error: inflate: data stream error (incorrect data check)\nfatal: loose object 12 is corrupt",
                ErrorKind::Corrupt,
            ),
            (
                "fatal: bad object refs/heads/x\nerror: h did not send all necessary objects",
                ErrorKind::Corrupt,
            ),
            ("fatal: something new", ErrorKind::Internal),
        ];
        for (stderr, expected) in cases {
            assert_eq!(kind(stderr), expected, "{stderr}");
        }
        assert_eq!(of_git("read", None, b"", &[]).kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn the_message_is_one_clean_line() {
        let error = of_git("fetch", Some(128), b"warning: x\nfatal: it\x1b[31m broke\r\nhint: y\n", &[]);
        assert_eq!(error.message(), "git says: it broke");
    }

    #[test]
    fn a_host_that_repeats_the_password_in_another_form_is_not_quoted() {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE};
        let secret = "p\"w%d \\ä/x+1";
        for form in [
            secret.to_owned(),
            STANDARD.encode(format!("oauth2:{secret}")),
            URL_SAFE.encode(format!("u:{secret}@")),
            "p%22w%25d%20%5C%C3%A4%2Fx%2B1".to_owned(),
            "p\\\"w%d \\\\ä/x+1".to_owned(),
        ] {
            let stderr = format!("fatal: remote error: who is {form} ?\n");
            let error = of_git("fetch", Some(128), stderr.as_bytes(), &[Secret::new(secret).unwrap()]);
            assert!(error.message().contains("who is ") && error.message().contains("***"), "{error}");
            assert!(!error.message().contains(&form[form.len() / 2..]), "{form}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_secret_is_never_repeated(before in "\\PC{0,400}", secret in "[A-Za-z0-9_=-]{8,40}", after in "\\PC{0,400}") {
            let stderr = format!("remote: {before}\nfatal: {before}{secret}{after}\n{secret}");
            let error = of_git("fetch", Some(128), stderr.as_bytes(), &[Secret::new(secret.as_str()).unwrap()]);
            prop_assert!(!error.to_string().contains(&secret));
            prop_assert!(error.message().chars().count() <= MESSAGE_MAX + 10);
        }

        #[test]
        fn any_bytes_are_understood(bytes in prop::collection::vec(any::<u8>(), 0..500), code in any::<Option<i32>>()) {
            let error = of_git("fetch", code, &bytes, &[]);
            prop_assert!(!error.message().chars().any(char::is_control));
        }
    }
}
