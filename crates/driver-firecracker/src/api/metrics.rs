//! `PUT /metrics`: where the VMM writes its counters, a JSON line a minute and at each flush.

use serde::Serialize;

use super::{ApiClient, ApiError};

/// The metrics' place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// A file or named pipe that exists, as the VMM sees its path.
    pub metrics_path: String,
}

impl ApiClient {
    /// Sets it, once.
    pub async fn put_metrics(&self, metrics: &Metrics) -> Result<(), ApiError> {
        self.put("/metrics", metrics).await
    }
}
