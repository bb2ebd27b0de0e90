//! Fixtures, real servers and the leak check for tests.

pub mod firecracker;
pub mod images;
pub mod kernel;
pub mod registry;
