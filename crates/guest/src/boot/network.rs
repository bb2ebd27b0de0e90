//! The guest's links, by route netlink: a handful of requests in one datagram, each acknowledged.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::BootError;
use crate::netlink::{HEADER_BYTES, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, attribute, message, u16_at, u32_at};

/// What a guest's `eth0` gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) address6: Option<Ipv6Addr>,
    pub(super) gateway6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The host's side of the link.
    pub(super) fn hosts(&self) -> Vec<IpAddr> {
        self.gateway
            .map(IpAddr::from)
            .into_iter()
            .chain(self.gateway6.map(IpAddr::from))
            .collect()
    }
}

const DEVICE: &str = "eth0";
const MTU: u32 = 1500;
const PREFIX6: u8 = 64;
const LOOPBACK_INDEX: u32 = 1;
/// The device is found while its driver's module loads; this is for hosts that are busy.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(5);

// From the kernel's headers.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// One request: a name for errors, and its bytes after the netlink header.
struct Request {
    what: &'static str,
    kind: u16,
    flags: u16,
    payload: Vec<u8>,
    is_optional: bool,
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

/// `struct ifinfomsg`: family, pad, type, index, flags, change mask.
fn link_up(index: u32, mtu: Option<u32>) -> Request {
    let mut payload = vec![AF_UNSPEC, 0, 0, 0];
    for word in [index, IFF_UP, IFF_UP] {
        payload.extend_from_slice(&word.to_ne_bytes());
    }
    if let Some(mtu) = mtu {
        attribute(&mut payload, IFLA_MTU, &mtu.to_ne_bytes());
    }
    Request {
        what: "bring a link up",
        kind: RTM_NEWLINK,
        flags: 0,
        payload,
        is_optional: false,
    }
}

/// `struct ifaddrmsg`: family, prefix, flags, scope, index. Without duplicate detection, so that IPv6 can be used at once.
fn add_address(index: u32, address: IpAddr, prefix: u8) -> Request {
    let (family, bytes) = octets(address);
    let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
    let mut payload = vec![family, prefix, flags, RT_SCOPE_UNIVERSE];
    payload.extend_from_slice(&index.to_ne_bytes());
    attribute(&mut payload, IFA_LOCAL, &bytes);
    attribute(&mut payload, IFA_ADDRESS, &bytes);
    Request {
        what: "add an address",
        kind: RTM_NEWADDR,
        flags: NLM_F_CREATE | NLM_F_REPLACE,
        payload,
        is_optional: address.is_ipv6(),
    }
}

/// `struct rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
fn default_route(index: u32, gateway: IpAddr) -> Request {
    let (family, bytes) = octets(gateway);
    let mut payload = vec![
        family,
        0,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        RT_SCOPE_UNIVERSE,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    attribute(&mut payload, RTA_GATEWAY, &bytes);
    attribute(&mut payload, RTA_OIF, &index.to_ne_bytes());
    Request {
        what: "add the default route",
        kind: RTM_NEWROUTE,
        flags: NLM_F_CREATE | NLM_F_REPLACE,
        payload,
        is_optional: gateway.is_ipv6(),
    }
}

fn requests(index: u32, addresses: &Addresses) -> Vec<Request> {
    let mut requests = vec![link_up(LOOPBACK_INDEX, None), link_up(index, Some(MTU))];
    requests.push(add_address(index, addresses.address.into(), addresses.prefix));
    requests.extend(
        addresses
            .address6
            .map(|address| add_address(index, address.into(), PREFIX6)),
    );
    requests.extend(addresses.gateway.map(|gateway| default_route(index, gateway.into())));
    requests.extend(addresses.gateway6.map(|gateway| default_route(index, gateway.into())));
    requests
}

fn encode(request: &Request, sequence: u32) -> Vec<u8> {
    let flags = request.flags | NLM_F_REQUEST | NLM_F_ACK;
    message(request.kind, flags, sequence, &request.payload)
}

/// The errno in an acknowledgement: `struct nlmsgerr` after the header.
fn acknowledged(reply: &[u8]) -> io::Result<()> {
    let code = u32_at(reply, HEADER_BYTES).map(u32::cast_signed);
    match (u16_at(reply, 4), code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::other("the kernel's answer is not an acknowledgement")),
    }
}

fn device_index() -> Result<u32, BootError> {
    let path = format!("/sys/class/net/{DEVICE}/ifindex");
    let deadline = Instant::now() + DEVICE_TIMEOUT;
    loop {
        match fs::read_to_string(&path) {
            Ok(text) => {
                return text
                    .trim()
                    .parse()
                    .map_err(|_| BootError::new("read eth0's index", io::Error::other(text)));
            }
            Err(error) if Instant::now() >= deadline => {
                return Err(BootError::new(
                    format!("find the network device {DEVICE} (is virtio_net among the modules?)"),
                    error,
                ));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn send(socket: &OwnedFd, request: &Request, sequence: u32) -> io::Result<()> {
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(socket, &encode(request, sequence), SendFlags::empty(), &kernel)?;
    let mut reply = [0; 1024];
    let (_, received) = rustix::net::recv(socket, &mut reply[..], RecvFlags::empty())?;
    acknowledged(&reply[..received.min(reply.len())])
}

/// Brings loopback and `eth0` up with their addresses and routes.
pub(super) fn bring_up(addresses: &Addresses) -> Result<(), BootError> {
    // Without a protocol: NETLINK_ROUTE is 0.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(|errno| BootError::new("open a netlink socket", errno))?;
    for (request, sequence) in requests(device_index()?, addresses).iter().zip(1..) {
        match send(&socket, request, sequence) {
            // A kernel without IPv6 still makes a good guest.
            Err(error) if !request.is_optional => return Err(BootError::new(request.what, error)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_kernels_layout() {
        let request = add_address(2, "169.254.0.2".parse().unwrap(), 30);
        let bytes = encode(&request, 7);
        assert_eq!(bytes.len(), 16 + 8 + 8 + 8);
        assert_eq!(bytes[..4], 40_u32.to_ne_bytes());
        assert_eq!(bytes[16..20], [AF_INET, 30, 0, 0]);
        assert_eq!(bytes[24..32], [8, 0, 2, 0, 169, 254, 0, 2]);
    }

    #[test]
    fn acknowledgements() {
        let mut reply = vec![0; 36];
        reply[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert!(acknowledged(&reply).is_ok());
        reply[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(acknowledged(&reply).unwrap_err().raw_os_error(), Some(1));
        assert!(acknowledged(&[]).is_err());
    }
}
