//! The driver against real Firecracker and its jailer.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod boot;
mod conformance;
mod cutoff;
mod doctor;
mod ground;
mod hostile;
mod jail;
mod saving;
mod settings;
