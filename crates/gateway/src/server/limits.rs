//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{Gauge, counter, gauge};

use crate::{ClientLimits, network::network};

/// Counts connections.
pub(super) struct Doors {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
    gauge: Gauge,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The right to one connection. Given back when it is dropped.
pub(super) struct Admission {
    doors: Arc<Doors>,
    address: IpAddr,
}

impl Doors {
    pub(super) fn new(limits: &ClientLimits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.connections,
            max_per_address: limits.connections_per_address,
            open: Mutex::default(),
            gauge: gauge!("hearth_gateway_connections"),
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, if there is room.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admission> {
        let address = network(address);
        let mut open = self.open();
        let from_there = open.by_address.get(&address).copied().unwrap_or_default();
        if open.all >= self.max || from_there >= self.max_per_address {
            drop(open);
            counter!("hearth_gateway_connections_refused_total").increment(1);
            return None;
        }
        open.all += 1;
        open.by_address.insert(address, from_there + 1);
        self.gauge.increment(1);
        Some(Admission {
            doors: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.doors.open();
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
        self.doors.gauge.decrement(1);
    }
}
