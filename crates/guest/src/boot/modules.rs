//! Drivers that the kernel has as modules, in the order of the initramfs's list.
//!
//! What the root, the network and programs need is loaded before anything is served. The rest serves the host alone, and is
//! loaded behind the program's back: under software emulation it takes as long as a process or two.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::BootError;

const FOLDER: &str = "/lib/hearth";

/// No program waits for these: the balloon, a console and a socket of which the host has the other end, the power button, the
/// diagnosis of sockets.
const LATE: [&str; 8] = [
    "virtio_balloon",
    "virtio_console",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    "button",
    // For what ends the connections of a copy.
    "inet_diag",
    "tcp_diag",
];

/// What mounts volumes, which few guests do. Loaded when the first is mounted.
const OF_VOLUMES: [&str; 8] = [
    "sunrpc", "grace", "lockd", "nfs_acl", "netfs", "fscache", "nfs", "nfsv3",
];

/// Modules that are still to be loaded, in this order.
#[derive(Default)]
pub(crate) struct LateModules(Vec<File>);

/// Modules that are loaded when a volume is mounted, in this order.
#[derive(Default)]
pub(crate) struct VolumeModules(Vec<File>);

/// Loads what is needed at once. One file name a line, relative to `modules/`; a leading `-` marks one that may fail. No list,
/// no modules.
pub(super) fn load() -> Result<(LateModules, VolumeModules), BootError> {
    let list = fs::read_to_string(Path::new(FOLDER).join("modules.list")).unwrap_or_default();
    let (mut late, mut of_volumes) = (LateModules::default(), VolumeModules::default());
    for line in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, is_optional) = line.strip_prefix('-').map_or((line, false), |name| (name, true));
        let path = Path::new(FOLDER).join("modules").join(name);
        let loaded = File::open(path).and_then(|file| {
            // The initramfs is gone by then, but not what is open.
            if is_optional && is_one_of(&LATE, name) {
                late.0.push(file);
                return Ok(());
            }
            if is_optional && is_one_of(&OF_VOLUMES, name) {
                of_volumes.0.push(file);
                return Ok(());
            }
            insert(&file)
        });
        match loaded {
            Err(error) if !is_optional => return Err(BootError::new(format!("load the module {name}"), error)),
            _ => {}
        }
    }
    Ok((late, of_volumes))
}

/// `013-vsock.ko` → `vsock`.
fn is_one_of(modules: &[&str], file_name: &str) -> bool {
    let module = file_name.trim_start_matches(|c: char| c.is_ascii_digit());
    let module = module.trim_start_matches('-');
    modules.contains(&module.trim_end_matches(".ko"))
}

fn insert(file: &File) -> io::Result<()> {
    match rustix::system::finit_module(file, c"", 0) {
        // Built in, or listed twice.
        Err(rustix::io::Errno::EXIST) => Ok(()),
        result => Ok(result?),
    }
}

impl LateModules {
    /// Loads them on a thread of lowest priority, which ends with the last one.
    pub(crate) fn load(self) {
        std::thread::spawn(move || {
            // Of this thread only; without it the modules merely take the program's time.
            let _ = rustix::process::nice(19);
            for file in &self.0 {
                // Optional, all of them.
                let _ = insert(file);
            }
        });
    }
}

impl VolumeModules {
    /// Loads them. Blocks; what is loaded already is fine, and what does not load is found missing by the mount.
    pub(crate) fn load(&self) {
        for file in &self.0 {
            let _ = insert(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serves_the_host_alone_can_wait() {
        let is_late = |name| is_one_of(&LATE, name);
        assert!(is_late("013-vsock.ko") && is_late("018-button.ko"));
        assert!(!is_late("016-fuse.ko") && !is_late("009-virtio_net.ko") && !is_late(""));
        assert!(is_one_of(&OF_VOLUMES, "027-nfsv3.ko") && !is_late("027-nfsv3.ko"));
    }
}
