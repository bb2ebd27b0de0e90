//! Whether, and when, a machine that ended is started again.

use crate::{MachineState, RestartPolicy};

/// The first wait before a restart, in milliseconds; it doubles with each further one.
const FIRST_DELAY_MS: u64 = 100;
/// The longest wait, in milliseconds.
const LONGEST_DELAY_MS: u64 = 60_000;
/// A machine that ran for as long as this is well again: its count starts anew, in milliseconds (docker's rule).
const HEALTHY_AFTER_MS: u64 = 10_000;

/// What to do with a machine that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPlan {
    /// Leave it.
    Stay,
    /// Start it again.
    Restart {
        /// After this many milliseconds.
        delay_ms: u64,
        /// The count of restarts in a row, this one included.
        attempt: u32,
    },
}

/// Plans what follows after a machine reached `state` by itself.
///
/// `attempts` is the number of restarts in a row before it ran this time, `ran_ms` how long its program ran.
pub fn plan_restart(policy: RestartPolicy, state: &MachineState, attempts: u32, ran_ms: u64) -> RestartPlan {
    let failed = match state {
        MachineState::Stopped { exit } => exit.code != 0,
        MachineState::Failed { .. } => true,
        _ => return RestartPlan::Stay,
    };
    let attempts = if ran_ms >= HEALTHY_AFTER_MS { 0 } else { attempts };
    let wanted = match policy {
        RestartPolicy::No => false,
        RestartPolicy::OnFailure { max } => failed && max.is_none_or(|max| attempts < max),
        RestartPolicy::Always => true,
    };
    if !wanted {
        return RestartPlan::Stay;
    }
    let delay_ms = FIRST_DELAY_MS
        .saturating_mul(1 << attempts.min(20))
        .min(LONGEST_DELAY_MS);
    RestartPlan::Restart {
        delay_ms,
        attempt: attempts.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ExitStatus;

    fn stopped(code: i32) -> MachineState {
        MachineState::Stopped {
            exit: ExitStatus {
                code,
                ..ExitStatus::default()
            },
        }
    }

    #[test]
    fn policies_differ_on_success() {
        assert_eq!(plan_restart(RestartPolicy::No, &stopped(1), 0, 0), RestartPlan::Stay);
        assert_eq!(
            plan_restart(RestartPolicy::OnFailure { max: None }, &stopped(0), 0, 0),
            RestartPlan::Stay
        );
        assert_ne!(
            plan_restart(RestartPolicy::Always, &stopped(0), 0, 0),
            RestartPlan::Stay
        );
    }

    #[test]
    fn on_failure_gives_up_after_its_maximum() {
        let policy = RestartPolicy::OnFailure { max: Some(2) };
        assert_eq!(
            plan_restart(policy, &stopped(1), 1, 0),
            RestartPlan::Restart {
                delay_ms: 200,
                attempt: 2
            }
        );
        assert_eq!(plan_restart(policy, &stopped(1), 2, 0), RestartPlan::Stay);
        assert_ne!(
            plan_restart(policy, &stopped(1), 2, HEALTHY_AFTER_MS),
            RestartPlan::Stay,
            "it was well between"
        );
    }

    proptest! {
        #[test]
        fn delays_grow_and_are_bounded(attempts in any::<u32>()) {
            let delay = |n| match plan_restart(RestartPolicy::Always, &stopped(1), n, 0) {
                RestartPlan::Restart { delay_ms, .. } => delay_ms,
                RestartPlan::Stay => 0,
            };
            prop_assert!(delay(attempts) >= FIRST_DELAY_MS && delay(attempts) <= LONGEST_DELAY_MS);
            prop_assert!(delay(attempts.saturating_add(1)) >= delay(attempts));
        }
    }
}
