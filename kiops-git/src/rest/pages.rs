//! Lists that come page by page, counted from 1.

use bytes::Bytes;
use kiops_core::{Error, Result};
use serde::de::DeserializeOwned;

use super::Call;
use crate::shape::too_many;

/// How a host counts its pages.
pub(crate) struct Pages {
    /// The parameter for the length of a page, and the length that is asked for.
    pub(crate) size: (&'static str, usize),
    /// The header that tells how many entries there are, where the host sends it.
    pub(crate) total: &'static str,
    /// Whether a page that is shorter than asked for is the last, where there is no such header.
    pub(crate) short_is_last: bool,
}

impl Pages {
    /// Every entry of a list. More than `max` are `TooLarge`; a page that comes twice is an error, as the host would never end.
    pub(crate) async fn every<'a, T: DeserializeOwned>(
        &self,
        operation: &'static str,
        what: &str,
        max: usize,
        call: impl Fn() -> Result<Call<'a>>,
    ) -> Result<Vec<T>> {
        let (mut all, mut before) = (Vec::new(), Bytes::new());
        let (name, size) = self.size;
        for number in 1_usize.. {
            let call = call()?.query("page", &number.to_string()).query(name, &size.to_string());
            let answer = call.good().await?;
            let items: Vec<T> = answer.read::<Option<_>>()?.unwrap_or_default();
            let count = items.len();
            if count == 0 {
                break;
            }
            if answer.body == before {
                return Err(Error::unavailable(operation, "the host gives the same page again and again"));
            }
            all.extend(items);
            if all.len() > max {
                return Err(too_many(operation, what, max));
            }
            let total = answer.header(self.total).and_then(|total| total.parse::<usize>().ok());
            let is_last = match total {
                Some(total) => all.len() >= total,
                // More than was asked for is everything: this list has no pages.
                None => count > size || self.short_is_last && count < size,
            };
            if is_last {
                break;
            }
            before = answer.body;
        }
        Ok(all)
    }
}
