//! Which refs and which changed files matter: patterns compiled once, immutable, cheap to clone.
//!
//! Four kinds of list, each with its own rules: [`RefFilter`] for branches, [`TagFilter`] for tags, [`PathFilter`] for
//! watch paths, [`ImageFilter`] for images with their hosts. What they share:
//!
//! | pattern | means |
//! |---|---|
//! | `*` | any characters, also none. Crosses `/` in branches, tags and images; stays within one segment in paths |
//! | `?` | one character. One beyond ASCII counts as its UTF-8 bytes: `ö` is `??` |
//! | `[ab]` `[a-z]` `[!a]` | one ASCII character of the set, or not of it |
//! | `{a,b}` | one of several patterns |
//! | `\*` | the character itself; so `\!x` is a name that begins with `!` |
//! | `!pattern` | excludes. An exclusion wins over every other pattern, wherever it stands in the list |
//!
//! A list of nothing but exclusions takes everything else. Letters must agree in case. An empty list is for its owner to
//! interpret (`is_empty`). Limits: [`MAX_PATTERNS`], [`MAX_PATTERN_BYTES`], [`MAX_LIST_BYTES`].
//!
//! In JSON and YAML a filter is a list of strings, or one string; it is written as a list of the same strings.

mod compiled;
mod images;
mod path;
mod refs;

pub use compiled::{MAX_LIST_BYTES, MAX_PATTERN_BYTES, MAX_PATTERNS, Verdict};
pub use images::ImageFilter;
pub use path::{PathFilter, PathVerdict};
pub(crate) use refs::version;
pub use refs::{RefFilter, TagFilter};

/// The pattern that stands for exactly this name: every character that means something in a pattern is escaped.
///
/// ```
/// use kiops_core::filter::{RefFilter, literal};
/// let filter = RefFilter::parse([literal("fix/{a}")])?;
/// assert_eq!(filter.matched_by("fix/{a}"), Some("fix/\\{a\\}"));
/// assert_eq!(filter.matched_by("fix/a"), None);
/// # Ok::<(), kiops_core::Error>(())
/// ```
pub fn literal(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '\\' | '*' | '?' | '[' | ']' | '{' | '}' | '!' | ',') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
