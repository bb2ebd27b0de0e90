//! What a machine may reach, changed while it runs.

use std::{sync::PoisonError, time::Instant};

use hearth_domain::{EgressRules, NetworkMode};
use hearth_ids::MachineId;

use super::{super::state::Phase, Core, WORK_TIMEOUT};
use crate::{
    gate::SlotGate,
    record::Record,
    slot::{NetworkError, SlotRequest},
};

/// A slot whose rules are being changed; nobody else changes or releases it meanwhile.
pub(super) struct Turn {
    pub(super) index: u32,
    pub(super) request: SlotRequest,
    before: EgressRules,
    gate: Option<SlotGate>,
}

/// Whether the rules go by names.
pub(super) fn needs_gate(request: &SlotRequest, rules: &EgressRules) -> bool {
    request.mode == NetworkMode::Default && rules.has_domains()
}

impl Core {
    /// Sets the rules of the slot that the machine holds. Written before done: whoever takes the slot up again goes by
    /// what is written.
    pub(in crate::pool) fn set_egress(&self, machine: MachineId, rules: &EgressRules) -> Result<(), NetworkError> {
        let mut turn = self.take_turn(machine)?;
        let changed = self.change_egress(machine, &mut turn, rules);
        self.end_turn(machine, turn, changed.is_ok().then_some(rules));
        changed
    }

    /// Gives the turn back, with the rules that the machine has from here on if these are others.
    pub(super) fn end_turn(&self, machine: MachineId, turn: Turn, rules: Option<&EgressRules>) {
        let mut state = self.state();
        if let Some(claim) = state.claims.get_mut(&machine) {
            claim.gate = turn.gate;
            if let Some(rules) = rules {
                claim.egress = rules.clone();
            }
            if let Phase::Held { busy, .. } = &mut claim.phase {
                *busy = false;
            }
        }
        drop(state);
        self.worked.notify_all();
    }

    fn change_egress(&self, machine: MachineId, turn: &mut Turn, rules: &EgressRules) -> Result<(), NetworkError> {
        if turn.request.mode == NetworkMode::Bridge {
            return if rules.is_open() {
                Ok(())
            } else {
                Err(NetworkError::EgressOnBridge { machine })
            };
        }
        self.record_egress(machine, turn, rules)?;
        let changed = self.enforce(turn, rules);
        if changed.is_err() {
            if let Some(gate) = &turn.gate {
                gate.set_rules(&turn.before);
            }
            if let Err(error) = self.record_egress(machine, turn, &turn.before) {
                tracing::warn!(%machine, error = &error as &dyn std::error::Error, "rules that could not be set are kept for the next start");
            }
        }
        changed
    }

    fn enforce(&self, turn: &mut Turn, rules: &EgressRules) -> Result<(), NetworkError> {
        if turn.gate.is_none() && needs_gate(&turn.request, rules) {
            turn.gate = Some(self.open_gate(turn.index, rules)?);
        }
        if let Some(gate) = &turn.gate {
            gate.set_rules(rules);
        }
        let ports = turn.gate.as_ref().map(SlotGate::ports).unwrap_or_default();
        let holder = self.site.holder(turn.request.mode, rules, ports);
        self.site.change(turn.index, holder)
    }

    pub(super) fn open_gate(&self, index: u32, rules: &EgressRules) -> Result<SlotGate, NetworkError> {
        let netns = self.site.netns(index);
        let step = format!("listen for names in {}", netns.display());
        let site = &self.site;
        let opened = self.gates.open(netns, site.ipv6, &site.resolvers, rules.clone());
        opened.map_err(NetworkError::at(step))
    }

    fn record_egress(&self, machine: MachineId, turn: &Turn, rules: &EgressRules) -> Result<(), NetworkError> {
        let record = Record {
            index: turn.index,
            machine,
            request: turn.request.clone(),
            egress: rules.clone(),
        };
        let written = self.records.write(&record);
        written.map_err(NetworkError::at(format!("write the record of slot {}", turn.index)))
    }

    /// Waits for whoever else changes the machine's slot.
    pub(super) fn take_turn(&self, machine: MachineId) -> Result<Turn, NetworkError> {
        let mut state = self.state();
        let deadline = Instant::now() + WORK_TIMEOUT;
        loop {
            let claim = state.claims.get_mut(&machine).ok_or(NetworkError::NoSlot { machine })?;
            if let Phase::Held { slot, busy, .. } = &mut claim.phase
                && !*busy
            {
                *busy = true;
                return Ok(Turn {
                    index: slot.index,
                    request: claim.request.clone(),
                    before: claim.egress.clone(),
                    gate: claim.gate.take(),
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NetworkError::Taken { machine });
            }
            let waited = self.worked.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
