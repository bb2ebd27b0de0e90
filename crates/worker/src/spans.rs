//! An instance's start as a part of the call that it is for: told when it has ended, from the request, the machine's history
//! and what its guest said.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_coord::{InstanceKey, ProvisionRequest};
use hearth_domain::StateWord;
use hearth_node_api::{MachineStatus, NodeService};
use hearth_telemetry::trace::{self, Span, TraceContext};

use crate::ProvisionFailure;

/// Tells how a request was served, since its worker took it.
pub(crate) fn provisioned(
    node: &dyn NodeService,
    request: &ProvisionRequest,
    taken: SystemTime,
    outcome: &Result<InstanceKey, ProvisionFailure>,
) {
    if !trace::is_on() {
        return;
    }
    let Some(call) = request.traceparent.as_deref().and_then(TraceContext::of_traceparent) else {
        return;
    };
    let asked = at(request.request_id.unix_ms());
    let error = outcome.as_ref().err().map(ToString::to_string);
    let mut span = Span::new("make an instance", asked, SystemTime::now())
        .with("hearth.request", request.request_id.to_string())
        .with("hearth.function", request.function_id.to_string())
        .failed(error);
    if let Some(version) = request.version {
        span = span.with("hearth.version", i64::from(version));
    }
    if let Ok(key) = outcome {
        span = span.with("hearth.machine", key.machine.to_string());
    }
    let whole = trace::tell(call, span);
    trace::tell(whole, Span::new("wait for a worker", asked, taken));
    if let Some(status) = outcome.as_ref().ok().and_then(|key| node.status(key.machine)) {
        machine(whole, &status);
    }
}

fn machine(whole: TraceContext, status: &MachineStatus) {
    let last = |state: StateWord| {
        let mut steps = status.history.iter().rev();
        steps.find(|step| step.to == state).map(|step| at(step.at_unix_ms))
    };
    let (preparing, starting) = (last(StateWord::Preparing), last(StateWord::Starting));
    let running = last(StateWord::Running);
    if let (Some(from), Some(to)) = (preparing, starting) {
        trace::tell(whole, Span::new("prepare the machine", from, to));
    }
    if let (Some(from), Some(to)) = (starting, running) {
        let boot = trace::tell(whole, Span::new("boot", from, to));
        guest(boot, status, to);
    }
    if let Some(from) = running {
        trace::tell(whole, Span::new("program starts", from, SystemTime::now()));
    }
}

/// The guest counts from its kernel's start, which nobody saw; its root was ready last, just before the machine ran.
fn guest(boot: TraceContext, status: &MachineStatus, running: SystemTime) {
    let Some(told) = status.guest_boot else { return };
    let (listening, root) = (
        Duration::from_nanos(told.listening_ns),
        Duration::from_nanos(told.root_ready_ns),
    );
    let Some(kernel) = running.checked_sub(root.max(listening)) else {
        return;
    };
    trace::tell(boot, Span::new("guest: kernel to agent", kernel, kernel + listening));
    trace::tell(boot, Span::new("guest: root", kernel + listening, kernel + root));
}

fn at(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}
