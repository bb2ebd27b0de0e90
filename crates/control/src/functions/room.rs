//! How much room there is for instances: what the node's books have free, without and less what was asked for and is not on
//! them yet, and what a process before this one has begun.
//!
//! Quotas are not in it. What a project holds is in the store, which is too far to be asked at each plan; it is asked, and
//! refuses, when an instance is put on its books.

use std::sync::Arc;

use futures::{StreamExt as _, stream::BoxStream};
use hearth_coord::embedded::EmbeddedQueue;
use hearth_domain::{Allocation, room_for};
use hearth_gateway::{NodeRoom, RoomLeft, VersionFacts};
use hearth_ids::FunctionId;
use hearth_node_api::NodeBooks;
use hearth_worker::Worker;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

/// The room of the one node that there is, by its own rule of admission. It is never old: the node's books are in this process.
pub(crate) struct OwnNode {
    pub(crate) books: watch::Receiver<NodeBooks>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) queue: Arc<EmbeddedQueue>,
}

impl NodeRoom for OwnNode {
    fn room(&self, function: FunctionId, version: u32, facts: &VersionFacts) -> Option<RoomLeft> {
        // In this order, so that what passes from one to the next meanwhile is not counted twice: rather too much is asked for,
        // and refused, than a call sent away for which there is room.
        let books = *self.books.borrow();
        let placed = self.worker.placed();
        let asked = self.queue.stats();
        let each = Allocation {
            vcpus: facts.cpu.into(),
            memory_mib: facts.memory_mb.into(),
        };
        let held = books.allocation;
        let with_asked = Allocation {
            vcpus: held.vcpus + asked.cpu.saturating_sub(placed.vcpus),
            memory_mib: held.memory_mib + asked.memory_mb.saturating_sub(placed.memory_mib),
        };
        // Whoever asks for one more is given these, which the node has already.
        let found = self.worker.found(function, version);
        let room = |held| room_for(&books.capacity, books.overcommit, held, each).saturating_add(found);
        Some(RoomLeft {
            on_books: room(held),
            unasked: room(with_asked),
        })
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        WatchStream::from_changes(self.books.clone()).map(drop).boxed()
    }
}
