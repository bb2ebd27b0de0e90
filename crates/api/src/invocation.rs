//! Calls of functions.

use hearth_ids::InvocationId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How a call is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InvokeQuery {
    /// Alias or number of a version; `live` if absent.
    pub qualifier: Option<String>,
    /// Answers at once with the call's ID, and makes the call afterwards.
    pub r#async: Option<bool>,
    /// Path at which a function of contract `http` is called; `/` if absent.
    pub path: Option<String>,
}

/// A call that was taken on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvocationAccepted {
    /// Its ID.
    #[schema(value_type = String)]
    pub invocation_id: InvocationId,
}

/// What a call is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InvocationState {
    /// It waits for its time.
    Queued,
    /// It runs.
    Running,
    /// It was answered.
    Succeeded,
    /// It failed for good, and can be replayed.
    Dead,
}

/// A call that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invocation {
    /// Its ID.
    #[schema(value_type = String)]
    pub id: InvocationId,
    /// What it calls, by name.
    pub function: String,
    /// Alias or version that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// Where it came from: `http`, `cron` or `lambda`.
    pub source: String,
    /// What it is at.
    pub state: InvocationState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was taken on.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is tried, or was tried last.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Which version answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A page of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvocationList {
    /// Newest first.
    pub invocations: Vec<Invocation>,
    /// Asks for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListInvocationsQuery {
    /// Only those of this function, by name.
    pub function: Option<String>,
    /// Only those in this state.
    pub state: Option<InvocationState>,
    /// How many at most; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
