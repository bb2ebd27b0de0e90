//! The driver against real Firecracker and its jailer.

mod boot;
mod ground;
