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
    /// Since when nodes have had no room, as far as is known, or one was asked for all the same.
    full_since: Option<Instant>,
    /// How many are wanted that nodes have no room for.
    lacking: u32,
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
        let (mut state, now) = (self.lock(), Instant::now());
        state.pending.insert(request, now);
        if let Some(since) = &mut state.full_since {
            *since = now;
        }
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
        state.forgive();
    }

    /// How many more may be asked for, by what is known of nodes' room. Where there is none, one from time to time: what is
    /// known may be wrong. Room that is there again ends the wait that the want of it brought.
    pub(crate) fn room(&self, known: Option<u32>, limits: &WaitLimits) -> u32 {
        let mut state = self.lock();
        if known == Some(0) {
            let since = *state.full_since.get_or_insert_with(Instant::now);
            let in_doubt = state.pending.is_empty() && since.elapsed() >= limits.room_doubt;
            return u32::from(in_doubt);
        }
        // Otherwise it was refused for something else, such as a quota, that is still so.
        let was_full = state.full_since.take().is_some();
        if was_full && known.is_some() && state.last == Some(ProvisionFailure::NoRoom) {
            state.forgive();
        }
        known.unwrap_or(u32::MAX)
    }

    /// So many are wanted that nodes have no room for.
    pub(crate) fn lack(&self, count: u32) {
        self.lock().lacking = count;
    }

    /// Whether some are wanted that nodes have no room for.
    pub(crate) fn is_lacking(&self) -> bool {
        self.lock().lacking > 0
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
        self.lock().pause()
    }

    /// What the waiting are to be told, if it is no use: as long as there is no room for any, or nothing may be tried. After
    /// that a call is a new try. Where one is on its way, the waiting wait for its places.
    pub(crate) fn verdict(&self, room: u32, limits: &WaitLimits) -> Option<CallError> {
        let state = self.lock();
        let last = state.last.as_ref().filter(|_| state.pause().is_some());
        match last {
            Some(ProvisionFailure::Failed(reason)) if state.failures >= limits.provision_attempts => {
                Some(CallError::StartFailed(reason.clone()))
            }
            _ if !state.pending.is_empty() => None,
            Some(ProvisionFailure::NoRoom) => Some(CallError::NoRoom),
            _ => (room == 0).then_some(CallError::NoRoom),
        }
    }

    /// Whether it is for want of room that there are not more.
    pub(crate) fn no_room(&self) -> bool {
        let state = self.lock();
        state.lacking > 0 || state.last == Some(ProvisionFailure::NoRoom)
    }

    /// The moment at which the oldest is given up.
    pub(crate) fn expires(&self, limits: &WaitLimits) -> Option<Instant> {
        let state = self.lock();
        let oldest = state.pending.values().min()?;
        Some(*oldest + limits.provision_timeout)
    }
}

impl State {
    fn pause(&self) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// What failed so far counts no more.
    fn forgive(&mut self) {
        self.failures = 0;
        self.not_before = None;
        self.last = None;
    }

    fn fail(&mut self, failure: ProvisionFailure, limits: &WaitLimits) {
        self.failures = self.failures.saturating_add(1);
        let doubled = 1u32 << (self.failures - 1).min(16);
        let pause = limits.provision_backoff.saturating_mul(doubled).min(BACKOFF_MAX);
        self.not_before = Some(Instant::now() + pause);
        self.last = Some(failure);
    }
}
