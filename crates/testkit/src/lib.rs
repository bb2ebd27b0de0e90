//! Fixtures and real servers for tests. The leak check is `scripts/leak-check`, which looks from outside.

pub mod aws;
pub mod envoy;
pub mod firecracker;
pub mod images;
pub mod kernel;
pub mod lambda;
pub mod otlp;
mod pip;
pub mod promtool;
pub mod registry;
