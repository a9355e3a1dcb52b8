//! Reading what git prints. Nothing here believes that git printed what it should: what does not fit is left out or refused.

use jiff::Timestamp;
use kiops_core::event::{ChangedFiles, FileList};
use kiops_core::name::{CommitId, GitRef};
use kiops_core::provider::{Commit, Head, TreeEntry, TreeEntryKind};
use kiops_core::{Error, Result};

/// A ref and the object that it points at, which may be a tag object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefLine {
    pub(super) git_ref: GitRef,
    pub(super) object: CommitId,
}

/// The lines of `for-each-ref --format='%(objectname) %(refname)'`, without refs whose names kiops has no type for
/// (not UTF-8, starting with a hyphen, longer than 1024 bytes).
pub(super) fn refs(stdout: &[u8]) -> Vec<RefLine> {
    lines(stdout).filter_map(|line| ref_line(line.split_once(' ')?)).collect()
}

/// The refs of `ls-remote`, an annotated tag with the commit that it points at. `HEAD` and the like are left out.
pub(super) fn remote_refs(stdout: &[u8]) -> Vec<Head> {
    let mut heads: Vec<Head> = Vec::new();
    for line in lines(stdout) {
        let Some((object, name)) = line.split_once('\t') else { continue };
        // A peeled line follows the line of its tag.
        let (name, peeled) = name.strip_suffix("^{}").map_or((name, false), |name| (name, true));
        let Some(RefLine { git_ref, object }) = ref_line((object, name)) else { continue };
        match heads.last_mut() {
            Some(last) if peeled && last.git_ref == git_ref => {
                last.object = Some(std::mem::replace(&mut last.commit, object));
            }
            _ if peeled => {}
            _ => heads.push(Head { git_ref, commit: object, object: None }),
        }
    }
    heads
}

fn lines(stdout: &[u8]) -> impl Iterator<Item = &str> {
    stdout.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

fn ref_line((object, name): (&str, &str)) -> Option<RefLine> {
    Some(RefLine { git_ref: GitRef::parse(name).ok()?, object: CommitId::parse(object).ok()? })
}

/// The answers of `cat-file --batch-check` to `ids` asked as `ID^{commit}`, in their order: the commit that each leads to.
pub(super) fn peeled(stdout: &[u8], ids: &[&CommitId]) -> Vec<Option<CommitId>> {
    let mut answers = stdout.split(|byte| *byte == b'\n');
    ids.iter()
        .map(|id| {
            let (object, rest) = std::str::from_utf8(answers.next()?).ok()?.split_once(' ')?;
            // In a SHA-256 repository a SHA-1 id reads as an abbreviation: not what was asked for.
            let fits = rest.starts_with("commit ") && object.len() == id.as_str().len();
            if fits { CommitId::parse(object).ok() } else { None }
        })
        .collect()
}

/// The changes of `diff-tree -r -z --name-status --no-renames`: a renamed file is one removed and one added (E62).
/// Partial if `truncated`, or where there are more than `limit`. A path that is not UTF-8 is read with replacement characters.
pub(super) fn changes(stdout: &[u8], truncated: bool, limit: usize) -> ChangedFiles {
    let mut files = FileList::default();
    let mut fields = terminated(stdout);
    let mut count = 0;
    let mut partial = truncated;
    while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
        if count == limit {
            partial = true;
            break;
        }
        count += 1;
        let path = String::from_utf8_lossy(path);
        let list = match status.first() {
            Some(b'A') => &mut files.added,
            Some(b'D') => &mut files.removed,
            _ => &mut files.modified,
        };
        list.push(&path);
    }
    if partial { ChangedFiles::Partial(files) } else { ChangedFiles::Complete(files) }
}

/// The entries of `ls-tree -z -l`, their paths below `folder`, in name order.
pub(super) fn tree(stdout: &[u8], folder: &str) -> Vec<TreeEntry> {
    let mut entries: Vec<TreeEntry> =
        terminated(stdout).filter_map(|entry| tree_entry(entry, folder)).collect();
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    entries
}

/// The id of the entry of `ls-tree -z` whose path is exactly this one.
pub(super) fn object_named(stdout: &[u8], path: &str) -> Option<String> {
    terminated(stdout).find_map(|entry| {
        let (facts, name) = std::str::from_utf8(entry).ok()?.split_once('\t')?;
        (name == path).then(|| facts.split(' ').nth(2).map(str::to_owned))?
    })
}

fn tree_entry(entry: &[u8], folder: &str) -> Option<TreeEntry> {
    let tab = entry.iter().position(|byte| *byte == b'\t')?;
    let (facts, path) = (entry.get(..tab)?, entry.get(tab + 1..)?);
    let mut facts = std::str::from_utf8(facts).ok()?.split_ascii_whitespace();
    let mode = facts.next()?;
    let size = facts.nth(2)?;
    let kind = match mode {
        "040000" => TreeEntryKind::Folder,
        "160000" => TreeEntryKind::Submodule,
        "120000" => TreeEntryKind::Symlink,
        "100755" => TreeEntryKind::Executable,
        _ => TreeEntryKind::File,
    };
    let name = String::from_utf8_lossy(path);
    let path = if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") };
    Some(TreeEntry { path, kind, size: size.parse().ok() })
}

/// The fields that end in a NUL; one that was cut off is none.
fn terminated(stdout: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = stdout.iter().rposition(|byte| *byte == 0).and_then(|end| stdout.get(..end));
    whole.into_iter().flat_map(|whole| whole.split(|byte| *byte == 0))
}

/// A commit object's content. What is not UTF-8 is read with replacement characters; a time that no calendar has is 1970.
pub(super) fn commit(operation: &'static str, id: CommitId, content: &[u8]) -> Result<Commit> {
    let text = String::from_utf8_lossy(content);
    let (head, message) = text.split_once("\n\n").unwrap_or_else(|| (text.trim_end_matches('\n'), ""));
    let damaged = || {
        Error::corrupt(operation, format!("commit {id} cannot be read"))
            .with_remedy("run `git fsck` in the repository")
    };
    let mut parents = Vec::new();
    let (mut author, mut committer) = (None, None);
    for line in head.lines() {
        match line.split_once(' ') {
            Some(("parent", parent)) => parents.push(CommitId::parse(parent).map_err(|_| damaged())?),
            Some(("author", person)) => author = author.or(Some(person)),
            Some(("committer", person)) => committer = committer.or(Some(person)),
            _ => {}
        }
    }
    // Who wrote a change may be another than who committed it (a rebase, a patch by mail): the build names the committer.
    let (Some(_), Some(committer)) = (author, committer) else { return Err(damaged()) };
    Ok(Commit {
        id,
        message: message.to_owned(),
        author: name_of(committer),
        timestamp: time_of(committer),
        parents,
        web_url: None,
    })
}

fn name_of(person: &str) -> String {
    person.rsplit_once('<').map_or(person, |(name, _)| name).trim().to_owned()
}

fn time_of(person: &str) -> Timestamp {
    let seconds =
        person.rsplit_once("> ").and_then(|(_, time)| time.split_ascii_whitespace().next()?.parse().ok());
    seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The header and content of the one object that `cat-file --batch` was asked for: type, size, and what came of the content.
pub(super) fn object(stdout: &[u8]) -> Option<(&str, usize, &[u8])> {
    let end = stdout.iter().position(|byte| *byte == b'\n')?;
    let mut header = std::str::from_utf8(stdout.get(..end)?).ok()?.split(' ');
    let (_, kind, size) = (header.next()?, header.next()?, header.next()?.parse().ok()?);
    let content = stdout.get(end + 1..)?;
    Some((kind, size, content.get(..size).unwrap_or(content)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn id(text: &str) -> CommitId {
        CommitId::parse(text).unwrap()
    }

    #[test]
    fn refs_that_have_no_type_are_left_out() {
        let found = refs(
            format!("{ONE} refs/heads/-x\n{ONE} refs/heads/a b\n{ONE} refs/heads/größe/#1\nnonsense\n")
                .as_bytes(),
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].git_ref.to_string(), "refs/heads/größe/#1");
    }

    #[test]
    fn an_annotated_tag_of_a_remote_is_its_commit() {
        let text =
            format!("{ONE}\tHEAD\n{ONE}\trefs/heads/main\n{ONE}\trefs/tags/v1\n{TWO}\trefs/tags/v1^{{}}\n");
        let heads = remote_refs(text.as_bytes());
        assert_eq!(heads.len(), 2);
        let git_ref = GitRef::parse("refs/tags/v1").unwrap();
        assert_eq!(heads[1], Head { git_ref, commit: id(TWO), object: Some(id(ONE)) });
    }

    #[test]
    fn a_peeled_object_has_the_length_that_was_asked_for() {
        let long = "3".repeat(64);
        let answer = format!("{TWO} commit 200\n{ONE}^{{commit}} missing\n{long} commit 200\n");
        let one = id(ONE);
        assert_eq!(peeled(answer.as_bytes(), &[&one, &one, &one]), [Some(id(TWO)), None, None]);
        assert_eq!(peeled(b"", &[&one]), [None]);
    }

    #[test]
    fn an_entry_is_found_by_its_whole_path() {
        let text = format!("100644 blob {ONE}\ta\tb\0040000 tree {TWO}\ta\0");
        assert_eq!(object_named(text.as_bytes(), "a").as_deref(), Some(TWO));
        assert_eq!(object_named(text.as_bytes(), "a\tb").as_deref(), Some(ONE));
        assert_eq!(object_named(text.as_bytes(), "b"), None);
    }

    #[test]
    fn changes_keep_names_with_line_breaks_and_tell_when_they_are_cut() {
        let text = b"A\0new\nline\0D\0old\0M\0dir/a b\0T\0link\0";
        let ChangedFiles::Complete(files) = changes(text, false, 10) else { panic!("not complete") };
        assert_eq!(files.added.iter().collect::<Vec<_>>(), ["new\nline"]);
        assert_eq!(files.removed.iter().collect::<Vec<_>>(), ["old"]);
        assert_eq!(files.modified.iter().collect::<Vec<_>>(), ["dir/a b", "link"]);
        let ChangedFiles::Partial(files) = changes(text, false, 2) else { panic!("not partial") };
        assert_eq!(files.paths().count(), 2);
        let ChangedFiles::Partial(files) = changes(b"A\0whole\0A\0cut o", true, 10) else {
            panic!("not partial")
        };
        assert_eq!(files.paths().collect::<Vec<_>>(), ["whole"]);
        assert_eq!(changes(b"", false, 10), ChangedFiles::Complete(FileList::default()));
    }

    #[test]
    fn a_commit_is_read_with_signature_and_odd_times() {
        let text = format!(
            "tree {ONE}\nparent {TWO}\nauthor Grace <g@h> 1 +0000\ncommitter C <x> Ommitter <c@d> 86400 +0200\ngpgsig -----BEGIN\n line\n\nSubject\n\nBody\n"
        );
        let read = commit("read", id(ONE), text.as_bytes()).unwrap();
        assert_eq!(read.author, "C <x> Ommitter", "who committed, not who wrote");
        assert_eq!(read.timestamp, Timestamp::from_second(86400).unwrap());
        assert_eq!(read.parents, [id(TWO)]);
        assert_eq!(read.message, "Subject\n\nBody\n");
        let odd = format!("tree {ONE}\nauthor  <> 0 +0000\ncommitter <x> 99999999999999999 +0000\n");
        let read = commit("read", id(ONE), odd.as_bytes()).unwrap();
        assert_eq!(
            (read.timestamp, read.message.as_str(), read.author.as_str()),
            (Timestamp::UNIX_EPOCH, "", "")
        );
        assert!(commit("read", id(ONE), b"blob").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[A-Z0-9 a-f\t\n\0/^{}-]{0,200}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let one = id(ONE);
                let _ = refs(bytes);
                let _ = remote_refs(bytes);
                prop_assert_eq!(peeled(bytes, &[&one, &one]).len(), 2);
                let _ = changes(bytes, true, 3);
                let _ = tree(bytes, "a");
                let _ = object_named(bytes, "a");
                let _ = commit("read", one, bytes);
                let _ = object(bytes);
            }
        }
    }
}
