//! What the gateway needs of others.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use hearth_coord::{InstanceKey, InstanceRegistry, ProvisionQueue};
use hearth_ids::{FunctionId, InvocationId, MachineId, ProjectId, RequestId};
use http::{HeaderMap, Method};
use thiserror::Error;

use crate::{CallError, Qualifier, Sandboxes, VersionFacts};

/// Everything the gateway asks others.
#[derive(Clone)]
pub struct GatewayParts {
    /// Where instances are found.
    pub registry: Arc<dyn InstanceRegistry>,
    /// Where instances are asked for.
    pub queue: Arc<dyn ProvisionQueue>,
    /// Who may call.
    pub keys: Arc<dyn KeyCheck>,
    /// Who keeps asynchronous calls.
    pub invocations: Arc<dyn AsyncInvocations>,
    /// Who ends instances.
    pub hosts: Arc<dyn InstanceHost>,
    /// Who knows how much room nodes have.
    pub nodes: Arc<dyn NodeRoom>,
    /// Who says how many requests a project may make.
    pub rates: Arc<dyn RateLimit>,
    /// Who is told of each call.
    pub observer: Arc<dyn CallObserver>,
    /// Who knows sandboxes.
    pub sandboxes: Arc<dyn Sandboxes>,
}

/// Why a caller may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// There is no such key, or it has expired or was revoked.
    Unknown,
    /// The key is good, but not for this.
    Forbidden,
    /// It cannot be said now.
    Unavailable,
}

/// Says who may call a function that is not public.
#[async_trait]
pub trait KeyCheck: Send + Sync {
    /// Whether the key `token` may call the function.
    async fn check(&self, token: &str, project: ProjectId, function: FunctionId) -> Result<(), Denied>;
}

/// A call whose answer the caller does not wait for.
#[derive(Debug, Clone)]
pub struct AsyncCall {
    /// The request that brought it.
    pub request: RequestId,
    /// Of which function.
    pub function: FunctionId,
    /// Which of its versions, as the caller named it.
    pub qualifier: Qualifier,
    /// The request's method.
    pub method: Method,
    /// The request's path and query, as the function is to see them.
    pub path: String,
    /// The request's headers, without those that concern only the connection or the key.
    pub headers: HeaderMap,
    /// The request's body.
    pub body: Bytes,
    /// Two calls of one function with the same key are one.
    pub idempotency_key: Option<String>,
}

/// Why an asynchronous call was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAccepted {
    /// Too many wait already.
    #[error("too many asynchronous calls wait already")]
    Full,
    /// The same idempotency key was used for another call.
    #[error("the idempotency key was used for another call")]
    Conflict,
    /// It cannot be kept now.
    #[error("asynchronous calls cannot be kept now: {0}")]
    Unavailable(String),
}

/// Keeps asynchronous calls, and has them run.
#[async_trait]
pub trait AsyncInvocations: Send + Sync {
    /// Keeps the call; when this returns it is not lost any more.
    async fn accept(&self, call: AsyncCall) -> Result<InvocationId, NotAccepted>;
}

/// Why an instance has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetireReason {
    /// Fewer are needed.
    Idle,
    /// Its version is not called any more.
    VersionGone,
    /// It cannot be reached.
    Unreachable,
    /// It still works at a call whose time is over.
    TimedOut,
    /// Its program has ended.
    Ended,
}

/// Ends instances.
#[async_trait]
pub trait InstanceHost: Send + Sync {
    /// The gateway gives the instance no more calls: it is to be removed. Idempotent.
    async fn retire(&self, key: InstanceKey, reason: RetireReason);
}

/// How many more instances of a version nodes would take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomLeft {
    /// Beside the machines that there are.
    pub on_books: u32,
    /// Beside these and all that was asked for, by anybody, whether or not nodes have heard of it. What was asked for may
    /// never be made, so that it delays others and keeps nobody out.
    pub unasked: u32,
}

/// Knows how much room nodes have, or that it does not know. What it says keeps requests for instances back that would be
/// refused; whether an instance is made is decided where it is made.
pub trait NodeRoom: Send + Sync {
    /// How many more instances of a version nodes would take now. None if that is not known, or was last known so long ago
    /// that nobody should go by it.
    ///
    /// Asked at each plan and before each request: looks at what is in memory.
    fn room(&self, _function: FunctionId, _version: u32, _facts: &VersionFacts) -> Option<RoomLeft> {
        None
    }

    /// Tells, from now on, each time when there may be more room than before.
    fn changes(&self) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }
}

/// Says how many requests a project may make.
pub trait RateLimit: Send + Sync {
    /// Takes one request of the project; where there is none to take, the time until there is.
    fn take(&self, project: ProjectId) -> Result<(), Duration>;
}

/// A call that has ended.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// The request that brought it.
    pub request: RequestId,
    /// The asynchronous call that it is an attempt of.
    pub invocation: Option<InvocationId>,
    /// Whose function.
    pub project: ProjectId,
    /// Which function.
    pub function: FunctionId,
    /// Which version.
    pub version: u32,
    /// The instance's machine, if the call reached one.
    pub machine: Option<MachineId>,
    /// The request's method.
    pub method: Method,
    /// The request's path, as the function saw it.
    pub path: String,
    /// Who called.
    pub client: Option<IpAddr>,
    /// When it came.
    pub started: SystemTime,
    /// The status of the answer.
    pub status: u16,
    /// Whether it had to wait until an instance was made.
    pub cold: bool,
    /// How long it waited for an instance.
    pub queued: Duration,
    /// How long it took in all, to the answer's last byte.
    pub duration: Duration,
    /// Bytes of the request's body that were passed on.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// What went wrong, if something did.
    pub error: Option<CallError>,
}

/// Is told of each call.
pub trait CallObserver: Send + Sync {
    /// A call has ended. Must not block.
    fn finished(&self, call: CallRecord);
}

/// Why an instance could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProvisionFailure {
    /// No node has room.
    NoRoom,
    /// It was tried and failed; the text is for the function's owner.
    Failed(String),
}
