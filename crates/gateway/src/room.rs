//! Room for bodies that are held in memory: events and bodies of kept calls.
//!
//! Each has a bound of its own, but thousands may come at once and wait. So bytes are counted as they come, for the whole
//! gateway and for each client's network, until the event is sent or the call is kept.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{ClientLimits, network::network};

/// The room there is.
pub(crate) struct Room {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// There is no room for that now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSpace;

/// Room for one body. Given back when it is dropped.
pub(crate) struct Held {
    room: Arc<Room>,
    /// None for calls from within the process: they are bounded only in all.
    address: Option<IpAddr>,
    bytes: usize,
}

/// Bytes, and what is dropped with them.
struct Attached<W> {
    bytes: Bytes,
    _with: W,
}

impl<W> AsRef<[u8]> for Attached<W> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes; `with` is dropped with the last reference to them.
pub(crate) fn attach<W: Send + 'static>(bytes: Bytes, with: W) -> Bytes {
    Bytes::from_owner(Attached { bytes, _with: with })
}

impl Room {
    pub(crate) fn new(limits: &ClientLimits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.held_bytes,
            max_per_address: limits.held_bytes_per_address,
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for no bytes yet.
    pub(crate) fn hold(self: &Arc<Self>, client: Option<IpAddr>) -> Held {
        Held {
            room: Arc::clone(self),
            address: client.map(network),
            bytes: 0,
        }
    }
}

impl Held {
    /// Makes it room for so many bytes. Where there is no room for more, it stays as it is.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), NoSpace> {
        if bytes == self.bytes {
            return Ok(());
        }
        let mut taken = self.room.taken();
        let all = taken.all - self.bytes + bytes;
        let from_there = self.address.map(|address| {
            let before = taken.by_address.get(&address).copied().unwrap_or_default();
            before - self.bytes + bytes
        });
        let too_much = all > self.room.max || from_there.is_some_and(|bytes| bytes > self.room.max_per_address);
        if bytes > self.bytes && too_much {
            return Err(NoSpace);
        }
        taken.all = all;
        match (self.address, from_there) {
            (Some(address), Some(0)) => drop(taken.by_address.remove(&address)),
            (Some(address), Some(bytes)) => drop(taken.by_address.insert(address, bytes)),
            _ => (),
        }
        drop(taken);
        self.bytes = bytes;
        Ok(())
    }

    /// The bytes, which have the room they need until the last reference to them is dropped.
    pub(crate) fn keep(mut self, bytes: Bytes) -> Result<Bytes, NoSpace> {
        self.set(bytes.len())?;
        Ok(attach(bytes, self))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Less is always allowed.
        let _given_back = self.set(0);
    }
}

/// A quarter of the machine's memory, and no more than 512 MiB.
pub(crate) fn default_max() -> usize {
    const MAX: usize = 512 * 1024 * 1024;
    // The file is Linux's; elsewhere the bound alone holds.
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    memory(&info).map_or(MAX, |bytes| MAX.min(bytes / 4))
}

/// `MemTotal:  16384 kB`, in bytes.
fn memory(info: &str) -> Option<usize> {
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(max: usize, max_per_address: usize) -> Arc<Room> {
        Room::new(&ClientLimits {
            held_bytes: max,
            held_bytes_per_address: max_per_address,
            ..ClientLimits::default()
        })
    }

    #[test]
    fn room_is_bounded_for_all_and_for_each() {
        let room = room(10, 6);
        let (a, b) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
        let (mut one, mut two, mut three) = (room.hold(a), room.hold(a), room.hold(b));
        assert_eq!(one.set(4), Ok(()));
        assert_eq!(two.set(3), Err(NoSpace));
        assert_eq!(two.set(2), Ok(()));
        assert_eq!(three.set(5), Err(NoSpace));
        assert_eq!(three.set(4), Ok(()));
        assert_eq!(room.hold(None).set(1), Err(NoSpace));
        assert_eq!(one.set(1), Ok(()));
        assert_eq!(room.hold(None).set(3), Ok(()));
        let kept = two.keep(Bytes::from_static(b"12345")).unwrap();
        let copy = kept.clone();
        drop((one, three, kept));
        assert_eq!(room.taken().all, 5);
        drop(copy);
        let taken = room.taken();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn memory_is_read() {
        assert_eq!(memory("MemFree: 1 kB\nMemTotal:  2048 kB\n"), Some(2 * 1024 * 1024));
        assert_eq!(memory("nothing"), None);
        assert!(default_max() <= 512 * 1024 * 1024);
    }
}
