//! Lists, page by page.

use clap::Args;
use kiops_core::image::{Listed, Listing};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(crate) struct Page {
    /// Only what has this text in its name.
    #[arg(long, default_value = "")]
    search: String,
    /// Where to go on: `next` of the page before.
    #[arg(long)]
    after: Option<String>,
    /// At most this many; 0 is as many as the registry gives at once.
    #[arg(long, default_value_t = 0)]
    limit: usize,
}

impl Page {
    pub(crate) fn listing(self) -> Listing {
        let mut listing = Listing::text(self.search).limit(self.limit);
        listing.after = self.after;
        listing
    }
}

/// One page under its name, and where the next one starts.
pub(crate) fn page<T: Serialize>(name: &str, listed: &Listed<T>) -> Value {
    json!({name: listed.items, "next": listed.next, "total": listed.total})
}
