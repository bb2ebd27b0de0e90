//! Sandboxes on real machines: of other sizes, after their VMM, very many at once, and what a death of the daemon at each step leaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crowd;
mod faults;
mod life;
mod shop;
mod stages;
