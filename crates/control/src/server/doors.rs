//! How many connections one client address may have, so that it cannot close the API's port to all others.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::peer::Peer;

/// Open connections by address; an address without any has no entry.
#[derive(Debug)]
pub(super) struct Doors {
    max_per_address: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// The right to one connection. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    doors: Arc<Doors>,
    /// None where nothing is counted.
    address: Option<IpAddr>,
}

impl Doors {
    pub(super) fn new(max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max_per_address,
            open: Mutex::default(),
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, unless its address has as many as it may. Processes of this host that use the socket have no
    /// address, and no bound of their own.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Admission> {
        let address = match peer {
            Peer::Unix { .. } => None,
            Peer::Tcp(address) | Peer::Tls(address) => Some(client(address.ip())),
        };
        if let Some(address) = address {
            let mut open = self.open();
            let count = open.get(&address).copied().unwrap_or_default();
            if count >= self.max_per_address {
                return None;
            }
            open.insert(address, count + 1);
        }
        Some(Admission {
            doors: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut open = self.doors.open();
        let left = open.get(&address).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            open.remove(&address);
        } else {
            open.insert(address, left);
        }
    }
}

/// Of IPv6 a client has a whole network of 64 bits at the least.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_some_and_leaves_the_others() {
        let doors = Doors::new(2);
        let from = |address: &str| doors.admit(Peer::Tcp(address.parse().unwrap()));
        let first = from("192.0.2.1:1").unwrap();
        let second = from("[::ffff:192.0.2.1]:2").unwrap();
        assert!(from("192.0.2.1:3").is_none());
        assert!(from("192.0.2.2:1").is_some());
        drop(first);
        let third = from("192.0.2.1:4").unwrap();
        drop((second, third));
        assert!(doors.open().is_empty());
        let network = [from("[2001:db8::1]:1"), from("[2001:db8::2]:1")];
        assert!(network.iter().all(Option::is_some) && from("[2001:db8::3]:1").is_none());
        assert!(from("[2001:db8:0:1::1]:1").is_some());
        let local = Peer::Unix { uid: 0, gid: 0 };
        assert!([0; 9].map(|_| doors.admit(local)).iter().all(Option::is_some));
    }
}
