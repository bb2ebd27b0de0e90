//! Nodes on the fake driver, without a daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that cannot be made fails its test"
)]

mod disks;
mod machines;
mod recovery;
mod snapshots;
mod support;
