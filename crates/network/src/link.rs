//! Links, addresses, routes and neighbours of one namespace.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{
        InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
        LinkMessage,
    },
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use crate::netlink::Netlink;

const CREATE: u16 = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
const REPLACE: u16 = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// A link as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
}

/// The links of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Links {
    netlink: Netlink,
}

impl Links {
    /// Those of the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::route()?,
        })
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        let seq = self.netlink.take_seqs(1);
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = seq;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        let mut answers = Vec::new();
        self.netlink
            .exchange(&bytes, seq, seq, |kind, payload| answers.push((kind, payload.to_vec())))
            .map_err(|refusal| refusal.error)?;
        Ok(answers
            .iter()
            .filter_map(|(kind, payload)| parse(*kind, payload))
            .collect())
    }

    /// Makes a pair of virtual cables: `name` here, `peer` in the other namespace.
    pub(crate) fn add_veth(
        &mut self,
        (name, mac): (&str, Mac),
        (peer, peer_mac): (&str, Mac),
        peer_netns: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut other = named(peer);
        other.attributes.push(LinkAttribute::Address(peer_mac.to_vec()));
        other.attributes.push(LinkAttribute::NetNsFd(peer_netns.as_raw_fd()));
        let mut link = named(name);
        link.attributes.push(LinkAttribute::Address(mac.to_vec()));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        self.request(RouteNetlinkMessage::NewLink(link), CREATE).map(drop)
    }

    /// Makes a bridge with a note of whose it is.
    pub(crate) fn add_bridge(&mut self, name: &str, alias: &str) -> io::Result<()> {
        let mut link = named(name);
        link.attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.request(RouteNetlinkMessage::NewLink(link), CREATE)?;
        let mut note = named(name);
        note.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        self.request(RouteNetlinkMessage::SetLink(note), NLM_F_ACK).map(drop)
    }

    /// Plugs a link into a bridge, where it may speak to the bridge itself but to no other isolated port.
    pub(crate) fn attach_isolated(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        let mut link = indexed(index);
        link.attributes.push(LinkAttribute::Controller(bridge));
        self.request(RouteNetlinkMessage::SetLink(link), NLM_F_ACK)?;
        let mut port = indexed(index);
        port.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)])),
        ]));
        self.request(RouteNetlinkMessage::NewLink(port), NLM_F_ACK).map(drop)
    }

    /// The link of that name.
    pub(crate) fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        match self.request(RouteNetlinkMessage::GetLink(named(name)), NLM_F_ACK) {
            Ok(answers) => Ok(answers.into_iter().find_map(as_link)),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its number, or an error if there is none.
    pub(crate) fn index_of(&mut self, name: &str) -> io::Result<u32> {
        let link = self.find(name)?;
        link.map(|link| link.index)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {name}")))
    }

    /// All of them.
    pub(crate) fn list(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(as_link).collect())
    }

    /// Switches it on.
    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = indexed(index);
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(link), NLM_F_ACK).map(drop)
    }

    /// Gives it a hardware address.
    pub(crate) fn set_mac(&mut self, index: u32, mac: Mac) -> io::Result<()> {
        let mut link = indexed(index);
        link.attributes.push(LinkAttribute::Address(mac.to_vec()));
        self.request(RouteNetlinkMessage::SetLink(link), NLM_F_ACK).map(drop)
    }

    /// Takes it away; its other end goes with it. Nothing there is fine.
    pub(crate) fn delete(&mut self, name: &str) -> io::Result<()> {
        match self.request(RouteNetlinkMessage::DelLink(named(name)), NLM_F_ACK) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Gives it an address, usable at once: nobody else can be on these links, so that nothing is to be detected.
    pub(crate) fn add_address(&mut self, index: u32, address: IpAddr, prefix_len: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix_len;
        message.header.index = index;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        self.request(RouteNetlinkMessage::NewAddress(message), REPLACE)
            .map(drop)
    }

    /// Fixes a neighbour's hardware address, so that no packet waits for it to be asked for.
    pub(crate) fn add_neighbour(&mut self, index: u32, address: IpAddr, mac: Mac) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        }));
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        self.request(RouteNetlinkMessage::NewNeighbour(message), REPLACE)
            .map(drop)
    }

    /// Sends what has no other way by this gateway.
    pub(crate) fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(gateway);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Gateway(gateway.into()));
        message.attributes.push(RouteAttribute::Oif(index));
        self.request(RouteNetlinkMessage::NewRoute(message), REPLACE).map(drop)
    }

    /// The IPv4 networks that have a way of their own (the default route is none), and the link of each.
    pub(crate) fn ipv4_routes(&mut self) -> io::Result<Vec<(Ipv4Net, u32)>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let answers = self.request(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(as_ipv4_route).collect())
    }
}

fn parse(kind: u16, payload: &[u8]) -> Option<RouteNetlinkMessage> {
    // The parser wants the header back in front.
    let length = u32::try_from(payload.len() + 16).ok()?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&[0; 10]);
    bytes.extend_from_slice(payload);
    match NetlinkMessage::deserialize(&bytes).ok()?.payload {
        NetlinkPayload::InnerMessage(message) => Some(message),
        _ => None,
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn indexed(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn as_link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        alias: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            _ => {}
        }
    }
    Some(link)
}

fn as_ipv4_route(message: RouteNetlinkMessage) -> Option<(Ipv4Net, u32)> {
    let RouteNetlinkMessage::NewRoute(message) = message else {
        return None;
    };
    let mut destination: Option<Ipv4Addr> = None;
    let mut link = 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(*address),
            RouteAttribute::Oif(index) => link = *index,
            _ => {}
        }
    }
    let net = Ipv4Net::new(destination?, message.header.destination_prefix_length).ok()?;
    Some((net, link))
}

/// Whether two networks share an address.
pub(crate) fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    IpNet::V4(one).contains(&IpNet::V4(other)) || IpNet::V4(other).contains(&IpNet::V4(one))
}
