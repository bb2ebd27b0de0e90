//! Paused on disk: nothing of the machine runs, it holds no memory, and it goes on where it was.
//!
//! ```text
//! running ──vCPUs stop──► saved ──written down──► VMM ends ──► asleep
//!    ▲                      │ fails: the vCPUs go on             │
//!    └──────vCPUs go◄──written down◄──VMM restored◄──────────────┘
//! ```
//!
//! Its slot stays, so that connections outlive its sleep.

use std::sync::Arc;

use hearth_domain::{MachineEvent, StateWord};
use hearth_driver::VmmHandle;
use hearth_ids::SnapshotId;
use hearth_node_api::{ErrorKind, NodeError};

use super::{Command, Departure, Life, Owner, answer, command::paused, conflict, not_at_rest};
use crate::{
    fault, guest_link,
    record::{End, Saved},
    services::{blocking, chain},
    snapshot::{Draft, Manifest},
};

/// What became of a try to wake a machine.
enum Awakening {
    Awake,
    /// It runs, but its guest could not be told so.
    Dazed(NodeError),
    /// It is asleep as before.
    Asleep(NodeError),
    /// It is lost.
    Lost(String),
}

impl Owner {
    /// Waits until the machine is woken; or until it is to end.
    pub(super) async fn asleep(&mut self) -> Result<(), Departure> {
        self.life.fall_asleep().await;
        loop {
            let Some(command) = self.commands.recv().await else {
                return std::future::pending().await;
            };
            match command {
                Command::Start(reply) => answer(reply, Err(paused())),
                Command::Pause { reply, .. } => answer(reply, Ok(())),
                Command::Resume(reply) => {
                    let (outcome, then) = self.wake().await;
                    answer(reply, outcome);
                    if let Some(then) = then {
                        return then;
                    }
                }
                // What its programs have in memory is not on its disk yet: so it wakes, and goes down as others do.
                command @ (Command::Stop { .. } | Command::Restart { .. }) => match self.wake().await {
                    (_, Some(Ok(()))) => {
                        self.later.push_front(command);
                        return Ok(());
                    }
                    (outcome, then) => {
                        answer(command.reply(), outcome);
                        if let Some(then) = then {
                            return then;
                        }
                    }
                },
                Command::Kill { signal: 9, reply } => {
                    self.at_rest.push(reply);
                    return Err(Departure::Kill);
                }
                Command::Kill { reply, .. } | Command::KeepRecovery { reply, .. } | Command::Claim { reply, .. } => {
                    answer(reply, Err(conflict("the machine is paused on disk; resume it first")));
                }
                Command::SetEgress { rules, reply } => answer(reply, self.life.set_egress(rules).await),
                Command::Snapshot { order, taken, reply } => {
                    let outcome = if order.memory {
                        self.life.snapshot_asleep(order).await
                    } else {
                        self.life.snapshot_disk(None, order).await
                    };
                    super::snapshot::hand_over(outcome, taken, reply);
                }
                Command::Rollback { staged, reply } => {
                    if let Some(departure) = self.begin_rollback(staged, reply) {
                        return Err(departure);
                    }
                }
                Command::Remove { force: true, reply } => {
                    self.removal.push(reply);
                    return Err(Departure::Kill);
                }
                Command::Remove { force: false, reply } => answer(reply, Err(not_at_rest(StateWord::Paused))),
            }
        }
    }

    /// Wakes the machine. The answer to whoever asked, and what follows if it is not asleep any more.
    async fn wake(&mut self) -> (Result<(), NodeError>, Option<Result<(), Departure>>) {
        match self.life.wake().await {
            Awakening::Awake => (Ok(()), Some(Ok(()))),
            Awakening::Dazed(error) => (Err(error), Some(Ok(()))),
            Awakening::Asleep(error) => (Err(error), None),
            Awakening::Lost(reason) => {
                let error = NodeError::new(ErrorKind::Internal, reason.clone());
                (Err(error), Some(Err(Departure::Ended(End::Failed(reason)))))
            }
        }
    }
}

impl Life {
    /// Writes the running machine to disk. Where that fails, it goes on. Its VMM is still to be ended.
    pub(super) async fn suspend(&mut self, handle: &VmmHandle, held: bool) -> Result<(), NodeError> {
        guest_link::check_can_save(&*self.driver, "pause the machine on disk")?;
        let was_running = self.record().state.word() == StateWord::Running;
        let action = |error| guest_link::driver_error("pause the machine", error);
        let still = self.stand_still(handle).await.map_err(action)?;
        fault::point("suspend.paused");
        let suspended = self.write_down(handle, was_running, held).await;
        if suspended.is_ok() {
            still.stay();
        } else {
            self.end_stillness(still).await;
            self.remove_saved().await;
        }
        suspended
    }

    async fn write_down(&mut self, handle: &VmmHandle, was_running: bool, held: bool) -> Result<(), NodeError> {
        let draft = Draft::new(self.folder.saving()).map_err(save_error)?;
        let mut manifest = self.save_vmm(handle, &draft, SnapshotId::new()).await?;
        manifest.info.programs_held |= held;
        fault::point("suspend.saved");
        let (services, folder) = (Arc::clone(&self.services), self.folder.clone());
        let finished = blocking(move || {
            folder.sync_disk()?;
            draft.finish(&mut manifest, &services.snapshots.key, &folder.saved())
        });
        finished.await.map_err(save_error)?;
        let event = was_running.then_some(MachineEvent::Pause);
        self.commit(event, |record| record.saved = Some(Saved::Asleep))
            .map_err(save_error)?;
        fault::point("suspend.recorded");
        Ok(())
    }

    /// Gives back all but the slot. Every step may be taken twice. Whoever speaks to the guest may go on once it wakes.
    pub(super) async fn fall_asleep(&mut self) {
        self.release_vmm().await;
        // Whoever wakes it lets its programs go on.
        self.holds.take();
        self.paused_held = false;
        fault::point("suspend.ended");
        self.release_cgroup().await;
        self.services.ledger.fall_asleep(&self.spec);
        if self.record().handle.is_some() {
            self.change(|record| record.handle = None);
        }
    }

    async fn wake(&mut self) -> Awakening {
        if let Err(error) = self.reserve() {
            return Awakening::Asleep(error);
        }
        let woken = self.wake_with_room().await;
        if let Err(reason) = woken {
            if !self.record().is_asleep() {
                return Awakening::Lost(reason);
            }
            self.fall_asleep().await;
            let message = format!("machine {} stays paused: {reason}", self.spec.name);
            return Awakening::Asleep(NodeError::new(ErrorKind::Conflict, message));
        }
        match self.tell_awake().await {
            Ok(()) => Awakening::Awake,
            Err(reason) => {
                tracing::warn!(machine = %self.spec.id, reason, "the machine goes on, and cannot be told so");
                Awakening::Dazed(NodeError::new(
                    ErrorKind::Timeout,
                    format!("the machine goes on, but {reason}"),
                ))
            }
        }
    }

    async fn wake_with_room(&mut self) -> Result<(), String> {
        let ready = self.ready_own().await?;
        let held = self.hold_root()?;
        let plan = self.prepare(held).await?;
        fault::point("resume.ready");
        self.launch_asleep(&plan, &ready).await
    }

    async fn tell_awake(&mut self) -> Result<(), String> {
        let config = self.hold_root()?.config;
        self.greet(&config).await
    }

    /// Lets the vCPUs go on after something else than a pause that was asked for.
    pub(super) async fn go_on(&self, handle: &VmmHandle) {
        if let Err(error) = self.driver.resume(handle).await {
            tracing::error!(machine = %self.spec.id, error = %chain(&error), "cannot let the machine go on");
        }
        self.tell_time();
    }

    /// Saves the VMM, which stands still, and says so in a manifest that knows no files yet.
    pub(super) async fn save_vmm(
        &self,
        handle: &VmmHandle,
        draft: &Draft,
        id: SnapshotId,
    ) -> Result<Manifest, NodeError> {
        let saved = self.driver.save(handle, draft.path()).await;
        let saved = saved.map_err(|error| guest_link::driver_error("save the machine", error))?;
        Ok(self.manifest(id, saved.identity))
    }
}

pub(crate) fn save_error(error: std::io::Error) -> NodeError {
    let kind = if error.kind() == std::io::ErrorKind::StorageFull {
        ErrorKind::NoCapacity
    } else {
        ErrorKind::Internal
    };
    NodeError::new(kind, format!("cannot save the machine: {error}")).caused_by(error)
}
