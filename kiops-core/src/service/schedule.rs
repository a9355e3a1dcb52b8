//! When a service is built by the clock: a crontab's five fields in a time zone.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// When a service is built by the clock: `30 2 * * mon-fri` in `Europe/Berlin`.
///
/// # The five fields
/// As in crontab(5): minute 0-59, hour 0-23, day of the month 1-31, month 1-12 or `jan`, day of the week 0-7 or `sun`, where 0 and 7
/// are Sunday. Each is a list with commas of numbers or names, ranges (`1-5`), `*`, and ranges or `*` with a step (`*/15`, `8-18/2`).
/// Where neither the day of the month nor the day of the week begins with `*`, one of the two is enough; else both must hold. What
/// some programs add is refused (`@daily`, seconds, `L`, `W`, `#`, `?`, `H`), and so are days that never come (30 February).
/// At most 256 bytes.
///
/// # The time zone
/// A name of the IANA database that kiops was built with, `UTC` unless given. Its rules are taken from the system's database where that
/// has the name, else from the one built in: it needs none.
///
/// # When clocks change
/// - A time that does not exist that night (02:30 where clocks go from 02:00 to 03:00) counts as the moment at which they change.
/// - A time that exists twice counts the first time only.
/// - A schedule for every hour goes by the time that passes: nothing is left out, and the hour that comes twice counts twice.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Schedule {
    cron: String,
    time_zone: String,
    times: Times,
    zone: TimeZone,
}

impl Schedule {
    /// Reads five fields and a time zone's name. An error says which field is wrong, and how to write it.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self> {
        let times = Times::parse(cron)?;
        let zone = zone(time_zone)?;
        Ok(Self { cron: cron.to_owned(), time_zone: time_zone.to_owned(), times, zone })
    }

    /// The five fields as given.
    pub fn cron(&self) -> &str {
        &self.cron
    }

    /// The time zone's name as given.
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// The first time after `after`; `None`: there is none before time ends in the year 9999.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if self.times.hours.is_all(&(0..=23)) { self.next_minute(after) } else { self.next_time(after) }
    }

    /// By what clocks show. What they show never runs backward here: it maps to moments in the same order.
    fn next_time(&self, after: Timestamp) -> Option<Timestamp> {
        let from = self.zone.to_datetime(after);
        for date in self.times.days(from.date()) {
            for hour in self.times.hours.values() {
                for minute in self.times.minutes.values() {
                    let shown = date.at(hour, minute, 0, 0);
                    if shown <= from {
                        continue;
                    }
                    let moment = match self.zone.to_ambiguous_timestamp(shown).offset() {
                        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(shown).ok()?,
                        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(shown).ok()?,
                        AmbiguousOffset::Gap { after, .. } => {
                            self.zone.following(after.to_timestamp(shown).ok()?).next()?.timestamp()
                        }
                    };
                    if moment > after {
                        return Some(moment);
                    }
                }
            }
        }
        None
    }

    /// By the time that passes, minute by minute on the days that count.
    fn next_minute(&self, after: Timestamp) -> Option<Timestamp> {
        const MINUTE: i64 = 60;
        let before_1970 = i64::from(after.subsec_nanosecond() < 0);
        let mut second = ((after.as_second() - before_1970).div_euclid(MINUTE) + 1) * MINUTE;
        loop {
            let moment = Timestamp::from_second(second).ok()?;
            let shown = self.zone.to_datetime(moment);
            second += MINUTE;
            if !self.times.has_day(shown.date()) {
                let date = self.times.days(shown.date()).next()?;
                let begins = self.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().ok()?;
                second = second.max(begins.as_second());
            } else if self.times.minutes.has(shown.minute()) {
                return Some(moment);
            }
        }
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (self.cron(), self.time_zone()) == (other.cron(), other.time_zone())
    }
}

impl Eq for Schedule {}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Schedule").field(&self.cron).field(&self.time_zone).finish()
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.cron, self.time_zone)
    }
}

/// A schedule as settings have it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    cron: String,
    #[serde(default = "utc")]
    time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl TryFrom<Written> for Schedule {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        Self::parse(&written.cron, &written.time_zone)
    }
}

impl From<Schedule> for Written {
    fn from(schedule: Schedule) -> Self {
        Self { cron: schedule.cron, time_zone: schedule.time_zone }
    }
}

/// The zone of a name. The database that is built in says which names there are, so that no machine refuses what another took.
fn zone(name: &str) -> Result<TimeZone> {
    let built_in = TimeZoneDatabase::bundled();
    let Some(zone) = built_in.get(name).ok().filter(|zone| !zone.is_unknown()) else {
        let shown: String = name.chars().take(64).collect();
        return Err(Error::invalid(
            "parse schedule",
            format!("time_zone: there is no `{}`", shown.escape_debug()),
        )
        .with_remedy("name one of the IANA database, such as `Europe/Berlin` or `UTC`"));
    };
    Ok(jiff::tz::db().get(name).unwrap_or(zone))
}

/// The longest text of five fields, in bytes.
const LONGEST: usize = 256;

/// After how many days every day that there is came: 29 February comes back to a day of the week after 40 years at most.
const DAYS: usize = 41 * 366;

/// What the five fields say.
#[derive(Debug, Clone, Copy)]
struct Times {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    /// 0 is Sunday.
    weekdays: Set,
    /// Whether a day must be in both sets of days, or in one.
    both: bool,
}

impl Times {
    fn parse(cron: &str) -> Result<Self> {
        let refuse = |message: String, remedy: &'static str| {
            Err(Error::invalid("parse schedule", format!("cron: {message}")).with_remedy(remedy))
        };
        const FIELDS: &str = "write minute, hour, day of the month, month and day of the week: `30 2 * * *`";
        if cron.len() > LONGEST {
            return refuse(format!("{} bytes are more than {LONGEST}", cron.len()), FIELDS);
        }
        let texts: Vec<&str> = cron.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = texts[..] else {
            return refuse(
                format!("`{}` has {} fields and not five", cron.escape_debug(), texts.len()),
                FIELDS,
            );
        };
        let mut weekdays = WEEKDAY.parse(weekday)?;
        if weekdays.has(7) {
            weekdays.insert(0);
        }
        let times = Self {
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays,
            both: day.starts_with('*') || weekday.starts_with('*'),
        };
        if times.days(Date::constant(2000, 1, 1)).next().is_none() {
            return refuse(
                format!("no day is ever `{day} {month} {weekday}`"),
                "name a day that the month has",
            );
        }
        Ok(times)
    }

    fn has_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        let is_one = if self.both { day && weekday } else { day || weekday };
        is_one && self.months.has(date.month())
    }

    /// The days that count, from this one on.
    fn days(&self, from: Date) -> impl Iterator<Item = Date> {
        let all = std::iter::successors(Some(from), |date| date.tomorrow().ok());
        all.take(DAYS).filter(|date| self.has_day(*date))
    }
}

/// Numbers below 64.
#[derive(Debug, Clone, Copy, Default)]
struct Set(u64);

impl Set {
    const fn insert(&mut self, number: i8) {
        self.0 |= 1 << number;
    }

    const fn has(self, number: i8) -> bool {
        self.0 >> number & 1 == 1
    }

    fn values(self) -> impl Iterator<Item = i8> {
        (0..60).filter(move |number| self.has(*number))
    }

    fn is_all(self, range: &RangeInclusive<i8>) -> bool {
        range.clone().all(|number| self.has(number))
    }
}

/// One of the five fields.
struct Field {
    name: &'static str,
    range: RangeInclusive<i8>,
    /// The first stands for the range's start.
    names: &'static [&'static str],
    /// An example.
    write: &'static str,
}

const MINUTE: Field = Field {
    name: "minute",
    range: 0..=59,
    names: &[],
    write: "write minutes from 0 to 59: `0`, `*/15`, `10-50/20` or `5,35`",
};
const HOUR: Field = Field {
    name: "hour",
    range: 0..=23,
    names: &[],
    write: "write hours from 0 to 23: `2`, `*/6` or `8-18/2`",
};
const DAY: Field = Field {
    name: "day of the month",
    range: 1..=31,
    names: &[],
    write: "write days from 1 to 31: `*`, `1`, `1,15` or `1-7`",
};
const MONTH: Field = Field {
    name: "month",
    range: 1..=12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    write: "write months from 1 to 12 or jan to dec: `*`, `3`, `jan-jun` or `*/3`",
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    range: 0..=7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    write: "write days from 0 to 7, where 0 and 7 are Sunday, or sun to sat: `*`, `mon-fri` or `6,7`",
};

impl Field {
    fn parse(&self, text: &str) -> Result<Set> {
        let mut set = Set::default();
        for part in text.split(',') {
            self.read(part, &mut set).map_err(|why| {
                let message = format!("{} `{}`: {why}", self.name, text.escape_debug());
                Error::invalid("parse schedule", format!("cron: {message}")).with_remedy(self.write)
            })?;
        }
        Ok(set)
    }

    fn read(&self, part: &str, set: &mut Set) -> std::result::Result<(), String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (*self.range.start(), *self.range.end()),
            Some((from, to)) => (self.number(from)?, self.number(to)?),
            None if step.is_some() => {
                return Err(format!("a step needs a range or `*` before it, not `{range}`"));
            }
            None => (self.number(range)?, self.number(range)?),
        };
        if from > to {
            return Err(format!("{from} to {to} goes backward"));
        }
        let step = match step {
            Some(step) => digits(step)
                .filter(|step| (1..=*self.range.end()).contains(step))
                .ok_or_else(|| format!("`{}` is no step", step.escape_debug()))?,
            None => 1,
        };
        let mut number = from;
        while number <= to {
            set.insert(number);
            number += step;
        }
        Ok(())
    }

    fn number(&self, text: &str) -> std::result::Result<i8, String> {
        let named =
            self.names.iter().zip(self.range.clone()).find(|(name, _)| name.eq_ignore_ascii_case(text));
        named
            .map(|(_, number)| number)
            .or_else(|| digits(text).filter(|number| self.range.contains(number)))
            .ok_or_else(|| format!("`{}` is none", text.escape_debug()))
    }
}

/// One or two digits.
fn digits(text: &str) -> Option<i8> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule::parse(cron, zone).unwrap()
    }

    /// The next times after a moment.
    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = schedule(cron, zone);
        let first = schedule.next(after.parse().unwrap());
        let all = std::iter::successors(first, |last| schedule.next(*last));
        all.take(count).map(|time| time.to_string()).collect()
    }

    fn utc(cron: &str, after: &str, count: usize) -> Vec<String> {
        times(cron, "UTC", after, count)
    }

    #[test]
    fn each_form_of_a_field_is_read() {
        // A Wednesday.
        let after = "2026-07-01T00:00:00Z";
        for (cron, expected) in [
            ("* * * * *", ["2026-07-01T00:01:00Z", "2026-07-01T00:02:00Z"]),
            ("*/20 * * * *", ["2026-07-01T00:20:00Z", "2026-07-01T00:40:00Z"]),
            ("30 2 * * *", ["2026-07-01T02:30:00Z", "2026-07-02T02:30:00Z"]),
            ("5,35 2 * * *", ["2026-07-01T02:05:00Z", "2026-07-01T02:35:00Z"]),
            ("10-50/40 8-18/5 * * *", ["2026-07-01T08:10:00Z", "2026-07-01T08:50:00Z"]),
            ("0 0 31 * *", ["2026-07-31T00:00:00Z", "2026-08-31T00:00:00Z"]),
            ("0 0 1 jan,DEC *", ["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"]),
            ("0 0 1 */6 *", ["2027-01-01T00:00:00Z", "2027-07-01T00:00:00Z"]),
            ("0 0 * * 0", ["2026-07-05T00:00:00Z", "2026-07-12T00:00:00Z"]),
            ("0 0 * * 7", ["2026-07-05T00:00:00Z", "2026-07-12T00:00:00Z"]),
            ("0 0 * * Fri-sat", ["2026-07-03T00:00:00Z", "2026-07-04T00:00:00Z"]),
            ("0 0 * * 6-7", ["2026-07-04T00:00:00Z", "2026-07-05T00:00:00Z"]),
            (" 00\t00  02 07   * ", ["2026-07-02T00:00:00Z", "2027-07-02T00:00:00Z"]),
            // Either of the two, unless one begins with a star.
            ("0 0 6 * fri", ["2026-07-03T00:00:00Z", "2026-07-06T00:00:00Z"]),
            ("0 0 */2 * fri", ["2026-07-03T00:00:00Z", "2026-07-17T00:00:00Z"]),
            ("0 0 29 2 *", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ] {
            assert_eq!(utc(cron, after, 2), expected, "{cron}");
        }
        assert_eq!(utc("0 12 29 2 *", "2096-03-01T00:00:00Z", 1), ["2104-02-29T12:00:00Z"], "2100 has none");
    }

    #[test]
    fn a_moment_is_after_itself_only_the_next_time() {
        assert_eq!(utc("0 2 * * *", "2026-07-01T02:00:00Z", 1), ["2026-07-02T02:00:00Z"]);
        assert_eq!(utc("0 2 * * *", "2026-07-01T01:59:59.999999999Z", 1), ["2026-07-01T02:00:00Z"]);
        assert_eq!(utc("* * * * *", "1969-12-31T23:59:59.5Z", 1), ["1970-01-01T00:00:00Z"]);
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let after = "2026-03-27T12:00:00Z";
        let berlin = ["2026-03-28T05:00:00Z", "2026-03-29T04:00:00Z"];
        assert_eq!(times("0 6 * * *", "Europe/Berlin", after, 2), berlin);
        assert_eq!(times("0 6 * * *", "europe/berlin", after, 2), berlin, "names are read in any case");
        assert_eq!(times("0 6 * * sun", "Asia/Shanghai", after, 1), ["2026-03-28T22:00:00Z"]);
        assert_eq!(times("0 * * * *", "Asia/Kolkata", after, 1), ["2026-03-27T12:30:00Z"]);
    }

    #[test]
    fn a_time_that_does_not_exist_is_the_moment_at_which_clocks_go_forward() {
        let berlin = |cron| times(cron, "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(berlin("30 2 * * *"), ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        // Three times that become one moment are one.
        assert_eq!(berlin("0,20,40 2 * * *")[..], ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
        assert_eq!(berlin("*/30 * 29 3 *"), ["2026-03-28T23:00:00Z", "2026-03-28T23:30:00Z"]);
        let passing = times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3);
        assert_eq!(passing, ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
        // Midnight itself is left out in Cairo.
        let cairo = times("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 2);
        assert_eq!(cairo, ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]);
        // A whole day was left out in Samoa.
        assert_eq!(times("0 6 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 1), ["2011-12-30T10:00:00Z"]);
    }

    #[test]
    fn a_time_that_exists_twice_counts_once_and_every_hour_is_every_hour() {
        let new_york = |cron, count| times(cron, "America/New_York", "2026-11-01T04:45:00Z", count);
        assert_eq!(new_york("30 1 * * *", 2), ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
        let every = ["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-01T07:30:00Z"];
        assert_eq!(new_york("30 * * * *", 3), every);
        assert_eq!(new_york("30 0-23 * * *", 3), every);
        let from_the_second = times("30 1 * * *", "America/New_York", "2026-11-01T06:10:00Z", 1);
        assert_eq!(from_the_second, ["2026-11-02T06:30:00Z"]);
        // Half an hour comes twice on Lord Howe Island.
        let after = "2026-04-04T13:30:00Z";
        assert_eq!(times("0 3 * * *", "Australia/Lord_Howe", after, 1), ["2026-04-04T16:30:00Z"]);
        assert_eq!(
            times("45 1 * * *", "Australia/Lord_Howe", after, 2)[..],
            ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field_and_how_to_write_it() {
        let long = "1,".repeat(200);
        for (cron, says) in [
            ("", "has 0 fields"),
            ("@daily", "has 1 fields"),
            ("* * * *", "has 4 fields"),
            ("0 * * * * *", "has 6 fields"),
            (&long, "400 bytes are more than 256"),
            ("60 * * * *", "minute `60`: `60` is none (write minutes from 0 to 59"),
            ("-1 * * * *", "minute `-1`"),
            ("+1 * * * *", "minute `+1`"),
            ("001 * * * *", "minute `001`"),
            ("* 24 * * *", "hour `24`"),
            ("* mon * * *", "hour `mon`"),
            ("* * 0 * *", "day of the month `0`"),
            ("* * 32 * *", "day of the month `32`"),
            ("* * L * *", "day of the month `L`"),
            ("* * ? * *", "day of the month `?`"),
            ("* * * 13 *", "month `13`"),
            ("* * * january *", "month `january`"),
            ("* * * * 8", "day of the week `8`"),
            ("* * * * mon#1", "day of the week `mon#1`"),
            ("1,,2 * * * *", "minute `1,,2`: `` is none"),
            ("5/10 * * * *", "a step needs a range or `*` before it, not `5`"),
            ("*/0 * * * *", "`0` is no step"),
            ("*/61 * * * *", "`61` is no step"),
            ("*/5/5 * * * *", "`5/5` is no step"),
            ("* * * * fri-mon", "5 to 1 goes backward"),
            ("1-2-3 * * * *", "`2-3` is none"),
            ("0 0 30 2 *", "no day is ever `30 2 *` (name a day that the month has)"),
            ("0 0 31 4,6,9,11 */2", "no day is ever"),
            ("ü * * * *", "minute `ü`"),
        ] {
            let error = Schedule::parse(cron, "UTC").unwrap_err();
            assert!(error.to_string().contains(says), "{cron}: {error}");
            assert!(error.remedy().is_some(), "{cron}");
        }
        for name in
            ["", "Mars/Olympus", "local", "../UTC", "Etc/Unknown", "+02:00", "posixrules", &"x".repeat(99)]
        {
            let error = Schedule::parse("* * * * *", name).unwrap_err().to_string();
            assert!(error.contains("time_zone: there is no") && error.contains("Europe/Berlin"), "{error}");
            assert!(error.len() < 250, "{error}");
        }
    }

    #[test]
    fn a_schedule_is_stored_as_it_was_written() {
        let read = |text| serde_json::from_str::<Schedule>(text);
        let written = r#"{"cron":"30  2 * * MON","time_zone":"Europe/Berlin"}"#;
        let known = read(written).unwrap();
        assert_eq!(serde_json::to_string(&known).unwrap(), written);
        assert_eq!(known.to_string(), "30  2 * * MON (Europe/Berlin)");
        assert_eq!(read(r#"{"cron":"0 0 * * *"}"#).unwrap(), schedule("0 0 * * *", "UTC"));
        let error = read(r#"{"cron":"0 0 * * *","zone":"UTC"}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `zone`"), "{error}");
    }

    #[test]
    fn zones_are_known_where_the_system_has_none() {
        let built_in = TimeZoneDatabase::bundled();
        for name in ["UTC", "Europe/Berlin", "Asia/Shanghai", "US/Eastern", "America/Argentina/Ushuaia"] {
            assert!(built_in.get(name).is_ok(), "{name}");
        }
    }

    /// One field that may be wrong.
    fn field() -> impl Strategy<Value = String> {
        prop_oneof![3 => Just("*".to_owned()), 3 => "[0-9]{1,2}", 2 => "(\\*|[0-9]-[0-9]{1,2})/[0-9]", 1 => "[a-z0-9*/,-]{0,6}"]
    }

    const ZONES: [&str; 6] =
        ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia"];

    proptest! {
        #[test]
        fn no_text_panics(cron in "\\PC*", zone in "\\PC*") {
            let _ = Schedule::parse(&cron, &zone);
            let _ = Schedule::parse(&cron, "UTC");
        }

        #[test]
        fn the_next_time_is_later_and_nothing_lies_between(
            fields in proptest::array::uniform5(field()),
            zone in proptest::sample::select(&ZONES[..]),
            // 1970 to 2200.
            after in 0_i64..7_258_118_400,
        ) {
            let Ok(schedule) = Schedule::parse(&fields.join(" "), zone) else { return Ok(()) };
            let after = Timestamp::from_second(after).unwrap();
            let next = schedule.next(after).unwrap();
            prop_assert!(next > after);
            let middle = Timestamp::from_second((after.as_second() + next.as_second()) / 2).unwrap();
            let expected = if middle < next { next } else { schedule.next(middle).unwrap() };
            prop_assert_eq!(schedule.next(middle).unwrap(), expected);
        }

        #[test]
        fn in_utc_a_time_is_what_the_fields_say(
            minute in 0_i8..60, hour in 0_i8..24, day in 1_i8..29, month in 1_i8..13, after in 0_i64..7_258_118_400,
        ) {
            let schedule = schedule(&format!("{minute} {hour} {day} {month} *"), "UTC");
            let after = Timestamp::from_second(after).unwrap();
            let next = schedule.next(after).unwrap();
            let shown = TimeZone::UTC.to_datetime(next);
            prop_assert_eq!((shown.minute(), shown.hour(), shown.day(), shown.month()), (minute, hour, day, month));
            prop_assert!(next.duration_since(after).as_hours() <= 366 * 24);
        }

        #[test]
        fn time_has_an_end(cron in prop_oneof![Just("* * * * *"), Just("0 2 * * *"), Just("0 0 29 2 *")]) {
            prop_assert_eq!(schedule(cron, "Europe/Berlin").next(Timestamp::MAX), None);
            prop_assert!(schedule(cron, "Europe/Berlin").next(Timestamp::MIN).is_some());
        }
    }
}
