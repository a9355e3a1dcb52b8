//! GitHub's lists, page by page.

use kiops_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

use super::GitHub;
use crate::rest::{Answer, Call, next_parameter};

/// How many entries a page is asked for: the most that GitHub gives.
const SIZE: &str = "100";

/// One page of a list, counted from 1.
pub(super) fn numbered(call: Call<'_>, page: u64) -> Call<'_> {
    call.query("per_page", SIZE).query("page", &page.to_string())
}

/// Whether GitHub says that another page follows. Which one, we count ourselves: no answer can lead round in a circle.
pub(super) fn has_next(answer: &Answer) -> bool {
    next_parameter(&answer.headers, "page").is_some()
}

impl GitHub {
    /// Every entry of a list that `call` asks for.
    pub(super) async fn all<'a, T: DeserializeOwned>(
        &'a self,
        operation: &'static str,
        call: impl Fn() -> Result<Call<'a>>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for page in 1.. {
            let answer = numbered(call()?, page).good().await?;
            let items: Vec<T> = answer.read()?;
            let is_last = items.is_empty() || !has_next(&answer);
            all.extend(items);
            self.check_size(operation, all.len())?;
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Refuses a list that is longer than the configuration allows.
    pub(super) fn check_size(&self, operation: &'static str, entries: usize) -> Result<()> {
        let max = self.config.max_entries;
        if entries <= max {
            return Ok(());
        }
        let message = format!("the list has more than {max} entries");
        Err(Error::new(ErrorKind::TooLarge, operation, message)
            .with_remedy("remove what nobody needs any more at GitHub, or raise max_entries"))
    }
}
