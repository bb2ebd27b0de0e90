//! `/balloon`: takes memory back from the guest.

use serde::{Deserialize, Serialize};

use super::{ApiClient, ApiError};

/// The device, before boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balloon {
    /// How much the guest shall give back, in MiB.
    pub amount_mib: u32,
    /// The guest takes it back when it runs short.
    pub deflate_on_oom: bool,
    /// Seconds between two rounds of statistics, 0 for none. Cannot be turned on after boot.
    #[serde(default)]
    pub stats_polling_interval_s: u16,
}

/// Its size, after boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BalloonTarget {
    /// How much the guest shall give back, in MiB.
    pub amount_mib: u32,
}

/// What the device and the guest say of themselves. The guest's part may be absent, or a lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct BalloonStats {
    /// Wanted size, in MiB.
    pub target_mib: u32,
    /// Size now, in MiB.
    pub actual_mib: u32,
    /// Memory without any use, in bytes.
    #[serde(default)]
    pub free_memory: Option<u64>,
    /// All memory of the guest, in bytes.
    #[serde(default)]
    pub total_memory: Option<u64>,
    /// Memory that could be had without swapping, in bytes.
    #[serde(default)]
    pub available_memory: Option<u64>,
    /// Memory in caches, in bytes.
    #[serde(default)]
    pub disk_caches: Option<u64>,
}

#[derive(Serialize)]
struct StatsInterval {
    stats_polling_interval_s: u16,
}

impl ApiClient {
    /// Adds the device.
    pub async fn put_balloon(&self, balloon: &Balloon) -> Result<(), ApiError> {
        self.put("/balloon", balloon).await
    }

    /// How it is configured.
    pub async fn balloon(&self) -> Result<Balloon, ApiError> {
        self.get("/balloon").await
    }

    /// Blows it up or lets it down.
    pub async fn set_balloon(&self, amount_mib: u32) -> Result<(), ApiError> {
        self.patch("/balloon", &BalloonTarget { amount_mib }).await
    }

    /// Its statistics, where they were turned on before boot.
    pub async fn balloon_stats(&self) -> Result<BalloonStats, ApiError> {
        self.get("/balloon/statistics").await
    }

    /// How often the guest reports.
    pub async fn set_balloon_stats_interval(&self, seconds: u16) -> Result<(), ApiError> {
        self.patch(
            "/balloon/statistics",
            &StatsInterval {
                stats_polling_interval_s: seconds,
            },
        )
        .await
    }
}
