//! Snapshots of a machine's disk alone.
//!
//! ```text
//! runs:             frozen ──► vCPUs stop ──► copied ──► vCPUs go ──► thawed
//! paused, at rest:                            copied
//! ```
//! A disk whose guest froze its file systems holds all that its programs wrote. Any other is as after a power cut.

use std::time::Instant;

use hearth_domain::StateWord;
use hearth_driver::{VmmHandle, VmmIdentity};
use hearth_node_api::{ErrorKind, NodeError};

use super::{Life, SnapshotOrder, Taken, conflict, sleep::save_error, snapshot::micros};
use crate::{
    fault,
    frozen::{self, Frozen},
    guest_link,
    snapshot::{Draft, Manifest},
};

impl Life {
    /// Copies the machine's disk, of a VMM if it has one.
    pub(super) async fn snapshot_disk(
        &mut self,
        handle: Option<&VmmHandle>,
        order: SnapshotOrder,
    ) -> Result<Taken, NodeError> {
        let SnapshotOrder { id, at, .. } = order;
        self.check_has_disk()?;
        let draft = Draft::new(at).map_err(save_error)?;
        let (draft, paused_us) = match handle {
            Some(handle) => self.copy_disk_in_use(handle, draft).await?,
            None => (self.copy_disk(draft).await?, 0),
        };
        fault::point("snapshot.taken");
        // No guest goes on from it, so nothing is kept that one could be spoken to by.
        let mut manifest = Manifest {
            host_token: String::new(),
            guest_next: 0,
            ..self.manifest(id, VmmIdentity::default())
        };
        manifest.info.paused_us = paused_us;
        manifest.info.programs_held = false;
        Ok(Taken { draft, manifest })
    }

    fn check_has_disk(&self) -> Result<(), NodeError> {
        let name = &self.spec.name;
        if self.spec.resources.disk_mib.is_none() {
            let message = format!(
                "machine {name} has no disk of its own, and without memory there is nothing else to save; make a snapshot with memory, or a machine with --disk"
            );
            return Err(NodeError::new(ErrorKind::InvalidInput, message));
        }
        if !self.folder.disk().exists() {
            return Err(conflict(format!("machine {name} has no disk yet; start it once")));
        }
        Ok(())
    }

    /// Copies a disk that a VMM has open. How long the machine stood still for that, in microseconds.
    async fn copy_disk_in_use(&mut self, handle: &VmmHandle, draft: Draft) -> Result<(Draft, u64), NodeError> {
        let runs = self.record().state.word() == StateWord::Running;
        let frozen = match self.published_guest().filter(|_| runs) {
            Some(guest) => Some(Frozen::freeze(guest, self.spec.id, self.services.finishing.clone()).await),
            None => None,
        };
        fault::point("snapshot.frozen");
        let from = Instant::now();
        let still = self.stand_still(handle).await;
        let still = still.map_err(|error| guest_link::driver_error("make a snapshot", error))?;
        fault::point("snapshot.paused");
        let copied = self.copy_disk(draft).await;
        self.end_stillness(still).await;
        if let Some(frozen) = frozen {
            frozen.thaw().await;
        }
        Ok((copied?, micros(from.elapsed())))
    }

    /// Thaws what a predecessor may have left frozen.
    pub(super) fn thaw_disk(&self) {
        if let Some(guest) = self
            .published_guest()
            .filter(|_| self.spec.resources.disk_mib.is_some())
        {
            self.services.finishing.spawn(frozen::thaw(guest));
        }
    }
}
