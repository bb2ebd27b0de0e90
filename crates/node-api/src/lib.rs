//! The contract between control and node.
//!
//! Control says what should be and asks what is; the node owns every machine and is the only one to change its state.
//! Within one process the node implements [`NodeService`] directly; whatever would cross a wire between hosts is
//! serialisable already.
//!
//! Invariants:
//! - Every call is idempotent where it says so, and names its machine by ID.
//! - A machine's transitions are numbered ([`MachineStatus::sequence`]), so whoever hears of them late can tell.
//! - Events may be missed by a listener that is slow: they are hints, [`NodeService::status`] is the truth.

mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod info;
mod machine;
mod session;
mod snapshot;

use async_trait::async_trait;
use bytes::Bytes;
pub use error::{ErrorKind, NodeError};
use futures::stream::BoxStream;
use hearth_domain::{EgressRules, MachineSpec};
use hearth_ids::{MachineId, SnapshotId};
pub use info::{Check, CheckOutcome, DriverInfo, NodeBooks, NodeInfo, TurnedAway};
pub use machine::{GuestBoot, GuestUse, HISTORY_MAX, MachineStats, MachineStatus, NodeEvent, Transition};
pub use session::{
    Attachment, EntryKind, ExecEvent, ExecRequest, ExecSession, FileStat, Input, LogChunk, LogQuery, LogStream,
    TerminalSize,
};
pub use snapshot::{PauseMode, SnapshotInfo, SnapshotPart, SnapshotRequest};
use tokio::sync::{broadcast, watch};

/// What a node does.
#[async_trait]
pub trait NodeService: Send + Sync {
    /// Takes a machine on: checks that it fits and writes its folder. It is pending afterwards. Idempotent by ID. What is
    /// to go on from a snapshot has to be of its shape: image, kernel, driver, CPUs, memory and disk.
    async fn create(&self, spec: MachineSpec) -> Result<(), NodeError>;

    /// Asks the machine's owner to start it, and returns once that is accepted. A machine at rest is started anew; one
    /// that is on its way or runs is left alone.
    async fn start(&self, id: MachineId) -> Result<(), NodeError>;

    /// Stops the machine and returns when it is at rest. Without a timeout the machine's own holds. Idempotent.
    async fn stop(&self, id: MachineId, timeout_ms: Option<u64>) -> Result<(), NodeError>;

    /// Stops the machine, if it runs, and starts it; returns once the start is accepted. Nothing comes in between: not
    /// even a machine that is removed once it stops is removed. Who stops or removes it meanwhile prevails, and makes
    /// the restart a conflict.
    async fn restart(&self, id: MachineId, timeout_ms: Option<u64>) -> Result<(), NodeError>;

    /// Lets the machine stand still, on disk or in memory. One that is paused in memory may still go to disk, not the
    /// other way round. Idempotent.
    async fn pause(&self, id: MachineId, mode: PauseMode) -> Result<(), NodeError>;

    /// Lets a paused machine go on. Where that fails it stays paused. Idempotent.
    async fn resume(&self, id: MachineId) -> Result<(), NodeError>;

    /// Makes a snapshot of a machine, which goes on afterwards if it ran. Whole or not at all. Idempotent by ID.
    async fn snapshot(&self, request: SnapshotRequest) -> Result<SnapshotInfo, NodeError>;

    /// All snapshots that the node has, in no order.
    async fn snapshots(&self) -> Result<Vec<SnapshotInfo>, NodeError>;

    /// Removes a snapshot. Machines that began with it go on, and those that are to begin with it still can. Idempotent:
    /// one that is unknown is no error.
    async fn remove_snapshot(&self, id: SnapshotId) -> Result<(), NodeError>;

    /// Takes a machine back to where a snapshot was made of it, memory and disk alike; what it did since is lost. Answered
    /// once the machine is on its way.
    async fn rollback(&self, id: MachineId, snapshot: SnapshotId) -> Result<(), NodeError>;

    /// Changes what a machine may reach, in place of what its spec says, now and at each start. Connections that it may have no
    /// longer are cut. A machine that is just starting is a conflict.
    async fn set_egress(&self, id: MachineId, rules: EgressRules) -> Result<(), NodeError>;

    /// Makes a machine that waits (owned by [`MachineOwner::Warm`], paused in memory) the one that this spec of its ID says,
    /// which differs in what it is not made of: its name, whose it is, what happens when it ends. Answered once it runs. Where
    /// it fails, the machine is to be removed.
    ///
    /// [`MachineOwner::Warm`]: hearth_domain::MachineOwner::Warm
    async fn claim(&self, spec: MachineSpec) -> Result<(), NodeError>;

    /// Sends a signal to the machine's program. 9 ends the whole machine, and returns when it is at rest.
    async fn kill(&self, id: MachineId, signal: i32) -> Result<(), NodeError>;

    /// Destroys the machine with its folder and everything in it. One that is not at rest is a conflict, unless by
    /// force. Idempotent: one that is unknown is no error.
    async fn remove(&self, id: MachineId, force: bool) -> Result<(), NodeError>;

    /// All machines that the node has, in no order.
    fn machines(&self) -> Vec<MachineSpec>;

    /// What a machine should be.
    fn spec(&self, id: MachineId) -> Option<MachineSpec>;

    /// What a machine is doing now.
    fn status(&self, id: MachineId) -> Option<MachineStatus>;

    /// What opens a machine's files and processes to whoever shows it to the guest's agent, in the header `X-Access-Token`. The same
    /// for as long as there is the machine.
    fn access_token(&self, id: MachineId) -> Option<String>;

    /// What a machine is doing, as it changes. The sender is dropped when the machine is destroyed, after the state
    /// became so.
    fn watch(&self, id: MachineId) -> Option<watch::Receiver<MachineStatus>>;

    /// Every transition of every machine.
    fn events(&self) -> broadcast::Receiver<NodeEvent>;

    /// What the node has and has given out, as it changes: when a machine comes or starts, and when one has come to rest. Whoever
    /// reads it knows what would fit, not what will: [`create`](Self::create) decides.
    fn books(&self) -> watch::Receiver<NodeBooks>;

    /// What a machine wrote. With `follow` the stream ends when the machine is at rest, after its last line.
    async fn logs(
        &self,
        id: MachineId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, NodeError>>, NodeError>;

    /// Joins a machine's program: all it wrote from the very start, then what it writes; and its standard input. May
    /// be called before the machine starts, and then misses nothing. The output ends when the machine is at rest.
    async fn attach(&self, id: MachineId) -> Result<Attachment, NodeError>;

    /// Runs one more command in a running machine. Dropping the session kills it.
    async fn exec(&self, id: MachineId, request: ExecRequest) -> Result<ExecSession, NodeError>;

    /// What a machine uses.
    async fn stats(&self, id: MachineId) -> Result<MachineStats, NodeError>;

    /// Reads a path of the guest as a tar stream, with what lies at the path.
    async fn archive_get(
        &self,
        id: MachineId,
        path: String,
    ) -> Result<(FileStat, BoxStream<'static, Result<Bytes, NodeError>>), NodeError>;

    /// Unpacks a tar stream into a folder of the guest. The stream's error, if any, is the client's.
    async fn archive_put(
        &self,
        id: MachineId,
        path: String,
        archive: BoxStream<'static, Result<Bytes, NodeError>>,
    ) -> Result<(), NodeError>;

    /// What the node is and has.
    async fn info(&self) -> Result<NodeInfo, NodeError>;

    /// Tries, by use, whatever the node needs of its host.
    async fn doctor(&self) -> Vec<Check>;
}
