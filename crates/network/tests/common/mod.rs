//! A host of its own for each test: a network and a mount namespace, with a "world" behind a router.
//!
//! ```text
//!   guest netns ─ eth0 ══ pump ══ tap0 ─ slot netns ─ up0 ── hv… ─ HOST (the test's) ─ wan ── wan0 ─ WORLD netns
//! ```
//! All goes with the test's thread and its children: nothing touches the machine's own network.

// Each test binary uses its own part.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hearth_domain::NetworkMode;
use hearth_ids::MachineId;
use hearth_network::{PoolConfig, Slot, SlotPool, SlotRequest, TapOwner, in_netns, open_tap};
use nix::sched::{CloneFlags, unshare};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount},
};

pub const WORLD_V4: &str = "198.51.100.7";
pub const WORLD_V6: &str = "2001:db8:7::7";
pub const RESOLVER: &str = "10.9.9.9";
pub const HOST_V4: &str = "203.0.113.2";
pub const HOST_V6: &str = "2001:db8:1::2";
/// Machines beyond the host that only the policy keeps a guest from.
pub const NEAR: [&str; 9] = [
    RESOLVER,
    "192.168.7.7",
    "172.20.0.9",
    "169.254.169.254",
    "100.100.100.200",
    "fd00:ec2::254",
    "fd12::9",
    "64:ff9b::a09:909",
    "2002:a09:909::1",
];
pub const SERVICE: u16 = 7000;
const DEADLINE: Duration = Duration::from_secs(5);
/// Longer than any answer takes here, short enough to wait for what must not come.
const NO_ANSWER: Duration = Duration::from_millis(400);

pub struct Host {
    pub runtime: tokio::runtime::Runtime,
    pub folder: tempfile::TempDir,
    _world: Server,
}

/// Runs a test on a host of its own, or skips it.
pub fn on_host(test: impl FnOnce(&Host) + Send + 'static) {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/net/tun").exists() {
        eprintln!("SKIPPED: root and /dev/net/tun are needed");
        return;
    }
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        std::fs::create_dir_all("/run/netns").unwrap();
        // Those of the real host, which are nothing to this one.
        for entry in std::fs::read_dir("/run/netns").unwrap().flatten() {
            let _ = unmount(entry.path(), UnmountFlags::DETACH);
        }
        mount("tmpfs", "/run/netns", "tmpfs", MountFlags::empty(), None).unwrap();
        let host = Host::new();
        test(&host);
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn sh(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn netns(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

impl Host {
    fn new() -> Self {
        sh(&format!(
            "ip link set lo up
            ip netns add world
            ip link add wan type veth peer name wan0 netns world
            ip addr add {HOST_V4}/24 dev wan; ip addr add {HOST_V6}/64 dev wan nodad; ip link set wan up
            ip -n world link set lo up; ip -n world link set wan0 up
            ip -n world addr add 203.0.113.1/24 dev wan0; ip -n world addr add 2001:db8:1::1/64 dev wan0 nodad
            ip route add default via 203.0.113.1; ip -6 route add default via 2001:db8:1::1
            for a in {WORLD_V4} {}; do ip -n world addr add $a dev lo; done
            ip -n world addr add {WORLD_V6} dev lo nodad",
            NEAR.join(" ")
        ));
        // The cable's carrier comes up a moment later.
        let world = Server::start_at(Some(&netns("world")), SERVICE, &[WORLD_V4, WORLD_V6, RESOLVER]);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let host = Self {
            runtime,
            folder: tempfile::tempdir().unwrap(),
            _world: world,
        };
        for address in [WORLD_V4, WORLD_V6].into_iter().chain(NEAR) {
            eventually(&format!("the host reaches {address}"), || {
                ask(None, address, SERVICE).is_some()
            });
        }
        host
    }

    pub fn config(&self) -> PoolConfig {
        let mut config = PoolConfig::new(self.folder.path().canonicalize().unwrap());
        config.warm = 1;
        config.rest = Duration::from_millis(50);
        config.resolvers = vec![RESOLVER.parse().unwrap()];
        config
    }

    pub fn open(&self, config: PoolConfig, alive: &[MachineId]) -> SlotPool {
        self.runtime
            .block_on(SlotPool::open(config, alive.iter().copied().collect()))
            .unwrap()
    }

    pub fn acquire(&self, pool: &SlotPool, mode: NetworkMode, ports: &[&str]) -> (MachineId, Slot) {
        use hearth_network::Network;
        let machine = MachineId::new();
        let slot = self
            .runtime
            .block_on(pool.acquire(machine, request(mode, ports)))
            .unwrap();
        (machine, slot)
    }

    pub fn release(&self, pool: &SlotPool, machine: MachineId) {
        use hearth_network::Network;
        self.runtime.block_on(pool.release(machine)).unwrap();
    }

    pub fn close(&self, pool: &SlotPool) {
        use hearth_network::Network;
        self.runtime.block_on(pool.close(true));
    }

    /// Everything on this host that bears a pool's name.
    pub fn leftovers(&self) -> Vec<String> {
        let links = output("ip", &["-o", "link"]);
        let links = links
            .lines()
            .filter(|line| line.contains(": hv") || line.contains("fc-bridge"))
            .map(str::to_owned);
        let names = std::fs::read_dir("/run/netns")
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names = names
            .map(|name| name.into_string().unwrap())
            .filter(|name| name.starts_with("hv-"));
        let tables = output("nft", &["list", "tables"]);
        let tables = tables.lines().filter(|line| line.contains("hearth")).map(str::to_owned);
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let mounts = mounts
            .lines()
            .filter(|line| line.contains("/hv-"))
            .map(str::to_owned)
            .collect::<Vec<_>>();
        let slots = self.folder.path().join("slots");
        let records = std::fs::read_dir(slots)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        let records = records.map(|path| path.display().to_string());
        links.chain(names).chain(tables).chain(mounts).chain(records).collect()
    }
}

pub fn request(mode: NetworkMode, ports: &[&str]) -> SlotRequest {
    let ports = ports.iter().map(|port| port.parse().unwrap()).collect();
    SlotRequest {
        mode,
        ports,
        tap_owner: TapOwner { uid: 65534, gid: 65534 },
    }
}

/// Waits until it is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "never came: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Answers each TCP connection and each datagram with the address of its sender, on all addresses of a namespace.
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub fn start(netns: Option<&Path>, port: u16) -> Self {
        Self::start_at(netns, port, &["::"])
    }

    /// With UDP on these addresses only, since a datagram's answer leaves from the address that its socket is bound to.
    pub fn start_at(netns: Option<&Path>, port: u16, addresses: &[&str]) -> Self {
        let bind = || {
            let mut sockets = Vec::new();
            for address in addresses {
                // A name server of sorts, too.
                for port in [port, 53] {
                    sockets.push(UdpSocket::bind(SocketAddr::new(address.parse().unwrap(), port))?);
                }
            }
            Ok((TcpListener::bind(("::", port))?, sockets))
        };
        let (tcp, sockets) = match netns {
            Some(netns) => in_netns(netns, bind).unwrap(),
            None => bind().unwrap(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let pause = Duration::from_millis(5);
        let mut threads = Vec::new();
        tcp.set_nonblocking(true).unwrap();
        let stopped = Arc::clone(&stop);
        threads.push(thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match tcp.accept() {
                    Ok((mut stream, peer)) => _ = stream.write_all(peer.ip().to_canonical().to_string().as_bytes()),
                    Err(_) => thread::sleep(pause),
                }
            }
        }));
        for socket in sockets {
            socket.set_read_timeout(Some(pause)).unwrap();
            let stopped = Arc::clone(&stop);
            threads.push(thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    if let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
                        let _ = socket.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer);
                    }
                }
            }));
        }
        Self { stop, threads }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn within<T: Send>(netns: Option<&Path>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    match netns {
        Some(netns) => in_netns(netns, work),
        None => work(),
    }
}

/// Asks a server by TCP as whom it sees us; none if it cannot be reached.
pub fn ask(netns: Option<&Path>, address: &str, port: u16) -> Option<IpAddr> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    within(netns, || {
        let mut stream = TcpStream::connect_timeout(&address, NO_ANSWER)?;
        stream.set_read_timeout(Some(NO_ANSWER))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        answer.parse().map_err(io::Error::other)
    })
    .ok()
}

/// The same as another user of the host, with no rights.
pub fn ask_as_nobody(address: &str, port: u16) -> Option<IpAddr> {
    let nobody = rustix::process::Uid::from_raw(65534);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            ask(None, address, port)
        });
        asking.join().unwrap()
    })
}

/// The same by UDP.
pub fn ask_udp(netns: Option<&Path>, address: &str, port: u16) -> Option<IpAddr> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    within(netns, || {
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(NO_ANSWER))?;
        socket.connect(address)?;
        socket.send(b"?")?;
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer)?;
        String::from_utf8_lossy(&answer[..length])
            .parse()
            .map_err(io::Error::other)
    })
    .ok()
}

/// A guest: the network stack of another namespace, wired to a slot's tap frame by frame as a VMM would.
pub struct Guest {
    pub netns: PathBuf,
    stop: Arc<AtomicBool>,
    pump: Option<JoinHandle<()>>,
    _server: Server,
}

impl Guest {
    pub fn boot(slot: &Slot) -> Self {
        let name = format!("guest-{}", slot.guest_addr);
        sh(&format!("ip netns add {name}; ip -n {name} link set lo up"));
        let path = netns(&name);
        let (card, tap) = (open_tap(Some(&path), "eth0").unwrap(), slot.open_tap().unwrap());
        let (address, gateway) = match &slot.kernel_ip {
            // ip=<address>::<gateway>:<mask>::eth0:off
            Some(ip) => {
                let mut parts = ip.strip_prefix("ip=").unwrap().split(':');
                (
                    format!("{}/24", parts.next().unwrap()),
                    parts.nth(1).unwrap().to_owned(),
                )
            }
            None => ("169.254.0.2/30".into(), "169.254.0.1".into()),
        };
        let mac = slot.guest_mac;
        sh(&format!(
            "ip -n {name} link set eth0 address {mac} up
            ip -n {name} addr add {address} dev eth0; ip -n {name} route add default via {gateway}
            ip -n {name} addr add fd68:6561:7274::2/64 dev eth0 nodad
            ip -n {name} -6 route add default via fd68:6561:7274::1"
        ));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let pump = thread::spawn(move || pump(&card, &tap, &stopped));
        let server = Server::start(Some(&path), 80);
        Self {
            netns: path,
            stop,
            pump: Some(pump),
            _server: server,
        }
    }

    pub fn ask(&self, address: &str, port: u16) -> Option<IpAddr> {
        ask(Some(&self.netns), address, port)
    }

    pub fn ask_udp(&self, address: &str, port: u16) -> Option<IpAddr> {
        ask_udp(Some(&self.netns), address, port)
    }

    pub fn ip(&self, args: &str) {
        let name = self.netns.file_name().unwrap().to_str().unwrap();
        sh(&format!("ip -n {name} {args}"));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.pump.take().unwrap().join();
        let name = self.netns.file_name().unwrap().to_str().unwrap();
        sh(&format!("ip netns del {name}"));
    }
}

fn pump(one: &OwnedFd, other: &OwnedFd, stop: &AtomicBool) {
    let mut frame = vec![0; 70_000];
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(one, PollFlags::IN), PollFd::new(other, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).is_err() {
            continue;
        }
        let (first, second) = (fds[0].revents(), fds[1].revents());
        for (ready, from, to) in [(first, one, other), (second, other, one)] {
            if !ready.contains(PollFlags::IN) {
                continue;
            }
            match rustix::io::read(from, &mut frame[..]) {
                Ok(length) => _ = rustix::io::write(to, &frame[..length]),
                Err(_) => return,
            }
        }
    }
}

/// All different?
pub fn distinct<T: Eq + std::hash::Hash>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    items.into_iter().all(|item| seen.insert(item))
}
