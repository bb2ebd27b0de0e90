//! Calls that ended: logged, and the last of them remembered, so that a call's lines can be found in its instance's log.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use hearth_gateway::CallRecord;
use hearth_ids::MachineId;
use tracing::info;

/// Calls that are remembered.
const REMEMBERED: usize = 10_000;

/// When and where a call ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// By which the agent marks its lines, where it does.
    pub(crate) request: String,
    pub(crate) machine: MachineId,
    pub(crate) from_unix_ms: u64,
    pub(crate) to_unix_ms: u64,
}

/// The last calls.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<VecDeque<Remembered>>);

#[derive(Debug)]
struct Remembered {
    invocation: Option<String>,
    run: Run,
}

impl Calls {
    /// Logs a call, and remembers where it ran.
    pub(crate) fn note(&self, call: &CallRecord) {
        info!(
            target: "hearth::calls",
            request = %call.request,
            invocation = call.invocation.map(tracing::field::display),
            project = %call.project,
            function = %call.function,
            version = call.version,
            machine = call.machine.map(tracing::field::display),
            method = %call.method,
            path = call.path,
            client = call.client.map(tracing::field::display),
            status = call.status,
            cold = call.cold,
            queued_us = micros(call.queued),
            duration_us = micros(call.duration),
            bytes_in = call.bytes_in,
            bytes_out = call.bytes_out,
            error = call.error.as_ref().map(hearth_domain::one_line).map(tracing::field::display),
            "call"
        );
        let Some(machine) = call.machine else { return };
        let began = call.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = Run {
            request: call.request.to_string(),
            machine,
            from_unix_ms: millis(began + call.queued),
            to_unix_ms: millis(began + call.duration),
        };
        let invocation = call.invocation.map(|id| id.to_string());
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= REMEMBERED {
            calls.pop_front();
        }
        calls.push_back(Remembered { invocation, run });
    }

    /// Where the call of a request ran, or each attempt of a kept call.
    pub(crate) fn runs(&self, id: &str) -> Vec<Run> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = calls
            .iter()
            .filter(|call| call.run.request == id || call.invocation.as_deref() == Some(id));
        found.map(|call| call.run.clone()).collect()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
