//! What to run now, whatever the clock did since.

use super::{CronSpec, MissedRuns};

/// How late a run may be begun and still not be a missed one, in milliseconds.
pub const ON_TIME_MS: u64 = 60_000;
/// Up to how many runs that were left out are counted.
pub const SKIPPED_MAX: u32 = 1000;

/// What to do now, and what to know the next time. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CronPlan {
    /// To be run now: the time that it was due at.
    pub run: Option<u64>,
    /// When something will be due, if the clock goes on evenly.
    pub next_unix_ms: Option<u64>,
    /// How many runs are left out, [`SKIPPED_MAX`] at most.
    pub skipped: u32,
    /// All up to then is run or left out. To be kept together with the run, and given to the next plan.
    pub handled_unix_ms: u64,
}

/// Plans what is due at `now_unix_ms`, when all up to `handled_unix_ms` is dealt with; at first that is when the trigger
/// was made.
///
/// To be asked at `next_unix_ms`, and every minute, since the clock may be set meanwhile. What is handled never goes
/// back, and only what comes after it is run. So no time is run twice, however the clock is set; one that is set back
/// runs nothing until it has come to where it was.
pub fn plan_cron(spec: &CronSpec, handled_unix_ms: u64, now_unix_ms: u64) -> CronPlan {
    let (due, count) = due(spec, handled_unix_ms, now_unix_ms);
    let run = due.filter(|due| match spec.missed() {
        MissedRuns::RunOnce => true,
        MissedRuns::Skip => now_unix_ms - due <= ON_TIME_MS,
    });
    let handled_unix_ms = due.unwrap_or(handled_unix_ms);
    CronPlan {
        run,
        next_unix_ms: spec.next_after(handled_unix_ms.max(now_unix_ms)),
        skipped: count.saturating_sub(run.is_some().into()),
        handled_unix_ms,
    }
}

/// The last of the times that are due, and how many there are, as far as they are counted.
fn due(spec: &CronSpec, handled_unix_ms: u64, now_unix_ms: u64) -> (Option<u64>, u32) {
    let mut last = None;
    for count in 0..=SKIPPED_MAX {
        let next = spec.next_after(last.unwrap_or(handled_unix_ms));
        let Some(next) = next.filter(|next| *next <= now_unix_ms) else {
            return (last, count);
        };
        last = Some(next);
    }
    (last.max(spec.last_until(now_unix_ms)), SKIPPED_MAX + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;
    const DAY_MS: u64 = 24 * HOUR_MS;
    /// Midnight of 25 October 2026 in UTC, an hour before Berlin's clocks go back.
    const BEGIN_MS: u64 = 1_792_886_400_000;

    fn spec(expression: &str, missed: MissedRuns) -> CronSpec {
        CronSpec::new(expression, "Europe/Berlin", missed).unwrap()
    }

    #[test]
    fn what_is_due_is_run_once() {
        let spec = spec("*/5 * * * *", MissedRuns::Skip);
        let plan = plan_cron(&spec, BEGIN_MS, BEGIN_MS + 5 * MINUTE_MS - 1);
        assert_eq!((plan.run, plan.next_unix_ms), (None, Some(BEGIN_MS + 5 * MINUTE_MS)));
        let plan = plan_cron(&spec, plan.handled_unix_ms, BEGIN_MS + 5 * MINUTE_MS);
        assert_eq!((plan.run, plan.skipped), (Some(BEGIN_MS + 5 * MINUTE_MS), 0));
        let plan = plan_cron(&spec, plan.handled_unix_ms, BEGIN_MS + 5 * MINUTE_MS);
        assert_eq!((plan.run, plan.next_unix_ms), (None, Some(BEGIN_MS + 10 * MINUTE_MS)));
    }

    #[test]
    fn missed_runs_are_left_out_or_made_up_for_by_one() {
        let now = BEGIN_MS + DAY_MS + 2 * MINUTE_MS;
        let plan = plan_cron(&spec("0 * * * *", MissedRuns::RunOnce), BEGIN_MS, now);
        assert_eq!((plan.run, plan.skipped), (Some(BEGIN_MS + DAY_MS), 23));
        let plan = plan_cron(&spec("0 * * * *", MissedRuns::Skip), BEGIN_MS, now);
        assert_eq!((plan.run, plan.skipped), (None, 24));
        assert_eq!(plan.handled_unix_ms, BEGIN_MS + DAY_MS);
        assert_eq!(
            plan_cron(&spec("0 * * * *", MissedRuns::Skip), plan.handled_unix_ms, now).skipped,
            0
        );
        let late = plan_cron(
            &spec("0 * * * *", MissedRuns::Skip),
            BEGIN_MS,
            BEGIN_MS + HOUR_MS + ON_TIME_MS,
        );
        assert_eq!((late.run, late.skipped), (Some(BEGIN_MS + HOUR_MS), 0));
    }

    #[test]
    fn a_year_of_missed_minutes_is_one_run_and_not_counted_to_the_end() {
        let now = BEGIN_MS + 365 * DAY_MS + 1;
        let plan = plan_cron(&spec("* * * * *", MissedRuns::RunOnce), BEGIN_MS, now);
        assert_eq!((plan.run, plan.skipped), (Some(now - 1), SKIPPED_MAX));
        assert_eq!(plan.handled_unix_ms, now - 1);
    }

    #[test]
    fn a_clock_set_back_runs_nothing_again() {
        let spec = spec("0 * * * *", MissedRuns::RunOnce);
        let plan = plan_cron(&spec, BEGIN_MS, BEGIN_MS + 5 * HOUR_MS);
        assert_eq!(plan.run, Some(BEGIN_MS + 5 * HOUR_MS));
        for hours in 0..=5 {
            let back = plan_cron(&spec, plan.handled_unix_ms, BEGIN_MS + hours * HOUR_MS);
            assert_eq!((back.run, back.skipped), (None, 0));
            assert_eq!(back.next_unix_ms, Some(BEGIN_MS + 6 * HOUR_MS));
            assert_eq!(back.handled_unix_ms, plan.handled_unix_ms);
        }
    }

    #[test]
    fn both_hours_are_run_when_clocks_go_back_but_a_fixed_time_once() {
        let runs = |expression| {
            let spec = spec(expression, MissedRuns::Skip);
            let mut handled = BEGIN_MS - 1;
            let mut runs = 0;
            for minute in 0..180 {
                let plan = plan_cron(&spec, handled, BEGIN_MS + minute * MINUTE_MS);
                handled = plan.handled_unix_ms;
                runs += u32::from(plan.run.is_some());
            }
            runs
        };
        assert_eq!(runs("15 * * * *"), 3);
        assert_eq!(runs("15 2 * * *"), 1);
    }

    fn specs() -> impl Strategy<Value = CronSpec> {
        let expressions = [
            "* * * * *",
            "*/7 * * * *",
            "30 2 * * *",
            "0 0 * * MON",
            "15 */6 1,28 * *",
            "59 23 L * *",
        ];
        let zones = [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
        ];
        let missed = [MissedRuns::Skip, MissedRuns::RunOnce];
        let choices = (
            proptest::sample::select(expressions.to_vec()),
            proptest::sample::select(zones.to_vec()),
            proptest::sample::select(missed.to_vec()),
        );
        choices.prop_map(|(expression, zone, missed)| CronSpec::new(expression, zone, missed).unwrap())
    }

    /// Any time, and times about which the clocks of Berlin are put back and forward.
    fn moments() -> impl Strategy<Value = u64> {
        let forward_ms = 1_774_746_000_000;
        prop_oneof![
            BEGIN_MS..BEGIN_MS + 800 * DAY_MS,
            BEGIN_MS - 4 * HOUR_MS..BEGIN_MS + 4 * HOUR_MS,
            forward_ms - 4 * HOUR_MS..forward_ms + 4 * HOUR_MS,
        ]
    }

    proptest! {
        #[test]
        fn no_time_runs_twice_however_the_clock_is_set(
            spec in specs(),
            begin_days in 0_u64..400,
            jumps in proptest::collection::vec(
                prop_oneof![0_i64..120_000, -120_000_i64..0, -200_000_000_i64..200_000_000], 1..40),
        ) {
            let mut now = BEGIN_MS + begin_days * DAY_MS;
            let mut handled = now;
            let mut last_run = 0;
            for jump in jumps {
                now = now.saturating_add_signed(jump);
                let plan = plan_cron(&spec, handled, now);
                let first_due = spec.next_after(handled).filter(|due| *due <= now);
                prop_assert_eq!(plan.run.is_some() || plan.skipped > 0, first_due.is_some());
                if let Some(run) = plan.run {
                    prop_assert!(run > last_run && run > handled && run <= now, "{run} after {last_run}");
                    prop_assert_eq!(spec.next_after(run - 1), Some(run), "it is one of its times");
                    prop_assert!(spec.missed() == MissedRuns::RunOnce || now - run <= ON_TIME_MS);
                    last_run = run;
                }
                prop_assert!(spec.missed() == MissedRuns::Skip || first_due.is_none() || plan.run.is_some());
                prop_assert!(plan.handled_unix_ms >= handled);
                prop_assert!(plan.next_unix_ms.is_some_and(|next| next > now && next > plan.handled_unix_ms));
                let again = plan_cron(&spec, plan.handled_unix_ms, now);
                prop_assert_eq!((again.run, again.skipped), (None, 0));
                handled = plan.handled_unix_ms;
            }
        }

        #[test]
        fn a_clock_that_goes_evenly_misses_nothing(spec in specs(), begin_days in 0_u64..400, step_ms in 1_000_u64..ON_TIME_MS) {
            let begin = BEGIN_MS + begin_days * DAY_MS;
            let end = begin + 2 * HOUR_MS;
            let mut runs = Vec::new();
            let (mut now, mut handled) = (begin, begin);
            while now < end {
                now += step_ms;
                let plan = plan_cron(&spec, handled, now);
                prop_assert_eq!(plan.skipped, 0);
                handled = plan.handled_unix_ms;
                runs.extend(plan.run);
            }
            let all = std::iter::successors(spec.next_after(begin), |at| spec.next_after(*at));
            prop_assert_eq!(runs, all.take_while(|at| *at <= now).collect::<Vec<_>>());
        }

        #[test]
        fn looking_back_finds_what_looking_ahead_does(spec in specs(), at_ms in moments()) {
            let last = spec.last_until(at_ms).unwrap();
            prop_assert!(last <= at_ms);
            prop_assert_eq!(spec.next_after(last - 1), Some(last));
            prop_assert!(spec.next_after(last).unwrap() > at_ms);
        }
    }
}
