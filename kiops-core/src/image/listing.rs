//! Lists of a registry, page by page.

/// What a list is narrowed to, and which page of it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Listing {
    /// Only what contains this text; empty: all. Each list says which name it looks at.
    pub text: String,
    /// Where to go on: [`Listed::next`] of the page before.
    pub after: Option<String>,
    /// At most this many a page; 0, and more than the host gives, mean the host's own limit.
    pub limit: usize,
}

impl Listing {
    /// The first page of everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// The first page of what contains `text`.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// The same with at most `limit` entries a page.
    #[must_use]
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The same from where another page ended.
    #[must_use]
    pub fn after(mut self, next: impl Into<String>) -> Self {
        self.after = Some(next.into());
        self
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page starts; `None`: this was the last.
    pub next: Option<String>,
    /// How many entries there are on all pages, where the host tells.
    pub total: Option<u64>,
}
