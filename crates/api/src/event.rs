//! What happened.

use hearth_ids::MachineId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{MachineState, Problem};

/// Something that happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number; grows.
    pub sequence: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// To which machine.
    #[schema(value_type = String)]
    pub machine_id: MachineId,
    /// The machine's name.
    pub machine_name: String,
    /// The machine's state afterwards.
    pub state: MachineState,
    /// Exit code of its program, if it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The machine was made.
    Created,
    /// It came into another state.
    State,
    /// It was removed.
    Removed,
    /// The node does not know it any more.
    Lost,
    /// The node had it and nobody knew of it; it was removed.
    Adopted,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Created, Self::State, Self::Removed, Self::Lost, Self::Adopted];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::State => "state",
            Self::Removed => "removed",
            Self::Lost => "lost",
            Self::Adopted => "adopted",
        }
    }
}

/// A line of the stream of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum EventLine {
    /// Something happened.
    Event(Event),
    /// The stream ends for this; nothing follows.
    Problem(ProblemLine),
}

/// The last line of a stream that broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemLine {
    /// Why.
    pub problem: Problem,
}

impl From<Problem> for ProblemLine {
    fn from(problem: Problem) -> Self {
        Self { problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_serde() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
