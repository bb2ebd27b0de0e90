//! The worker: what it knows of its instances, and the tasks that work on them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

use hearth_coord::{CoordError, Instance, InstanceKey, InstanceRegistry, ProvisionQueue, ProvisionRequest};
use hearth_domain::Allocation;
use hearth_ids::{FunctionId, MachineId, RequestId};
use hearth_node_api::NodeService;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::{Blueprints, LogArchive, Outcomes, warm::Warm};

/// How often it is looked whether those that make room have gone.
const ROOM_LOOK: Duration = Duration::from_millis(20);

/// How long the instances of before may take to be registered before anything else is done.
const TAKE_UP_TIMEOUT: Duration = Duration::from_secs(3);

/// How the worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name in the queue.
    pub id: String,
    /// Address at which gateways of other hosts reach this node. None if there are none: the gateway of this host
    /// reaches a machine at its own address, without anything between.
    pub ip: Option<IpAddr>,
    /// Instances that are made at a time.
    pub provisions_max: usize,
    /// How long an instance may take from its program's start until it can be called.
    pub ready_timeout: Duration,
    /// Memory for instances that wait, paused, to be wanted, in MiB; 0: none does.
    pub warm_memory_mib: u64,
}

/// What the worker works with.
pub struct WorkerParts {
    /// Makes machines.
    pub node: Arc<dyn NodeService>,
    /// Says what is wanted.
    pub queue: Arc<dyn ProvisionQueue>,
    /// Is told what there is.
    pub registry: Arc<dyn InstanceRegistry>,
    /// Says how instances are made.
    pub blueprints: Arc<dyn Blueprints>,
    /// Hears what became of requests.
    pub outcomes: Arc<dyn Outcomes>,
    /// Keeps logs.
    pub archive: Arc<dyn LogArchive>,
}

/// Makes and ends instances. Dropping it leaves them alone.
pub struct Worker {
    inner: Arc<Inner>,
}

/// What the tasks share.
pub(crate) struct Inner {
    pub(crate) config: WorkerConfig,
    pub(crate) parts: WorkerParts,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The lease in use; 0 before the first.
    pub(crate) lease: AtomicU64,
    /// When the lease was taken or kept alive last.
    pub(crate) lease_kept: Mutex<Option<Instant>>,
    /// Held while entries of the registry change: what is taken out of service is deregistered after it was registered.
    pub(crate) registering: tokio::sync::Mutex<()>,
    /// Instances of before that were on their way: whoever wants one more takes one of these, if there is one.
    pub(crate) found: Mutex<Vec<(InstanceKey, u32)>>,
    /// What requests under way ask for whose machine the node has on its books, or is just asked to.
    placed: Mutex<HashMap<RequestId, Placed>>,
    instances: Mutex<HashMap<MachineId, Entry>>,
    /// Locked before `instances`, where both are.
    pub(crate) warm: Mutex<Warm>,
    pub(crate) started: Instant,
}

/// What a request holds of the node.
#[derive(Debug, Clone, Copy)]
struct Placed {
    share: Allocation,
    deadline_unix_ms: Option<u64>,
}

/// Forgets what a request holds of the node as soon as it is dropped: also where whoever served it panics.
pub(crate) struct ForgetPlaced<'a> {
    inner: &'a Inner,
    request: RequestId,
}

impl Drop for ForgetPlaced<'_> {
    fn drop(&mut self) {
        self.inner.placed().remove(&self.request);
    }
}

/// An instance as the worker knows it, with its version.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// On its way.
    Starting(InstanceKey, u32),
    /// Restored and paused, until it is wanted.
    Warm(InstanceKey, u32),
    /// Registered.
    Serving(Instance),
    /// On its way out; whoever put this here sees to it.
    Ending(InstanceKey, u32),
}

impl Entry {
    pub(crate) fn key(&self) -> &InstanceKey {
        match self {
            Self::Starting(key, _) | Self::Warm(key, _) | Self::Ending(key, _) => key,
            Self::Serving(instance) => &instance.key,
        }
    }

    pub(crate) fn version(&self) -> u32 {
        match self {
            Self::Starting(_, version) | Self::Warm(_, version) | Self::Ending(_, version) => *version,
            Self::Serving(instance) => instance.version,
        }
    }
}

/// How many instances there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstanceCounts {
    /// On their way in.
    pub starting: u64,
    /// Paused until they are wanted.
    pub warm: u64,
    /// Registered.
    pub serving: u64,
    /// On their way out.
    pub ending: u64,
}

/// An instance as others may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownInstance {
    /// Its machine.
    pub machine: MachineId,
    /// Which version it is.
    pub version: u32,
    /// Whether calls reach it: it is ready, and not on its way out.
    pub serving: bool,
}

impl Worker {
    /// Takes up the instances that there are, and begins to serve the queue.
    pub async fn open(config: WorkerConfig, parts: WorkerParts) -> Result<Self, CoordError> {
        let inner = Arc::new(Inner {
            config,
            parts,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            lease: AtomicU64::new(0),
            lease_kept: Mutex::default(),
            registering: tokio::sync::Mutex::default(),
            found: Mutex::default(),
            placed: Mutex::default(),
            instances: Mutex::default(),
            warm: Mutex::default(),
            started: Instant::now(),
        });
        // Heard from before the look at what there is, so that nothing is missed between.
        let events = inner.parts.node.events();
        inner.renew_lease().await?;
        // Whoever asks next is to find what there is, rather than want it anew.
        let taken_up = inner.take_up().await;
        if tokio::time::timeout(TAKE_UP_TIMEOUT, taken_up.join_all())
            .await
            .is_err()
        {
            warn!("not all instances of before answer yet; they are taken up when they do");
        }
        inner.tasks.spawn(Arc::clone(&inner).keep_lease());
        inner.tasks.spawn(Arc::clone(&inner).end_orphans());
        inner.tasks.spawn(Arc::clone(&inner).watch_machines(events));
        inner.tasks.spawn(Arc::clone(&inner).keep_warm());
        inner.tasks.spawn(Arc::clone(&inner).serve_queue());
        Ok(Self { inner })
    }

    /// Ends an instance: no call reaches it any more, its program is asked to end, its log is archived, its machine
    /// removed. Returns at once; idempotent.
    pub fn retire(&self, key: InstanceKey) {
        self.inner.retire(key);
    }

    /// Ends those instances of a function, or of one version of it, that do not serve yet. Those that serve may have calls:
    /// the gateway ends them when these are answered.
    pub fn retire_starting(&self, function: FunctionId, version: Option<u32>) {
        self.inner.retire_starting(function, version);
    }

    /// Instances of a function that are there now, on their way in or out too.
    pub fn instances(&self, function: FunctionId) -> Vec<KnownInstance> {
        let instances = self.inner.lock();
        let of_function = instances.values().filter(|entry| entry.key().function == function);
        let known = of_function.map(|entry| KnownInstance {
            machine: entry.key().machine,
            version: entry.version(),
            serving: matches!(entry, Entry::Serving(_)),
        });
        known.collect()
    }

    /// Whether instances are made and found: it serves the queue, and its lease has not run out.
    pub fn serves(&self) -> bool {
        !self.inner.shutdown.is_cancelled() && self.inner.lease_is_alive()
    }

    /// How many instances there are, of all functions.
    pub fn counts(&self) -> InstanceCounts {
        let mut counts = InstanceCounts::default();
        for entry in self.inner.lock().values() {
            match entry {
                Entry::Starting(..) => counts.starting += 1,
                Entry::Warm(..) => counts.warm += 1,
                Entry::Serving(_) => counts.serving += 1,
                Entry::Ending(..) => counts.ending += 1,
            }
        }
        counts
    }

    /// Memory in which instances wait, paused, in MiB.
    pub fn warm_memory_mib(&self) -> u64 {
        self.inner.warm_memory_mib()
    }

    /// Somebody else found no room on the node: instances that wait make some. Returns once they have, or have not within
    /// `patience`; how many did.
    pub async fn make_room(&self, patience: Duration) -> usize {
        let count = self.inner.make_room();
        let until = Instant::now() + patience;
        while count > 0 && self.counts().ending > 0 && Instant::now() < until {
            sleep(ROOM_LOOK).await;
        }
        count
    }

    /// What requests hold of the node that the queue still tells of, since they are neither done nor overdue: both it and
    /// the node's books tell of it. Sometimes, for a moment, a little more than they hold.
    pub fn placed(&self) -> Allocation {
        let now = unix_now_ms();
        let placed = self.inner.placed();
        let told = placed
            .values()
            .filter(|placed| placed.deadline_unix_ms.is_none_or(|deadline| now < deadline));
        told.fold(Allocation::default(), |all, one| Allocation {
            vcpus: all.vcpus + one.share.vcpus,
            memory_mib: all.memory_mib + one.share.memory_mib,
        })
    }

    /// How many instances of a version are on their way from a process before this one, so that whoever asks for one more is
    /// given one of these.
    pub fn found(&self, function: FunctionId, version: u32) -> u32 {
        self.inner.count_found(function, version)
    }

    /// Stops serving the queue and waits for what is under way, for a bounded time. Instances are left alone: they are
    /// taken up by the next process.
    pub async fn close(&self, grace: Duration) {
        self.inner.shutdown.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(grace, self.inner.tasks.wait()).await.is_err() {
            warn!(
                left = self.inner.tasks.len(),
                "work on instances did not end in time; it is taken up at the next start"
            );
        }
    }
}

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<MachineId, Entry>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn placed(&self) -> MutexGuard<'_, HashMap<RequestId, Placed>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request holds its share of the node from now on, until it is [forgotten](Self::forgetting_placed).
    pub(crate) fn place(&self, request: &ProvisionRequest) {
        let placed = Placed {
            share: Allocation {
                vcpus: request.cpu.into(),
                memory_mib: request.memory_mb.into(),
            },
            deadline_unix_ms: request.deadline_unix_ms,
        };
        self.placed().insert(request.request_id, placed);
    }

    /// Forgets what the request holds when it is dropped.
    pub(crate) fn forgetting_placed(&self, request: &ProvisionRequest) -> ForgetPlaced<'_> {
        ForgetPlaced {
            inner: self,
            request: request.request_id,
        }
    }

    pub(crate) fn serves(&self, machine: MachineId) -> bool {
        matches!(self.lock().get(&machine), Some(Entry::Serving(_)))
    }

    /// Whether an instance is on its way, and nobody has ended it.
    pub(crate) fn is_starting(&self, machine: MachineId) -> bool {
        matches!(self.lock().get(&machine), Some(Entry::Starting(..)))
    }

    pub(crate) fn serving(&self) -> Vec<Instance> {
        let instances = self.lock();
        let serving = instances.values().filter_map(|entry| match entry {
            Entry::Serving(instance) => Some(instance.clone()),
            Entry::Starting(..) | Entry::Warm(..) | Entry::Ending(..) => None,
        });
        serving.collect()
    }
}

/// As deadlines of requests are told.
pub(crate) fn unix_now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
