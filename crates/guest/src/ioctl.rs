//! The ioctls that no safe wrapper offers.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{IntegerSetter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};

/// `_IOWR('X', 119, int)`, `_IOWR('X', 120, int)`.
const FIFREEZE: Opcode = 0xC004_5877;
const FITHAW: Opcode = 0xC004_5878;
/// `_IOW('f', 16, __u64)`.
const EXT4_IOC_RESIZE_FS: Opcode = 0x4008_6610;
/// `_IOW('R', 0x03, int[2])`.
const RNDADDENTROPY: Opcode = 0x4008_5203;
/// `_IO('R', 0x07)`.
const RNDRESEEDCRNG: Opcode = 0x5207;

/// As much entropy as is taken at once.
pub(crate) const MAX_ENTROPY_BYTES: usize = 512;

#[expect(unsafe_code, reason = "an ioctl is only as safe as its number and argument")]
pub(crate) fn freeze(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: FIFREEZE ignores its argument and touches no memory of ours.
    Ok(unsafe { ioctl(fd, IntegerSetter::<FIFREEZE>::new_usize(0)) }?)
}

#[expect(unsafe_code, reason = "an ioctl is only as safe as its number and argument")]
pub(crate) fn thaw(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: FITHAW ignores its argument and touches no memory of ours.
    Ok(unsafe { ioctl(fd, IntegerSetter::<FITHAW>::new_usize(0)) }?)
}

/// Has a mounted ext4 take up so many of its device's blocks; one that does already is left alone.
#[expect(unsafe_code, reason = "an ioctl is only as safe as its number and argument")]
pub(crate) fn resize_ext4(fd: impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one `__u64`.
    Ok(unsafe { ioctl(fd, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) }?)
}

#[expect(unsafe_code, reason = "an ioctl is only as safe as its number and argument")]
pub(crate) fn reseed(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: RNDRESEEDCRNG has no argument.
    Ok(unsafe { ioctl(fd, NoArg::<RNDRESEEDCRNG>::new()) }?)
}

/// `struct rand_pool_info`: how many bits to credit, how many bytes follow, the bytes.
#[repr(C)]
struct EntropyBuffer {
    bits: i32,
    bytes: i32,
    data: [u8; MAX_ENTROPY_BYTES],
}

struct AddEntropy(EntropyBuffer);

#[expect(unsafe_code, reason = "an ioctl is only as safe as its number and argument")]
// SAFETY: RNDADDENTROPY reads a `rand_pool_info`, whose layout `EntropyBuffer` has, and as many bytes as it says.
unsafe impl Ioctl for AddEntropy {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        RNDADDENTROPY
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Credits at most [`MAX_ENTROPY_BYTES`] to the kernel's pool.
#[expect(unsafe_code, reason = "an ioctl is only as safe as its number and argument")]
pub(crate) fn add_entropy(fd: impl AsFd, entropy: &[u8]) -> io::Result<()> {
    let length = entropy.len().min(MAX_ENTROPY_BYTES);
    let count = i32::try_from(length).unwrap_or_default();
    let mut buffer = EntropyBuffer {
        bits: count * 8,
        bytes: count,
        data: [0; MAX_ENTROPY_BYTES],
    };
    buffer.data[..length].copy_from_slice(&entropy[..length]);
    // SAFETY: see `AddEntropy`; the count is within the buffer.
    Ok(unsafe { ioctl(fd, AddEntropy(buffer)) }?)
}
