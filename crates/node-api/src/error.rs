//! Why a node could not do something.

use std::error::Error as StdError;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Coarsely what went wrong; how control answers depends on this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// There is no such machine, file or user.
    NotFound,
    /// The machine is not in a state for this.
    Conflict,
    /// The request makes no sense.
    InvalidInput,
    /// The node has no room.
    NoCapacity,
    /// The node, its driver or the guest's agent cannot do this, or not now.
    Unavailable,
    /// It took too long.
    Timeout,
    /// A fault of ours or of the host.
    Internal,
}

/// A failed call: its kind, and what was being done with what, for people.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct NodeError {
    /// Coarsely what.
    pub kind: ErrorKind,
    /// What was being done with what, and the way out where there is one.
    pub message: String,
    /// Why, where there is more to know; it stays on the node.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl NodeError {
    /// An error without a further cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// There is no such machine.
    pub fn no_machine(id: hearth_ids::MachineId) -> Self {
        Self::new(ErrorKind::NotFound, format!("there is no machine {id} on this node"))
    }

    /// There is no such snapshot.
    pub fn no_snapshot(id: hearth_ids::SnapshotId) -> Self {
        Self::new(ErrorKind::NotFound, format!("there is no snapshot {id} on this node"))
    }
}
