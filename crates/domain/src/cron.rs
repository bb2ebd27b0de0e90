//! When a function is called by the clock.
//!
//! Wall-clock rules are cron's: where the clock goes forward, a fixed time in the gap comes right after it; where it goes
//! back, a fixed time comes once, the first time, while what comes every so often goes on coming. The rules of time zones
//! are those that this program was built with, so all nodes agree and none is needed on the host.

mod plan;

use std::{fmt, str::FromStr};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp, Zoned,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use plan::{CronPlan, ON_TIME_MS, SKIPPED_MAX, plan_cron};

/// Bytes of an expression at most.
const EXPRESSION_MAX: usize = 200;

/// The fields of an expression, and what each may be.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31 or L for the last"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT, both 0 and 7 being Sunday"),
];

/// What becomes of runs whose time passed while nobody could start them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedRuns {
    /// They are left out.
    #[default]
    Skip,
    /// One run is made up for all of them.
    RunOnce,
}

/// When to call: a cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct CronSpec {
    expression: String,
    missed: MissedRuns,
    cron: Cron,
    zone: TimeZone,
    zone_name: String,
}

/// What is no cron trigger.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidCron {
    /// Not as many fields as there must be.
    #[error(
        "the cron expression has {0} fields: write five, for minute, hour, day of month, month and day of week, such as \
         \"30 2 * * MON-FRI\", or one of @hourly, @daily, @weekly, @monthly, @yearly"
    )]
    Fields(usize),
    /// Far too long.
    #[error("the cron expression has {0} characters: {EXPRESSION_MAX} are the most")]
    TooLong(usize),
    /// One field is wrong.
    #[error("{field} {value:?} is not valid: use {allowed}; also lists 1,3, ranges 1-5, steps */5 and * for each")]
    Field {
        /// Which.
        field: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: &'static str,
    },
    /// There is no such day.
    #[error("the cron expression {0:?} never comes: its months have no such day; choose another day or month")]
    Never(String),
    /// Not in the database.
    #[error("time zone {0:?} is not known: use a name of the tz database, such as UTC or Europe/Berlin")]
    TimeZone(String),
    /// Not a policy.
    #[error("policy {0:?} for missed runs is not valid: use skip or run_once")]
    Missed(String),
}

impl CronSpec {
    /// Reads expression and time zone.
    pub fn new(expression: &str, time_zone: &str, missed: MissedRuns) -> Result<Self, InvalidCron> {
        let zone = TimeZoneDatabase::bundled()
            .get(time_zone)
            .map_err(|_| InvalidCron::TimeZone(time_zone.chars().take(80).collect()))?;
        let zone_name = zone.iana_name().unwrap_or(time_zone).to_owned();
        let spec = Self {
            expression: expression.trim().to_owned(),
            missed,
            cron: parse(expression)?,
            zone,
            zone_name,
        };
        match spec.next_after(0) {
            Some(_) => Ok(spec),
            None => Err(InvalidCron::Never(spec.expression)),
        }
    }

    /// The expression, as it was given.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The time zone's name.
    pub fn time_zone(&self) -> &str {
        &self.zone_name
    }

    /// What becomes of missed runs.
    pub fn missed(&self) -> MissedRuns {
        self.missed
    }

    /// The first time after `unix_ms`, both in milliseconds since the Unix epoch. None in the far future.
    pub fn next_after(&self, unix_ms: u64) -> Option<u64> {
        let next = self.cron.find_next_occurrence(&self.zoned(unix_ms)?, false);
        unix_ms_of(&next.ok()?).filter(|next| *next > unix_ms)
    }

    /// The last time that is not after `unix_ms`.
    fn last_until(&self, unix_ms: u64) -> Option<u64> {
        let last = self.cron.find_previous_occurrence(&self.zoned(unix_ms)?, true);
        unix_ms_of(&last.ok()?).filter(|last| *last <= unix_ms)
    }

    /// That time in the time zone, cut to the second.
    fn zoned(&self, unix_ms: u64) -> Option<Zoned> {
        let seconds = i64::try_from(unix_ms / 1000).ok()?;
        Some(Timestamp::from_second(seconds).ok()?.to_zoned(self.zone.clone()))
    }
}

fn unix_ms_of(zoned: &Zoned) -> Option<u64> {
    u64::try_from(zoned.timestamp().as_millisecond()).ok()
}

fn parse(expression: &str) -> Result<Cron, InvalidCron> {
    if expression.len() > EXPRESSION_MAX {
        return Err(InvalidCron::TooLong(expression.len()));
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let count = fields.len();
    let Ok(fields) = <[&str; 5]>::try_from(fields) else {
        let nickname = count == 1 && expression.trim().starts_with('@');
        let known = nickname.then(|| parser.parse(expression).ok()).flatten();
        return known.ok_or(InvalidCron::Fields(count));
    };
    for (index, value) in fields.into_iter().enumerate() {
        let (field, allowed) = FIELDS[index];
        let mut alone = ["*"; 5];
        alone[index] = value;
        let whole = value.split(',').all(|part| !part.is_empty()) && !value.contains('@');
        if !whole || parser.parse(&alone.join(" ")).is_err() {
            let value = value.to_owned();
            return Err(InvalidCron::Field { field, value, allowed });
        }
    }
    // Each field is right by itself, so this cannot fail; should it, the first is named rather than none.
    parser.parse(&fields.join(" ")).map_err(|_| InvalidCron::Field {
        field: FIELDS[0].0,
        value: fields[0].to_owned(),
        allowed: FIELDS[0].1,
    })
}

impl MissedRuns {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::RunOnce => "run_once",
        }
    }
}

impl fmt::Display for MissedRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for MissedRuns {
    type Err = InvalidCron;

    fn from_str(value: &str) -> Result<Self, InvalidCron> {
        [Self::Skip, Self::RunOnce]
            .into_iter()
            .find(|missed| missed.as_str() == value)
            .ok_or_else(|| InvalidCron::Missed(value.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKIP: MissedRuns = MissedRuns::Skip;

    fn times(expression: &str, time_zone: &str, after: &str, count: usize) -> Vec<String> {
        let spec = CronSpec::new(expression, time_zone, SKIP).unwrap();
        let after: Timestamp = after.parse().unwrap();
        let first = u64::try_from(after.as_millisecond()).unwrap();
        let all = std::iter::successors(Some(first), |at| spec.next_after(*at));
        let told = |at: u64| spec.zoned(at).unwrap().strftime("%d.%m.%Y %H:%M %z").to_string();
        all.skip(1).take(count).map(told).collect()
    }

    #[test]
    fn a_fixed_time_in_the_gap_comes_right_after_it() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            [
                "28.03.2026 02:30 +0100",
                "29.03.2026 03:00 +0200",
                "30.03.2026 02:30 +0200"
            ]
        );
        assert_eq!(
            times("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["29.03.2026 03:00 +0200", "30.03.2026 03:00 +0200"]
        );
    }

    #[test]
    fn what_comes_every_so_often_has_no_time_in_the_gap() {
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:10:00Z", 3),
            [
                "29.03.2026 01:30 +0100",
                "29.03.2026 03:00 +0200",
                "29.03.2026 03:30 +0200"
            ]
        );
    }

    #[test]
    fn a_fixed_time_comes_once_when_the_clock_goes_back() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["25.10.2026 02:30 +0200", "26.10.2026 02:30 +0100"]
        );
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
            ["26.10.2026 02:30 +0100"],
            "also seen from the second 02:10"
        );
    }

    #[test]
    fn what_comes_every_so_often_goes_on_when_the_clock_goes_back() {
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 5),
            [
                "25.10.2026 02:00 +0200",
                "25.10.2026 02:30 +0200",
                "25.10.2026 02:00 +0100",
                "25.10.2026 02:30 +0100",
                "25.10.2026 03:00 +0100"
            ]
        );
    }

    #[test]
    fn days_are_those_of_the_month_or_of_the_week() {
        assert_eq!(
            times("0 0 13 * FRI", "UTC", "2026-02-07T00:00:00Z", 3),
            [
                "13.02.2026 00:00 +0000",
                "20.02.2026 00:00 +0000",
                "27.02.2026 00:00 +0000"
            ]
        );
        assert_eq!(
            times("0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", 1),
            ["29.02.2104 00:00 +0000"]
        );
        assert_eq!(
            times("@daily", "Asia/Kathmandu", "2026-01-01T00:00:00Z", 1),
            ["02.01.2026 00:00 +0545"]
        );
    }

    #[test]
    fn parts_of_a_minute_do_not_matter() {
        let spec = CronSpec::new("* * * * *", "UTC", SKIP).unwrap();
        for (after, next) in [
            (0, 60_000),
            (1, 60_000),
            (59_999, 60_000),
            (60_000, 120_000),
            (60_500, 120_000),
        ] {
            assert_eq!(spec.next_after(after), Some(next));
        }
        assert_eq!(spec.last_until(60_999), Some(60_000));
        assert_eq!(spec.next_after(u64::MAX), None);
    }

    #[test]
    fn errors_name_the_field() {
        for (expression, named) in [
            ("60 * * * *", "minute"),
            ("1,,2 * * * *", "minute"),
            ("*/0 * * * *", "minute"),
            ("ä * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* 5-1 * * *", "hour"),
            ("* * 0 * *", "day of month"),
            ("* * 1,32 * *", "day of month"),
            ("* * * 13 *", "month"),
            ("* * * FOO *", "month"),
            ("* * * * 8", "day of week"),
            ("* * * * @", "day of week"),
        ] {
            match CronSpec::new(expression, "UTC", SKIP) {
                Err(InvalidCron::Field { field, .. }) => assert_eq!(field, named, "{expression}"),
                other => panic!("{expression}: {other:?}"),
            }
        }
        let error = |expression| CronSpec::new(expression, "UTC", SKIP).unwrap_err();
        for (expression, fields) in [("", 0), ("* * * *", 4), ("* * * * * *", 6), ("@reboot", 1), ("@", 1)] {
            assert_eq!(error(expression), InvalidCron::Fields(fields), "{expression}");
        }
        assert_eq!(error("0 0 31 2,4 *"), InvalidCron::Never("0 0 31 2,4 *".into()));
        assert_eq!(error(&"*".repeat(201)), InvalidCron::TooLong(201));
    }

    #[test]
    fn time_zones_that_are_not_known_are_refused() {
        for unknown in ["", "Europe/Nowhere", "../../etc/passwd", "CEST+2"] {
            let error = CronSpec::new("* * * * *", unknown, SKIP).unwrap_err();
            assert_eq!(error, InvalidCron::TimeZone(unknown.into()));
        }
        let spec = CronSpec::new("* * * * *", "europe/berlin", SKIP).unwrap();
        assert_eq!(spec.time_zone(), "Europe/Berlin");
    }
}
