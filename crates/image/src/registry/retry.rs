//! When to try again, and after how long. Pure but for the random jitter.

use std::time::{Duration, Instant};

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

/// How slowly a layer may come. Without such a bound, a registry that sends a byte now and then is waited for as long as it
/// likes, since each byte is progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacePolicy {
    /// Bytes a second below which a registry falls behind.
    pub bytes_per_second: u64,
    /// How far it may fall behind: pauses, and waits for another try, included.
    pub patience_ms: u64,
}

impl Default for PacePolicy {
    fn default() -> Self {
        Self {
            bytes_per_second: 4096,
            patience_ms: 120_000,
        }
    }
}

/// The pace of one layer.
pub(crate) struct Pace {
    policy: PacePolicy,
    /// When patience ends, unless bytes come.
    deadline: Instant,
}

impl Pace {
    pub(crate) fn new(policy: PacePolicy, now: Instant) -> Self {
        let deadline = now + Duration::from_millis(policy.patience_ms);
        Self { policy, deadline }
    }

    /// Counts bytes that came; false if the registry has fallen too far behind.
    pub(crate) fn keeps_up(&mut self, now: Instant, bytes: usize) -> bool {
        if now > self.deadline {
            return false;
        }
        let latest = now + Duration::from_millis(self.policy.patience_ms);
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.policy.bytes_per_second.max(1);
        self.deadline = (self.deadline + Duration::from_nanos(nanos)).min(latest);
        true
    }
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

    #[test]
    fn a_registry_may_pause_but_not_fall_behind_for_ever() {
        let policy = PacePolicy {
            bytes_per_second: 1000,
            patience_ms: 60_000,
        };
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut even = Pace::new(policy, begun);
        assert!((1..=3600).all(|second| even.keeps_up(at(second), 1000)));
        // What came early does not buy more than one pause.
        let mut early = Pace::new(policy, begun);
        assert!(early.keeps_up(at(1), 1_000_000_000) && early.keeps_up(at(61), 60_000));
        assert!(early.keeps_up(at(121), 0) && !early.keeps_up(at(122), 1_000_000));
        let mut drip = Pace::new(policy, begun);
        let kept = (1..=100).take_while(|step| drip.keeps_up(at(step * 29), 1)).count();
        assert_eq!(kept, 2);
    }
}
