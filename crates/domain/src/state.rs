//! What a machine is doing.
//!
//! ```text
//! pending → preparing → starting → running ⇄ paused
//!    ▲                      │         │        │
//!    │                      ▼         ▼        ▼
//!    └──────── stopped ◄──────── stopping ◄────┘        failed: from any, with a reason
//!                 └──────────► destroyed ◄── failed     destroyed: the end
//! ```

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a machine's program ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitStatus {
    /// Exit code as a shell has it: 128 + signal for a signal, 126 and 127 for a program that could not be run.
    pub code: i32,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// Whether the guest's kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Why it could not run, where it could not.
    pub message: Option<String>,
}

/// A machine's state, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum MachineState {
    /// Accepted; nothing is held yet.
    Pending,
    /// Image, disk, slot and cgroup are being made.
    Preparing,
    /// The VMM runs, the guest does not answer yet.
    Starting,
    /// The program runs.
    Running,
    /// The vCPUs stand still.
    Paused,
    /// Asked to end.
    Stopping,
    /// Ended; what it held of the node is given back, its disk and logs are kept.
    Stopped {
        /// How the program ended.
        exit: ExitStatus,
    },
    /// Ended otherwise than by its program or its user.
    Failed {
        /// What went wrong, for people.
        reason: String,
    },
    /// Gone.
    Destroyed,
}

/// The plain word of a state, for SQL, tables and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each stands for the state of the same name")]
pub enum StateWord {
    Pending,
    Preparing,
    Starting,
    Running,
    Paused,
    Stopping,
    Stopped,
    Failed,
    Destroyed,
}

/// What can happen to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineEvent {
    /// Its owner begins to gather what it needs.
    Prepare,
    /// The VMM is launched.
    Launch,
    /// The guest answered and the program runs.
    Ready,
    /// The vCPUs were stopped.
    Pause,
    /// The vCPUs go on.
    Resume,
    /// The user, or its policy, wants it to end.
    Stop,
    /// The program has ended and all is given back.
    Exit(ExitStatus),
    /// It ended otherwise.
    Fail(String),
    /// It is to be started again.
    Restart,
    /// It is to be forgotten.
    Destroy,
}

/// An event that makes no sense in a state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a machine that is {state} cannot {event}")]
pub struct TransitionRefused {
    /// Where the machine is.
    pub state: StateWord,
    /// What was asked.
    pub event: &'static str,
}

impl MachineState {
    /// The state after `event`.
    pub fn next(&self, event: MachineEvent) -> Result<Self, TransitionRefused> {
        use MachineEvent as E;
        match (self, event) {
            (Self::Pending, E::Prepare) => Ok(Self::Preparing),
            (Self::Preparing, E::Launch) => Ok(Self::Starting),
            (Self::Starting, E::Ready) | (Self::Paused, E::Resume) => Ok(Self::Running),
            (Self::Running, E::Pause) => Ok(Self::Paused),
            (Self::Pending | Self::Preparing | Self::Starting | Self::Running | Self::Paused, E::Stop) => {
                Ok(Self::Stopping)
            }
            (Self::Starting | Self::Running | Self::Paused | Self::Stopping, E::Exit(exit)) => {
                Ok(Self::Stopped { exit })
            }
            (
                Self::Pending | Self::Preparing | Self::Starting | Self::Running | Self::Paused | Self::Stopping,
                E::Fail(reason),
            ) => Ok(Self::Failed { reason }),
            (Self::Stopped { .. } | Self::Failed { .. }, E::Restart) => Ok(Self::Pending),
            (Self::Pending | Self::Stopped { .. } | Self::Failed { .. }, E::Destroy) => Ok(Self::Destroyed),
            (state, event) => Err(TransitionRefused {
                state: state.word(),
                event: event.verb(),
            }),
        }
    }

    /// The plain word.
    pub fn word(&self) -> StateWord {
        match self {
            Self::Pending => StateWord::Pending,
            Self::Preparing => StateWord::Preparing,
            Self::Starting => StateWord::Starting,
            Self::Running => StateWord::Running,
            Self::Paused => StateWord::Paused,
            Self::Stopping => StateWord::Stopping,
            Self::Stopped { .. } => StateWord::Stopped,
            Self::Failed { .. } => StateWord::Failed,
            Self::Destroyed => StateWord::Destroyed,
        }
    }

    /// Whether the machine holds nothing of its node but its folder.
    pub fn is_at_rest(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Failed { .. } | Self::Destroyed)
    }
}

impl MachineEvent {
    fn verb(&self) -> &'static str {
        match self {
            Self::Prepare => "be prepared",
            Self::Launch => "be launched",
            Self::Ready => "become ready",
            Self::Pause => "be paused",
            Self::Resume => "be resumed",
            Self::Stop => "be stopped",
            Self::Exit(_) => "exit",
            Self::Fail(_) => "fail",
            Self::Restart => "be started again",
            Self::Destroy => "be removed",
        }
    }
}

impl StateWord {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Preparing,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Destroyed,
    ];

    /// The word as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Destroyed => "destroyed",
        }
    }
}

impl std::fmt::Display for StateWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_event() -> impl Strategy<Value = MachineEvent> {
        prop_oneof![
            Just(MachineEvent::Prepare),
            Just(MachineEvent::Launch),
            Just(MachineEvent::Ready),
            Just(MachineEvent::Pause),
            Just(MachineEvent::Resume),
            Just(MachineEvent::Stop),
            any::<i32>().prop_map(|code| MachineEvent::Exit(ExitStatus {
                code,
                ..ExitStatus::default()
            })),
            Just(MachineEvent::Fail("why".into())),
            Just(MachineEvent::Restart),
            Just(MachineEvent::Destroy),
        ]
    }

    proptest! {
        #[test]
        fn no_walk_leaves_the_diagram(events in proptest::collection::vec(any_event(), 0..40)) {
            let mut state = MachineState::Pending;
            for event in events {
                let fails = matches!(event, MachineEvent::Fail(_));
                let runs = matches!(event, MachineEvent::Ready);
                match state.next(event) {
                    Ok(next) => {
                        prop_assert_ne!(state.word(), StateWord::Destroyed, "destroyed is the end");
                        if next.word() == StateWord::Running {
                            prop_assert!(matches!(state.word(), StateWord::Starting | StateWord::Paused));
                        }
                        prop_assert_eq!(fails, next.word() == StateWord::Failed);
                        state = next;
                    }
                    Err(refused) => {
                        prop_assert_eq!(refused.state, state.word());
                        prop_assert!(!fails || state.is_at_rest(), "whatever is not at rest can fail");
                        prop_assert!(!runs || state.word() != StateWord::Starting);
                    }
                }
            }
        }
    }

    #[test]
    fn happy_path() {
        let mut state = MachineState::Pending;
        for event in [
            MachineEvent::Prepare,
            MachineEvent::Launch,
            MachineEvent::Ready,
            MachineEvent::Pause,
            MachineEvent::Resume,
            MachineEvent::Stop,
            MachineEvent::Exit(ExitStatus::default()),
            MachineEvent::Destroy,
        ] {
            state = state.next(event).unwrap();
        }
        assert_eq!(state, MachineState::Destroyed);
    }

    #[test]
    fn refusals_say_what_and_where() {
        let refused = MachineState::Running.next(MachineEvent::Destroy).unwrap_err();
        assert_eq!(refused.to_string(), "a machine that is running cannot be removed");
    }
}
