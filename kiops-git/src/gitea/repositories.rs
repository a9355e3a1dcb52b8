//! Which repositories there are.

use kiops_core::provider::{Page, RepositoryInfo, Search};
use kiops_core::{Error, Result};
use serde::Deserialize;

use super::provider::{Facts, Gitea, PAGE};
use crate::rest::next_parameter;
use crate::shape::is_name_byte;

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    data: Option<Vec<Facts>>,
}

impl Gitea {
    pub(super) async fn search(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let operation = "list repositories";
        let nothing = Page { items: Vec::new(), next: None };
        if search.text.len() > 511 || !search.text.bytes().all(|byte| byte == b'/' || is_name_byte(byte)) {
            return Ok(nothing);
        }
        // Of `owner/name` the host wants the owner whole: it is asked for the name, and the rest is left to us.
        let name = search.text.rsplit_once('/').map_or(search.text.as_str(), |(_, name)| name);
        let number = match &search.after {
            None => 1_u32,
            Some(after) => after.parse().map_err(|_| {
                Error::invalid(operation, "the place to go on from is none that a page has given")
            })?,
        };
        let limit = if search.limit == 0 { PAGE } else { search.limit.min(PAGE) };
        let call = self.rest.get(operation, &["repos", "search"])?;
        let call = call.query("q", name).query("sort", "alpha").query("order", "asc");
        let call = call.query("limit", &limit.to_string()).query("page", &number.to_string());
        let answer = call.good().await?;
        let found = answer.read::<Found>()?.data.unwrap_or_default();
        let total = answer.header("x-total-count").and_then(|total| total.parse::<u64>().ok());
        let next = next_parameter(&answer.headers, "page").is_some()
            || total.is_some_and(|total| u64::from(number).saturating_mul(limit as u64) < total);
        let is_last = found.is_empty() || !next;
        let wanted = search.text.to_lowercase();
        // The host takes `_` for any letter, and looks into descriptions where it is set to.
        let found = found.into_iter().filter(|facts| facts.full_name.to_lowercase().contains(&wanted));
        let items: Vec<_> =
            found.take(limit).map(|facts| self.info(operation, facts)).collect::<Result<_>>()?;
        Ok(Page { items, next: (!is_last).then(|| number.saturating_add(1).to_string()) })
    }
}
