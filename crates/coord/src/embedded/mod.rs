//! Queue and registry for one process.
//!
//! Neither has a task of its own: whoever calls, takes or listens first settles what the time has brought (claims and
//! leases that ran out), and sleeps no longer than until the next of it. Times are tokio's, so a test can pause them.

mod asked;
mod queue;
mod registry;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub use queue::{EmbeddedQueue, QueueStats, UnixClock};
pub use registry::EmbeddedRegistry;

/// The longest that a claim or a lease may last: a day. More is cut to it.
const LASTS_MAX: Duration = Duration::from_hours(24);

fn ends_at(now: Instant, lasts: Duration) -> Instant {
    now + lasts.min(LASTS_MAX)
}

/// No code that holds the lock can panic half-way through a change, so what it guards is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sleeps until then, or for ever.
async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
