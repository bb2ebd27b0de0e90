//! What machines use.

use hearth_ids::MachineId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::ProblemLine;

/// What a machine uses. What the node cannot see is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Whose.
    #[schema(value_type = String)]
    pub machine_id: MachineId,
    /// Its name.
    pub machine_name: String,
    /// When it was measured.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// CPU time of the VMM since it started, in microseconds. The difference of two, over the time between, is the use.
    pub cpu_usec: u64,
    /// Memory that the VMM holds on the host.
    pub memory_bytes: u64,
    /// Memory that the guest was given.
    pub memory_limit_bytes: u64,
    /// Memory in use, as the guest sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_memory_used_bytes: Option<u64>,
    /// Bytes that the machine received.
    pub net_rx_bytes: u64,
    /// Bytes that the machine sent.
    pub net_tx_bytes: u64,
    /// Bytes read from its disks.
    pub disk_read_bytes: u64,
    /// Bytes written to its disks.
    pub disk_write_bytes: u64,
    /// Processes in the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
}

/// A line of the stream of stats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum StatsLine {
    /// A measurement.
    Stats(Stats),
    /// The stream ends for this; nothing follows.
    Problem(ProblemLine),
}
