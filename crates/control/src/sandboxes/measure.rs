//! What sandboxes use, over time: measured now and then, and whenever somebody asks, and kept in memory while they are there.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use hearth_domain::StateWord;
use hearth_ids::SandboxId;
use hearth_node_api::GuestUse;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Sandbox;
use crate::{app::App, time::now_unix_ms};

/// How often all are measured: it costs each guest a wake-up.
const EVERY: Duration = Duration::from_secs(30);
/// Who asks is measured anew, unless that was done so lately.
const FRESH_MS: u64 = 1_000;
/// Measurements that are kept of one sandbox: those of two hours.
const KEPT: usize = 240;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 4;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pub(crate) at_unix_ms: u64,
    /// Of all its CPUs since the measurement before, or since its boot; 100 is all of them.
    pub(crate) cpu_percent: f64,
    pub(crate) guest: GuestUse,
}

/// What was measured.
#[derive(Default)]
pub(crate) struct Measurements(Mutex<HashMap<SandboxId, VecDeque<Measured>>>);

impl Measurements {
    /// Those of a sandbox, the oldest first.
    pub(crate) fn of(&self, id: SandboxId) -> Vec<Measured> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id)
            .map(|kept| kept.iter().copied().collect())
            .unwrap_or_default()
    }

    pub(super) fn forget(&self, id: SandboxId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn last(&self, id: SandboxId) -> Option<Measured> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id)?.back().copied()
    }

    fn add(&self, id: SandboxId, at_unix_ms: u64, guest: GuestUse) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(id).or_default();
        let before = kept.back().map(|last| last.guest);
        kept.push_back(Measured {
            at_unix_ms,
            cpu_percent: cpu_percent(before, guest),
            guest,
        });
        while kept.len() > KEPT {
            kept.pop_front();
        }
    }
}

/// Of all CPUs, since the measurement before; since the boot where there is none, or the guest has booted anew.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
fn cpu_percent(before: Option<GuestUse>, now: GuestUse) -> f64 {
    let before = before
        .filter(|before| before.uptime_ns < now.uptime_ns)
        .unwrap_or_default();
    let wall = now
        .uptime_ns
        .saturating_sub(before.uptime_ns)
        .saturating_mul(now.cpus.into());
    let busy = now.cpu_usage_ns.saturating_sub(before.cpu_usage_ns);
    let percent = busy as f64 * 100.0 / wall.max(1) as f64;
    (percent.min(100.0) * 100.0).round() / 100.0
}

/// Measures a sandbox that runs, unless that was done just now. What does not answer is left out.
pub(crate) async fn measure(app: &App, sandbox: &Sandbox) {
    let runs = app
        .status(sandbox.machine)
        .is_some_and(|status| status.state.word() == StateWord::Running);
    let now = now_unix_ms();
    let fresh = app.measurements.last(sandbox.id);
    if !runs || fresh.is_some_and(|last| now.saturating_sub(last.at_unix_ms) < FRESH_MS) {
        return;
    }
    if let Ok(Ok(stats)) = timeout(ANSWER_TIMEOUT, app.node.stats(sandbox.machine)).await
        && let Some(guest) = stats.guest
        && app.sandboxes.get(sandbox.id).is_some()
    {
        app.measurements.add(sandbox.id, stats.at_unix_ms, guest);
    }
}

/// Measures all now and then, until told to stop.
pub(crate) async fn run(app: Weak<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(EVERY) => {}
        }
        let Some(app) = app.upgrade() else { return };
        let all = app.sandboxes.all();
        let measuring = stream::iter(all).map(async |sandbox: Arc<Sandbox>| measure(&app, &sandbox).await);
        tokio::select! {
            () = stop.cancelled() => return,
            () = measuring.buffer_unordered(AT_ONCE).collect::<()>() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(uptime_s: u64, busy_s: u64) -> GuestUse {
        GuestUse {
            cpus: 2,
            uptime_ns: uptime_s * 1_000_000_000,
            cpu_usage_ns: busy_s * 1_000_000_000,
            ..GuestUse::default()
        }
    }

    #[test]
    fn the_share_is_that_since_the_measurement_before() {
        let measurements = Measurements::default();
        let id = SandboxId::new();
        measurements.add(id, 1, guest(10, 10));
        measurements.add(id, 2, guest(20, 15));
        // It has booted anew.
        measurements.add(id, 3, guest(5, 1));
        let shares: Vec<_> = measurements.of(id).iter().map(|one| one.cpu_percent).collect();
        assert_eq!(shares, [50.0, 25.0, 10.0]);
    }

    #[test]
    fn only_so_many_are_kept() {
        let measurements = Measurements::default();
        let id = SandboxId::new();
        for at in 0..=KEPT as u64 {
            measurements.add(id, at, guest(at + 1, 0));
        }
        let kept = measurements.of(id);
        assert_eq!((kept.len(), kept[0].at_unix_ms), (KEPT, 1));
        measurements.forget(id);
        assert!(measurements.of(id).is_empty());
    }
}
