//! HEALTHCHECK: its command, and its times as Go writes durations.

use parse_dockerfile as parser;

use super::dockerfile::Command;
use super::outcome::{Stop, invalid};

/// HEALTHCHECK. Times are in nanoseconds, as image configurations have them.
#[derive(Debug, Clone)]
pub(super) struct Health {
    pub(super) test: Option<Command>,
    pub(super) interval: Option<i64>,
    pub(super) timeout: Option<i64>,
    pub(super) start_period: Option<i64>,
    pub(super) start_interval: Option<i64>,
    pub(super) retries: Option<u32>,
}

impl Health {
    /// Reads the instruction at this line.
    pub(super) fn parse(
        line: usize,
        health: &parser::HealthcheckInstruction<'_>,
        command: impl Fn(&parser::Command<'_>) -> Command,
    ) -> Result<Self, Stop> {
        let mut parsed = Self {
            test: None,
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        };
        if let parser::HealthcheckArguments::Cmd { arguments, .. } = &health.arguments {
            parsed.test = Some(command(arguments));
        }
        for flag in &health.options {
            let value = flag.value.as_ref().map(|value| &*value.value).unwrap_or_default();
            let slot = match &*flag.name.value {
                "interval" => &mut parsed.interval,
                "timeout" => &mut parsed.timeout,
                "start-period" => &mut parsed.start_period,
                "start-interval" => &mut parsed.start_interval,
                "retries" => {
                    let retries = value
                        .parse()
                        .map_err(|_| invalid(line, format!("--retries={value} is no number")))?;
                    parsed.retries = Some(retries);
                    continue;
                }
                other => return Err(invalid(line, format!("HEALTHCHECK has no flag `--{other}`"))),
            };
            *slot = Some(duration(value).ok_or_else(|| {
                invalid(
                    line,
                    format!(
                        "--{}={value} is no duration of at least 1ms (such as 30s or 1m30s)",
                        flag.name.value
                    ),
                )
            })?);
        }
        Ok(parsed)
    }
}

/// A duration as Go writes it (`1h2m3.5s`, `500ms`) in nanoseconds; at least a millisecond, or zero.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0_f64;
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    // Exact: both bounds are far within what a float counts without gaps of a nanosecond that would matter.
    (total == 0.0 || (1e6..=9e18).contains(&total)).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("0", Some(0)),
            ("1ns", None),
            ("", None),
            ("30", None),
            ("s", None),
            ("1x", None),
            ("1.2.3s", None),
            ("99999999999h", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-zµ.]{0,20}", any in ".{0,20}") {
            let _ = (duration(&text), duration(&any));
        }
    }
}
