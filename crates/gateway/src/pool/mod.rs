//! The instances of one version, and the calls that wait for one.
//!
//! ```text
//!  acquire ──► a free place? ──yes──► Place ── dropped ──► next of the waiting, or free again
//!                   │ no                                       ▲
//!                   └──► waiting (FIFO, bounded) ──────────────┘ also when an instance comes
//! ```
//!
//! Invariants:
//! - An instance never has more calls than its concurrency: a place is taken by one atomic step and given back by drop.
//! - Nobody overtakes the waiting. Whoever stops waiting leaves at once, by drop.
//! - Nothing is lost between "no place" and "waiting": who waits looks for a place once more after it has been entered,
//!   and who frees a place looks for the waiting after it is free.

mod connections;
mod place;
mod upstream;
mod waiting;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
pub(crate) use connections::{Conn, NotAnswered};
use hearth_coord::Instance;
use hearth_domain::ScaleRule;
use hearth_ids::{FunctionId, ProjectId};
use hearth_telemetry::trace::TraceContext;
pub(crate) use place::Place;
use tokio::{sync::Notify, time::timeout_at};
use tokio_util::sync::CancellationToken;
pub(crate) use upstream::Upstream;
use waiting::Waiting;

use crate::{CallError, GatewayConfig, Route, VersionFacts, meters::Meters, scale::Starts};

/// Which pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) function: FunctionId,
    pub(crate) version: u32,
}

/// What may change while a pool lives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PoolRule {
    pub(crate) scale: ScaleRule,
    /// Whether calls without a qualifier reach it.
    pub(crate) live: bool,
    pub(crate) facts: VersionFacts,
}

/// One version's instances.
pub(crate) struct Pool {
    pub(crate) key: PoolKey,
    /// Whose function it is.
    pub(crate) project: ProjectId,
    pub(crate) config: Arc<GatewayConfig>,
    pub(crate) meters: Meters,
    /// Wakes the scaler.
    pub(crate) changed: Notify,
    /// Cancelled when the version is not to be called any more.
    pub(crate) closed: CancellationToken,
    /// Instances on their way.
    pub(crate) starts: Starts,
    rule: ArcSwap<PoolRule>,
    instances: ArcSwap<Vec<Arc<Upstream>>>,
    in_flight: AtomicU32,
    /// The most that were in flight since the scaler asked.
    peak: AtomicU32,
    waiting: Waiting,
    /// The call for which the next instance is asked, where calls are traced.
    trace: Mutex<Option<TraceContext>>,
}

/// A place that was waited for.
pub(crate) struct Acquired {
    pub(crate) place: Place,
    pub(crate) queued: Duration,
    /// There was no instance when the call came.
    pub(crate) cold: bool,
}

impl Pool {
    pub(crate) fn new(key: PoolKey, config: Arc<GatewayConfig>, route: &Route, rule: PoolRule) -> Self {
        Self {
            key,
            project: route.function.project,
            meters: Meters::new(&route.project_name, &route.function, key.version),
            changed: Notify::new(),
            closed: CancellationToken::new(),
            starts: Starts::default(),
            rule: ArcSwap::from_pointee(rule),
            instances: ArcSwap::default(),
            in_flight: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            waiting: Waiting::new(config.waiting.queue),
            trace: Mutex::default(),
            config,
        }
    }

    /// The call has to wait for an instance: whoever makes that tells it as a part of the call.
    pub(crate) fn put_trace(&self, trace: TraceContext) {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace);
    }

    pub(crate) fn take_trace(&self) -> Option<TraceContext> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn rule(&self) -> Arc<PoolRule> {
        self.rule.load_full()
    }

    pub(crate) fn set_rule(self: &Arc<Self>, rule: PoolRule) {
        if **self.rule.load() != rule {
            self.rule.store(Arc::new(rule));
            self.changed.notify_one();
            self.dispatch();
        }
    }

    /// A place on an instance, now or by the deadline.
    pub(crate) async fn acquire(self: &Arc<Self>, deadline: Instant) -> Result<Acquired, CallError> {
        if self.waiting.is_empty()
            && let Some(place) = self.try_place()
        {
            return Ok(Acquired {
                place,
                queued: Duration::ZERO,
                cold: false,
            });
        }
        // Boxed, since a warm call does not go this way and should not carry its state.
        Box::pin(self.wait(deadline)).await
    }

    async fn wait(self: &Arc<Self>, deadline: Instant) -> Result<Acquired, CallError> {
        let came = Instant::now();
        let cold = self.counted().is_empty();
        let waiter = self.waiting.enter()?;
        self.meters.queued.set(self.queued());
        self.changed.notify_one();
        self.dispatch();
        let place = tokio::select! {
            biased;
            outcome = timeout_at(deadline.into(), waiter.wait()) => match outcome {
                Ok(outcome) => outcome?,
                Err(_) => return Err(self.no_instance(came)),
            },
            () = self.closed.cancelled() => return Err(CallError::NoRoute),
        };
        self.meters.queued.set(self.queued());
        Ok(Acquired {
            place,
            queued: came.elapsed(),
            cold,
        })
    }

    fn no_instance(&self, came: Instant) -> CallError {
        if self.starts.no_room() {
            return CallError::NoRoom;
        }
        CallError::NoInstance {
            waited_ms: u64::try_from(came.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Gives free places to the waiting, first come first served.
    pub(crate) fn dispatch(self: &Arc<Self>) {
        while !self.waiting.is_empty() {
            let Some(place) = self.try_place() else { return };
            match self.waiting.pop() {
                // Dropping the place comes back here, and finds nobody waiting or somebody else.
                None => return,
                // Whoever has just stopped waiting drops the place in the same way.
                Some(waiter) => waiter.give(Ok(place)),
            }
        }
    }

    /// Tells all that wait that it is no use.
    pub(crate) fn fail_waiting(&self, error: &CallError) {
        while let Some(waiter) = self.waiting.pop() {
            waiter.give(Err(error.clone()));
        }
    }

    /// The better of two random instances that have a free place; any that has one, if neither does.
    fn try_place(self: &Arc<Self>) -> Option<Place> {
        let instances = self.instances.load();
        let concurrency = self.rule.load().scale.concurrency;
        let upstream = match instances.as_slice() {
            [] => return None,
            [only] => only.try_take(concurrency).then_some(only)?,
            many => {
                let start = choose(many, concurrency);
                let all = many[start..].iter().chain(&many[..start]);
                let mut all = all.filter(|upstream| upstream.try_take(concurrency));
                all.next()?
            }
        };
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        if now > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
        Some(Place::new(Arc::clone(self), Arc::clone(upstream)))
    }

    /// Gives a place back; called by its drop.
    fn release(self: &Arc<Self>, upstream: &Upstream) {
        upstream.give_back();
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.dispatch();
    }

    /// Calls in flight now, or the most there were since this was last asked, if that is more.
    pub(crate) fn take_peak(&self) -> u32 {
        let now = self.in_flight.load(Ordering::SeqCst);
        self.peak.swap(now, Ordering::Relaxed).max(now)
    }

    /// Calls that wait.
    pub(crate) fn queued(&self) -> u32 {
        self.waiting.len()
    }

    /// All instances.
    pub(crate) fn instances(&self) -> Arc<Vec<Arc<Upstream>>> {
        self.instances.load_full()
    }

    /// The instances that are not on their way out.
    pub(crate) fn counted(&self) -> Vec<Arc<Upstream>> {
        let instances = self.instances.load();
        let counted = instances.iter().filter(|upstream| upstream.counts());
        counted.cloned().collect()
    }

    /// How many instances there are and will be.
    pub(crate) fn size(&self) -> u32 {
        let counted = u32::try_from(self.counted().len()).unwrap_or(u32::MAX);
        counted.saturating_add(self.starts.count())
    }

    /// Makes the pool's instances those of the registry. Only one task does this.
    pub(crate) fn set_instances(self: &Arc<Self>, alive: &[&Instance]) {
        let before = self.instances.load();
        let mut came = 0;
        let next = alive.iter().map(|instance| {
            let known = before.iter().find(|upstream| upstream.instance == **instance);
            known.map_or_else(
                || {
                    came += u32::from(!before.iter().any(|upstream| upstream.instance.key == instance.key));
                    Arc::new(Upstream::new((*instance).clone()))
                },
                Arc::clone,
            )
        });
        let next: Vec<_> = next.collect();
        if next.len() == before.len()
            && next
                .iter()
                .all(|upstream| before.iter().any(|old| Arc::ptr_eq(old, upstream)))
        {
            return;
        }
        for old in before.iter() {
            let key = &old.instance.key;
            if old.in_flight() > 0 && !next.iter().any(|upstream| upstream.instance.key == *key) {
                let old = Arc::clone(old);
                // Ends with the calls, each of which has its time.
                tokio::spawn(async move { old.watch_gone().await });
            }
        }
        self.meters.instances.set(u32::try_from(next.len()).unwrap_or(u32::MAX));
        self.instances.store(Arc::new(next));
        self.starts.arrived(came);
        self.dispatch();
        self.changed.notify_one();
    }
}

/// Where to begin: the better of two random ones.
fn choose(many: &[Arc<Upstream>], concurrency: u32) -> usize {
    let dice = rand::random::<u64>();
    let count = many.len() as u64;
    let (one, other) = (
        (((dice >> 32) * count) >> 32) as usize,
        (((dice & 0xffff_ffff) * count) >> 32) as usize,
    );
    if many[other].load(concurrency) < many[one].load(concurrency) {
        other
    } else {
        one
    }
}

/// Where an instance is reached.
pub(crate) fn address(instance: &Instance) -> SocketAddr {
    SocketAddr::new(instance.worker_ip, instance.proxy_port)
}
