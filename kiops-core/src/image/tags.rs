//! Tags from templates: `{branch}`, `{tag}`, `{semver}`, `{sha}`, `{mr}`, or plain text such as `latest`.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::name::{BranchName, CommitId, GitTag, Tag};

const TAG_MAX: usize = 128;

/// A tag template, checked when parsed.
///
/// | placeholder | becomes | where it has no value |
/// |---|---|---|
/// | `{sha}` | the short commit id, 7 digits (T19) | always has one |
/// | `{branch}` | the branch, lower-cased, other characters as `-` (E54) | the template gives no tag |
/// | `{tag}` | the Git tag, other characters as `-` | the template gives no tag |
/// | `{semver}` | the Git tag as a version, without its `v` | the template gives no tag |
/// | `{mr}` | the merge request's number | the template gives no tag |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Sha,
    Branch,
    Tag,
    Semver,
    MergeRequest,
}

/// What templates are filled from.
#[derive(Debug, Clone, Copy)]
pub struct TagFacts<'a> {
    /// The commit that was built.
    pub commit: &'a CommitId,
    /// The branch, for a push.
    pub branch: Option<&'a BranchName>,
    /// The Git tag, for a tag push.
    pub tag: Option<&'a GitTag>,
    /// The merge request's number.
    pub merge_request: Option<u64>,
}

impl TagTemplate {
    /// The candidate tag of every build: the short commit id (T19).
    pub fn short_commit() -> Self {
        Self { text: "{sha}".into(), parts: vec![Part::Sha] }
    }

    /// Parses a template, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse =
            |why: String| Error::invalid("parse tag template", format!("`{}`: {why}", text.escape_debug()));
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(refuse("a `{` has no `}`".into()));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "sha" => Part::Sha,
                "branch" => Part::Branch,
                "tag" => Part::Tag,
                "semver" => Part::Semver,
                "mr" => Part::MergeRequest,
                other => {
                    return Err(refuse(format!(
                        "`{{{}}}` is not one of {{sha}}, {{branch}}, {{tag}}, {{semver}}, {{mr}}",
                        other.escape_debug()
                    )));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let texts = parts
            .iter()
            .filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None });
        if parts.is_empty() || texts.clone().any(|text| !text.chars().all(word)) {
            return Err(refuse("between placeholders only A-Z a-z 0-9 _ . - may stand".into()));
        }
        if matches!(parts.first(), Some(Part::Text(text)) if text.starts_with(['.', '-'])) {
            return Err(refuse("a tag does not start with `.` or `-`".into()));
        }
        if texts.map(str::len).sum::<usize>() > 64 {
            return Err(refuse("its fixed text is longer than 64 characters".into()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The tag for these facts, or `None` where a placeholder has no value. A result that would be too long is cut and
    /// ends in eight digits of its hash, so that two long branches never share a tag.
    pub fn fill(&self, facts: &TagFacts<'_>) -> Option<Tag> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Sha => out.push_str(facts.commit.short()),
                Part::Branch => out.push_str(&tag_from_branch(facts.branch?.as_str())),
                Part::Tag => out.push_str(&clean(facts.tag?.as_str(), false)),
                Part::Semver => out.push_str(&semver_of(facts.tag?)?),
                Part::MergeRequest => out.push_str(&facts.merge_request?.to_string()),
            }
        }
        Tag::parse(fit(&out)).ok()
    }
}

/// A branch as an image tag: lower-case, `/` and everything else that a tag cannot hold as `-`. Where that lost
/// something other than `/`, or the result is longer than 100 characters, eight digits of a hash follow.
pub fn tag_from_branch(branch: &str) -> String {
    clean(branch, true)
}

fn clean(name: &str, lower: bool) -> String {
    let mut lossy = false;
    let mut out: String = name
        .chars()
        .map(|c| match c {
            'A'..='Z' if lower => {
                lossy = true;
                c.to_ascii_lowercase()
            }
            '/' => '-',
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') => c,
            _ => {
                lossy = true;
                '-'
            }
        })
        .collect();
    if out.starts_with(['.', '-']) {
        lossy = true;
        out.insert(0, '_');
    }
    if lossy || out.len() > 100 {
        out.truncate(100);
        out.push('-');
        out.push_str(&hash8(name));
    }
    out
}

fn semver_of(tag: &GitTag) -> Option<String> {
    let version = crate::filter::version(tag.as_str())?;
    // A tag cannot hold the `+` of build metadata.
    Some(version.to_string().replace('+', "_"))
}

fn fit(text: &str) -> String {
    if text.len() <= TAG_MAX {
        return text.to_owned();
    }
    format!("{}-{}", &text[..TAG_MAX - 9], hash8(text))
}

fn hash8(text: &str) -> String {
    crate::name::hex(&Sha256::digest(text.as_bytes())[..4])
}

impl TryFrom<String> for TagTemplate {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<TagTemplate> for String {
    fn from(template: TagTemplate) -> Self {
        template.text
    }
}

impl std::fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commit() -> CommitId {
        CommitId::parse("abc123def0".repeat(4)).unwrap()
    }

    fn fill(template: &str, branch: Option<&str>, tag: Option<&str>) -> Option<String> {
        let commit = commit();
        let branch = branch.map(|b| BranchName::parse(b).unwrap());
        let tag = tag.map(|t| GitTag::parse(t).unwrap());
        let facts =
            TagFacts { commit: &commit, branch: branch.as_ref(), tag: tag.as_ref(), merge_request: None };
        TagTemplate::parse(template).unwrap().fill(&facts).map(|tag| tag.to_string())
    }

    #[test]
    fn templates_fill_from_what_is_there() {
        assert_eq!(fill("{sha}", None, None).unwrap(), "abc123d");
        assert_eq!(fill("latest", None, None).unwrap(), "latest");
        assert_eq!(fill("{branch}-{sha}", Some("feature/a"), None).unwrap(), "feature-a-abc123d");
        assert_eq!(fill("{branch}", None, Some("v1")), None);
        assert_eq!(fill("{semver}", None, Some("v1.2.3-rc.1")).unwrap(), "1.2.3-rc.1");
        assert_eq!(fill("{semver}", None, Some("nightly")), None);
        assert_eq!(fill("{mr}", None, None), None);
    }

    #[test]
    fn bad_templates_say_why() {
        for bad in ["", "{", "{x}", "a b", "-x", ".x", "a{sha", "ü"] {
            assert!(TagTemplate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn branches_that_differ_only_in_lost_characters_get_different_tags() {
        assert_ne!(tag_from_branch("Fix"), tag_from_branch("fix"));
        assert_ne!(tag_from_branch("a#b"), tag_from_branch("a%b"));
    }

    proptest! {
        #[test]
        fn any_branch_gives_a_valid_tag(name in "[^\u{0}-\u{20}\u{7f}~^:?*\\[\\\\]{1,300}") {
            if let Ok(branch) = BranchName::parse(&name) {
                let commit = commit();
                let facts = TagFacts { commit: &commit, branch: Some(&branch), tag: None, merge_request: None };
                let template = TagTemplate::parse("{branch}-{sha}").unwrap();
                prop_assert!(template.fill(&facts).is_some());
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = TagTemplate::parse(&text);
        }
    }
}
