//! The driver against a real QEMU with a real kernel.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod boot;
mod conforms;
mod ends;
mod ground;
mod walls;
