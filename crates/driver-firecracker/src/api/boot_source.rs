//! `PUT /boot-source`: what boots.

use serde::{Deserialize, Serialize};

use super::{ApiClient, ApiError};

/// Kernel, initramfs and command line, as the VMM sees their paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSource {
    /// The uncompressed ELF kernel.
    pub kernel_image_path: String,
    /// The initramfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<String>,
    /// The command line; Firecracker adds what describes its devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
}

impl ApiClient {
    /// Sets it.
    pub async fn put_boot_source(&self, source: &BootSource) -> Result<(), ApiError> {
        self.put("/boot-source", source).await
    }
}
