//! Calls that ended: logged, and the last of them remembered, so that a call's lines can be found in its instance's log.
//!
//! No call waits for a disk: where it ran is written a moment later with others, and of a function that is called more
//! often than can be written, the newest.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Mutex, PoisonError, Weak},
    time::{Duration, Instant, UNIX_EPOCH},
};

use hearth_gateway::CallRecord;
use hearth_ids::{FunctionId, MachineId};
use hearth_store::{RunRow, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{app::App, time::now_unix_ms};

/// Calls that are remembered.
const REMEMBERED: usize = 10_000;
/// How often they are written, how many at a time, and of these how many of one function.
const WRITE_EVERY: Duration = Duration::from_millis(500);
const WRITTEN: usize = 500;
const WRITTEN_OF_FUNCTION: usize = 100;
/// How often those that are too many, or too old, go.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

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
pub(crate) struct Calls(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    calls: VecDeque<Remembered>,
    /// How many of them, the newest, were not written yet.
    unwritten: usize,
}

#[derive(Debug)]
struct Remembered {
    function: FunctionId,
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
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.calls.len() >= REMEMBERED {
            last.calls.pop_front();
        }
        last.calls.push_back(Remembered {
            function: call.function,
            invocation,
            run,
        });
        last.unwritten = (last.unwritten + 1).min(REMEMBERED);
    }

    /// Where the call of a request ran, or each attempt of a kept call.
    fn runs(&self, function: FunctionId, id: &str) -> Vec<Run> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = last.calls.iter().filter(|call| {
            call.function == function && (call.run.request == id || call.invocation.as_deref() == Some(id))
        });
        found.map(|call| call.run.clone()).collect()
    }

    /// Those that were not written yet, oldest first, as far as there is room for them; they count as written from now on.
    fn take_unwritten(&self) -> Vec<RunRow> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritten = std::mem::take(&mut last.unwritten);
        let mut of_functions: HashMap<FunctionId, usize> = HashMap::new();
        let newest = last.calls.iter().rev().take(unwritten).filter(|call| {
            let taken = of_functions.entry(call.function).or_default();
            *taken += 1;
            *taken <= WRITTEN_OF_FUNCTION
        });
        let rows = newest.take(WRITTEN).map(|call| RunRow {
            function: call.function,
            request: call.run.request.clone(),
            invocation: call.invocation.clone(),
            machine: call.run.machine,
            from_unix_ms: call.run.from_unix_ms,
            to_unix_ms: call.run.to_unix_ms,
        });
        let mut rows: Vec<_> = rows.collect();
        drop(last);
        rows.reverse();
        rows
    }
}

impl App {
    /// Where the call of a request ran, or each attempt of a kept call: those that are remembered, and those from before
    /// the last start.
    pub(crate) async fn runs(&self, function: FunctionId, id: &str) -> Result<Vec<Run>, StoreError> {
        let mut runs = self.calls.runs(function, id);
        for row in self.store.runs(function, id).await? {
            let run = Run {
                request: row.request,
                machine: row.machine,
                from_unix_ms: row.from_unix_ms,
                to_unix_ms: row.to_unix_ms,
            };
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
        Ok(runs)
    }

    /// Writes where the last calls ran; gives their functions. What cannot be written is only remembered.
    pub(crate) async fn write_runs(&self) -> BTreeSet<FunctionId> {
        let rows = self.calls.take_unwritten();
        if rows.is_empty() {
            return BTreeSet::new();
        }
        if let Err(error) = self.store.keep_runs(&rows).await {
            warn!(
                error = hearth_domain::chain(&error),
                calls = rows.len(),
                "cannot keep where calls ran; their lines are found until the next start"
            );
        }
        rows.iter().map(|row| row.function).collect()
    }
}

/// Writes where calls ran, until told to stop.
pub(crate) async fn write(app: Weak<App>, stop: CancellationToken) {
    let mut functions = BTreeSet::new();
    let mut swept = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(WRITE_EVERY) => {}
        }
        let Some(app) = app.upgrade() else { return };
        functions.extend(app.write_runs().await);
        if functions.is_empty() || swept.elapsed() < SWEEP_EVERY {
            continue;
        }
        swept = Instant::now();
        let of = std::mem::take(&mut functions);
        if let Err(error) = app.store.sweep_runs(&of, now_unix_ms()).await {
            warn!(error = hearth_domain::chain(&error), "cannot let go of where calls ran");
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_calls_the_newest_of_each_function_are_written_once() {
        let calls = Calls::default();
        let (busy, quiet) = (FunctionId::new(), FunctionId::new());
        let note = |function, request: &str| {
            let mut last = calls.0.lock().unwrap();
            last.calls.push_back(Remembered {
                function,
                invocation: None,
                run: Run {
                    request: request.to_owned(),
                    machine: MachineId::new(),
                    from_unix_ms: 1,
                    to_unix_ms: 2,
                },
            });
            last.unwritten += 1;
        };
        note(quiet, "early");
        for number in 0..WRITTEN_OF_FUNCTION + 3 {
            note(busy, &number.to_string());
        }
        let rows = calls.take_unwritten();
        let written: Vec<_> = rows.iter().map(|row| row.request.as_str()).collect();
        let newest = (3..WRITTEN_OF_FUNCTION + 3).map(|number| number.to_string());
        let expected: Vec<_> = ["early".to_owned()].into_iter().chain(newest).collect();
        assert_eq!(written, expected);
        assert!(calls.take_unwritten().is_empty());
        note(quiet, "late");
        assert_eq!(calls.take_unwritten()[0].request, "late");
        for _ in 0..=WRITTEN {
            note(FunctionId::new(), "x");
        }
        assert_eq!(calls.take_unwritten().len(), WRITTEN);
        assert_eq!(calls.runs(busy, "0").len(), 1);
        assert!(calls.runs(quiet, "0").is_empty());
    }
}
