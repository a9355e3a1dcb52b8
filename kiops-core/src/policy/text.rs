//! Findings: typed values, rendered when shown.

use serde::{Deserialize, Serialize};

use crate::name::{CommitId, ComponentName};

/// One rule applied to one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's name (`branch filter`, `watch path`, or a host rule's own).
    pub rule: String,
    /// What it means for the decision.
    pub weight: Weight,
    /// What the rule saw.
    pub saw: Saw,
}

/// What a finding means for the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// It lets the event through.
    Pass,
    /// It stops the event.
    Block,
    /// It only tells.
    Note,
}

/// What a rule saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
#[non_exhaustive]
pub enum Saw {
    /// A switch.
    Switch {
        /// Its name.
        name: String,
        /// Its position.
        on: bool,
    },
    /// A name that a pattern matched.
    Matched {
        /// `branch`, `tag`, `target branch`, `path`.
        what_name: String,
        /// The name.
        name: String,
        /// The pattern.
        pattern: String,
    },
    /// A name that no pattern matched.
    NotMatched {
        /// See [`Saw::Matched`].
        what_name: String,
        /// The name.
        name: String,
        /// All patterns.
        patterns: Vec<String>,
    },
    /// No watched path of a component among the changed files.
    PathsNotTouched {
        /// The component.
        component: ComponentName,
        /// How many files changed.
        files: usize,
        /// Since which commit.
        since: Option<CommitId>,
    },
    /// A watched path of a component changed.
    PathTouched {
        /// The component.
        component: ComponentName,
        /// The file.
        path: String,
        /// The pattern.
        pattern: String,
    },
    /// The changed files are not known: the watch path counts as matched.
    FilesUnknown {
        /// The component.
        component: ComponentName,
    },
    /// Where the head stands among those decided before.
    Standing {
        /// `newest`, `same` or `late`.
        standing: super::Standing,
        /// The newest head decided before.
        newest: Option<CommitId>,
        /// How it was told.
        by: String,
    },
    /// A marker or keyword in the message.
    Message {
        /// What was looked for.
        marker: String,
        /// Whether it is there.
        found: bool,
    },
    /// A merge request from a fork.
    Fork {
        /// Its head.
        commit: CommitId,
        /// Whether somebody approved that commit.
        approved: bool,
    },
    /// Anything that is said best in a sentence.
    Text {
        /// The sentence.
        text: String,
    },
}

impl Finding {
    /// A finding that lets the event through.
    pub fn pass(rule: impl Into<String>, saw: Saw) -> Self {
        Self { rule: rule.into(), weight: Weight::Pass, saw }
    }

    /// A finding that stops the event.
    pub fn block(rule: impl Into<String>, saw: Saw) -> Self {
        Self { rule: rule.into(), weight: Weight::Block, saw }
    }

    /// A finding that only tells.
    pub fn note(rule: impl Into<String>, saw: Saw) -> Self {
        Self { rule: rule.into(), weight: Weight::Note, saw }
    }
}

impl Saw {
    /// A sentence.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.saw)
    }
}

impl std::fmt::Display for Saw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch { name, on } => write!(f, "{name} is {}", if *on { "on" } else { "off" }),
            Self::Matched { what_name, name, pattern } => {
                write!(f, "{what_name} `{}` matches `{}`", clean(name), clean(pattern))
            }
            Self::NotMatched { what_name, name, patterns } => {
                write!(f, "{what_name} `{}` matches none of", clean(name))?;
                patterns.iter().try_for_each(|pattern| write!(f, " `{}`", clean(pattern)))
            }
            Self::PathsNotTouched { component, files, since } => {
                write!(f, "none of the {files} files changed")?;
                if let Some(since) = since {
                    write!(f, " since {}", since.short())?;
                }
                write!(f, " is watched by component `{component}`")
            }
            Self::PathTouched { component, path, pattern } => {
                write!(f, "`{}` matches `{}` of component `{component}`", clean(path), clean(pattern))
            }
            Self::FilesUnknown { component } => {
                write!(
                    f,
                    "the changed files are not known, so the watch path of component `{component}` counts as matched"
                )
            }
            Self::Standing { standing, newest, by } => {
                let word = match standing {
                    super::Standing::Newest => "newer than",
                    super::Standing::Same => "the same as",
                    super::Standing::Late => "older than",
                };
                match newest {
                    Some(newest) => write!(f, "the head is {word} {} ({by})", newest.short()),
                    None if *standing == super::Standing::Late => write!(f, "the head came late ({by})"),
                    None => write!(f, "the first head of this ref"),
                }
            }
            Self::Message { marker, found } => {
                write!(
                    f,
                    "the commit message {} `{}`",
                    if *found { "has" } else { "does not have" },
                    clean(marker)
                )
            }
            Self::Fork { commit, approved } => {
                let word = if *approved { "was approved" } else { "waits for approval" };
                write!(f, "commit {} comes from a fork and {word}", commit.short())
            }
            Self::Text { text } => f.write_str(&clean(text)),
        }
    }
}

/// A name from outside as it may be shown: what cannot be seen is escaped, quotes and backslashes are what they are.
fn clean(text: &str) -> String {
    let shown = |c: char| -> String {
        if matches!(c, '\'' | '"' | '\\') { c.to_string() } else { c.escape_debug().to_string() }
    };
    text.chars().map(shown).collect()
}
