//! Templates: what sandboxes are made of. Each has builds, and each build that went well a snapshot.

mod build;
pub(crate) mod files;
mod find;
mod log;
mod machine;
mod ready;
mod remove;
mod snapshot;
mod steps;

pub(crate) use build::{recover, start};
pub(crate) use find::{Source, owned, resolve};
pub(crate) use remove::remove;
pub(crate) use snapshot::of_sandbox;
