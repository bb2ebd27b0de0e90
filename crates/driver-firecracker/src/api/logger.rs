//! `PUT /logger`: where the VMM's own log goes; without it, among the guest's console output.

use serde::{Deserialize, Serialize};

use super::{ApiClient, ApiError};

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logger {
    /// A file or named pipe that exists, as the VMM sees its path.
    pub log_path: String,
    /// How much is logged.
    pub level: LogLevel,
    /// Each line says its level.
    pub show_level: bool,
    /// Each line says where in the source it comes from.
    pub show_log_origin: bool,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// Errors.
    Error,
    /// And warnings.
    #[default]
    Warning,
    /// And what is done: each request with its body, save the metadata.
    Info,
    /// And what is of use to Firecracker's developers.
    Debug,
}

impl ApiClient {
    /// Sets it, once.
    pub async fn put_logger(&self, logger: &Logger) -> Result<(), ApiError> {
        self.put("/logger", logger).await
    }
}
