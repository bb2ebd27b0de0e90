//! Making, setting, resetting and removing one slot on the host. Blocking; the pool decides when.
//!
//! Every step can be the last one before a kill. Whatever is left then has the instance's name on it, and
//! [`Site::sweep`] finds it.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::fd::AsFd,
    path::PathBuf,
    thread,
    time::Duration,
};

use hearth_domain::{EgressRules, NetworkMode};

use crate::{
    address::{
        AddressPlan, GATEWAY_IPV4, GATEWAY_IPV6, GATEWAY_MAC, GUEST_IPV4, GUEST_IPV6, GUEST_MAC, GUEST_PREFIX_LEN,
        GUEST_PREFIX_LEN_V6, InstanceId, LINK_PREFIX_LEN, LINK_PREFIX_LEN_V6, SlotAddresses,
    },
    conntrack::{self, Connection},
    link::Links,
    netlink::Netlink,
    netns,
    policy::{self, DoorPorts, Holder, HostPolicy, TAP, UPLINK},
    slot::{NetworkError, TapOwner},
    sysctl, tap,
};

/// Called with a step's name once it is done; for tests that end the process there.
pub type FaultHook = fn(&'static str);

/// Longer than the kernel takes with one packet.
const LAST_PACKET: Duration = Duration::from_millis(20);

/// The steps after which [`FaultHook`] is called.
pub const STEPS: [&str; 13] = [
    "netns-made",
    "veth-made",
    "host-addressed",
    "inside-addressed",
    "rules-made",
    "record-written",
    "policy-set",
    "ports-published",
    "policy-reset",
    "tap-reset",
    "record-removed",
    "veth-removed",
    "netns-removed",
];

/// Where slots are made.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) instance: InstanceId,
    pub(crate) netns_folder: PathBuf,
    pub(crate) plan: AddressPlan,
    pub(crate) ipv6: bool,
    pub(crate) resolvers: Vec<IpAddr>,
    pub(crate) fault: FaultHook,
}

impl Site {
    pub(crate) fn netns(&self, index: u32) -> PathBuf {
        self.netns_folder.join(self.instance.netns_name(index))
    }

    /// Whether both ends of the slot are there.
    pub(crate) fn stands(&self, index: u32) -> bool {
        let linked = Links::open().and_then(|mut links| links.find(&self.instance.veth_name(index)));
        matches!(linked, Ok(Some(_))) && netns::in_netns(&self.netns(index), || Ok(())).is_ok()
    }

    /// Makes the slot, closed for everybody.
    pub(crate) fn build(&self, index: u32) -> Result<(), NetworkError> {
        let path = self.netns(index);
        let name = path.display();
        let addresses = self.plan.addresses(index);
        netns::make(&path).map_err(NetworkError::at(format!("make the namespace {name}")))?;
        (self.fault)("netns-made");
        let veth = self.instance.veth_name(index);
        let link = || -> io::Result<()> {
            let netns = File::open(&path)?;
            let mut links = Links::open()?;
            links.add_veth((&veth, addresses.host_mac), (UPLINK, addresses.slot_mac), netns.as_fd())?;
            (self.fault)("veth-made");
            self.address_host(&mut links, &veth, &addresses)
        };
        link().map_err(NetworkError::at(format!("connect the host's {veth} with {name}")))?;
        (self.fault)("host-addressed");
        netns::in_netns(&path, || {
            self.address_inside(&addresses)?;
            (self.fault)("inside-addressed");
            policy::inside(&addresses)
                .commit(&mut Netlink::netfilter()?)
                .map_err(io::Error::other)
        })
        .map_err(NetworkError::at(format!("set up the namespace {name}")))?;
        (self.fault)("rules-made");
        Ok(())
    }

    fn address_host(&self, links: &mut Links, veth: &str, addresses: &SlotAddresses) -> io::Result<()> {
        let index = links.index_of(veth)?;
        links.set_up(index)?;
        links.add_address(index, addresses.host_ipv4.into(), LINK_PREFIX_LEN)?;
        links.add_neighbour(index, addresses.slot_ipv4.into(), addresses.slot_mac)?;
        if self.ipv6 {
            links.add_address(index, addresses.host_ipv6.into(), LINK_PREFIX_LEN_V6)?;
            links.add_neighbour(index, addresses.slot_ipv6.into(), addresses.slot_mac)?;
        }
        // A port that is published on 127.0.0.1 leads there; the way back is shut by the host's input rules.
        sysctl::write(&format!("ipv4/conf/{veth}/route_localnet"), "1")
    }

    fn address_inside(&self, addresses: &SlotAddresses) -> io::Result<()> {
        sysctl::write("ipv4/ip_forward", "1")?;
        let mut links = Links::open()?;
        let loopback = links.index_of("lo")?;
        links.set_up(loopback)?;
        let uplink = links.index_of(UPLINK)?;
        links.set_up(uplink)?;
        links.add_address(uplink, addresses.slot_ipv4.into(), LINK_PREFIX_LEN)?;
        links.add_neighbour(uplink, addresses.host_ipv4.into(), addresses.host_mac)?;
        links.add_default_route(uplink, addresses.host_ipv4.into())?;
        if self.ipv6 {
            sysctl::write("ipv6/conf/all/forwarding", "1")?;
            links.add_address(uplink, addresses.slot_ipv6.into(), LINK_PREFIX_LEN_V6)?;
            links.add_neighbour(uplink, addresses.host_ipv6.into(), addresses.host_mac)?;
            links.add_default_route(uplink, addresses.host_ipv6.into())?;
        }
        self.make_tap(&mut links)
    }

    fn make_tap(&self, links: &mut Links) -> io::Result<()> {
        tap::make_persistent(TAP)?;
        let index = links.index_of(TAP)?;
        links.set_mac(index, GATEWAY_MAC.0)?;
        links.set_up(index)?;
        links.add_address(index, GATEWAY_IPV4.into(), GUEST_PREFIX_LEN)?;
        links.add_neighbour(index, GUEST_IPV4.into(), GUEST_MAC.0)?;
        if self.ipv6 {
            links.add_address(index, GATEWAY_IPV6.into(), GUEST_PREFIX_LEN_V6)?;
            links.add_neighbour(index, GUEST_IPV6.into(), GUEST_MAC.0)?;
        }
        Ok(())
    }

    /// What a holder may reach, and by what.
    pub(crate) fn holder<'a>(
        &'a self,
        mode: NetworkMode,
        rules: &'a EgressRules,
        doors: &'a [DoorPorts],
    ) -> Holder<'a> {
        Holder {
            mode,
            resolvers: &self.resolvers,
            rules,
            uid: rustix::process::geteuid().as_raw(),
            doors,
        }
    }

    /// Opens the slot for a holder.
    pub(crate) fn grant(&self, index: u32, owner: TapOwner, holder: Holder<'_>) -> Result<(), NetworkError> {
        let path = self.netns(index);
        netns::in_netns(&path, || {
            tap::set_owner(TAP, owner.uid, owner.gid)?;
            let batch = policy::inside_egress(Some(holder));
            batch.commit(&mut Netlink::netfilter()?).map_err(io::Error::other)
        })
        .map_err(NetworkError::at(format!("set the policy of {}", path.display())))
    }

    /// Puts the policy of an adopted slot in place again, all of it: an older daemon may have made the slot. Its tap is a
    /// running VMM's, which is left alone; connections that are open stay so.
    pub(crate) fn renew(&self, index: u32, holder: Holder<'_>) -> Result<(), NetworkError> {
        let path = self.netns(index);
        netns::in_netns(&path, || {
            // Rules are what a slot is given last: where there are none it was left half made, and is refused here.
            let batch = policy::inside_must_stand()
                .then(policy::inside(&self.plan.addresses(index)))
                .then(policy::inside_egress(Some(holder)));
            batch.commit(&mut Netlink::netfilter()?).map_err(io::Error::other)
        })
        .map_err(NetworkError::at(format!("renew the policy of {}", path.display())))
    }

    /// Changes what the holder may reach, at once, and cuts the connections that it may have no longer.
    pub(crate) fn change(&self, index: u32, holder: Holder<'_>) -> Result<(), NetworkError> {
        let path = self.netns(index);
        netns::in_netns(&path, || {
            let mut netfilter = Netlink::netfilter()?;
            policy::inside_egress(Some(holder))
                .commit(&mut netfilter)
                .map_err(io::Error::other)?;
            if holder.rules.is_open() {
                return Ok(());
            }
            cut(&mut netfilter, holder)
        })
        .map_err(NetworkError::at(format!("change the policy of {}", path.display())))
    }

    /// Opens a socket on the gateway's address to which the guest's connections to a port there are led.
    pub(crate) fn serve(&self, index: u32, port: u16) -> Result<TcpListener, NetworkError> {
        let path = self.netns(index);
        netns::in_netns(&path, || {
            let listener = TcpListener::bind((GATEWAY_IPV4, 0))?;
            let door = listener.local_addr()?.port();
            let batch = policy::inside_served(port, door);
            batch.commit(&mut Netlink::netfilter()?).map_err(io::Error::other)?;
            Ok(listener)
        })
        .map_err(NetworkError::at(format!("serve port {port} in {}", path.display())))
    }

    /// Makes the slot as good as new: closed, with a new tap, and no connection remembered here or there.
    pub(crate) fn reset(&self, index: u32) -> Result<(), NetworkError> {
        let path = self.netns(index);
        netns::in_netns(&path, || {
            let mut netfilter = Netlink::netfilter()?;
            policy::inside_egress(None)
                .commit(&mut netfilter)
                .map_err(io::Error::other)?;
            (self.fault)("policy-reset");
            let mut links = Links::open()?;
            links.delete(TAP)?;
            conntrack::forget_all(&mut netfilter)?;
            self.make_tap(&mut links)
        })
        .map_err(NetworkError::at(format!("reset {}", path.display())))?;
        (self.fault)("tap-reset");
        let addresses = self.plan.addresses(index);
        self.forget(&[addresses.slot_ipv4.into(), addresses.slot_ipv6.into()]);
        Ok(())
    }

    /// Lets the host forget an address's connections. The rest of the slot makes up for it where that fails.
    pub(crate) fn forget(&self, addresses: &[IpAddr]) {
        let forget = || -> io::Result<()> {
            let mut netfilter = Netlink::netfilter()?;
            addresses
                .iter()
                .try_for_each(|address| conntrack::forget(&mut netfilter, *address))
        };
        if let Err(error) = forget() {
            tracing::debug!(instance = %self.instance, %error, "the host's connections of a slot stay until they expire");
        }
    }

    /// Removes the slot; nothing there is fine.
    pub(crate) fn destroy(&self, index: u32) -> Result<(), NetworkError> {
        let veth = self.instance.veth_name(index);
        let removed = Links::open().and_then(|mut links| links.delete(&veth));
        removed.map_err(NetworkError::at(format!("remove the interface {veth}")))?;
        (self.fault)("veth-removed");
        let path = self.netns(index);
        netns::remove(&path).map_err(NetworkError::at(format!("remove the namespace {}", path.display())))?;
        (self.fault)("netns-removed");
        Ok(())
    }

    /// Removes every namespace and interface with this instance's name on it that `keep` does not want.
    pub(crate) fn sweep(&self, keep: impl Fn(u32) -> bool) -> Result<(), NetworkError> {
        let sweep_links = || -> io::Result<()> {
            let mut links = Links::open()?;
            let kept = |name: &str, links: &[u32]| {
                links.iter().any(|index| {
                    name == self.instance.veth_name(*index) || name == self.instance.bridge_tap_name(*index)
                })
            };
            let wanted: Vec<u32> = (0..crate::address::MAX_CAPACITY).filter(|index| keep(*index)).collect();
            for link in links.list()? {
                if self.instance.owns_link(&link.name) && !kept(&link.name, &wanted) {
                    links.delete(&link.name)?;
                }
            }
            Ok(())
        };
        sweep_links().map_err(NetworkError::at("remove interfaces that no machine holds"))?;
        let sweep_namespaces = || -> io::Result<()> {
            for entry in fs::read_dir(&self.netns_folder)? {
                let name = entry?.file_name();
                let index = name.to_str().and_then(|name| self.instance.slot_of_netns(name));
                if let Some(index) = index.filter(|index| !keep(*index)) {
                    netns::remove(&self.netns(index))?;
                }
            }
            Ok(())
        };
        sweep_namespaces().map_err(NetworkError::at("remove namespaces that no machine holds"))
    }

    /// Takes the instance's tables off the host.
    pub(crate) fn remove_tables(&self) -> Result<(), NetworkError> {
        let remove = || -> io::Result<()> {
            let mut netfilter = Netlink::netfilter()?;
            // Without the bridge module there is no such table either.
            if let Err(error) = HostPolicy::remove_bridge(&self.instance).commit(&mut netfilter) {
                tracing::debug!(%error, "no table of the bridge");
            }
            HostPolicy::remove(&self.instance)
                .commit(&mut netfilter)
                .map_err(io::Error::other)
        };
        remove().map_err(NetworkError::at(format!(
            "remove the host's table {}",
            self.instance.table_name()
        )))
    }
}

/// Forgets the guest's connections to where it may open none now: their next packet finds itself refused. Those that were
/// led to a door of ours are cut there.
fn cut(netfilter: &mut Netlink, holder: Holder<'_>) -> io::Result<()> {
    let forbidden = |connection: &Connection| {
        let by_guest = [IpAddr::from(GUEST_IPV4), GUEST_IPV6.into()].contains(&connection.from);
        let at_door = [IpAddr::from(GATEWAY_IPV4), GATEWAY_IPV6.into()].contains(&connection.answered_by);
        by_guest && !at_door && !holder.rules.permits(connection.to)
    };
    conntrack::forget_where(netfilter, forbidden)?;
    // Once more for the packet that the old rules were just letting through: its connection may have come after.
    thread::sleep(LAST_PACKET);
    conntrack::forget_where(netfilter, forbidden)
}

/// Lets the host pass packets on between its interfaces.
pub(crate) fn let_host_forward(ipv6: bool) -> io::Result<()> {
    sysctl::write("ipv4/ip_forward", "1")?;
    if ipv6 && sysctl::read("ipv6/conf/all/forwarding").as_deref() != Some("1") {
        // A host that forwards takes no more router advertisements, by which it may have its own default route,
        // unless told to.
        for entry in fs::read_dir("/proc/sys/net/ipv6/conf")? {
            let name = entry?.file_name();
            let key = format!("ipv6/conf/{}/accept_ra", name.to_string_lossy());
            if sysctl::read(&key).as_deref() == Some("1") {
                sysctl::write(&key, "2")?;
            }
        }
        sysctl::write("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// Whether the host has IPv6 switched on.
pub(crate) fn host_has_ipv6() -> bool {
    sysctl::read("ipv6/conf/all/disable_ipv6").as_deref() == Some("0")
}

/// An address of the bridge's network by its place there.
pub(crate) fn nth_address(net: ipnet::Ipv4Net, place: u32) -> Option<Ipv4Addr> {
    let address = u32::from(net.network()).checked_add(place)?;
    (address < u32::from(net.broadcast())).then(|| Ipv4Addr::from(address))
}
