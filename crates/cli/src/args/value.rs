//! Values as they are written on the command line.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use hearth_api::{SecretUse, TrafficShare};
use hearth_domain::{DiskMib, DriverKind, MemoryMib, RecoverPolicy, Vcpus, parse_size_mib};

/// One of some words, which completion offers.
pub(super) fn one_of<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

/// A driver; that for tests is in no help.
pub(super) fn driver() -> impl TypedValueParser<Value = DriverKind> {
    let fake = PossibleValue::new("fake").hide(true);
    PossibleValuesParser::new(["firecracker".into(), "qemu".into(), fake]).try_map(|word| word.parse())
}

pub(super) fn vcpus(text: &str) -> Result<Vcpus, String> {
    let number: u64 = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
    Vcpus::try_from(number).map_err(|error| error.to_string())
}

pub(super) fn memory(text: &str) -> Result<MemoryMib, String> {
    parse_size_mib(text)
        .and_then(MemoryMib::try_from)
        .map_err(|error| error.to_string())
}

pub(super) fn disk(text: &str) -> Result<DiskMib, String> {
    parse_size_mib(text)
        .and_then(DiskMib::try_from)
        .map_err(|error| error.to_string())
}

/// What the kernel takes for the name of an interface.
pub(super) fn interface_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=15).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    Err("give 1 to 15 letters, digits, dashes, dots or underscores".to_owned())
}

pub(super) fn ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.1..=1000.0).contains(&ratio) => Ok(ratio),
        _ => Err("give a number from 0.1 to 1000".to_owned()),
    }
}

pub(super) fn part_of_one(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

/// How much of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tail {
    All,
    Lines(u64),
}

pub(super) fn tail(text: &str) -> Result<Tail, String> {
    if text == "all" {
        return Ok(Tail::All);
    }
    let lines = text.parse().map(Tail::Lines);
    lines.map_err(|_| format!("{text:?} is neither a number of lines nor \"all\""))
}

/// A span of time as people write it, such as `30s` or `1m30s`, in milliseconds.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a span of time: write 500ms, 30s or 5m"))?;
    u64::try_from(span.as_millis()).map_err(|_| "a span of time is not negative".to_owned())
}

/// `no` or `snapshot[:INTERVAL]`.
pub(super) fn recover(text: &str) -> Result<RecoverPolicy, String> {
    let interval_ms = match text.split_once(':') {
        None if text == "no" => return Ok(RecoverPolicy::No),
        None if text == "snapshot" => None,
        Some(("snapshot", interval)) => Some(duration_ms(interval)?),
        _ => {
            return Err(format!(
                "{text:?} is not valid: use no, snapshot or snapshot:INTERVAL, such as snapshot:1m"
            ));
        }
    };
    RecoverPolicy::snapshot(interval_ms.map(|ms| ms.div_ceil(1000))).map_err(|error| error.to_string())
}

/// `VERSION=PERCENT`, or a version that gets all.
pub(super) fn share(text: &str) -> Result<TrafficShare, String> {
    let wrong = || format!("{text:?} is not valid: write VERSION=PERCENT, such as 3=10");
    let (version, percent) = match text.split_once('=') {
        None => (text, "100"),
        Some((version, percent)) => (version, percent.trim_end_matches('%')),
    };
    Ok(TrafficShare {
        version: version.trim_start_matches('v').parse().map_err(|_| wrong())?,
        percent: percent.parse().map_err(|_| wrong())?,
    })
}

/// `SECRET[=VARIABLE]`.
#[expect(clippy::unnecessary_wraps, reason = "that is what clap takes")]
pub(super) fn secret_use(text: &str) -> Result<SecretUse, String> {
    let (name, env) = text.split_once('=').unwrap_or((text, text));
    Ok(SecretUse {
        name: name.to_owned(),
        env: Some(env.to_owned()),
        file: None,
    })
}

/// `SECRET[=/run/secrets/FILE]`.
#[expect(clippy::unnecessary_wraps, reason = "that is what clap takes")]
pub(super) fn secret_file(text: &str) -> Result<SecretUse, String> {
    let (name, file) = match text.split_once('=') {
        Some((name, file)) => (name, file.to_owned()),
        None => (text, format!("/run/secrets/{text}")),
    };
    Ok(SecretUse {
        name: name.to_owned(),
        env: None,
        file: Some(file),
    })
}

/// A span such as `90s`, `12h` or `30d`, in seconds; a day has 24 hours.
pub(super) fn lifetime_s(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no span of time: write 90s, 10m, 12h or 30d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit_s: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit_s)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(wrong)
}

/// The same for what may also be over at once, by `0`.
pub(super) fn timeout_s(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    let seconds = lifetime_s(text)?;
    i64::try_from(seconds).map_err(|_| format!("{text:?} is too long"))
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not valid: write NAME=VALUE")),
    }
}

/// A time, or an age before now.
pub(super) fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time);
    }
    let age: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is neither a time (2026-01-31T12:00:00Z) nor an age (10m, 2h)"))?;
    jiff::Timestamp::now()
        .checked_sub(age)
        .map_err(|error| error.to_string())
}
