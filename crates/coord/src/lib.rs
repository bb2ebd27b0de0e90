//! How gateways and nodes find each other: a queue of wanted instances, and a registry of those that are alive.
//!
//! ```text
//!  gateway ── push ──► ProvisionQueue ── take ──► worker on a node ── makes a machine
//!     ▲                                                 │
//!     └────────── watch ── InstanceRegistry ◄── register under a lease
//! ```
//!
//! Two traits and what they carry. What crosses a wire between hosts has one form, whatever stands behind the trait.

pub mod conformance;
pub mod embedded;
mod error;
mod queue;
mod registry;

pub use embedded::{EmbeddedQueue, EmbeddedRegistry};
pub use error::CoordError;
pub use queue::{Claim, ProvisionQueue, ProvisionRequest};
pub use registry::{Instance, InstanceChange, InstanceKey, InstanceRegistry, LeaseId};
