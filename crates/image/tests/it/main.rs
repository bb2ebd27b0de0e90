//! Pulls from a real registry, imports of real archives, and what must hold when things go wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up is a failed test"
)]

mod crash;
mod faults;
mod import;
mod lifecycle;
mod proxy;
mod pull;
mod reach;
mod source;
mod support;
