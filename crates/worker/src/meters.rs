//! How long the parts of an instance's start took, by the `metrics` facade; `hearth-telemetry` lists them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_coord::ProvisionRequest;
use hearth_domain::StateWord;
use hearth_node_api::MachineStatus;
use metrics::{counter, histogram};

use crate::ProvisionFailure;

/// Notes a phase of an instance's start.
pub(crate) fn phase(phase: &'static str, took: Duration) {
    histogram!("hearth_cold_start_phase_seconds", "phase" => phase).record(took);
}

/// Notes how long a request waited for its worker. Its ID tells when it was made; a clock that was set back meanwhile
/// makes that nothing.
pub(crate) fn taken(request: &ProvisionRequest) {
    phase("queue_wait", since(request.request_id.unix_ms()));
}

/// Notes how a request ended.
pub(crate) fn ended<T>(request: &ProvisionRequest, outcome: &Result<T, ProvisionFailure>) {
    let reason = match outcome {
        Ok(_) => {
            histogram!("hearth_cold_start_seconds").record(since(request.request_id.unix_ms()));
            return;
        }
        Err(ProvisionFailure::NoRoom(_)) => "no_room",
        Err(ProvisionFailure::Broken(_) | ProvisionFailure::Hindered(_)) => "broken",
    };
    counter!("hearth_provision_failures_total", "reason" => reason).increment(1);
}

/// Notes what the machine's history tells of its start, now that it can be called.
pub(crate) fn ready(status: &MachineStatus) {
    let last = |state: StateWord| {
        let mut steps = status.history.iter().rev();
        steps.find(|step| step.to == state).map(|step| step.at_unix_ms)
    };
    let (preparing, starting) = (last(StateWord::Preparing), last(StateWord::Starting));
    let running = last(StateWord::Running);
    if let (Some(from), Some(to)) = (preparing, starting) {
        phase("prepare", Duration::from_millis(to.saturating_sub(from)));
    }
    if let (Some(from), Some(to)) = (starting, running) {
        phase("boot", Duration::from_millis(to.saturating_sub(from)));
    }
    if let Some(from) = running {
        phase("program_to_ready", since(from));
    }
}

fn since(unix_ms: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(unix_ms))
}
