//! The driver against a real QEMU with a real kernel.

mod boot;
mod conforms;
mod ends;
mod ground;
mod walls;
