//! The worker on a node in memory, with the embedded queue and registry and programs on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ends;
mod restarts;
mod starts;
mod templates;
mod world;
