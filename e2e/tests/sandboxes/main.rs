//! Sandboxes on real machines: of other sizes, after their VMM, within rules of what they reach, very many at once, and what a death of the daemon at each step leaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crowd;
mod faults;
mod life;
mod network;
mod shop;
mod stages;
