//! The contract: who wants a network place asks a [`Network`] for a [`Slot`].

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use hearth_domain::{EgressRules, NetworkMode, PortMapping};
use hearth_ids::MachineId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    address::{GUEST_MAC, MacAddr, PoolTooSmall},
    tap::open_tap,
};

/// What a machine asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRequest {
    /// Where the guest is plugged in, and what it may reach.
    pub mode: NetworkMode,
    /// Ports of the host that lead into the guest.
    pub ports: Vec<PortMapping>,
    /// Who may open the tap besides root.
    pub tap_owner: TapOwner,
}

/// The user that a VMM runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapOwner {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// A network place that a machine holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its number on this node.
    pub index: u32,
    /// The namespace that holds the tap; none is the host's own.
    pub netns: Option<PathBuf>,
    /// Name of the tap there.
    pub tap: String,
    /// The hardware address that the guest's card must have.
    pub guest_mac: MacAddr,
    /// Where the node reaches the guest.
    pub guest_addr: IpAddr,
    /// Where the node reaches the guest by IPv6.
    pub guest_addr_v6: Option<Ipv6Addr>,
    /// Bridge mode only: what the guest's kernel command line must say (`ip=…`).
    pub kernel_ip: Option<String>,
    /// Name servers that the guest may ask.
    pub resolvers: Vec<IpAddr>,
}

impl Slot {
    /// Opens the tap for a VMM that takes its card as a file descriptor.
    pub fn open_tap(&self) -> io::Result<OwnedFd> {
        open_tap(self.netns.as_deref(), &self.tap)
    }
}

/// Why a slot could not be had or given back.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// All slots are held or rest.
    #[error(
        "all {capacity} network slots are taken ({held} held, {resting} resting): stop a machine or raise the limit"
    )]
    Exhausted {
        /// Slots of this node.
        capacity: u32,
        /// Held by machines.
        held: usize,
        /// Given back a moment ago.
        resting: usize,
    },
    /// The machine has a slot, or is getting or giving back one.
    #[error("machine {machine} has a network slot already: release it first")]
    Taken {
        /// Which.
        machine: MachineId,
    },
    /// The machine's slot was released before it was there.
    #[error("the network slot of machine {machine} was released while it was made")]
    Released {
        /// Which.
        machine: MachineId,
    },
    /// There is nothing to set rules for.
    #[error("machine {machine} has no network slot: set what it may reach once it has one")]
    NoSlot {
        /// Which.
        machine: MachineId,
    },
    /// Guests of the bridge share its rules.
    #[error("machine {machine} is on the bridge, where rules of its own cannot be set: use network mode default")]
    EgressOnBridge {
        /// Which.
        machine: MachineId,
    },
    /// The bridge is shared: who comes from there is not known by the way that they come.
    #[error(
        "machine {machine} is on the bridge, where nothing is served to it alone: use network mode default or none"
    )]
    ServedOnBridge {
        /// Which.
        machine: MachineId,
    },
    /// A port of the host cannot be published.
    #[error("port {port}/{protocol} of {address} is in use by {holder}: publish another one or stop that")]
    PortInUse {
        /// The port.
        port: u16,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// Where it was to be bound.
        address: IpAddr,
        /// A machine, or a process.
        holder: String,
    },
    /// A port of the host cannot be bound for another reason.
    #[error("port {port} of {address} cannot be published: check that the address is one of this host's")]
    PortRefused {
        /// The port.
        port: u16,
        /// Where it was to be bound.
        address: IpAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No network for the slots is free.
    #[error(
        "no network of /{prefix_len} in 100.64.0.0/10 is free of routes on this host: configure the pool's network"
    )]
    NoPool {
        /// How large it must be.
        prefix_len: u8,
    },
    /// The configured network is in use.
    #[error(
        "the configured pool {pool} overlaps with {other}, which this host routes by {link}: choose another network"
    )]
    PoolConflict {
        /// As configured.
        pool: ipnet::Ipv4Net,
        /// What is there.
        other: ipnet::Ipv4Net,
        /// The interface.
        link: String,
    },
    /// The configured network is too small.
    #[error(transparent)]
    PoolTooSmall(#[from] PoolTooSmall),
    /// The bridge is somebody else's, or its network has no room.
    #[error("bridge {name} cannot be used: {reason}")]
    Bridge {
        /// Its name.
        name: String,
        /// Why, and the way out.
        reason: String,
    },
    /// The kernel or the disk refused a step.
    #[error("network slot: cannot {step}")]
    Step {
        /// What was being done with what.
        step: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NetworkError {
    /// Adds what was being done.
    pub(crate) fn at<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |source| Self::Step {
            step,
            source: source.into(),
        }
    }
}

/// Network places for machines.
#[async_trait]
pub trait Network: Send + Sync {
    /// Whether ports can be published at this moment, each on all of its addresses. Takes nothing: [`Network::acquire`]
    /// looks again.
    async fn check_ports(&self, ports: &[PortMapping]) -> Result<(), NetworkError>;

    /// Gives the machine a slot with this policy and these ports. A call that is dropped goes on to its end: release
    /// the machine's slot whatever became of the call.
    async fn acquire(&self, machine: MachineId, request: SlotRequest) -> Result<Slot, NetworkError>;

    /// Takes the machine's slot back; fine if it has none. Its VMM has ended before.
    async fn release(&self, machine: MachineId) -> Result<(), NetworkError>;

    /// Sets what the machine that holds a slot may reach, in place of what it could, in one step; connections that it may
    /// have no longer are cut. Lasts until the slot is given back, over restarts of the daemon too.
    async fn set_egress(&self, machine: MachineId, rules: EgressRules) -> Result<(), NetworkError>;

    /// Opens a socket to which the connections of the machine that holds a slot are led that go to this port of its gateway
    /// ([`GATEWAY_IPV4`](crate::GATEWAY_IPV4)), whatever else it may reach. Nobody else comes by it. The socket and what came by it are
    /// closed before the slot is given back; a daemon that starts again opens another one.
    async fn serve(&self, machine: MachineId, port: u16) -> Result<TcpListener, NetworkError>;

    /// The slot that the machine holds.
    fn slot_of(&self, machine: MachineId) -> Option<Slot>;

    /// Ends the work in the background. Slots that machines hold stay as they are; with `remove_idle` the others go.
    async fn close(&self, remove_idle: bool);
}

/// No network at all: for drivers without guests. Slots are placeholders and cost nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNetwork;

impl NoNetwork {
    fn placeholder() -> Slot {
        Slot {
            index: 0,
            netns: None,
            tap: String::new(),
            guest_mac: GUEST_MAC,
            guest_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            guest_addr_v6: None,
            kernel_ip: None,
            resolvers: Vec::new(),
        }
    }
}

#[async_trait]
impl Network for NoNetwork {
    async fn check_ports(&self, _: &[PortMapping]) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn acquire(&self, _: MachineId, _: SlotRequest) -> Result<Slot, NetworkError> {
        Ok(Self::placeholder())
    }

    async fn release(&self, _: MachineId) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn set_egress(&self, _: MachineId, _: EgressRules) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn serve(&self, machine: MachineId, _: u16) -> Result<TcpListener, NetworkError> {
        Err(NetworkError::NoSlot { machine })
    }

    fn slot_of(&self, _: MachineId) -> Option<Slot> {
        Some(Self::placeholder())
    }

    async fn close(&self, _: bool) {}
}

/// The name servers of a `resolv.conf` that a guest can reach: those on the host's loopback it cannot.
pub fn resolvers_of(resolv_conf: &str) -> Vec<IpAddr> {
    let mut resolvers: Vec<IpAddr> = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .filter(|resolver: &IpAddr| !resolver.is_loopback() && !resolver.is_unspecified())
        .collect();
    resolvers.truncate(3);
    resolvers
}

/// The host's own name servers, past systemd's stub; public ones where the host has only such on its loopback.
pub fn host_resolvers() -> Vec<IpAddr> {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"].map(Path::new);
    files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .map(|text| resolvers_of(&text))
        .find(|resolvers| !resolvers.is_empty())
        .unwrap_or_else(|| vec![Ipv4Addr::new(1, 1, 1, 1).into(), Ipv4Addr::new(8, 8, 8, 8).into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_on_the_loopback_are_left_out() {
        let text = "# x\nnameserver 127.0.0.53\nsearch lan\nnameserver 192.168.1.1\n nameserver fd00::1 \nnameserver x";
        let expected: Vec<IpAddr> = vec!["192.168.1.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(resolvers_of(text), expected);
    }

    #[tokio::test]
    async fn no_network_always_has_room() {
        let machine = MachineId::new();
        let owner = TapOwner { uid: 0, gid: 0 };
        let request = SlotRequest {
            mode: NetworkMode::Default,
            ports: vec![],
            tap_owner: owner,
        };
        let slot = NoNetwork.acquire(machine, request).await.unwrap();
        assert_eq!(NoNetwork.slot_of(machine), Some(slot));
        NoNetwork.release(machine).await.unwrap();
    }
}
