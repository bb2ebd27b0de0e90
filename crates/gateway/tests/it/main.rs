//! The gateway with fake instances: small HTTP servers on loopback, entered in the embedded registry.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod asynchronous;
mod client;
mod doubles;
mod faults;
mod harm;
mod hostile;
mod instance;
mod lambda;
mod large;
mod memory;
mod room;
mod sandbox;
mod scaling;
mod shutdown;
mod slow;
mod streams;
mod tls;
mod traces;
mod vertical;
mod who;
mod world;
