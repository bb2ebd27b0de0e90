//! Ports of the host that machines publish.
//!
//! The kernel's translation takes a packet before any socket of the host sees it, so a published port would silently
//! rob whoever listens there. Hence each published port is bound by us as well, without ever listening: that fails if
//! somebody has it, and makes later binds of others fail. Should the daemon not run, the translation goes on.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use hearth_domain::{PortMapping, Protocol};
use procfs::{
    FromReadSI,
    net::{TcpNetEntries, TcpState, UdpNetEntries},
};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, socket_with,
    sockopt::{set_ipv6_v6only, set_socket_reuseaddr},
};

use crate::slot::NetworkError;

/// Keeps a port from everybody else until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation(#[expect(dead_code, reason = "it only has to stay open")] OwnedFd);

/// Reserves the port on all addresses that it is published on.
pub(crate) fn reserve(port: &PortMapping, ipv6: bool) -> Result<Vec<Reservation>, NetworkError> {
    let everywhere = [
        Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ];
    let addresses = match port.host_ip {
        Some(address) => vec![address],
        None => everywhere.into_iter().flatten().collect(),
    };
    let reserve_one = |address| {
        reserve_at(address, port).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => NetworkError::PortInUse {
                port: port.host_port,
                protocol: protocol_name(port.protocol),
                address,
                holder: process_on(port).unwrap_or_else(|| "another process".to_owned()),
            },
            _ => NetworkError::PortRefused {
                port: port.host_port,
                address,
                source,
            },
        })
    };
    addresses.into_iter().map(reserve_one).collect()
}

pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn reserve_at(address: IpAddr, port: &PortMapping) -> io::Result<Reservation> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let kind = match port.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    // While binding, so that connections of a server that has ended (TIME_WAIT) are no obstacle; not after, so that
    // nobody else's SO_REUSEADDR lets him listen beside us. With UDP it would let two bind at once.
    let lingers = port.protocol == Protocol::Tcp;
    set_socket_reuseaddr(&socket, lingers)?;
    bind(&socket, &SocketAddr::new(address, port.host_port))?;
    set_socket_reuseaddr(&socket, false)?;
    Ok(Reservation(socket))
}

/// Name and number of the process that has the port, as far as `/proc` tells.
fn process_on(port: &PortMapping) -> Option<String> {
    let inodes = sockets_on(port);
    if inodes.is_empty() {
        return None;
    }
    let processes = procfs::process::all_processes().ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let holds = process.fd().ok()?.filter_map(Result::ok).any(|fd| match fd.target {
            procfs::process::FDTarget::Socket(inode) => inodes.contains(&inode),
            _ => false,
        });
        let name = holds.then(|| process.stat().ok())??.comm;
        Some(format!("{name} (process {})", process.pid))
    })
}

/// The sockets that have the port, in the calling thread's namespace.
fn sockets_on(port: &PortMapping) -> Vec<u64> {
    let matches = |address: SocketAddr| address.port() == port.host_port;
    let system = procfs::current_system_info();
    let files = |name: &str| ["", "6"].map(|version| format!("/proc/thread-self/net/{name}{version}"));
    match port.protocol {
        Protocol::Tcp => files("tcp")
            .iter()
            .filter_map(|file| TcpNetEntries::from_file(file, system).ok())
            .flat_map(|entries| entries.0)
            .filter(|entry| matches(entry.local_address) && entry.state == TcpState::Listen)
            .map(|entry| entry.inode)
            .collect(),
        Protocol::Udp => files("udp")
            .iter()
            .filter_map(|file| UdpNetEntries::from_file(file, system).ok())
            .flat_map(|entries| entries.0)
            .filter(|entry| matches(entry.local_address))
            .map(|entry| entry.inode)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn loopback(port: u16) -> PortMapping {
        format!("127.0.0.1:{port}:80").parse().unwrap()
    }

    #[test]
    fn a_port_in_use_is_refused_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = reserve(&loopback(port), true).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains(&port.to_string()), "{error}");
    }

    #[test]
    fn a_reservation_keeps_others_out_until_it_is_dropped() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let reserved = reserve(&loopback(port), true).unwrap();
        assert!(TcpListener::bind(("127.0.0.1", port)).is_err());
        assert!(reserve(&loopback(port), true).is_err());
        drop(reserved);
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
}
