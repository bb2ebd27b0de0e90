//! How many requests may pass.

use std::num::NonZeroU32;

use thiserror::Error;

/// A thousandth of a token is what one token a second brings in a millisecond.
const PARTS: u64 = 1000;

/// A bucket of tokens: it is full at first, each request takes some, and they come back evenly. So in `t` seconds
/// there are never more than `burst + rate × t`.
///
/// It counts thousandths of tokens in whole numbers, so that nothing is lost or won by rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    rate: NonZeroU32,
    burst: NonZeroU32,
    /// Thousandths of tokens that it was short of being full at `at_ms`.
    missing: u64,
    at_ms: u64,
}

/// There are not enough tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no more room for this now; try again in {0} ms")]
pub struct RetryAfterMs(
    /// After how many milliseconds there will be, if nobody else takes them. [`u64::MAX`]: never, for it is more than the
    /// burst.
    pub u64,
);

impl TokenBucket {
    /// A full bucket, into which `rate` tokens come back each second, and which holds `burst` of them.
    pub fn new(rate: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            rate,
            burst,
            missing: 0,
            at_ms: 0,
        }
    }

    /// The same bucket with another rate and burst. What was taken stays taken.
    #[must_use]
    pub fn with_rate(self, rate: NonZeroU32, burst: NonZeroU32) -> Self {
        Self { rate, burst, ..self }
    }

    /// Takes `tokens`, all or none. `now_ms` are milliseconds of a clock that never goes back; if it does, no time has
    /// passed.
    pub fn take(&mut self, now_ms: u64, tokens: u32) -> Result<(), RetryAfterMs> {
        if tokens > self.burst.get() {
            return Err(RetryAfterMs(u64::MAX));
        }
        self.refill(now_ms);
        let after = self.missing + u64::from(tokens) * PARTS;
        let short = after.saturating_sub(self.full());
        if short > 0 {
            return Err(RetryAfterMs(short.div_ceil(self.rate.get().into())));
        }
        self.missing = after;
        Ok(())
    }

    /// How many whole tokens there are.
    pub fn tokens(mut self, now_ms: u64) -> u32 {
        self.refill(now_ms);
        let there = self.full().saturating_sub(self.missing) / PARTS;
        u32::try_from(there).unwrap_or(u32::MAX)
    }

    fn refill(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.missing = self
            .missing
            .saturating_sub(passed_ms.saturating_mul(self.rate.get().into()));
    }

    fn full(&self) -> u64 {
        u64::from(self.burst.get()) * PARTS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(rate: u32, burst: u32) -> TokenBucket {
        TokenBucket::new(rate.try_into().unwrap(), burst.try_into().unwrap())
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = bucket(10, 3);
        for _ in 0..3 {
            assert_eq!(bucket.take(5000, 1), Ok(()));
        }
        assert_eq!(bucket.take(5000, 1), Err(RetryAfterMs(100)));
        assert_eq!(bucket.take(5099, 1), Err(RetryAfterMs(1)));
        assert_eq!(bucket.take(5100, 1), Ok(()));
        assert_eq!(bucket.take(5100, 2), Err(RetryAfterMs(200)));
        assert_eq!(bucket.tokens(60_000), 3, "no more than the burst");
    }

    #[test]
    fn more_than_the_burst_never_passes_and_takes_nothing() {
        let mut bucket = bucket(1, 2);
        assert_eq!(bucket.take(0, 3), Err(RetryAfterMs(u64::MAX)));
        assert_eq!(bucket.take(0, 2), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_brings_nothing() {
        let mut bucket = bucket(1000, 1);
        assert_eq!(bucket.take(1_000_000, 1), Ok(()));
        assert_eq!(bucket.take(0, 1), Err(RetryAfterMs(1)));
        assert_eq!(bucket.take(1_000_000, 1), Err(RetryAfterMs(1)));
        assert_eq!(bucket.take(1_000_001, 1), Ok(()));
    }

    #[test]
    fn a_smaller_bucket_is_not_full_of_old_tokens() {
        let mut bucket = bucket(1, 100);
        bucket.take(0, 50).unwrap();
        let mut smaller = bucket.with_rate(NonZeroU32::MIN, 10.try_into().unwrap());
        assert_eq!(smaller.tokens(0), 0);
        assert_eq!(smaller.take(0, 1), Err(RetryAfterMs(41_000)));
    }

    proptest! {
        #[test]
        fn in_no_time_more_than_burst_and_rate(
            rate in 1_u32..5000,
            burst in 1_u32..100,
            asked in proptest::collection::vec((0_u64..300, 0_u32..120), 1..200),
        ) {
            let mut bucket = bucket(rate, burst);
            let mut now_ms = 0;
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (pause_ms, tokens) in asked {
                now_ms += pause_ms;
                let before = bucket;
                match bucket.take(now_ms, tokens) {
                    Ok(()) => taken.push((now_ms, tokens.into())),
                    Err(RetryAfterMs(u64::MAX)) => prop_assert!(tokens > burst),
                    Err(RetryAfterMs(wait_ms)) => {
                        prop_assert!(tokens > before.tokens(now_ms) && bucket.tokens(now_ms) == before.tokens(now_ms));
                        prop_assert!(bucket.clone().take(now_ms + wait_ms - 1, tokens).is_err(), "not a moment too late");
                        prop_assert_eq!(bucket.clone().take(now_ms + wait_ms, tokens), Ok(()));
                    }
                }
            }
            for (index, (begin_ms, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (end_ms, tokens) in &taken[index..] {
                    sum += tokens * PARTS;
                    let most = u64::from(burst) * PARTS + u64::from(rate) * (end_ms - begin_ms);
                    prop_assert!(sum <= most, "{sum} thousandths in {} ms", end_ms - begin_ms);
                }
            }
        }

        #[test]
        fn nothing_overflows(rate in 1_u32.., burst in 1_u32.., times in proptest::collection::vec(any::<u64>(), 1..20)) {
            let mut bucket = bucket(rate, burst);
            for now_ms in times {
                let _ = bucket.take(now_ms, burst);
                prop_assert!(bucket.tokens(now_ms) <= burst);
            }
        }
    }
}
