//! The Lambda Runtime API for a workload that speaks it, and the port on which its calls arrive.
//!
//! ```text
//!  host ── POST …/invocations ─► calls ─► queue ─► GET …/next ─────► workload
//!       ◄─ answer, or a stream ◄─ oneshot ◄─ responses ◄─ POST …/response │ …/error
//!       ── GET /_hearth/ready ─► phase: Starting ──────── next ───────► Ready ─► Failed (its exit)
//!                                  │      └ restore/next ► Snapshot ► Restored ┘     ▲
//!                                  └─────────── init or restore error, exit ─────────┘
//! ```
//! Invariants: a call is answered exactly once, also when the workload exits in the middle, and then before the host learns of
//! the exit. What waits is bounded in number and in bytes ([`payload`]); a stream is never held in memory. A caller that goes
//! away takes nothing with it but its answer. Paths, states and words are those of AWS's Runtime API, version 2018-06-01.

mod calls;
mod failure;
mod invocation;
mod payload;
mod queue;
mod report;
mod responses;
mod runtime;

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use failure::Failure;
use hearth_guest_api::guest::record::Exited;
use hearth_guest_api::runtime::{RUNTIME_API_ADDRESS, RUNTIME_PORT};
use queue::Queue;
use report::Tail;
use tokio::sync::{Semaphore, watch};

use crate::agent::Agent;
use crate::log::Log;
use crate::process::pipe::Pipe;
use crate::server::connections::{self, Limits};

/// For answers to leave before the host learns of the workload's end.
const FAREWELL: Duration = Duration::from_secs(1);
/// For what the workload has written to be read before it counts as written after its answer.
const SETTLE_ROUNDS: u32 = 100;
const SETTLE_PAUSE: Duration = Duration::from_millis(1);

/// More than may wait, so that one call too many is told so. The host keeps its connections for long.
const CALL_LIMITS: Limits = Limits {
    connections: 1200,
    strangers: 0,
    header_timeout: Some(Duration::from_mins(10)),
};
/// Only the workload connects, and between its requests lies its own work, which may take as long as it likes.
const RUNTIME_LIMITS: Limits = Limits {
    connections: 256,
    strangers: 0,
    header_timeout: None,
};

/// How far the workload has come.
#[derive(Clone)]
enum Phase {
    Starting,
    /// It goes no further before its snapshot is made.
    Snapshot,
    /// It goes on after its snapshot, or without one.
    Restored,
    /// It has asked for work.
    Ready,
    /// It will not, or no longer.
    Failed(Rc<Failure>),
}

impl Phase {
    /// What Lambda calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Starting => "Started",
            Self::Snapshot => "RestoreReady",
            Self::Restored => "Restoring",
            Self::Ready => "Ready",
            Self::Failed(_) => "InitError",
        }
    }

    /// Whether it has yet to become ready, or to fail.
    fn is_before_ready(&self) -> bool {
        matches!(self, Self::Starting | Self::Snapshot | Self::Restored)
    }
}

/// The Runtime API of the machine's one workload.
pub(crate) struct RuntimeApi {
    log: Rc<Log>,
    queue: Queue,
    phase: watch::Sender<Phase>,
    /// Why the workload did not become ready was told to somebody.
    failure_told: watch::Sender<bool>,
    /// Requests of the host under way, with their answers.
    answering: Rc<watch::Sender<usize>>,
    /// Everybody was answered after the workload's end.
    ended: watch::Sender<bool>,
    tail: RefCell<Tail>,
    outputs: RefCell<Vec<Weak<Pipe>>>,
    /// What calls that wait and what answers that are read may take of the memory.
    calls_room: Arc<Semaphore>,
    answers_room: Arc<Semaphore>,
    /// Nobody will make a snapshot.
    has_no_snapshot: Cell<bool>,
    /// When the workload was started, or went on after its snapshot.
    started: Cell<Instant>,
    /// Until the first call's report has said it.
    init_time: Cell<Option<Duration>>,
    max_memory_used: Cell<u64>,
}

impl RuntimeApi {
    fn new(log: Rc<Log>) -> Rc<Self> {
        let room = payload::room(crate::metrics::memory_total_bytes());
        Rc::new(Self {
            log,
            queue: Queue::default(),
            phase: watch::Sender::new(Phase::Starting),
            failure_told: watch::Sender::new(false),
            answering: Rc::new(watch::Sender::new(0)),
            ended: watch::Sender::new(false),
            tail: RefCell::default(),
            outputs: RefCell::default(),
            calls_room: Arc::new(Semaphore::new(room)),
            answers_room: Arc::new(Semaphore::new(room)),
            has_no_snapshot: Cell::new(false),
            started: Cell::new(Instant::now()),
            init_time: Cell::new(None),
            max_memory_used: Cell::new(0),
        })
    }

    /// Listens on both ports. Gives what the workload needs as `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) fn start(agent: &Agent) -> io::Result<(Rc<Self>, String)> {
        let (runtime, calls) = if agent.boot.is_init {
            (TcpListener::bind(RUNTIME_API_ADDRESS)?, listen_for_calls()?)
        } else {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            (TcpListener::bind(any)?, TcpListener::bind(any)?)
        };
        let address = runtime.local_addr()?.to_string();
        if !agent.boot.is_init {
            // For the test that started us; it may have no use for it.
            let _ = writeln!(io::stdout(), "runtime {address} calls {}", calls.local_addr()?);
        }
        let (runtime, calls) = (into_tokio(runtime)?, into_tokio(calls)?);
        let api = Self::new(Rc::clone(&agent.log));
        let served = Rc::clone(&api);
        // The program's own connections stay as it is; those of callers end with the agent's.
        let own = Rc::default();
        tokio::task::spawn_local(connections::serve(
            runtime,
            RUNTIME_LIMITS,
            |_| true,
            own,
            move |_, request| runtime::serve(Rc::clone(&served), request),
        ));
        let served = Rc::clone(&api);
        let sessions = Rc::clone(&agent.sessions);
        tokio::task::spawn_local(connections::serve(
            calls,
            CALL_LIMITS,
            |_| true,
            sessions,
            move |_, request| calls::serve(Rc::clone(&served), request),
        ));
        Ok((api, address))
    }

    /// Takes note of where the workload's output comes from, for [`Self::settle`].
    pub(crate) fn reads(&self, outputs: impl Iterator<Item = Rc<Pipe>>) {
        self.outputs.replace(outputs.map(|pipe| Rc::downgrade(&pipe)).collect());
    }

    /// Takes note of what the workload wrote.
    pub(crate) fn wrote(&self, data: &[u8]) {
        self.tail.borrow_mut().push(data);
    }

    /// Waits until what the workload wrote so far is read, for a short while.
    async fn settle(&self) {
        for _ in 0..SETTLE_ROUNDS {
            let is_read = self
                .outputs
                .borrow()
                .iter()
                .filter_map(Weak::upgrade)
                .all(|pipe| rustix::io::ioctl_fionread(pipe.fd()).unwrap_or_default() == 0);
            if is_read {
                return;
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// The workload asks for work: from now on it is ready.
    fn become_ready(&self) {
        self.phase.send_if_modified(|phase| {
            let first = matches!(phase, Phase::Starting | Phase::Restored);
            if first {
                *phase = Phase::Ready;
                self.init_time.set(Some(self.started.get().elapsed()));
            }
            first
        });
    }

    /// The workload asks for its snapshot. Waits until it goes on; false if it has failed.
    async fn wait_for_snapshot(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let first = matches!(phase, Phase::Starting);
            if first {
                *phase = Phase::Snapshot;
            }
            first
        });
        if self.has_no_snapshot.get() {
            self.restored();
        }
        let mut phases = self.phase.subscribe();
        let phase = phases.wait_for(|phase| !matches!(phase, Phase::Snapshot)).await;
        phase.is_ok_and(|phase| !matches!(*phase, Phase::Failed(_)))
    }

    /// The machine was restored: a workload that waits for its snapshot goes on.
    pub(crate) fn restored(&self) {
        self.phase.send_if_modified(|phase| {
            let waits = matches!(phase, Phase::Snapshot);
            if waits {
                *phase = Phase::Restored;
                self.started.set(Instant::now());
            }
            waits
        });
    }

    /// No snapshot will be made: the workload goes on, also if it asks for one later.
    fn go_on(&self) {
        self.has_no_snapshot.set(true);
        self.restored();
    }

    /// The workload fails as a whole: who waits for it is told. The first reason stays.
    async fn fail(&self, failure: Failure) {
        let failure = Rc::new(failure);
        self.phase.send_if_modified(|phase| {
            let first = !matches!(phase, Phase::Failed(_));
            if first {
                *phase = Phase::Failed(Rc::clone(&failure));
            }
            first
        });
        self.queue.close(&failure);
        self.finish_all(&failure).await;
    }

    /// The workload never ran.
    pub(crate) fn never_ran(&self, exited: &Exited) {
        self.phase
            .send_replace(Phase::Failed(Rc::new(Failure::not_started(exited))));
        self.ended.send_replace(true);
    }

    /// The workload has ended. Returns, within [`FAREWELL`], when everybody who waited for it was answered.
    pub(crate) async fn end(&self, exited: &Exited) {
        let was_starting = {
            let phase = self.phase.borrow();
            phase.is_before_ready() || matches!(*phase, Phase::Failed(_))
        };
        self.fail(Failure::exited(exited)).await;
        let answered = async {
            if was_starting {
                // The host may be about to ask; the reason is worth the wait.
                let _ = self.failure_told.subscribe().wait_for(|told| *told).await;
            }
            let _ = self.answering.subscribe().wait_for(|count| *count == 0).await;
        };
        let _ = tokio::time::timeout(FAREWELL, answered).await;
        self.ended.send_replace(true);
    }

    /// Returns when [`Self::end`] has, or after a while.
    pub(crate) async fn farewell(&self) {
        let mut ended = self.ended.subscribe();
        let _ = tokio::time::timeout(FAREWELL, ended.wait_for(|ended| *ended)).await;
    }
}

/// On all addresses: dual stack, or plain IPv4 on a kernel without IPv6.
fn listen_for_calls() -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, RUNTIME_PORT)))
        .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, RUNTIME_PORT))))
}

fn into_tokio(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}
