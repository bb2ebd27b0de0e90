//! A guest made ready for a snapshot: its hooks have run, and its programs stand still where they can.

use std::time::{Duration, Instant};

use hearth_guest_api::{GuestClient, GuestError};
use tokio_util::task::TaskTracker;

use crate::services::chain;

/// The guest lets its programs go by itself a little later.
const HELD_MAX: Duration = Duration::from_secs(28);

/// Programs that stand still until this is released or dropped. The guest itself lets them go on if this node cannot.
#[derive(Debug)]
pub(crate) struct Held {
    guest: Option<GuestClient>,
    since: Instant,
    finishing: TaskTracker,
}

impl Held {
    /// Has the guest make itself ready. Without a guest, and where programs cannot be held, they run.
    pub(crate) async fn prepare(guest: Option<GuestClient>, finishing: TaskTracker) -> Result<Self, GuestError> {
        let mut held = Self {
            guest,
            since: Instant::now(),
            finishing,
        };
        if let Some(guest) = &held.guest {
            let stand_still = guest.prepare_snapshot(true).await?;
            held.since = Instant::now();
            if !stand_still {
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
        release(&self.guest.take()?).await;
        Some(self.since.elapsed())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(guest) = self.guest.take() {
            self.finishing.spawn(async move { release(&guest).await });
        }
    }
}

/// Lets programs go on that are held for a snapshot.
pub(crate) async fn release(guest: &GuestClient) {
    if let Err(error) = guest.release_programs().await {
        // It does so by itself before long; and one that is gone, or of an earlier release, has nothing to let go.
        tracing::debug!(error = %chain(&error), "the guest's programs are not released by this node");
    }
}
