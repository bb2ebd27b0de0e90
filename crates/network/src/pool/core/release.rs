//! Giving slots back.

use std::{io, sync::PoisonError, time::Instant};

use hearth_domain::NetworkMode;
use hearth_ids::MachineId;

use super::{super::state::Phase, Core, WORK_TIMEOUT};
use crate::{
    gate::SlotGate,
    port::Reservation,
    slot::{NetworkError, Slot, SlotRequest},
};

/// What a machine held, which is the caller's to undo.
struct Held {
    slot: Slot,
    request: SlotRequest,
    reservations: Vec<Reservation>,
    gate: Option<SlotGate>,
}

impl Core {
    /// Gives a machine's slot back. Once this returns the machine has none, also if an acquire was under way.
    pub(in crate::pool) fn release(&self, machine: MachineId) -> Result<(), NetworkError> {
        let Some(Held {
            slot,
            request,
            reservations,
            gate,
        }) = self.take_held(machine)?
        else {
            return Ok(());
        };
        // What the gate still has open would be its next holder's neighbour.
        let shut = gate.is_none_or(SlotGate::shut);
        let unmade = self.unmake(machine, &slot, &request, shut);
        let mut state = self.state();
        match unmade {
            Ok(stands) => {
                drop(reservations);
                state.claims.remove(&machine);
                state.rest(slot.index, Instant::now() + self.config.rest, stands);
            }
            // Held as before, so that the next try finds all that there is to undo.
            Err(_) => {
                if let Some(claim) = state.claims.get_mut(&machine) {
                    claim.phase = Phase::Held {
                        slot,
                        reservations,
                        busy: false,
                    };
                }
            }
        }
        drop(state);
        self.worked.notify_all();
        self.changed.notify_one();
        unmade.map(drop)
    }

    /// What a machine holds, which is then the caller's to undo; waits for whoever is making or undoing it.
    fn take_held(&self, machine: MachineId) -> Result<Option<Held>, NetworkError> {
        let mut state = self.state();
        let deadline = Instant::now() + WORK_TIMEOUT;
        loop {
            let Some(claim) = state.claims.get_mut(&machine) else {
                return Ok(None);
            };
            match std::mem::replace(&mut claim.phase, Phase::Releasing) {
                Phase::Held {
                    slot,
                    reservations,
                    busy: false,
                } => {
                    return Ok(Some(Held {
                        slot,
                        request: claim.request.clone(),
                        reservations,
                        gate: claim.gate.take(),
                    }));
                }
                // Its rules are being changed.
                held @ Phase::Held { busy: true, .. } => claim.phase = held,
                Phase::Acquiring { .. } => claim.phase = Phase::Acquiring { released: true },
                Phase::Releasing => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NetworkError::Taken { machine });
            }
            let waited = self.worked.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes away what made a slot its machine's; whether the slot still stands.
    fn unmake(&self, machine: MachineId, slot: &Slot, request: &SlotRequest, shut: bool) -> Result<bool, NetworkError> {
        // What cannot be reset is removed; a bridge's tap is always.
        let cleared = self.clear(slot, request).and_then(|stands| {
            let left = || NetworkError::at("shut its gate in time")(io::Error::from(io::ErrorKind::TimedOut));
            if shut { Ok(stands) } else { Err(left()) }
        });
        let stands = match cleared {
            Ok(stands) => stands,
            Err(error) => {
                tracing::warn!(%machine, index = slot.index, error = &error as &dyn std::error::Error, "removing a network slot that cannot be reset");
                self.site.destroy(slot.index)?;
                false
            }
        };
        self.drop_record(slot.index)?;
        (self.site.fault)("record-removed");
        Ok(stands)
    }

    /// Makes a held slot nobody's; whether it still stands.
    fn clear(&self, slot: &Slot, request: &SlotRequest) -> Result<bool, NetworkError> {
        self.forget_host_rules(slot.index, request)?;
        if request.mode == NetworkMode::Bridge {
            self.bridge_port(slot.index)?.unplug()?;
            self.site.forget(&[slot.guest_addr]);
            return Ok(false);
        }
        self.site.reset(slot.index)?;
        Ok(true)
    }
}
