//! A machine's folder: what a later daemon needs to find the machine again.
//!
//! ```text
//! machines/<id>/spec.json    what it should be; written once, and once more if it waited for somebody
//!               state.json   what it is doing; replaced whole at each step, before the step
//!               log.<n>      what its program wrote
//!               disk.ext4    its own disk, if it has one
//!               saved/       what its VMM goes on from, if it does not boot; see [`crate::snapshot`]
//!               rollback/    the same and a disk, of a machine that is on its way back to a snapshot
//!               recovery-<n>/ a snapshot that it goes back to should its VMM end under it
//!               vmm/         the driver's files, owned by the VMM's user
//! ```
//!
//! The folder appears whole (it is made under another name and renamed) and vanishes whole (it is renamed and then
//! removed), so whatever lies under `machines/` is a machine.

mod folder;

use std::io;

pub(crate) use folder::{MachineFolder, scan};
use hearth_domain::{EgressRules, ExitStatus, MachineEvent, MachineState, StateWord, TransitionRefused};
use hearth_driver::VmmHandle;
use hearth_ids::SnapshotId;
use hearth_node_api::{GuestBoot, HISTORY_MAX, Transition};
use serde::{Deserialize, Serialize};

/// The part of a machine that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub(crate) struct MachineRecord {
    /// Where it is.
    pub(crate) state: MachineState,
    /// When it came there, in ms since 1970.
    pub(crate) since_ms: u64,
    /// When the guest of this boot came up, as it says.
    #[serde(default)]
    pub(crate) guest_boot: Option<GuestBoot>,
    /// When its program last began to run.
    #[serde(default)]
    pub(crate) started_ms: Option<u64>,
    /// Whether the program ran in this boot, or in the last one of a machine at rest.
    #[serde(default)]
    pub(crate) ran: bool,
    /// Whether someone wants it to run; false once it was asked to stop.
    #[serde(default)]
    pub(crate) wanted: bool,
    /// Whether it is to be started again once it is at rest: a restart is under way.
    #[serde(default)]
    pub(crate) again: bool,
    /// How long the stop that is under way waits, in ms, if whoever asked said so.
    #[serde(default)]
    pub(crate) stop_timeout_ms: Option<u64>,
    /// Whether it is being removed.
    #[serde(default)]
    pub(crate) removing: bool,
    /// The VMM, from its launch until it is cleaned away.
    #[serde(default)]
    pub(crate) handle: Option<VmmHandle>,
    /// The token that opens the guest's host-only calls. Of this boot.
    #[serde(default)]
    pub(crate) host_token: String,
    /// The token that opens the guest's files and processes. Kept over boots.
    #[serde(default)]
    pub(crate) access_token: String,
    /// Added to the guest's record numbers, which begin anew with each boot.
    #[serde(default)]
    pub(crate) log_base: u64,
    /// What it may reach, where that was changed since it was made.
    #[serde(default)]
    pub(crate) egress: Option<EgressRules>,
    /// The guest's number of the first record of this boot: what is before is a snapshot's.
    #[serde(default)]
    pub(crate) guest_base: u64,
    /// What is in `saved`. While this is set, no vCPU may run.
    #[serde(default)]
    pub(crate) saved: Option<Saved>,
    /// Whether its disk is a copy of another's, and its guest is still to be told that it is another machine.
    #[serde(default)]
    pub(crate) copied_disk: bool,
    /// What the guest is still to be told, of a VMM that went on from what was saved.
    #[serde(default)]
    pub(crate) greeting: Option<Greeting>,
    /// Whether it is to go back to what is in `rollback`, once it is at rest.
    #[serde(default)]
    pub(crate) rollback: bool,
    /// Where it goes back to should its VMM end under it.
    #[serde(default)]
    pub(crate) recovery: Option<RecoveryPoint>,
    /// How often in a row it went back there.
    #[serde(default)]
    pub(crate) recoveries: u32,
    /// The snapshots that it went on from, the newest first.
    #[serde(default)]
    pub(crate) parents: Vec<SnapshotId>,
    /// The version of its guest's agent.
    #[serde(default)]
    pub(crate) agent_version: String,
    /// How this boot ended, while what it held is being given back.
    #[serde(default)]
    pub(crate) end: Option<End>,
    /// When it last came to rest, in ms since 1970.
    #[serde(default)]
    pub(crate) finished_ms: Option<u64>,
    /// Number of transitions so far.
    #[serde(default)]
    pub(crate) sequence: u64,
    /// User that its VMM runs as; of no other machine.
    #[serde(default)]
    pub(crate) vmm_uid: u32,
    /// Restarts in a row by policy.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// How it came here, the newest last.
    #[serde(default)]
    pub(crate) history: Vec<Transition>,
}

/// What a machine's VMM goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Saved {
    /// Its own state, in which it was paused on disk.
    Asleep,
    /// That of a snapshot, at its next start.
    Snapshot,
}

/// A snapshot that a machine keeps for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecoveryPoint {
    /// What its manifest and its folder are named.
    pub(crate) id: SnapshotId,
    /// When it was made, in ms since 1970.
    pub(crate) made_ms: u64,
}

/// How a guest that went on from what was saved is spoken to first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Whether it is another machine than the one that was saved.
    pub(crate) copy: bool,
    /// Opened its host-only calls when it was saved.
    pub(crate) host_token: String,
}

/// How a boot of a machine ended; decided before anything is given back, so that a crash in between loses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// By its program, or as asked.
    Exited(ExitStatus),
    /// Otherwise, for this reason.
    Failed(String),
}

impl MachineRecord {
    /// A machine that was just made.
    pub(crate) fn new(now_ms: u64, access_token: String, vmm_uid: u32) -> Self {
        Self {
            state: MachineState::Pending,
            guest_boot: None,
            since_ms: now_ms,
            started_ms: None,
            ran: false,
            wanted: false,
            again: false,
            stop_timeout_ms: None,
            removing: false,
            handle: None,
            host_token: String::new(),
            access_token,
            log_base: 0,
            egress: None,
            guest_base: 0,
            saved: None,
            copied_disk: false,
            greeting: None,
            rollback: false,
            recovery: None,
            recoveries: 0,
            parents: Vec::new(),
            agent_version: String::new(),
            end: None,
            finished_ms: None,
            sequence: 0,
            vmm_uid,
            attempts: 0,
            history: Vec::new(),
        }
    }

    /// A machine whose record is lost: it fails, once everything is given back that it may hold.
    pub(crate) fn lost(now_ms: u64, access_token: String, vmm_uid: u32, error: &io::Error) -> Self {
        Self {
            state: MachineState::Stopping,
            end: Some(End::Failed(format!("its record cannot be read: {error}"))),
            // More than there can have been transitions, for no number comes twice.
            sequence: now_ms,
            ..Self::new(now_ms, access_token, vmm_uid)
        }
    }

    /// Follows `event`, and remembers the step.
    pub(crate) fn apply(&mut self, event: MachineEvent, now_ms: u64) -> Result<Transition, TransitionRefused> {
        let next = self.state.next(event)?;
        let reason = match &next {
            MachineState::Failed { reason } => Some(reason.clone()),
            MachineState::Stopped { exit } => Some(
                exit.message
                    .clone()
                    .unwrap_or_else(|| format!("exited with {}", exit.code)),
            ),
            _ => None,
        };
        let step = Transition {
            at_unix_ms: now_ms,
            from: self.state.word(),
            to: next.word(),
            reason,
        };
        match next {
            MachineState::Preparing => self.ran = false,
            MachineState::Running if self.state.word() == StateWord::Starting => {
                self.started_ms = Some(now_ms);
                self.ran = true;
            }
            MachineState::Stopped { .. } | MachineState::Failed { .. } => self.finished_ms = Some(now_ms),
            _ => {}
        }
        self.state = next;
        self.since_ms = now_ms;
        self.sequence += 1;
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(step.clone());
        Ok(step)
    }

    /// Whether it is paused on disk.
    pub(crate) fn is_asleep(&self) -> bool {
        self.saved == Some(Saved::Asleep)
    }

    /// How long the program has run, or ran the last time, in milliseconds; nothing if that boot failed before it.
    pub(crate) fn ran_ms(&self, now_ms: u64) -> u64 {
        self.started_ms
            .filter(|_| self.ran)
            .map_or(0, |started| self.finished_ms.unwrap_or(now_ms).saturating_sub(started))
    }
}

#[cfg(test)]
mod tests {
    use hearth_domain::{RestartPlan, RestartPolicy, plan_restart};

    use super::*;

    /// A record that went through `events`, each at its time.
    fn after(events: &[(MachineEvent, u64)]) -> MachineRecord {
        let mut record = MachineRecord::new(0, String::new(), 0);
        for (event, now_ms) in events {
            record.apply(event.clone(), *now_ms).unwrap();
        }
        record
    }

    fn run(from_ms: u64, to_ms: u64) -> Vec<(MachineEvent, u64)> {
        vec![
            (MachineEvent::Prepare, from_ms),
            (MachineEvent::Launch, from_ms),
            (MachineEvent::Ready, from_ms),
            (MachineEvent::Fail("x".to_owned()), to_ms),
        ]
    }

    #[test]
    fn a_clock_that_goes_back_makes_no_long_run() {
        for (from_ms, to_ms, ran_ms) in [(1000, 5000, 4000), (5000, 1000, 0), (u64::MAX, 0, 0), (0, 0, 0)] {
            let record = after(&run(from_ms, to_ms));
            assert_eq!(record.ran_ms(u64::MAX), ran_ms);
            let plan = plan_restart(RestartPolicy::Always, None, &record.state, 3, record.ran_ms(0));
            assert_eq!(
                plan,
                RestartPlan::Restart {
                    delay_ms: 800,
                    attempt: 4
                }
            );
        }
    }

    #[test]
    fn a_boot_that_failed_did_not_run() {
        let mut events = run(1000, 2000);
        events.extend([
            (MachineEvent::Restart, 3000),
            (MachineEvent::Prepare, 3000),
            (MachineEvent::Fail("x".to_owned()), 900_000),
        ]);
        assert_eq!(after(&events).ran_ms(900_000), 0);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut record = MachineRecord::new(0, String::new(), 0);
        for now_ms in 0..100 {
            for (event, _) in run(0, 0) {
                record.apply(event, now_ms).unwrap();
            }
            record.apply(MachineEvent::Restart, now_ms).unwrap();
        }
        assert_eq!((record.history.len(), record.sequence), (HISTORY_MAX, 500));
        assert_eq!(record.history.last().map(|step| step.to), Some(StateWord::Pending));
    }
}
