//! A machine's record and what goes with it; changed in one place, so that disk, watchers and listeners agree.

use std::sync::Arc;

use hearth_domain::{MachineEvent, MachineSpec};
use hearth_driver::Driver;
use hearth_guest_api::{AGENT_PORT, GuestClient, GuestTokens};
use hearth_network::{Network, Slot};
use hearth_node_api::{MachineStatus, NodeError, NodeEvent, Transition};
use hearth_volume::Serving;
use tokio::sync::{mpsc, watch};

use super::{COMMANDS_MAX, Owner, OwnerHandle, follow::Losses};
use crate::{
    held::Holds,
    log::LogWriter,
    record::{MachineFolder, MachineRecord},
    services::{Services, now_ms},
};

/// What an owner has in hand.
pub(crate) struct Life {
    pub(super) services: Arc<Services>,
    pub(super) spec: Arc<MachineSpec>,
    pub(super) driver: Arc<dyn Driver>,
    pub(super) folder: MachineFolder,
    pub(super) log: LogWriter,
    pub(super) losses: Losses,
    record: MachineRecord,
    slot: Option<Slot>,
    status: watch::Sender<MachineStatus>,
    guest: watch::Sender<Option<GuestClient>>,
    pub(super) holds: Holds,
    /// Whether programs stand still since the pause in memory that the machine is in.
    pub(super) paused_held: bool,
    /// Its volumes, as long as it has a slot.
    pub(super) serving: Option<Serving>,
}

impl Life {
    /// Takes a machine in hand, new or found, and gives the owner to run with the way to it.
    pub(crate) fn take(
        services: Arc<Services>,
        spec: Arc<MachineSpec>,
        driver: Arc<dyn Driver>,
        record: MachineRecord,
    ) -> std::io::Result<(Owner, OwnerHandle)> {
        let folder = MachineFolder::of(&services.machines_dir, spec.id);
        let mut log = LogWriter::open(folder.path())?;
        if record.handle.is_some() || record.is_asleep() {
            log.follow_boot(record.log_base, record.guest_base);
        }
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let mut life = Self {
            slot: None,
            status: watch::Sender::new(status_of(&record, None)),
            guest: watch::Sender::new(None),
            holds: if record.handle.is_some() {
                Holds::unknown()
            } else {
                Holds::default()
            },
            paused_held: false,
            serving: None,
            services,
            driver,
            folder,
            log,
            losses: Losses::default(),
            record,
            spec,
        };
        if life.record.handle.is_some() || life.record.is_asleep() {
            life.slot = life.network().slot_of(life.spec.id);
            life.publish();
        }
        let way_in = commands.downgrade();
        let handle = OwnerHandle {
            spec: Arc::clone(&life.spec),
            has_guest: life.driver.capabilities().guest,
            access_token: life.record.access_token.as_str().into(),
            commands,
            status: life.status.subscribe(),
            guest: life.guest.subscribe(),
            holds: life.holds.clone(),
            log: life.log.source(),
        };
        Ok((Owner::new(life, inbox, way_in), handle))
    }

    pub(super) fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    pub(super) fn record(&self) -> &MachineRecord {
        &self.record
    }

    /// Slots for those who have a guest to reach, none for the others.
    pub(super) fn network(&self) -> &Arc<dyn Network> {
        if self.driver.capabilities().guest {
            &self.services.network
        } else {
            &self.services.no_network
        }
    }

    pub(super) fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    pub(super) fn set_slot(&mut self, slot: Option<Slot>) {
        self.slot = slot;
        self.publish();
    }

    /// Takes the machine's share of the node.
    pub(super) fn reserve(&self) -> Result<(), NodeError> {
        self.services.ledger.reserve(&self.spec)
    }

    /// Follows an event: writes it down, then tells.
    ///
    /// Owners ask for events only where the diagram has them; one that it has not is a fault of ours, is logged, and
    /// changes nothing.
    pub(super) fn enter(&mut self, event: MachineEvent) {
        self.enter_with(event, |_| ());
    }

    /// The same with a change that belongs to the step, in one write.
    pub(super) fn enter_with(&mut self, event: MachineEvent, change: impl FnOnce(&mut MachineRecord)) {
        let id = self.spec.id;
        let step = match self.record.apply(event, now_ms()) {
            Ok(step) => step,
            Err(refused) => {
                tracing::error!(machine = %id, %refused, "an owner asked for a step that there is not");
                return;
            }
        };
        change(&mut self.record);
        self.save();
        self.publish();
        self.tell(step);
    }

    fn tell(&self, step: Transition) {
        let id = self.spec.id;
        tracing::info!(machine = %id, from = %step.from, to = %step.to, reason = step.reason, "machine changed state");
        let event = NodeEvent {
            machine: id,
            sequence: self.record.sequence,
            at_unix_ms: step.at_unix_ms,
            from: step.from,
            state: self.record.state.clone(),
            reason: step.reason,
        };
        // Nobody need be listening.
        let _ = self.services.events.send(event);
    }

    /// Changes the record without a step.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut MachineRecord)) {
        change(&mut self.record);
        self.save();
        self.publish();
    }

    /// The same, of a step that must not be taken unless it is written down: nothing changes where that fails.
    pub(super) fn commit(
        &mut self,
        event: Option<MachineEvent>,
        change: impl FnOnce(&mut MachineRecord),
    ) -> std::io::Result<()> {
        let before = self.record.clone();
        let step = match event.map(|event| self.record.apply(event, now_ms())).transpose() {
            Ok(step) => step,
            Err(refused) => return Err(std::io::Error::other(refused)),
        };
        change(&mut self.record);
        if let Err(error) = self.folder.save_after(&before, &self.record) {
            self.record = before;
            // Half of it may be there.
            self.save();
            return Err(error);
        }
        self.publish();
        if let Some(step) = step {
            self.tell(step);
        }
        Ok(())
    }

    /// A record that cannot be written (a full disk) is no reason to lose the machine: what runs goes on, and the
    /// next daemon will find it by its VMM.
    fn save(&self) {
        if let Err(error) = self.folder.save(&self.record) {
            tracing::error!(machine = %self.spec.id, %error, "cannot write the machine's state");
        }
    }

    fn publish(&self) {
        let status = MachineStatus {
            comes_back: self.record.state.is_at_rest() && self.restart_delay_ms().is_some(),
            ..status_of(&self.record, self.slot.as_ref())
        };
        self.status.send_replace(status);
    }

    /// A client of the guest's agent, if there is a guest and a way to it.
    pub(super) fn guest_client(&self) -> Option<GuestClient> {
        let address = self.slot.as_ref()?.guest_addr;
        self.driver.capabilities().guest.then(|| {
            let tokens = GuestTokens {
                host: self.record.host_token.clone(),
                access: self.record.access_token.clone(),
            };
            GuestClient::new((address, AGENT_PORT).into(), tokens)
        })
    }

    pub(super) fn watch_status(&self) -> watch::Receiver<MachineStatus> {
        self.status.subscribe()
    }

    pub(super) fn watch_guest(&self) -> watch::Receiver<Option<GuestClient>> {
        self.guest.subscribe()
    }

    /// The client that others have as well, with its connections.
    pub(super) fn published_guest(&self) -> Option<GuestClient> {
        self.guest.borrow().clone()
    }

    /// Lets others speak to the guest, or no longer.
    pub(super) fn publish_guest(&self, client: Option<GuestClient>) {
        self.guest.send_replace(client);
    }
}

fn status_of(record: &MachineRecord, slot: Option<&Slot>) -> MachineStatus {
    MachineStatus {
        sequence: record.sequence,
        state: record.state.clone(),
        since_unix_ms: record.since_ms,
        started_unix_ms: record.started_ms,
        finished_unix_ms: if record.state.is_at_rest() {
            record.finished_ms
        } else {
            None
        },
        restarts: record.attempts,
        pid: record.handle.as_ref().map(|h| h.pid),
        address: slot.map(|s| s.guest_addr.to_string()),
        guest_boot: record.guest_boot,
        on_disk: record.is_asleep(),
        recovery_point_unix_ms: record.recovery.map(|point| point.made_ms),
        comes_back: false,
        history: record.history.clone(),
    }
}
