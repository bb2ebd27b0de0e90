//! Forgetting connections, so that none of a slot's last holder reaches its next.

use std::{io, net::IpAddr};

use crate::{netlink::Netlink, nft::attribute};

const CT_DELETE: u16 = 1 << 8 | 2;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const IP_V4_SOURCE: u16 = 1;
const IP_V6_SOURCE: u16 = 3;
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
