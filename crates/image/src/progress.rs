//! What a pull or import is doing, for progress bars. Events may be dropped when the listener is slow; the last one of each item is not needed
//! for correctness.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Asking the registry, or reading the archive, for what the image is made of.
    Resolving,
    /// Fetching a layer.
    Downloading,
    /// Checking bytes that were there already.
    Verifying,
    /// Turning a layer into the read-only root.
    Converting,
    /// The image is there.
    Done,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// To what: a layer's short digest, or the image's name.
    pub item: String,
    /// Bytes done.
    pub current_bytes: u64,
    /// Bytes in all, 0 where unknown.
    pub total_bytes: u64,
}

/// Where events go. Cheap to clone.
#[derive(Clone, Default)]
pub struct ProgressSink(Option<Arc<dyn Fn(Progress) + Send + Sync>>);

impl ProgressSink {
    /// Nobody listens.
    pub fn none() -> Self {
        Self(None)
    }

    /// Calls `listener` for each event; it must not block.
    pub fn new(listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn send(&self, event: Progress) {
        if let Some(listener) = &self.0 {
            listener(event);
        }
    }

    pub(crate) fn emit(&self, phase: Phase, item: &str, current_bytes: u64, total_bytes: u64) {
        self.send(Progress {
            phase,
            item: item.to_owned(),
            current_bytes,
            total_bytes,
        });
    }
}

impl From<mpsc::Sender<Progress>> for ProgressSink {
    /// Events that do not fit in the channel are dropped.
    fn from(sender: mpsc::Sender<Progress>) -> Self {
        Self::new(move |event| drop(sender.try_send(event)))
    }
}

impl fmt::Debug for ProgressSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() {
            "ProgressSink(listening)"
        } else {
            "ProgressSink(none)"
        })
    }
}

/// Reports one item's bytes, at most once per [`Meter::STEP_BYTES`], so that a fast transfer does not drown its listener.
pub(crate) struct Meter {
    sink: ProgressSink,
    phase: Phase,
    item: String,
    total_bytes: u64,
    reported_bytes: Option<u64>,
}

impl Meter {
    const STEP_BYTES: u64 = 256 * 1024;

    pub(crate) fn new(sink: &ProgressSink, phase: Phase, item: &str, total_bytes: u64) -> Self {
        Self {
            sink: sink.clone(),
            phase,
            item: item.to_owned(),
            total_bytes,
            reported_bytes: None,
        }
    }

    pub(crate) fn set(&mut self, current_bytes: u64) {
        let due = match self.reported_bytes {
            None => true,
            Some(last) => current_bytes >= self.total_bytes || current_bytes.abs_diff(last) >= Self::STEP_BYTES,
        };
        if due && self.reported_bytes != Some(current_bytes) {
            self.reported_bytes = Some(current_bytes);
            self.sink.emit(self.phase, &self.item, current_bytes, self.total_bytes);
        }
    }
}
