//! The slots of this node: made ahead, held, rested, used again.
//!
//! ```text
//!            build                acquire             release
//!   (free) ────────► ready ─────────────────► held ───────────► resting
//!     ▲                │ ▲                                        │  │
//!     └────────────────┘ └──────────── rest is over ──────────────┘  │
//!        too many idle                                               │
//!     ▲──────────────────────────────────────────────────────────────┘ (reset failed, or too many idle)
//! ```
//! Ready slots are used first in, first out: the one that rested longest is taken first, so that a packet late on its
//! way to the last holder finds nobody for as long as can be. (Last in, first out would keep caches warm, of which a
//! namespace has none worth that.)
//!
//! Whatever touches the kernel is blocking and runs from start to end on a thread of its own, which a caller that goes
//! away does not stop; so a slot is never half given. State is held under one lock, for moments.

mod core;
mod state;

use std::{
    collections::HashSet,
    net::{IpAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hearth_domain::{EgressRules, PortMapping};
use hearth_ids::MachineId;
use ipnet::Ipv4Net;
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::core::Core;
use crate::{
    address::InstanceId,
    bridge::BridgeConfig,
    gate::Gates,
    site::FaultHook,
    slot::{Network, NetworkError, Slot, SlotRequest},
};

/// Slots that are set up or taken down at the same time; the kernel serialises most of it anyway.
const MAX_THREADS: usize = 16;
/// Slots made ahead at the same time: the background must not slow down who waits.
const MAX_BUILDERS: usize = 2;
/// How long the background pauses after a slot could not be made.
const BUILD_RETRY: Duration = Duration::from_secs(2);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the pool is set up.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Where it keeps its records; its own.
    pub state_folder: PathBuf,
    /// Where namespaces get their names.
    pub netns_folder: PathBuf,
    /// Whose slots they are.
    pub instance: InstanceId,
    /// Slots at most, held and idle.
    pub capacity: u32,
    /// Slots kept ready.
    pub warm: u32,
    /// Idle slots at most; above it they are removed when their rest is over.
    pub max_idle: u32,
    /// How long a slot rests before it is used again.
    pub rest: Duration,
    /// The network of the slots' addresses; chosen if absent.
    pub pool: Option<Ipv4Net>,
    /// Name servers that guests may ask.
    pub resolvers: Vec<IpAddr>,
    /// The bridge of bridge mode.
    pub bridge: BridgeConfig,
    /// Called at each step.
    pub fault: FaultHook,
}

impl PoolConfig {
    /// The defaults, for a state folder with a canonical path.
    pub fn new(state_folder: PathBuf) -> Self {
        Self {
            instance: InstanceId::of_folder(&state_folder),
            state_folder,
            netns_folder: PathBuf::from("/run/netns"),
            capacity: 1024,
            warm: 4,
            max_idle: 64,
            rest: Duration::from_secs(5),
            pool: None,
            resolvers: crate::slot::host_resolvers(),
            bridge: BridgeConfig::default(),
            fault: |_| (),
        }
    }
}

/// The real [`Network`].
#[derive(Debug)]
pub struct SlotPool {
    core: Arc<Core>,
    permits: Arc<Semaphore>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
    /// A pool that is dropped without being closed ends its keeper too.
    _stop_on_drop: DropGuard,
}

impl SlotPool {
    /// Takes up the slots of the machines in `alive`, removes all others of the instance, and starts to make slots
    /// ahead.
    pub async fn open(config: PoolConfig, alive: HashSet<MachineId>) -> Result<Self, NetworkError> {
        let gates = Gates::new(Handle::current());
        let core = Arc::new(on_thread(move || Core::open(config, gates, &alive)).await??);
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep(Arc::clone(&core), stop.clone()));
        Ok(Self {
            core,
            permits: Arc::new(Semaphore::new(MAX_THREADS)),
            keeper: Mutex::new(Some(keeper)),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Removes everything of the instance from the host: slots, tables, bridge, records.
    pub async fn purge(config: PoolConfig) -> Result<(), NetworkError> {
        on_thread(move || Core::purge(&config)).await?
    }

    /// How many slots are ready at this moment.
    pub fn ready(&self) -> usize {
        self.core.ready()
    }

    /// The network of the slots' addresses.
    pub fn pool(&self) -> Ipv4Net {
        self.core.pool()
    }

    /// Waits for a turn; never closed, so this only waits.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    async fn run<T: Send + 'static>(
        &self,
        turn: Option<OwnedSemaphorePermit>,
        work: impl FnOnce(&Core) -> Result<T, NetworkError> + Send + 'static,
    ) -> Result<T, NetworkError> {
        let core = Arc::clone(&self.core);
        on_thread(move || {
            let _turn = turn;
            work(&core)
        })
        .await?
    }
}

#[async_trait]
impl Network for SlotPool {
    async fn check_ports(&self, ports: &[PortMapping]) -> Result<(), NetworkError> {
        let ports = ports.to_vec();
        self.run(None, move |core| core.check_ports(&ports)).await
    }

    async fn acquire(&self, machine: MachineId, request: SlotRequest) -> Result<Slot, NetworkError> {
        let turn = self.turn().await;
        // Nothing is awaited between here and the thread, so that a claim without a thread cannot be left behind, nor
        // a thread that a release does not know of.
        self.core.announce(machine, &request)?;
        let core = Arc::clone(&self.core);
        let working = on_thread(move || {
            let _turn = turn;
            core.acquire(machine, &request)
        });
        // Without a thread that came to its end nobody else would take the claim back.
        working.await.inspect_err(|_| self.core.withdraw(machine))?
    }

    async fn release(&self, machine: MachineId) -> Result<(), NetworkError> {
        let turn = self.turn().await;
        self.run(turn, move |core| core.release(machine)).await
    }

    async fn set_egress(&self, machine: MachineId, rules: EgressRules) -> Result<(), NetworkError> {
        let turn = self.turn().await;
        self.run(turn, move |core| core.set_egress(machine, &rules)).await
    }

    async fn serve(&self, machine: MachineId, port: u16) -> Result<TcpListener, NetworkError> {
        let turn = self.turn().await;
        self.run(turn, move |core| core.serve(machine, port)).await
    }

    fn slot_of(&self, machine: MachineId) -> Option<Slot> {
        self.core.slot_of(machine)
    }

    async fn close(&self, remove_idle: bool) {
        self.stop.cancel();
        if let Some(keeper) = self.keeper.lock().await.take()
            && timeout(CLOSE_TIMEOUT, keeper).await.is_err()
        {
            tracing::warn!("the keeper of network slots did not end in time");
        }
        if remove_idle {
            let removed = self.run(None, Core::remove_idle).await;
            if let Err(error) = removed {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "idle network slots stay until the next start"
                );
            }
        }
    }
}

/// Runs blocking work on a thread made for it, which may enter a namespace. The work goes on if the caller goes away.
pub(crate) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NetworkError> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("network-slot".into())
        .spawn(move || {
            // Nobody waits any more: the result is in the pool's state.
            let _ = sender.send(work());
        })
        .map_err(NetworkError::at("start a thread"))?;
    let panicked = |_| std::io::Error::other("its thread panicked");
    receiver
        .await
        .map_err(panicked)
        .map_err(NetworkError::at("finish a step"))
}

/// Keeps the wanted number of slots ready, until it is told to stop.
async fn keep(core: Arc<Core>, stop: CancellationToken) {
    loop {
        let upkeep = core.plan_upkeep();
        let wait = if upkeep.is_idle() {
            upkeep.wake_in
        } else {
            let mut jobs = Vec::new();
            for job in upkeep.jobs(MAX_BUILDERS) {
                let core = Arc::clone(&core);
                jobs.push(tokio::spawn(on_thread(move || core.carry_out(&job))));
            }
            let mut failed = false;
            for job in jobs {
                failed |= !matches!(job.await, Ok(Ok(true)));
            }
            Some(if failed { BUILD_RETRY } else { Duration::ZERO })
        };
        let due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = core.changed(), if upkeep.is_idle() => {}
            () = due => {}
        }
    }
}
