//! Instances that are alive.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use hearth_ids::{FunctionId, MachineId};
use serde::{Deserialize, Serialize};

use crate::CoordError;

/// Number of a lease.
pub type LeaseId = u64;

/// What an instance is registered by: `/functions/<function_id>/instances/<worker_id>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceKey {
    /// Of which function it is an instance.
    pub function: FunctionId,
    /// Its machine, which is the second half of the worker's name in the contract: there is one entry an instance.
    pub machine: MachineId,
}

/// An instance that serves. `worker_ip`, `proxy_port` and `internal_vm_ip` are the contract with readers of other makers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What it is registered by.
    pub key: InstanceKey,
    /// Address of its node.
    pub worker_ip: IpAddr,
    /// Port at which it is reached there.
    pub proxy_port: u16,
    /// Its machine's own address on the node.
    pub internal_vm_ip: IpAddr,
    /// Which version of the function it runs.
    pub version: u32,
    /// The node's name in the queue.
    pub worker_id: String,
}

/// News of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceChange {
    /// All that are alive now. Comes first, and again whenever the listener was too slow for the changes.
    All(Vec<Instance>),
    /// It came, or says something new of itself.
    Registered(Instance),
    /// It went, or its lease ran out.
    Gone(InstanceKey),
}

/// The registry of instances that are alive. An entry lives as long as its lease.
#[async_trait]
pub trait InstanceRegistry: Send + Sync {
    /// A new lease, which runs out `ttl` after it was last kept alive.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, CoordError>;

    /// Begins the lease's time anew.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), CoordError>;

    /// Gives a lease back: its entries go at once. Idempotent.
    async fn revoke(&self, lease: LeaseId) -> Result<(), CoordError>;

    /// Enters an instance, or replaces its entry.
    async fn register(&self, lease: LeaseId, instance: Instance) -> Result<(), CoordError>;

    /// Removes an entry. Idempotent.
    async fn deregister(&self, key: &InstanceKey) -> Result<(), CoordError>;

    /// All that are alive.
    async fn instances(&self) -> Result<Vec<Instance>, CoordError>;

    /// What is alive, and then what changes, without a gap between. Ends when the registry does.
    async fn watch(&self) -> Result<BoxStream<'static, InstanceChange>, CoordError>;
}
