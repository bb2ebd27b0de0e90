//! Opens a tap that exists already.

use std::{
    fs::{File, OpenOptions},
    io,
};

use rustix::ioctl::{self, Setter, opcode};

/// `struct ifreq`, as far as `TUNSETIFF` reads it: name and flags in 40 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const TUNSETIFF: ioctl::Opcode = opcode::write::<std::ffi::c_int>(b'T', 202);

/// Opens the tap `name` of the network namespace that this thread is in, with virtio headers. It fails for an
/// interface that does not exist rather than making one, so that a slip leaves nothing behind.
pub(super) fn open(name: &str) -> io::Result<File> {
    if name.is_empty() || name.len() > 15 || !std::path::Path::new("/proc/self/net/dev").exists() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if !exists(name)? {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no such interface in the network namespace",
        ));
    }
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    #[expect(unsafe_code, reason = "ioctls have no safe form")]
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` of 40 bytes, which `InterfaceRequest` is; its declared
    // size in the opcode is historically that of an int.
    unsafe {
        ioctl::ioctl(&file, Setter::<TUNSETIFF, InterfaceRequest>::new(request))?;
    }
    Ok(file)
}

fn exists(name: &str) -> io::Result<bool> {
    // `/proc/self/net` shows the namespace of the process, which is the thread's: the launcher has but one.
    let table = std::fs::read_to_string("/proc/self/net/dev")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(found, _)| found.trim() == name))
}
