//! A guest whose file systems are frozen: what its programs wrote is on its disk, and no more comes until they are thawed.

use std::time::Duration;

use hearth_guest_api::GuestClient;
use hearth_ids::MachineId;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::services::chain;

/// How long a guest may take to write out what it has in memory. Its owner does nothing else meanwhile.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);
/// How long whoever wants them thawed waits for that.
const THAW_PATIENCE: Duration = Duration::from_secs(5);

/// File systems that stand still until this is thawed or dropped. The guest thaws them by itself if this node cannot.
pub(crate) struct Frozen {
    guest: Option<GuestClient>,
    finishing: TaskTracker,
}

impl Frozen {
    /// Has a guest freeze its file systems. Where it does not, its disk is as after a power cut: whole, but without what the
    /// guest had not written yet.
    pub(crate) async fn freeze(guest: GuestClient, machine: MachineId, finishing: TaskTracker) -> Self {
        // From here on: a guest that answers too late freezes them all the same.
        let frozen = Self {
            guest: Some(guest.clone()),
            finishing,
        };
        let why = match timeout(FREEZE_PATIENCE, guest.freeze()).await {
            Ok(Ok(())) => return frozen,
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("it did not within {} s", FREEZE_PATIENCE.as_secs()),
        };
        tracing::warn!(%machine, why, "the guest does not freeze its disk, which is copied as it is");
        frozen
    }

    /// Thaws them. What the guest does not hear in time it hears later, or does by itself.
    pub(crate) async fn thaw(mut self) {
        if let Some(guest) = self.guest.take() {
            let thawed = self.finishing.spawn(thaw(guest));
            let _ = timeout(THAW_PATIENCE, thawed).await;
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(guest) = self.guest.take() {
            self.finishing.spawn(thaw(guest));
        }
    }
}

/// Thaws a guest's file systems, if they are frozen.
pub(crate) async fn thaw(guest: GuestClient) {
    if let Err(error) = guest.thaw().await {
        tracing::debug!(error = %chain(&error), "the guest's file systems are not thawed by this node");
    }
}
