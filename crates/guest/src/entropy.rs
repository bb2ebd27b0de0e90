//! Randomness from the host: an emulated guest has little of its own, and clones of one snapshot would share theirs.

use std::fs::{File, OpenOptions};
use std::io;

use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

/// Credits the bytes to the kernel's pool, and has the generator take a new key from it now where that is wanted; by itself it
/// does so once a minute.
pub(crate) fn credit(entropy: &[u8], and_reseed: bool) -> io::Result<()> {
    if entropy.is_empty() && !and_reseed {
        return Ok(());
    }
    let pool = OpenOptions::new().write(true).open("/dev/urandom")?;
    if let Some(part) = entropy.chunks(crate::ioctl::MAX_ENTROPY_BYTES).next() {
        crate::ioctl::add_entropy(&pool, part)?;
    }
    if and_reseed { reseed(&pool) } else { Ok(()) }
}

fn reseed(pool: &File) -> io::Result<()> {
    match crate::ioctl::reseed(pool).map_err(|error| (error.raw_os_error().map(Errno::from_raw_os_error), error)) {
        // It has no key yet, so what is credited becomes its first one.
        Err((Some(Errno::NODATA), _)) | Ok(()) => Ok(()),
        // Before Linux 4.14, which is older than the file system of our images; a seccomp filter may say the same.
        Err((Some(Errno::NOTTY | Errno::INVAL), _)) => {
            crate::console("this kernel's random generator renews itself only within a minute");
            Ok(())
        }
        Err((_, error)) => Err(error),
    }
}

/// A random UUID (RFC 9562, version 4).
pub(crate) fn uuid() -> io::Result<String> {
    let mut bytes = [0; 16];
    // Before the generator's first key it waits for one, which the credit of Init gives.
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    let value = u128::from_be_bytes(bytes);
    let value = (value & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    Ok(format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        value >> 96,
        (value >> 80) & 0xffff,
        (value >> 64) & 0xffff,
        (value >> 48) & 0xffff,
        value & 0xffff_ffff_ffff
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_random_ones() {
        let id = uuid().unwrap();
        assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert_ne!(id, uuid().unwrap());
    }
}
