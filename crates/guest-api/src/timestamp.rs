//! `google.protobuf.Timestamp`: seconds and nanoseconds in the binary codec, RFC 3339 in JSON.
//!
//! Written here since the usual crate brings a whole calendar library into the agent.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time, UTC.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// 0 to 999,999,999, always counted forwards.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

const SECONDS_PER_DAY: i64 = 86_400;

impl Timestamp {
    /// RFC 3339 in UTC, with as many fraction digits (0, 3, 6 or 9) as are needed, as the proto-JSON rules want.
    pub fn to_rfc3339(self) -> String {
        let (year, month, day) = civil_from_days(self.seconds.div_euclid(SECONDS_PER_DAY));
        let of_day = self.seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let fraction = match self.nanos.clamp(0, 999_999_999) {
            0 => String::new(),
            n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
            n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
            n => format!(".{n:09}"),
        };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    }

    /// Reads what [`to_rfc3339`](Self::to_rfc3339) writes, and the same with a numeric offset.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            let part = text.get(range)?;
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let (date, time) = (text.get(..10)?, text.get(10..19)?);
        let separators = [(date, 4, b'-'), (date, 7, b'-'), (time, 3, b':'), (time, 6, b':')];
        if separators.iter().any(|(part, at, byte)| part.as_bytes()[*at] != *byte)
            || !matches!(time.as_bytes()[0], b'T' | b't')
        {
            return None;
        }
        let days = days_from_civil(number(0..4)?, number(5..7)?, number(8..10)?)?;
        let of_day = seconds_of_day(number(11..13)?, number(14..16)?, number(17..19)?)?;
        let (nanos, zone) = fraction(text.get(19..)?)?;
        Some(Self {
            seconds: days * SECONDS_PER_DAY + of_day - offset_seconds(zone)?,
            nanos,
        })
    }
}

fn seconds_of_day(hour: i64, minute: i64, second: i64) -> Option<i64> {
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Splits `.123Z` into nanoseconds and what follows the digits.
fn fraction(text: &str) -> Option<(i32, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let value: i32 = rest[..digits].parse().ok()?;
    let scale = 10_i32.pow(u32::try_from(9 - digits).ok()?);
    Some((value * scale, &rest[digits..]))
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hour, minute) = zone.get(1..)?.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    Some(sign * seconds_of_day(hour.parse().ok()?, minute.parse().ok()?, 0)?)
}

/// Days since 1970-01-01 to a proleptic Gregorian date; years counted from March so that leap days come last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = (month + 9) % 12;
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = era * 146_097 + of_era - 719_468;
    (civil_from_days(days).2 == day).then_some(days)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_rfc3339(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is no RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_known_times() {
        assert_eq!(Timestamp { seconds: 0, nanos: 0 }.to_rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(
            Timestamp {
                seconds: 951_782_400,
                nanos: 500_000_000
            }
            .to_rfc3339(),
            "2000-02-29T00:00:00.500Z"
        );
        assert_eq!(
            Timestamp { seconds: -1, nanos: 1 }.to_rfc3339(),
            "1969-12-31T23:59:59.000000001Z"
        );
    }

    #[test]
    fn reads_offsets_and_refuses_nonsense() {
        let at = |text| Timestamp::from_rfc3339(text).map(|t| t.seconds);
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some(0));
        for bad in [
            "",
            "1970-01-01",
            "1970-02-30T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.Z",
            "ä970-01-01T00:00:00Z",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(seconds in -62_135_596_800_i64..253_402_300_799, nanos in 0..1_000_000_000) {
            let time = Timestamp { seconds, nanos };
            prop_assert_eq!(Timestamp::from_rfc3339(&time.to_rfc3339()), Some(time));
        }
    }
}
