//! Recovery points: snapshots that a machine keeps for itself, and goes back to should its VMM end under it.
//!
//! One is made every so often while the machine runs, beside its owner's work, and takes the place of the last by one write.
//! It belongs to one course of the machine: an end in good order, a boot, and another snapshot that it goes on from are the
//! end of it.

use std::{sync::Arc, time::Duration};

use hearth_domain::StateWord;
use hearth_guest_api::GuestClient;
use hearth_ids::SnapshotId;
use hearth_node_api::{ErrorKind, MachineStatus, NodeError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use super::{Command, Life, Owner, Reply, SnapshotOrder, save_error};
use crate::{
    fault,
    files::remove_tree,
    guest_link,
    held::{Held, Holds},
    record::{MachineFolder, RecoveryPoint, Saved},
    services::{Services, blocking, chain, now_ms},
    snapshot::{DEVICES, Folder, MEMORY, SnapshotError, Take, check_identity, kind_of},
};

/// The longest that a machine runs without one, where the interval is longer.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// The shortest wait for the next one, however late it is.
const SHORTEST: Duration = Duration::from_millis(100);

/// Makes recovery points. Others than the owner do: hooks in the guest, and files on a slow disk, take their time.
struct Keeper {
    services: Arc<Services>,
    folder: MachineFolder,
    commands: mpsc::WeakSender<Command>,
    status: watch::Receiver<MachineStatus>,
    guest: watch::Receiver<Option<GuestClient>>,
    holds: Holds,
    /// Cancelled before the machine's end is dealt with: what is made from then on is nobody's.
    stop: CancellationToken,
}

/// Recovery points are made until this is dropped.
pub(super) struct Keeping {
    _stop: DropGuard,
    _task: AbortOnDropHandle<()>,
}

/// Why there is no new recovery point.
enum NotMade {
    /// Nor will there be any.
    Closing,
    Failed(NodeError),
}

impl From<NodeError> for NotMade {
    fn from(error: NodeError) -> Self {
        Self::Failed(error)
    }
}

impl Owner {
    /// Has recovery points made; none where none are wanted.
    pub(super) fn keep_recoverable(&self) -> Option<Keeping> {
        let life = &self.life;
        let interval = Duration::from_secs(life.spec().recover.interval_s()?.into());
        let keeper = Keeper {
            services: Arc::clone(&life.services),
            folder: life.folder.clone(),
            commands: self.way_in.clone(),
            status: life.watch_status(),
            guest: life.watch_guest(),
            holds: life.holds.clone(),
            stop: CancellationToken::new(),
        };
        let stop = keeper.stop.clone().drop_guard();
        let machine = life.spec().id;
        let first = match life.record().recovery {
            Some(point) => interval.saturating_sub(Duration::from_millis(now_ms().saturating_sub(point.made_ms))),
            None => interval.min(FIRST_AFTER),
        };
        let task = tokio::spawn(async move {
            let mut wait = first.max(SHORTEST);
            loop {
                sleep(wait).await;
                wait = interval;
                match keeper.make().await {
                    Ok(()) => {}
                    Err(NotMade::Closing) => return,
                    Err(NotMade::Failed(error)) => {
                        tracing::warn!(%machine, error = %chain(&error), "no recovery point could be made; the last one stays");
                    }
                }
            }
        });
        Some(Keeping {
            _stop: stop,
            _task: AbortOnDropHandle::new(task),
        })
    }
}

impl Keeper {
    async fn make(&self) -> Result<(), NotMade> {
        let runs = |status: &MachineStatus| status.state.word() == StateWord::Running;
        let watched = self.status.clone().wait_for(runs).await.map(drop);
        watched.map_err(|_| NotMade::Closing)?;
        let guest = self.guest.borrow().clone();
        let held = Held::prepare(guest, self.holds.clone(), self.services.finishing.clone()).await;
        let held = held.map_err(|error| guest_link::node_error("prepare the machine for a recovery point", &error))?;
        let id = SnapshotId::new();
        let (taken, taking) = oneshot::channel();
        let order = SnapshotOrder {
            id,
            at: self.folder.recovery_draft(),
            memory: true,
        };
        self.ask(|reply| Command::Snapshot { order, taken, reply }).await?;
        let taken = taking.await.map_err(|_| NotMade::Closing)?;
        let mut taken = taken.released(held).await;
        let (services, folder, stop) = (Arc::clone(&self.services), self.folder.clone(), self.stop.clone());
        let finished = blocking(move || {
            let name = folder.recovery(id);
            taken
                .draft
                .finish(&mut taken.manifest, &services.snapshots.key, &name)?;
            if stop.is_cancelled() {
                remove_tree(&name)?;
            }
            Ok(taken.manifest.info.made_unix_ms)
        });
        let made_ms = finished.await.map_err(save_error)?;
        fault::point("recovery.made");
        let point = RecoveryPoint { id, made_ms };
        self.ask(|reply| Command::KeepRecovery { point, reply }).await
    }

    async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), NotMade> {
        let commands = self.commands.upgrade().ok_or(NotMade::Closing)?;
        let (reply, answer) = oneshot::channel();
        commands.send(command(reply)).await.map_err(|_| NotMade::Closing)?;
        drop(commands);
        Ok(answer.await.map_err(|_| NotMade::Closing)??)
    }
}

impl Life {
    /// Makes a snapshot that lies in the machine's folder its recovery point.
    pub(super) async fn keep_recovery(&mut self, point: RecoveryPoint) -> Result<(), NodeError> {
        let kept = self.commit(None, |record| record.recovery = Some(point));
        if kept.is_ok() {
            fault::point("recovery.kept");
        }
        // Also where it is not kept: a full disk wants its blocks back.
        self.remove_other_recoveries().await;
        kept.map_err(save_error)
    }

    /// Forgets the recovery point: what the machine does from here on does not follow from it.
    pub(super) async fn forget_recovery(&mut self) {
        if self.record().recovery.is_some() || self.record().recoveries > 0 {
            self.change(|record| {
                record.recovery = None;
                record.recoveries = 0;
            });
        }
        self.remove_other_recoveries().await;
    }

    /// The same of a machine at rest, which may have been taken back there already, and then cannot start from there.
    pub(super) async fn give_up_recovery(&mut self) {
        if self.record().recovery.is_some() && self.record().saved == Some(Saved::Snapshot) {
            self.change(|record| record.saved = None);
            self.remove_saved().await;
        }
        self.forget_recovery().await;
    }

    /// Removes what is not the recovery point, or not any more. What cannot be removed now is removed the next time.
    pub(super) async fn remove_other_recoveries(&self) {
        if self.spec.recover.interval_s().is_none() {
            return;
        }
        let (folder, kept) = (self.folder.clone(), self.record().recovery.map(|point| point.id));
        if let Err(error) = blocking(move || folder.remove_recoveries_but(kept)).await {
            tracing::warn!(machine = %self.spec.id, %error, "cannot remove an old recovery point");
        }
    }

    /// Whether it is its recovery point that the machine goes on from.
    pub(super) fn is_recovery(&self, id: SnapshotId) -> bool {
        self.record().recovery.is_some_and(|point| point.id == id)
    }

    /// Takes the machine, which is at rest, back to its recovery point, and notes that it is to run: as that many a restart
    /// and way back in a row. The point stays, unless the machine cannot go on from there.
    pub(super) async fn recover(&mut self, attempt: u32, recovery: u32) -> Result<(), NodeError> {
        // Before anything is copied: a node without room may be so for long.
        self.reserve()?;
        let back = self.go_back(recovery).await;
        if let Err(error) = back {
            self.services.ledger.release(self.spec.id);
            if error.kind != ErrorKind::NoCapacity {
                self.give_up_recovery().await;
            }
            return Err(error);
        }
        tracing::info!(machine = %self.spec.id, recovery, "the machine goes back to its recovery point");
        self.accept_start(attempt)
    }

    async fn go_back(&mut self, recovery: u32) -> Result<(), NodeError> {
        let Some(point) = self.record().recovery else {
            return Err(NodeError::new(ErrorKind::Internal, "there is no recovery point"));
        };
        let refused = |error: &SnapshotError| {
            let message = format!("cannot go back to the recovery point: {}", chain(error));
            NodeError::new(kind_of(error), message)
        };
        let here = self.driver.identity().await;
        let here = here.map_err(|error| guest_link::driver_error("look at the VMM", error))?;
        let (services, from) = (Arc::clone(&self.services), self.folder.recovery(point.id));
        let at = services
            .machines_dir
            .join(format!(".for-{}-{}", self.spec.id, point.id));
        // All of it: the disk that there is must not go for one whose memory nothing can go on from.
        let staged = blocking(move || {
            let folder = Folder::open(&from, &services.snapshots.key)?;
            check_identity(folder.info(), &here)?;
            folder.check(MEMORY)?;
            folder.check(DEVICES)?;
            folder.stage(at, Take::Whole)
        });
        let staged = staged.await.map_err(|error: SnapshotError| refused(&error))?;
        self.change(|record| record.recoveries = recovery);
        self.note_rollback(staged)?;
        self.finish_rollback().await
    }
}
