//! Instances on their way: asked for, and not yet in the registry.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hearth_ids::RequestId;

use crate::{CallError, ProvisionFailure, RoomLeft, WaitLimits};

/// The longest wait before a failed start is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The longest wait after a refusal for want of room, once there is room again. It bounds how often an instance is asked for
/// and refused where room comes and goes, or was not why.
const ROOM_BACKOFF_MAX: Duration = Duration::from_millis(250);

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
    last: Option<Failure>,
    /// Since when nodes have had no room, as far as is known, or one was asked for all the same.
    full_since: Option<Instant>,
    /// How many are wanted that nodes have no room for.
    lacking: u32,
}

/// Why the last start failed.
struct Failure {
    why: ProvisionFailure,
    at: Instant,
    /// Whether nodes had no room then, as far as was known: asked once, after it.
    was_full: Option<bool>,
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
        state.failures = 0;
        state.not_before = None;
        state.last = None;
    }

    /// How many more may be on their way.
    pub(crate) fn left(&self, limits: &WaitLimits) -> u32 {
        limits.provisions_max.saturating_sub(self.count())
    }

    /// How many more may be asked for, by what is known of nodes' room. Where there is none, one from time to time: what is
    /// known may be wrong. Room that is there again ends the wait that the want of it brought.
    pub(crate) fn room(&self, known: Option<RoomLeft>, limits: &WaitLimits) -> u32 {
        let mut state = self.lock();
        state.see_room(known);
        let Some(known) = known else {
            state.full_since = None;
            return u32::MAX;
        };
        let first = u32::from(state.pending.is_empty());
        if known.on_books > 0 {
            // Where others have asked for all that there is, one stands in line behind them: those may never be made.
            state.full_since = None;
            return known.unasked.min(known.on_books).max(first);
        }
        let since = *state.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= limits.room_doubt { first } else { 0 }
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
        match last.map(|failure| &failure.why) {
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
        state.lacking > 0 || state.was_refused()
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

    /// Whether the last failure was for want of room.
    fn was_refused(&self) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|failure| failure.why == ProvisionFailure::NoRoom)
    }

    /// Shortens the wait after a refusal, if there was no room then and there is now. A refusal while there was room was for
    /// something else, such as a quota, which room does not mend.
    fn see_room(&mut self, known: Option<RoomLeft>) {
        if !self.was_refused() {
            return;
        }
        let Some(failure) = &mut self.last else { return };
        let is_full = known.map(|room| room.on_books == 0);
        let was_full = *failure.was_full.get_or_insert(is_full == Some(true));
        if was_full && is_full == Some(false) {
            let soon = failure.at + ROOM_BACKOFF_MAX;
            self.not_before = self.not_before.map(|until| until.min(soon));
        }
    }

    fn fail(&mut self, why: ProvisionFailure, limits: &WaitLimits) {
        self.failures = self.failures.saturating_add(1);
        let doubled = 1u32 << (self.failures - 1).min(16);
        let pause = limits.provision_backoff.saturating_mul(doubled).min(BACKOFF_MAX);
        let at = Instant::now();
        self.not_before = Some(at + pause);
        self.last = Some(Failure {
            why,
            at,
            was_full: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> WaitLimits {
        WaitLimits {
            provision_backoff: Duration::from_secs(20),
            ..WaitLimits::default()
        }
    }

    /// So much room, none of which anybody has asked for.
    fn free(room: u32) -> RoomLeft {
        RoomLeft {
            on_books: room,
            unasked: room,
        }
    }

    /// One that was asked for and is refused, with so much room known while it was on its way.
    fn refused(meanwhile: u32) -> Starts {
        let (starts, request) = (Starts::default(), RequestId::new());
        starts.asked(request);
        starts.room(Some(free(meanwhile)), &limits());
        assert!(starts.failed(request, ProvisionFailure::NoRoom, &limits()));
        starts
    }

    fn is_long(starts: &Starts) -> bool {
        starts.pause().is_some_and(|pause| pause > ROOM_BACKOFF_MAX)
    }

    #[test]
    fn room_that_was_wanting_shortens_the_pause() {
        let starts = refused(1);
        assert_eq!(starts.room(Some(free(0)), &limits()), 0);
        assert!(is_long(&starts));
        assert_eq!(starts.room(Some(free(1)), &limits()), 1);
        assert!(!is_long(&starts));
    }

    #[test]
    fn room_that_was_there_all_the_time_does_not() {
        // It took the last room itself.
        let starts = refused(0);
        for known in [Some(free(1)), Some(free(0)), Some(free(1)), None] {
            starts.room(known, &limits());
            assert!(is_long(&starts));
        }
        let unknown = refused(1);
        for known in [None, Some(free(0)), Some(free(1))] {
            unknown.room(known, &limits());
            assert!(is_long(&unknown));
        }
    }

    #[test]
    fn what_others_asked_for_leaves_one_to_whoever_has_none_on_its_way() {
        let starts = Starts::default();
        let room = |on_books, unasked| starts.room(Some(RoomLeft { on_books, unasked }), &limits());
        assert_eq!([room(5, 3), room(5, 0), room(0, 0)], [3, 1, 0]);
        assert_eq!(starts.verdict(room(5, 0), &limits()), None);
        assert_eq!(starts.verdict(room(0, 0), &limits()), Some(CallError::NoRoom));
        starts.asked(RequestId::new());
        assert_eq!([room(5, 3), room(5, 0), room(0, 0)], [3, 0, 0]);
        assert_eq!(starts.verdict(0, &limits()), None, "it waits in line");
    }
}
