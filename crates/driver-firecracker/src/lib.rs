//! The Firecracker driver.
//!
//! A VMM is started through Firecracker's jailer, configured over its API socket and found again by pid and start
//! time. Everything of a machine lies in its folder (`layout`); what the VMM writes is bounded (`streams`); what
//! it says is not trusted ([`api`]). Versions from 1.0 on are driven by what each can do ([`features`]).

pub mod api;
mod cgroups;
mod config;
mod driver;
pub mod features;
mod jail;
mod launch;
mod layout;
mod probe;
mod processes;
mod programs;
mod save;
mod start;
mod streams;

pub use config::{Confinement, FirecrackerConfig, Mmds};
pub use driver::FirecrackerDriver;
pub use programs::Programs;
