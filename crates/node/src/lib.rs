//! The node: machine owners, recovery, admission, cgroups.
//!
//! A machine belongs to one task, its *owner*, which alone changes its state. What an owner needs to go on after a
//! crash lies in the machine's folder; [`Node::open`] reads the folders and puts owners to what it finds. See
//! [`owner`] for a machine's life and [`record`] for what is kept.

mod adapters;
mod calls;
mod cgroup;
mod clock;
mod config;
mod disk;
mod doctor;
pub mod fault;
mod files;
mod frozen;
mod guest_link;
mod held;
mod host;
mod ledger;
mod log;
mod node;
mod owner;
mod provisions;
mod record;
mod secrets;
mod services;
mod session;
mod snapshot;

pub use adapters::{ImageRoots, KernelBundles};
pub use config::NodeConfig;
pub use doctor::examine;
pub use host::detect_capacity;
pub use node::{Node, NodeParts, OpenError, machines_under_way};
pub use provisions::{HeldRoot, Holder, Kernels, ProvisionError, RootConfig, Roots, Secrets};
