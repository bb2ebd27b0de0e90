//! The gateway with fake instances: small HTTP servers on loopback, entered in the embedded registry.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod client;
mod doubles;
mod hostile;
mod instance;
mod shutdown;
mod vertical;
mod world;
