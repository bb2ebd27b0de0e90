//! The gateway as a whole: what its parts share.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use arc_swap::{ArcSwap, Guard};
use hearth_ids::{FunctionId, RequestId};
use tokio::{sync::Notify, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::{
    CallError, GatewayConfig, GatewayParts, ProvisionFailure, Route, RouteTable, keeper,
    pool::{Pool, PoolKey, PoolRule},
    room::Room,
    sandbox::Ports,
    scale::{self, Scaling},
};

/// Parts of the map of pools: a call takes the lock of one part, for reading.
const SHARDS: usize = 64;

/// The data plane of functions and sandboxes.
pub struct Gateway {
    pub(crate) config: Arc<GatewayConfig>,
    pub(crate) parts: GatewayParts,
    pub(crate) pools: Arc<Pools>,
    /// For bodies that are held in memory.
    pub(crate) room: Arc<Room>,
    /// The same for answers that clients are to take: who does not take them keeps nobody's calls out.
    pub(crate) lent: Arc<Room>,
    /// Tasks that end with the gateway.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when it goes down.
    pub(crate) stop: CancellationToken,
    /// Wakes the keeper.
    pub(crate) routes_changed: Notify,
    pub(crate) scaling: Arc<Scaling>,
    pub(crate) ports: Ports,
    routes: ArcSwap<RouteTable>,
}

impl Gateway {
    /// A gateway without routes, which begins to watch the registry. Needs a tokio runtime.
    pub fn new(config: GatewayConfig, parts: GatewayParts) -> Arc<Self> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let pools = Arc::<Pools>::default();
        let scaling = Scaling {
            pools: Arc::clone(&pools),
            queue: Arc::clone(&parts.queue),
            hosts: Arc::clone(&parts.hosts),
            nodes: Arc::clone(&parts.nodes),
            tasks: tasks.clone(),
            known: CancellationToken::new(),
            stop: stop.clone(),
        };
        let gateway = Arc::new(Self {
            room: Room::new(&config.client),
            lent: Room::new(&config.client),
            ports: Ports::new(&config.sandboxes),
            config: Arc::new(config),
            parts,
            pools,
            tasks: tasks.clone(),
            stop,
            routes_changed: Notify::new(),
            scaling: Arc::new(scaling),
            routes: ArcSwap::default(),
        });
        tasks.spawn(keeper::run(Arc::clone(&gateway)));
        tasks.spawn(gateway.ports.prune(gateway.stop.clone()));
        gateway
    }

    /// Replaces all routes. Calls that begin after this see the new ones.
    pub fn set_routes(&self, table: RouteTable) {
        self.routes.store(Arc::new(table));
        self.routes_changed.notify_one();
    }

    /// The routes of this moment.
    pub fn routes(&self) -> Guard<Arc<RouteTable>> {
        self.routes.load()
    }

    /// A wanted instance could not be made. Requests of others are passed over.
    pub fn provision_failed(&self, function: FunctionId, request: RequestId, failure: &ProvisionFailure) {
        for pool in self.pools.of(function) {
            if pool.starts.failed(request, failure.clone(), &self.config.waiting) {
                pool.meters.provision_failures.increment(1);
                pool.changed.notify_one();
                return;
            }
        }
    }

    /// Ends all tasks of the gateway. Instances are left alone. [`serve`](Self::serve) is to have ended before.
    pub async fn close(&self) {
        self.stop.cancel();
        for pool in self.pools.all() {
            pool.fail_waiting(&CallError::ShuttingDown);
        }
        self.tasks.close();
        if timeout(self.config.client.grace, self.tasks.wait()).await.is_err() {
            warn!(left = self.tasks.len(), "tasks of the gateway did not end in time");
        }
    }

    /// The pool, made and kept at its size from now on if it is new.
    pub(crate) fn new_pool(&self, key: PoolKey, route: &Route) -> Result<Arc<Pool>, CallError> {
        let rule = rule(route, key.version).ok_or(CallError::NoRoute)?;
        if self.stop.is_cancelled() {
            return Err(CallError::ShuttingDown);
        }
        let (pool, is_new) = self
            .pools
            .get_or_insert(key, || Arc::new(Pool::new(key, Arc::clone(&self.config), route, rule)));
        if is_new {
            let scaling = Arc::clone(&self.scaling);
            self.tasks.spawn(scale::run(Arc::clone(&pool), scaling));
            // Its instances may be in the registry already.
            self.routes_changed.notify_one();
        }
        Ok(pool)
    }
}

/// What a version's pool is to keep to. Only what is live keeps instances that nobody calls, and has all it may have.
pub(crate) fn rule(route: &Route, version: u32) -> Option<PoolRule> {
    let facts = *route.versions.get(&version)?;
    let mut scale = route.function.scale;
    let live = route.live_versions().any(|live| live == version);
    if !live {
        scale.min = 0;
    }
    if facts.contract == hearth_domain::Contract::Lambda {
        // The Runtime API has one event at a time.
        scale.concurrency = 1;
    }
    Some(PoolRule { scale, live, facts })
}

/// All pools.
pub(crate) struct Pools([RwLock<HashMap<PoolKey, Arc<Pool>>>; SHARDS]);

impl Default for Pools {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl Pools {
    fn shard(&self, function: FunctionId) -> &RwLock<HashMap<PoolKey, Arc<Pool>>> {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(function);
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is less than 64")]
        let at = (hash % SHARDS as u64) as usize;
        &self.0[at]
    }

    pub(crate) fn get(&self, key: &PoolKey) -> Option<Arc<Pool>> {
        let pools = self.shard(key.function).read().unwrap_or_else(PoisonError::into_inner);
        pools.get(key).cloned()
    }

    fn get_or_insert(&self, key: PoolKey, make: impl FnOnce() -> Arc<Pool>) -> (Arc<Pool>, bool) {
        let mut pools = self.shard(key.function).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&key) {
            return (Arc::clone(pool), false);
        }
        let pool = make();
        pools.insert(key, Arc::clone(&pool));
        (pool, true)
    }

    pub(crate) fn remove(&self, key: &PoolKey) -> Option<Arc<Pool>> {
        let mut pools = self.shard(key.function).write().unwrap_or_else(PoisonError::into_inner);
        pools.remove(key)
    }

    pub(crate) fn of(&self, function: FunctionId) -> Vec<Arc<Pool>> {
        // A function's pools are all in one part.
        let pools = self.shard(function).read().unwrap_or_else(PoisonError::into_inner);
        let of_it = pools.values().filter(|pool| pool.key.function == function);
        of_it.cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Pool>> {
        let mut all = Vec::new();
        for shard in &self.0 {
            let pools = shard.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(pools.values().cloned());
        }
        all
    }
}
