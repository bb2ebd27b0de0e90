//! Firecracker's API: HTTP/1.1 with JSON over a unix socket, one file here for each of its resources.
//!
//! The server is the VMM, which a guest may have taken over, so nothing that it says is trusted: headers and bodies
//! are bounded, each call has a deadline, and the socket itself is only used after [`ApiSocket`] has seen that it is a
//! socket of the right user and no link to somebody else's.

mod actions;
mod balloon;
mod boot_source;
mod client;
mod drives;
mod entropy;
mod instance_info;
mod logger;
mod machine_config;
mod metrics;
mod mmds;
mod network_interfaces;
mod rate_limiter;
mod snapshot;
mod socket;
mod vm;

pub use actions::Action;
pub use balloon::{Balloon, BalloonStats, BalloonTarget};
pub use boot_source::BootSource;
pub use client::{ApiClient, ApiError, MAX_ANSWER_BYTES};
pub use drives::{CacheType, Drive, DrivePatch, IoEngine};
pub use entropy::Entropy;
pub use instance_info::{FirecrackerVersion, InstanceInfo, InstanceState};
pub use logger::{LogLevel, Logger};
pub use machine_config::{CpuTemplate, HugePages, MachineConfig};
pub use metrics::Metrics;
pub use mmds::{MmdsConfig, MmdsVersion};
pub use network_interfaces::{NetworkInterface, NetworkInterfacePatch};
pub use rate_limiter::{RateLimiter, TokenBucket};
pub use snapshot::{MemoryBackend, NetworkOverride, SnapshotCreate, SnapshotLoad, SnapshotType};
pub use socket::ApiSocket;
pub use vm::VmState;
