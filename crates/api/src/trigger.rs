//! What calls functions when nobody does.

use hearth_ids::TriggerId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// When a function is called, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTrigger {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    #[schema(example = "*/5 * * * *")]
    pub cron: String,
    /// Time zone, such as `Europe/Berlin`; `UTC` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of runs whose time passed while Hearth was down.
    #[serde(default)]
    pub missed: MissedRuns,
    /// Alias or version that is called; `live` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// Body of the call, or the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 262_144)]
    pub payload: Option<String>,
    /// Does not run for now.
    #[serde(default)]
    pub disabled: bool,
}

/// What becomes of missed runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissedRuns {
    /// They are left out.
    #[default]
    Skip,
    /// One is made for all of them.
    RunOnce,
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    /// Identity.
    #[schema(value_type = String)]
    pub id: TriggerId,
    /// Name.
    pub name: String,
    /// When and with what.
    #[serde(flatten)]
    pub spec: PutTrigger,
    /// When it ran last, by its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_at: Option<Timestamp>,
    /// When it runs next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
}

/// The triggers of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriggerList {
    /// By name.
    pub triggers: Vec<Trigger>,
}
