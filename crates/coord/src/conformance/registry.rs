//! What a registry must do.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use hearth_ids::{FunctionId, MachineId};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Case, F, Outcome, Verdict, ensure, ensure_quick, eventually, within};
use crate::{CoordError, Instance, InstanceChange, InstanceKey, InstanceRegistry, LeaseId};

pub(super) const CASES: [Case; 11] = [
    ("an entry is there until it is removed", |f| Box::pin(life(f))),
    ("an entry whose lease runs out goes, and the lease with it", |f| {
        Box::pin(expiry(f))
    }),
    ("a lease that is kept alive stays", |f| Box::pin(kept_alive(f))),
    (
        "a lease that is given back takes its entries along, and no others",
        |f| Box::pin(revoked(f)),
    ),
    ("a second entry replaces the first", |f| Box::pin(replaced(f))),
    ("an entry lives by the lease that it was last entered with", |f| {
        Box::pin(moved(f))
    }),
    ("no entry without a lease", |f| Box::pin(no_lease(f))),
    ("a watch begins with all, then tells the changes in their order", |f| {
        Box::pin(watched(f))
    }),
    ("a watch has no gap while many write", |f| Box::pin(many_writers(f))),
    ("a slow listener comes to know all the same", |f| Box::pin(slow(f))),
    ("a watch ends with its registry", |f| Box::pin(ended(f))),
];

/// So long that no lease of the suite runs out by itself.
const LONG: Duration = Duration::from_hours(1);
/// More changes than a listener may have in store.
const SLOW_CHANGES: u32 = 3000;

type R = Arc<dyn InstanceRegistry>;

fn instance() -> Instance {
    Instance {
        key: InstanceKey {
            function: FunctionId::new(),
            machine: MachineId::new(),
        },
        worker_ip: Ipv4Addr::LOCALHOST.into(),
        proxy_port: 8080,
        internal_vm_ip: Ipv4Addr::new(10, 0, 0, 2).into(),
        version: 1,
        worker_id: "node-1".into(),
    }
}

async fn entered(registry: &R, lease: LeaseId) -> Result<Instance, Outcome> {
    let instance = instance();
    registry.register(lease, instance.clone()).await?;
    Ok(instance)
}

/// Just those are alive.
async fn alive(registry: &R, wanted: &[&Instance]) -> Verdict {
    let mut found = registry.instances().await?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let mut wanted: Vec<Instance> = wanted.iter().copied().cloned().collect();
    wanted.sort_by(|a, b| a.key.cmp(&b.key));
    ensure(found == wanted, format!("alive are {found:?}, not {wanted:?}"))
}

fn lease_gone(result: &Result<(), CoordError>) -> Verdict {
    ensure(
        matches!(result, Err(CoordError::LeaseGone(_))),
        "a lease that has run out is taken",
    )
}

/// One who listens and keeps what is alive by what is told alone.
struct Listener {
    changes: BoxStream<'static, InstanceChange>,
    known: BTreeMap<InstanceKey, Instance>,
}

impl Listener {
    async fn new(registry: &R) -> Result<Self, Outcome> {
        let changes = registry.watch().await?;
        let known = BTreeMap::new();
        Ok(Self { changes, known })
    }

    /// The next change, which must come in that time.
    async fn next(&mut self, fixture: F<'_>, limit: Duration) -> Result<InstanceChange, Outcome> {
        let change = within(fixture, limit, "news of the registry", self.changes.next()).await?;
        let change = change.ok_or_else(|| Outcome::Failed("the watch ended".into()))?;
        self.apply(&change)?;
        Ok(change)
    }

    fn apply(&mut self, change: &InstanceChange) -> Verdict {
        match change {
            InstanceChange::All(all) => {
                self.known = all.iter().map(|it| (it.key.clone(), it.clone())).collect();
            }
            InstanceChange::Registered(instance) => {
                self.known.insert(instance.key.clone(), instance.clone());
            }
            InstanceChange::Gone(key) => {
                let known = self.known.remove(key).is_some();
                ensure(known, "something goes that was never told of")?;
            }
        }
        Ok(())
    }

    /// Listens until that instance is alive, and then knows just what the registry does.
    async fn agrees_once_alive(&mut self, fixture: F<'_>, registry: &R, last: &Instance) -> Verdict {
        while self.known.get(&last.key) != Some(last) {
            self.next(fixture, Duration::ZERO).await?;
        }
        alive(registry, &self.known.values().collect::<Vec<_>>()).await
    }
}

async fn life(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    alive(&registry, &[]).await?;
    let lease = registry.grant(LONG).await?;
    let first = entered(&registry, lease).await?;
    let second = entered(&registry, lease).await?;
    alive(&registry, &[&first, &second]).await?;
    registry.deregister(&first.key).await?;
    alive(&registry, &[&second]).await?;
    registry.deregister(&first.key).await?;
    alive(&registry, &[&second]).await
}

async fn expiry(fixture: F<'_>) -> Verdict {
    let times = fixture.times();
    let registry = fixture.registry().await;
    let long = registry.grant(LONG).await?;
    let stays = entered(&registry, long).await?;
    let mut listener = Listener::new(&registry).await?;
    listener.next(fixture, Duration::ZERO).await?;
    let begin = Instant::now();
    let lease = registry.grant(times.short).await?;
    let goes = entered(&registry, lease).await?;
    alive(&registry, &[&stays, &goes]).await?;
    ensure_quick(fixture, begin)?;

    let told = listener.next(fixture, Duration::ZERO).await?;
    ensure(told == InstanceChange::Registered(goes.clone()), "it is not told first")?;
    let told = listener.next(fixture, times.short).await?;
    ensure(
        told == InstanceChange::Gone(goes.key),
        format!("not its end is told, but {told:?}"),
    )?;
    ensure(begin.elapsed() >= times.short * 9 / 10, "its lease ran out too early")?;
    alive(&registry, &[&stays]).await?;
    lease_gone(&registry.keep_alive(lease).await)?;
    lease_gone(&registry.register(lease, instance()).await)
}

async fn kept_alive(fixture: F<'_>) -> Verdict {
    let times = fixture.times();
    let registry = fixture.registry().await;
    let lease = registry.grant(times.short).await?;
    let instance = entered(&registry, lease).await?;
    for _ in 0..12 {
        let begin = Instant::now();
        sleep(times.short / 4).await;
        ensure_quick(fixture, begin)?;
        registry.keep_alive(lease).await?;
        ensure_quick(fixture, begin)?;
        alive(&registry, &[&instance]).await?;
    }
    let empty = || async { Ok(registry.instances().await?.is_empty()) };
    eventually(fixture, times.short, "running out", empty).await?;
    lease_gone(&registry.keep_alive(lease).await)
}

async fn revoked(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    let [lease, other] = [registry.grant(LONG).await?, registry.grant(LONG).await?];
    ensure(lease != other, "two leases are one")?;
    entered(&registry, lease).await?;
    entered(&registry, lease).await?;
    let stays = entered(&registry, other).await?;
    let mut listener = Listener::new(&registry).await?;
    listener.next(fixture, Duration::ZERO).await?;
    registry.revoke(lease).await?;
    alive(&registry, &[&stays]).await?;
    while listener.known.len() > 1 {
        listener.next(fixture, Duration::ZERO).await?;
    }
    registry.revoke(lease).await?;
    lease_gone(&registry.keep_alive(lease).await)?;
    registry.keep_alive(other).await?;
    alive(&registry, &[&stays]).await
}

async fn replaced(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    let lease = registry.grant(LONG).await?;
    let old = entered(&registry, lease).await?;
    let mut listener = Listener::new(&registry).await?;
    listener.next(fixture, Duration::ZERO).await?;
    let new = Instance {
        proxy_port: 9090,
        version: 2,
        ..old
    };
    registry.register(lease, new.clone()).await?;
    alive(&registry, &[&new]).await?;
    let told = listener.next(fixture, Duration::ZERO).await?;
    ensure(told == InstanceChange::Registered(new), "the new entry is not told")
}

async fn moved(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    let [old, new] = [registry.grant(LONG).await?, registry.grant(LONG).await?];
    let instance = entered(&registry, old).await?;
    registry.register(new, instance.clone()).await?;
    registry.revoke(old).await?;
    alive(&registry, &[&instance]).await?;
    registry.revoke(new).await?;
    alive(&registry, &[]).await
}

async fn no_lease(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    let lease = registry.grant(LONG).await?;
    registry.revoke(lease).await?;
    lease_gone(&registry.register(lease, instance()).await)?;
    alive(&registry, &[]).await
}

async fn watched(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    let lease = registry.grant(LONG).await?;
    let first = entered(&registry, lease).await?;
    let mut listener = Listener::new(&registry).await?;
    let second = entered(&registry, lease).await?;
    registry.deregister(&first.key).await?;
    let third = entered(&registry, lease).await?;

    // The first picture may be of any moment after the call; what came later follows.
    let all = listener.next(fixture, Duration::ZERO).await?;
    ensure(
        matches!(all, InstanceChange::All(_)),
        format!("it begins with {all:?} instead of all"),
    )?;
    listener.agrees_once_alive(fixture, &registry, &third).await?;
    ensure(listener.known.contains_key(&second.key), "the second is missing")?;
    registry.deregister(&third.key).await?;
    registry.deregister(&second.key).await?;
    for gone in [third, second] {
        let told = listener.next(fixture, Duration::ZERO).await?;
        ensure(
            told == InstanceChange::Gone(gone.key),
            format!("out of order: {told:?}"),
        )?;
    }
    Ok(())
}

/// Registers, replaces, removes and gives up leases, in an order that the number makes.
async fn write(registry: R, number: u32) -> Result<(), CoordError> {
    let mut lease = registry.grant(LONG).await?;
    let mine: [Instance; 5] = std::array::from_fn(|_| instance());
    for step in 0..120_u32 {
        let chosen = &mine[(step.wrapping_mul(number + 7) % 5) as usize];
        match (step * 31 + number) % 11 {
            0..6 => {
                let version = step;
                registry
                    .register(
                        lease,
                        Instance {
                            version,
                            ..chosen.clone()
                        },
                    )
                    .await?;
            }
            6..10 => registry.deregister(&chosen.key).await?,
            _ => {
                registry.revoke(lease).await?;
                lease = registry.grant(LONG).await?;
            }
        }
        if step % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

async fn many_writers(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    let mut listeners = vec![Listener::new(&registry).await?];
    let mut writers = JoinSet::new();
    for number in 0..8 {
        writers.spawn(write(Arc::clone(&registry), number));
        listeners.push(Listener::new(&registry).await?);
        for listener in &mut listeners {
            listener.next(fixture, Duration::ZERO).await?;
        }
    }
    while let Some(ended) = writers.join_next().await {
        ended.map_err(|e| Outcome::Failed(e.to_string()))??;
        listeners.push(Listener::new(&registry).await?);
    }
    let lease = registry.grant(LONG).await?;
    let last = entered(&registry, lease).await?;
    for listener in &mut listeners {
        listener.agrees_once_alive(fixture, &registry, &last).await?;
    }
    Ok(())
}

async fn slow(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    let lease = registry.grant(LONG).await?;
    let goes = entered(&registry, lease).await?;
    let mut listener = Listener::new(&registry).await?;
    listener.next(fixture, Duration::ZERO).await?;
    registry.deregister(&goes.key).await?;
    let busy = instance();
    for version in 0..SLOW_CHANGES {
        let change = Instance {
            version,
            ..busy.clone()
        };
        registry.register(lease, change).await?;
    }
    let last = entered(&registry, lease).await?;
    listener.agrees_once_alive(fixture, &registry, &last).await?;
    ensure(!listener.known.contains_key(&goes.key), "what went is still known")
}

async fn ended(fixture: F<'_>) -> Verdict {
    let registry = fixture.registry().await;
    let mut listener = Listener::new(&registry).await?;
    listener.next(fixture, Duration::ZERO).await?;
    drop(registry);
    let told = within(fixture, Duration::ZERO, "the end of a watch", listener.changes.next()).await?;
    ensure(told.is_none(), "news from a registry that is gone")
}
