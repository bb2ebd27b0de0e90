//! Makes instances of functions on a node, as the provision queue asks for them, and ends them.
//!
//! ```text
//!  queue ─take─► create, start ─► ready? ─► register under the lease ─► serves
//!                     │               │                                    │ retired, or its machine ended
//!                     └── failed ◄────┘                                    ▼
//!                            └────────► deregister ─► stop ─► archive its log ─► remove
//! ```
//!
//! Invariants:
//! - An instance is its machine: nothing is known of it that cannot be found again from the node. After a restart the
//!   worker takes up every machine of a function, by the same steps.
//! - What is registered is ready; what ended, or is about to, is not registered any more.
//! - A machine of a function that is at rest is removed, once its log is archived.

mod await_ready;
mod fault;
mod instance;
mod lease;
mod meters;
mod parts;
mod provision;
mod ready;
mod spans;
mod turns;
mod warm;
mod worker;

pub use fault::POINTS as FAULT_POINTS;
pub use parts::{Blueprint, BlueprintError, Blueprints, LogArchive, Outcomes, ProvisionFailure};
pub use worker::{InstanceCounts, KnownInstance, Worker, WorkerConfig, WorkerParts};
