//! Sandboxes on real machines: very many at once, and what a death of the daemon at each step leaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crowd;
mod faults;
mod shop;
