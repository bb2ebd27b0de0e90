//! `/drives/{id}`: block devices, which the guest sees in the order in which they were put.

use serde::{Deserialize, Serialize};

use super::{ApiClient, ApiError, RateLimiter};

/// A block device, before boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drive {
    /// Its name in the API.
    pub drive_id: String,
    /// Its file, as the VMM sees the path.
    pub path_on_host: String,
    /// Whether Firecracker shall add a `root=` for it to the command line. Never so here: the initramfs mounts the
    /// root, and a root device would jump the order.
    pub is_root_device: bool,
    /// Whether the guest may only read.
    pub is_read_only: bool,
    /// What a guest's flush does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_type: Option<CacheType>,
    /// How the VMM reads and writes the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_engine: Option<IoEngine>,
    /// Its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// What a guest's flush does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheType {
    /// Nothing: the host's crash loses what the guest thought was safe.
    Unsafe,
    /// The file is synchronised.
    Writeback,
}

/// How the VMM does a drive's I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoEngine {
    /// In its one thread.
    Sync,
    /// By `io_uring`.
    Async,
}

/// A change after boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrivePatch {
    /// Which drive.
    pub drive_id: String,
    /// Another file; the guest is told that the size changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<String>,
    /// Other limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

impl ApiClient {
    /// Adds a drive.
    pub async fn put_drive(&self, drive: &Drive) -> Result<(), ApiError> {
        self.put(&format!("/drives/{}", drive.drive_id), drive).await
    }

    /// Changes one.
    pub async fn patch_drive(&self, patch: &DrivePatch) -> Result<(), ApiError> {
        self.patch(&format!("/drives/{}", patch.drive_id), patch).await
    }
}
