//! What a queue must do.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hearth_ids::{FunctionId, RequestId};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Case, F, Outcome, QUEUE_BOUND, Verdict, ensure, ensure_quick, eventually, within};
use crate::{Claim, CoordError, ProvisionQueue, ProvisionRequest};

pub(super) const CASES: [Case; 12] = [
    ("first in, first out", |f| Box::pin(order(f))),
    ("a request that is there is not pushed again", |f| Box::pin(same(f))),
    ("a full queue refuses, and takes again when there is room", |f| {
        Box::pin(bound(f))
    }),
    ("take waits for a request, and each who waits gets one", |f| {
        Box::pin(waiting(f))
    }),
    ("a take that is given up loses no request", |f| Box::pin(given_up(f))),
    ("a claim that runs out goes to the front", |f| Box::pin(run_out(f))),
    ("while somebody waits, a claim that runs out goes to them", |f| {
        Box::pin(run_out_while_waiting(f))
    }),
    ("a claim that ran out changes nothing", |f| Box::pin(stale(f))),
    ("a claim that ran out and was not taken again changes nothing", |f| {
        Box::pin(stale_and_free(f))
    }),
    ("what is given back goes to the front", |f| Box::pin(given_back(f))),
    ("two workers never hold one request", |f| Box::pin(many_workers(f))),
    ("requests whose deadline has passed are dropped", |f| {
        Box::pin(overdue(f))
    }),
];

/// So long that no claim of the suite runs out by itself.
const LONG: Duration = Duration::from_hours(1);

type Q = Arc<dyn ProvisionQueue>;

fn request() -> ProvisionRequest {
    ProvisionRequest {
        request_id: RequestId::new(),
        function_id: FunctionId::new(),
        project_id: None,
        cpu: 1,
        memory_mb: 128,
        version: Some(1),
        deadline_unix_ms: None,
        traceparent: None,
    }
}

async fn pushed<const N: usize>(queue: &Q) -> Result<[ProvisionRequest; N], Outcome> {
    let requests = std::array::from_fn(|_| request());
    for request in &requests {
        queue.push(request.clone()).await?;
    }
    Ok(requests)
}

/// Takes what must be there at once.
async fn take(fixture: F<'_>, queue: &Q, visibility: Duration) -> Result<Claim, Outcome> {
    let taken = within(
        fixture,
        Duration::ZERO,
        "taking what is there",
        queue.take("a", visibility),
    );
    Ok(taken.await??)
}

async fn takes(fixture: F<'_>, queue: &Q, wanted: &ProvisionRequest) -> Result<Claim, Outcome> {
    let claim = take(fixture, queue, LONG).await?;
    ensure(claim.request == *wanted, "another request is the first")?;
    Ok(claim)
}

/// Waits until what was claimed for a short time waits again: then so many do.
async fn until_waiting(fixture: F<'_>, queue: &Q, wanted: usize) -> Verdict {
    let waits = || async { Ok(queue.len().await? == wanted) };
    eventually(fixture, fixture.times().short, "running out", waits).await
}

/// Nothing is there to be taken.
async fn is_empty(fixture: F<'_>, queue: &Q) -> Verdict {
    ensure(queue.len().await? == 0, "requests wait that should not")?;
    let taken = timeout(fixture.times().short / 4, queue.take("b", LONG)).await;
    ensure(taken.is_err(), "there is a request to take that should not be there")
}

async fn order(fixture: F<'_>) -> Verdict {
    let queue = fixture.queue().await;
    let requests = pushed::<5>(&queue).await?;
    ensure(queue.len().await? == 5, "five were pushed, and another number waits")?;
    for request in &requests {
        let claim = takes(fixture, &queue, request).await?;
        queue.done(&claim).await?;
    }
    is_empty(fixture, &queue).await
}

async fn same(fixture: F<'_>) -> Verdict {
    let queue = fixture.queue().await;
    let [first] = pushed(&queue).await?;
    queue.push(first.clone()).await?;
    ensure(queue.len().await? == 1, "one request waits twice")?;
    let claim = takes(fixture, &queue, &first).await?;
    queue.push(first.clone()).await?;
    is_empty(fixture, &queue).await?;
    queue.done(&claim).await?;
    queue.push(first.clone()).await?;
    let again = takes(fixture, &queue, &first).await?;
    queue.done(&claim).await?;
    queue.give_back(&again).await?;
    ensure(
        queue.len().await? == 1,
        "a claim from before it was pushed again ended it",
    )
}

async fn bound(fixture: F<'_>) -> Verdict {
    let queue = fixture.queue().await;
    let requests = pushed::<QUEUE_BOUND>(&queue).await?;
    let refused = queue.push(request()).await;
    ensure(
        matches!(refused, Err(CoordError::QueueFull { .. })),
        format!("one more than fits: {refused:?}"),
    )?;
    queue.push(requests[3].clone()).await?;
    let claim = takes(fixture, &queue, &requests[0]).await?;
    queue.done(&claim).await?;
    queue.push(request()).await?;
    ensure(queue.len().await? == QUEUE_BOUND, "it is not full again")
}

async fn waiting(fixture: F<'_>) -> Verdict {
    let queue = fixture.queue().await;
    let mut takers = JoinSet::new();
    for _ in 0..4 {
        let queue = Arc::clone(&queue);
        takers.spawn(async move { queue.take("waiting", LONG).await });
    }
    ensure(
        timeout(fixture.times().short / 4, takers.join_next()).await.is_err(),
        "a take ends though there is no request",
    )?;
    let requests = pushed::<4>(&queue).await?;
    let mut taken = HashSet::new();
    for _ in 0..4 {
        let ended = within(fixture, Duration::ZERO, "waking one who waits", takers.join_next()).await?;
        let claim = ended.ok_or_else(|| Outcome::Failed("a taker vanished".into()))?;
        taken.insert(claim.map_err(|e| Outcome::Failed(e.to_string()))??.request.request_id);
    }
    ensure(
        requests.iter().all(|request| taken.contains(&request.request_id)),
        "not each of the four has one of the four",
    )
}

async fn given_up(fixture: F<'_>) -> Verdict {
    let queue = fixture.queue().await;
    let pusher = Arc::clone(&queue);
    let wanted: Vec<ProvisionRequest> = (0..QUEUE_BOUND).map(|_| request()).collect();
    let mut missing: HashSet<RequestId> = wanted.iter().map(|request| request.request_id).collect();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for request in wanted {
            pusher.push(request).await?;
            sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, CoordError>(())
    });
    let visibility = fixture.times().short;
    let mut patience = [100, 900, 1100, 3000].into_iter().cycle().map(Duration::from_micros);
    let all = async {
        while !missing.is_empty() {
            let patience = patience.next().unwrap_or(visibility);
            if let Ok(claim) = timeout(patience, queue.take("fickle", visibility)).await {
                let claim = claim?;
                missing.remove(&claim.request.request_id);
                queue.done(&claim).await?;
            }
        }
        Ok(())
    };
    within(fixture, visibility * 4, "taking them all", all).await?
}

async fn run_out(fixture: F<'_>) -> Verdict {
    let times = fixture.times();
    let queue = fixture.queue().await;
    let [first, second, third] = pushed(&queue).await?;
    let claims = [
        take(fixture, &queue, times.short).await?,
        take(fixture, &queue, times.short).await?,
    ];
    until_waiting(fixture, &queue, 3).await?;
    let again = takes(fixture, &queue, &first).await?;
    ensure(again.attempt > claims[0].attempt, "its attempt does not grow")?;
    takes(fixture, &queue, &second).await?;
    takes(fixture, &queue, &third).await?;
    is_empty(fixture, &queue).await
}

async fn run_out_while_waiting(fixture: F<'_>) -> Verdict {
    let times = fixture.times();
    let queue = fixture.queue().await;
    let [first] = pushed(&queue).await?;
    let begin = Instant::now();
    take(fixture, &queue, times.short).await?;
    let again = within(fixture, times.short, "taking what runs out", queue.take("b", LONG)).await??;
    ensure(again.request == first, "it is another")?;
    ensure(begin.elapsed() >= times.short * 9 / 10, "the claim ran out too early")
}

async fn stale(fixture: F<'_>) -> Verdict {
    let times = fixture.times();
    let queue = fixture.queue().await;
    let [first] = pushed(&queue).await?;
    let old = take(fixture, &queue, times.short).await?;
    until_waiting(fixture, &queue, 1).await?;
    let new = takes(fixture, &queue, &first).await?;
    queue.give_back(&old).await?;
    is_empty(fixture, &queue).await?;
    queue.done(&old).await?;
    queue.give_back(&new).await?;
    let newest = takes(fixture, &queue, &first).await?;
    queue.done(&newest).await?;
    queue.done(&newest).await?;
    queue.give_back(&newest).await?;
    is_empty(fixture, &queue).await
}

async fn stale_and_free(fixture: F<'_>) -> Verdict {
    let times = fixture.times();
    let queue = fixture.queue().await;
    let [first, second] = pushed(&queue).await?;
    let old = take(fixture, &queue, times.short).await?;
    until_waiting(fixture, &queue, 2).await?;
    queue.done(&old).await?;
    queue.give_back(&old).await?;
    takes(fixture, &queue, &first).await?;
    takes(fixture, &queue, &second).await?;
    is_empty(fixture, &queue).await
}

async fn given_back(fixture: F<'_>) -> Verdict {
    let queue = fixture.queue().await;
    let [first, second] = pushed(&queue).await?;
    let claim = takes(fixture, &queue, &first).await?;
    queue.give_back(&claim).await?;
    ensure(queue.len().await? == 2, "it does not wait again")?;
    queue.give_back(&claim).await?;
    let again = takes(fixture, &queue, &first).await?;
    ensure(again.attempt > claim.attempt, "its attempt does not grow")?;
    takes(fixture, &queue, &second).await?;
    is_empty(fixture, &queue).await
}

async fn many_workers(fixture: F<'_>) -> Verdict {
    let queue = fixture.queue().await;
    let requests = pushed::<QUEUE_BOUND>(&queue).await?;
    let held: Arc<Mutex<HashSet<RequestId>>> = Arc::default();
    let mut workers = JoinSet::new();
    for worker in 0..8 {
        workers.spawn(work(Arc::clone(&queue), worker, Arc::clone(&held)));
    }
    let mut served = HashSet::new();
    let all = async {
        while let Some(ended) = workers.join_next().await {
            let mine = ended.map_err(|e| Outcome::Failed(e.to_string()))??;
            for id in mine {
                ensure(served.insert(id), "a request was served twice, though no claim ran out")?;
            }
        }
        Verdict::Ok(())
    };
    within(fixture, fixture.times().short, "serving them all", all).await??;
    ensure(served.len() == requests.len(), "not all were served")
}

/// Serves requests until none are left; the first that it takes of each three it gives back.
async fn work(queue: Q, worker: u32, held: Arc<Mutex<HashSet<RequestId>>>) -> Result<Vec<RequestId>, Outcome> {
    let locked = || held.lock().unwrap_or_else(PoisonError::into_inner);
    let mut served = Vec::new();
    for round in worker.. {
        if queue.len().await? == 0 && locked().is_empty() {
            break;
        }
        let taken = timeout(Duration::from_millis(20), queue.take(&worker.to_string(), LONG)).await;
        let Ok(claim) = taken else { continue };
        let claim = claim?;
        let id = claim.request.request_id;
        ensure(locked().insert(id), "two hold one request")?;
        tokio::task::yield_now().await;
        locked().remove(&id);
        if round % 3 == 0 {
            queue.give_back(&claim).await?;
        } else {
            queue.done(&claim).await?;
            served.push(id);
        }
    }
    Ok(served)
}

async fn overdue(fixture: F<'_>) -> Verdict {
    let times = fixture.times();
    let queue = fixture.queue().await;
    let begin = Instant::now();
    let unix_ms = fixture.unix_ms();
    let short_ms = u64::try_from(times.short.as_millis()).unwrap_or(u64::MAX);
    let until = |deadline_unix_ms| ProvisionRequest {
        deadline_unix_ms,
        ..request()
    };
    let alive = until(Some(unix_ms + short_ms));
    let patient = until(Some(unix_ms.saturating_add(short_ms * 1000)));
    for request in [
        &until(Some(unix_ms - 1)),
        &alive,
        &until(Some(unix_ms + short_ms)),
        &patient,
    ] {
        queue.push(request.clone()).await?;
    }
    let taken = take(fixture, &queue, LONG).await?;
    ensure_quick(fixture, begin)?;
    ensure(taken.request == alive, "the first for which somebody waits is another")?;
    while fixture.unix_ms() <= unix_ms + short_ms {
        sleep(times.short / 50).await;
    }
    takes(fixture, &queue, &patient).await?;
    is_empty(fixture, &queue).await
}
