//! Git's names: refs, branches, tags, commits, repositories.

use super::{DnsLabel, NameError, ReleaseId, name};

name!(
    /// A branch without its `refs/heads/` prefix (`feature/a/b`), within the rules of `git check-ref-format`.
    ///
    /// A name that starts with `-` is refused even though Git would take it: it could be read as an option.
    BranchName,
    |v| check_ref_part("branch name", v)
);
name!(
    /// A Git tag without its `refs/tags/` prefix.
    GitTag,
    |v| check_ref_part("tag name", v)
);
name!(
    /// A full object id: 40 lower-case hexadecimal digits (SHA-1) or 64 (SHA-256). Never all zeros, which stands for "no object".
    CommitId,
    check_commit
);
name!(
    /// The provider's own id of a repository: stable when a repository is renamed or moved (E36). Any text without control characters.
    RepoId,
    |v| {
        if v.is_empty() || v.len() > 512 || v.chars().any(char::is_control) {
            return Err(NameError::new("repository id", v, "it is empty, longer than 512 bytes or has control characters"));
        }
        Ok(())
    }
);

/// What stands before every branch on which a release is proposed.
const PROPOSALS: &str = "kiops/";

impl BranchName {
    /// The branch on which a release is proposed as this revision of its place: `kiops/{place}/{revision}-{24 digits of the release}`. Gitea takes at
    /// most 100 characters: enough for 9,999 revisions.
    pub fn of_proposal(place: &DnsLabel, revision: u64, release: &ReleaseId) -> Self {
        Self(format!("{PROPOSALS}{place}/{revision}-{}", release.digits()).into())
    }

    /// Whether a release is proposed in what this text names: a branch, or a merge's message in which its host names the branch.
    pub fn is_of_proposal(text: &str) -> bool {
        text.match_indices(PROPOSALS).any(|(at, _)| {
            let mut parts = text[at + PROPOSALS.len()..].splitn(2, '/');
            let (place, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let Some((revision, digits)) = rest.split_once('-') else { return false };
            let digits = digits.as_bytes().get(..24).unwrap_or_default();
            DnsLabel::parse(place).is_ok()
                && revision.parse::<u64>().is_ok()
                && digits.len() == 24
                && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        })
    }
}

impl CommitId {
    /// The first seven digits: what tags are made from (T19).
    pub fn short(&self) -> &str {
        &self.as_str()[..7]
    }

    /// Parses a hook's `before` or `after`: `None` for all zeros or nothing, which is how hosts say "no such object".
    pub fn parse_optional(value: &str) -> Result<Option<Self>, NameError> {
        if value.is_empty() || value.bytes().all(|b| b == b'0') {
            return Ok(None);
        }
        Self::parse(value).map(Some)
    }
}

fn check_commit(value: &str) -> Result<(), NameError> {
    let refuse = |reason: &str| Err(NameError::new("commit id", value, reason));
    if value.len() != 40 && value.len() != 64 {
        return refuse("it has neither 40 nor 64 digits");
    }
    if !value.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return refuse("only the digits 0-9 and a-f are allowed");
    }
    if value.bytes().all(|b| b == b'0') {
        return refuse("all zeros stands for no object");
    }
    Ok(())
}

/// The rules of `git check-ref-format` for what follows `refs/heads/` or `refs/tags/`, plus no leading `-`.
fn check_ref_part(what: &'static str, value: &str) -> Result<(), NameError> {
    let refuse = |reason: &str| Err(NameError::new(what, value, reason));
    if value.is_empty() {
        return refuse("it is empty");
    }
    if value.len() > 1024 {
        return refuse("it is longer than 1024 bytes");
    }
    if value.starts_with('-') {
        return refuse("it starts with a hyphen");
    }
    if value.starts_with('/') || value.ends_with('/') || value.contains("//") {
        return refuse("it has an empty part between slashes");
    }
    if value.ends_with('.') || value.contains("..") || value.contains("@{") || value == "@" {
        return refuse("`..`, `@{`, a lone `@` and a final dot are not allowed");
    }
    if value.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock")) {
        return refuse("a part starts with a dot or ends with `.lock`");
    }
    if value.chars().any(|c| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')) {
        return refuse("control characters, space and any of ~^:?*[\\ are not allowed");
    }
    Ok(())
}

/// A full ref, told apart by its prefix alone: a tag named `main` is never a branch (E52). The prefix is taken off once (E51).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GitRef {
    /// `refs/heads/...`
    Branch(BranchName),
    /// `refs/tags/...`
    Tag(GitTag),
    /// Any other ref below `refs/`, such as `refs/merge-requests/7/head`, whole.
    Other(String),
}

impl GitRef {
    /// Parses a full ref (`refs/heads/main`).
    pub fn parse(value: &str) -> Result<Self, NameError> {
        if let Some(branch) = value.strip_prefix("refs/heads/") {
            return BranchName::parse(branch).map(Self::Branch);
        }
        if let Some(tag) = value.strip_prefix("refs/tags/") {
            return GitTag::parse(tag).map(Self::Tag);
        }
        let Some(rest) = value.strip_prefix("refs/") else {
            return Err(NameError::new("full ref", value, "it does not start with `refs/`"));
        };
        check_ref_part("full ref", rest)?;
        Ok(Self::Other(value.to_owned()))
    }

    /// The branch, if it is one.
    pub const fn branch(&self) -> Option<&BranchName> {
        match self {
            Self::Branch(branch) => Some(branch),
            _ => None,
        }
    }

    /// The tag, if it is one.
    pub const fn tag(&self) -> Option<&GitTag> {
        match self {
            Self::Tag(tag) => Some(tag),
            _ => None,
        }
    }
}

impl std::fmt::Display for GitRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Branch(branch) => write!(f, "refs/heads/{branch}"),
            Self::Tag(tag) => write!(f, "refs/tags/{tag}"),
            Self::Other(whole) => f.write_str(whole),
        }
    }
}

impl TryFrom<String> for GitRef {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, Self::Error> {
        Self::parse(&value)
    }
}

impl From<GitRef> for String {
    fn from(value: GitRef) -> Self {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_taken_off_once_and_decides_the_class() {
        assert_eq!(
            GitRef::parse("refs/heads/feature/a/b").unwrap().branch().unwrap().as_str(),
            "feature/a/b"
        );
        assert_eq!(
            GitRef::parse("refs/heads/refs/heads/x").unwrap().branch().unwrap().as_str(),
            "refs/heads/x"
        );
        assert_eq!(GitRef::parse("refs/tags/main").unwrap().tag().unwrap().as_str(), "main");
        assert!(GitRef::parse("refs/tags/main").unwrap().branch().is_none());
        assert_eq!(
            GitRef::parse("refs/merge-requests/7/head").unwrap().to_string(),
            "refs/merge-requests/7/head"
        );
        assert!(GitRef::parse("main").is_err());
    }

    #[test]
    fn unicode_hash_and_percent_are_branch_names() {
        for good in ["größe", "fix/#12", "a%2Fb", "日本語", "a@b", "a-b"] {
            assert!(BranchName::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn hostile_refs_are_refused() {
        let long = "a".repeat(1025);
        for bad in [
            "",
            "-h",
            "--upload-pack=touch pwned",
            "a..b",
            "a.lock",
            "a/b.lock",
            "@{",
            "@",
            "a b",
            "a\nb",
            "a\0b",
            "a\u{7f}",
            "../../x",
            "/a",
            "a/",
            "a//b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a.",
            ".a",
            "x/.a",
            long.as_str(),
        ] {
            assert!(BranchName::parse(bad).is_err(), "{bad:?}");
            assert!(GitRef::parse(&format!("refs/heads/{bad}")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commit_ids_have_forty_or_sixty_four_digits_and_are_never_zero() {
        assert!(CommitId::parse("a".repeat(40)).is_ok());
        assert!(CommitId::parse("a".repeat(64)).is_ok());
        for bad in
            ["", "abc", &"A".repeat(40), &"g".repeat(40), &"0".repeat(40), &"0".repeat(64), &"a".repeat(41)]
        {
            assert!(CommitId::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(CommitId::parse_optional(&"0".repeat(64)).unwrap(), None);
        assert_eq!(CommitId::parse_optional("").unwrap(), None);
        assert!(CommitId::parse_optional("zz").is_err());
    }
}
