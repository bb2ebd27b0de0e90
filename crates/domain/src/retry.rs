//! When a call that nobody waits for is tried again.
//!
//! Back-off with full jitter: the wait is anything between nothing and a limit that doubles with each attempt, so that
//! calls that failed together do not come back together.

use thiserror::Error;

/// How often, and for how long, a call is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRule {
    /// Attempts at most, the first one included. One is made in any case.
    pub max_attempts: u32,
    /// The limit of the wait after the first attempt, in milliseconds; it doubles with each further one.
    pub base_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
    /// How old a call may be when it is tried again, in milliseconds since it was taken in.
    pub max_age_ms: u64,
}

impl Default for RetryRule {
    /// Lambda's: three attempts within six hours.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_ms: 1000,
            max_ms: 5 * 60 * 1000,
            max_age_ms: 6 * 60 * 60 * 1000,
        }
    }
}

/// What to do with a call whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again after so many milliseconds.
    After(u64),
    /// It has become a dead letter.
    GiveUp(GiveUp),
}

/// What to do with a call whose attempt was cut off, since whoever ran it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOff {
    /// Try again.
    Again {
        /// Attempts that count so far.
        attempts: u32,
        /// Beside no other call that must be alone.
        alone: bool,
    },
    /// It has become a dead letter.
    GiveUp(GiveUp),
}

/// Why a call is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GiveUp {
    /// It was tried as often as it may be.
    #[error("it failed {0} times, which is as often as it may be tried")]
    Attempts(u32),
    /// It would be too old when it is tried again.
    #[error("it would be older than {max_age_ms} ms when it is tried again")]
    TooOld {
        /// The rule's age.
        max_age_ms: u64,
    },
}

/// Plans what follows on the failure of attempt number `attempt` (the first is 1) of a call that is `age_ms` old.
///
/// `random` is anything from 0 up to, but not, 1; what lies beyond is taken for the nearest of them.
pub fn plan_retry(rule: RetryRule, attempt: u32, age_ms: u64, random: f64) -> Retry {
    if attempt >= rule.max_attempts {
        return Retry::GiveUp(GiveUp::Attempts(attempt));
    }
    let wait_ms = scaled(limit_ms(rule, attempt), random);
    if age_ms.saturating_add(wait_ms) > rule.max_age_ms {
        let max_age_ms = rule.max_age_ms;
        return Retry::GiveUp(GiveUp::TooOld { max_age_ms });
    }
    Retry::After(wait_ms)
}

/// Plans what follows when whoever ran attempt number `attempt` (the first is 1) died in it. `alone` says whether the call
/// ran alone.
///
/// The attempt counts: it may be what killed, and would do so each time. But whatever else ran then was cut off, too, and
/// was perhaps not even begun. So that no call becomes dead for what another did, the last attempt is made alone, and
/// counts as made only then. Age is no reason: perhaps nobody ran it for so long since it killed whoever did.
pub fn plan_cut_off(rule: RetryRule, attempt: u32, alone: bool) -> CutOff {
    if alone && attempt >= rule.max_attempts {
        return CutOff::GiveUp(GiveUp::Attempts(attempt));
    }
    let before_last = rule.max_attempts.saturating_sub(1);
    let attempts = attempt.min(before_last);
    CutOff::Again {
        attempts,
        alone: attempts == before_last,
    }
}

/// The longest wait after that attempt.
fn limit_ms(rule: RetryRule, attempt: u32) -> u64 {
    let doublings = attempt.saturating_sub(1);
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    rule.base_ms.saturating_mul(factor).min(rule.max_ms)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a wait need not be exact; casts from floats saturate, and none is negative"
)]
fn scaled(limit_ms: u64, random: f64) -> u64 {
    let share = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
    ((limit_ms as f64 * share) as u64).min(limit_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: RetryRule = RetryRule {
        max_attempts: 4,
        base_ms: 1000,
        max_ms: 3000,
        max_age_ms: 10_000,
    };

    #[test]
    fn limits_double_up_to_the_longest() {
        let almost_all = 1.0 - f64::EPSILON;
        for (attempt, limit_ms) in [(1, 1000), (2, 2000), (3, 3000)] {
            assert_eq!(plan_retry(RULE, attempt, 0, 0.0), Retry::After(0));
            assert_eq!(plan_retry(RULE, attempt, 0, 0.5), Retry::After(limit_ms / 2));
            assert_eq!(plan_retry(RULE, attempt, 0, almost_all), Retry::After(limit_ms - 1));
        }
        assert_eq!(plan_retry(RULE, 4, 0, 0.0), Retry::GiveUp(GiveUp::Attempts(4)));
    }

    #[test]
    fn what_would_be_too_old_is_given_up() {
        assert_eq!(plan_retry(RULE, 1, 9500, 0.5), Retry::After(500));
        let too_old = Retry::GiveUp(GiveUp::TooOld { max_age_ms: 10_000 });
        assert_eq!(plan_retry(RULE, 1, 9501, 0.5), too_old);
        assert_eq!(plan_retry(RULE, 1, u64::MAX, 0.0), too_old);
    }

    #[test]
    fn what_kills_is_given_up_and_what_ran_beside_it_is_not() {
        let again = |attempts, alone| CutOff::Again { attempts, alone };
        // It ran with others, and is blamed for nothing.
        assert_eq!(plan_cut_off(RULE, 1, false), again(1, false));
        assert_eq!(plan_cut_off(RULE, 3, false), again(3, true));
        assert_eq!(plan_cut_off(RULE, 4, false), again(3, true));
        // It was the only one that could be.
        assert_eq!(plan_cut_off(RULE, 4, true), CutOff::GiveUp(GiveUp::Attempts(4)));
    }

    prop_compose! {
        fn rules()(max_attempts in 0_u32..100, base_ms in any::<u64>(), max_ms in any::<u64>(), max_age_ms in any::<u64>())
            -> RetryRule {
            RetryRule { max_attempts, base_ms, max_ms, max_age_ms }
        }
    }

    proptest! {
        #[test]
        fn it_keeps_its_bounds(rule in rules(), attempt in any::<u32>(), age_ms in any::<u64>(), random in any::<f64>()) {
            match plan_retry(rule, attempt, age_ms, random) {
                Retry::After(wait_ms) => {
                    prop_assert!(attempt < rule.max_attempts);
                    prop_assert!(wait_ms <= rule.max_ms);
                    prop_assert!(u128::from(age_ms) + u128::from(wait_ms) <= u128::from(rule.max_age_ms));
                    let limit = u128::from(rule.base_ms) << attempt.saturating_sub(1).min(63);
                    prop_assert!(u128::from(wait_ms) <= limit);
                }
                Retry::GiveUp(GiveUp::Attempts(made)) => {
                    prop_assert!(made == attempt && attempt >= rule.max_attempts);
                }
                Retry::GiveUp(GiveUp::TooOld { .. }) => {
                    prop_assert!(u128::from(age_ms) + u128::from(rule.max_ms) > u128::from(rule.max_age_ms));
                }
            }
        }

        #[test]
        fn it_ends(max_attempts in 0_u32..100, random in 0.0_f64..1.0) {
            let rule = RetryRule { max_attempts, ..RetryRule::default() };
            let (mut attempt, mut age_ms) = (1, 0);
            while let Retry::After(wait_ms) = plan_retry(rule, attempt, age_ms, random) {
                (attempt, age_ms) = (attempt + 1, age_ms + wait_ms);
                prop_assert!(attempt <= max_attempts && age_ms <= rule.max_age_ms);
            }
        }

        #[test]
        fn what_kills_each_time_is_tried_as_often_as_it_may_be_and_ends_alone(max_attempts in 0_u32..100, failed in 0_u32..100) {
            let rule = RetryRule { max_attempts, ..RetryRule::default() };
            // So many attempts failed by themselves before.
            let (mut attempts, mut alone, mut deaths) = (failed.min(max_attempts.saturating_sub(1)), false, 0);
            let first = attempts;
            loop {
                deaths += 1;
                match plan_cut_off(rule, attempts + 1, alone) {
                    CutOff::Again { attempts: now, alone: now_alone } => (attempts, alone) = (now, now_alone),
                    CutOff::GiveUp(_) => break,
                }
            }
            prop_assert!(alone);
            let left = max_attempts.saturating_sub(first).max(1);
            prop_assert!(deaths == left || (left == 1 && deaths == 2), "{} deaths, {} attempts left", deaths, left);
        }

        #[test]
        fn more_luck_is_no_longer_wait(attempt in 1_u32..4, luck in 0.0_f64..1.0, less in 0.0_f64..1.0) {
            let wait = |random| match plan_retry(RULE, attempt, 0, random) {
                Retry::After(wait_ms) => wait_ms,
                Retry::GiveUp(_) => u64::MAX,
            };
            prop_assert!(wait(luck.min(less)) <= wait(luck.max(less)));
        }
    }
}
