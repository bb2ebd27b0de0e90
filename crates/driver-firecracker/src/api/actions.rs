//! `PUT /actions`: what is done once.

use serde::Serialize;

use super::{ApiClient, ApiError};

/// Something to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "action_type")]
pub enum Action {
    /// Write the metrics now.
    FlushMetrics,
    /// Boot the guest.
    InstanceStart,
    /// Press Ctrl-Alt-Del, by the i8042 keyboard controller; x86 only.
    SendCtrlAltDel,
}

impl ApiClient {
    /// Does it.
    pub async fn act(&self, action: Action) -> Result<(), ApiError> {
        self.put("/actions", &action).await
    }
}
