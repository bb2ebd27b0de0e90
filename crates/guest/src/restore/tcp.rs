//! Ending TCP connections, by the kernel's socket diagnosis: all are listed, and those that are wanted ended one by one.
//!
//! Both sides are told: the program's next call fails with `ECONNABORTED`, and the peer gets a reset. Needs the module
//! `tcp_diag` and the option `INET_DIAG_DESTROY`. Connections in other network namespaces of the guest are not seen.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self as protocol, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::netlink::{HEADER_BYTES, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, message, u16_at, u32_at};

// From the kernel's headers.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP: u16 = 0x300;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// All but `TIME_WAIT` (6), `CLOSE` (7) and `LISTEN` (10), by the numbers of the kernel's `tcp_states.h`.
const CONNECTED_STATES: u32 = 0b1011_0011_1110;

/// `struct inet_diag_sockid`: ports, source, destination, device, cookie.
const ID_BYTES: usize = 48;
/// `struct inet_diag_msg`: family, state, timer, retransmissions, then the ID, then what is of no use here.
const ID_AT: usize = 4;

/// The kernel puts a page into the first datagram of a list, and as much as is asked for into the others.
const BUFFER_BYTES: usize = 8 * 1024;
/// Far more than a guest of a few GiB can hold; a list without an end ends here.
const MAX_CONNECTIONS: usize = 1 << 18;

/// One connection of this network namespace.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    family: u8,
    id: [u8; ID_BYTES],
    local: SocketAddr,
    remote: SocketAddr,
}

/// An IPv4 address as such, also where an IPv6 socket has it.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Connection {
    /// Reads the message of a list.
    fn parse(body: &[u8]) -> Option<Self> {
        let family = *body.first()?;
        let id: [u8; ID_BYTES] = body.get(ID_AT..ID_AT + ID_BYTES)?.try_into().ok()?;
        let port = |at: usize| Some(u16::from_be_bytes(id.get(at..at + 2)?.try_into().ok()?));
        Some(Self {
            family,
            id,
            local: canonical(SocketAddr::new(address(family, id.get(4..20)?)?, port(0)?)),
            remote: canonical(SocketAddr::new(address(family, id.get(20..36)?)?, port(2)?)),
        })
    }

    /// Whether its other end is outside of this machine.
    pub(super) fn leaves_the_guest(&self) -> bool {
        let (local, remote) = (self.local.ip(), self.remote.ip());
        !local.is_loopback() && !remote.is_loopback() && local != remote
    }

    /// Whether it is the one from `remote` to our port.
    pub(super) fn is(&self, (port, remote): (u16, SocketAddr)) -> bool {
        self.local.port() == port && self.remote == remote
    }
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?).into()),
        AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, ID.
fn request(kind: u16, flags: u16, family: u8, id: &[u8; ID_BYTES]) -> Vec<u8> {
    let mut payload = vec![family, IPPROTO_TCP, 0, 0];
    payload.extend_from_slice(&CONNECTED_STATES.to_ne_bytes());
    payload.extend_from_slice(id);
    message(kind, NLM_F_REQUEST | flags, 1, &payload)
}

/// What a datagram of the kernel adds to a list.
#[derive(Debug)]
enum Part {
    More,
    End,
}

/// Reads a datagram: messages, each with its length.
fn read_part(mut bytes: &[u8], list: &mut Vec<Connection>) -> io::Result<Part> {
    while let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(body) = bytes.get(HEADER_BYTES..length) else {
            break;
        };
        match kind {
            NLMSG_DONE | NLMSG_ERROR => return result(body).map(|()| Part::End),
            SOCK_DIAG_BY_FAMILY if list.len() < MAX_CONNECTIONS => list.extend(Connection::parse(body)),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Part::More)
}

/// The errno that a last message begins with.
fn result(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).map(u32::cast_signed) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Ok(()),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn send(socket: &OwnedFd, request: &[u8]) -> io::Result<()> {
    rustix::net::sendto(socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// The kernel answers before a request returns, and adds to a list whenever some of it is taken: there is nothing to wait for.
fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let (_, length) = rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT)?;
    Ok(&buffer[..length.min(buffer.len())])
}

fn list(socket: &OwnedFd, family: u8, list: &mut Vec<Connection>) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    send(
        socket,
        &request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, &[0; ID_BYTES]),
    )?;
    while let Part::More = read_part(receive(socket, &mut buffer)?, list)? {}
    Ok(())
}

fn destroy(socket: &OwnedFd, connection: &Connection) -> io::Result<()> {
    let mut buffer = [0; 1024];
    send(
        socket,
        &request(SOCK_DESTROY, NLM_F_ACK, connection.family, &connection.id),
    )?;
    match read_part(receive(socket, &mut buffer)?, &mut Vec::new()) {
        // It has just ended by itself.
        Err(error) if is(&error, Errno::NOENT) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// A socket of the kernel's diagnosis that was opened before a snapshot: opening it takes a restored guest longer than all else.
pub(super) type Diagnosis = RefCell<Option<OwnedFd>>;

fn open() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol::SOCK_DIAG))?;
    Ok(socket)
}

/// Opens the socket for a time after a snapshot.
pub(super) fn prepare(diagnosis: &Diagnosis) {
    let kept = diagnosis.take();
    diagnosis.replace(kept.or_else(|| open().ok()));
}

/// Ends the connections that are wanted, and says how many there were. An error says that this kernel does not do it.
pub(super) fn end(diagnosis: &Diagnosis, wanted: impl Fn(&Connection) -> bool) -> io::Result<usize> {
    let socket = diagnosis.take().map_or_else(open, Ok)?;
    let mut connections = Vec::new();
    list(&socket, AF_INET, &mut connections).map_err(explained)?;
    match list(&socket, AF_INET6, &mut connections) {
        // A kernel without IPv6.
        Err(error) if is(&error, Errno::NOENT) => {}
        listed => listed.map_err(explained)?,
    }
    connections.retain(wanted);
    for connection in &connections {
        destroy(&socket, connection).map_err(explained)?;
    }
    // One that failed holds what nobody asks for any more, and is not kept.
    diagnosis.replace(Some(socket));
    Ok(connections.len())
}

fn explained(error: io::Error) -> io::Error {
    if is(&error, Errno::NOENT) {
        return io::Error::other("this kernel has no `tcp_diag`");
    }
    if is(&error, Errno::OPNOTSUPP) {
        return io::Error::other("this kernel was built without `INET_DIAG_DESTROY`");
    }
    error
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn listed(family: u8, local: (&[u8], u16), remote: (&[u8], u16)) -> Vec<u8> {
        let mut body = vec![family, 1, 0, 0];
        body.extend_from_slice(&local.1.to_be_bytes());
        body.extend_from_slice(&remote.1.to_be_bytes());
        for (address, _) in [local, remote] {
            let mut field = address.to_vec();
            field.resize(16, 0);
            body.extend_from_slice(&field);
        }
        body.resize(72, 0);
        body
    }

    fn connection(local: &str, remote: &str) -> Connection {
        let octets = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
        };
        let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        let ((family, from), (_, to)) = (octets(local), octets(remote));
        Connection::parse(&listed(family, (&from, local.port()), (&to, remote.port()))).unwrap()
    }

    #[test]
    fn only_what_leaves_the_guest_ends() {
        for (local, remote, leaves) in [
            ("169.254.0.2:40000", "93.184.216.34:443", true),
            ("169.254.0.2:49983", "169.254.0.1:50000", true),
            ("[::ffff:169.254.0.2]:49983", "[::ffff:169.254.0.1]:50000", true),
            ("[fd00::2]:40000", "[2001:db8::1]:443", true),
            ("127.0.0.1:40000", "127.0.0.1:5432", false),
            ("127.0.0.1:40000", "127.0.0.53:53", false),
            ("169.254.0.2:40000", "127.0.0.1:53", false),
            ("[::1]:40000", "[::1]:5432", false),
            ("[::ffff:127.0.0.1]:40000", "[::ffff:127.0.0.1]:5432", false),
            ("169.254.0.2:40000", "169.254.0.2:5432", false),
        ] {
            assert_eq!(connection(local, remote).leaves_the_guest(), leaves, "{local} {remote}");
        }
    }

    #[test]
    fn the_present_one_is_known_by_either_family() {
        let present = (49983, canonical("[::ffff:169.254.0.1]:50000".parse().unwrap()));
        assert!(connection("169.254.0.2:49983", "169.254.0.1:50000").is(present));
        assert!(connection("[::ffff:169.254.0.2]:49983", "[::ffff:169.254.0.1]:50000").is(present));
        assert!(!connection("169.254.0.2:49983", "169.254.0.1:50001").is(present));
        assert!(!connection("169.254.0.2:80", "169.254.0.1:50000").is(present));
    }

    #[test]
    fn lists_are_read_within_their_bounds() {
        let body = listed(AF_INET, (&[10, 0, 0, 1], 1), (&[10, 0, 0, 2], 2));
        let datagram = [
            message(SOCK_DIAG_BY_FAMILY, 2, 1, &body),
            message(SOCK_DIAG_BY_FAMILY, 2, 1, &body),
        ]
        .concat();
        let mut list = Vec::new();
        assert!(matches!(read_part(&datagram, &mut list), Ok(Part::More)));
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].remote, "10.0.0.2:2".parse().unwrap());
        for length in 0..datagram.len() {
            // Cut anywhere: fewer, and no panic.
            let mut list = Vec::new();
            read_part(&datagram[..length], &mut list).unwrap();
            assert!(list.len() <= 1);
        }
        let refused = message(NLMSG_ERROR, 0, 1, &(-2_i32).to_ne_bytes());
        let error = read_part(&refused, &mut list).unwrap_err();
        assert!(explained(error).to_string().contains("tcp_diag"));
        assert!(matches!(
            read_part(&message(NLMSG_DONE, 0, 1, &[0; 4]), &mut list),
            Ok(Part::End)
        ));
    }

    #[test]
    fn this_kernel_ends_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, client_address) = listener.accept().unwrap();
        let (mut other, _kept) = {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, listener.accept().unwrap().0)
        };
        match end(&Diagnosis::default(), |connection| connection.local == client_address) {
            Ok(count) => assert_eq!(count, 1),
            Err(error) => {
                eprintln!("SKIPPED: {error}");
                return;
            }
        }
        let mut byte = [0];
        let aborted = client.read(&mut byte).unwrap_err();
        assert_eq!(aborted.kind(), io::ErrorKind::ConnectionAborted, "{aborted}");
        let reset = server.read(&mut byte).unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset, "{reset}");
        other.set_nonblocking(true).unwrap();
        assert_eq!(other.read(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
