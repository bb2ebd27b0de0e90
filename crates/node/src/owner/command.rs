//! What can be asked of an owner, and the answers that need no owner.

use std::path::PathBuf;

use hearth_domain::{EgressRules, MachineName, MachineSpec, StateWord};
use hearth_ids::SnapshotId;
use hearth_node_api::{ErrorKind, NodeError, PauseMode};
use tokio::sync::oneshot;

use super::{Life, Taken};
use crate::{record::RecoveryPoint, snapshot::Draft};

/// Where the answer to a command goes.
pub(crate) type Reply = oneshot::Sender<Result<(), NodeError>>;

/// A snapshot that is wanted.
#[derive(Debug)]
pub(crate) struct SnapshotOrder {
    pub(crate) id: SnapshotId,
    /// Where it is put together.
    pub(crate) at: PathBuf,
    /// Whether memory and devices are saved, and not the disk alone.
    pub(crate) memory: bool,
}

/// What can be asked of an owner.
#[derive(Debug)]
pub(crate) enum Command {
    /// Answered once accepted.
    Start(Reply),
    /// Answered once at rest.
    Stop { timeout_ms: Option<u64>, reply: Reply },
    /// A stop and a start, with nothing in between. Answered once the start is accepted.
    Restart { timeout_ms: Option<u64>, reply: Reply },
    /// Answered once done.
    Pause {
        mode: PauseMode,
        /// Whether its programs stand still already.
        held: bool,
        reply: Reply,
    },
    /// Answered once done.
    Resume(Reply),
    /// Answered once the machine goes on; what was taken goes the other way, before.
    Snapshot {
        order: SnapshotOrder,
        taken: oneshot::Sender<Taken>,
        reply: Reply,
    },
    /// What lies in the machine's folder is its recovery point from here on. Answered once it is.
    KeepRecovery { point: RecoveryPoint, reply: Reply },
    /// It may reach this from here on. Answered once it is so.
    SetEgress { rules: EgressRules, reply: Reply },
    /// Who waits becomes this machine. Answered once it runs.
    Claim { spec: Box<MachineSpec>, reply: Reply },
    /// Back to what was staged. Answered once the start from there is accepted.
    Rollback { staged: Draft, reply: Reply },
    /// Answered once sent; SIGKILL once at rest.
    Kill { signal: i32, reply: Reply },
    /// Answered once gone.
    Remove { force: bool, reply: Reply },
}

impl Command {
    /// For whoever finds the owner's queue full.
    pub(crate) fn refuse(self) {
        answer(self.reply(), Err(conflict("the machine has too many commands waiting")));
    }

    /// For whoever finds the machine on its way out, or gone: it has ended, and is being removed, as some want.
    pub(crate) fn come_too_late(self, name: &MachineName) {
        let outcome = match self {
            Self::Remove { .. } | Self::Stop { .. } | Self::Kill { signal: 9, .. } => Ok(()),
            _ => Err(conflict(format!(
                "machine {name} is being removed; make a new one (one with --rm is removed once it has stopped)"
            ))),
        };
        answer(self.reply(), outcome);
    }

    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Start(reply)
            | Self::Resume(reply)
            | Self::Pause { reply, .. }
            | Self::Snapshot { reply, .. }
            | Self::KeepRecovery { reply, .. }
            | Self::SetEgress { reply, .. }
            | Self::Claim { reply, .. }
            | Self::Rollback { reply, .. }
            | Self::Stop { reply, .. }
            | Self::Restart { reply, .. }
            | Self::Kill { reply, .. }
            | Self::Remove { reply, .. } => reply,
        }
    }
}

/// Those who wait for a restart. The wish is in the record, too, so that a successor goes on with it.
#[derive(Debug, Default)]
pub(super) struct Again(Vec<Reply>);

impl Again {
    /// A restart that is to follow the stop that now begins.
    pub(super) fn want(&mut self, reply: Reply) {
        self.0.push(reply);
    }

    /// Writes the wish down, before the stop.
    pub(super) fn note(&self, life: &mut Life) {
        if !self.0.is_empty() {
            life.change(|record| record.again = true);
        }
    }

    /// Somebody wants the machine to stay where it goes.
    pub(super) fn cancel(&mut self, life: &mut Life) {
        self.fail(
            life,
            &conflict("somebody else stopped the machine while it was restarted"),
        );
    }

    /// The machine does not start again, for this reason.
    pub(super) fn fail(&mut self, life: &mut Life, error: &NodeError) {
        if life.record().again {
            life.change(|record| record.again = false);
        }
        for reply in self.0.drain(..) {
            answer(reply, Err(NodeError::new(error.kind, error.message.clone())));
        }
    }

    /// The machine is at rest: starts it, if that was wanted.
    pub(super) fn begin(&mut self, life: &mut Life) {
        if !life.record().again {
            return;
        }
        let outcome = life.accept_start(0);
        if outcome.is_err() {
            life.change(|record| record.again = false);
        }
        for reply in self.0.drain(..) {
            let outcome = match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(NodeError::new(error.kind, error.message.clone())),
            };
            answer(reply, outcome);
        }
    }
}

/// Whoever asked may have gone; then there is no one to tell.
pub(super) fn answer(reply: Reply, outcome: Result<(), NodeError>) {
    let _ = reply.send(outcome);
}

pub(super) fn answer_all(replies: &mut Vec<Reply>, outcome: impl Fn() -> Result<(), NodeError>) {
    for reply in replies.drain(..) {
        answer(reply, outcome());
    }
}

pub(super) fn conflict(message: impl Into<String>) -> NodeError {
    NodeError::new(ErrorKind::Conflict, message)
}

pub(super) fn paused() -> NodeError {
    conflict("the machine is paused; resume it")
}

pub(super) fn not_at_rest(state: StateWord) -> NodeError {
    conflict(format!("the machine is {state}; stop it first, or remove it by force"))
}
