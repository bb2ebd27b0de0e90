//! The queue.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use hearth_ids::RequestId;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{asked::Asked, ends_at, locked, until};
use crate::{Claim, CoordError, ProvisionQueue, ProvisionRequest};

/// Tells the milliseconds since the Unix epoch, which is what deadlines of requests are in.
pub type UnixClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The queue of wanted instances, in this process's memory.
pub struct EmbeddedQueue {
    capacity: usize,
    clock: UnixClock,
    state: Mutex<State>,
    /// One taker at a time waits for a request, the others wait for their turn, in the order in which they came.
    turn: Semaphore,
    /// Something may be there for the taker whose turn it is.
    came: Notify,
}

/// What a queue holds and has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that a worker has taken, and not said the end of.
    pub claimed: usize,
    /// Virtual CPUs that all of these ask for together whose deadline has not passed.
    pub cpu: u64,
    /// Memory that they ask for together, in MiB.
    pub memory_mb: u64,
    /// Claims that ran out, since the start.
    pub run_out: u64,
    /// Requests that were dropped because their deadline had passed, since the start.
    pub overdue: u64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<ProvisionRequest>,
    claimed: HashMap<RequestId, Claimed>,
    /// No claim runs out before.
    next_end: Option<Instant>,
    /// What all of these ask for.
    asked: Asked,
    /// The last claim's number. Counting over all requests, no two claims are ever alike.
    attempts: u64,
    run_out: u64,
    overdue: u64,
    closed: bool,
}

struct Claimed {
    request: ProvisionRequest,
    attempt: u64,
    until: Instant,
}

impl EmbeddedQueue {
    /// An empty queue that holds so many requests at most, those taken counted.
    pub fn new(capacity: usize) -> Self {
        Self::with_clock(capacity, Arc::new(unix_now_ms))
    }

    /// The same with another clock for the deadlines of requests.
    pub fn with_clock(capacity: usize, clock: UnixClock) -> Self {
        Self {
            capacity,
            clock,
            state: Mutex::default(),
            turn: Semaphore::new(1),
            came: Notify::new(),
        }
    }

    /// What it holds and has seen. Cheap, however much that is.
    pub fn stats(&self) -> QueueStats {
        let unix_ms = (self.clock)();
        let mut state = locked(&self.state);
        state.settle(Instant::now());
        state.asked.leave_out_overdue(unix_ms);
        QueueStats {
            waiting: state.waiting.len(),
            claimed: state.claimed.len(),
            cpu: state.asked.cpu,
            memory_mb: state.asked.memory_mb,
            run_out: state.run_out,
            overdue: state.overdue,
        }
    }

    /// Ends it: whoever waits, pushes or takes is told that it is gone.
    pub fn close(&self) {
        locked(&self.state).closed = true;
        self.turn.close();
        self.came.notify_one();
    }

    /// The state as it is now.
    fn settled<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, CoordError> {
        let mut state = locked(&self.state);
        if state.closed {
            return Err(gone());
        }
        state.settle(Instant::now());
        let done = act(&mut state);
        let more = !state.waiting.is_empty();
        drop(state);
        if more {
            self.came.notify_one();
        }
        Ok(done)
    }
}

impl State {
    /// Puts what was not done in time to the front, the oldest claim first.
    fn settle(&mut self, now: Instant) {
        if self.next_end.is_none_or(|end| now < end) {
            return;
        }
        let mut over: Vec<Claimed> = self
            .claimed
            .extract_if(|_, claimed| claimed.until <= now)
            .map(|(_, claimed)| claimed)
            .collect();
        over.sort_by_key(|claimed| claimed.attempt);
        self.run_out = self.run_out.saturating_add(over.len() as u64);
        for claimed in over.into_iter().rev() {
            self.waiting.push_front(claimed.request);
        }
        self.next_end = self.claimed.values().map(|claimed| claimed.until).min();
    }

    /// Drops the requests for which nobody waits any more.
    fn drop_overdue(&mut self, unix_ms: u64) {
        let waiting = std::mem::take(&mut self.waiting);
        for request in waiting {
            if request.is_overdue(unix_ms) {
                self.drop_one(&request);
            } else {
                self.waiting.push_back(request);
            }
        }
    }

    fn drop_one(&mut self, request: &ProvisionRequest) {
        self.asked.remove(request);
        self.overdue = self.overdue.saturating_add(1);
    }

    fn held(&self) -> usize {
        self.waiting.len() + self.claimed.len()
    }

    fn holds(&self, id: RequestId) -> bool {
        self.claimed.contains_key(&id) || self.waiting.iter().any(|request| request.request_id == id)
    }

    /// Claims the first request that somebody still waits for.
    fn claim(&mut self, unix_ms: u64, until: Instant) -> Option<Claim> {
        while let Some(request) = self.waiting.pop_front() {
            if request.is_overdue(unix_ms) {
                self.drop_one(&request);
                continue;
            }
            self.attempts += 1;
            let attempt = self.attempts;
            let claimed = Claimed {
                request: request.clone(),
                attempt,
                until,
            };
            self.claimed.insert(request.request_id, claimed);
            self.next_end = Some(self.next_end.map_or(until, |end| end.min(until)));
            return Some(Claim { request, attempt });
        }
        None
    }

    /// Ends the claim, if it has not run out.
    fn release(&mut self, claim: &Claim) -> Option<ProvisionRequest> {
        let id = claim.request.request_id;
        let valid = self.claimed.get(&id).is_some_and(|held| held.attempt == claim.attempt);
        valid.then(|| self.claimed.remove(&id))?.map(|held| held.request)
    }
}

#[async_trait]
impl ProvisionQueue for EmbeddedQueue {
    async fn push(&self, request: ProvisionRequest) -> Result<(), CoordError> {
        let unix_ms = (self.clock)();
        self.settled(|state| {
            if state.holds(request.request_id) {
                return Ok(());
            }
            if state.held() >= self.capacity {
                state.drop_overdue(unix_ms);
            }
            if state.held() >= self.capacity {
                return Err(CoordError::QueueFull { len: state.held() });
            }
            state.asked.add(&request);
            state.waiting.push_back(request);
            Ok(())
        })?
    }

    /// A dropped future has taken nothing: a request is claimed only in the moment in which it is returned.
    async fn take(&self, _worker: &str, visibility: Duration) -> Result<Claim, CoordError> {
        let _turn = self.turn.acquire().await.map_err(|_| gone())?;
        loop {
            let unix_ms = (self.clock)();
            let (claim, next_end) = self.settled(|state| {
                let claim = state.claim(unix_ms, ends_at(Instant::now(), visibility));
                (claim, state.next_end)
            })?;
            if let Some(claim) = claim {
                return Ok(claim);
            }
            tokio::select! {
                () = self.came.notified() => {}
                () = until(next_end) => {}
            }
        }
    }

    async fn done(&self, claim: &Claim) -> Result<(), CoordError> {
        self.settled(|state| {
            if let Some(request) = state.release(claim) {
                state.asked.remove(&request);
            }
        })
    }

    async fn give_back(&self, claim: &Claim) -> Result<(), CoordError> {
        self.settled(|state| {
            if let Some(request) = state.release(claim) {
                state.waiting.push_front(request);
            }
        })
    }

    async fn len(&self) -> Result<usize, CoordError> {
        self.settled(|state| state.waiting.len())
    }
}

impl fmt::Debug for EmbeddedQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedQueue").field("stats", &self.stats()).finish()
    }
}

fn gone() -> CoordError {
    CoordError::Unavailable("provision queue")
}

fn unix_now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::poll;
    use hearth_ids::FunctionId;

    use super::*;

    const LONG: Duration = Duration::MAX;
    const DEADLINE: Duration = Duration::from_secs(10);

    fn request() -> ProvisionRequest {
        ProvisionRequest {
            request_id: RequestId::new(),
            function_id: FunctionId::new(),
            project_id: None,
            cpu: 1,
            memory_mb: 128,
            version: None,
            deadline_unix_ms: None,
            traceparent: None,
        }
    }

    #[tokio::test]
    async fn those_who_wait_are_served_in_their_order() {
        let queue = EmbeddedQueue::new(4);
        let mut takes: Vec<_> = (0..3).map(|_| queue.take("a", LONG)).collect();
        for take in &mut takes {
            assert!(poll!(take).is_pending());
        }
        drop(takes.remove(1));
        let requests = [request(), request()];
        for request in &requests {
            queue.push(request.clone()).await.unwrap();
        }
        for (take, request) in takes.into_iter().zip(requests) {
            let claim = tokio::time::timeout(DEADLINE, take).await.unwrap();
            assert_eq!(claim.unwrap().request, request);
        }
    }

    #[tokio::test]
    async fn a_closed_queue_tells_whoever_waits() {
        let queue = EmbeddedQueue::new(4);
        let (mut first, mut second) = (queue.take("a", LONG), queue.take("a", LONG));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        queue.close();
        for take in [first, second] {
            assert_eq!(tokio::time::timeout(DEADLINE, take).await.unwrap(), Err(gone()));
        }
        assert_eq!(queue.push(request()).await, Err(gone()));
    }

    /// A request that nobody waits for any more from this time on.
    fn until(deadline_unix_ms: u64) -> ProvisionRequest {
        ProvisionRequest {
            deadline_unix_ms: Some(deadline_unix_ms),
            ..request()
        }
    }

    #[tokio::test]
    async fn requests_that_nobody_waits_for_make_room() {
        let queue = EmbeddedQueue::with_clock(2, Arc::new(|| 1000));
        for deadline in [999, 1000] {
            queue.push(until(deadline)).await.unwrap();
        }
        queue.push(request()).await.unwrap();
        queue.push(request()).await.unwrap();
        assert_eq!(queue.push(request()).await, Err(CoordError::QueueFull { len: 2 }));
        let stats = queue.stats();
        assert_eq!((stats.waiting, stats.claimed, stats.overdue), (2, 0, 2));
        let claim = queue.take("a", LONG).await.unwrap();
        let stats = queue.stats();
        assert_eq!((stats.waiting, stats.claimed), (1, 1));
        assert_eq!((stats.cpu, stats.memory_mb), (2, 256), "of both, taken or not");
        queue.done(&claim).await.unwrap();
        assert_eq!((queue.stats().cpu, queue.stats().memory_mb), (1, 128));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_is_told_as_long_as_somebody_waits_for_it() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        let queue = EmbeddedQueue::with_clock(4, Arc::new(move || clock.load(Ordering::Relaxed)));
        for deadline in [1000, 1000, 2000] {
            queue.push(until(deadline)).await.unwrap();
        }
        let claim = queue.take("a", Duration::from_secs(1)).await.unwrap();
        let asked = || (queue.stats().cpu, queue.stats().memory_mb);
        assert_eq!(asked(), (3, 384));
        now.store(1000, Ordering::Relaxed);
        assert_eq!(
            asked(),
            (1, 128),
            "neither the one that waits nor the one that was taken"
        );
        queue.done(&claim).await.unwrap();
        queue.take("a", Duration::from_secs(1)).await.unwrap();
        assert_eq!(asked(), (1, 128));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            (queue.stats().waiting, asked()),
            (1, (1, 128)),
            "it ran out, and is wanted"
        );
        now.store(2000, Ordering::Relaxed);
        assert_eq!(asked(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ran_out_is_counted_and_claims_take_room() {
        let queue = EmbeddedQueue::new(1);
        queue.push(request()).await.unwrap();
        queue.take("a", Duration::from_secs(1)).await.unwrap();
        assert!(
            queue.push(request()).await.is_err(),
            "there may be no room when it comes back"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        let stats = queue.stats();
        assert_eq!((stats.waiting, stats.claimed, stats.run_out), (1, 0, 1));
    }
}
