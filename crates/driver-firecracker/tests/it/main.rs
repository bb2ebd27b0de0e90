//! The driver against real Firecracker and its jailer.

mod boot;
mod cutoff;
mod doctor;
mod ground;
mod hostile;
mod jail;
mod settings;
