//! What stands behind the `?` of a path.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::MachineState;

/// Which machines to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListMachinesQuery {
    /// Those at rest, too.
    #[serde(default)]
    pub all: bool,
    /// Only those in this state; implies `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MachineState>,
    /// Only those whose name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 63)]
    pub name: Option<String>,
    /// At most so many; 100 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// From where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 64)]
    pub cursor: Option<String>,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListSnapshotsQuery {
    /// Only those of the machine of this name or ID, which may be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 63)]
    pub machine: Option<String>,
    /// At most so many; 100 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// From where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 64)]
    pub cursor: Option<String>,
}

/// How to pause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PauseQuery {
    /// Where the machine stands still: `disk` if absent, or `memory` where its driver makes no snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PauseMode>,
}

/// Where a paused machine stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PauseMode {
    /// On disk: nothing of it runs, and its memory is given back.
    Disk,
    /// In memory: its vCPUs stand still, and it keeps what it has.
    Memory,
}

/// How to stop or restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StopQuery {
    /// How long the program has, in milliseconds; the machine's own time if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 3_600_000)]
    pub timeout_ms: Option<u64>,
}

/// Which signal to send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct KillQuery {
    /// Signal by name, with or without `SIG`, or by number; `KILL`, which ends the whole machine, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(example = "TERM", max_length = 16)]
    pub signal: Option<String>,
}

/// How to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RemoveQuery {
    /// Even if it is in use.
    #[serde(default)]
    pub force: bool,
}

/// What to wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// What to wait for.
    #[serde(default)]
    #[param(inline)]
    pub condition: WaitCondition,
    /// How long the answer may take, in milliseconds; 30 s if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 300_000)]
    pub timeout_ms: Option<u64>,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitCondition {
    /// It is at rest: stopped, failed, or gone.
    #[default]
    AtRest,
    /// It runs, or is at rest already.
    Running,
    /// It is gone.
    Removed,
}

/// Which output to read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// Goes on until the machine is at rest.
    #[serde(default)]
    pub follow: bool,
    /// Only from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only what comes after the record of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only the last so many lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1_000_000)]
    pub tail: Option<u64>,
    /// Plain bytes of both streams together, or JSON lines.
    #[serde(default)]
    #[param(inline)]
    pub format: LogFormat,
}

/// How output is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Plain bytes of both streams together.
    #[default]
    Raw,
    /// JSON lines, each with its stream and time.
    Ndjson,
}

/// How to attach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AttachQuery {
    /// Output comes with its number, on channel 5.
    #[serde(default)]
    pub numbered: bool,
    /// Only output that comes after the record of this number; all of it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Which path of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ArchiveQuery {
    /// Absolute path in the machine.
    #[param(max_length = 4096)]
    pub path: String,
}

/// How to measure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StatsQuery {
    /// Goes on, as JSON lines, until the machine is at rest.
    #[serde(default)]
    pub stream: bool,
    /// Time between two measurements, in milliseconds; 1 s if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 100, maximum = 60_000)]
    pub interval_ms: Option<u64>,
}

/// Which events to read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Goes on without end.
    #[serde(default)]
    pub follow: bool,
    /// Only from then on. With `follow` alone, from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only those after the one of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only those of this machine, by ID or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 63)]
    pub machine: Option<String>,
}

/// What an imported image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportImageQuery {
    /// What the body is.
    #[param(inline)]
    pub kind: ImportKind,
    /// Reference for the image; needed for a root tar, else as the archive says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 512)]
    pub name: Option<String>,
    /// For a root tar: what the image runs, as a JSON list of program and arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 65_536, example = r#"["/bin/sh"]"#)]
    pub cmd: Option<String>,
    /// Changes to the image's configuration, as a JSON list of a Dockerfile's instructions: CMD, ENTRYPOINT, ENV, LABEL,
    /// STOPSIGNAL, USER and WORKDIR.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 65_536, example = r#"["ENTRYPOINT [\"/bin/app\"]", "ENV A=1"]"#)]
    pub changes: Option<String>,
}

/// What an imported image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportKind {
    /// A tar of an OCI layout.
    Oci,
    /// A `docker save` archive.
    Docker,
    /// A tar of a root file system.
    Root,
}

/// Which images to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PruneQuery {
    /// Those with a name, too; without it only those to which no name leads.
    #[serde(default)]
    pub all: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_parameters_are_refused() {
        assert!(serde_json::from_str::<WaitQuery>(r#"{"condition":"running"}"#).is_ok());
        assert!(serde_json::from_str::<WaitQuery>(r#"{"until":"running"}"#).is_err());
    }
}
