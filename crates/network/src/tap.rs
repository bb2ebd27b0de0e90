//! Taps: the host's end of a guest's network card.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::OwnedFd,
    path::Path,
};

use rustix::ioctl::{IntegerSetter, Updater, ioctl};

use crate::netns::in_netns;

const TUNSETIFF: u32 = 0x4004_54ca;
const TUNSETPERSIST: u32 = 0x4004_54cb;
const TUNSETOWNER: u32 = 0x4004_54cc;
const TUNSETGROUP: u32 = 0x4004_54ce;

const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// `struct ifreq` as TUNSETIFF reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Opens the tap (made if it is not there) in a namespace, or in the caller's own.
///
/// For a VMM that runs as an unprivileged user and takes its card as a file descriptor. Frames carry a
/// `virtio_net_hdr` of 10 bytes.
pub fn open_tap(netns: Option<&Path>, name: &str) -> io::Result<OwnedFd> {
    match netns {
        Some(netns) => in_netns(netns, || attach(name)),
        None => attach(name),
    }
}

/// Makes the tap stay without a process that holds it, in the calling thread's namespace.
pub(crate) fn make_persistent(name: &str) -> io::Result<()> {
    set::<TUNSETPERSIST>(&attach(name)?, 1)
}

/// Says who may open the tap besides root.
pub(crate) fn set_owner(name: &str, uid: u32, gid: u32) -> io::Result<()> {
    let tap = attach(name)?;
    set::<TUNSETOWNER>(&tap, uid)?;
    set::<TUNSETGROUP>(&tap, gid)
}

#[expect(unsafe_code, reason = "no safe crate under a permissive licence makes taps")]
fn attach(name: &str) -> io::Result<OwnedFd> {
    if name.is_empty() || name.len() > 15 {
        let message = format!("interface name {name:?} is not of 1 to 15 bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let device: File = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` (40 bytes), which `request` is laid out as, and keeps no
    // reference to it.
    unsafe { ioctl(&device, Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request)) }?;
    Ok(device.into())
}

#[expect(unsafe_code, reason = "no safe crate under a permissive licence makes taps")]
fn set<const OPCODE: u32>(tap: &OwnedFd, value: u32) -> io::Result<()> {
    // SAFETY: the three requests of this module that come here take their argument as a number, not as a pointer.
    unsafe { ioctl(tap, IntegerSetter::<OPCODE>::new_usize(value as usize)) }.map_err(io::Error::from)
}
