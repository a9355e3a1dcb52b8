//! What a status and its headers mean for whoever called.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, StatusCode, header};
use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Retry};

/// The error for a response that is none of the expected ones. `operation` names what was being done ("fetch commit"),
/// `detail` what the server said, already fit for a person and free of secrets; it may be empty, and is cut to 300 characters.
///
/// 401 is `Unauthorized`, 403 `Forbidden`, 404 and 410 `NotFound`, 409 and 412 `Conflict`, 413 `TooLarge`, 408 and 504 `Timeout`, 429 and a
/// 403 that is a rate limit `RateLimited`, 507 `Full`, other 5xx `Unavailable`, everything else `Invalid`. Retry advice
/// carries the server's own waiting time.
pub fn status_error(
    operation: impl Into<std::borrow::Cow<'static, str>>,
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
    detail: &str,
) -> Error {
    let limited = is_rate_limited(status, headers);
    let kind = match status.as_u16() {
        _ if limited => ErrorKind::RateLimited,
        401 | 407 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 | 410 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Conflict,
        413 => ErrorKind::TooLarge,
        408 | 504 => ErrorKind::Timeout,
        507 => ErrorKind::Full,
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    };
    let mut message = format!("the server answered {status}");
    let detail: String = detail.trim().chars().filter(|c| !c.is_control()).take(300).collect();
    if !detail.is_empty() {
        message.push_str(": ");
        message.push_str(&detail);
    }
    let error = Error::new(kind, operation, message);
    match wait_hint(headers, now).filter(|_| limited || status.is_server_error()) {
        Some(wait) => {
            let up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            error.with_retry(Retry::After(u32::try_from(up).unwrap_or(u32::MAX)))
        }
        None => error,
    }
}

/// How long the server asks to wait: by `Retry-After` (seconds or a date), or, where no request is left, by
/// `X-RateLimit-Reset` and `RateLimit-Reset` (seconds from now, or since 1970) or `RateLimit` (its `t` or `reset`).
/// A moment in the past is no wait at all.
pub fn wait_hint(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if let Some(wait) = text(headers, &header::RETRY_AFTER) {
        let seconds = wait.parse().ok().map(Duration::from_secs);
        return seconds.or_else(|| {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(wait).ok()?;
            Some(until(date, now))
        });
    }
    for (remaining, reset) in [(&X_REMAINING, &X_RESET), (&REMAINING, &RESET)] {
        if number(headers, remaining) == Some(0) {
            return number(headers, reset).and_then(|reset| from_reset(reset, now));
        }
    }
    let limit = text(headers, &RATE_LIMIT)?;
    let field = |names: [&str; 2]| {
        limit.split([';', ',']).filter_map(|part| part.trim().split_once('=')).find_map(|(name, value)| {
            names.contains(&name.trim()).then(|| value.trim().parse::<u64>().ok()).flatten()
        })
    };
    (field(["r", "remaining"])? == 0)
        .then(|| field(["t", "reset"]))
        .flatten()
        .and_then(|reset| from_reset(reset, now))
}

const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// A reset above this many seconds is a date: nobody means 30 years.
const DATE_FROM: u64 = 1_000_000_000;

fn from_reset(reset: u64, now: Timestamp) -> Option<Duration> {
    if reset < DATE_FROM {
        return Some(Duration::from_secs(reset));
    }
    Timestamp::from_second(i64::try_from(reset).ok()?).ok().map(|date| until(date, now))
}

fn until(date: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(date.duration_since(now)).unwrap_or_default()
}

/// Whether the response says "slow down": GitHub does it with 403, too.
pub(super) fn is_rate_limited(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::FORBIDDEN => {
            headers.contains_key(header::RETRY_AFTER)
                || number(headers, &X_REMAINING) == Some(0)
                || number(headers, &REMAINING) == Some(0)
        }
        _ => false,
    }
}

/// Whether the same request may fare better a little later.
pub(super) fn is_passing(status: StatusCode, headers: &HeaderMap) -> bool {
    matches!(status.as_u16(), 408 | 425 | 500 | 502 | 503 | 504) || is_rate_limited(status, headers)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn waiting_times_are_read_from_every_usual_header() {
        for (pairs, seconds) in [
            (&[("retry-after", "7")][..], Some(7)),
            (&[("retry-after", "Tue, 14 Nov 2023 22:13:50 GMT")], Some(30)),
            (&[("retry-after", "Tue, 14 Nov 2023 22:00:00 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000060")], Some(60)),
            (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "1700000060")], None),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "12")], Some(12)),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "1700000060")], Some(60)),
            (&[("ratelimit", "\"default\";r=0;t=50")], Some(50)),
            (&[("ratelimit", "limit=100, remaining=0, reset=50")], Some(50)),
            (&[("ratelimit", "\"default\";r=3;t=50")], None),
            (
                &[("retry-after", "1"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000060")],
                Some(1),
            ),
            (&[], None),
        ] {
            assert_eq!(wait_hint(&headers(pairs), now()).map(|wait| wait.as_secs()), seconds, "{pairs:?}");
        }
    }

    #[test]
    fn a_status_becomes_an_error_with_kind_and_advice() {
        let none = HeaderMap::new();
        for (status, kind) in [
            (401, ErrorKind::Unauthorized),
            (403, ErrorKind::Forbidden),
            (404, ErrorKind::NotFound),
            (409, ErrorKind::Conflict),
            (422, ErrorKind::Invalid),
            (429, ErrorKind::RateLimited),
            (502, ErrorKind::Unavailable),
            (504, ErrorKind::Timeout),
        ] {
            let error = status_error("fetch commit", StatusCode::from_u16(status).unwrap(), &none, now(), "");
            assert_eq!(error.kind(), kind, "{status}");
        }
        let limited = headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000060")]);
        let error = status_error("fetch commit", StatusCode::FORBIDDEN, &limited, now(), " API rate\nlimit ");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::After(60)));
        assert_eq!(error.to_string(), "fetch commit: the server answered 403 Forbidden: API ratelimit");
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(value in "\\PC{0,40}", number in any::<u64>()) {
            for value in [value, number.to_string(), format!("r=0;t={number}")] {
                let Ok(value) = ::http::HeaderValue::from_str(&value) else { continue };
                for names in [vec!["retry-after"], vec!["ratelimit"], vec!["x-ratelimit-reset", "x-ratelimit-remaining"]] {
                    let mut map: HeaderMap = names.into_iter().map(|name| (HeaderName::from_static(name), value.clone())).collect();
                    let _ = wait_hint(&map, now());
                    map.insert(X_REMAINING, ::http::HeaderValue::from_static("0"));
                    drop(status_error("x", StatusCode::TOO_MANY_REQUESTS, &map, now(), "d"));
                }
            }
        }
    }
}
