//! The task that keeps one pool at its size.
//!
//! It is woken when calls begin to wait, instances come or go, starts fail or rules change, and when there may be room that it
//! lacked; calls that find a free place do not wake it. So while there are instances it also looks by itself, and takes the most calls there were since then.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::StreamExt as _;
use hearth_coord::{ProvisionQueue, ProvisionRequest};
use hearth_domain::{ScaleFacts, ScaleMemory, plan_scale};
use hearth_ids::RequestId;
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    InstanceHost, NodeRoom, RetireReason,
    gateway::Pools,
    pool::{Pool, PoolKey, Upstream},
};

/// How often to look while there are instances or calls wait, at most and at least.
const LOOK_MAX: Duration = Duration::from_secs(1);
const LOOK_MIN: Duration = Duration::from_millis(10);
/// How long after a look nodes' room may bring the next, at least: each change of it is told to every pool that lacks some.
const ROOM_LOOK_MIN: Duration = Duration::from_millis(50);
/// How long a push may take.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What the task needs.
pub(crate) struct Scaling {
    pub(crate) pools: Arc<Pools>,
    pub(crate) queue: Arc<dyn ProvisionQueue>,
    pub(crate) hosts: Arc<dyn InstanceHost>,
    pub(crate) nodes: Arc<dyn NodeRoom>,
    pub(crate) tasks: TaskTracker,
    /// Cancelled once the registry has said what is alive; before, too much would be asked for.
    pub(crate) known: CancellationToken,
    /// Cancelled when the gateway goes down; instances stay.
    pub(crate) stop: CancellationToken,
}

/// Keeps the pool at its size until it is closed; then lets all instances go.
pub(crate) async fn run(pool: Arc<Pool>, scaling: Arc<Scaling>) {
    tokio::select! {
        () = scaling.known.cancelled() => (),
        () = scaling.stop.cancelled() => return,
    }
    let began = Instant::now();
    let mut memory = ScaleMemory::default();
    let mut more_room = scaling.nodes.changes().fuse();
    loop {
        let look = step(&pool, &scaling, &mut memory, began).await;
        let room = async {
            sleep(ROOM_LOOK_MIN).await;
            more_room.next().await
        };
        let wait = async {
            match look {
                Some(time) => sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = scaling.stop.cancelled() => return,
            () = pool.closed.cancelled() => break,
            () = pool.changed.notified() => (),
            Some(()) = room, if pool.starts.is_lacking() => (),
            () = wait => (),
        }
    }
    for upstream in pool.instances().iter() {
        retire(&pool, &scaling, upstream, RetireReason::VersionGone);
    }
}

/// Plans once, and acts. When to look again.
async fn step(pool: &Arc<Pool>, scaling: &Scaling, memory: &mut ScaleMemory, began: Instant) -> Option<Duration> {
    let limits = &pool.config.waiting;
    let expired = pool.starts.expire(limits);
    pool.meters.provision_failures.increment(expired as u64);
    // An instance that has just stopped being suspect tells nobody.
    pool.dispatch();
    for upstream in pool.instances().iter() {
        if let Some(reason) = upstream.condemned() {
            retire(pool, scaling, upstream, reason);
        }
    }
    let rule = pool.rule().scale;
    let counted = pool.counted();
    let room = Room::of(pool, scaling);
    let facts = ScaleFacts {
        in_flight: pool.take_peak(),
        queued: pool.queued(),
        ready: u32::try_from(counted.len()).unwrap_or(u32::MAX),
        starting: pool.starts.count(),
        room: room.all(),
    };
    let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (next, plan) = plan_scale(rule, *memory, facts, now_ms);
    *memory = next;
    let lacking = if room.is_bounded_by_nodes() { plan.lacking } else { 0 };
    pool.starts.lack(lacking);
    pool.meters.lacking.set(lacking);
    // Where there are instances, the waiting wait for their places.
    if counted.is_empty()
        && let Some(error) = pool.starts.verdict(room.nodes, limits)
    {
        pool.fail_waiting(&error);
    }
    stop(pool, scaling, counted, plan.stop);
    let pause = start(pool, scaling, plan.start).await;
    for upstream in pool.instances().iter() {
        upstream.prune(&pool.config.upstream);
    }
    let busy = facts.ready > 0 || facts.queued > 0 || !pool.instances().is_empty();
    let regular = busy.then(|| Duration::from_millis(rule.idle_ms / 4).clamp(LOOK_MIN, LOOK_MAX));
    let planned = plan.recheck_after_ms.map(Duration::from_millis);
    let expiry = pool
        .starts
        .expires(limits)
        .map(|at| at.saturating_duration_since(Instant::now()));
    [regular, planned, pause, expiry]
        .into_iter()
        .flatten()
        .min()
        .map(|time| time.max(LOOK_MIN))
}

/// How many more instances may be asked for.
struct Room {
    /// By nodes' room, as far as that is known.
    nodes: u32,
    /// By what the function may have, and how many of it may be on their way.
    share: u32,
}

impl Room {
    fn of(pool: &Pool, scaling: &Scaling) -> Self {
        let PoolKey { function, version } = pool.key;
        let known = scaling.nodes.room(function, version, &pool.rule().facts);
        Self {
            nodes: pool.starts.room(known, &pool.config.waiting),
            share: share(pool, &scaling.pools).min(pool.starts.left(&pool.config.waiting)),
        }
    }

    fn all(&self) -> u32 {
        self.nodes.min(self.share)
    }

    fn is_bounded_by_nodes(&self) -> bool {
        self.nodes <= self.share
    }
}

/// How many more instances the pool may have. What is live has as many as its rule says. Versions that are not, which
/// aliases and numbers name, have together no more than one version may have, though each may have one: so a function has
/// for a rollout twice what it has for one version, and none for each version that was ever made.
fn share(pool: &Pool, pools: &Pools) -> u32 {
    let rule = pool.rule();
    if rule.live {
        return u32::MAX;
    }
    let all = pools.of(pool.key.function);
    let not_live = all.iter().filter(|pool| !pool.rule().live);
    let there_are = not_live.map(|pool| pool.size()).fold(0, u32::saturating_add);
    let left = rule.scale.max.saturating_sub(there_are);
    if pool.size() == 0 { left.max(1) } else { left }
}

/// Asks for so many instances. When to try again, if it may not now.
async fn start(pool: &Pool, scaling: &Scaling, count: u32) -> Option<Duration> {
    if count == 0 {
        return None;
    }
    if let Some(pause) = pool.starts.pause() {
        return Some(pause);
    }
    let facts = pool.rule().facts;
    let deadline = SystemTime::now() + pool.config.waiting.provision_timeout;
    let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for _ in 0..count {
        // Another version's or function's pool may have been faster.
        if Room::of(pool, scaling).all() == 0 {
            return Some(LOOK_MIN);
        }
        let request = ProvisionRequest {
            request_id: RequestId::new(),
            function_id: pool.key.function,
            project_id: Some(pool.project),
            cpu: facts.cpu,
            memory_mb: facts.memory_mb,
            version: Some(pool.key.version),
            deadline_unix_ms: u64::try_from(deadline.as_millis()).ok(),
            traceparent: pool.take_trace().map(|trace| trace.traceparent()),
        };
        let id = request.request_id;
        debug!(request = %id, function = %pool.key.function, version = pool.key.version, "an instance is wanted");
        // Before the push: the instance may be there before the push returns.
        pool.starts.asked(id);
        pool.meters.provisions.increment(1);
        let pushed = timeout(PUSH_TIMEOUT, scaling.queue.push(request)).await;
        let failure = match pushed {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the provision queue did not answer in time".to_owned(),
        };
        warn!(function = %pool.key.function, error = failure, "an instance cannot be asked for");
        pool.meters.provision_failures.increment(1);
        pool.starts
            .failed(id, crate::ProvisionFailure::Failed(failure), &pool.config.waiting);
        return pool.starts.pause();
    }
    None
}

/// Lets so many instances go, those with the fewest calls first.
fn stop(pool: &Arc<Pool>, scaling: &Scaling, mut serving: Vec<Arc<Upstream>>, count: u32) {
    serving.sort_by_key(|upstream| upstream.in_flight());
    for upstream in serving.iter().take(count as usize) {
        retire(pool, scaling, upstream, RetireReason::Idle);
    }
}

/// Gives the instance no more calls, and has it removed once it has none.
fn retire(pool: &Pool, scaling: &Scaling, upstream: &Arc<Upstream>, reason: RetireReason) {
    if !upstream.drain() {
        return;
    }
    debug!(machine = %upstream.instance.key.machine, ?reason, "an instance is let go");
    let (upstream, hosts, drain, down) = (
        Arc::clone(upstream),
        Arc::clone(&scaling.hosts),
        pool.config.waiting.drain,
        scaling.stop.clone(),
    );
    scaling.tasks.spawn(async move {
        let waits = !matches!(
            reason,
            RetireReason::TimedOut | RetireReason::Unreachable | RetireReason::Ended
        );
        if waits {
            tokio::select! {
                // Whoever keeps the instances next decides anew.
                () = down.cancelled() => return,
                ended = timeout(drain, upstream.drained()) => if ended.is_err() {
                    warn!(machine = %upstream.instance.key.machine, "an instance did not end its calls in time");
                },
            }
        }
        hosts.retire(upstream.instance.key.clone(), reason).await;
    });
}
