//! Ports of sandboxes.

mod contract;

pub use contract::{NoSandbox, NoSandboxes, SandboxPlace, Sandboxes};
