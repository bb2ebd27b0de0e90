//! Sandboxes: machines that somebody runs commands in, for a time.
//!
//! ```text
//!  /v1, E2B's API ──► create ──► a template's snapshot ──► machine (waiting, or made)
//!        │              └──────► row: whose, until when ◄── reap: time over ──► kill, or pause
//!        └──► act: pause, resume, kill, end                                         ▲
//!  requests to ports ──► gateway ──► door ── paused, and resumes by traffic? ───────┘
//! ```
//! - What a sandbox is doing is its machine's to say; the row says what it should be, and is written first.
//! - Whoever changes one has its turn before ([`Sandbox::turn`]), so that a time-out cannot overtake a pause.

mod act;
pub(crate) mod api;
mod create;
mod door;
mod find;
mod fork;
mod measure;
mod network;
mod reap;
mod reconcile;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

pub(crate) use act::{Pause, Resume, Resumed, kill, pause, read, resume, set_end};
pub(crate) use create::{NewSandbox, check_metadata, create, made, timeout_ms};
pub(crate) use door::Door;
pub(crate) use find::{find, find_beginning, no_sandbox, shown};
pub(crate) use fork::fork;
use hearth_domain::SandboxSettings;
use hearth_ids::{MachineId, ProjectId, SandboxId};
use hearth_store::SandboxRow;
pub(crate) use measure::{Measured, Measurements, measure, run as measure_all};
pub(crate) use network::{egress, set_network};
pub(crate) use reap::run as reap;
pub(crate) use reconcile::run as reconcile;
use tokio::sync::{Mutex, Notify};

use crate::time::now_unix_ms;

/// The longest that a sandbox may last, in milliseconds: a month.
pub(crate) const TIMEOUT_MAX_MS: u64 = 31 * 24 * 3600 * 1000;
/// How long one lasts of which nobody says so, in milliseconds.
pub(crate) const DEFAULT_TIMEOUT_MS: u64 = 300_000;

/// Those that there are: what is asked at each request to a port is in memory.
#[derive(Default)]
pub(crate) struct Sandboxes {
    known: RwLock<HashMap<SandboxId, Arc<Sandbox>>>,
    /// Somebody's end is another one now.
    pub(crate) changed: Notify,
}

/// What of a sandbox does not change, and whose turn it is to change the rest.
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    pub(crate) project: ProjectId,
    pub(crate) machine: MachineId,
    pub(crate) auto_resume: bool,
    pub(crate) keep_alive: bool,
    pub(crate) private_traffic: bool,
    pub(crate) mask_host: Option<String>,
    pub(crate) timeout_ms: u64,
    /// Held by whoever changes it.
    pub(crate) turn: Mutex<()>,
    /// It is being ended, because its time is over.
    ending: AtomicBool,
    /// When a port of it was last asked for something, in milliseconds since the Unix epoch; 0: never.
    last_request_unix_ms: AtomicU64,
    /// Requests under way, and streams that are open.
    requests: AtomicUsize,
}

/// A request to a port of a sandbox that is under way.
pub(crate) struct Using(Arc<Sandbox>);

impl Using {
    fn begin(sandbox: &Arc<Sandbox>) -> Self {
        sandbox.requests.fetch_add(1, Ordering::Relaxed);
        sandbox.note_request(now_unix_ms());
        Self(Arc::clone(sandbox))
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        // In this order: at no moment it is neither under way nor noted.
        self.0.note_request(now_unix_ms());
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sandbox {
    fn of(row: &SandboxRow) -> Self {
        let SandboxSettings {
            auto_resume,
            keep_alive,
            private_traffic,
            mask_host,
            ..
        } = row.settings.clone();
        Self {
            id: row.id,
            project: row.project,
            machine: row.machine,
            auto_resume,
            keep_alive,
            private_traffic,
            mask_host,
            timeout_ms: row.timeout_ms,
            turn: Mutex::default(),
            ending: AtomicBool::new(false),
            last_request_unix_ms: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
        }
    }

    fn note_request(&self, now_unix_ms: u64) {
        self.last_request_unix_ms.fetch_max(now_unix_ms, Ordering::Relaxed);
    }

    /// From here on, requests put an end off that was set after those before.
    fn forget_requests(&self) {
        self.last_request_unix_ms.store(0, Ordering::Relaxed);
    }

    /// The last request that puts its end off, if it had any. One that is under way is of now.
    fn last_request(&self) -> Option<u64> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            self.note_request(now_unix_ms());
        }
        let last = self.last_request_unix_ms.load(Ordering::Relaxed);
        (self.keep_alive && last > 0).then_some(last)
    }
}

impl Sandboxes {
    /// One that is there.
    pub(crate) fn get(&self, id: SandboxId) -> Option<Arc<Sandbox>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).cloned()
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Sandbox>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }

    /// A project's whose IDs begin so; two of them are as good as more.
    fn beginning(&self, project: ProjectId, text: &str) -> Vec<SandboxId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let own = known.values().filter(|sandbox| sandbox.project == project);
        let begin = own.filter(|sandbox| !text.is_empty() && sandbox.id.to_string().starts_with(text));
        begin.map(|sandbox| sandbox.id).take(2).collect()
    }

    /// Takes one up.
    fn add(&self, row: &SandboxRow) -> Arc<Sandbox> {
        let sandbox = Arc::new(Sandbox::of(row));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(row.id, Arc::clone(&sandbox));
        drop(known);
        self.changed.notify_one();
        sandbox
    }

    fn remove(&self, id: SandboxId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&id);
    }
}
