//! The server over a real unix socket, with real stores, on a node in memory.

#![expect(clippy::unwrap_used, reason = "a fixture that fails ends its test")]

mod fixture;

mod access;
mod document;
mod hostile;
mod images;
mod lambda;
mod lifecycle;
mod metrics;
mod ready;
mod recovery;
mod sessions;
mod tenancy;
