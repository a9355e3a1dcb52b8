//! How much Docker Hub still lets somebody do.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A limit on how often something may be done, as Docker Hub told it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// How often in a window.
    pub limit: u64,
    /// How often it still may be done in this window.
    pub remaining: u64,
    /// How long a window is, where it is told.
    pub window: Option<Duration>,
    /// When the next window begins, where it is told.
    pub resets_at: Option<Timestamp>,
    /// What is counted, where it is told: an address, or an account's id.
    pub counted: Option<String>,
}

impl RateLimit {
    /// The limit of the interface: `X-RateLimit-Limit`, `-Remaining`, and `-Reset` in seconds since 1970.
    pub(super) fn of_interface(headers: &HeaderMap) -> Option<Self> {
        let number = |name: &str| text(headers, name)?.parse::<u64>().ok();
        let resets = number("x-ratelimit-reset").and_then(|at| i64::try_from(at).ok());
        Some(Self {
            limit: number("x-ratelimit-limit")?,
            remaining: number("x-ratelimit-remaining")?,
            // Docker documents it a minute.
            window: Some(Duration::from_secs(60)),
            resets_at: resets.and_then(|at| Timestamp::from_second(at).ok()),
            counted: None,
        })
    }

    /// The limit on pulls: `ratelimit-limit: 100;w=21600`, `ratelimit-remaining`, `docker-ratelimit-source`. `None`: there is none.
    pub(super) fn of_pulls(headers: &HeaderMap) -> Option<Self> {
        let (limit, window) = counted(text(headers, "ratelimit-limit")?)?;
        let (remaining, other) = counted(text(headers, "ratelimit-remaining")?)?;
        let source = text(headers, "docker-ratelimit-source").filter(|source| !source.is_empty());
        Some(Self {
            limit,
            remaining,
            window: window.or(other),
            resets_at: None,
            counted: source.map(|source| source.chars().take(100).collect()),
        })
    }
}

impl std::fmt::Display for RateLimit {
    /// `3 of 100 left in 6 hours`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} left", self.remaining, self.limit)?;
        let Some(window) = self.window.map(|window| window.as_secs()) else { return Ok(()) };
        match (window / 3600, window % 3600) {
            (1, 0) => f.write_str(" in an hour"),
            (hours, 0) if hours > 0 => write!(f, " in {hours} hours"),
            _ if window == 60 => f.write_str(" in a minute"),
            _ => write!(f, " in {window} seconds"),
        }
    }
}

/// `100;w=21600`: a number, and seconds.
fn counted(text: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = text.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.trim().parse().ok());
    Some((number, window.map(Duration::from_secs)))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn limits_are_read_as_docker_documents_them() {
        let told = headers(&[
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "76;w=21600"),
            ("docker-ratelimit-source", "192.0.2.1"),
        ]);
        let pulls = RateLimit::of_pulls(&told).unwrap();
        assert_eq!((pulls.limit, pulls.remaining, pulls.counted.as_deref()), (100, 76, Some("192.0.2.1")));
        assert_eq!(pulls.to_string(), "76 of 100 left in 6 hours");
        let told = headers(&[
            ("x-ratelimit-limit", "180"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1700000060"),
        ]);
        let limit = RateLimit::of_interface(&told).unwrap();
        assert_eq!(limit.to_string(), "0 of 180 left in a minute");
        assert_eq!(limit.resets_at.unwrap().as_second(), 1_700_000_060);
        assert_eq!(RateLimit::of_pulls(&told), None);
        assert_eq!(RateLimit::of_interface(&headers(&[("x-ratelimit-limit", "many")])), None);
    }

    proptest! {
        #[test]
        fn whatever_a_header_holds_is_read_or_not(value in "[ -~]{0,30}", n in any::<u64>(), w in any::<u64>()) {
            for value in [value, format!("{n};w={w}")] {
                let Ok(value) = HeaderValue::from_str(&value) else { continue };
                let names = ["ratelimit-limit", "ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
                let map: HeaderMap = names.iter().map(|name| (HeaderName::from_static(name), value.clone())).collect();
                for limit in [RateLimit::of_pulls(&map), RateLimit::of_interface(&map)].into_iter().flatten() {
                    let _ = limit.to_string();
                }
            }
        }
    }
}
