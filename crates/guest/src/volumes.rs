//! Volumes: folders that the host serves by NFS, mounted where Init says.
//!
//! The kernel mounts them by itself, without a program of the image. Mounts are hard: while the host's server is away, such as over a
//! pause or a restart of the daemon, what wants a file waits, and goes on when it is back. Locks are this guest's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::{VOLUME_CLIENT_PORTS, guest};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::agent::Agent;

/// More than a machine is given.
const MOUNTS_MAX: usize = 64;
/// How long all mounts may take; the host's patience is 30 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is mounted: sources by their paths. It goes along with a snapshot, as the mounts do.
#[derive(Default)]
pub(crate) struct Volumes(RefCell<BTreeMap<String, String>>);

/// What became of the mounts.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) mounted: u32,
    /// Whether one was taken away.
    pub(crate) gone: bool,
}

/// Mounts these and no others.
pub(crate) async fn settle(agent: &Rc<Agent>, wanted: &guest::Volumes) -> Result<Settled, ConnectError> {
    let there = agent.volumes.0.borrow().clone();
    let wanted_mounts = read(wanted)?;
    let mut gone = false;
    for (path, source) in &there {
        if wanted_mounts.get(path) != Some(source) {
            take_away(path);
            gone = true;
            agent.volumes.0.borrow_mut().remove(path);
        }
    }
    let mut new = wanted_mounts.clone();
    new.retain(|path, source| there.get(path) != Some(source));
    if !new.is_empty() {
        let options = options(wanted)?;
        let address = wanted.address.clone();
        let modules = Arc::clone(&agent.boot.volume_modules);
        let mounting = tokio::task::spawn_blocking({
            let new = new.clone();
            move || {
                modules.load();
                take_ports()?;
                mount_all(&new, &address, &options)
            }
        });
        let mounted = tokio::time::timeout(PATIENCE, mounting).await;
        let late = |_| failed(Code::DeadlineExceeded, "the host's server of volumes does not answer");
        let broken = |_| failed(Code::Internal, "mounting volumes was cut off");
        mounted.map_err(late)?.map_err(broken)??;
        agent.volumes.0.borrow_mut().extend(new);
    }
    Ok(Settled {
        mounted: u32::try_from(wanted_mounts.len()).unwrap_or(u32::MAX),
        gone,
    })
}

fn failed(code: Code, message: impl Into<String>) -> ConnectError {
    ConnectError::new(code, message)
}

fn read(wanted: &guest::Volumes) -> Result<BTreeMap<String, String>, ConnectError> {
    if wanted.mounts.len() > MOUNTS_MAX {
        let message = format!(
            "`volumes` has {} mounts; at most {MOUNTS_MAX} are taken",
            wanted.mounts.len()
        );
        return Err(failed(Code::InvalidArgument, message));
    }
    let mut mounts = BTreeMap::new();
    for mount in &wanted.mounts {
        if !mount.path.starts_with('/') || !mount.source.starts_with('/') {
            let message = format!("`volumes` has the path {:?}, which is not absolute", mount.path);
            return Err(failed(Code::InvalidArgument, message));
        }
        mounts.insert(mount.path.clone(), mount.source.clone());
    }
    Ok(mounts)
}

/// What the kernel's client is told. Attributes are believed for a second, and that a name is not there never: others write too.
fn options(wanted: &guest::Volumes) -> Result<CString, ConnectError> {
    let bad = |_| failed(Code::InvalidArgument, "`volumes.address` is no IPv4 address");
    let address: Ipv4Addr = wanted.address.parse().map_err(bad)?;
    let port = wanted.port;
    let options = format!(
        "vers=3,proto=tcp,addr={address},port={port},mountvers=3,mountproto=tcp,mountaddr={address},mountport={port},\
         hard,nolock,noacl,sec=sys,actimeo=1,lookupcache=pos"
    );
    CString::new(options).map_err(|_| failed(Code::Internal, "options of a mount hold a NUL"))
}

/// Leaves the ports that the kernel speaks to volumes from to root: the host believes whom calls from them are by.
fn take_ports() -> Result<(), ConnectError> {
    let (path, first) = ("/proc/sys/net/ipv4/ip_unprivileged_port_start", VOLUME_CLIENT_PORTS.end);
    fs::write(path, first.to_string())
        .map_err(|error| failed(Code::Internal, format!("cannot set {path} to {first}: {error}")))?;
    Ok(())
}

/// In the order of their paths, so that one within another comes after it.
fn mount_all(mounts: &BTreeMap<String, String>, address: &str, options: &CString) -> Result<(), ConnectError> {
    for (path, source) in mounts {
        let mounted = fs::create_dir_all(path).and_then(|()| {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount(
                format!("{address}:{source}"),
                path.as_str(),
                "nfs",
                flags,
                options.as_c_str(),
            )
            .map_err(io::Error::from)
        });
        if let Err(error) = mounted {
            let hint = if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) {
                "; the machine's kernel has no NFS: import the kernel anew, or build the template anew with one that has it"
            } else {
                ""
            };
            let message = format!("cannot mount a volume at {path}: {error}{hint}");
            return Err(failed(Code::FailedPrecondition, message));
        }
    }
    Ok(())
}

/// Whoever has something open there keeps it, and gets errors.
fn take_away(path: &str) {
    if let Err(error) = unmount(path, UnmountFlags::FORCE | UnmountFlags::DETACH) {
        crate::console(&format!("cannot unmount the volume at {path}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(mounts: &[(&str, &str)]) -> guest::Volumes {
        guest::Volumes {
            address: "169.254.0.1".to_owned(),
            port: 2049,
            mounts: mounts
                .iter()
                .map(|(source, path)| guest::VolumeMount {
                    source: (*source).to_owned(),
                    path: (*path).to_owned(),
                })
                .collect(),
        }
    }

    #[test]
    fn relative_paths_and_addresses_that_are_none_are_refused() {
        assert_eq!(read(&wanted(&[("/a", "/mnt")])).unwrap().len(), 1);
        assert!(read(&wanted(&[("/a", "mnt")])).is_err());
        assert!(options(&wanted(&[])).is_ok());
        let elsewhere = guest::Volumes {
            address: "1.2.3.4,hard".to_owned(),
            ..wanted(&[])
        };
        assert!(options(&elsewhere).is_err());
    }
}
