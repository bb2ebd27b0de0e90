//! From the kernel's first step into user space to a guest that answers.
//!
//! ```text
//!  /proc /sys /dev ─► modules ─► network ─► listen ─► root (erofs + overlay) ─► switch ─► the rest of /dev, cgroups ─► serve
//!                                                                                                  └► late modules
//! ```
//! The network comes first, so that the host's connection is made (by the kernel, into the listener's queue) while the root
//! is mounted. Nothing is answered before the root is there. A step that fails says so on the console and resets the machine.

mod cmdline;
mod disks;
mod modules;
mod mounts;
mod network;
mod root;

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use hearth_guest_api::AGENT_PORT;
pub(crate) use modules::VolumeModules;
use network::Addresses;
use rustix::process::{Resource, Rlimit};

use crate::agent::Boot;
use crate::clock::uptime_ns;
use crate::process::cgroup::{self, Groups};
use crate::restore::Places;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub(crate) struct BootError {
    step: String,
    source: io::Error,
}

impl BootError {
    pub(crate) fn new(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            step: step.into(),
            source: source.into(),
        }
    }
}

/// Does everything up to a listening socket in the guest's own root.
pub(crate) fn run() -> Result<(Boot, TcpListener), BootError> {
    mounts::mount_early()?;
    mounts::open_console();
    let cmdline = fs::read_to_string("/proc/cmdline").map_err(|error| BootError::new("read /proc/cmdline", error))?;
    let (late_modules, volume_modules) = modules::load()?;
    let addresses =
        cmdline::addresses(&cmdline).map_err(|reason| BootError::new("understand `ip=`", io::Error::other(reason)))?;
    network::bring_up(&addresses)?;
    let listener = listen()?;
    let listening_ns = uptime_ns();
    announce(&addresses);
    let disk = root::switch(Path::new("/dev"), Path::new("/sys/block"))?;
    mounts::mount_late();
    let groups = Groups::set_up(Path::new(cgroup::ROOT));
    set_defaults();
    let boot = Boot {
        host_addresses: addresses.hosts(),
        own_address: Some(addresses.address.into()),
        disk,
        secrets: crate::secrets::FOLDER.into(),
        groups,
        places: Some(Places::new(Path::new("/"))),
        listening_ns,
        root_ready_ns: uptime_ns(),
        is_init: true,
        volume_modules: Arc::new(volume_modules),
    };
    late_modules.load();
    Ok((boot, listener))
}

fn listen() -> Result<TcpListener, BootError> {
    let failed = |error| BootError::new(format!("listen on port {AGENT_PORT}"), error);
    // Dual stack; plain IPv4 on a kernel without IPv6.
    TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, AGENT_PORT)))
        .or_else(|_| TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], AGENT_PORT))))
        .map_err(failed)
}

/// One datagram to the host, whose ARP request teaches the host our hardware address at once: a host that asked for it in
/// vain while we booted would otherwise ask again only after a second.
fn announce(addresses: &Addresses) {
    const DISCARD_PORT: u16 = 9;
    for host in addresses.hosts() {
        let own = if host.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        // Only a nudge: without it the host is merely slower to find us.
        let _ = std::net::UdpSocket::bind(own).and_then(|socket| socket.send_to(&[0], (host, DISCARD_PORT)));
    }
}

/// What images expect of a container host. Each is a convenience, so none may stop the boot.
fn set_defaults() {
    let settings = [
        ("/proc/sys/kernel/panic", "-1"),
        ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
        ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
        ("/proc/self/oom_score_adj", "-1000"),
        // Each watch of a folder is one, the agent's as well as those of root's programs.
        ("/proc/sys/fs/inotify/max_user_instances", "1024"),
        // Ctrl-Alt-Del reaches us as SIGINT instead of resetting the machine on the spot.
        ("/proc/sys/kernel/ctrl-alt-del", "0"),
    ];
    for (path, value) in settings {
        let _ = fs::write(path, value);
    }
    let files = Rlimit {
        current: Some(65_536),
        maximum: Some(1_048_576),
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, files);
}
