//! The task that follows registry and routes, and gives each pool its instances.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use hearth_coord::{Instance, InstanceChange, InstanceKey};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::{
    Gateway, RouteTable,
    gateway::rule,
    pool::{Pool, PoolKey},
};

/// How long the registry may take to begin a watch.
const WATCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait before a watch that broke off is begun anew; doubles up to the most.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What is alive, by the pool to which it belongs.
#[derive(Default)]
struct Alive {
    pools: HashMap<PoolKey, BTreeMap<InstanceKey, Instance>>,
    versions: HashMap<InstanceKey, u32>,
}

/// Follows both until the gateway goes down. While the registry cannot be asked, what was known last stays.
pub(crate) async fn run(gateway: Arc<Gateway>) {
    let mut alive = Alive::default();
    let mut retry = RETRY;
    while !gateway.stop.is_cancelled() {
        let changes = tokio::select! {
            () = gateway.stop.cancelled() => return,
            watched = timeout(WATCH_TIMEOUT, gateway.parts.registry.watch()) => watched,
        };
        match changes {
            Ok(Ok(changes)) => {
                retry = RETRY;
                follow(&gateway, &mut alive, changes).await;
            }
            Ok(Err(error)) => warn!(%error, "the registry cannot be watched"),
            Err(_) => warn!("the registry did not answer in time"),
        }
        tokio::select! {
            () = gateway.stop.cancelled() => return,
            () = sleep(retry) => (),
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
}

async fn follow(gateway: &Gateway, alive: &mut Alive, mut changes: BoxStream<'static, InstanceChange>) {
    loop {
        tokio::select! {
            () = gateway.stop.cancelled() => return,
            () = gateway.routes_changed.notified() => {
                let routes = Arc::clone(&gateway.routes());
                close_gone(gateway, &routes);
                keep_minimum(gateway, &routes);
                update_all(gateway, alive, &routes);
            }
            change = changes.next() => {
                let Some(change) = change else {
                    info!("the watch of the registry ended");
                    return;
                };
                apply(gateway, alive, change);
            }
        }
    }
}

fn apply(gateway: &Gateway, alive: &mut Alive, change: InstanceChange) {
    let routes = Arc::clone(&gateway.routes());
    match change {
        InstanceChange::All(instances) => {
            *alive = Alive::default();
            for instance in instances {
                alive.insert(instance);
            }
            update_all(gateway, alive, &routes);
            gateway.scaling.known.cancel();
        }
        InstanceChange::Registered(instance) => {
            for key in alive.insert(instance) {
                update(gateway, alive, &routes, key);
            }
        }
        InstanceChange::Gone(key) => {
            if let Some(key) = alive.remove(&key) {
                update(gateway, alive, &routes, key);
            }
        }
    }
}

impl Alive {
    /// Enters an instance. The pools that this concerns.
    fn insert(&mut self, instance: Instance) -> Vec<PoolKey> {
        let pool = PoolKey {
            function: instance.key.function,
            version: instance.version,
        };
        let mut concerned = vec![pool];
        if self
            .versions
            .get(&instance.key)
            .is_some_and(|version| *version != instance.version)
        {
            concerned.extend(self.remove(&instance.key));
        }
        self.versions.insert(instance.key.clone(), instance.version);
        self.pools
            .entry(pool)
            .or_default()
            .insert(instance.key.clone(), instance);
        concerned
    }

    fn remove(&mut self, key: &InstanceKey) -> Option<PoolKey> {
        let pool = PoolKey {
            function: key.function,
            version: self.versions.remove(key)?,
        };
        let instances = self.pools.get_mut(&pool)?;
        instances.remove(key);
        if instances.is_empty() {
            self.pools.remove(&pool);
        }
        Some(pool)
    }

    fn of(&self, key: &PoolKey) -> Vec<&Instance> {
        self.pools.get(key).into_iter().flat_map(BTreeMap::values).collect()
    }
}

fn update_all(gateway: &Gateway, alive: &Alive, routes: &RouteTable) {
    for pool in gateway.pools.all() {
        update_pool(&pool, alive, routes);
    }
    for key in alive.pools.keys() {
        if gateway.pools.get(key).is_none() {
            update(gateway, alive, routes, *key);
        }
    }
}

fn update(gateway: &Gateway, alive: &Alive, routes: &RouteTable, key: PoolKey) {
    let pool = gateway.pools.get(&key).or_else(|| {
        // An instance of a function that has no route belongs to nobody here: its route may come.
        let route = routes.route(key.function)?;
        gateway.new_pool(key, route).ok()
    });
    if let Some(pool) = pool {
        update_pool(&pool, alive, routes);
    }
}

fn update_pool(pool: &Arc<Pool>, alive: &Alive, routes: &RouteTable) {
    let route = routes.route(pool.key.function);
    if let Some(rule) = route.and_then(|route| rule(route, pool.key.version)) {
        pool.set_rule(rule);
    }
    pool.set_instances(&alive.of(&pool.key));
}

/// Closes the pools of versions that cannot be called any more.
fn close_gone(gateway: &Gateway, routes: &RouteTable) {
    for pool in gateway.pools.all() {
        let route = routes.route(pool.key.function);
        if route.is_none_or(|route| !route.versions.contains_key(&pool.key.version)) {
            pool.closed.cancel();
            gateway.pools.remove(&pool.key);
        }
    }
}

/// Makes the pools that have instances though nobody calls.
fn keep_minimum(gateway: &Gateway, routes: &RouteTable) {
    for route in routes.routes().filter(|route| route.function.scale.min > 0) {
        for version in route.live_versions() {
            let key = PoolKey {
                function: route.function.id,
                version,
            };
            if gateway.pools.get(&key).is_none() {
                let _no_such_version = gateway.new_pool(key, route);
            }
        }
    }
}
