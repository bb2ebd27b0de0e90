//! A guest made ready for a snapshot: its hooks have run, and its programs stand still where they can.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hearth_guest_api::{GuestClient, GuestError};
use tokio_util::task::TaskTracker;

use crate::services::chain;

/// The guest lets its programs go by itself a little later.
const HELD_MAX: Duration = Duration::from_secs(28);

/// How many hold a machine's programs, or did and could not let them go. Clones are of the same machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(Arc<AtomicU32>);

impl Holds {
    /// Those of a machine that a predecessor may have held.
    pub(crate) fn unknown() -> Self {
        Self(Arc::new(AtomicU32::new(1)))
    }

    /// Whether programs may stand still without anybody who will let them go.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    fn begin(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn end(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Programs that stand still until this is released or dropped. The guest itself lets them go on if this node cannot.
#[derive(Debug)]
pub(crate) struct Held {
    guest: Option<GuestClient>,
    holds: Holds,
    since: Instant,
    finishing: TaskTracker,
}

impl Held {
    /// Has the guest make itself ready. Without a guest, and where programs cannot be held, they run.
    pub(crate) async fn prepare(
        guest: Option<GuestClient>,
        holds: Holds,
        finishing: TaskTracker,
    ) -> Result<Self, GuestError> {
        let mut held = Self {
            guest,
            holds,
            since: Instant::now(),
            finishing,
        };
        if let Some(guest) = &held.guest {
            held.holds.begin();
            let stand_still = guest.prepare_snapshot(true).await?;
            held.since = Instant::now();
            if !stand_still {
                held.holds.end();
                held.guest = None;
            }
        }
        Ok(held)
    }

    /// Whether they stand still.
    pub(crate) fn is_held(&self) -> bool {
        self.guest.is_some() && self.since.elapsed() < HELD_MAX
    }

    /// Lets them go on; gives how long they stood still, if they did.
    pub(crate) async fn release(mut self) -> Option<Duration> {
        let_go(&self.guest.take()?, &self.holds).await;
        Some(self.since.elapsed())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(guest) = self.guest.take() {
            let holds = self.holds.clone();
            self.finishing.spawn(async move { let_go(&guest, &holds).await });
        }
    }
}

async fn let_go(guest: &GuestClient, holds: &Holds) {
    if release(guest).await {
        holds.end();
    }
}

/// Lets programs go on that are held for a snapshot. Whether the guest heard that.
pub(crate) async fn release(guest: &GuestClient) -> bool {
    let released = guest.release_programs().await;
    if let Err(error) = &released {
        // It does so by itself before long; and one that is gone, or of an earlier release, has nothing to let go.
        tracing::debug!(error = %chain(error), "the guest's programs are not released by this node");
    }
    released.is_ok()
}
