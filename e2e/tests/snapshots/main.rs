//! Snapshots of real machines: sleep, forks, ways back, and what a death at each step leaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that cannot be made fails its test"
)]

mod boots;
mod disk;
mod faults;
mod fork;
mod full;
mod paused;
mod recover;
mod shop;
mod sleep;
mod vmm;
mod warm;
