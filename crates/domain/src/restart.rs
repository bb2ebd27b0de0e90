//! Whether, and when, a machine that ended is started again.

use crate::{MachineState, RestartPolicy};

/// The first wait before a restart, in milliseconds; it doubles with each further one.
const FIRST_DELAY_MS: u64 = 100;
/// The longest wait, in milliseconds.
const LONGEST_DELAY_MS: u64 = 60_000;
/// A machine that ran for as long as this is well again: its count starts anew, in milliseconds (docker's rule).
const HEALTHY_AFTER_MS: u64 = 10_000;

/// A machine that has come back to its recovery point so often in a row is lost from there: what ends it is in it.
const RECOVERIES_MAX: u32 = 3;

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
    /// Take it back to its recovery point.
    Recover {
        /// After this many milliseconds.
        delay_ms: u64,
        /// The count of restarts in a row, this one included.
        attempt: u32,
        /// The count of ways back in a row, this one included.
        recovery: u32,
    },
}

impl RestartPlan {
    /// How long the machine waits for what is planned, in milliseconds; none if nothing is.
    pub fn delay_ms(self) -> Option<u64> {
        match self {
            Self::Stay => None,
            Self::Restart { delay_ms, .. } | Self::Recover { delay_ms, .. } => Some(delay_ms),
        }
    }
}

/// Plans what follows after a machine reached `state` by itself.
///
/// `attempts` is the number of restarts in a row before it ran this time, `ran_ms` how long its program ran. `recoveries` is how
/// often in a row it went back to its recovery point, if there is one: that is for machines that failed, until they always do
/// from there.
pub fn plan_restart(
    policy: RestartPolicy,
    recoveries: Option<u32>,
    state: &MachineState,
    attempts: u32,
    ran_ms: u64,
) -> RestartPlan {
    let (failed, lost) = match state {
        MachineState::Stopped { exit } => (exit.code != 0, false),
        MachineState::Failed { .. } => (true, true),
        _ => return RestartPlan::Stay,
    };
    let count = |before| if ran_ms >= HEALTHY_AFTER_MS { 0 } else { before };
    let attempts = count(attempts);
    let attempt = attempts.saturating_add(1);
    let delay_ms = FIRST_DELAY_MS
        .saturating_mul(1 << attempts.min(20))
        .min(LONGEST_DELAY_MS);
    if let Some(recoveries) = recoveries.map(count)
        && lost
        && recoveries < RECOVERIES_MAX
    {
        return RestartPlan::Recover {
            delay_ms,
            attempt,
            recovery: recoveries + 1,
        };
    }
    let wanted = match policy {
        RestartPolicy::No => false,
        RestartPolicy::OnFailure { max } => failed && max.is_none_or(|max| attempts < max),
        RestartPolicy::Always => true,
    };
    if wanted {
        RestartPlan::Restart { delay_ms, attempt }
    } else {
        RestartPlan::Stay
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
        assert_eq!(
            plan_restart(RestartPolicy::No, None, &stopped(1), 0, 0),
            RestartPlan::Stay
        );
        assert_eq!(
            plan_restart(RestartPolicy::OnFailure { max: None }, None, &stopped(0), 0, 0),
            RestartPlan::Stay
        );
        assert_ne!(
            plan_restart(RestartPolicy::Always, None, &stopped(0), 0, 0),
            RestartPlan::Stay
        );
    }

    #[test]
    fn on_failure_gives_up_after_its_maximum() {
        let policy = RestartPolicy::OnFailure { max: Some(2) };
        assert_eq!(
            plan_restart(policy, None, &stopped(1), 1, 0),
            RestartPlan::Restart {
                delay_ms: 200,
                attempt: 2
            }
        );
        assert_eq!(plan_restart(policy, None, &stopped(1), 2, 0), RestartPlan::Stay);
        assert_ne!(
            plan_restart(policy, None, &stopped(1), 2, HEALTHY_AFTER_MS),
            RestartPlan::Stay,
            "it was well between"
        );
    }

    #[test]
    fn what_failed_goes_back_to_its_recovery_point_unless_it_always_fails_from_there() {
        let failed = MachineState::Failed { reason: "x".to_owned() };
        let plan = |state, recoveries, ran_ms| plan_restart(RestartPolicy::No, Some(recoveries), state, 0, ran_ms);
        let back = |recovery| RestartPlan::Recover {
            delay_ms: 100,
            attempt: 1,
            recovery,
        };
        assert_eq!(plan(&failed, 0, 0), back(1));
        assert_eq!(plan(&failed, 2, 0), back(3));
        assert_eq!(plan(&failed, 3, 0), RestartPlan::Stay);
        assert_eq!(plan(&failed, 3, HEALTHY_AFTER_MS), back(1), "it was well between");
        assert_eq!(plan(&stopped(1), 0, 0), RestartPlan::Stay, "its program ended");
        let boots = plan_restart(RestartPolicy::Always, Some(3), &failed, 0, 0);
        assert_eq!(
            boots,
            RestartPlan::Restart {
                delay_ms: 100,
                attempt: 1
            }
        );
    }

    proptest! {
        #[test]
        fn delays_grow_and_are_bounded(attempts in any::<u32>()) {
            let delay = |n| plan_restart(RestartPolicy::Always, None, &stopped(1), n, 0).delay_ms().unwrap();
            prop_assert!(delay(attempts) >= FIRST_DELAY_MS && delay(attempts) <= LONGEST_DELAY_MS);
            prop_assert!(delay(attempts.saturating_add(1)) >= delay(attempts));
        }
    }
}
