//! The host's wall clock, which may jump: set by hand, by a time server after a long outage, or by a suspend that the
//! monotonic clock does not count.
//!
//! Nothing here is timed by it. But guests took their time from it when they booted, so whenever it jumps they are told.

use std::time::{Duration, Instant};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::services::now_ms;

/// How often it is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Less is no jump, but a time server at work, or a look that came late.
const JUMP_MIN_MS: u64 = 1000;

/// How far the wall clock is ahead of the time that has passed since `origin`. The same at every look, unless it jumps.
fn lead_ms(origin: Instant) -> i64 {
    let passed_ms = i64::try_from(origin.elapsed().as_millis()).unwrap_or(i64::MAX);
    i64::try_from(now_ms()).unwrap_or(i64::MAX).saturating_sub(passed_ms)
}

/// How far it jumped between two looks, if it did.
fn jump_ms(before: i64, now: i64) -> Option<i64> {
    (now.abs_diff(before) >= JUMP_MIN_MS).then(|| now.saturating_sub(before))
}

/// Counts the clock's jumps until it is told to end.
pub(crate) async fn watch_jumps(jumps: watch::Sender<u64>, shutdown: CancellationToken) {
    let origin = Instant::now();
    let mut before = lead_ms(origin);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(LOOK_INTERVAL) => {}
        }
        let now = lead_ms(origin);
        if let Some(by_ms) = jump_ms(before, now) {
            tracing::warn!(by_ms, "the host's clock has jumped; guests are told the new time");
            jumps.send_modify(|count| *count += 1);
        }
        // Drift adds up over days; only what comes at once is a jump.
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_from_drift_and_has_a_direction() {
        assert_eq!(jump_ms(1_000_000, 1_000_400), None);
        assert_eq!(jump_ms(1_000_000, 4_600_000), Some(3_600_000));
        assert_eq!(jump_ms(4_600_000, 1_000_000), Some(-3_600_000));
        assert_eq!(jump_ms(i64::MIN, i64::MAX), Some(i64::MAX));
    }

    #[test]
    fn the_lead_stays_while_time_passes() {
        let origin = Instant::now();
        let before = lead_ms(origin);
        std::thread::sleep(Duration::from_millis(30));
        assert!(jump_ms(before, lead_ms(origin)).is_none());
    }
}
