//! Randomness from the host: an emulated guest has little of its own, and clones of one snapshot would share theirs.

use std::fs::OpenOptions;
use std::io;

use rustix::io::Errno;

/// Credits the bytes to the kernel's pool.
pub(crate) fn credit(entropy: &[u8]) -> io::Result<()> {
    let pool = OpenOptions::new().write(true).open("/dev/urandom")?;
    entropy
        .chunks(crate::ioctl::MAX_ENTROPY_BYTES)
        .take(1)
        .try_for_each(|part| crate::ioctl::add_entropy(&pool, part))
}

/// Has the generator take a new key from the pool now; by itself it does so once a minute.
pub(crate) fn reseed() -> io::Result<()> {
    let pool = OpenOptions::new().write(true).open("/dev/urandom")?;
    match crate::ioctl::reseed(&pool).map_err(|error| (error.raw_os_error().map(Errno::from_raw_os_error), error)) {
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
