//! Snapshots of a machine that goes on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hearth_domain::StateWord;
use hearth_driver::{VmmHandle, VmmIdentity, sparse};
use hearth_ids::SnapshotId;
use hearth_node_api::{ErrorKind, NodeError, SnapshotInfo};
use tokio::sync::oneshot;

use super::{Departure, Life, Owner, Reply, SnapshotOrder, answer, sleep::save_error};
use crate::{
    fault, guest_link,
    held::Held,
    record::Saved,
    services::{blocking, chain, now_ms},
    snapshot::{DEVICES, Draft, Folder, MEMORY, Manifest, SnapshotError},
};

/// A machine at one moment, copied and not yet measured.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) draft: Draft,
    pub(crate) manifest: Manifest,
}

impl Taken {
    /// Lets the programs go on that were held meanwhile, and notes that they were.
    pub(crate) async fn released(mut self, held: Held) -> Self {
        self.manifest.info.programs_held |= held.is_held();
        if let Some(stood_still) = held.release().await {
            self.manifest.info.paused_us = micros(stood_still);
        }
        self
    }
}

/// Gives whoever asked what was taken, or why nothing was.
pub(super) fn hand_over(outcome: Result<Taken, NodeError>, to: oneshot::Sender<Taken>, reply: Reply) {
    match outcome {
        Ok(taken) => {
            // Whoever has gone does without; what was taken is removed as it is dropped.
            drop(to.send(taken));
            answer(reply, Ok(()));
        }
        Err(error) => answer(reply, Err(error)),
    }
}

impl Owner {
    /// Notes that the machine goes back to what was staged, once it is at rest. The departure that leads there; none if it
    /// could not be noted, as whoever asked is told.
    pub(super) fn begin_rollback(&mut self, staged: Draft, reply: Reply) -> Option<Departure> {
        if let Err(error) = self.life.note_rollback(staged) {
            answer(reply, Err(error));
            return None;
        }
        self.again.want(reply);
        Some(Departure::Kill)
    }
}

impl Life {
    /// Copies the machine as it is at one moment. It stands still for as long as that takes, and goes on if it ran.
    pub(super) async fn snapshot(&mut self, handle: &VmmHandle, order: SnapshotOrder) -> Result<Taken, NodeError> {
        let SnapshotOrder { id, at, .. } = order;
        let draft = Draft::new(at).map_err(save_error)?;
        let from = Instant::now();
        let still = self.stand_still(handle).await;
        let still = still.map_err(|error| guest_link::driver_error("make a snapshot", error))?;
        fault::point("snapshot.paused");
        let saved = self.save_vmm(handle, &draft, id).await;
        let copied = match saved {
            Ok(manifest) => self.copy_disk(draft).await.map(|draft| (draft, manifest)),
            Err(error) => Err(error),
        };
        self.end_stillness(still).await;
        let (draft, mut manifest) = copied?;
        manifest.info.paused_us = micros(from.elapsed());
        fault::point("snapshot.taken");
        Ok(Taken { draft, manifest })
    }

    /// The same of a machine that is paused on disk: what it was saved in is copied, for it is written to once it wakes.
    pub(super) async fn snapshot_asleep(&mut self, order: SnapshotOrder) -> Result<Taken, NodeError> {
        let SnapshotOrder { id, at, .. } = order;
        let draft = Draft::new(at).map_err(save_error)?;
        let (services, saved) = (Arc::clone(&self.services), self.folder.saved());
        let copied = blocking(move || {
            let folder = Folder::open(&saved, &services.snapshots.key)?;
            folder.check(MEMORY)?;
            folder.check(DEVICES)?;
            for part in [MEMORY, DEVICES] {
                let copied = sparse::copy_file(&saved.join(part), &draft.path().join(part));
                copied.map_err(SnapshotError::io(part))?;
            }
            Ok((draft, folder.manifest))
        });
        let (draft, mut manifest) = copied.await.map_err(|error: SnapshotError| {
            let message = format!(
                "cannot make a snapshot of what the machine was saved in: {}",
                chain(&error)
            );
            NodeError::new(ErrorKind::Conflict, message)
        })?;
        let draft = self.copy_disk(draft).await?;
        manifest.info.id = id;
        manifest.info.made_unix_ms = now_ms();
        manifest.info.paused_us = 0;
        Ok(Taken { draft, manifest })
    }

    pub(super) async fn copy_disk(&self, draft: Draft) -> Result<Draft, NodeError> {
        let disk = self.folder.disk();
        if self.spec.resources.disk_mib.is_none() {
            return Ok(draft);
        }
        let copied = blocking(move || draft.add_disk(&disk).map(|()| draft)).await;
        copied.map_err(save_error)
    }

    /// What a manifest says of this machine, but for its files.
    pub(super) fn manifest(&self, id: SnapshotId, identity: VmmIdentity) -> Manifest {
        let record = self.record();
        Manifest {
            info: SnapshotInfo {
                id,
                made_unix_ms: now_ms(),
                spec: (*self.spec).clone(),
                parents: record.parents.clone(),
                vmm_version: identity.version,
                accelerator: identity.accelerator,
                cpu_features: identity.cpu_features,
                agent_version: record.agent_version.clone(),
                parts: Vec::new(),
                paused_us: 0,
                // A pause may have held them.
                programs_held: self.paused_held && record.state.word() == StateWord::Paused,
            },
            host_token: record.host_token.clone(),
            guest_next: self.log.guest_next(),
        }
    }

    /// Puts what was staged into the machine's folder, and notes that it is to be taken up.
    pub(super) fn note_rollback(&mut self, staged: Draft) -> Result<(), NodeError> {
        let rollback = self.folder.rollback();
        let cleared = self.folder.remove_rollback();
        let placed = cleared.and_then(|()| staged.place(&rollback));
        let noted = placed.and_then(|()| {
            self.commit(None, |record| {
                record.rollback = true;
                record.again = true;
            })
        });
        if noted.is_err() {
            // A full disk wants its blocks back.
            let _ = self.folder.remove_rollback();
        }
        noted.map_err(save_error)?;
        fault::point("rollback.noted");
        Ok(())
    }

    /// Goes back to what was staged, from rest, and notes that the machine is to run.
    pub(super) async fn start_from(&mut self, staged: Draft) -> Result<(), NodeError> {
        // Before anything is given for what finds no room.
        self.reserve()?;
        let back = match self.note_rollback(staged) {
            Ok(()) => self.finish_rollback().await,
            Err(error) => Err(error),
        };
        if back.is_err() {
            self.services.ledger.release(self.spec.id);
        }
        back?;
        self.forget_recovery().await;
        self.accept_start(0)
    }

    /// Takes up what a rollback brought, now that nothing of the machine runs.
    pub(super) async fn finish_rollback(&mut self) -> Result<(), NodeError> {
        if !self.record().rollback {
            return Ok(());
        }
        let folder = self.folder.clone();
        blocking(move || folder.take_rollback()).await.map_err(save_error)?;
        fault::point("rollback.taken");
        let taken = self.commit(None, |record| {
            record.rollback = false;
            record.saved = Some(Saved::Snapshot);
        });
        taken.map_err(save_error)
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
