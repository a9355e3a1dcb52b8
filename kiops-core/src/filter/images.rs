//! Image patterns.

use std::sync::Arc;

use super::compiled::{Compiled, Syntax, filter};
use crate::error::Result;
use crate::name::ImageRef;

const IMAGES: Syntax = Syntax { operation: "parse image filter", everything: "*", segments: false };

/// Which images matter: `docker.io/library/*`, `harbor.example.com/base/*:1.*`, `!*:nightly`.
///
/// A pattern is compared with the whole name as kiops writes it, host, path and tag: `FROM node` is `docker.io/library/node:latest`.
/// `*` crosses `/` and `:`. The signs are explained at [the module](super).
///
/// Errors name the pattern and what is wrong with it; one with white space, which no image has, is refused.
#[derive(Clone)]
pub struct ImageFilter(Arc<Compiled>);

impl ImageFilter {
    /// Compiles a list of patterns. None at all gives the empty filter, which matches nothing.
    pub fn parse<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        let patterns = patterns.into_iter().map(Into::into).collect();
        let compiled = Compiled::new(&IMAGES, patterns, |_, pattern| {
            if pattern.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err("an image has no white space: give several patterns as a list".into());
            }
            Ok(vec![pattern.to_owned()])
        })?;
        Ok(Self(Arc::new(compiled)))
    }

    /// The pattern that lets an image in, if one does and none excludes it.
    pub fn matched_by(&self, image: &ImageRef) -> Option<&str> {
        self.0.judge(&IMAGES, &image.to_string(), [], |_| true, &mut Vec::new()).matched_by()
    }

    fn compiled(&self) -> &Compiled {
        &self.0
    }
}

impl Default for ImageFilter {
    fn default() -> Self {
        Self(Arc::new(Compiled::empty()))
    }
}

filter!(ImageFilter);

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(patterns: &[&str], image: &str) -> bool {
        let filter = ImageFilter::parse(patterns.iter().copied()).unwrap();
        filter.matched_by(&ImageRef::parse_familiar(image).unwrap()).is_some()
    }

    #[test]
    fn images_are_matched_as_a_whole_with_host_and_tag() {
        assert!(matches(&["docker.io/library/*"], "node:20"));
        assert!(matches(&["*/node:*"], "node:20"));
        assert!(matches(&["h.io/*:1.*", "!*-rc"], "h.io/a/b:1.2"));
        assert!(!matches(&["h.io/*:1.*", "!*-rc"], "h.io/a/b:1.2-rc"));
        assert!(matches(&["!*:nightly"], "h.io/a:1") && !matches(&["!*:nightly"], "h.io/a:nightly"));
        assert!(!matches(&["node:20"], "node:20"), "a pattern without the host is another image");
        assert!(!matches(&[], "node"));
    }

    #[test]
    fn a_pattern_that_matches_nothing_ever_is_refused() {
        let error = ImageFilter::parse(["h.io/a h.io/b"]).unwrap_err().to_string();
        assert!(error.contains("parse image filter") && error.contains("several patterns"), "{error}");
        assert!(ImageFilter::parse(["["]).is_err());
    }
}
