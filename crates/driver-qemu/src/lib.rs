//! The QEMU microvm driver.
