//! The disk's file system, frozen while the host copies it: all that programs wrote is on it, and what they write meanwhile
//! waits.
//!
//! ```text
//!  Freeze ─► written out, frozen ─► Thaw ─► thawed
//!                         └─ after a while without Thaw ─► thawed
//! ```
//! The agent itself may come to wait for a file of the disk, and then hears no Thaw: so a thread of its own sees to the end.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use hearth_guest_api::connect::{Code, ConnectError};

use crate::agent::Agent;
use crate::ioctl;

/// How long file systems stay frozen at most. The vCPUs stand still while the host copies, so this is only for a host that died.
const FROZEN_MAX: Duration = Duration::from_secs(10);

/// Whoever waits for the end of the freeze that there is; dropping its other end tells it.
#[derive(Default)]
pub(crate) struct Freezes(RefCell<Option<Sender<()>>>);

/// Writes out everything and, where the root is on a disk, freezes that disk's file system.
pub(crate) fn freeze(agent: &Agent) -> Result<(), ConnectError> {
    rustix::fs::sync();
    let Some(disk) = &agent.boot.disk else { return Ok(()) };
    let frozen = ioctl::freeze(disk).and_then(|()| {
        let watched = disk.try_clone().and_then(|disk| thaw_after(disk, FROZEN_MAX));
        // What nobody would thaw must not stay frozen.
        watched.inspect_err(|_| drop(ioctl::thaw(disk)))
    });
    let watch = frozen.map_err(|error| internal("freeze", &error))?;
    agent.freezes.0.replace(Some(watch));
    Ok(())
}

/// Thaws what was frozen; what was not is left alone.
pub(crate) fn thaw(agent: &Agent) -> Result<(), ConnectError> {
    agent.freezes.0.take();
    let Some(disk) = &agent.boot.disk else { return Ok(()) };
    thaw_disk(disk).map_err(|error| internal("thaw", &error))
}

fn thaw_disk(disk: &OwnedFd) -> io::Result<()> {
    match ioctl::thaw(disk) {
        // It is not frozen.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => Ok(()),
        thawed => thawed,
    }
}

/// Thaws a disk after so long, unless what this gives is dropped before.
fn thaw_after(disk: OwnedFd, after: Duration) -> io::Result<Sender<()>> {
    let (watch, thawed) = channel();
    thread::Builder::new().name("thaw".into()).spawn(move || {
        if thawed.recv_timeout(after) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        match thaw_disk(&disk) {
            Ok(()) => crate::console("the disk was frozen for too long, and is thawed"),
            Err(error) => crate::console(&format!("cannot thaw the disk: {error}")),
        }
    })?;
    Ok(watch)
}

fn internal(what: &str, error: &io::Error) -> ConnectError {
    ConnectError::new(Code::Internal, format!("cannot {what} the disk: {error}"))
}
