//! The post-receive hook of a repository on disk: written into it, and what it reads.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use kiops_core::{Error, ErrorKind, Result};

use super::Change;
use super::bare::on_disk;

/// The program that a hook runs. It finds the changes on its standard input ([`parse_post_receive`]), works in the repository, and
/// has nobody's configuration but its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCommand {
    /// The program's absolute path.
    pub program: PathBuf,
    /// Its arguments, each handed over as it is.
    pub args: Vec<OsString>,
}

const INSTALL: &str = "install hook";
const MARK: &str = "# kiops post-receive hook";

/// Writes `hooks/post-receive` of the bare repository at `repository`, so that every push to it runs `command`.
///
/// The file is replaced in one step, so a push at the same time runs the old or the new one. Writing it again is harmless, and is
/// due at every start: the program may have moved. The hook ends with 0 whatever the program does, since a push must not seem
/// to fail for what happens after it. Fails with `Conflict` if there is a hook that kiops did not write, with
/// `Invalid` if the program's path is not absolute, with `NotFound` if there is no repository.
pub fn install_hook(repository: &Path, command: &HookCommand) -> Result<()> {
    let disk = |error: std::io::Error| on_disk(repository, error);
    if !super::address::is_bare(repository) {
        let message = format!("there is no bare repository at `{}`", repository.display());
        return Err(Error::not_found(INSTALL, message));
    }
    let script = script(command)?;
    let hooks = repository.join("hooks");
    fs::create_dir_all(&hooks).map_err(disk)?;
    let hook = hooks.join("post-receive");
    match fs::read(&hook) {
        Ok(found) if found == script => return Ok(()),
        Ok(found) if !found.is_empty() && !found.windows(MARK.len()).any(|part| part == MARK.as_bytes()) => {
            return Err(Error::conflict(INSTALL, format!("`{}` is another program's hook", hook.display()))
                .with_remedy("remove it, or call kiops from it"));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(disk(error)),
        _ => {}
    }
    let new = hooks.join(".post-receive.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(disk(error)),
        _ => {}
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&new).map_err(disk)?;
    file.write_all(&script).and_then(|()| file.sync_all()).map_err(disk)?;
    drop(file);
    fs::rename(&new, &hook).map_err(disk)
}

fn script(command: &HookCommand) -> Result<Vec<u8>> {
    if !command.program.is_absolute() {
        let message = format!("the program's path `{}` is not absolute", command.program.display());
        return Err(Error::invalid(INSTALL, message));
    }
    let mut script =
        format!("#!/bin/sh\n{MARK}, written anew at each start: changes are lost\n").into_bytes();
    for (n, word) in
        std::iter::once(command.program.as_os_str()).chain(command.args.iter().map(|arg| &**arg)).enumerate()
    {
        if word.as_bytes().contains(&0) {
            return Err(Error::invalid(INSTALL, "the program or an argument has a NUL in it"));
        }
        if n > 0 {
            script.push(b' ');
        }
        quote(word.as_bytes(), &mut script);
    }
    script.extend_from_slice(b"\nexit 0\n");
    Ok(script)
}

/// Within single quotes a shell changes nothing; a single quote itself stands outside them.
fn quote(word: &[u8], script: &mut Vec<u8>) {
    script.push(b'\'');
    for byte in word {
        match byte {
            b'\'' => script.extend_from_slice(b"'\\''"),
            byte => script.push(*byte),
        }
    }
    script.push(b'\'');
}

/// The most bytes of standard input that a hook reads: some 10,000 refs.
pub const HOOK_INPUT_MAX: usize = 2 * 1024 * 1024;

/// What a push changed, from what git gives a post-receive hook: a line `BEFORE AFTER REF` for each ref.
///
/// A ref whose name is not UTF-8 is left out, since nothing could name it later. Fails with `Invalid` if a line is none of git's,
/// with `TooLarge` over [`HOOK_INPUT_MAX`] bytes; who lists the repository's heads finds such a push all the same.
pub fn parse_post_receive(input: &[u8]) -> Result<Vec<Change<'_>>> {
    let operation = "read hook input";
    if input.len() > HOOK_INPUT_MAX {
        let message = format!("the push changed more refs than fit into {HOOK_INPUT_MAX} bytes");
        return Err(Error::new(ErrorKind::TooLarge, operation, message));
    }
    let mut changes = Vec::new();
    for line in input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (before, after, name) = (object(words.next()), object(words.next()), words.next());
        let (Some(before), Some(after), Some(name)) = (before, after, name) else {
            return Err(Error::invalid(operation, "a line is not `BEFORE AFTER REF`")
                .with_remedy("run the hook from git, as post-receive"));
        };
        if let Ok(name) = std::str::from_utf8(name) {
            changes.push(Change { git_ref: Cow::Borrowed(name), before, after });
        }
    }
    Ok(changes)
}

fn object(word: Option<&[u8]>) -> Option<Cow<'_, str>> {
    let word = std::str::from_utf8(word?).ok()?;
    let digits = word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (digits && matches!(word.len(), 40 | 64)).then_some(Cow::Borrowed(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn repository(folder: &Path) {
        fs::create_dir_all(folder.join("objects")).unwrap();
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    fn command(program: &str) -> HookCommand {
        HookCommand { program: program.into(), args: vec!["hook".into()] }
    }

    #[test]
    fn a_hook_is_replaced_only_if_it_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        repository(folder.path());
        let hook = folder.path().join("hooks/post-receive");
        install_hook(folder.path(), &command("/bin/one")).unwrap();
        install_hook(folder.path(), &command("/bin/two")).unwrap();
        assert!(fs::read_to_string(&hook).unwrap().contains("'/bin/two' 'hook'"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&hook).unwrap().permissions());
        assert_eq!(mode & 0o111, 0o111);
        fs::write(&hook, "#!/bin/sh\necho mine\n").unwrap();
        let error = install_hook(folder.path(), &command("/bin/two")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(fs::read_to_string(&hook).unwrap(), "#!/bin/sh\necho mine\n");
    }

    #[test]
    fn a_hook_needs_an_absolute_program_and_a_repository() {
        let folder = tempfile::tempdir().unwrap();
        let missing = install_hook(folder.path(), &command("/bin/one")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        repository(folder.path());
        assert_eq!(install_hook(folder.path(), &command("kiops")).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(
            install_hook(folder.path(), &command("/bin/a\0b")).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    #[test]
    fn changes_are_read_with_both_lengths_of_ids() {
        let (one, zero) = ("1".repeat(40), "0".repeat(40));
        let (long, zeros) = ("a".repeat(64), "0".repeat(64));
        let input = format!("{zero} {one} refs/heads/a b\n{long} {zeros} refs/tags/größe\n");
        let changes = parse_post_receive(input.as_bytes()).unwrap();
        assert_eq!(changes.len(), 2);
        assert_eq!(
            (changes[0].git_ref.as_ref(), changes[0].after.as_ref()),
            ("refs/heads/a b", one.as_str())
        );
        assert_eq!(
            (changes[1].git_ref.as_ref(), changes[1].after.as_ref()),
            ("refs/tags/größe", zeros.as_str())
        );
        assert!(parse_post_receive(b"").unwrap().is_empty());
    }

    #[test]
    fn what_git_does_not_say_is_refused_and_nameless_refs_are_left_out() {
        let one = "1".repeat(40);
        for bad in [
            "x",
            "a b c",
            &format!("{one} refs/heads/x"),
            &format!("{one} -x refs/heads/x"),
            &format!("{one}  {one} r"),
        ] {
            assert_eq!(parse_post_receive(bad.as_bytes()).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
        let mut input = format!("{one} {one} refs/heads/").into_bytes();
        input.extend_from_slice(b"\xff\n");
        assert!(parse_post_receive(&input).unwrap().is_empty());
        let long = vec![b'\n'; HOOK_INPUT_MAX + 1];
        assert_eq!(parse_post_receive(&long).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    proptest! {
        #[test]
        fn any_input_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "([0-9a-f]{40} ){0,2}.{0,20}\n") {
            let _ = parse_post_receive(&bytes);
            let _ = parse_post_receive(text.as_bytes());
        }

        #[test]
        fn a_shell_hands_every_argument_over_as_it_is(args in prop::collection::vec(prop::collection::vec(1u8.., 0..20), 0..4)) {
            let args: Vec<OsString> = args.into_iter().map(OsString::from_vec).collect();
            let printer = HookCommand { program: "/usr/bin/printf".into(), args: [vec!["%s\\0".into()], args.clone()].concat() };
            let run = std::process::Command::new("/bin/sh")
                .arg("-c")
                .arg(std::ffi::OsStr::from_bytes(&script(&printer).unwrap()))
                .output()
                .unwrap();
            let expected: Vec<u8> = match args.as_slice() {
                [] => vec![0],
                args => args.iter().flat_map(|arg| arg.as_bytes().iter().copied().chain([0])).collect(),
            };
            prop_assert_eq!(run.stdout, expected);
        }
    }
}
