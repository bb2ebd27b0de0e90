//! What functions wrote.

use hearth_ids::MachineId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which lines of a function's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FunctionLogsQuery {
    /// Goes on with what is written later.
    pub follow: Option<bool>,
    /// Only what was written from then on.
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only the last so many lines of what is there.
    pub tail: Option<u64>,
    /// Only those of this version.
    pub version: Option<u32>,
    /// Only those of this call, by its request ID.
    pub invocation: Option<String>,
}

/// A line of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionLogRecord {
    /// When the instance wrote it.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Which version it is.
    pub version: u32,
    /// Which instance.
    #[schema(value_type = String)]
    pub machine: MachineId,
    /// Where it was written: `stdout` or `stderr`.
    pub stream: crate::LogStream,
    /// The line, without its end.
    pub line: String,
}

/// A line of the stream of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FunctionLogLine {
    /// One that the function wrote.
    Line(FunctionLogRecord),
    /// What went wrong; the last line.
    Problem(crate::ProblemLine),
}
