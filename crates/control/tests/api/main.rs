//! The server over a real unix socket, with real stores, on a node in memory.

#![expect(clippy::unwrap_used, reason = "a fixture that fails ends its test")]

mod fixture;
mod program;

mod access;
mod document;
mod functions;
mod hostile;
mod images;
mod invocations;
mod lambda;
mod lifecycle;
mod metrics;
mod ready;
mod recovery;
mod room;
mod sandboxes;
mod sessions;
mod snapshots;
mod templates;
mod tenancy;
mod warm;
