//! How many requests to sandboxes are under way, in all and of one sandbox.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hearth_ids::SandboxId;
use metrics::{Gauge, gauge};

use super::SandboxLimits;
use crate::client::Client;

/// Counts streams.
pub(super) struct Streams {
    max: usize,
    max_per_sandbox: usize,
    open: Mutex<Open>,
    gauge: Gauge,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_sandbox: HashMap<SandboxId, usize>,
}

/// A request under way: its client may let us wait. Over when it is dropped.
pub(super) struct Stream {
    streams: Arc<Streams>,
    id: SandboxId,
    client: Arc<Client>,
    /// What whoever keeps the sandbox wants to know the end of.
    held: Option<Box<dyn Send + Sync>>,
}

impl Streams {
    pub(super) fn new(limits: &SandboxLimits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.streams,
            max_per_sandbox: limits.streams_per_sandbox,
            open: Mutex::default(),
            gauge: gauge!("hearth_gateway_sandbox_streams"),
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stream, if there may be one more.
    pub(super) fn begin(self: &Arc<Self>, id: SandboxId, client: &Arc<Client>) -> Option<Stream> {
        let mut open = self.open();
        let of_it = open.by_sandbox.get(&id).copied().unwrap_or_default();
        if open.all >= self.max || of_it >= self.max_per_sandbox {
            return None;
        }
        open.all += 1;
        open.by_sandbox.insert(id, of_it + 1);
        self.gauge.increment(1);
        client.be_patient();
        Some(Stream {
            streams: Arc::clone(self),
            id,
            client: Arc::clone(client),
            held: None,
        })
    }
}

impl Stream {
    /// Keeps something until it is over.
    pub(super) fn keep(&mut self, held: Option<Box<dyn Send + Sync>>) {
        self.held = held;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.client.hurry();
        let mut open = self.streams.open();
        open.all -= 1;
        if let Some(count) = open.by_sandbox.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                open.by_sandbox.remove(&self.id);
            }
        }
        self.streams.gauge.decrement(1);
    }
}
