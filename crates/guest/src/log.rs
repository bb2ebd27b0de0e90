//! The workload's records: a bounded ring between its pipes and the host.
//!
//! ```text
//!  workload ─pipe─► push_chunk ─► [oldest … newest] ─► Follower (each at a sequence number of its own)
//! ```
//! Invariants: the ring never exceeds its capacity by more than lifecycle records. While a follower is attached, nothing that
//! it has not taken is dropped: `push_chunk` waits instead, so the pipe fills and the workload is held back. With no follower
//! the oldest is dropped, and the next follower first gets a gap that says how much.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use hearth_guest_api::guest::record::{Body, Chunk, Exited, Gap, Started};
use hearth_guest_api::guest::{Record, Stream};
use tokio::sync::Notify;

use crate::clock::unix_ns;

/// What a record weighs beside its data.
const RECORD_OVERHEAD_BYTES: usize = 96;
const MAX_CAPACITY_BYTES: usize = 4 * 1024 * 1024;
const MIN_CAPACITY_BYTES: usize = 64 * 1024;

/// min(4 MiB, memory / 16), or what the host wants within that.
pub(crate) fn capacity_bytes(wanted: u64, memory_bytes: u64) -> usize {
    let most = usize::try_from(memory_bytes / 16)
        .unwrap_or(MAX_CAPACITY_BYTES)
        .clamp(MIN_CAPACITY_BYTES, MAX_CAPACITY_BYTES);
    match usize::try_from(wanted) {
        Ok(0) | Err(_) => most,
        Ok(wanted) => wanted.clamp(MIN_CAPACITY_BYTES, most),
    }
}

#[derive(Default)]
struct Ring {
    records: VecDeque<Record>,
    weight: usize,
    next_seq: u64,
    /// Bytes of chunks ever dropped, and ever dropped or taken by the furthest follower: the difference is what a gap reports.
    dropped_bytes: u64,
    taken_seq: u64,
    taken_dropped_bytes: u64,
    followers: Vec<(u64, u64)>,
    next_follower: u64,
}

fn weight(record: &Record) -> usize {
    RECORD_OVERHEAD_BYTES + chunk_len(record)
}

fn chunk_len(record: &Record) -> usize {
    match &record.body {
        Some(Body::Chunk(chunk)) => chunk.data.len(),
        _ => 0,
    }
}

impl Ring {
    fn first_seq(&self) -> u64 {
        self.records.front().map_or(self.next_seq, |record| record.seq)
    }

    fn push(&mut self, body: Body) {
        let record = Record {
            seq: self.next_seq,
            unix_ns: unix_ns(),
            body: Some(body),
        };
        self.next_seq += 1;
        self.weight += weight(&record);
        self.records.push_back(record);
    }

    /// Drops the oldest records until `extra` fits; false if a follower still needs one of them.
    fn make_room(&mut self, extra: usize, capacity: usize) -> bool {
        while self.weight + extra > capacity {
            let Some(oldest) = self.records.front() else {
                return true;
            };
            if self.followers.iter().any(|(_, position)| *position <= oldest.seq) {
                return false;
            }
            let len = chunk_len(oldest) as u64;
            self.dropped_bytes += len;
            if oldest.seq < self.taken_seq {
                self.taken_dropped_bytes += len;
            }
            self.weight -= weight(oldest);
            self.records.pop_front();
        }
        true
    }

    fn gap(&self, from: u64) -> Option<Record> {
        let first = self.first_seq();
        if from >= first {
            return None;
        }
        // Exact for one who starts at the beginning and for one who goes on where the furthest stopped.
        let known = if from >= self.taken_seq {
            self.taken_dropped_bytes
        } else {
            0
        };
        let gap = Gap {
            lost_bytes: self.dropped_bytes - known,
            lost_records: first - from,
        };
        Some(Record {
            seq: first.saturating_sub(1),
            unix_ns: unix_ns(),
            body: Some(Body::Gap(gap)),
        })
    }

    /// The record at `position` or the gap before the first one.
    fn take(&mut self, position: u64) -> Option<Record> {
        let record = match self.gap(position) {
            Some(gap) => gap,
            None => self
                .records
                .get(usize::try_from(position - self.first_seq()).ok()?)?
                .clone(),
        };
        if record.seq >= self.taken_seq {
            self.taken_seq = record.seq + 1;
            self.taken_dropped_bytes = self.dropped_bytes;
        }
        Some(record)
    }
}

/// The ring, shared by the workload's readers and the host's followers.
pub(crate) struct Log {
    ring: RefCell<Ring>,
    capacity: Cell<usize>,
    news: Notify,
    room: Notify,
}

impl Log {
    pub(crate) fn new(capacity: usize) -> Rc<Self> {
        let ring = RefCell::default();
        Rc::new(Self {
            ring,
            capacity: Cell::new(capacity),
            news: Notify::new(),
            room: Notify::new(),
        })
    }

    pub(crate) fn set_capacity(&self, bytes: usize) {
        self.capacity.set(bytes);
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.ring.borrow().next_seq
    }

    /// Waits while a follower has yet to take what would have to be dropped.
    pub(crate) async fn push_chunk(&self, stream: Stream, data: Bytes) {
        let extra = RECORD_OVERHEAD_BYTES + data.len();
        loop {
            let room = self.room.notified();
            if self.ring.borrow_mut().make_room(extra, self.capacity.get()) {
                break;
            }
            room.await;
        }
        self.ring.borrow_mut().push(Body::Chunk(Chunk {
            stream: stream.into(),
            data,
        }));
        self.news.notify_waiters();
    }

    pub(crate) fn push_started(&self, pid: u32) {
        self.push_event(Body::Started(Started { pid }));
    }

    pub(crate) fn push_exited(&self, exited: Exited) {
        self.push_event(Body::Exited(exited));
    }

    /// Lifecycle records never wait: there are two, and they must not be held up by output.
    fn push_event(&self, body: Body) {
        self.ring.borrow_mut().push(body);
        self.news.notify_waiters();
    }

    /// A follower from `seq` on. While it lives, it holds the workload back rather than lose records.
    pub(crate) fn follow(self: &Rc<Self>, seq: u64) -> Follower {
        let mut ring = self.ring.borrow_mut();
        let id = ring.next_follower;
        ring.next_follower += 1;
        let position = seq.min(ring.next_seq);
        ring.followers.push((id, position));
        Follower {
            log: Rc::clone(self),
            id,
        }
    }
}

/// One reader's position in the log.
pub(crate) struct Follower {
    log: Rc<Log>,
    id: u64,
}

impl Follower {
    /// The next record, if there is one now.
    pub(crate) fn try_next(&self) -> Option<Record> {
        let mut ring = self.log.ring.borrow_mut();
        let position = ring
            .followers
            .iter()
            .find(|(id, _)| *id == self.id)
            .map(|(_, position)| *position)?;
        let record = ring.take(position)?;
        let id = self.id;
        ring.followers
            .iter_mut()
            .filter(|(other, _)| *other == id)
            .for_each(|(_, position)| *position = record.seq + 1);
        drop(ring);
        self.log.room.notify_waiters();
        Some(record)
    }

    /// The next record, waited for.
    pub(crate) async fn next(&self) -> Record {
        loop {
            let news = self.log.news.notified();
            if let Some(record) = self.try_next() {
                return record;
            }
            news.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.log.ring.borrow_mut().followers.retain(|(id, _)| *id != self.id);
        self.log.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(record: &Record) -> &[u8] {
        match &record.body {
            Some(Body::Chunk(chunk)) => &chunk.data,
            other => panic!("not a chunk: {other:?}"),
        }
    }

    fn chunk(bytes: usize, fill: u8) -> Bytes {
        Bytes::from(vec![fill; bytes])
    }

    const STEP: usize = 1000 - RECORD_OVERHEAD_BYTES;

    #[test]
    fn capacities() {
        assert_eq!(capacity_bytes(0, 1 << 30), MAX_CAPACITY_BYTES);
        assert_eq!(capacity_bytes(0, 32 << 20), 2 << 20);
        assert_eq!(capacity_bytes(1 << 20, 1 << 30), 1 << 20);
        assert_eq!(capacity_bytes(u64::MAX, 1 << 30), MAX_CAPACITY_BYTES);
    }

    #[tokio::test]
    async fn without_a_follower_the_oldest_goes_and_the_gap_is_told() {
        let log = Log::new(3000);
        for fill in 0..5 {
            log.push_chunk(Stream::Stdout, chunk(STEP, fill)).await;
        }
        let follower = log.follow(0);
        let gap = follower.try_next().unwrap();
        assert_eq!(
            gap.body,
            Some(Body::Gap(Gap {
                lost_bytes: 2 * STEP as u64,
                lost_records: 2
            }))
        );
        assert_eq!(gap.seq, 1);
        for fill in 2..5 {
            assert_eq!(text(&follower.try_next().unwrap())[0], fill);
        }
        assert!(follower.try_next().is_none());
    }

    #[tokio::test]
    async fn a_follower_that_comes_back_learns_exactly_what_it_missed() {
        let log = Log::new(2000);
        log.push_chunk(Stream::Stdout, chunk(STEP, 0)).await;
        let follower = log.follow(0);
        let next = follower.try_next().unwrap().seq + 1;
        drop(follower);
        for fill in 1..5 {
            log.push_chunk(Stream::Stdout, chunk(STEP, fill)).await;
        }
        let follower = log.follow(next);
        assert_eq!(
            follower.try_next().unwrap().body,
            Some(Body::Gap(Gap {
                lost_bytes: 2 * STEP as u64,
                lost_records: 2
            }))
        );
    }

    #[tokio::test]
    async fn an_attached_follower_holds_the_workload_back() {
        let log = Log::new(2000);
        let follower = log.follow(0);
        log.push_chunk(Stream::Stdout, chunk(STEP, 0)).await;
        log.push_chunk(Stream::Stdout, chunk(STEP, 1)).await;
        let mut third = Box::pin(log.push_chunk(Stream::Stdout, chunk(STEP, 2)));
        assert!(
            tokio::time::timeout(Duration::from_millis(20), third.as_mut())
                .await
                .is_err()
        );
        assert_eq!(text(&follower.next().await)[0], 0);
        third.await;
        drop(follower);
        log.push_chunk(Stream::Stdout, chunk(STEP, 3)).await;
    }

    #[tokio::test]
    async fn lifecycle_records_never_wait_and_early_positions_are_clipped() {
        let log = Log::new(100);
        let follower = log.follow(u64::MAX);
        log.push_started(7);
        assert_eq!(follower.next().await.body, Some(Body::Started(Started { pid: 7 })));
        assert_eq!(log.next_seq(), 1);
    }
}
