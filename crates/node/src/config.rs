//! How a node is set up.

use std::path::PathBuf;

use hearth_domain::{DriverKind, Overcommit};

/// Settings of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where the node keeps what it needs to find its machines again.
    pub state_dir: PathBuf,
    /// How many times what it has the node gives out.
    pub overcommit: Overcommit,
    /// How long a guest may take until its agent answers, in milliseconds.
    pub boot_timeout_ms: u64,
    /// Memory that a VMM may use beside its guest's, in MiB.
    pub vmm_overhead_mib: u64,
    /// The first of the user IDs that VMMs run as; one a machine.
    pub first_vmm_uid: u32,
    /// Memory that snapshots which machines go on from are held in, in MiB, beside what machines hold; none: a quarter of
    /// what the node has.
    pub snapshot_memory_mib: Option<u64>,
    /// The driver for machines that name none; without one, the best that works.
    pub default_driver: Option<DriverKind>,
}

impl NodeConfig {
    /// The usual settings over a state folder.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            overcommit: Overcommit::default(),
            // Under software emulation on a loaded host, seconds become minutes.
            boot_timeout_ms: 120_000,
            vmm_overhead_mib: 512,
            // Above what distributions and user namespaces give out.
            first_vmm_uid: 1_879_048_192,
            snapshot_memory_mib: None,
            default_driver: None,
        }
    }
}
