//! When to try again, and after how long. Pure but for the random jitter.

use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// How often and how patiently failed requests are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Tries in all without any progress between them.
    pub attempts_max: u32,
    /// Wait before the second try; doubles from there.
    pub base_ms: u64,
    /// Longest wait of our own choice.
    pub ceiling_ms: u64,
    /// Longest wait that a server may ask for with `Retry-After`.
    pub retry_after_max_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 6,
            base_ms: 250,
            ceiling_ms: 15_000,
            retry_after_max_ms: 60_000,
        }
    }
}

/// What came of a failed try.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again after this long.
    Wait(Duration),
    /// The server wants a longer pause than we are ready for.
    TooLong(Duration),
    /// Enough.
    GiveUp,
}

/// The tries of one request.
pub(crate) struct Attempts {
    policy: RetryPolicy,
    failed: u32,
}

impl Attempts {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failed: 0 }
    }

    /// Bytes arrived: the server lives, so counting starts again.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Counts a failure. `retry_after` is what the server asked for.
    pub(crate) fn failed(&mut self, retry_after: Option<Duration>) -> Verdict {
        self.failed += 1;
        if self.failed >= self.policy.attempts_max {
            return Verdict::GiveUp;
        }
        match retry_after {
            Some(wait) if wait > Duration::from_millis(self.policy.retry_after_max_ms) => Verdict::TooLong(wait),
            Some(wait) => Verdict::Wait(wait.max(Duration::from_millis(self.policy.base_ms))),
            None => Verdict::Wait(self.backoff()),
        }
    }

    /// Exponential with half of it random, so that clients cut off together do not return together.
    fn backoff(&self) -> Duration {
        let doubled = self.policy.base_ms.saturating_mul(1 << (self.failed - 1).min(20));
        let whole = doubled.min(self.policy.ceiling_ms);
        Duration::from_millis(whole / 2 + rand::rng().random_range(0..=whole.div_ceil(2)))
    }
}

/// `Retry-After` is a number of seconds or a date.
pub(crate) fn parse_retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value.trim())
        .ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_end() {
        let policy = RetryPolicy {
            attempts_max: 5,
            base_ms: 100,
            ceiling_ms: 250,
            retry_after_max_ms: 1_000,
        };
        let mut attempts = Attempts::new(policy);
        for longest in [100, 200, 250, 250] {
            let Verdict::Wait(wait) = attempts.failed(None) else {
                panic!("gave up")
            };
            let wait = wait.as_millis();
            assert!(wait >= longest / 2 && wait <= longest + 1, "{wait} of {longest}");
        }
        assert_eq!(attempts.failed(None), Verdict::GiveUp);
        attempts.progressed();
        assert_eq!(
            attempts.failed(Some(Duration::from_millis(700))),
            Verdict::Wait(Duration::from_millis(700))
        );
        assert_eq!(
            attempts.failed(Some(Duration::from_secs(2))),
            Verdict::TooLong(Duration::from_secs(2))
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "1994-11-06T08:49:30Z".parse().unwrap();
        let parse = |text| parse_retry_after(text, now);
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("soon"), None);
    }
}
