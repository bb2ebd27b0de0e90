//! Templates: what sandboxes are made of. Each has builds, and each build that went well a snapshot.

pub(crate) mod api;
mod book;
mod build;
pub(crate) mod files;
mod find;
mod log;
mod machine;
pub(crate) mod name;
mod ready;
mod remove;
mod snapshot;
mod steps;

pub(crate) use book::book;
pub(crate) use build::{check, recover, start};
pub(crate) use find::{Source, owned, resolve, tagged};
pub(crate) use remove::remove;
pub(crate) use snapshot::of_sandbox;
