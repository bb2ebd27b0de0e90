//! Kernel settings under `/proc/sys/net`, of the calling thread's namespace.

use std::{fs, io};

/// Reads a setting; none if the kernel has no such.
pub(crate) fn read(key: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/net/{key}"))
        .ok()
        .map(|value| value.trim().to_owned())
}

/// Writes a setting unless it has the value already: where `/proc/sys` is read-only that is all that can be asked.
pub(crate) fn write(key: &str, value: &str) -> io::Result<()> {
    if read(key).as_deref() == Some(value) {
        return Ok(());
    }
    fs::write(format!("/proc/sys/net/{key}"), value)
        .map_err(|error| io::Error::new(error.kind(), format!("setting net/{key} to {value}: {error}")))
}
