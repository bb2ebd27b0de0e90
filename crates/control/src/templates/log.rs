//! What a build says while it is under way: kept in order, in batches, and bounded.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hearth_ids::BuildId;
use hearth_store::{BuildLogLine, Store};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tracing::warn;

use crate::time::now_unix_ms;

/// Bytes of one build's log; what comes after is not kept.
const BYTES_MAX: usize = 16 << 20;
/// Lines that are written at once.
const BATCH: usize = 256;

enum Entry {
    Line(BuildLogLine),
    /// Told once all before it is kept.
    Flush(oneshot::Sender<()>),
}

/// The log of one build.
pub(super) struct BuildLog {
    entries: mpsc::UnboundedSender<Entry>,
    bytes: AtomicUsize,
    step: std::sync::Mutex<Option<String>>,
    _writer: Arc<JoinHandle<()>>,
}

impl BuildLog {
    pub(super) fn open(store: Store, build: BuildId) -> Self {
        // Bounded by the bytes that are taken.
        let (entries, inbox) = mpsc::unbounded_channel();
        Self {
            entries,
            bytes: AtomicUsize::new(0),
            step: std::sync::Mutex::default(),
            _writer: Arc::new(tokio::spawn(write(store, build, inbox))),
        }
    }

    /// Lines that follow are of this step.
    pub(super) fn at(&self, step: &str) {
        *self.step.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(step.to_owned());
    }

    pub(super) fn line(&self, level: &str, message: &str) {
        let cost = message.len() + 64;
        let before = self.bytes.fetch_add(cost, Ordering::Relaxed);
        if before > BYTES_MAX {
            return;
        }
        let cut = before + cost > BYTES_MAX;
        let line = BuildLogLine {
            at_unix_ms: now_unix_ms(),
            level: level.to_owned(),
            step: self
                .step
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
            message: if cut {
                "the log is full; what follows is not kept"
            } else {
                message
            }
            .to_owned(),
        };
        // The writer ends with this alone.
        let _ = self.entries.send(Entry::Line(line));
    }

    /// Returns when all lines up to now are kept.
    pub(super) async fn flush(&self) {
        let (done, kept) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).is_ok() {
            let _ = kept.await;
        }
    }
}

async fn write(store: Store, build: BuildId, mut inbox: mpsc::UnboundedReceiver<Entry>) {
    let mut entries = Vec::new();
    while inbox.recv_many(&mut entries, BATCH).await > 0 {
        let (mut lines, mut flushed) = (Vec::new(), Vec::new());
        for entry in entries.drain(..) {
            match entry {
                Entry::Line(line) => lines.push(line),
                Entry::Flush(done) => flushed.push(done),
            }
        }
        if let Err(error) = store.log_build(build, &lines).await {
            warn!(%build, %error, "cannot keep lines of a build");
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}
