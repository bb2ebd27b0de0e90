//! The registry.
//!
//! Changes are numbered and the last of them kept. A listener is no more than the number of the change that it wants
//! next: one that is too slow finds that its change is no longer kept, and is told all instead.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::{sync::watch, time::Instant};

use super::{ends_at, locked, until};
use crate::{CoordError, Instance, InstanceChange, InstanceKey, InstanceRegistry, LeaseId};

/// How many changes are kept for listeners.
const KEPT_CHANGES: usize = 1024;

/// The registry of instances, in this process's memory. Its streams end when it is dropped.
pub struct EmbeddedRegistry {
    state: Arc<Mutex<State>>,
    /// Wakes the listeners.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    leases: HashMap<LeaseId, Lease>,
    last_lease: LeaseId,
    instances: BTreeMap<InstanceKey, Entry>,
    kept: VecDeque<InstanceChange>,
    /// The number of the first change that is kept.
    first_kept: u64,
}

struct Lease {
    ttl: Duration,
    until: Instant,
}

struct Entry {
    lease: LeaseId,
    instance: Instance,
}

impl Default for EmbeddedRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl EmbeddedRegistry {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            news: watch::Sender::new(()),
        }
    }

    /// Acts on the state as it is now, and wakes the listeners if there is news for them.
    fn settled<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = locked(&self.state);
        let before = state.next_change();
        let now = Instant::now();
        state.settle(now);
        let done = act(&mut state, now);
        let news = state.next_change() != before;
        drop(state);
        if news {
            self.news.send_replace(());
        }
        done
    }
}

impl State {
    /// Removes what has run out.
    fn settle(&mut self, now: Instant) {
        let before = self.leases.len();
        self.leases.retain(|_, lease| lease.until > now);
        if self.leases.len() != before {
            self.remove_without_lease();
        }
    }

    fn remove_without_lease(&mut self) {
        let leases = &self.leases;
        let gone: Vec<InstanceKey> = self
            .instances
            .extract_if(.., |_, entry| !leases.contains_key(&entry.lease))
            .map(|(key, _)| key)
            .collect();
        for key in gone {
            self.tell(InstanceChange::Gone(key));
        }
    }

    fn tell(&mut self, change: InstanceChange) {
        if self.kept.len() >= KEPT_CHANGES {
            self.kept.pop_front();
            self.first_kept += 1;
        }
        self.kept.push_back(change);
    }

    fn next_change(&self) -> u64 {
        self.first_kept + self.kept.len() as u64
    }

    /// The change of that number, if it has been; all, if it is no longer kept. And which is to follow.
    fn change(&self, wanted: Option<u64>) -> Option<(InstanceChange, u64)> {
        match wanted.map(|wanted| (wanted, wanted.checked_sub(self.first_kept))) {
            None | Some((_, None)) => Some((InstanceChange::All(self.all()), self.next_change())),
            Some((wanted, Some(index))) => {
                let change = self.kept.get(usize::try_from(index).ok()?)?;
                Some((change.clone(), wanted + 1))
            }
        }
    }

    fn all(&self) -> Vec<Instance> {
        self.instances.values().map(|entry| entry.instance.clone()).collect()
    }

    fn next_end(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.until).min()
    }
}

#[async_trait]
impl InstanceRegistry for EmbeddedRegistry {
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, CoordError> {
        Ok(self.settled(|state, now| {
            state.last_lease += 1;
            let until = ends_at(now, ttl);
            state.leases.insert(state.last_lease, Lease { ttl, until });
            state.last_lease
        }))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), CoordError> {
        self.settled(|state, now| {
            let held = state.leases.get_mut(&lease).ok_or(CoordError::LeaseGone(lease))?;
            held.until = ends_at(now, held.ttl);
            Ok(())
        })
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), CoordError> {
        self.settled(|state, _| {
            if state.leases.remove(&lease).is_some() {
                state.remove_without_lease();
            }
        });
        Ok(())
    }

    async fn register(&self, lease: LeaseId, instance: Instance) -> Result<(), CoordError> {
        self.settled(|state, _| {
            if !state.leases.contains_key(&lease) {
                return Err(CoordError::LeaseGone(lease));
            }
            let entry = Entry {
                lease,
                instance: instance.clone(),
            };
            let before = state.instances.insert(instance.key.clone(), entry);
            if before.is_none_or(|before| before.instance != instance) {
                state.tell(InstanceChange::Registered(instance));
            }
            Ok(())
        })
    }

    async fn deregister(&self, key: &InstanceKey) -> Result<(), CoordError> {
        self.settled(|state, _| {
            if state.instances.remove(key).is_some() {
                state.tell(InstanceChange::Gone(key.clone()));
            }
        });
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<Instance>, CoordError> {
        Ok(self.settled(|state, _| state.all()))
    }

    async fn watch(&self) -> Result<BoxStream<'static, InstanceChange>, CoordError> {
        let listener = Listener {
            state: Arc::clone(&self.state),
            news: self.news.subscribe(),
            wanted: None,
        };
        Ok(stream::unfold(listener, |mut listener| async {
            let change = listener.next().await?;
            Some((change, listener))
        })
        .boxed())
    }
}

/// Who listens.
struct Listener {
    state: Arc<Mutex<State>>,
    news: watch::Receiver<()>,
    /// The number of the change that it wants next; none before the first.
    wanted: Option<u64>,
}

impl Listener {
    /// The next change; none once the registry is gone and all that it did is told.
    async fn next(&mut self) -> Option<InstanceChange> {
        let mut gone = false;
        loop {
            // What comes after this look is seen by `changed`: it counts from the look before.
            self.news.mark_unchanged();
            let next_end = {
                let mut state = locked(&self.state);
                state.settle(Instant::now());
                if let Some((change, wanted)) = state.change(self.wanted) {
                    self.wanted = Some(wanted);
                    return Some(change);
                }
                state.next_end()
            };
            if gone {
                return None;
            }
            tokio::select! {
                changed = self.news.changed() => gone = changed.is_err(),
                () = until(next_end) => {}
            }
        }
    }
}

impl fmt::Debug for EmbeddedRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = locked(&self.state);
        f.debug_struct("EmbeddedRegistry")
            .field("leases", &state.leases.len())
            .field("instances", &state.instances.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::poll;
    use hearth_ids::{FunctionId, MachineId};

    use super::*;

    fn instance(version: u32) -> Instance {
        let key = InstanceKey {
            function: FunctionId::new(),
            machine: MachineId::new(),
        };
        Instance {
            key,
            worker_ip: Ipv4Addr::LOCALHOST.into(),
            proxy_port: 1,
            internal_vm_ip: Ipv4Addr::LOCALHOST.into(),
            version,
            worker_id: "node".into(),
        }
    }

    async fn in_time<T>(wanted: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), wanted).await.unwrap()
    }

    async fn listened_to() -> (EmbeddedRegistry, LeaseId, BoxStream<'static, InstanceChange>) {
        let registry = EmbeddedRegistry::new();
        let lease = registry.grant(Duration::MAX).await.unwrap();
        let mut changes = registry.watch().await.unwrap();
        assert_eq!(in_time(changes.next()).await, Some(InstanceChange::All(Vec::new())));
        (registry, lease, changes)
    }

    #[tokio::test]
    async fn a_listener_that_is_not_too_slow_is_told_each_change() {
        let (registry, lease, changes) = listened_to().await;
        let all: Vec<Instance> = (0..KEPT_CHANGES).map(|_| instance(1)).collect();
        for instance in &all {
            registry.register(lease, instance.clone()).await.unwrap();
        }
        drop(registry);
        let told: Vec<InstanceChange> = in_time(changes.collect()).await;
        let wanted: Vec<InstanceChange> = all.into_iter().map(InstanceChange::Registered).collect();
        assert_eq!(told, wanted, "and its end after the last");
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_is_told_all() {
        let (registry, lease, mut changes) = listened_to().await;
        let busy = instance(0);
        for version in 0..=u32::try_from(KEPT_CHANGES).unwrap() {
            let instance = Instance {
                version,
                ..busy.clone()
            };
            registry.register(lease, instance).await.unwrap();
        }
        let all = registry.instances().await.unwrap();
        assert_eq!(in_time(changes.next()).await, Some(InstanceChange::All(all)));
        assert!(poll!(changes.next()).is_pending());
    }

    #[tokio::test]
    async fn nothing_new_is_no_news() {
        let (registry, lease, mut changes) = listened_to().await;
        let same = instance(1);
        registry.register(lease, same.clone()).await.unwrap();
        registry.register(lease, same.clone()).await.unwrap();
        assert_eq!(in_time(changes.next()).await, Some(InstanceChange::Registered(same)));
        assert!(poll!(changes.next()).is_pending());
    }
}
