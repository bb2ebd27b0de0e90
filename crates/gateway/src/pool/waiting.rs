//! Calls that wait for a place: first in, first out, bounded.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::oneshot;

use super::Place;
use crate::CallError;

type Given = Result<Place, CallError>;

/// The waiting calls of a pool.
pub(super) struct Waiting {
    max: usize,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    /// As many as there are in `state`; to be read without the lock.
    len: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// By the order in which they came.
    waiters: BTreeMap<u64, oneshot::Sender<Given>>,
}

/// Somebody who waits. Leaves the line when it is dropped.
pub(super) struct Waiter {
    number: u64,
    line: Arc<Line>,
    given: oneshot::Receiver<Given>,
}

/// Somebody who has left the line to be given a place.
pub(super) struct Next(oneshot::Sender<Given>);

impl Waiting {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            line: Arc::default(),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.line.len.load(Ordering::SeqCst)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enters the line at its end.
    pub(super) fn enter(&self) -> Result<Waiter, CallError> {
        let (sender, given) = oneshot::channel();
        let mut state = self.line.lock();
        let waiting = state.waiters.len();
        if waiting >= self.max {
            return Err(CallError::QueueFull { waiting });
        }
        let number = state.next;
        state.next += 1;
        state.waiters.insert(number, sender);
        self.line.count(&state);
        drop(state);
        Ok(Waiter {
            number,
            line: Arc::clone(&self.line),
            given,
        })
    }

    /// The first leaves the line.
    pub(super) fn pop(&self) -> Option<Next> {
        let mut state = self.line.lock();
        let (_, sender) = state.waiters.pop_first()?;
        self.line.count(&state);
        Some(Next(sender))
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, state: &State) {
        let len = u32::try_from(state.waiters.len()).unwrap_or(u32::MAX);
        self.len.store(len, Ordering::SeqCst);
    }
}

impl Waiter {
    pub(super) async fn wait(mut self) -> Given {
        // The sender goes only with the pool.
        (&mut self.given).await.unwrap_or(Err(CallError::ShuttingDown))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        if state.waiters.remove(&self.number).is_some() {
            self.line.count(&state);
        }
        // A place that was given in this moment is dropped with the receiver, after the lock: it goes to the next.
    }
}

impl Next {
    /// Gives what was waited for. If nobody waits any more it is dropped.
    pub(super) fn give(self, given: Given) {
        drop(self.0.send(given));
    }
}
