//! What becomes of a guest that goes on from a snapshot.
//!
//! ```text
//!  Init ─► tokens ─► randomness ─► clock, names ─► ids ─► SSH keys ─► connections ─► generation ─► programs go on ─► hooks ─► answer
//!                                              └──────── of a copy only ─────────┘                       └─ unless to be held ─┘
//! ```
//! Up to the hooks everything happens in one step of the agent, so that none of its own sessions sees a half of it, nor a
//! program that was held for the snapshot ([`hold`](crate::process::hold)). The answer waits for the hooks, since the machine
//! is ready only when its programs know where they are; but not for ever, and not for new SSH keys.
//!
//! A copy may be held beyond Init, and told later once more who it is: all of that happens again then.
//!
//! Every machine that starts from nothing waits for it. In an emulated guest nothing has run before: each part of the kernel and
//! of the agent that is used is translated first, which is nearly all of the time. So what can be done ahead is
//! ([`prepare_restore`]), and what is not there costs a look.

mod command;
mod hooks;
mod host_keys;
mod identity;
mod places;
mod sshd;
mod tcp;
#[cfg(test)]
mod testing;

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hearth_guest_api::AGENT_PORT;
use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::guest::{InitRequest, PrepareSnapshotRequest};
use tokio::task::JoinHandle;

pub(crate) use places::Places;

use crate::agent::Agent;

/// How long Init's answer waits for hooks; the host's patience is 30 s.
const ANSWER_AFTER: Duration = Duration::from_secs(20);
/// A whole key of the kernel's generator.
const MIN_ENTROPY_BYTES: usize = 32;
const MACHINE_ID_DIGITS: usize = 32;

/// What Init says about a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restore {
    kind: Kind,
    /// Whether programs stand still until a later Init.
    pub(crate) hold: bool,
}

/// What a guest is after its restore.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The machine that was paused.
    Same,
    /// Another one, with this `/etc/machine-id`.
    Copy { machine_id: String },
}

/// What is kept between restores. It goes along with a snapshot.
#[derive(Default)]
pub(crate) struct RestoreState {
    /// One snapshot is prepared at a time.
    preparing: tokio::sync::Mutex<()>,
    hooks: hooks::HookState,
    host_keys: host_keys::HostKeys,
    /// Whether it was said that connections cannot be ended here.
    said_connections_stay: Cell<bool>,
    diagnosis: tcp::Diagnosis,
}

fn invalid(message: impl Into<String>) -> ConnectError {
    ConnectError::new(Code::InvalidArgument, message)
}

impl Restore {
    /// Reads what Init says about a restore, if it says something.
    pub(crate) fn parse(request: &InitRequest) -> Result<Option<Self>, ConnectError> {
        let Some(restore) = &request.restore else {
            return Ok(None);
        };
        let hold = restore.hold;
        if !restore.copy {
            let kind = Kind::Same;
            return Ok(Some(Self { kind, hold }));
        }
        if !is_machine_id(&restore.machine_id) {
            return Err(invalid(
                "`restore.machine_id` must have 32 lower-case hex digits that are not all zero",
            ));
        }
        if request.entropy.len() < MIN_ENTROPY_BYTES {
            return Err(invalid(format!(
                "`entropy` must have at least {MIN_ENTROPY_BYTES} bytes with `restore.copy`: copies would share their random numbers"
            )));
        }
        let machine_id = restore.machine_id.clone();
        let kind = Kind::Copy { machine_id };
        Ok(Some(Self { kind, hold }))
    }

    /// Makes the guest what it is by now. `lived` says whether the snapshot is from after the first Init: else no program has seen
    /// the machine, and none has to be told. Gives the run of the hooks, if there is one, which begins when the caller waits.
    pub(crate) fn apply(
        &self,
        agent: &Rc<Agent>,
        lived: bool,
        caller: SocketAddr,
    ) -> Result<Option<JoinHandle<()>>, ConnectError> {
        if let Kind::Copy { machine_id } = &self.kind {
            // First, so that nobody who followed the source gets a record of the copy.
            agent.sessions.end_others(caller);
            become_another(agent, machine_id, lived, caller)?;
        }
        let Some(places) = &agent.boot.places else {
            return Ok(None);
        };
        let generation = identity::renew_generation(places).map_err(|error| internal("tell the generation", &error))?;
        let hooks = if lived {
            hooks::after_restore(places)
        } else {
            Vec::new()
        };
        // Looked for in any case: whoever holds programs now wants the next Init to be quick.
        if hooks.is_empty() || self.hold {
            return Ok(None);
        }
        let is_copy = matches!(self.kind, Kind::Copy { .. });
        let run = hooks::run_after_restore(Rc::clone(agent), hooks, is_copy, generation);
        Ok(Some(tokio::task::spawn_local(run)))
    }
}

/// For ASCII only bytes count.
fn is_machine_id(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == MACHINE_ID_DIGITS && text.bytes().all(is_digit) && text.bytes().any(|byte| byte != b'0')
}

fn internal(what: &str, error: &io::Error) -> ConnectError {
    ConnectError::new(Code::Internal, format!("cannot {what}: {error}"))
}

fn become_another(agent: &Rc<Agent>, machine_id: &str, lived: bool, caller: SocketAddr) -> Result<(), ConnectError> {
    let Some(places) = &agent.boot.places else {
        return Ok(());
    };
    identity::set_machine_id(places, machine_id).map_err(|error| internal("set the machine ID", &error))?;
    if agent.boot.is_init {
        identity::renew_boot_id(places).map_err(|error| internal("renew the boot ID", &error))?;
    }
    if lived {
        host_keys::renew(agent, places).map_err(|error| internal("remove the SSH host keys", &error))?;
        end_connections(agent, caller);
    }
    Ok(())
}

/// Ends what other machines talk to the source about. Without it they end as they must: no answer, or a reset.
fn end_connections(agent: &Agent, caller: SocketAddr) {
    if !agent.boot.is_init {
        return;
    }
    let present = (AGENT_PORT, tcp::canonical(caller));
    match tcp::end(&agent.restore.diagnosis, |connection| {
        connection.leaves_the_guest() && !connection.is(present)
    }) {
        Ok(0) => {}
        Ok(count) => crate::console(&format!("restored as a copy; connections ended: {count}")),
        Err(error) => {
            if !agent.restore.said_connections_stay.replace(true) {
                crate::console(&format!(
                    "the source's connections are left to end by themselves, except the agent's own: {error}"
                ));
            }
        }
    }
}

/// Waits for the hooks of [`Restore::apply`], up to a point.
pub(crate) async fn wait_for_hooks(run: JoinHandle<()>) {
    // A run that goes on does so by itself, and says on the console what became of it.
    if tokio::time::timeout(ANSWER_AFTER, run).await.is_err() {
        crate::console("Init is answered before the last hook has ended");
    }
}

/// Does ahead what a restore would do: a guest that is emulated does everything for the first time then, ten times as slowly.
/// Whatever cannot be done now is done after the restore.
fn prepare_restore(agent: &Agent, places: &Places) {
    // So that the kernel knows what is there, and what is not, without asking the disk.
    let _ = (
        places.machine_id().is_file(),
        places.dbus_machine_id().is_symlink(),
        host_keys::any(places),
        hooks::after_restore(places),
    );
    let _ = identity::prepare_generation(places);
    if agent.boot.is_init {
        let _ = identity::prepare_boot_id(places);
        tcp::prepare(&agent.restore.diagnosis);
    }
}

/// The guest's own preparations for a snapshot. Whether programs stand still, as `hold` asks.
pub(crate) async fn prepare_snapshot(
    agent: &Rc<Agent>,
    request: &PrepareSnapshotRequest,
) -> Result<bool, ConnectError> {
    let _turn = agent.restore.preparing.lock().await;
    let programs = &agent.processes.hold;
    // Hooks may want to talk to programs.
    if !programs.snapshot_is_over().await {
        let message = "programs are held until an Init with `restore` lets them go on";
        return Err(ConnectError::new(Code::FailedPrecondition, message));
    }
    if !request.no_hooks {
        hooks::run_before_snapshot(agent)
            .await
            .map_err(|error| ConnectError::new(Code::FailedPrecondition, error.to_string()))?;
    }
    if let Some(places) = &agent.boot.places {
        prepare_restore(agent, places);
    }
    Ok(request.hold && !agent.stopping.get() && programs.for_snapshot().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn parsed(copy: bool, machine_id: &str, entropy: usize) -> Result<Option<Restore>, ConnectError> {
        let machine_id = machine_id.to_owned();
        Restore::parse(&InitRequest {
            restore: Some(hearth_guest_api::guest::Restore {
                copy,
                machine_id,
                hold: copy,
            }),
            entropy: vec![7; entropy].into(),
            ..Default::default()
        })
    }

    #[test]
    fn a_copy_needs_an_id_and_randomness() {
        let kind = Kind::Copy {
            machine_id: ID.to_owned(),
        };
        let copy = Restore { kind, hold: true };
        assert_eq!(parsed(true, ID, 32).unwrap(), Some(copy));
        let upper = ID.to_uppercase();
        let long = format!("{ID}0");
        for bad in [
            "",
            &ID[1..],
            &long,
            &upper,
            &"0".repeat(32),
            &"é".repeat(16),
            "../../../../../../../../etc/pass",
        ] {
            let error = parsed(true, bad, 32).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains("`restore.machine_id`"), "{}", error.message);
        }
        let error = parsed(true, ID, 31).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.message.contains("`entropy`"), "{}", error.message);
    }

    #[test]
    fn the_same_machine_needs_neither() {
        let kind = Kind::Same;
        let same = Restore { kind, hold: false };
        assert_eq!(parsed(false, "", 0).unwrap(), Some(same));
        assert_eq!(Restore::parse(&InitRequest::default()).unwrap(), None);
    }
}
