//! Instances on their way: asked for, and not yet in the registry.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hearth_ids::RequestId;

use crate::{CallError, ProvisionFailure, WaitLimits};

/// The longest wait before a failed start is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What a pool knows of its instances on their way.
#[derive(Default)]
pub(crate) struct Starts(Mutex<State>);

#[derive(Default)]
struct State {
    /// By ID, which sorts by time: the first is the oldest.
    pending: BTreeMap<RequestId, Instant>,
    /// Failures since an instance last came.
    failures: u32,
    not_before: Option<Instant>,
    last: Option<ProvisionFailure>,
}

impl Starts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are on their way.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.lock().pending.len()).unwrap_or(u32::MAX)
    }

    /// One more was asked for.
    pub(crate) fn asked(&self, request: RequestId) {
        self.lock().pending.insert(request, Instant::now());
    }

    /// So many new instances came: the oldest requests are served.
    pub(crate) fn arrived(&self, count: u32) {
        if count == 0 {
            return;
        }
        let mut state = self.lock();
        for _ in 0..count {
            state.pending.pop_first();
        }
        state.failures = 0;
        state.not_before = None;
        state.last = None;
    }

    /// A request has failed. Whether it was one of ours.
    pub(crate) fn failed(&self, request: RequestId, failure: ProvisionFailure, limits: &WaitLimits) -> bool {
        let mut state = self.lock();
        if state.pending.remove(&request).is_none() {
            return false;
        }
        state.fail(failure, limits);
        true
    }

    /// Gives up those that take too long. How many those are.
    pub(crate) fn expire(&self, limits: &WaitLimits) -> usize {
        let mut state = self.lock();
        let before = state.pending.len();
        state
            .pending
            .retain(|_, since| since.elapsed() < limits.provision_timeout);
        let expired = before - state.pending.len();
        if expired > 0 {
            let text = format!("no instance came within {} s", limits.provision_timeout.as_secs());
            state.fail(ProvisionFailure::Failed(text), limits);
        }
        expired
    }

    /// How long until more may be asked for.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let until = self.lock().not_before?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// What the waiting are to be told, if it is no use: as long as nothing may be tried. After that a call is a new try.
    pub(crate) fn verdict(&self, limits: &WaitLimits) -> Option<CallError> {
        self.pause()?;
        let state = self.lock();
        match state.last.as_ref()? {
            ProvisionFailure::NoRoom => Some(CallError::NoRoom),
            ProvisionFailure::Failed(reason) if state.failures >= limits.provision_attempts => {
                Some(CallError::StartFailed(reason.clone()))
            }
            ProvisionFailure::Failed(_) => None,
        }
    }

    /// Whether the last failure was for want of room.
    pub(crate) fn no_room(&self) -> bool {
        self.lock().last == Some(ProvisionFailure::NoRoom)
    }

    /// The moment at which the oldest is given up.
    pub(crate) fn expires(&self, limits: &WaitLimits) -> Option<Instant> {
        let state = self.lock();
        let oldest = state.pending.values().min()?;
        Some(*oldest + limits.provision_timeout)
    }
}

impl State {
    fn fail(&mut self, failure: ProvisionFailure, limits: &WaitLimits) {
        self.failures = self.failures.saturating_add(1);
        let doubled = 1u32 << (self.failures - 1).min(16);
        let pause = limits.provision_backoff.saturating_mul(doubled).min(BACKOFF_MAX);
        self.not_before = Some(Instant::now() + pause);
        self.last = Some(failure);
    }
}
