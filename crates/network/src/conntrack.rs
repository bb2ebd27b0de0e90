//! Forgetting connections, so that none of a slot's last holder reaches its next.

use std::{io, net::IpAddr};

use crate::{netlink::Netlink, nft::attribute};

const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const FLAG_REQUEST: u16 = 1;
const FLAG_DUMP: u16 = 0x300;
const FLAG_ACK: u16 = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const IP_V4_SOURCE: u16 = 1;
const IP_V4_DESTINATION: u16 = 2;
const IP_V6_SOURCE: u16 = 3;
const IP_V6_DESTINATION: u16 = 4;
/// Of `struct nfgenmsg`, before the attributes.
const GENERAL_LEN: usize = 4;
const FILTER: u16 = 25;
/// `CTA_FILTER_ORIG_FLAGS` and `CTA_FILTER_REPLY_FLAGS`, in the order of the tuples.
const FILTER_FLAGS: [(u16, u16); 2] = [(TUPLE_ORIGINAL, 1), (TUPLE_REPLY, 2)];
const COMPARE_SOURCE: u32 = 1;

/// Forgets all connections of the calling thread's namespace: only for a namespace that is a slot's own.
pub(crate) fn forget_all(netlink: &mut Netlink) -> io::Result<()> {
    delete(netlink, 0, &[])
}

/// Forgets the connections that the address opened or answers, in the calling thread's namespace.
pub(crate) fn forget(netlink: &mut Netlink, address: IpAddr) -> io::Result<()> {
    // An older kernel does not know the filter and would forget everything.
    if !kernel_filters() {
        return Ok(());
    }
    let (family, kind, bytes) = match address {
        IpAddr::V4(address) => (2, IP_V4_SOURCE, address.octets().to_vec()),
        IpAddr::V6(address) => (10, IP_V6_SOURCE, address.octets().to_vec()),
    };
    for (tuple, flags) in FILTER_FLAGS {
        let mut attributes = Vec::new();
        attribute::put_nested(&mut attributes, tuple, |to| {
            attribute::put_nested(to, TUPLE_IP, |to| attribute::put(to, kind, &bytes));
        });
        attribute::put_nested(&mut attributes, FILTER, |to| {
            attribute::put(to, flags, &COMPARE_SOURCE.to_ne_bytes());
        });
        delete(netlink, family, &attributes)?;
    }
    Ok(())
}

/// One connection that the namespace knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Who opened it.
    pub(crate) from: IpAddr,
    /// What it was opened to.
    pub(crate) to: IpAddr,
    /// Who answers, which is another one if the destination was translated.
    pub(crate) answered_by: IpAddr,
    /// The tuple by which the kernel finds it, as it came.
    tuple: Vec<u8>,
}

/// Forgets those of the calling thread's namespace that are chosen.
pub(crate) fn forget_where(netlink: &mut Netlink, chosen: impl Fn(&Connection) -> bool) -> io::Result<()> {
    let seq = netlink.take_seqs(1);
    let mut bytes = Vec::new();
    attribute::message(&mut bytes, CT_GET, FLAG_REQUEST | FLAG_DUMP, seq, [0; 4], &[]);
    let mut found = Vec::new();
    netlink
        .exchange(&bytes, seq, seq, |kind, payload| {
            let connection = (kind == CT_NEW).then(|| Connection::read(payload)).flatten();
            found.extend(connection.filter(&chosen));
        })
        .map_err(|refusal| refusal.error)?;
    for connection in found {
        let mut attributes = Vec::new();
        attribute::put_nested(&mut attributes, TUPLE_ORIGINAL, |to| {
            to.extend_from_slice(&connection.tuple);
        });
        let family = if connection.from.is_ipv4() { 2 } else { 10 };
        delete(netlink, family, &attributes)?;
    }
    Ok(())
}

impl Connection {
    fn read(payload: &[u8]) -> Option<Self> {
        let attributes = payload.get(GENERAL_LEN..)?;
        let tuple = attribute::find(attributes, TUPLE_ORIGINAL)?;
        let (from, to) = addresses(tuple)?;
        let (answered_by, _) = addresses(attribute::find(attributes, TUPLE_REPLY)?)?;
        Some(Self {
            from,
            to,
            answered_by,
            tuple: tuple.to_vec(),
        })
    }
}

/// Source and destination of a tuple.
fn addresses(tuple: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let ip = attribute::find(tuple, TUPLE_IP)?;
    let v4 = |kind| Some(IpAddr::from(<[u8; 4]>::try_from(attribute::find(ip, kind)?).ok()?));
    let v6 = |kind| Some(IpAddr::from(<[u8; 16]>::try_from(attribute::find(ip, kind)?).ok()?));
    v4(IP_V4_SOURCE)
        .zip(v4(IP_V4_DESTINATION))
        .or_else(|| v6(IP_V6_SOURCE).zip(v6(IP_V6_DESTINATION)))
}

fn delete(netlink: &mut Netlink, family: u8, attributes: &[u8]) -> io::Result<()> {
    let seq = netlink.take_seqs(1);
    let mut bytes = Vec::new();
    attribute::message(
        &mut bytes,
        CT_DELETE,
        FLAG_REQUEST | FLAG_ACK,
        seq,
        [family, 0, 0, 0],
        attributes,
    );
    match netlink.exchange(&bytes, seq, seq, |_, _| ()) {
        Err(refusal) if refusal.error.kind() != io::ErrorKind::NotFound => Err(refusal.error),
        _ => Ok(()),
    }
}

/// Linux 5.8 or later.
fn kernel_filters() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_read_off_its_tuples_and_half_of_one_is_none() {
        let tuple = |to: &mut Vec<u8>, kind, [from, by]: [[u8; 4]; 2]| {
            attribute::put_nested(to, kind, |to| {
                attribute::put_nested(to, TUPLE_IP, |to| {
                    attribute::put(to, IP_V4_SOURCE, &from);
                    attribute::put(to, IP_V4_DESTINATION, &by);
                });
            });
        };
        let mut payload = vec![2, 0, 0, 0];
        tuple(&mut payload, TUPLE_ORIGINAL, [[169, 254, 0, 2], [198, 51, 100, 7]]);
        let half = payload.len();
        tuple(&mut payload, TUPLE_REPLY, [[198, 51, 100, 7], [100, 64, 0, 1]]);
        let read = Connection::read(&payload).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            (read.from, read.to, read.answered_by),
            (ip("169.254.0.2"), ip("198.51.100.7"), ip("198.51.100.7"))
        );
        assert_eq!(Connection::read(&payload[..half]), None);
        for cut in 0..payload.len() {
            Connection::read(&payload[..cut]);
        }
    }
}
