//! What the worker needs of its surroundings.

use async_trait::async_trait;
use futures::stream::BoxStream;
use hearth_coord::{InstanceKey, ProvisionRequest};
use hearth_domain::{Contract, MachineSpec};
use hearth_ids::{FunctionId, MachineId, SnapshotId};
use hearth_node_api::{LogChunk, NodeError};
use thiserror::Error;

/// How an instance is made.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The machine, with an ID and a name of its own.
    pub spec: MachineSpec,
    /// Which version of the function it is.
    pub version: u32,
    /// How it is called.
    pub contract: Contract,
    /// The port at which it is called.
    pub port: u16,
    /// The template that is to be made of it, once it is ready and before it is called. Whoever asks for more instances
    /// meanwhile has them boot.
    pub make_template: Option<SnapshotId>,
}

/// Why there is no blueprint.
#[derive(Debug, Error)]
pub enum BlueprintError {
    /// The function, or its version, is gone.
    #[error("the function is gone, or has no such version")]
    Gone,
    /// Its project may have no more.
    #[error("{0}")]
    NoRoom(String),
    /// Something that it needs is not there.
    #[error("{0}")]
    Lacking(String),
    /// It could not be found out.
    #[error("{0}")]
    Broken(String),
}

/// Where blueprints come from.
#[async_trait]
pub trait Blueprints: Send + Sync {
    /// The blueprint of one more instance; of the newest version, if none is named. The machine is on the books from now
    /// on: it is made, or [withdrawn](Self::withdraw).
    async fn blueprint(&self, function: FunctionId, version: Option<u32>) -> Result<Blueprint, BlueprintError>;

    /// A machine could not be made after all. Idempotent.
    async fn withdraw(&self, machine: MachineId);

    /// A template that a blueprint asked for is made, or will not be made. What is told of one first counts.
    async fn template_made(&self, template: SnapshotId, made: bool);

    /// No instance came up from a template: there shall be another.
    async fn template_failed(&self, template: SnapshotId);

    /// The template from which an instance of a version would go on now. None if it would boot: there is no template, or
    /// something has changed since it was made that instances are made of.
    async fn template(&self, function: FunctionId, version: u32) -> Option<SnapshotId>;

    /// An instance found no room on the node: whatever else waits there makes some.
    async fn make_room(&self);

    /// How the instances of a version are called: for those that were there before this process. None if it is gone.
    async fn contract(&self, function: FunctionId, version: u32) -> Option<(Contract, u16)>;
}

/// Why there is no instance.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProvisionFailure {
    /// The node has no room; there may be some later.
    #[error("no room: {0}")]
    NoRoom(String),
    /// It cannot be made, or did not become ready: the same would most likely happen again.
    #[error("{0}")]
    Broken(String),
    /// It has no fault of its own: it was ended on its way, or the node or the registry could not do their part.
    #[error("{0}")]
    Hindered(String),
}

/// Hears what became of requests.
pub trait Outcomes: Send + Sync {
    /// A request was served, or failed.
    fn provisioned(&self, request: &ProvisionRequest, outcome: Result<InstanceKey, ProvisionFailure>);
}

/// Keeps what instances wrote.
#[async_trait]
pub trait LogArchive: Send + Sync {
    /// Keeps the whole log of an instance that ended. May be called again for the same one.
    async fn archive(
        &self,
        spec: &MachineSpec,
        log: BoxStream<'static, Result<LogChunk, NodeError>>,
    ) -> Result<(), std::io::Error>;
}
