//! Taps: the host's end of a guest's network card.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::OwnedFd,
    path::Path,
};

use rustix::ioctl::{IntegerSetter, Updater, ioctl};

use crate::netns::{in_netns, on_own_thread};

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
    attached(name, |tap| set::<TUNSETPERSIST>(tap, 1))
}

/// Says who may open the tap besides root.
pub(crate) fn set_owner(name: &str, uid: u32, gid: u32) -> io::Result<()> {
    attached(name, |tap| {
        set::<TUNSETOWNER>(tap, uid)?;
        set::<TUNSETGROUP>(tap, gid)
    })
}

/// Holds the tap for `work` and nobody else.
///
/// A tap has one holder. Had the descriptor a place in the process's table, then every process that another thread
/// starts meanwhile would hold the tap as well until it executes its program, and the VMM for which the tap was made
/// would find it busy.
fn attached(name: &str, work: impl FnOnce(&OwnedFd) -> io::Result<()> + Send) -> io::Result<()> {
    on_own_thread(|| {
        own_descriptors()?;
        work(&attach(name)?)
    })
}

/// Gives the calling thread a table of file descriptors of its own, with none but the standard ones in it.
#[expect(unsafe_code, reason = "close_range has no safe form")]
fn own_descriptors() -> io::Result<()> {
    // SAFETY: no memory is involved. The table is this thread's own from here on, and the thread was made a moment ago:
    // nothing on its stack owns a descriptor that the call takes away.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE.cast_signed()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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

#[cfg(test)]
mod tests {
    use std::{
        process::Command,
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn processes_started_meanwhile_do_not_hold_the_tap() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: root is needed");
            return;
        }
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        Command::new("true").status().unwrap();
                    }
                });
            }
            let result = on_own_thread(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
                make_persistent("tap0")?;
                (0..1000).try_for_each(|uid| set_owner("tap0", uid, uid))
            });
            done.store(true, Ordering::Relaxed);
            result.unwrap();
        });
    }
}
