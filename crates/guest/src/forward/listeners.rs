//! Who listens, by `/proc/net/tcp` and `tcp6`, and what of it is to be forwarded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The kernel lists those that listen before all others; a guest with thousands of connections is not read through for them.
const MAX_READ_BYTES: u64 = 64 * 1024;
const LISTEN: &str = "0A";

/// Sockets that listen, in the namespace of `procfs`. A file that is absent, for a kernel without IPv6, has none.
pub(super) fn listening(procfs: &Path) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for name in ["tcp", "tcp6"] {
        let mut text = Vec::new();
        let read = File::open(procfs.join(name)).and_then(|file| file.take(MAX_READ_BYTES).read_to_end(&mut text));
        if read.is_ok() {
            found.extend(parse(&String::from_utf8_lossy(&text)));
        }
    }
    found
}

/// Lines of `number: address:port address:port state …`, after a heading.
fn parse(text: &str) -> impl Iterator<Item = SocketAddr> + '_ {
    text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        if state != LISTEN {
            return None;
        }
        let (address, port) = local.split_once(':')?;
        Some(SocketAddr::new(
            parse_address(address)?,
            u16::from_str_radix(port, 16).ok()?,
        ))
    })
}

/// Words of 32 bits in hexadecimal digits, each as the machine has it in memory.
fn parse_address(digits: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = digits.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if digits.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&word(at)?);
    }
    Some(Ipv6Addr::from(bytes).to_canonical())
}

/// Which ports to forward, and to where: those that only the loopback reaches. Of several loopback addresses with one port it is the
/// lowest, IPv4 before IPv6.
pub(super) fn wanted(
    listening: &[SocketAddr],
    own: IpAddr,
    is_ours: impl Fn(u16) -> bool,
) -> BTreeMap<u16, SocketAddr> {
    let is_reached = |port| {
        let reaches = |address: IpAddr| address.is_unspecified() || (address == own && !is_ours(port));
        listening
            .iter()
            .any(|listener| listener.port() == port && reaches(listener.ip()))
    };
    let mut wanted = BTreeMap::new();
    for listener in listening {
        let is_candidate = listener.ip().is_loopback() && listener.ip() != own && !is_reached(listener.port());
        if is_candidate && wanted.get(&listener.port()).is_none_or(|known| listener < known) {
            wanted.insert(listener.port(), *listener);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   2: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0
   1: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 0:0
";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_the_kernel_writes() {
        assert_eq!(parse(TCP).collect::<Vec<_>>(), [at("127.0.0.1:8080"), at("0.0.0.0:22")]);
        assert_eq!(parse(TCP6).collect::<Vec<_>>(), [at("[::1]:80"), at("127.0.0.1:81")]);
        assert_eq!(parse("heading\nnonsense\n0: x:y z 0A\n0: 01:1 z 0A\n").count(), 0);
        let real = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listening(Path::new("/proc/net")).contains(&real.local_addr().unwrap()));
        assert!(listening(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn only_what_the_loopback_alone_reaches() {
        let own: IpAddr = "169.254.0.2".parse().unwrap();
        let of = |listening: &[&str], ours: &[u16]| {
            let listening: Vec<_> = listening.iter().map(|text| at(text)).collect();
            let wanted = wanted(&listening, own, |port| ours.contains(&port));
            wanted.into_values().collect::<Vec<_>>()
        };
        assert_eq!(
            of(&["127.0.0.1:80", "[::1]:81"], &[]),
            [at("127.0.0.1:80"), at("[::1]:81")]
        );
        assert_eq!(
            of(&["[::1]:80", "127.0.0.5:80", "127.0.0.1:80"], &[]),
            [at("127.0.0.1:80")]
        );
        assert_eq!(of(&["127.0.0.1:80", "0.0.0.0:80"], &[]), []);
        assert_eq!(of(&["127.0.0.1:80", "[::]:80"], &[]), []);
        assert_eq!(of(&["127.0.0.1:80", "169.254.0.2:80"], &[]), []);
        // What listens there is the relay.
        assert_eq!(of(&["127.0.0.1:80", "169.254.0.2:80"], &[80]), [at("127.0.0.1:80")]);
        assert_eq!(of(&["169.254.0.2:80", "10.0.0.1:81"], &[]), []);
    }
}
