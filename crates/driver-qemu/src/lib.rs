//! The driver for QEMU's `microvm` machine: the one that runs everywhere, by KVM where that truly works and by
//! software emulation elsewhere.
//!
//! ```text
//! start ─► check files ─► launch (hearth-driver) ─► QMP says "running" ─► handle
//!                              │ dies before: its last words are the error
//! ```
//!
//! QEMU runs as the machine's own user in its own namespaces, without capabilities, under its own system call filter.
//! It gets the tap as an open file. It is asked to do things over QMP, one short connection each, so that nothing needs
//! to be kept, or found again after a restart. What it answers is bounded and has a deadline: a QEMU that its guest
//! has taken over must not harm the daemon.

mod accel;
mod command;
mod driver;
mod kernel;
mod probe;
mod qmp;
mod save;

pub use accel::{Accel, AccelChoice, InvalidAccelChoice};
pub use driver::{QemuDriver, QemuOptions};
